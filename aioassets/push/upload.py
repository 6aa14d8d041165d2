"""Uploading the files of a version concurrently, within the budget."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import anyio

from aioassets.drivers.protocol import Driver, ObjectInfo, Run, Uploaded
from aioassets.errors import AioAssetsError, CannotCompose, IntegrityError
from aioassets.progress import BytesTransferred, FileTransferred, Progress
from aioassets.push.ledger import UploadLedger
from aioassets.push.reading import ReadAhead
from aioassets.push.reuse import BaseDiffers, Reuse
from aioassets.push.sources import Copied, HashedSource, SourceFile
from aioassets.push.streams import StreamFile
from aioassets.push.watched import ComposedSource, WatchedSource, WatchedStream, unreported
from aioassets.runtime.cancellation import Stopped, StopSignal
from aioassets.runtime.effects import Effects
from aioassets.runtime.lanes import FILES_AT_ONCE, LARGE, side_by_side

logger = logging.getLogger(__name__)


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
    _waits: set[anyio.CancelScope] = field(default_factory=set)

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

        await side_by_side(map(_expected_size, files), len(files), upload, self.at_once)
        if self._failure is not None:
            raise self._failure
        self.stop.check()

    def fail(self, error: Exception) -> None:
        """Stop the uploads, as a failed upload does."""
        self._failure = self._failure or error
        for scope in self._waits:
            scope.cancel()

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
        if isinstance(upload.file, StreamFile):
            await self._stream(upload, upload.file)
            return
        copy = await self._copy(upload) or await self._reuse(upload)
        if copy is not None:
            self._note_copy(upload, copy)
            return
        if (reported := await self._compose(upload)) is None:
            return
        source = upload.ahead.opened(upload.number, upload.file)
        uploaded = await self._send(upload, source, reported)
        skipped = upload.is_left and not uploaded.created
        self.ledger.uploaded += 0 if skipped else upload.file.size
        self.ledger.note_stored(upload.number, await source.finish(self._check), uploaded.revision)
        self.ledger.note_chunks(upload.number, source.chunks)
        self.report(FileTransferred(self.name, upload.file.path, upload.file.size, skipped))

    async def _stream(self, upload: Upload, file: StreamFile) -> None:
        """Upload a file while it is read."""
        async with contextlib.aclosing(await file.stream()) as stream:
            watched = WatchedStream(stream, self._waiting, self._report_bytes)
            with self._noting_errors(watched):
                uploaded = await self.driver.upload_stream(upload.key, watched, effects=self.effects)
            self._note_upload(upload, uploaded)
        self.ledger.uploaded += file.size
        self.ledger.note_stored(upload.number, stream.digests, uploaded.revision)
        self.report(FileTransferred(self.name, file.path, file.size))

    @contextlib.contextmanager
    def _waiting(self) -> Iterator[None]:
        """Interrupt a `with` block, which waits for a stream, when the push should stop. Then raise `Stopped`."""
        self._check()
        with self.stop.bounded(0) as scope:
            self._waits.add(scope)
            try:
                yield
                return
            finally:
                self._waits.remove(scope)
        raise Stopped

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

    def _report_range(self, nbytes: int, copied: int) -> None:
        if sent := nbytes - copied:
            self.report(BytesTransferred(self.name, sent))
        if copied:
            self.report(BytesTransferred(self.name, copied, reused=True))

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
            copy = await reuse.copy(original, self.driver, upload.key, self.effects)
        except BaseDiffers:
            self.ledger.note_created(upload.number)
            raise
        if copy is not None:
            self.ledger.note_chunks(upload.number, reuse.chunks(upload.number, original))
        return copy

    async def _compose(self, upload: Upload) -> int | None:
        """Have the store compose a large file of ranges of the base, and upload the rest.

        A file that is left is only compared: the ETag of an object can tell of which parts it was composed.

        Returns:
            `None` if the object exists now. Otherwise, the whole file must be uploaded, and the result is the number of
            bytes that were reported already.
        """
        reuse, number = self.reuse, upload.number
        if reuse is None or not (runs := await reuse.runs(number)):
            return 0
        self._check()
        sha256 = reuse.sha256(number)
        if sha256 is None:
            return 0
        opened = upload.ahead.opened(number, upload.file)
        report = _unreported_range if upload.is_left else self._report_range
        source = ComposedSource(opened, sha256, runs, self._check, report)
        try:
            composed = await self._composed(upload.key, source, runs)
        except CannotCompose as error:
            logger.debug("Uploading %s as a whole: %s", upload.file.source, error)
            reuse.note_not_composed(error)
            return 0 if upload.is_left else source.reported
        # If the response was lost, the driver found the object, which counts as composed.
        self._note_composed(upload, composed, sum(run.size for run in runs), source.reported)
        self.ledger.note_stored(number, source.digests, composed.revision)
        self.ledger.note_chunks(number, reuse.chunks(number))
        return None

    def _note_composed(self, upload: Upload, composed: Uploaded, copied: int, reported: int) -> None:
        size, skipped = upload.file.size, upload.is_left and not composed.created
        self._note_upload(upload, composed)
        if not skipped:
            self.ledger.copied += copied
            self.ledger.uploaded += size - copied
            unread = (size, copied) if upload.is_left else (size - reported, size - reported)
            self._report_range(*unread)
        self.report(FileTransferred(self.name, upload.file.path, size, skipped))

    async def _composed(self, key: str, source: WatchedSource, runs: Sequence[Run]) -> Uploaded:
        resume = self.present is not None
        with self._noting_errors(source):
            return await self.driver.compose(key, source, runs, resume=resume, effects=self.effects)

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

    async def _send(self, upload: Upload, source: HashedSource, reported: int) -> Uploaded:
        """Upload a file, unless an interrupted push had already uploaded it.

        Args:
            upload: the file.
            source: its content.
            reported: the number of bytes that were reported already.
        """
        key, size, compared = upload.key, upload.file.size, upload.is_left
        resume = self.present is not None and (key in self.present or size >= LARGE)
        watched = WatchedSource(source, self._check, unreported if compared else self._report_bytes, reported)
        with self._noting_errors(watched):
            uploaded = await self.driver.upload(key, watched, resume=resume, effects=self.effects)
        self._note_upload(upload, uploaded)
        if compared and uploaded.created:  # the object was deleted after it was listed
            self._report_bytes(size)
        return uploaded

    @contextlib.contextmanager
    def _noting_errors(self, watched: WatchedSource | WatchedStream) -> Iterator[None]:
        """Note errors of a request. Those of its source have no effect on the store."""
        try:
            yield
        except BaseException as error:
            if error is not watched.error:
                self.effects.note_error(error)
            raise

    def _note_upload(self, upload: Upload, uploaded: Uploaded) -> None:
        if uploaded.created:
            self.ledger.note_created(upload.number)
        else:  # created by an attempt whose response was lost, or by another process: it must not be deleted
            self.effects.note_uncertain()


def _unreported_range(nbytes: int, copied: int) -> None:
    """Ignore progress of a file that is only compared."""


def _expected_size(file: SourceFile) -> int:
    """Return the size of a file. A stream counts as large, so that small files don't wait for its producer."""
    return LARGE if isinstance(file, StreamFile) else file.size
