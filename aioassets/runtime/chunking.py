"""Dividing files into content-defined chunks while they are read.

This needs the optional packages of the extra `deltas`. Without them, versions have no chunk lists, so that only whole
files are reused.
"""

from __future__ import annotations

import functools
import os
import warnings
from array import array
from collections.abc import Callable
from importlib import import_module
from typing import Any, Final

from aioassets.model.chunks import CHUNKING, ChunkList
from aioassets.model.digests import Hash
from aioassets.runtime.disk import BUFFER
from aioassets.runtime.threads import check_cancelled

CAPACITY: Final = 4 * CHUNKING.max_size
"""Number of bytes to divide at once. The rest, of up to one chunk, is then moved."""


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


def hash_and_chunk(digest: Hash, descriptor: int, size: int) -> ChunkList:
    """Hash an open file and divide it into chunks, reading it once. Blocking.

    Args:
        digest: the hash of the whole file, which is updated.
        descriptor: the descriptor of the file.
        size: the size of the file in bytes.

    Raises:
        OSError: if the file can't be read or ends before `size`.
    """
    chunker = Chunker()
    start = 0
    while start < size:
        check_cancelled()
        buffer = chunker.free()[: min(BUFFER, size - start)]
        count = os.preadv(descriptor, [buffer], start)
        if not count:
            raise OSError(f"the file shrank to {start} bytes while it was being hashed")
        digest.update(buffer[:count])
        chunker.added(count)
        start += count
    return chunker.finish()
