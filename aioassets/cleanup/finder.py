"""Finding leftovers in a store. Nothing is written, except for a scratch object if the store's time is needed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from aioassets.cleanup.content import ContentSummary
from aioassets.cleanup.inspection import StoreInspection
from aioassets.drivers.protocol import OpenUpload
from aioassets.errors import AssetNotFound, ObjectNotFound, StoreCorrupt
from aioassets.model.claim import Claim, ClaimState
from aioassets.model.index import Fence, VersionIndex
from aioassets.model.leftovers import CleaningRules, Leftover, LeftoverKind
from aioassets.model.manifest import Manifest
from aioassets.model.pusher import Pusher
from aioassets.model.tombstone import Tombstone
from aioassets.runtime.tasks import for_each
from aioassets.runtime.threads import in_thread
from aioassets.store.documents import AssetStore, MetaState, Presence
from aioassets.store.settling import fence_of, is_withdrawn

ASSETS_AT_ONCE: Final = 8
VERSIONS_AT_ONCE: Final = 8

_Uploads = Mapping[tuple[str, str], Sequence[OpenUpload]]


@dataclass(frozen=True, slots=True)
class LeftoverFinder:
    """A finder for the leftovers of pushes in a store.

    Attributes:
        inspection: the inspection of the store.
    """

    inspection: StoreInspection

    @property
    def _store(self) -> AssetStore:
        return self.inspection.store

    @property
    def _rules(self) -> CleaningRules:
        return self.inspection.rules

    async def find(self, name: str | None) -> list[Leftover]:
        """Return the leftovers of one asset, or of all assets if `name` is `None`.

        Raises:
            AssetNotFound: if the store has no objects for the asset.
        """
        prefix = self._store.layout.root if name is None else self._store.layout.folder(name)
        uploads = await self.inspection.uploads_by_version(prefix)
        found: list[Leftover] = []

        async def look(asset: str) -> None:
            leftovers = await self._of_asset(asset, uploads, is_only=name is not None)
            if leftovers is None and name is not None:
                raise AssetNotFound(name, self._store.url)
            found.extend(leftovers or ())

        names = {name} if name is not None else await self._names(uploads)
        await for_each(sorted(names), look, limit=ASSETS_AT_ONCE)
        found.sort(key=lambda leftover: (leftover.name, self._sort_key(leftover.version)))
        if name is None:
            found += [leftover async for leftover in self._temporary(uploads.get(("", ""), ()))]
        return found

    async def _names(self, uploads: _Uploads) -> set[str]:
        names = await self._store.names_in_use(self.inspection.scheme.is_version)
        return names | {asset for asset, _ in uploads if asset}

    def _sort_key(self, version: str) -> tuple[bool, object]:
        return (bool(version), self.inspection.scheme.sort_key(version) if version else 0)

    # Assets

    async def _of_asset(self, name: str, uploads: _Uploads, *, is_only: bool) -> list[Leftover] | None:
        """Return the leftovers of an asset, or `None` if the store has no objects of it.

        Args:
            name: the asset's name.
            uploads: the open uploads.
            is_only: whether only this asset is searched. If so, read the `.meta` of listed versions, too.
        """
        found: list[Leftover] = []
        index: VersionIndex | None = None
        objects = await self._store.presence(name)
        versions = {v for v in objects if self.inspection.scheme.is_version(v)}
        versions |= {version for asset, version in uploads if asset == name}
        try:
            state = await self._store.read_index(name)
        except StoreCorrupt as error:
            found.append(_unreadable(error, name))
        else:
            if not (state.exists or versions):
                return None
            self.inspection.note_time(state.answered)
            index = state.index
        listed = frozenset(index.versions if index is not None else ())

        async def look(version: str) -> None:
            there = uploads.get((name, version), ())
            kinds = objects.get(version, Presence(0))
            if index is None:  # content without a `.meta` may belong to a listed version
                has_meta = Presence.META in kinds
                leftover = await self._of_unlisted_version(name, version, there, None) if has_meta else None
            elif version in listed:
                leftover = await self._of_listed_version(name, version, there, look_closer=is_only)
            elif index.fences.get(version) is Fence.DELETED:
                leftover = await self._of_deleted_version(name, version, there, kinds)
            elif Presence.META in kinds:
                leftover = await self._of_unlisted_version(name, version, there, index)
            else:
                leftover = await self.without_manifest(name, version, there)
            if leftover is not None:
                found.append(leftover)

        await for_each(sorted(versions), look, limit=VERSIONS_AT_ONCE)
        return found

    # Versions

    async def _of_listed_version(
        self, name: str, version: str, uploads: Sequence[OpenUpload], *, look_closer: bool
    ) -> Leftover | None:
        if look_closer and (found := await self._of_withdrawn_version(name, version, uploads)) is not None:
            return found
        if not uploads:
            return None
        age = await self.inspection.age(max(upload.active for upload in uploads))
        return Leftover(
            LeftoverKind.OPEN_UPLOADS,
            self._store.url_of(name, version),
            name,
            version,
            uploads=len(uploads),
            age=age,
            removable=self._rules.is_old(age),
        )

    async def _of_withdrawn_version(self, name: str, version: str, uploads: Sequence[OpenUpload]) -> Leftover | None:
        """Return a yanked version that is listed, or a deleted one that is listed or has content. Otherwise, `None`."""
        try:
            meta = await self.inspection.read_meta(name, version)
        except (ObjectNotFound, StoreCorrupt):
            return None
        return await self._unfinished(name, version, meta, uploads) if is_withdrawn(meta.content) else None

    async def _of_deleted_version(
        self, name: str, version: str, uploads: Sequence[OpenUpload], objects: Presence
    ) -> Leftover | None:
        """Return a deleted version that has content or open uploads, or `None`."""
        if objects == Presence.META and not uploads:
            return None
        found = await self._of_withdrawn_version(name, version, uploads)
        # Some S3 servers list a folder even after all objects in it were deleted.
        return found if found is not None and (found.files or found.uploads) else None

    async def _unfinished(self, name: str, version: str, meta: MetaState, uploads: Sequence[OpenUpload]) -> Leftover:
        is_deleted = isinstance(meta.content, Tombstone)
        content = await self.inspection.content(name, version) if is_deleted else ContentSummary()
        return Leftover(
            LeftoverKind.UNFINISHED_DELETION if is_deleted else LeftoverKind.UNFINISHED_YANK,
            self._store.url_of(name, version),
            name,
            version,
            files=content.files,
            size=content.size,
            uploads=len(uploads),
            age=meta.age,
            holder=_withdrawn_by(meta.content),
            removable=self._rules.is_old(meta.age, timedelta(0)),
        )

    async def _of_unlisted_version(
        self, name: str, version: str, uploads: Sequence[OpenUpload], index: VersionIndex | None
    ) -> Leftover | None:
        """Return a leftover for a version that isn't listed, or `None`. The index is `None` if it can't be read."""
        try:
            meta = await self.inspection.read_meta(name, version)
        except ObjectNotFound:
            return None
        except StoreCorrupt as error:
            return _unreadable(error, name, version)
        found = Leftover(
            LeftoverKind.UNLISTED_VERSION,
            self._store.url_of(name, version),
            name,
            version,
            uploads=len(uploads),
            age=meta.age,
        )
        if not isinstance(meta.content, Claim):
            if index is None:
                return None  # whether it is listed isn't known
            if version in index.fences or isinstance(meta.content, Tombstone) or meta.content.is_yanked:
                is_settled = index.fences.get(version) is fence_of(meta.content)
                return None if is_settled else await self._unfinished(name, version, meta, uploads)
            return await self._of_sealed_version(found, meta.content)
        content = await self.inspection.content(name, version)
        found = replace(found, files=content.files, size=content.size, holder=meta.content.holder)
        return await self._of_claim(found, meta, meta.content)

    async def _of_sealed_version(self, found: Leftover, manifest: Manifest) -> Leftover | None:
        if found.version in (await self._store.read_index(found.name)).index.versions:
            return None  # listed in the meantime
        return replace(
            found,
            files=len(manifest.files),
            size=manifest.size or 0,
            holder=manifest.pushed_by,
            advice=f"it is complete; add it to the index with --publish {found.name}:{found.version}",
        )

    async def _of_claim(self, found: Leftover, meta: MetaState, claim: Claim) -> Leftover | None:
        if claim.state is ClaimState.CLAIMED:
            if await in_thread(self.inspection.may_end, meta, claim):
                return replace(found, kind=LeftoverKind.DEAD_PUSH, removable=True)
            return replace(found, kind=LeftoverKind.LIVE_PUSH, advice="its push may still be running")
        if not (found.files or found.uploads):
            return None  # the `.meta` stays, so that the version number isn't used again
        removable = self._rules.is_old(meta.age, timedelta(0))
        return replace(found, kind=LeftoverKind.ABANDONED_PUSH, removable=removable)

    async def without_manifest(self, name: str, version: str, uploads: Sequence[OpenUpload]) -> Leftover | None:
        """Return a leftover for the content and uploads of a version without a `.meta`, or `None` if it has neither."""
        content = await self.inspection.content(name, version)
        moments = [upload.active for upload in uploads]
        if content.modified is not None:
            moments.append(content.modified)
        if not moments:
            return None
        age = await self.inspection.age(max(moments), ask=self._rules.legacy)
        removable = self._rules.is_legacy(age)
        return Leftover(
            LeftoverKind.WITHOUT_MANIFEST,
            self._store.url_of(name, version),
            name,
            version,
            files=content.files,
            size=content.size,
            uploads=len(uploads),
            age=age,
            removable=removable,
            advice="" if removable else "another tool may be pushing it; --legacy removes it after a day",
        )

    # Temporary objects

    async def _temporary(self, uploads: Iterable[OpenUpload]) -> AsyncIterator[Leftover]:
        """Yield leftovers for the temporary files of a local store, and for scratch objects."""
        moments = [upload.active for upload in uploads]
        if moments:
            yield await self._temporary_objects(self._store.driver.url, moments, uploads=len(moments))
        scratch = ContentSummary()
        moments = []
        async for info in self.inspection.scratch_objects():
            scratch.add(info)
            moments.append(info.modified)
        if moments:
            where = f"{self._store.driver.url}/{self._store.layout.scratch()}"
            yield await self._temporary_objects(where, moments, files=scratch.files, size=scratch.size)

    async def _temporary_objects(
        self, where: str, moments: Sequence[datetime], *, files: int = 0, size: int = 0, uploads: int = 0
    ) -> Leftover:
        age = await self.inspection.age(min(moments))
        removable = self._rules.is_old(age)
        return Leftover(
            LeftoverKind.TEMPORARY_OBJECTS, where, files=files, size=size, uploads=uploads, age=age, removable=removable
        )


def _withdrawn_by(content: Manifest | Claim | Tombstone) -> Pusher | None:
    if isinstance(content, Tombstone):
        return content.deleted.by
    return content.mark.by if isinstance(content, Manifest) and content.mark is not None else None


def _unreadable(error: StoreCorrupt, name: str, version: str = "") -> Leftover:
    return Leftover(LeftoverKind.UNREADABLE_DOCUMENT, error.where, name, version, advice=str(error), error=error)
