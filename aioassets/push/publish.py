"""Publishing one version: claiming, uploading, sealing and listing it."""

from __future__ import annotations

import contextlib
import itertools
import logging
import math
from dataclasses import replace
from functools import partial
from typing import Final

from aioassets.drivers.protocol import ObjectInfo, StreamedDocument
from aioassets.errors import (
    AccessDenied,
    AioAssetsError,
    ObjectNotFound,
    PreconditionFailed,
    PublicationUncertain,
    PushContended,
    SourceError,
    StoreUnavailable,
)
from aioassets.model.chunks import ChunkTable, document_digest
from aioassets.model.content import content_digest
from aioassets.model.files import FileTable
from aioassets.model.keys import MAX_KEY_BYTES
from aioassets.model.manifest import Manifest
from aioassets.model.operations import CREATE
from aioassets.progress import Progress, TransferFinished, TransferStarted
from aioassets.push.allocate import VersionAllocation
from aioassets.push.claim import ClaimLost, HeldClaim, renewing
from aioassets.push.context import PushContext
from aioassets.push.ledger import UploadLedger
from aioassets.push.plan import PushPlan, PushResult
from aioassets.push.reuse import BaseDiffers
from aioassets.push.sources import SourceFile
from aioassets.push.upload import Uploader
from aioassets.runtime.cancellation import Stopped, StopSignal, stoppable
from aioassets.runtime.effects import Effects
from aioassets.runtime.notices import NOTICE
from aioassets.runtime.tasks import gather2, unwrapped
from aioassets.runtime.threads import in_thread
from aioassets.store.chunks import write_chunks
from aioassets.store.streamed import encoded

logger = logging.getLogger(__name__)

ATTEMPTS: Final = 3
"""Number of version numbers that a push may lose to other processes before it gives up."""


class Publication:
    """One push, from claiming a version number to listing the version.

    Args:
        context: the state shared by the pushes of one manager.
        plan: the plan of the push.
        report: a function that receives progress events.
    """

    def __init__(self, context: PushContext, plan: PushPlan, report: Progress) -> None:
        self._context = context
        self._store = context.store
        self._scheme = context.scheme
        self._plan = plan
        self._report = report
        self._effects = Effects()
        self._ledger = UploadLedger(())
        self._allocation = self._new_allocation()

    def _new_allocation(self) -> VersionAllocation:
        return VersionAllocation(self._context, self._plan, self._effects)

    async def run(self) -> PushResult:
        """Publish the version. Clean up if this fails or is cancelled before the version is sealed.

        Raises:
            PublicationUncertain: if all files were uploaded, but the version may not have been sealed or listed.
            PushContended: if the push lost its version number to other processes too many times.
        """
        return await stoppable(self._run, grace=self._context.cleanup_timeout)

    async def _run(self, stop: StopSignal) -> PushResult:
        try:
            return await self._publish(stop)
        finally:
            self._allocation.end()

    async def _publish(self, stop: StopSignal) -> PushResult:
        for _ in range(ATTEMPTS):
            stop.check()
            held, _ = await gather2(lambda: self._claim(stop), lambda: self._prepare(stop))
            try:
                await self._seal(held, await self._upload(held, stop), stop)
            except ClaimLost:
                if self._plan.streams:
                    raise PushContended(self._plan.name, 1) from None
                logger.warning("Lost %s:%s to another process; trying another number", held.name, held.version)
                self._allocation.lose(held.version)
                continue
            except BaseDiffers as error:
                logger.warning("The base of %s has other content than its manifest says: %s", held.name, error)
                if self._plan.streams:
                    problem = f"the base has other content than its manifest says ({error}); push again without a base"
                    raise SourceError(self._plan.tree.root, problem) from error
                self._allocation.lose(held.version)
                self._end_reuse(error)
                continue
            await self._list(held.version, stop)
            if self._plan.hashes is not None:
                await self._plan.hashes.keep_all(self._ledger.digests)
            return self._result(held.version)
        raise PushContended(self._plan.name, ATTEMPTS)

    def _result(self, version: str) -> PushResult:
        plan, url = self._plan, self._store.url_of(self._plan.name, version)
        uploaded, copied = self._ledger.uploaded, self._ledger.copied
        size = sum(file.size for file in plan.tree.files) if plan.streams else plan.size
        return PushResult(plan.name, version, url, plan.files, size, uploaded=uploaded, copied=copied, base=plan.base)

    def _end_reuse(self, reason: object) -> None:
        if self._plan.reuse is not None:
            self._plan.reuse.end(reason)

    async def _prepare(self, stop: StopSignal) -> None:
        """Read the base, which takes as long as claiming a number."""
        if self._plan.reuse is not None:
            with stop.bounded(0.5):
                await self._plan.reuse.prepare()

    async def _claim(self, stop: StopSignal) -> HeldClaim:
        try:
            with stop.bounded(0.5):
                return await self._allocation.claim()
            raise Stopped
        except StoreUnavailable:
            raise  # a claim that was written now counts as dead, and a repeated push takes it over
        except BaseException:
            with stop.bounded():
                await self._allocation.take_back()
            raise

    # Upload

    async def _upload(self, held: HeldClaim, stop: StopSignal) -> bytes | StreamedDocument:
        """Upload all files under a claim, and return the manifest. Clean up after a failure."""
        ledger = self._ledger = UploadLedger(self._plan.tree.files)
        try:
            with stop.bounded(0.5), unwrapped():
                async with renewing(held, sleep=self._context.sleep):
                    await self._transfer(held, ledger, stop)
                    await self._write_chunks(held, ledger)
                    manifest = await in_thread(self._manifest, held, ledger)
                    if self._plan.operation == CREATE:  # as late as possible, because later creates rely on it
                        await self._allocation.check_other_creates(held.version)
                    stop.check()
                    return manifest
            raise Stopped  # the time limit cancelled the block
        except ClaimLost:
            raise
        except PreconditionFailed:
            await self._give_up(held, None, stop)
            raise ClaimLost from None  # this version number has other content
        except AioAssetsError as error:
            if self._can_continue_after(error):
                _leave(held)
            elif not await self._give_up(held, self._ledger, stop, isinstance(error, StoreUnavailable)):
                raise ClaimLost from error  # the process that took the number removed the uploads
            raise
        except BaseException:
            await self._give_up(held, self._ledger, stop)
            raise

    async def _transfer(self, held: HeldClaim, ledger: UploadLedger, stop: StopSignal) -> None:
        plan = self._plan
        self._report(TransferStarted(plan.name, held.version, plan.files, None if plan.streams else plan.size))
        uploader = Uploader(
            self._store.driver,
            plan.name,
            ledger,
            self._effects,
            stop,
            self._report,
            await self._present(held.version) if held.resumed else None,
            self._store.files_at_once,
            plan.reuse,
        )
        uploading = partial(uploader.run, plan.tree.files, partial(self._key, held.version))
        if plan.operation == CREATE:
            await gather2(uploading, lambda: self._look(uploader))
        else:
            await uploading()
        self._report(TransferFinished(plan.name, held.version))

    async def _write_chunks(self, held: HeldClaim, ledger: UploadLedger) -> None:
        """Write the `.chunks` of a version with large files, create-only like content, unless its key is too long."""
        document = await self._chunks_document(ledger)
        if document is None or len(self._store.layout.chunks(held.name, held.version).encode()) > MAX_KEY_BYTES:
            return
        ledger.chunks_digest = await in_thread(document_digest, document)
        try:
            written = await write_chunks(
                self._store, held.name, held.version, document, resume=held.resumed, effects=self._effects
            )
        except BaseException as error:
            self._effects.note_error(error)
            raise
        if written.created:
            ledger.created_chunks = True
        else:
            self._effects.note_uncertain()

    async def _chunks_document(self, ledger: UploadLedger) -> bytes | None:
        """Return the `.chunks` of the version; `None` if there are no chunks, or too many."""
        if not ledger.chunks:
            return None
        try:
            return await in_thread(lambda: ChunkTable(ledger.chunks).to_json())
        except ValueError as error:
            logger.info("Publishing %s without chunks: %s", self._plan.name, error)
            return None

    def _key(self, version: str, file: SourceFile) -> str:
        return self._store.layout.content(self._plan.name, version, file.path)

    async def _look(self, uploader: Uploader) -> None:
        """Read the index again while a new asset's files are uploaded. Stop the uploads if the asset now exists."""
        try:
            await self._allocation.look_again()
        except AioAssetsError as error:
            uploader.fail(error)
            raise

    async def _present(self, version: str) -> dict[str, ObjectInfo]:
        """Return the objects that an interrupted push left behind, by key."""
        driver, content = self._store.driver, self._store.layout.content(self._plan.name, version)
        if self._plan.tree.is_directory:
            return {item.key: item async for item in driver.list(f"{content}/") if isinstance(item, ObjectInfo)}
        try:
            return {content: await driver.stat(content)}
        except ObjectNotFound:
            return {}

    def _manifest(self, held: HeldClaim, ledger: UploadLedger) -> bytes | StreamedDocument:
        """Return the encoded manifest, or raise `SourceChanged` if the source has changed since the scan."""
        self._plan.tree.check_unchanged()
        description = self._description(held, ledger.entries())
        return encoded(replace(description, chunks_digest=ledger.chunks_digest).to_fields)

    def _description(self, held: HeldClaim, entries: FileTable) -> Manifest:
        plan = self._plan
        return Manifest(
            push_date=self._context.now(),
            is_directory=plan.tree.is_directory,
            files=entries,
            empty_directories=plan.tree.empty_directories,
            pushed_by=self._context.claimant.holder,
            tool=self._context.tool,
            message=plan.message,
            labels=plan.labels,
            token=held.claim.token,
            content_digest=content_digest(entries, plan.tree.empty_directories),
        )

    def _can_continue_after(self, error: Exception) -> bool:
        """Return whether repeating the push can resume it: the store was unavailable, or the credentials expired."""
        if self._plan.streams:  # which can't be read again
            return False
        return isinstance(error, StoreUnavailable) or (isinstance(error, AccessDenied) and self._ledger.has_stored)

    async def _give_up(
        self, held: HeldClaim, ledger: UploadLedger | None, stop: StopSignal, is_outage: bool = False
    ) -> bool:
        """Abandon the claim, then delete the objects that this push created. `clean` removes whatever remains.

        Args:
            held: the claim.
            ledger: the uploads to delete; `None` to delete nothing.
            stop: the signal that limits the time for cleaning up.
            is_outage: whether the store was unavailable just now. If so, the time is limited in any case.

        Returns:
            `False` if another process has taken over or abandoned the claim.
        """
        problem: Exception | None = None
        with stop.bounded(limit=self._context.cleanup_timeout if is_outage else math.inf):
            try:
                await self._abandon(held, ledger)
            except ClaimLost:
                return False
            except Exception as error:  # after any failure, nothing more may be deleted
                problem = error
            else:
                return True
        await self._report_rest(held, problem, stop)
        return True

    async def _abandon(self, held: HeldClaim, ledger: UploadLedger | None) -> None:
        await held.abandon()
        if ledger is None:
            return
        created = map(partial(self._key, held.version), ledger.created())
        chunks = [self._store.layout.chunks(held.name, held.version)] if ledger.created_chunks else []
        await self._store.driver.delete(itertools.chain(created, chunks), effects=self._effects)
        if not (self._effects.uncertain or held.resumed):
            with contextlib.suppress(ClaimLost):
                await held.release()
        else:
            logger.warning(
                "Version %s:%s will not be used again: a request for it may still take effect", held.name, held.version
            )

    async def _report_rest(self, held: HeldClaim, problem: Exception | None, stop: StopSignal) -> None:
        """Log what a failed cleanup has left behind.

        Args:
            held: the claim.
            problem: the failure; `None` if the time limit expired.
            stop: the signal that limits the time for cleaning up.
        """
        left = "Uploaded files may be"
        if problem is not None and not isinstance(problem, StoreUnavailable):
            with stop.bounded(), contextlib.suppress(Exception):
                files = len(await self._present(held.version))
                left = f"{files:,} uploaded file{' is' if files == 1 else 's are'}"
        logger.warning(
            "Could not clean up %s:%s: %s %s left in %s. Remove them with `aioassets clean %s`.",
            held.name,
            held.version,
            problem or "it took longer than cleanup_timeout.",
            left,
            self._store.url_of(held.name, held.version),
            held.name,
            extra=NOTICE,
        )

    # Seal and list

    async def _seal(self, held: HeldClaim, manifest: bytes | StreamedDocument, stop: StopSignal) -> None:
        unconfirmed = "the store didn't confirm its manifest"
        effects = Effects()
        with stop.bounded():
            try:
                await held.seal(manifest, effects)
            except ClaimLost:
                raise
            except Exception as error:
                effects.note_error(error)
                if effects.uncertain:
                    raise PublicationUncertain(held.name, held.version, f"{unconfirmed} ({error}).") from error
                if self._can_continue_after(error):
                    _leave(held)
                else:
                    await self._give_up(held, self._ledger, stop)
                raise
            return
        raise PublicationUncertain(held.name, held.version, f"{unconfirmed}.")

    async def _list(self, version: str, stop: StopSignal) -> None:
        """Add the version to the index, along with complete versions that other pushes didn't list."""
        name = self._plan.name
        with stop.bounded():
            try:
                unlisted = self._allocation.unlisted
                await self._context.lister.add(self._store, name, {version, *unlisted}, known=self._allocation.index)
                for other in unlisted:
                    logger.info("Added %s:%s to the index on behalf of another push", name, other)
            except Exception as error:
                raise PublicationUncertain(name, version, f"it couldn't be added to the index ({error}).") from error
            return
        raise PublicationUncertain(name, version, "the time limit expired before it was added to the index.")


def _leave(held: HeldClaim) -> None:
    """Leave the claim and the uploads as if the process had been killed, so that a repeated push can resume."""
    logger.warning(
        "Kept the uploaded files of %s:%s. Repeat the push to resume it, or remove the files with `aioassets clean`.",
        held.name,
        held.version,
        extra=NOTICE,
    )
