"""The ways to read the content of a file: by chunks, as a whole, just the bytes, or from the cache."""

from __future__ import annotations

import logging
import os
from collections.abc import Awaitable, Callable
from functools import partial
from typing import BinaryIO, Final

import anyio

from aioassets.errors import IntegrityError, PreconditionFailed
from aioassets.fetch.digests import check_digest, digest_of_content
from aioassets.fetch.leases import Hold
from aioassets.model.chunks import CHUNKING, ChunkTable
from aioassets.model.digests import best_of
from aioassets.model.files import FileEntry
from aioassets.read.chunked import BLAKE3, ChunkCheck, blake3
from aioassets.read.pieces import Anywhere, Piece
from aioassets.read.stored import StoredFile
from aioassets.runtime.batches import SMALL, in_batch
from aioassets.runtime.tasks import gather2
from aioassets.runtime.threads import in_thread

logger = logging.getLogger(__name__)

AROUND: Final = CHUNKING.max_size
"""Number of bytes to read before and after a range whose chunks aren't known yet: the maximum size of a chunk."""

ReadChunks = Callable[[], Awaitable[ChunkTable | None]]
"""A function that returns the chunks of a version, or `None` if they can't be used."""


class PlainPieces(Anywhere):
    """The content of a file in the store whose pieces can't be verified, or needn't be.

    Args:
        file: the file.
        verify: whether to verify it as a whole if its object has another revision than the manifest records.
    """

    def __init__(self, file: StoredFile, *, verify: bool) -> None:
        self._file = file
        self._may_be_whole = verify and file.file.size <= CHUNKING.threshold and bool(best_of(file.file.entry.digests))
        self._whole: WholePieces | None = None

    async def piece(self, start: int, stop: int) -> Piece:
        """Read a range, or the whole file."""
        async with self._file.explained():
            try:
                if self._whole is None:
                    return Piece(start, await self._file.content(start, stop), verified=False)
            except PreconditionFailed:
                if not self._may_be_whole:
                    raise
                self._whole = self._whole or WholePieces(await self._file.repinned(), verify=True)
            return await self._whole.piece(start, stop)

    async def aclose(self) -> None:
        """Release the memory."""
        self._whole = None


class WholePieces:
    """The content of a small file in the store, which is read at once, verified and kept.

    Args:
        file: the file.
        verify: whether to verify it. If it arrives damaged, it is read once more.
    """

    def __init__(self, file: StoredFile, *, verify: bool) -> None:
        self._file = file
        self._verifies = verify and best_of(file.file.entry.digests) is not None
        self._reading = anyio.Lock()
        self._whole: Piece | None = None

    async def piece(self, start: int, stop: int) -> Piece:
        """Return the whole file."""
        async with self._reading, self._file.explained():
            if self._whole is None:
                self._whole = await (_twice(self._read, self._file) if self._verifies else self._read())
            return self._whole

    async def _read(self) -> Piece:
        file = self._file.file
        data = await self._file.content(0, file.size)
        if self._verifies:
            run = in_batch if len(data) <= SMALL else in_thread
            check_digest(file.label, file.entry, await run(digest_of_content, data, file.entry))
        return Piece(0, data, self._verifies)

    @property
    def is_ready(self) -> bool:
        """`True`."""
        return True

    async def prepare(self) -> None:
        """Do nothing."""

    def floor(self, offset: int) -> int:
        """Return the start of the file."""
        return 0

    def ceil(self, offset: int) -> int:
        """Return the end of the file."""
        return self._file.file.size

    async def aclose(self) -> None:
        """Release the memory."""
        self._whole = None


class ChunkedPieces:
    """The content of a large file in the store, whose chunks are verified.

    The chunks are read at the same time as the first range. If they can't be used, nothing is verified.

    Args:
        file: the file.
        read_chunks: a function that returns the chunks of the version.
    """

    def __init__(self, file: StoredFile, read_chunks: ReadChunks) -> None:
        self._file = file
        self._read_chunks = read_chunks
        self._preparing = anyio.Lock()
        self.is_ready = False
        self._check: ChunkCheck | None = None

    async def prepare(self) -> None:
        """Read the chunks, unless that has been done."""
        async with self._preparing:
            if not self.is_ready:
                self._check = await self._find_check()
                self.is_ready = True

    async def _find_check(self) -> ChunkCheck | None:
        file = self._file.file
        new_hash = await in_thread(blake3)
        if new_hash is None:
            logger.info("Parts of %s can't be verified: the package blake3 isn't installed", file.label)
            return None
        table = await self._read_chunks()
        if table is None or table.chunking.digest != BLAKE3:
            logger.warning("Parts of %s can't be verified: its chunks can't be used", file.label)
            return None
        chunks = table.of(file.entry.path, file.size)
        return None if chunks is None else ChunkCheck(file.label, chunks, new_hash)

    async def piece(self, start: int, stop: int) -> Piece:
        """Read and verify the chunks that contain a range."""
        file = self._file
        async with file.explained():
            try:
                return await self._piece(start, stop)
            except PreconditionFailed:
                await self.prepare()
                if self._check is None:
                    raise
            if self._file is file:  # all bytes are verified, so they may be those of another revision
                self._file = await file.repinned()
            return await self._piece(start, stop)

    async def _piece(self, start: int, stop: int) -> Piece:
        if not self.is_ready and (first := await self._first(start, stop)) is not None:
            return first
        if self._check is None:
            return Piece(start, await self._file.content(start, stop), verified=False)
        return await _twice(partial(self._read, self._check, self.floor(start), self.ceil(stop)), self._file)

    async def _first(self, start: int, stop: int) -> Piece | None:
        """Read the chunks, and at the same time the range. Return `None` if it has to be read again."""
        first, last = max(0, start - AROUND), min(stop + AROUND, self._file.file.size)
        _, data = await gather2(self.prepare, partial(self._file.content, first, last))
        if self._check is None:
            return Piece(first, data, verified=False)
        try:
            piece = await in_thread(self._check.checked, first, data)
        except IntegrityError as error:
            logger.warning("Reading damaged bytes again from %s: %s", self._file.remote.store.url, error)
            return None
        return piece if piece.start <= start and stop <= piece.stop else None

    async def _read(self, check: ChunkCheck, start: int, stop: int) -> Piece:
        return await in_thread(check.checked, start, await self._file.content(start, stop))

    def floor(self, offset: int) -> int:
        """Return the start of the chunk that contains an offset."""
        return offset if self._check is None else self._check.floor(offset)

    def ceil(self, offset: int) -> int:
        """Return the first start of a chunk from an offset on, or the end of the file."""
        return offset if self._check is None else self._check.ceil(offset)

    async def aclose(self) -> None:
        """Do nothing."""


class CachedPieces(Anywhere):
    """The content of a file in the assets directory, which isn't evicted as long as it is open.

    Args:
        file: the open file, which is closed at the end.
        entry: the file's entry in the manifest.
        label: the name of the file for error messages.
        hold: a share in the lease on the version.
    """

    def __init__(self, file: BinaryIO, entry: FileEntry, label: str, hold: Hold) -> None:
        self._file = file
        self._label = label
        self._hold = hold
        self._verified = best_of(entry.digests) is not None

    async def piece(self, start: int, stop: int) -> Piece:
        """Read a range. It was verified when the file was downloaded."""
        return Piece(start, await in_thread(self._read, start, stop), self._verified)

    def _read(self, start: int, stop: int) -> bytes:
        data = bytearray(stop - start)
        view, count, descriptor = memoryview(data), 0, self._file.fileno()
        while count < len(data) and (found := os.preadv(descriptor, [view[count:]], start + count)):
            count += found
        if count < len(data):
            raise IntegrityError(self._label, f"at least {stop} bytes", f"{start + count}")
        return bytes(data)

    async def aclose(self) -> None:
        """Close the file, and allow the cache to evict it."""
        await in_thread(self._file.close)
        self._hold.release()


async def _twice(read: Callable[[], Awaitable[Piece]], file: StoredFile) -> Piece:
    """Read and verify a piece. If it arrives damaged, read it once more: a connection may have damaged it."""
    try:
        return await read()
    except IntegrityError as error:
        logger.warning("Reading damaged bytes again from %s: %s", file.remote.store.url, error)
    return await read()
