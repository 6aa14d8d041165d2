"""Cleaning up one store."""

from __future__ import annotations

from dataclasses import replace

from aioassets.cleanup.finder import LeftoverFinder
from aioassets.cleanup.inspection import StoreInspection
from aioassets.cleanup.remover import LeftoverRemover
from aioassets.cleanup.withdrawal import Withdrawal
from aioassets.model.leftovers import CleaningRules, Leftover
from aioassets.model.versioning import VersioningScheme
from aioassets.runtime.machine import Claimant
from aioassets.store.documents import AssetStore


class StoreCleaning:
    """A cleanup of one store.

    Args:
        store: the store.
        scheme: the versioning scheme.
        rules: the rules for what may be removed.
        claimant: the identity of the current process, to be recorded in abandoned claims.
        withdrawal: the object that finishes interrupted yanks and deletions.
    """

    def __init__(
        self,
        store: AssetStore,
        scheme: VersioningScheme,
        rules: CleaningRules,
        claimant: Claimant,
        withdrawal: Withdrawal,
    ) -> None:
        inspection = StoreInspection(store, scheme, rules)
        self._inspection = inspection
        self._finder = LeftoverFinder(inspection)
        self._remover = LeftoverRemover(inspection, claimant, withdrawal)

    async def find(self, name: str | None) -> list[Leftover]:
        """Return the leftovers of one asset, or of all assets if `name` is `None`.

        Raises:
            AssetNotFound: if the store has no objects for the asset.
        """
        return await self._finder.find(name)

    async def count_again(self, leftover: Leftover) -> Leftover:
        """Count the files and open uploads of a version's leftover again, and return the updated leftover."""
        content = await self._inspection.content(leftover.name, leftover.version)
        uploads = await self._inspection.uploads_of(leftover.name, leftover.version)
        return replace(leftover, files=content.files, size=content.size, uploads=len(uploads))

    async def remove(self, leftover: Leftover) -> bool:
        """Check a leftover again and remove it. Return `False` if it must not be removed after all."""
        return await self._remover.remove(leftover)
