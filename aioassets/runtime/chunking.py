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
from typing import Any, Final

from aioassets.model.chunks import CHUNKING, ChunkList

CAPACITY: Final = 4 * CHUNKING.max_size
"""Number of bytes to divide at once. The rest, of up to one chunk, is then moved."""


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
    """An incremental chunker that is fed with the bytes of a file in order. It takes `CAPACITY` bytes of memory.

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
        self._buffer = memoryview(bytearray(CAPACITY))
        self._filled = 0

    def update(self, data: bytes | bytearray | memoryview) -> None:
        """Add the next bytes of the file. Blocking; other threads can run in the meantime."""
        view = memoryview(data)
        while view:
            free = self.free()
            count = min(len(free), len(view))
            free[:count] = view[:count]
            self.added(count)
            view = view[count:]

    def free(self) -> memoryview:
        """Return memory for the next bytes of the file, for callers that read into it. Then call `added`."""
        return self._buffer[self._filled :]

    def added(self, count: int) -> None:
        """Note that the next bytes of the file were written to the memory that `free` returned. Blocking."""
        self._filled += count
        if self._filled == CAPACITY:
            rest = self._buffer[self._divide() :]
            self._buffer[: len(rest)] = rest
            self._filled = len(rest)

    def finish(self) -> ChunkList:
        """Return all chunks, after the last bytes of the file were added. Call it only once. Blocking."""
        for chunk in self._cut(self._buffer[: self._filled]):
            self._add(chunk.data)
        return ChunkList(self._lengths, self._digests)

    def _divide(self) -> int:
        """Divide the full buffer, except for the last chunk, which may continue. Return the offset of the rest."""
        chunks = self._cut(self._buffer)
        done = 0
        while CAPACITY - done >= CHUNKING.max_size:
            data = next(chunks).data
            self._add(data)
            done += len(data)
        return done

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
