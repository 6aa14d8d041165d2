"""Dividing files into content-defined chunks while they are read.

This needs the optional packages of the extra `deltas`. Without them, versions have no chunk lists, so that only whole
files are reused.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import warnings
from array import array
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from importlib import import_module
from typing import Any

from aioassets.model.chunks import CHUNKING, ChunkList

_divided_from: ContextVar[int] = ContextVar("aioassets_divided_from", default=CHUNKING.threshold)


def has_chunks(size: int) -> bool:
    """Return whether new versions list the chunks of a file of this size in bytes."""
    return size >= _divided_from.get()


@contextlib.contextmanager
def dividing_from(size: int) -> Iterator[None]:
    """Divide files of at least this size within a `with` block and the tasks that it starts, for tests."""
    token = _divided_from.set(size)
    try:
        yield
    finally:
        _divided_from.reset(token)


@functools.cache
def can_chunk() -> bool:
    """Return whether files can be divided into chunks at a useful speed. The first call imports packages. Blocking."""
    try:
        import_module("blake3")
        return str(_fastcdc().__module__).startswith("pyfastcdc.cy")
    except ImportError:
        return False


def _fastcdc() -> Any:
    """Import and return the chunker. Without its compiled module, it takes 500 times as long, and warns."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return import_module("pyfastcdc").FastCDC


class Chunker:
    """An incremental chunker that is fed with the bytes of a file in order. In between, it keeps at most one chunk.

    Raises:
        ImportError: if a package is missing; see `can_chunk`.
    """

    def __init__(self) -> None:
        self._cut = _fastcdc()(
            CHUNKING.average_size,
            min_size=CHUNKING.min_size,
            max_size=CHUNKING.max_size,
            normalized_chunking=2,
        ).cut_buf
        self._blake3: Callable[[memoryview], Any] = import_module("blake3").blake3
        self._lengths = array("I")
        self._digests = bytearray()
        self._tail = b""
        """The bytes since the last boundary, which may be part of a longer chunk."""

    def update(self, data: bytes | bytearray | memoryview) -> None:
        """Add the next bytes of the file. Blocking; other threads can run in the meantime."""
        view = self._after_tail(memoryview(data))
        if view:
            self._tail = self._divide(view)

    def finish(self) -> ChunkList:
        """Return all chunks, after the last bytes of the file were added. Call it only once. Blocking."""
        if self._tail:
            self._add(memoryview(self._tail))
        return ChunkList(self._lengths, self._digests)

    def _after_tail(self, view: memoryview) -> memoryview:
        """Complete the chunks that begin in the tail, and return the bytes that follow them."""
        if not self._tail:
            return view
        buffer = memoryview(self._tail + view[: CHUNKING.max_size].tobytes())
        done, has_all = 0, len(view) <= CHUNKING.max_size
        while done < len(self._tail):
            data = next(self._cut(buffer[done : done + CHUNKING.max_size])).data
            if has_all and done + len(data) == len(buffer) and len(data) < CHUNKING.max_size:
                self._tail = bytes(data)
                return view[len(view) :]
            self._add(data)
            done += len(data)
        done -= len(self._tail)
        self._tail = b""
        return view[done:]

    def _divide(self, view: memoryview) -> bytes:
        """Add all chunks that begin and end in some bytes, and return the rest.

        A boundary within the bytes is the same whatever follows them. At their end, the chunk may go on.
        """
        last: memoryview | None = None
        for chunk in self._cut(view):
            if last is not None:
                self._add(last)
            last = chunk.data
        return b"" if last is None else bytes(last)

    def _add(self, data: memoryview) -> None:
        self._lengths.append(len(data))
        self._digests += self._blake3(data).digest()


class ContentHash:
    """A SHA-256 of a file that also divides a large file into chunks, in one pass. It is a `Hash`.

    Args:
        size: the size of the file in bytes.
        with_chunks: whether to divide the file if it is large enough and the optional packages are installed.

    Attributes:
        chunks: the chunks, once all bytes were added; `None` if the file isn't divided.
    """

    def __init__(self, size: int, *, with_chunks: bool = True) -> None:
        self.chunks: ChunkList | None = None
        self._sha256 = hashlib.sha256()
        self._left = size
        self._is_divided = with_chunks and has_chunks(size)
        self._chunker: Chunker | None = None

    def update(self, data: bytes | bytearray | memoryview, /) -> None:
        """Add the next bytes of the file. Blocking if the file is divided."""
        self._sha256.update(data)
        if self._is_divided:
            self._divide(data)

    def _divide(self, data: bytes | bytearray | memoryview) -> None:
        if self._chunker is None:
            if not can_chunk():
                self._is_divided = False
                return
            self._chunker = Chunker()
        self._chunker.update(data)
        self._left -= len(data)
        if not self._left:
            self.chunks, self._chunker, self._is_divided = self._chunker.finish(), None, False

    def hexdigest(self) -> str:
        """Return the SHA-256 of all bytes added so far, in lowercase hexadecimal."""
        return self._sha256.hexdigest()
