"""JSON of any length and from anybody: read without trust, and both ways with little more in memory than the text.

Whatever is wrong with a text is one `ValueError` with a sentence. Of a key that it repeats, the
last value counts, as it does for modelkit.
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
"""Rows that are encoded at once: meanwhile no other thread runs, the event loop's included. So few are gone again
before Python begins a search for garbage, which it does after 700 new objects."""
_CHUNK: Final = 64 * 1024
_DELIMITERS: Final = frozenset(" \t\n\r,:]}")
_MAX_DEPTH: Final = 32
_MAX_DIGITS: Final = 100
_MAX_FIELDS: Final = 1000
_MAX_STRINGS: Final = 32_000_000
"""What a version of a million files needs, several times; as Python's objects they take some GiB."""

_NO_BRACKETS: Final = bytes(byte for byte in range(256) if byte not in b'[]{}"')
_AS_LISTS: Final = bytes.maketrans(b"{}", b"[]")
_ESCAPED: Final = re.compile(rb"\\.", re.DOTALL)
_SURROGATE: Final = re.compile(rb"\\u[dD][89a-fA-F]")
_SPACES: Final = " \t\n\r"
_SPACE: Final = re.compile(f"[{_SPACES}]*")


def no_check() -> None:
    """Check nothing."""


class Reader:
    """Reads the fields of an object one by one, each as a whole or, a list, item by item.

    Args:
        data: the text.
        most: how many values it may hold.
        check: is called now and then; it may raise to end the parsing.

    Raises:
        ValueError: it is no object in JSON, or more than should be read.
    """

    def __init__(self, data: bytes, check: Callable[[], None] = no_check, most: int = _MAX_STRINGS) -> None:
        _check_shape(data, most)
        self._check = check
        self._data = memoryview(data)
        self._decode = codecs.getincrementaldecoder("utf-8")().decode
        self._decoder = json.JSONDecoder(parse_int=_integer, parse_float=_finite, parse_constant=_finite)
        self._text = ""
        self._at = 0
        self._has_surrogates = _SURROGATE.search(data) is not None

    def fields(self) -> Iterator[str]:
        """The keys; the value of each has to be read before the next one."""
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
        """The value that is next; a list whose text isn't all at hand is made item by item."""
        if self._next() == "[" and self._data:
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
                if self._text[end : end + 1] in _DELIMITERS or not self._more():  # else a number may go on
                    break
        self._at = end
        if self._has_surrogates:
            _check_surrogates(value)
        return value

    def items(self) -> Iterator[Any] | None:
        """The items of the list that is next, to be taken at once; `None` where the next value isn't one."""
        return self._items() if self._next() == "[" else None

    def _items(self) -> Iterator[Any]:
        return (self.value() for _ in self._within("]"))

    def _within(self, closing: str) -> Iterator[None]:
        """From behind an opening bracket to behind the closing one; whoever asks reads what is between the commas."""
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
            raise _invalid_json("there is more behind it")

    def _next(self) -> str:
        """The character that is next, spaces aside; empty at the end."""
        while not (found := self._text[self._at : self._at + 1]) or found in _SPACES:
            if found:
                self._at = _SPACE.match(self._text, self._at).end()  # type: ignore[union-attr]  # it matches
            elif not self._more():
                return ""
        return found

    def _more(self) -> bool:
        """Have more of the text at hand, twice as much as there was; `False` at its end."""
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
    """Parse an object of at most so many values."""
    reader = Reader(data, check, most)
    return {key: reader.value() for key in reader.fields()}


def _check_shape(data: bytes, most: int) -> None:
    """Raise for what the parser would take too much stack or memory for; cheaper than parsing."""
    if data.count(b",") > most or data.count(b'"') > 2 * most:
        raise ValueError(f"it holds more than {most:,} values")
    if b"\\" in data:
        data = _ESCAPED.sub(b"", data)
    nested = b"".join(_brackets(data)).translate(_AS_LISTS)
    for _ in range(_MAX_DEPTH):
        nested = nested.replace(b"[]", b"")
    if b"[]" in nested or nested.count(b"[") > _MAX_DEPTH:  # what is left otherwise isn't JSON
        raise ValueError(f"it is nested deeper than {_MAX_DEPTH}")


def _brackets(data: bytes) -> Iterator[bytes]:
    """All brackets that aren't in strings, from data without escapes, in pieces: other threads run between them."""
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
        raise ValueError(f"{quoted(text)} is too large or no number")
    return number


def _check_surrogates(value: Any) -> None:
    try:
        _encoded(value)
    except UnicodeEncodeError as error:
        raise _invalid_json(error.reason) from None


def _invalid_json(reason: str) -> ValueError:
    return ValueError(f"it isn't JSON in UTF-8 ({reason})")


def quoted(text: str) -> str:
    """A text from a store as messages show it."""
    return repr(text if len(text) <= 100 else f"{text[:100]}…")


def dump(value: Mapping[str, Any]) -> bytes:
    """JSON of an object; an iterator in it becomes a list."""
    return b"".join(dump_chunks(value))


def dump_chunks(value: Mapping[str, Any]) -> Iterator[bytes]:
    """JSON of an object, piece by piece; an iterator in it becomes a list."""
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
