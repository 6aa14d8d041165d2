"""Finding leftovers in the store and in the assets directory, and removing them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

from aioassets.cleanup.store import StoreCleaning
from aioassets.errors import AssetNotFound
from aioassets.model.leftovers import CleaningPlan, CleaningResult, CleaningRules, Leftover
from aioassets.runtime.tasks import for_each
from aioassets.runtime.threads import in_thread

AT_ONCE: Final = 16
"""Leftovers that are removed at once; the budget bounds their requests."""


class CachedLeftovers(Protocol):
    """Leftovers of fetches in the assets directory. Both methods block."""

    def find(self, name: str | None, rules: CleaningRules) -> list[Leftover]:
        """Return the leftovers of one asset, or of all."""

    def remove(self, leftover: Leftover) -> bool:
        """Remove one that was found; return `False` where it is in use by now."""


@dataclass(frozen=True, slots=True)
class Cleaning:
    """Looks for leftovers, and removes them.

    Attributes:
        store: cleans the store; `None` where there is none.
        cached: cleans the assets directory.
        rules: what may be removed.
    """

    store: StoreCleaning | None
    cached: CachedLeftovers
    rules: CleaningRules

    async def plan(self, name: str | None) -> CleaningPlan:
        """See `AssetsManager.plan_clean`."""
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
        """See `AssetsManager.clean`."""
        removed: dict[Leftover, bool] = {}

        async def remove(leftover: Leftover) -> None:
            if leftover.is_cached:
                removed[leftover] = await in_thread(self.cached.remove, leftover)
            else:
                removed[leftover] = self.store is not None and await self.store.remove(leftover)

        await for_each(plan.removable, remove, limit=AT_ONCE)
        return CleaningResult(
            tuple(leftover for leftover in plan.removable if removed[leftover]),
            tuple(leftover for leftover in plan.removable if not removed[leftover]),
        )
