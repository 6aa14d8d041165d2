"""Cleaning up a store and the assets directory."""

from __future__ import annotations

import contextlib
import logging
from dataclasses import dataclass
from typing import Final, Protocol

from aioassets.cleanup.store import StoreCleaning
from aioassets.errors import AioAssetsError, AssetNotFound, StoreUnavailable
from aioassets.model.leftovers import CleaningPlan, CleaningResult, CleaningRules, Leftover
from aioassets.runtime.tasks import for_each
from aioassets.runtime.threads import in_thread

logger = logging.getLogger(__name__)

AT_ONCE: Final = 16
"""Maximum number of leftovers to remove concurrently. The budget limits their requests separately."""


class CachedLeftovers(Protocol):
    """An object that finds and removes leftovers in the assets directory. Both methods block."""

    def find(self, name: str | None, rules: CleaningRules) -> list[Leftover]:
        """Return the leftovers of one asset, or of all assets if `name` is `None`."""

    def remove(self, leftover: Leftover) -> bool:
        """Remove a leftover. Return `False` if it is in use."""


@dataclass(frozen=True, slots=True)
class Cleaning:
    """A cleanup of a store and the assets directory.

    Attributes:
        store: the cleanup of the store; `None` if there is no store.
        cached: the object that finds and removes leftovers in the assets directory.
        rules: the rules for what may be removed.
    """

    store: StoreCleaning | None
    cached: CachedLeftovers
    rules: CleaningRules

    async def plan(self, name: str | None) -> CleaningPlan:
        """Find leftovers; see `AssetsManager.plan_clean`."""
        cached = await in_thread(self.cached.find, name, self.rules)
        stored: list[Leftover] = []
        if self.store is not None:
            try:
                stored = await self.store.find(name)
            except AssetNotFound:
                if not cached:
                    raise
        return CleaningPlan(self.rules, (*stored, *cached), name)

    async def run(self, plan: CleaningPlan) -> CleaningResult:
        """Remove leftovers; see `AssetsManager.clean`."""
        removed: dict[Leftover, bool] = {}
        failed: list[tuple[Leftover, AioAssetsError]] = []

        async def remove(leftover: Leftover) -> None:
            try:
                removed[leftover] = await self._remove(leftover)
            except StoreUnavailable:
                raise
            except AioAssetsError as error:
                failed.append((await self._rest(leftover), error))
            else:
                outcome = "Removed" if removed[leftover] else "Kept because it has changed or is in use"
                logger.info("%s: %s at %r", outcome, leftover.kind.value, leftover.where)

        await for_each(plan.removable, remove, limit=AT_ONCE)
        return CleaningResult(
            tuple(leftover for leftover in plan.removable if removed.get(leftover) is True),
            tuple(leftover for leftover in plan.removable if removed.get(leftover) is False),
            tuple(failed),
        )

    async def _rest(self, leftover: Leftover) -> Leftover:
        """Return a leftover updated with the number of files that remain, or unchanged if that can't be determined."""
        with contextlib.suppress(AioAssetsError):
            if self.store is not None and leftover.version and not leftover.is_cached:
                return await self.store.count_again(leftover)
        return leftover

    async def _remove(self, leftover: Leftover) -> bool:
        if leftover.is_cached:
            return await in_thread(self.cached.remove, leftover)
        return self.store is not None and await self.store.remove(leftover)
