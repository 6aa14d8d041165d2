"""Uploading the files of a version concurrently, within the budget."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from aioassets.drivers.protocol import Data, Driver, ObjectInfo, Revision, Uploaded
from aioassets.errors import AioAssetsError, IntegrityError
from aioassets.model.files import DigestColumn, FileTable, RevisionColumn
from aioassets.progress import BytesTransferred, FileTransferred, Progress
from aioassets.push.base import is_copied
from aioassets.push.reading import ReadAhead
from aioassets.push.reuse import BaseDiffers, Reuse
from aioassets.push.sources import Copied, HashedSource, SourceFile
from aioassets.runtime.cancellation import Stopped, StopSignal
from aioassets.runtime.effects import Effects
from aioassets.runtime.lanes import FILES_AT_ONCE, LARGE, side_by_side


class UploadLedger:
    """A record of one push's uploads, which remains valid after a failure.

    It takes 34 bytes per file, and some more for a file whose revision is recorded.

    Args:
        files: the files to upload.

    Attributes:
        uploaded: the total size of the uploaded files in bytes.
        copied: the total size of the files that the store copied, in bytes.
    """

    def __init__(self, files: Sequence[SourceFile]) -> None:
        self.uploaded = self.copied = 0
        self._files = files
        self._digests = DigestColumn(len(files))
        self._revisions = RevisionColumn()
        self._created = bytearray(len(files))
        self._stored = bytearray(len(files))

    def note_created(self, number: int) -> None:
        """Record that this push created a file's object."""
        self._created[number] = True

    def note_stored(self, number: int, digests: Mapping[str, str], revision: Revision | None) -> None:
        """Record the digests of a file that is now in the store, and its revision if the file is large enough."""
        self._digests[number] = digests
        self._stored[number] = True
        if is_copied(self._files[number].size):
            self._revisions[number] = revision

    @property
    def has_stored(self) -> bool:
        """Whether any file is in the store."""
        return any(self._stored)

    def created(self) -> Iterator[SourceFile]:
        """Iterate over the files whose objects this push created."""
        return (self._files[number] for number in itertools.compress(itertools.count(), self._created))

    def entries(self) -> FileTable:
        """Return all files with their digests, or raise `RuntimeError` if any file isn't stored."""
        if not all(self._stored):
            raise RuntimeError("not all files are stored")  # a bug must not seal an incomplete version
        return FileTable.of(self._files, self._digests, self._revisions)


@dataclass(frozen=True, slots=True)
class Upload:
    """A file to upload.

    Attributes:
        number: its position in the push.
        file: the source file.
        key: the key of the object.
        ahead: the read-ahead for the push.
        is_left: whether an interrupted push may have uploaded the file. If so, it is compared instead of uploaded.
    """

    number: int
    file: SourceFile
    key: str
    ahead: ReadAhead
    is_left: bool


class _WatchedSource:
    """A source that reports bytes when they are first read, and raises an exception once the push should stop.

    Attributes:
        error: the last error raised by the source or a callback, as opposed to the store.
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
        try:
            self._check()
            data = await self._source.read(offset, size)
            self._passed(offset + len(data))
        except Exception as error:
            self.error = error
            raise
        return data

    async def copy_to(self, descriptor: int, offset: int, size: int) -> bool:
        try:
            self._check()
            copied = await self._source.copy_to(descriptor, offset, size)
            if copied:
                self._passed(offset + size)
        except Exception as error:
            self.error = error
            raise
        return copied

    def _passed(self, offset: int) -> None:
        if fresh := max(0, offset - self._reported):
            self._reported += fresh
            self._report(fresh)


def _unreported(nbytes: int) -> None:
    """Ignore progress. This is the callback for files that are compared instead of being sent."""


@dataclass(slots=True)
class Uploader:
    """An uploader for the files of one push.

    After a failure or a stop, no further requests are started, but those in progress are completed. That way,
    their effects are known, and the version number can be released.

    Attributes:
        driver: the driver of the store to upload to.
        name: the asset's name, for progress events.
        ledger: the record of the uploads.
        effects: the record of requests whose effect is unknown.
        stop: the signal that asks the uploads to stop.
        report: a function that receives progress events.
        present: the objects that an interrupted push left behind, by key; `None` if no push is being resumed.
        at_once: the maximum number of files to upload concurrently.
        reuse: the files that the store may copy from the base.
    """

    driver: Driver
    name: str
    ledger: UploadLedger
    effects: Effects
    stop: StopSignal
    report: Progress
    present: Mapping[str, ObjectInfo] | None = None
    at_once: int = FILES_AT_ONCE
    reuse: Reuse | None = None
    _failure: Exception | None = None

    async def run(self, files: Sequence[SourceFile], key: Callable[[SourceFile], str]) -> None:
        """Upload all files, using create-only writes.

        Args:
            files: the files to upload.
            key: a function that returns the key for a file.

        Raises:
            PreconditionFailed: if an object with different contents exists.
            SourceChanged: if a file has changed since the scan.
            BaseDiffers: if the store copied other content from the base than expected.
            Stopped: if the push should stop.
        """
        ahead = ReadAhead(files)

        async def upload(number: int) -> None:
            file = files[number]
            where = key(file)
            await self._upload(Upload(number, file, where, ahead, self._is_left(where, file.size)))

        await side_by_side((file.size for file in files), len(files), upload, self.at_once)
        if self._failure is not None:
            raise self._failure
        self.stop.check()

    def fail(self, error: Exception) -> None:
        """Stop the uploads, as a failed upload does."""
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
        copy = await self._copy(upload) or await self._reuse(upload)
        if copy is not None:
            self._note_copy(upload, copy)
            return
        source = upload.ahead.opened(upload.number, upload.file)
        uploaded = await self._send(upload, source)
        skipped = upload.is_left and not uploaded.created
        self.ledger.uploaded += 0 if skipped else upload.file.size
        self.ledger.note_stored(upload.number, await source.finish(self._check), uploaded.revision)
        self.report(FileTransferred(self.name, upload.file.path, upload.file.size, skipped))

    def _note_copy(self, upload: Upload, copy: Copied) -> None:
        file = upload.file
        if not upload.is_left:
            self.ledger.note_created(upload.number)
            self.ledger.copied += file.size
            self.report(BytesTransferred(self.name, file.size, reused=True))
        self.ledger.note_stored(upload.number, copy.digests, copy.revision)
        self.report(FileTransferred(self.name, file.path, file.size, upload.is_left, not upload.is_left))

    def _report_bytes(self, nbytes: int) -> None:
        self.report(BytesTransferred(self.name, nbytes))

    def _is_left(self, key: str, size: int) -> bool:
        found = (self.present or {}).get(key)
        return found is not None and found.size == size

    async def _copy(self, upload: Upload) -> Copied | None:
        """Have the store copy a file that is in a store itself."""
        try:
            return await upload.file.copied(self.driver, upload.key, self.effects)
        except IntegrityError:  # the object was copied, but isn't what it should be
            if not upload.is_left:
                self.ledger.note_created(upload.number)
            raise
        except BaseException as error:
            self.effects.note_error(error)
            raise

    async def _reuse(self, upload: Upload) -> Copied | None:
        """Have the store copy a file from the base."""
        reuse = self.reuse
        if reuse is None or upload.is_left or (original := await reuse.find(upload.number)) is None:
            return None
        self._check()  # hashing the file may have taken a while
        if self.present is not None and not await self._abort_uploads(upload.key):
            return None
        try:
            return await reuse.copy(original, self.driver, upload.key, self.effects)
        except BaseDiffers:
            self.ledger.note_created(upload.number)
            raise

    async def _abort_uploads(self, key: str) -> bool:
        """Abort the uploads in parts that an interrupted push may have left for a key, and might still complete.

        Returns:
            Whether this succeeded. Otherwise, nothing may be copied to the key.
        """
        try:
            async for left in self.driver.open_uploads(key):
                if left.key == key:
                    await self.driver.abort(left)
        except AioAssetsError:
            return False
        return True

    async def _send(self, upload: Upload, source: HashedSource) -> Uploaded:
        """Upload a file, unless an interrupted push had already uploaded it."""
        key, size, compared = upload.key, upload.file.size, upload.is_left
        resume = self.present is not None and (key in self.present or size >= LARGE)
        watched = _WatchedSource(source, self._check, _unreported if compared else self._report_bytes)
        try:
            uploaded = await self.driver.upload(key, watched, resume=resume, effects=self.effects)
        except BaseException as error:
            if error is not watched.error:
                self.effects.note_error(error)
            raise
        if uploaded.created:
            self.ledger.note_created(upload.number)
        else:  # created by an attempt whose response was lost, or by another process: it must not be deleted
            self.effects.note_uncertain()
        if compared and uploaded.created:  # the object was deleted after it was listed
            self._report_bytes(size)
        return uploaded
