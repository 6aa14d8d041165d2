"""Removing leftovers from a store.

Content is never deleted while the `.meta` of its version may still change. The remover first replaces the
`.meta` that it has read with an abandoned claim that has a new token. No push takes over or releases such a
claim. If the store refuses the replacement, nothing is deleted.
"""

from __future__ import annotations

import contextlib
import logging
from dataclasses import dataclass
from datetime import timedelta

from aioassets.cleanup.content import remove_content
from aioassets.cleanup.finder import LeftoverFinder
from aioassets.cleanup.inspection import StoreInspection
from aioassets.cleanup.withdrawal import Withdrawal
from aioassets.drivers.protocol import Expect, Revision
from aioassets.errors import ObjectNotFound, PreconditionFailed, StoreCorrupt
from aioassets.model.claim import Claim, ClaimState
from aioassets.model.leftovers import CleaningRules, Leftover, LeftoverKind
from aioassets.runtime.machine import Claimant
from aioassets.runtime.threads import in_thread
from aioassets.store.claims import new_claim
from aioassets.store.documents import AssetStore

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LeftoverRemover:
    """A remover for the leftovers of pushes in a store.

    Attributes:
        inspection: the inspection of the store.
        claimant: the identity of the current process, to be recorded in abandoned claims.
        withdrawal: the object that finishes interrupted yanks and deletions.
    """

    inspection: StoreInspection
    claimant: Claimant
    withdrawal: Withdrawal

    @property
    def _store(self) -> AssetStore:
        return self.inspection.store

    @property
    def _rules(self) -> CleaningRules:
        return self.inspection.rules

    async def remove(self, leftover: Leftover) -> bool:
        """Check a leftover again and remove it. Return `False` if it must not be removed after all."""
        match leftover.kind:
            case LeftoverKind.DEAD_PUSH | LeftoverKind.ABANDONED_PUSH:
                return await self._remove_push(leftover.name, leftover.version)
            case LeftoverKind.WITHOUT_MANIFEST:
                return await self._remove_without_manifest(leftover.name, leftover.version)
            case LeftoverKind.OPEN_UPLOADS:
                return await self._abort_uploads(leftover.name, leftover.version)
            case LeftoverKind.UNFINISHED_YANK | LeftoverKind.UNFINISHED_DELETION:
                return await self.withdrawal.finish(leftover.name, leftover.version)
            case LeftoverKind.TEMPORARY_OBJECTS:
                return await self._remove_temporary_objects()
        return False

    async def _remove_push(self, name: str, version: str) -> bool:
        try:
            meta = await self.inspection.read_meta(name, version)
        except (ObjectNotFound, StoreCorrupt):
            return False
        if not isinstance(meta.content, Claim):
            return False
        if meta.content.state is ClaimState.CLAIMED:
            over = await in_thread(self.inspection.may_end, meta, meta.content)
        else:
            over = self._rules.is_old(meta.age, timedelta(0))
        if not over or not await self._seize(name, version, meta.revision):
            return False
        await remove_content(self._store, name, version)
        return True

    async def _remove_without_manifest(self, name: str, version: str) -> bool:
        uploads = await self.inspection.uploads_of(name, version)
        leftover = await LeftoverFinder(self.inspection).without_manifest(name, version, uploads)
        if leftover is None or not leftover.removable or not await self._seize(name, version, Expect.ABSENT):
            return False
        await remove_content(self._store, name, version)
        return True

    async def _seize(self, name: str, version: str, expected: Revision | Expect) -> bool:
        """Replace a `.meta` with an abandoned claim of the current process. Return whether that succeeded."""
        claim = new_claim("clean", "", self.claimant).in_state(ClaimState.ABANDONED)
        try:
            await self._store.driver.write(self._store.layout.meta(name, version), claim.to_json(), expected=expected)
        except PreconditionFailed:  # another process was faster, or the response to the first attempt was lost
            with contextlib.suppress(ObjectNotFound, StoreCorrupt):
                return (await self.inspection.read_meta(name, version)).content == claim
            return False
        logger.info("Abandoned %s:%s in %s: this version number will not be used", name, version, self._store.url)
        return True

    async def _abort_uploads(self, name: str, version: str) -> bool:
        uploads = await self.inspection.uploads_of(name, version)
        self.inspection.note_time((await self._store.read_index(name)).answered)
        old = [upload for upload in uploads if self._rules.is_old(await self.inspection.age(upload.active))]
        for upload in old:
            await self._store.driver.abort(upload)
        return bool(old)

    async def _remove_temporary_objects(self) -> bool:
        removed = False
        async for upload in self._store.driver.open_uploads(self._store.layout.root):
            if not upload.key and self._rules.is_old(await self.inspection.age(upload.active, ask=True)):
                await self._store.driver.abort(upload)
                removed = True
        keys = [
            info.key
            async for info in self.inspection.scratch_objects()
            if self._rules.is_old(await self.inspection.age(info.modified, ask=True))
        ]
        if keys:
            await self._store.driver.delete(keys)
        return removed or bool(keys)
