"""Pieces of a file's content, and where they are read from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from aioassets.drivers.protocol import Data
from aioassets.model.files import FileEntry


@dataclass(frozen=True, slots=True)
class Piece:
    """Consecutive bytes of a file.

    Attributes:
        start: the offset of the first byte.
        data: the bytes.
        verified: whether they were compared with a digest.
    """

    start: int
    data: Data
    verified: bool

    @property
    def stop(self) -> int:
        """The offset after the last byte."""
        return self.start + len(self.data)

    def view(self, start: int, stop: int) -> memoryview:
        """Return the bytes of the piece that are in a range of the file."""
        return memoryview(self.data)[max(0, start - self.start) : max(0, stop - self.start)]


Span = tuple[int, int]
"""A range of a file: the offset of the first byte, and the one after the last byte."""


class Pieces(Protocol):
    """The content of an open file, which is read in pieces. Calls may run concurrently."""

    async def piece(self, start: int, stop: int) -> Piece:
        """Read a piece that contains a range of the file, and maybe bytes around it. The range isn't empty.

        Raises:
            IntegrityError: if the bytes aren't those that were pushed, or aren't there.
        """

    @property
    def is_ready(self) -> bool:
        """Whether it is known where the content can be divided."""

    async def prepare(self) -> None:
        """Find out where the content can be divided. Until then, it is divided anywhere."""

    def floor(self, offset: int) -> int:
        """Return the last offset up to a given one at which the content can be divided."""

    def ceil(self, offset: int) -> int:
        """Return the first offset from a given one at which the content can be divided."""

    async def aclose(self) -> None:
        """Give up all resources. No call is running."""


class Anywhere:
    """Base class for content that can be divided anywhere."""

    @property
    def is_ready(self) -> bool:
        """`True`."""
        return True

    async def prepare(self) -> None:
        """Do nothing."""

    def floor(self, offset: int) -> int:
        """Return the offset."""
        return offset

    def ceil(self, offset: int) -> int:
        """Return the offset."""
        return offset


@dataclass(frozen=True, slots=True)
class Opened:
    """A file whose content can be read.

    Attributes:
        name: the asset's name.
        version: the version.
        entry: the file's entry in the manifest.
        label: the name of the file for error messages.
        size: its size in bytes.
        pieces: its content.
        from_cache: whether it is in the cache.
    """

    name: str
    version: str
    entry: FileEntry
    label: str
    size: int
    pieces: Pieces
    from_cache: bool
