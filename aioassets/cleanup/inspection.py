"""Inspecting a store: the content, open uploads and claims of its versions, and how old these are."""

from __future__ import annotations

import secrets
from collections import defaultdict
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from aioassets.cleanup.content import ContentSummary, content_of, uploads_of
from aioassets.drivers.protocol import Expect, ObjectInfo, OpenUpload
from aioassets.model.claim import Claim
from aioassets.model.keys import version_of
from aioassets.model.leftovers import CleaningRules
from aioassets.model.versioning import VersioningScheme
from aioassets.store.claims import is_dead
from aioassets.store.documents import AssetStore, MetaState
from aioassets.store.scratch import remove_scratch


@dataclass(slots=True)
class StoreInspection:
    """An inspection of one store for leftovers.

    Ages are measured only by the store's clock, as reported in its responses.

    Attributes:
        store: the store.
        scheme: the versioning scheme.
        rules: the rules for what may be removed.
    """

    store: AssetStore
    scheme: VersioningScheme
    rules: CleaningRules
    _now: datetime | None = field(default=None, init=False)

    # Content

    async def content(self, name: str, version: str) -> ContentSummary:
        """Return a summary of a version's objects."""
        return await content_of(self.store, name, version)

    async def scratch_objects(self) -> AsyncIterator[ObjectInfo]:
        """Iterate over the scratch objects."""
        async for item in self.store.driver.list(self.store.layout.scratch()):
            if isinstance(item, ObjectInfo):
                yield item

    async def uploads_of(self, name: str, version: str) -> list[OpenUpload]:
        """Return the open uploads of a version."""
        return await uploads_of(self.store, name, version)

    async def uploads_by_version(self, prefix: str) -> dict[tuple[str, str], list[OpenUpload]]:
        """Return the open uploads, grouped by asset and version.

        Uploads without a key are grouped under an empty asset and version. Uploads whose keys don't belong to any
        version are left out, because other programs opened them.
        """
        found: dict[tuple[str, str], list[OpenUpload]] = defaultdict(list)
        async for upload in self.store.driver.open_uploads(prefix):
            owner = self._owner(upload.key) if upload.key else ("", "")
            if owner is not None:
                found[owner].append(upload)
        return found

    def _owner(self, key: str) -> tuple[str, str] | None:
        segments = key[len(self.store.layout.root) :].split("/")
        for position, segment in enumerate(segments):
            if position and self.scheme.is_version(version := version_of(segment)):
                return "/".join(segments[:position]), version
        return None

    # Claims

    async def read_meta(self, name: str, version: str) -> MetaState:
        """Read a `.meta` as `AssetStore.read_meta` does, and remember the time of the response."""
        meta = await self.store.read_meta(name, version)
        self.note_time(meta.answered)
        return meta

    def may_end(self, meta: MetaState, claim: Claim) -> bool:
        """Return whether the rules allow a claim to be marked as abandoned. May block."""
        return is_dead(meta, claim) if self.rules.older_than is None else meta.age >= self.rules.older_than

    # Time

    def note_time(self, answered: datetime | None) -> None:
        """Remember the time of a response, by the store's clock."""
        if answered is not None:
            self._now = answered

    async def age(self, moment: datetime, *, ask: bool = False) -> timedelta | None:
        """Return how long ago something happened, or `None` if the store's time isn't known.

        Args:
            moment: when it happened, by the store's clock.
            ask: whether to write and read a scratch object if the store's time isn't known yet.
        """
        if self._now is None and ask:
            await self._ask_for_the_time()
        return None if self._now is None else max(timedelta(), self._now - moment)

    async def _ask_for_the_time(self) -> None:
        key = self.store.layout.scratch(secrets.token_hex(16))
        await self.store.driver.write(key, b"", expected=Expect.ABSENT)
        try:
            self.note_time((await self.store.read_document(key)).answered)
        finally:
            await remove_scratch(self.store.driver, key)
