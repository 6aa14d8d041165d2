"""Moving the bytes of assets: what has to move, and doing it in parallel within the budget."""

from __future__ import annotations

import contextlib
import itertools
import os
from array import array
from collections import defaultdict
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import anyio

from aioassets.concurrency import Stop, Stopped, for_each, unwrapped
from aioassets.digests import Hash, best_of, feed, hash_range, new_hash
from aioassets.disk import READING, copy_range, write_all_at, write_at
from aioassets.drivers.protocol import Data, Driver, ObjectInfo, Revision
from aioassets.entries import DigestColumn, FileEntry, FileTable
from aioassets.errors import IntegrityError, ObjectNotFound, PreconditionFailed, is_uncertain
from aioassets.progress import BytesTransferred, FileTransferred, Progress
from aioassets.sources import HashedSource, SourceFile
from aioassets.threads import SMALL, check_cancelled, in_batch, in_thread, opened

FILES_AT_ONCE: Final = 64
"""Files under way at once where the budget allows no more, of small and of large ones; it bounds their requests."""
RANGES_AT_ONCE: Final = 8
"""Ranges of one file that are under way or wait for the budget: other files have their turn between them."""
LARGE: Final = 1024 * 1024
"""Bytes from which on a file may have been sent in parts, and one more request doesn't count."""
RANGE: Final = 8 * 1024 * 1024
"""Bytes of one range of a download: long enough that its round trip doesn't count."""
WRITE: Final = 1024 * 1024
"""Bytes written to disk in one go."""


class UploadLedger:
    """What is known of the uploads of one push, also when it fails: 34 bytes for each file.

    Args:
        files: what is to be uploaded.

    Attributes:
        uncertain: whether a request was sent whose effect isn't known, so that an object may still appear.
    """

    def __init__(self, files: Sequence[SourceFile]) -> None:
        self.uncertain = False
        self._files = files
        self._digests = DigestColumn(len(files))
        self._created = bytearray(len(files))
        self._stored = bytearray(len(files))

    def note_created(self, number: int) -> None:
        """Note that this push made the object of a file."""
        self._created[number] = True

    def note_stored(self, number: int, digests: Mapping[str, str]) -> None:
        """Note that a file is there, with these bytes."""
        self._digests[number] = digests
        self._stored[number] = True

    def created(self) -> Iterator[SourceFile]:
        """The files whose objects this push made."""
        return (self._files[number] for number in itertools.compress(itertools.count(), self._created))

    def entries(self) -> FileTable:
        """All files, once they are stored."""
        if not all(self._stored):
            raise RuntimeError("not all files are stored")  # no bug elsewhere may seal a version with a hole
        return FileTable.of(self._files, self._digests)


@dataclass(frozen=True, slots=True)
class Upload:
    """One file to upload.

    Attributes:
        number: which one of the push it is.
        file: where it is.
        key: where it goes.
    """

    number: int
    file: SourceFile
    key: str


class _WatchedSource:
    """A source that reports what is read for the first time, and ends when the push should.

    Attributes:
        error: the last error that arose here, and so not in the store.
    """

    def __init__(self, source: HashedSource, check: Callable[[], None], report: Callable[[int], None]) -> None:
        self._source = source
        self._check = check
        self._report = report
        self._reported = 0
        self.error: BaseException | None = None

    @property
    def size(self) -> int:
        return self._source.size

    @property
    def digests(self) -> Mapping[str, str]:
        return self._source.digests

    async def read(self, offset: int, size: int) -> Data:
        with self._noting():
            self._check()
            data = await self._source.read(offset, size)
            self._passed(offset + len(data))
        return data

    async def copy_to(self, descriptor: int, offset: int, size: int) -> bool:
        with self._noting():
            self._check()
            copied = await self._source.copy_to(descriptor, offset, size)
            if copied:
                self._passed(offset + size)
        return copied

    @contextlib.contextmanager
    def _noting(self) -> Iterator[None]:
        """Keep an error of the source or of a callback, which says nothing of the store."""
        try:
            yield
        except Exception as error:
            self.error = error
            raise

    def _passed(self, offset: int) -> None:
        if fresh := max(0, offset - self._reported):
            self._reported += fresh
            self._report(fresh)


def _unreported(nbytes: int) -> None:
    """Reports nothing of what is read."""


@dataclass(slots=True)
class Uploader:
    """Uploads the files of one push.

    A failure or a stop begins no further request, but lets those under way end: so it is known
    what they did, and the version number can be used again.

    Attributes:
        driver: where to.
        name: the asset, for events.
        ledger: records what happens.
        stop: ends the uploads in good order.
        report: receives events.
        present: what a push that died has left by key; `None` where none is resumed.
        at_once: files under way at once.
    """

    driver: Driver
    name: str
    ledger: UploadLedger
    stop: Stop
    report: Progress
    present: Mapping[str, ObjectInfo] | None = None
    at_once: int = FILES_AT_ONCE
    _failure: Exception | None = None

    async def run(self, files: Sequence[SourceFile], key: Callable[[SourceFile], str]) -> None:
        """Upload everything; each object only if it isn't there.

        Args:
            files: what to upload.
            key: tells where to.

        Raises:
            PreconditionFailed: other bytes are there.
            SourceChanged: a file isn't the one that was scanned.
            Stopped: the push should end.
        """

        async def upload(number: int) -> None:
            file = files[number]
            await self._upload(Upload(number, file, key(file)))

        await _side_by_side((file.size for file in files), len(files), upload, self.at_once)
        if self._failure is not None:
            raise self._failure
        self.stop.check()

    def fail(self, error: Exception) -> None:
        """End, as if an upload had failed."""
        self._failure = self._failure or error

    def _check(self) -> None:
        if self._failure is not None:
            raise Stopped
        self.stop.check()

    async def _upload(self, upload: Upload) -> None:
        try:
            self._check()
            await self._store(upload)
        except Stopped:
            return
        except Exception as error:
            self.fail(error)

    async def _store(self, upload: Upload) -> None:
        file = upload.file
        compared = self._is_left(upload)
        digests, skipped = await self._copy(upload, compared), compared
        if digests is None:
            source = file.opened()
            skipped = await self._send(upload, source, compared)
            digests = await source.finish(self._check)
        self.ledger.note_stored(upload.number, digests)
        self.report(FileTransferred(self.name, file.path, file.size, skipped))

    def _report_bytes(self, nbytes: int) -> None:
        self.report(BytesTransferred(self.name, nbytes))

    def _is_left(self, upload: Upload) -> bool:
        """Whether there is what a push that died may have sent: it is compared, and nothing is sent."""
        found = (self.present or {}).get(upload.key)
        return found is not None and found.size == upload.file.size

    async def _copy(self, upload: Upload, compared: bool) -> Mapping[str, str] | None:
        with self._doubting():
            digests = await upload.file.copied(self.driver, upload.key)
        if digests is not None and not compared:
            self.ledger.note_created(upload.number)
            self._report_bytes(upload.file.size)
        return digests

    async def _send(self, upload: Upload, source: HashedSource, compared: bool) -> bool:
        """Upload a file; returns whether nothing of it had to be sent."""
        key, size = upload.key, upload.file.size
        resume = self.present is not None and (key in self.present or size >= LARGE)
        watched = _WatchedSource(source, self._check, _unreported if compared else self._report_bytes)
        with self._doubting(watched):
            uploaded = await self.driver.upload(key, watched, resume=resume)
        if uploaded.created:
            self.ledger.note_created(upload.number)
        else:  # the same bytes there already: ours, by an answer that was lost, or somebody's: it may not be deleted
            self.ledger.uncertain = True
        if compared and uploaded.created:  # it went away meanwhile
            self._report_bytes(size)
        return compared and not uploaded.created

    @contextlib.contextmanager
    def _doubting(self, source: _WatchedSource | None = None) -> Iterator[None]:
        """Take note where it isn't known what a request did."""
        try:
            yield
        except BaseException as error:
            if source is None or error is not source.error:
                self.ledger.uncertain |= is_uncertain(error)
            raise


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
        await _side_by_side(files.sizes, len(files), lambda number: self._fetch(files[number], planned), self.at_once)

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


async def _side_by_side(
    sizes: Iterable[int | None], count: int, work: Callable[[int], Awaitable[None]], limit: int
) -> None:
    """Large files beside small ones: whichever come first, the others don't wait until these are through.

    Args:
        sizes: of the files, in bytes; `None` where they aren't known.
        count: how many files there are.
        work: is given the number of each.
        limit: files of either kind that are under way at once.
    """
    if count <= limit:
        await for_each(range(count), work, limit=limit)
        return
    lanes = await in_thread(_by_size, sizes)
    with unwrapped():
        async with anyio.create_task_group() as tasks:
            for lane in lanes:
                tasks.start_soon(partial(for_each, lane, work, limit=limit))


def _by_size(sizes: Iterable[int | None]) -> tuple[array[int], array[int]]:
    """The numbers of the large files, and of the small ones."""
    lanes = array("L"), array("L")
    for number, size in enumerate(sizes):
        lanes[(size or 0) < LARGE].append(number)
    return lanes


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
    feed(digest, data)
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
