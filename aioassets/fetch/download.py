"""Downloading and verifying files in parallel, within the budget."""

from __future__ import annotations

import contextlib
import os
from collections import defaultdict
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import anyio

from aioassets.drivers.protocol import Data, Driver, Revision
from aioassets.errors import IntegrityError, ObjectNotFound, PreconditionFailed
from aioassets.model.digests import Hash, best_of, new_hash
from aioassets.model.files import FileEntry, FileTable
from aioassets.progress import BytesTransferred, FileTransferred, Progress
from aioassets.runtime.batches import SMALL, in_batch
from aioassets.runtime.digests import hash_range, update_digest
from aioassets.runtime.disk import READING, copy_range, write_all_at, write_at
from aioassets.runtime.lanes import FILES_AT_ONCE, side_by_side
from aioassets.runtime.tasks import for_each, unwrapped
from aioassets.runtime.threads import check_cancelled, in_thread, opened

RANGES_AT_ONCE: Final = 8
"""Ranges of one file that are under way or wait for the budget: other files have their turn between them."""
RANGE: Final = 8 * 1024 * 1024
"""Bytes of one range of a download: long enough that its round trip doesn't count."""
WRITE: Final = 1024 * 1024
"""Bytes written to disk in one go."""


@dataclass(frozen=True, slots=True)
class Download:
    """One file to download.

    Attributes:
        entry: what the manifest says of it.
        key: where it is in the store.
        target: where it goes; its folder exists.
        what: how errors call it: asset, version and part.
        size: in bytes.
        revision: the only state to read, where the manifest has no digest to tell.
    """

    entry: FileEntry
    key: str
    target: str
    what: str
    size: int
    revision: Revision | None = None


@dataclass(frozen=True, slots=True)
class Downloader:
    """Downloads and verifies files.

    Attributes:
        driver: where from.
        name: the asset, for events.
        report: receives events.
        at_once: files under way at once.
    """

    driver: Driver
    name: str
    report: Progress
    at_once: int = FILES_AT_ONCE

    async def run(self, files: FileTable, planned: Callable[[FileEntry], Download]) -> None:
        """Download everything.

        Args:
            files: what to download.
            planned: tells where from and where to.

        Raises:
            IntegrityError: a file isn't the one that was pushed, read twice.
        """
        await side_by_side(files.sizes, len(files), lambda number: self._fetch(files[number], planned), self.at_once)

    async def _fetch(self, entry: FileEntry, planned: Callable[[FileEntry], Download]) -> None:
        await self._download(planned(entry))

    async def _download(self, download: Download) -> None:
        try:
            try:
                await self._verified(download)
            except IntegrityError:  # perhaps damaged on the way, as happens where a connection isn't encrypted
                await self._discard(download)
                await self._verified(download)
        except ObjectNotFound as error:
            raise IntegrityError(download.what, f"{download.size} bytes", "nothing") from error
        except PreconditionFailed as error:
            raise IntegrityError(download.what, f"revision {download.revision}", "another one") from error
        self.report(FileTransferred(self.name, download.entry.path, download.size))

    async def _discard(self, download: Download) -> None:
        await in_thread(partial(Path(download.target).unlink, missing_ok=True))

    async def _verified(self, download: Download) -> None:
        digest = await (self._small(download) if download.size <= SMALL else self._large(download))
        check_digest(download.what, download.entry, digest)

    async def _small(self, download: Download) -> str:
        # Nothing has to be read to know an empty file, unless there is nothing to tell that it is one.
        known = not download.size and best_of(download.entry.digests) is not None
        data = b"" if known else await self._whole(download, 0, download.size)
        return await in_batch(_write_new, download.target, data, download.entry)

    async def _large(self, download: Download) -> str:
        """Ranges in parallel, hashed in order from the page cache as they become complete."""
        async with opened(partial(_create, download.target, download.entry.executable)) as descriptor:
            hashing = _InOrderHash(descriptor, download.size, hash_for(download.entry))
            path = self.driver.local_path(download.key) if download.revision is None else None

            async def fetch(start: int) -> None:
                stop = _range_end(start, download.size)
                if path is None or not await self._copy(path, download.size, start, stop, descriptor):
                    await self._range(download, start, stop, descriptor)
                hashing.complete(start)

            with unwrapped():
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(hashing.run)
                    limit = RANGES_AT_ONCE if path is None else 1  # copies into one file wait for each other
                    await for_each(range(0, download.size, RANGE), fetch, limit=limit)
            return hashing.hexdigest()

    async def _copy(self, path: str, size: int, start: int, stop: int, descriptor: int) -> bool:
        """Let the system copy a range of an object that is a local file; `False` where it has to be read."""
        copied = await in_thread(_copy_range_of, path, size, start, stop, descriptor)
        if copied:
            self.report(BytesTransferred(self.name, stop - start))
        return copied

    async def _range(self, download: Download, start: int, stop: int, descriptor: int) -> None:
        """Write what comes as it comes: gathering it in one place would copy it, on the loop."""
        offset, size = start, 0
        pending: list[Data] = []
        async with contextlib.aclosing(self._read(download, start, stop)) as chunks:
            async for chunk in chunks:
                pending.append(chunk)
                size += len(chunk)
                if size >= WRITE:
                    await in_thread(write_all_at, descriptor, pending, offset)
                    offset, size = offset + size, 0
                    pending.clear()
            if pending:
                await in_thread(write_all_at, descriptor, pending, offset)

    async def _whole(self, download: Download, start: int, stop: int) -> bytes:
        async with contextlib.aclosing(self._read(download, start, stop)) as chunks:
            return b"".join([chunk async for chunk in chunks])

    async def _read(self, download: Download, start: int, stop: int) -> AsyncGenerator[Data, None]:
        """Exactly the bytes of a range, and none beyond, whatever the store sends.

        At the end of the file one byte more is asked for, to see that there is none.
        """
        offset = start
        last = stop + 1 if stop == download.size else stop
        chunks = self.driver.read_range(download.key, start, last, revision=download.revision)
        async with contextlib.aclosing(chunks):
            async for chunk in chunks:
                offset += len(chunk)
                if offset > stop:
                    raise IntegrityError(download.what, f"{download.size} bytes", "more")
                self.report(BytesTransferred(self.name, len(chunk)))
                yield chunk
        if offset < stop:
            found = str(offset) if offset > start or start == 0 else "fewer"
            raise IntegrityError(download.what, f"{download.size} bytes", found)


def _range_end(start: int, size: int) -> int:
    return min(start + RANGE, size)


class _InOrderHash:
    """Hashes the ranges of a file as they become complete; keeps nothing of those that nobody works on."""

    def __init__(self, descriptor: int, size: int, digest: Hash | None) -> None:
        self._descriptor = descriptor
        self._size = size
        self._hash = digest
        self._complete: defaultdict[int, anyio.Event] = defaultdict(anyio.Event)

    def complete(self, start: int) -> None:
        """Tell that a range is on the disk."""
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


def hash_for(entry: FileEntry) -> Hash | None:
    """What a file is to be verified by; `None` where its manifest records nothing that is known here."""
    algorithm = best_of(entry.digests)
    return new_hash(algorithm) if algorithm is not None else None


def check_digest(what: str, entry: FileEntry, found: str) -> None:
    """Raise `IntegrityError` if a file's digest isn't the one that its manifest records.

    Args:
        found: by the algorithm of `hash_for`.
    """
    algorithm = best_of(entry.digests)
    if algorithm is not None and entry.digests[algorithm] != found:
        raise IntegrityError(what, f"{algorithm} {entry.digests[algorithm]}", found)


def digest_of_content(data: bytes, entry: FileEntry) -> str:
    """The digest of a file's content by the algorithm of `hash_for`; empty where there is none."""
    if (digest := hash_for(entry)) is None:
        return ""
    update_digest(digest, data)
    return digest.hexdigest()


def digest_of(path: str | Path, entry: FileEntry) -> str:
    """The digest of a file by the algorithm of `hash_for`; empty where there is none. Blocking."""
    digest = hash_for(entry)
    if digest is None:
        return ""
    with open(path, "rb", buffering=0) as file:
        while data := file.read(WRITE):
            check_cancelled()
            digest.update(data)
    return digest.hexdigest()


def _copy_range_of(path: str, size: int, start: int, stop: int, target: int) -> bool:
    try:
        source = os.open(path, READING)
    except OSError:
        return False
    try:
        return os.fstat(source).st_size == size and copy_range(source, target, start, stop)
    finally:
        os.close(source)


def _create(path: str, executable: bool) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o777 if executable else 0o666)


def _write_new(path: str, data: bytes, entry: FileEntry) -> str:
    descriptor = _create(path, entry.executable)
    try:
        write_at(descriptor, data, 0)
    finally:
        os.close(descriptor)
    return digest_of_content(data, entry)
