"""Deleting versions by rules."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final

from aioassets.cleanup.withdrawal import Withdrawal
from aioassets.errors import AioAssetsError, AssetNotFound, InvalidVersion, ObjectNotFound, StoreCorrupt
from aioassets.model.aliases import AliasTable
from aioassets.model.index import Fence, VersionIndex
from aioassets.model.manifest import Manifest
from aioassets.model.names import parse_name
from aioassets.model.retention import PrunedVersion, PrunePlan, PruneResult, RetentionRules, decided
from aioassets.model.tombstone import Tombstone
from aioassets.model.versioning import VersioningScheme
from aioassets.model.withdrawals import DeletionResult
from aioassets.runtime.tasks import for_each, gather2
from aioassets.runtime.threads import in_thread
from aioassets.store.documents import AssetStore
from aioassets.store.index import check_index

logger = logging.getLogger(__name__)

ASSETS_AT_ONCE: Final = 8
MANIFESTS_AT_ONCE: Final = 8
REASON: Final = "pruned"
"""Reason that the tombstones of pruned versions state."""


@dataclass(slots=True)
class _Asset:
    """The versions of one asset whose manifests have been read.

    Attributes:
        name: the asset's name.
        rows: the complete versions; `None` for numbers that aren't complete versions.
    """

    name: str
    rows: dict[str, PrunedVersion | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Retention:
    """Deletion of the versions in a store that no rule keeps.

    Attributes:
        store: the store.
        scheme: the versioning scheme.
        rules: the rules.
        withdrawal: the object that deletes versions.
    """

    store: AssetStore
    scheme: VersioningScheme
    rules: RetentionRules
    withdrawal: Withdrawal

    async def plan(self, name: str | None) -> PrunePlan:
        """Return a plan for one asset, or for all assets if `name` is `None`.

        Raises:
            AssetNotFound: if the asset doesn't exist.
            InvalidVersion: if the asset uses a different versioning scheme.
            StoreCorrupt: if its index or its aliases are invalid.
        """
        skipped: dict[str, AioAssetsError] = {}
        found: dict[str, list[PrunedVersion]] = {}

        async def look(asset: str) -> None:
            try:
                found[asset] = await self._decided(_Asset(asset))
            except (AssetNotFound, InvalidVersion, StoreCorrupt) as error:
                if name is not None:
                    raise
                logger.warning("Keeping all versions of %s: %s", asset, error)
                skipped[asset] = error

        names = await self.store.asset_names("") if name is None else [parse_name(name)]
        await for_each(names, look, limit=ASSETS_AT_ONCE)
        versions = tuple(row for asset in names for row in found.get(asset, ()))
        return PrunePlan(self.rules, versions, dict(sorted(skipped.items())))

    async def run(self, plan: PrunePlan) -> PruneResult:
        """Delete the versions in a plan that no rule keeps now.

        Aliases and the index are read again before each deletion.
        """
        deleted: list[DeletionResult] = []
        kept: list[PrunedVersion] = []
        failed: list[tuple[PrunedVersion, AioAssetsError]] = []
        by_asset: dict[str, list[PrunedVersion]] = {}
        for row in plan.deleted:
            by_asset.setdefault(row.name, []).append(row)

        async def prune(rows: list[PrunedVersion]) -> None:
            asset = _Asset(rows[0].name)
            for row in reversed(rows):  # the earliest first, so that an interruption leaves a contiguous history
                try:
                    if (now := await self._kept(asset, row)) is not None:
                        kept.append(now)
                    else:
                        deleted.append(await self.withdrawal.delete(row.name, row.version, REASON))
                except AioAssetsError as error:
                    failed.append((replace(row, is_deleted=await self._is_deleted(row)), error))

        await for_each(by_asset.values(), prune, limit=ASSETS_AT_ONCE)
        return PruneResult(tuple(deleted), tuple(kept), tuple(failed))

    async def _is_deleted(self, row: PrunedVersion) -> bool:
        """Return whether a version that could not be deleted completely has a tombstone."""
        with contextlib.suppress(AioAssetsError):
            return isinstance((await self.store.read_meta(row.name, row.version)).content, Tombstone)
        return False

    async def _kept(self, asset: _Asset, planned: PrunedVersion) -> PrunedVersion | None:
        """Return a version if a rule keeps it now, otherwise `None`."""
        try:
            rows = await self._decided(asset)
        except AssetNotFound:
            return None
        return next((row for row in rows if row.version == planned.version and row.reasons), None)

    async def _decided(self, asset: _Asset) -> list[PrunedVersion]:
        """Read an asset's index and aliases, and the manifests that haven't been read, and apply the rules."""
        state, aliases = await gather2(
            lambda: self.store.read_index(asset.name), lambda: self.store.read_aliases(asset.name)
        )
        if not state.exists:
            raise AssetNotFound(asset.name, self.store.url)
        check_index(state, self.scheme, asset.name)
        numbers = _numbers(state.index)
        await self._read(asset, [number for number in numbers if not _is_known(asset, state.index, number)])
        assert state.answered is not None  # noqa: S101 - it was read, and it exists
        # The store's clock, because a wrong local clock must not make versions look old.
        return await in_thread(self._ruled, asset, state.index, numbers, aliases.table, state.answered)

    def _ruled(
        self, asset: _Asset, index: VersionIndex, numbers: Iterable[str], aliases: AliasTable, now: datetime
    ) -> list[PrunedVersion]:
        """Apply the rules, which may take long for thousands of versions. Blocking."""
        rows = [row for number in numbers if (row := self._row(asset, index, number)) is not None]
        return decided(self.rules, self.scheme, rows, aliases.by_version(), now)

    def _row(self, asset: _Asset, index: VersionIndex, number: str) -> PrunedVersion | None:
        row = asset.rows[number]
        return None if row is None else replace(row, is_yanked=row.is_yanked or number in index.fences)

    async def _read(self, asset: _Asset, numbers: Iterable[str]) -> None:
        async def read(number: str) -> None:
            asset.rows[number] = await self._summary(asset.name, number)

        await for_each(numbers, read, limit=MANIFESTS_AT_ONCE)

    async def _summary(self, name: str, version: str) -> PrunedVersion | None:
        """Return the facts about a version that rules and plans need, or `None` if it isn't a complete version."""
        try:
            content = (await self.store.read_meta(name, version)).content
        except ObjectNotFound:
            return None
        except StoreCorrupt as error:
            logger.warning("Keeping %s:%s, whose manifest can't be read: %s", name, version, error)
            return PrunedVersion(name, version, error=error)
        if not isinstance(content, Manifest):
            return None
        return PrunedVersion(
            name,
            version,
            content.push_date,
            len(content.files),
            content.size,
            is_yanked=content.is_yanked,
            copy_date=None if content.origin is None else content.origin.copied.date,
        )


def _is_known(asset: _Asset, index: VersionIndex, number: str) -> bool:
    """Return whether a manifest needn't be read again. It must be if the index contradicts its mark."""
    if number not in asset.rows:
        return False
    row = asset.rows[number]
    return row is None or row.error is not None or row.is_yanked == (number in index.fences)


def _numbers(index: VersionIndex) -> list[str]:
    return [number for number in index.numbers if index.fences.get(number) is not Fence.DELETED]
