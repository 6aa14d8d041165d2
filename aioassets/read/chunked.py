"""Verification of parts of a large file by the digests of its chunks."""

from __future__ import annotations

import functools
from bisect import bisect_left, bisect_right
from collections.abc import Callable
from importlib import import_module
from typing import Any, Final

from aioassets.errors import IntegrityError
from aioassets.model.chunks import ChunkList
from aioassets.read.pieces import Piece

BLAKE3: Final = "blake3"
"""The algorithm of chunk digests that can be verified."""


@functools.cache
def blake3() -> Callable[[memoryview], Any] | None:
    """Return the hash function of chunks, or `None` if its package isn't installed. Blocking."""
    try:
        function: Callable[[memoryview], Any] = import_module(BLAKE3).blake3
    except ImportError:
        return None
    return function


class ChunkCheck:
    """The verification of one file by its chunks.

    Args:
        label: the name of the file for error messages.
        chunks: its chunks.
        new_hash: the hash function of the chunks.
    """

    def __init__(self, label: str, chunks: ChunkList, new_hash: Callable[[memoryview], Any]) -> None:
        self._label = label
        self._chunks = chunks
        self._hash = new_hash

    def floor(self, offset: int) -> int:
        """Return the start of the chunk that contains an offset."""
        return self._chunks.offsets[bisect_right(self._chunks.offsets, offset) - 1]

    def ceil(self, offset: int) -> int:
        """Return the first start of a chunk from an offset on, or the end of the file."""
        number = bisect_left(self._chunks.offsets, offset)
        return self._chunks.offsets[number] if number < len(self._chunks) else self._chunks.size

    def checked(self, start: int, data: bytes) -> Piece:
        """Return the whole chunks within some bytes of the file. Blocking.

        Raises:
            IntegrityError: if any of them isn't what was pushed.
        """
        first, view, reached = self.ceil(start), memoryview(data), self.ceil(start)
        number = bisect_left(self._chunks.offsets, first)
        while number < len(self._chunks) and (chunk := self._chunks[number]).stop <= start + len(data):
            found = self._hash(view[chunk.offset - start : chunk.stop - start]).digest()
            if found != chunk.digest:
                where = f"{BLAKE3} {chunk.digest.hex()} for bytes {chunk.offset} to {chunk.stop}"
                raise IntegrityError(self._label, where, found.hex())
            number, reached = number + 1, chunk.stop
        whole = first == start and reached == start + len(data)
        return Piece(first, data if whole else view[first - start : reached - start], verified=True)
