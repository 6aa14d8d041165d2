"""Incremental reading and writing of long JSON documents.

Reading and writing need little more memory than the document itself. Documents to read are untrusted. Reading an
invalid one raises a `ValueError` that describes the problem. If a key is repeated, the last value is used, as in
modelkit.
"""

from __future__ import annotations

import codecs
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Any, Final

ROWS_PER_CHUNK: Final = 250
"""Number of rows to encode at once, while no other thread can run. It is small enough not to trigger a garbage
collection."""
_CHUNK: Final = 512 * 1024
"""Number of bytes to decode at once. Decoding this much in C blocks other threads for a few milliseconds."""
_DELIMITERS: Final = frozenset(" \t\n\r,:]}")
_MAX_DEPTH: Final = 32
_MAX_DIGITS: Final = 100
_MAX_FIELDS: Final = 1000
_MAX_STRINGS: Final = 32_000_000
"""Maximum number of strings: several times as many as a million files need. That many Python strings take a few GiB."""

_NO_BRACKETS: Final = bytes(byte for byte in range(256) if byte not in b'[]{}"')
_AS_LISTS: Final = bytes.maketrans(b"{}", b"[]")
_SURROGATE: Final = re.compile(rb"\\u[dD][89a-fA-F]")
_SPACES: Final = " \t\n\r"
_SPACE: Final = re.compile(f"[{_SPACES}]*")


def no_check() -> None:
    """Do nothing. This is the default for `check`."""


class Reader:
    """An incremental reader for a JSON object. It reads fields one by one and, on request, arrays item by item.

    Args:
        data: the document.
        most: the maximum number of values.
        check: a function that is called regularly and may raise an exception to stop parsing.

    Raises:
        ValueError: if the document isn't a JSON object, or exceeds a limit.
    """

    def __init__(self, data: bytes, check: Callable[[], None] = no_check, most: int = _MAX_STRINGS) -> None:
        _check_shape(data, most)
        self._check = check
        self._data = memoryview(data)
        self._decode = codecs.getincrementaldecoder("utf-8")().decode
        self._decoder = json.JSONDecoder(parse_int=_integer, parse_float=_finite, parse_constant=_finite)
        self._text = ""
        self._at = 0
        self._has_surrogates = b"\\" in data and _SURROGATE.search(data) is not None

    def fields(self) -> Iterator[str]:
        """Iterate over the keys. The caller must read the value of a key before requesting the next key."""
        if self._next() != "{":
            self.value()
            self._end()
            raise ValueError("it isn't a JSON object")
        for number, _ in enumerate(self._within("}")):
            if number == _MAX_FIELDS:
                raise ValueError(f"it has more than {_MAX_FIELDS:,} fields")
            if self._next() != '"':
                raise _invalid_json("a key is missing")
            key: str = self.value()
            if self._next() != ":":
                raise _invalid_json("a colon is missing")
            self._at += 1
            yield key
        self._end()

    def value(self) -> Any:
        """Read the next value. An array is read item by item if much of the document remains."""
        if self._next() == "[" and self._is_long():
            return [*self._items()]
        while True:
            try:
                value, end = self._decoder.raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                if not self._more():
                    raise _invalid_json(error.msg) from None
            except ValueError as error:
                if not self._more():
                    raise _invalid_json(str(error)) from None
            else:
                if self._text[end : end + 1] in _DELIMITERS or not self._more():  # a number may continue
                    break
        self._at = end
        if self._has_surrogates:
            _check_surrogates(value)
        return value

    def items(self) -> Iterator[Any] | None:
        """Return an iterator over the items of the next value, or `None` if that value isn't an array.

        The caller must exhaust the iterator before reading anything else.
        """
        if self._next() != "[":
            return None
        return self._items() if self._is_long() else iter(self.value())

    def _is_long(self) -> bool:
        """Return whether too much of the document remains to be decoded in a single call to the C decoder."""
        return bool(self._data) or len(self._text) - self._at > _CHUNK

    def _items(self) -> Iterator[Any]:
        return (self.value() for _ in self._within("]"))

    def _within(self, closing: str) -> Iterator[None]:
        """Skip the brackets and commas of an array or object. Yield before each element, for the caller to read it."""
        self._at += 1
        if self._next() != closing:
            yield
            while (found := self._next()) == ",":
                self._at += 1
                yield
            if found != closing:
                raise _invalid_json(f"a comma or {closing!r} is missing")
        self._at += 1

    def _end(self) -> None:
        if self._next():
            raise _invalid_json("extra data after the end")

    def _next(self) -> str:
        """Skip whitespace and return the next character, or an empty string at the end."""
        while not (found := self._text[self._at : self._at + 1]) or found in _SPACES:
            if found:
                self._at = _SPACE.match(self._text, self._at).end()  # type: ignore[union-attr]  # always matches
            elif not self._more():
                return ""
        return found

    def _more(self) -> bool:
        """Decode more of the document, at least doubling the unread text. Return `False` at the end."""
        if not self._data:
            return False
        self._check()
        kept = self._text[self._at :]
        size = max(_CHUNK, len(kept))
        piece, self._data = self._data[:size], self._data[size:]
        try:
            self._text, self._at = kept + self._decode(piece, not self._data), 0
        except UnicodeDecodeError as error:
            raise _invalid_json(error.reason) from None
        return True


def load(data: bytes, check: Callable[[], None] = no_check, most: int = _MAX_STRINGS) -> dict[str, Any]:
    """Parse a JSON object with at most `most` values."""
    reader = Reader(data, check, most)
    return {key: reader.value() for key in reader.fields()}


def _check_shape(data: bytes, most: int) -> None:
    """Raise `ValueError` if parsing would take too much stack space or memory. This check is cheaper than parsing."""
    if data.count(b",") > most or data.count(b'"') > 2 * most:
        raise ValueError(f"it contains more than {most:,} values")
    data = data.replace(rb"\\", b"").replace(rb"\"", b"")
    nested = b"".join(_brackets(data)).translate(_AS_LISTS)
    for _ in range(_MAX_DEPTH):
        nested = nested.replace(b"[]", b"")
    if b"[]" in nested or nested.count(b"[") > _MAX_DEPTH:  # any other remainder is invalid JSON; the parser reports it
        raise ValueError(f"it is nested more than {_MAX_DEPTH} levels deep")


def _brackets(data: bytes) -> Iterator[bytes]:
    """Yield all brackets that are outside of strings, chunk by chunk, so that other threads can run in between.

    Args:
        data: the document, from which escaped quotation marks have been removed.
    """
    quoted = 0
    for start in range(0, len(data), _CHUNK):
        pieces = data[start : start + _CHUNK].translate(None, _NO_BRACKETS).split(b'"')
        yield b"".join(pieces[quoted::2])
        quoted ^= (len(pieces) - 1) % 2


def _integer(text: str) -> int:
    if len(text) > _MAX_DIGITS:
        raise ValueError(f"{quoted(text)} has more than {_MAX_DIGITS} digits")
    return int(text)


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{quoted(text)} is not a finite number")
    return number


def _check_surrogates(value: Any) -> None:
    try:
        _encoded(value)
    except UnicodeEncodeError as error:
        raise _invalid_json(error.reason) from None


def _invalid_json(reason: str) -> ValueError:
    return ValueError(f"it isn't valid JSON encoded in UTF-8 ({reason})")


def quoted(text: str) -> str:
    """Return untrusted text, quoted and truncated, for use in a message."""
    return repr(text if len(text) <= 100 else f"{text[:100]}…")


def dump(value: Mapping[str, Any]) -> bytes:
    """Encode an object as JSON. Iterators become arrays."""
    return b"".join(dump_chunks(value))


def dump_chunks(value: Mapping[str, Any]) -> Iterator[bytes]:
    """Encode an object as JSON, chunk by chunk. Iterators become arrays."""
    separator = b"{"
    for key, item in value.items():
        yield separator + _encoded(key) + b":"
        yield from _value_chunks(item)
        separator = b","
    yield b"}" if value else b"{}"


def _value_chunks(item: Any) -> Iterator[bytes]:
    if not isinstance(item, Iterator):
        yield _encoded(item)
        return
    yield b"["
    separator = b""
    while rows := list(islice(item, ROWS_PER_CHUNK)):
        yield separator + _encoded(rows)[1:-1]
        separator = b","
    yield b"]"


def _encoded(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
