"""Yanking, restoring and deleting versions.

The `.meta` is the truth, and the index follows it. A withdrawal first marks the `.meta` and reads `.aliases`
afterwards. A move of an alias checks the `.meta` again after it has written `.aliases`. So at least one of the two
sees the other, and undoes its own change. Content is deleted last, under a tombstone that stays for good.

Each step is a compare-and-swap that any process may repeat. If a withdrawal is interrupted, a repetition or `clean`
finishes it.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from aioassets.cleanup.content import ContentSummary, content_of, remove_content
from aioassets.cleanup.documents import VersionDocuments, VersionState
from aioassets.errors import NotFound, VersionContended, VersionInUse
from aioassets.model.arguments import check_note, check_required_note
from aioassets.model.index import Fence
from aioassets.model.manifest import Manifest
from aioassets.model.marks import Mark
from aioassets.model.names import parse_name
from aioassets.model.pusher import Pusher
from aioassets.model.tombstone import Tombstone
from aioassets.model.versioning import VersioningScheme, check_complete
from aioassets.model.withdrawals import DeletionPlan, DeletionResult
from aioassets.runtime.cancellation import StopSignal, uninterrupted
from aioassets.runtime.notices import NOTICE
from aioassets.runtime.retry import RetryPolicy
from aioassets.runtime.tasks import T
from aioassets.store.documents import AssetStore
from aioassets.store.marks import new_mark
from aioassets.store.settling import deletion_error

logger = logging.getLogger(__name__)

MAX_ATTEMPTS: Final = 20
"""Maximum number of times that other processes may change a version during a withdrawal."""


@dataclass(frozen=True, slots=True)
class Withdrawal:
    """Withdrawals of versions from a store.

    Attributes:
        store: the store.
        scheme: the versioning scheme.
        retry: the retry policy, which determines the delays between attempts.
        by: the user and host that withdraw versions.
        require_suitable: raises `StoreUnsuitable` if the store doesn't honour conditional writes.
        cleanup_timeout: how many seconds the remaining steps may take after a cancellation.
    """

    store: AssetStore
    scheme: VersioningScheme
    retry: RetryPolicy
    by: Pusher
    require_suitable: Callable[[], Awaitable[None]]
    cleanup_timeout: float

    async def yank(self, name: str, version: str, reason: str) -> Mark:
        """Yank a version; see `AssetsManager.yank_version`."""
        documents = self._documents(name, version)
        check_required_note(reason, "reason")
        await self.require_suitable()
        mark = await self._uninterrupted(lambda stop: self._yank(documents, reason, stop))
        logger.info("Yanked %s:%s in %s: %s", name, version, self.store.url, mark.reason)
        return mark

    async def unyank(self, name: str, version: str) -> None:
        """Restore a version; see `AssetsManager.unyank_version`."""
        documents = self._documents(name, version)
        await self.require_suitable()
        await self._uninterrupted(lambda stop: self._unyank(documents, stop))
        logger.info("Restored %s:%s in %s", name, version, self.store.url)

    async def delete(self, name: str, version: str, reason: str | None) -> DeletionResult:
        """Delete a version; see `AssetsManager.delete_version`."""
        documents = self._documents(name, version)
        check_note(reason, "reason")
        await self.require_suitable()
        tombstone = await self._uninterrupted(lambda stop: self._bury(documents, reason, stop))
        freed = await self._remove_content(name, version)
        logger.info("Deleted %s:%s in %s: %d objects, %d bytes", name, version, self.store.url, freed.files, freed.size)
        keeps = await self.store.driver.keeps_deleted() if freed.files else None
        return DeletionResult(name, version, tombstone.deleted, freed.files, freed.size, keeps)

    async def plan_deletion(self, name: str, version: str) -> DeletionPlan:
        """Plan a deletion; see `AssetsManager.plan_delete`."""
        documents = self._documents(name, version)
        state = await documents.read()
        content = await content_of(self.store, name, version)
        is_deleted = isinstance(state.content, Tombstone)
        return DeletionPlan(name, version, content.files, content.size, state.aliases, is_deleted)

    async def finish(self, name: str, version: str) -> bool:
        """Finish an interrupted withdrawal or restoration. Return `False` if there is no such version."""
        documents = self._documents(name, version)
        try:
            is_deleted = await self._uninterrupted(lambda _: self._finish(documents))
        except NotFound:
            return False
        if is_deleted:
            await self._remove_content(name, version)
        return True

    # Protocols

    async def _yank(self, documents: VersionDocuments, reason: str, stop: StopSignal) -> Mark:
        for attempt in range(MAX_ATTEMPTS):
            stop.check()
            state = await documents.read()
            was_yanked = attempt == 0 and isinstance(state.content, Manifest) and state.content.is_yanked
            marked = await self._marked(documents, state, reason, "yank")
            if marked is None:
                continue
            await self._require_unused(documents, marked, "yank", undo=_is_in_progress(documents, state))
            settled = await documents.settle(marked)
            if isinstance(settled, Manifest) and settled.is_yanked and settled.mark is not None:
                if was_yanked:
                    _note(documents, f"was already yanked {settled.mark}")
                return settled.mark
        raise VersionContended(documents.name, documents.version, "yank")

    async def _unyank(self, documents: VersionDocuments, stop: StopSignal) -> None:
        for _ in range(MAX_ATTEMPTS):
            stop.check()
            state = await documents.read()
            manifest = self._manifest(documents, state)
            if not manifest.is_yanked:
                _note(documents, "isn't yanked")
                restored: VersionState | None = state
            else:
                restored = await documents.swap(state, manifest.marked(new_mark(self.by, None), yanked=False))
            if restored is not None:
                await documents.settle(restored)
                return
        raise VersionContended(documents.name, documents.version, "unyank")

    async def _bury(self, documents: VersionDocuments, reason: str | None, stop: StopSignal) -> Tombstone:
        """Replace a `.meta` by a tombstone, and fence the version as deleted."""
        for _ in range(MAX_ATTEMPTS):
            stop.check()
            state: VersionState | None = await documents.read()
            if state is not None and isinstance(state.content, Manifest):
                state = await self._buried(documents, state, reason, stop)
            if state is not None and isinstance(state.content, Tombstone):
                await documents.fence(Fence.DELETED)
                return state.content
        raise VersionContended(documents.name, documents.version, "delete")

    async def _buried(
        self, documents: VersionDocuments, state: VersionState, reason: str | None, stop: StopSignal
    ) -> VersionState | None:
        """Yank a version and replace its `.meta` by a tombstone. Return `None` if another process changed it."""
        marked = await self._marked(documents, state, reason, "delete")
        if marked is None:
            return None
        await self._require_unused(documents, marked, "delete", undo=_is_in_progress(documents, state))
        await documents.fence(Fence.YANKED, state.index)
        stop.check()
        manifest = self._manifest(documents, marked)
        tombstone = Tombstone(new_mark(self.by, reason), manifest.content_digest, manifest.token)
        # The revision is that of the mark, so the version hasn't been restored since the look at the aliases.
        buried = await documents.swap(marked, tombstone)
        if buried is None:  # the fence may be wrong now
            await documents.settle()
        return buried

    async def _finish(self, documents: VersionDocuments) -> bool:
        """Finish what can be finished without deleting content. Return whether the version is deleted."""
        state = await documents.read()
        if isinstance(state.content, Tombstone):
            await documents.fence(Fence.DELETED)
            return True
        try:
            if state.content.is_yanked:
                await self._require_unused(documents, state, "yank", undo=_is_in_progress(documents, state))
            await documents.settle(state)
        except VersionInUse as error:
            logger.info("Ended an interrupted yank: %s", error)
        return False

    # Steps

    async def _marked(
        self, documents: VersionDocuments, state: VersionState, reason: str | None, action: str
    ) -> VersionState | None:
        """Mark a version as yanked unless it is. Return `None` if another process changed the `.meta`.

        If an alias points at it already, no reader should see a mark that will be undone.
        """
        manifest = self._manifest(documents, state)
        if manifest.is_yanked:
            return state
        if state.aliases:
            raise VersionInUse(documents.name, documents.version, state.aliases, action)
        return await documents.swap(state, manifest.marked(new_mark(self.by, reason), yanked=True))

    async def _require_unused(
        self, documents: VersionDocuments, marked: VersionState, action: str, *, undo: bool
    ) -> None:
        """Raise `VersionInUse` if an alias points at a version, after it was marked as yanked.

        Args:
            documents: the documents of the version.
            marked: their state since then.
            action: what can't be done, for the error message.
            undo: whether to clear the mark before.
        """
        aliases = await documents.aliases()
        if not aliases:
            return
        if undo:
            mark = new_mark(self.by, f"{documents.name}@{aliases[0]} points at it")
            await documents.swap(marked, self._manifest(documents, marked).marked(mark, yanked=False))
            await documents.settle()
        raise VersionInUse(documents.name, documents.version, aliases, action)

    async def _remove_content(self, name: str, version: str) -> ContentSummary:
        try:
            return await remove_content(self.store, name, version)
        except BaseException:
            logger.warning(
                "%s:%s is deleted, but some of its files may be left in %s. Remove them with `aioassets clean %s`.",
                name,
                version,
                self.store.url_of(name, version),
                name,
                extra=NOTICE,
            )
            raise

    async def _uninterrupted(self, work: Callable[[StopSignal], Awaitable[T]]) -> T:
        return await uninterrupted(work, grace=self.cleanup_timeout)

    # Checks

    def _documents(self, name: str, version: str) -> VersionDocuments:
        parse_name(name)
        check_complete(self.scheme, version)
        return VersionDocuments(self.store, self.scheme, name, version, self.retry)

    def _manifest(self, documents: VersionDocuments, state: VersionState) -> Manifest:
        """Return the manifest. Raises `VersionDeleted` if there is a tombstone instead."""
        if isinstance(state.content, Manifest):
            return state.content
        raise deletion_error(self.store, documents.name, documents.version, state.content)


def _note(documents: VersionDocuments, found: str) -> None:
    """Tell the user of a command that there was nothing to change."""
    logger.warning("%s:%s %s.", documents.name, documents.version, found, extra=NOTICE)


def _is_in_progress(documents: VersionDocuments, state: VersionState) -> bool:
    """Return whether no earlier yank of a version is complete: it isn't marked yet, or not fenced in the index."""
    is_marked = isinstance(state.content, Manifest) and state.content.is_yanked
    return not (is_marked and documents.version in state.index.index.fences)
