"""Sinks for a file reader. One writes a new file on disk; the other only hashes the content."""

from __future__ import annotations

import contextlib
import os
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

import anyio

from aioassets.drivers.protocol import Data
from aioassets.fetch.digests import digest_of_content, hash_for
from aioassets.fetch.reader import FileReader
from aioassets.fetch.remote import RemoteFile
from aioassets.model.deltas import Delta, Gap, Run
from aioassets.model.digests import Hash, best_of
from aioassets.model.files import FileEntry
from aioassets.runtime.batches import SMALL, in_batch
from aioassets.runtime.digests import hash_range
from aioassets.runtime.disk import READING, copy_range, create_file, write_all_at, write_at
from aioassets.runtime.tasks import for_each, unwrapped
from aioassets.runtime.threads import in_thread, opened

RANGE: Final = 8 * 1024 * 1024
"""Number of bytes in a range of a file. Transferring that many takes much longer than a round trip."""
RANGES_AT_ONCE: Final = 8
"""Maximum number of concurrent ranges of one file, so that other files aren't delayed."""
RANGES_IN_MEMORY: Final = 4
"""Maximum number of ranges, across all files, held in memory until they are hashed: 32 MiB on top of the budget."""
WRITE: Final = 1024 * 1024
"""Number of bytes to write to the disk at a time."""


def _unreported(nbytes: int) -> None:
    """Do nothing. This is the default for `report_run`."""


@dataclass(slots=True)
class DiskSink:
    """A sink that writes a new file on disk.

    Attributes:
        target: the path of the file. Its folder must exist.
        delta: the parts of a large file that local files contain, if any are known.
        report_run: a function that receives the number of bytes of each run that was copied from a local file.
        copied: the total of these bytes in the file.
    """

    target: str
    delta: Delta | None = None
    report_run: Callable[[int], None] = _unreported
    copied: int = 0

    async def consume(self, reader: FileReader, file: RemoteFile) -> str:
        """Write a file and return the digest of what was written."""
        return await (self._small(reader, file) if file.size <= SMALL else self._large(reader, file))

    async def discard(self) -> None:
        """Remove the file. If it is read again, nothing is copied from local files, because they may be damaged."""
        self.delta, self.copied = None, 0
        await in_thread(partial(Path(self.target).unlink, missing_ok=True))

    async def _small(self, reader: FileReader, file: RemoteFile) -> str:
        # An empty file needs no request if its digest is recorded.
        is_known = not file.size and best_of(file.entry.digests) is not None
        data = b"" if is_known else await reader.content(file, 0, file.size)
        return await in_batch(_write_new, self.target, data, file.entry)

    async def _large(self, reader: FileReader, file: RemoteFile) -> str:
        """Write ranges in parallel and hash them in order, reading from the page cache."""
        async with opened(partial(create_file, self.target, executable=file.entry.executable)) as descriptor:
            hashing = _InOrderHash(descriptor, file.size, hash_for(file.entry))
            path = reader.driver.local_path(file.key) if file.revision is None else None

            async def transfer(start: int) -> None:
                stop = _range_end(start, file.size)
                if self.delta is None:
                    await _fill_range(reader, file, path, start, stop, descriptor)
                else:
                    await self._assemble(reader, file, self.delta.within(start, stop), descriptor)
                hashing.complete(start)

            with unwrapped():
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(hashing.run)
                    limit = RANGES_AT_ONCE if path is None else 1  # concurrent copies into one file block each other
                    await for_each(range(0, file.size, RANGE), transfer, limit=limit)
            return hashing.hexdigest()

    async def _assemble(
        self, reader: FileReader, file: RemoteFile, pieces: Iterable[Run | Gap], descriptor: int
    ) -> None:
        """Copy runs from local files, and download the gaps between them, and the runs that can't be copied."""
        for piece in pieces:
            if isinstance(piece, Run) and await in_thread(_copy_run, piece, descriptor):
                self.copied += piece.length
                self.report_run(piece.length)
            else:
                await _write_range(reader, file, piece.start, piece.stop, descriptor)


@dataclass(frozen=True, slots=True)
class NullSink:
    """A sink that hashes files and stores nothing. One sink can be used for many files concurrently."""

    in_memory: anyio.Semaphore = field(default_factory=lambda: anyio.Semaphore(RANGES_IN_MEMORY))

    async def consume(self, reader: FileReader, file: RemoteFile) -> str:
        """Hash a file and return its digest."""
        if file.size > SMALL:
            return await self._large(reader, file)
        data = await reader.content(file, 0, file.size)
        return await in_batch(digest_of_content, data, file.entry)

    async def discard(self) -> None:
        """Do nothing."""

    async def _large(self, reader: FileReader, file: RemoteFile) -> str:
        """Read ranges in parallel and hash them in order."""
        digest = await in_thread(hash_for, file.entry)
        turns: defaultdict[int, anyio.Event] = defaultdict(anyio.Event)
        turns[0].set()

        async def check(start: int) -> None:
            stop = _range_end(start, file.size)
            async with self.in_memory:
                data = await reader.content(file, start, stop)
                await turns[start].wait()
                del turns[start]
                if digest is not None:
                    await in_thread(digest.update, data)
                turns[stop].set()

        await for_each(range(0, file.size, RANGE), check, limit=RANGES_IN_MEMORY)
        return digest.hexdigest() if digest is not None else ""


class _InOrderHash:
    """A hash of a file's ranges in order. Each range is hashed once it and all earlier ranges have been written."""

    def __init__(self, descriptor: int, size: int, digest: Hash | None) -> None:
        self._descriptor = descriptor
        self._size = size
        self._hash = digest
        self._complete: defaultdict[int, anyio.Event] = defaultdict(anyio.Event)

    def complete(self, start: int) -> None:
        """Mark a range as written."""
        if self._hash is not None:
            self._complete[start].set()

    async def run(self) -> None:
        if self._hash is None:
            return
        for start in range(0, self._size, RANGE):
            await self._complete[start].wait()
            del self._complete[start]
            await in_thread(hash_range, self._hash, self._descriptor, start, _range_end(start, self._size))

    def hexdigest(self) -> str:
        return self._hash.hexdigest() if self._hash is not None else ""


def _range_end(start: int, size: int) -> int:
    return min(start + RANGE, size)


async def _fill_range(
    reader: FileReader, file: RemoteFile, path: str | None, start: int, stop: int, descriptor: int
) -> None:
    """Write a range of a new file: a copy from the object if that is a local file, else what the store sends."""
    if path is None or not await _copy(reader, path, file.size, start, stop, descriptor):
        await _write_range(reader, file, start, stop, descriptor)


async def _copy(reader: FileReader, path: str, size: int, start: int, stop: int, descriptor: int) -> bool:
    """Copy a range from an object that is a local file. Return `False` if the driver must read the range instead."""
    copied = await in_thread(_copy_range_of, path, size, start, stop, descriptor)
    if copied:
        reader.report_bytes(stop - start)
    return copied


async def _write_range(reader: FileReader, file: RemoteFile, start: int, stop: int, descriptor: int) -> None:
    """Write a range chunk by chunk. Joining the chunks would copy them on the event loop."""
    offset, size = start, 0
    pending: list[Data] = []
    async with contextlib.aclosing(reader.chunks(file, start, stop)) as chunks:
        async for chunk in chunks:
            pending.append(chunk)
            size += len(chunk)
            if size >= WRITE:
                await in_thread(write_all_at, descriptor, pending, offset)
                offset, size = offset + size, 0
                pending.clear()
        if pending:
            await in_thread(write_all_at, descriptor, pending, offset)


def _copy_range_of(path: str, size: int, start: int, stop: int, target: int) -> bool:
    try:
        source = os.open(path, READING)
    except OSError:
        return False
    try:
        return os.fstat(source).st_size == size and copy_range(source, target, start, stop)
    finally:
        os.close(source)


def _copy_run(run: Run, target: int) -> bool:
    try:
        source = os.open(run.source, READING)
    except OSError:  # it was evicted
        return False
    try:
        return copy_range(source, target, run.source_start, run.source_start + run.length, to=run.start)
    finally:
        os.close(source)


def _write_new(path: str, data: bytes, entry: FileEntry) -> str:
    descriptor = create_file(path, executable=entry.executable)
    try:
        write_at(descriptor, data, 0)
    finally:
        os.close(descriptor)
    return digest_of_content(data, entry)
