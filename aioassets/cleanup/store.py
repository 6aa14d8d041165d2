"""Finding what dead pushes left in a store, and removing it.

Nothing is deleted below a version while its `.meta` may still become something else. It is seized
first: swapped, at the very revision that was read, to an abandoned claim of a token of our own,
which no push ever takes over or releases. Where that is refused, nothing is deleted.
"""

from __future__ import annotations

import contextlib
import secrets
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final

from aioassets.drivers.protocol import Expect, ObjectInfo, OpenUpload, Revision
from aioassets.errors import AssetNotFound, ObjectNotFound, PreconditionFailed, StoreCorrupt
from aioassets.model.claim import DEAD_AFTER, Claim, ClaimState
from aioassets.model.leftovers import CleaningRules, Leftover, LeftoverKind
from aioassets.model.manifest import Manifest
from aioassets.model.versioning import VersioningScheme
from aioassets.runtime.machine import Claimant
from aioassets.runtime.tasks import for_each
from aioassets.runtime.threads import in_thread
from aioassets.store.claims import is_dead, new_claim
from aioassets.store.documents import AssetStore, MetaState

ASSETS_AT_ONCE: Final = 8
VERSIONS_AT_ONCE: Final = 8
BATCH: Final = 1000
"""Keys that are handed to a driver's `delete` at once."""


@dataclass(slots=True)
class _Content:
    """What is below a version."""

    files: int = 0
    size: int = 0
    modified: datetime | None = None

    def add(self, info: ObjectInfo) -> None:
        self.files += 1
        self.size += info.size
        self.modified = info.modified if self.modified is None else max(self.modified, info.modified)


_Uploads = Mapping[tuple[str, str], Sequence[OpenUpload]]


@dataclass(slots=True)
class StoreCleaning:
    """Looks for leftovers in one store, and removes them.

    Attributes:
        store: where.
        scheme: how versions are numbered.
        rules: what may be removed.
        claimant: who cleans, for the claims that it leaves.
    """

    store: AssetStore
    scheme: VersioningScheme
    rules: CleaningRules
    claimant: Claimant
    _now: datetime | None = field(default=None, init=False)

    # Find

    async def find(self, name: str | None) -> list[Leftover]:
        """Look at one asset, or at all there is; writes nothing (but a scratch object, with `legacy`).

        Raises:
            AssetNotFound: nothing is there of this asset.
        """
        prefix = self.store.layout.root if name is None else self.store.layout.folder(name)
        uploads = await self._open_uploads(prefix)
        found: list[Leftover] = []

        async def look(asset: str) -> None:
            leftovers = await self._of_asset(asset, uploads)
            if leftovers is None:
                if name is not None:
                    raise AssetNotFound(name, self.store.url)
                return
            found.extend(leftovers)

        if name is None:
            names = await self.store.names_in_use(self.scheme.is_version) | {asset for asset, _ in uploads if asset}
        else:
            names = {name}
        await for_each(sorted(names), look, limit=ASSETS_AT_ONCE)
        found.sort(key=lambda leftover: (leftover.name, self._sort_key(leftover.version)))
        if name is None:
            found += [leftover async for leftover in self._temporary(uploads.get(("", ""), ()))]
        return found

    def _sort_key(self, version: str) -> tuple[bool, object]:
        return (bool(version), self.scheme.sort_key(version) if version else 0)

    async def _of_asset(self, name: str, uploads: _Uploads) -> list[Leftover] | None:
        found: list[Leftover] = []
        listed: Sequence[str] = ()
        numbers = await self.store.numbers(name)
        versions = {v for v in numbers if self.scheme.is_version(v)} | {v for asset, v in uploads if asset == name}
        try:
            state = await self.store.read_index(name)
        except StoreCorrupt as error:
            found.append(self._unreadable(error, name))
        else:
            if not (state.exists or versions):
                return None
            self._note(state.answered)
            listed = state.index.versions

        async def look(version: str) -> None:
            there = uploads.get((name, version), ())
            if version in listed:
                leftover = await self._listed(name, version, there)
            elif numbers.get(version):
                leftover = await self._unlisted(name, version, there, listed)
            else:
                leftover = await self._without_manifest(name, version, there)
            if leftover is not None:
                found.append(leftover)

        await for_each(sorted(versions), look, limit=VERSIONS_AT_ONCE)
        return found

    async def _listed(self, name: str, version: str, uploads: Sequence[OpenUpload]) -> Leftover | None:
        if not uploads:
            return None
        age = await self._age(max(upload.active for upload in uploads))
        return Leftover(
            LeftoverKind.OPEN_UPLOADS,
            self.store.url_of(name, version),
            name,
            version,
            uploads=len(uploads),
            age=age,
            removable=self.rules.is_old(age),
        )

    async def _unlisted(
        self, name: str, version: str, uploads: Sequence[OpenUpload], listed: Sequence[str]
    ) -> Leftover | None:
        try:
            meta = await self._read_meta(name, version)
        except ObjectNotFound:
            return None
        except StoreCorrupt as error:
            return self._unreadable(error, name, version)
        found = Leftover(LeftoverKind.UNLISTED_VERSION, self.store.url_of(name, version), name, version, age=meta.age)
        if isinstance(meta.content, Manifest):
            if version in (await self.store.read_index(name)).index.versions:
                return None  # by now
            return replace(
                found,
                files=len(meta.content.files),
                size=meta.content.size or 0,
                holder=meta.content.pushed_by,
                uploads=len(uploads),
                advice=f"it is complete: list it with --publish {name}:{version}",
            )
        content = await self._content(name, version)
        found = replace(found, files=content.files, size=content.size, uploads=len(uploads), holder=meta.content.holder)
        if meta.content.state is ClaimState.CLAIMED:
            if await in_thread(self._is_over, meta, meta.content):
                return replace(found, kind=LeftoverKind.DEAD_PUSH, removable=True)
            return replace(found, kind=LeftoverKind.LIVE_PUSH, advice="it may be under way")
        something = content.files or uploads
        if not something and not await self._number_may_go(name, version, meta, listed):
            return None  # a used-up number and nothing else: it must stay, so that it can't come back
        removable = self.rules.is_old(meta.age, timedelta(0))
        return replace(found, kind=LeftoverKind.ABANDONED_PUSH, removable=removable)

    async def _without_manifest(self, name: str, version: str, uploads: Sequence[OpenUpload]) -> Leftover | None:
        content = await self._content(name, version)
        moments = [upload.active for upload in uploads]
        if content.modified is not None:
            moments.append(content.modified)
        if not moments:
            return None
        age = await self._age(max(moments), ask=self.rules.legacy)
        removable = self.rules.is_legacy(age)
        return Leftover(
            LeftoverKind.WITHOUT_MANIFEST,
            self.store.url_of(name, version),
            name,
            version,
            files=content.files,
            size=content.size,
            uploads=len(uploads),
            age=age,
            removable=removable,
            advice="" if removable else "perhaps somebody pushes without claims: --legacy removes it after a day",
        )

    def _unreadable(self, error: StoreCorrupt, name: str, version: str = "") -> Leftover:
        return Leftover(LeftoverKind.UNREADABLE_DOCUMENT, error.where, name, version, advice=str(error))

    async def _temporary(self, uploads: Iterable[OpenUpload]) -> AsyncIterator[Leftover]:
        """What belongs to no asset: temporary files of a folder, scratch objects of probes."""
        moments = [upload.active for upload in uploads]
        if moments:
            yield await self._loose(self.store.driver.url, moments, uploads=len(moments))
        scratch = _Content()
        moments = []
        async for info in self._scratch():
            scratch.add(info)
            moments.append(info.modified)
        if moments:
            where = f"{self.store.driver.url}/{self.store.layout.scratch()}"
            yield await self._loose(where, moments, files=scratch.files, size=scratch.size)

    async def _loose(
        self, where: str, moments: Sequence[datetime], *, files: int = 0, size: int = 0, uploads: int = 0
    ) -> Leftover:
        age = await self._age(min(moments))
        removable = self.rules.is_old(age)
        return Leftover(
            LeftoverKind.TEMPORARY_OBJECTS, where, files=files, size=size, uploads=uploads, age=age, removable=removable
        )

    async def _scratch(self) -> AsyncIterator[ObjectInfo]:
        async for item in self.store.driver.list(self.store.layout.scratch()):
            if isinstance(item, ObjectInfo):
                yield item

    async def _content(self, name: str, version: str) -> _Content:
        found = _Content()
        async for info in self.store.content(name, version):
            found.add(info)
        return found

    async def _open_uploads(self, prefix: str) -> dict[tuple[str, str], list[OpenUpload]]:
        """Uploads by asset and version; what belongs to neither, and isn't ours, is left out."""
        found: dict[tuple[str, str], list[OpenUpload]] = defaultdict(list)
        async for upload in self.store.driver.open_uploads(prefix):
            owner = self._owner(upload.key) if upload.key else ("", "")
            if owner is not None:
                found[owner].append(upload)
        return found

    def _owner(self, key: str) -> tuple[str, str] | None:
        segments = key[len(self.store.layout.root) :].split("/")
        for position, segment in enumerate(segments):
            if position and self.scheme.is_version(segment):
                return "/".join(segments[:position]), segment
        return None

    # Clocks: the store's alone

    async def _read_meta(self, name: str, version: str) -> MetaState:
        meta = await self.store.read_meta(name, version)
        self._note(meta.answered)
        return meta

    def _note(self, answered: datetime | None) -> None:
        if answered is not None:
            self._now = answered

    async def _age(self, moment: datetime, *, ask: bool = False) -> timedelta | None:
        if self._now is None and ask:
            await self._ask_for_the_time()
        return None if self._now is None else max(timedelta(), self._now - moment)

    async def _ask_for_the_time(self) -> None:
        """Where no document was read, write one: only answers tell the store's time."""
        key = self.store.layout.scratch(secrets.token_hex(16))
        await self.store.driver.write(key, b"", expected=Expect.ABSENT)
        try:
            self._note((await self.store.read_document(key)).answered)
        finally:
            await self.store.driver.delete([key])

    # Remove

    async def remove(self, leftover: Leftover) -> bool:
        """Remove something that was found, by what is true now; `False` where it may not go any more."""
        match leftover.kind:
            case LeftoverKind.DEAD_PUSH | LeftoverKind.ABANDONED_PUSH:
                return await self._end(leftover.name, leftover.version)
            case LeftoverKind.WITHOUT_MANIFEST:
                return await self._remove_legacy(leftover.name, leftover.version)
            case LeftoverKind.OPEN_UPLOADS:
                return await self._abort(leftover.name, leftover.version)
            case LeftoverKind.TEMPORARY_OBJECTS:
                return await self._remove_temporary()
        return False

    async def _end(self, name: str, version: str) -> bool:
        try:
            meta = await self._read_meta(name, version)
        except (ObjectNotFound, StoreCorrupt):
            return False
        if isinstance(meta.content, Manifest):
            return False
        if meta.content.state is ClaimState.CLAIMED:
            over = await in_thread(self._is_over, meta, meta.content)
        else:
            over = self.rules.is_old(meta.age, timedelta(0))
        if not over or not await self._seize(name, version, meta.revision):
            return False
        await self._empty(name, version)
        listed = (await self.store.read_index(name)).index.versions
        if await self._number_may_go(name, version, meta, listed):
            await self.store.driver.delete([self.store.layout.meta(name, version)])
        return True

    async def _remove_legacy(self, name: str, version: str) -> bool:
        uploads = await self._uploads_of(name, version)
        leftover = await self._without_manifest(name, version, uploads)
        if leftover is None or not leftover.removable or not await self._seize(name, version, Expect.ABSENT):
            return False
        await self._empty(name, version)
        return True

    def _is_over(self, meta: MetaState, claim: Claim) -> bool:
        """Whether a claim may be ended; may block."""
        return is_dead(meta, claim) if self.rules.older_than is None else meta.age >= self.rules.older_than

    async def _seize(self, name: str, version: str, expected: Revision | Expect) -> bool:
        """Make a `.meta` an abandoned claim that is ours alone: from here nothing else comes of this number."""
        claim = new_claim("clean", "", self.claimant).in_state(ClaimState.ABANDONED)
        try:
            await self.store.driver.write(self.store.layout.meta(name, version), claim.to_json(), expected=expected)
        except PreconditionFailed:  # by somebody else, or by ourselves with a lost answer
            with contextlib.suppress(ObjectNotFound, StoreCorrupt):
                return (await self._read_meta(name, version)).content == claim
            return False
        return True

    async def _empty(self, name: str, version: str) -> None:
        """Remove all that is below a version whose `.meta` is ours."""
        for upload in await self._uploads_of(name, version):
            await self.store.driver.abort(upload)
        batch: list[str] = []
        async for info in self.store.content(name, version):
            batch.append(info.key)
            if len(batch) == BATCH:
                await self.store.driver.delete(batch)
                batch = []
        if batch:
            await self.store.driver.delete(batch)

    async def _abort(self, name: str, version: str) -> bool:
        uploads = await self._uploads_of(name, version)
        self._note((await self.store.read_index(name)).answered)
        old = [upload for upload in uploads if self.rules.is_old(await self._age(upload.active))]
        for upload in old:
            await self.store.driver.abort(upload)
        return bool(old)

    async def _uploads_of(self, name: str, version: str) -> list[OpenUpload]:
        key = self.store.layout.content(name, version)
        return [
            upload
            async for upload in self.store.driver.open_uploads(key)
            if upload.key == key or upload.key.startswith(f"{key}/")
        ]

    async def _remove_temporary(self) -> bool:
        removed = False
        async for upload in self.store.driver.open_uploads(self.store.layout.root):
            if not upload.key and self.rules.is_old(await self._age(upload.active, ask=True)):
                await self.store.driver.abort(upload)
                removed = True
        keys = [
            info.key async for info in self._scratch() if self.rules.is_old(await self._age(info.modified, ask=True))
        ]
        if keys:
            await self.store.driver.delete(keys)
        return removed or bool(keys)

    async def _number_may_go(self, name: str, version: str, meta: MetaState, listed: Sequence[str]) -> bool:
        """Whether a number that was given up can't come back, so that its `.meta` isn't needed any more.

        A push takes a number that it counted from an index that it read some time before. So a
        higher one of the same major must have been complete for longer than any live push waits.
        """
        if meta.age < DEAD_AFTER:
            return False
        series, key = self.scheme.series(version), self.scheme.sort_key(version)
        known = [v for v in listed if self.scheme.is_version(v)]
        higher = [v for v in known if self.scheme.series(v) == series and self.scheme.sort_key(v) > key]
        if not higher:
            return False
        try:
            following = await self._read_meta(name, min(higher, key=self.scheme.sort_key))
        except (ObjectNotFound, StoreCorrupt):
            return False
        return following.age >= DEAD_AFTER
