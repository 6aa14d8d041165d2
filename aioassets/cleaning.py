"""Finding what dead pushes and fetches left behind, and removing it: in the store, and in the assets directory."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

from aioassets.cache import Slot, stale_slots, untidy_files
from aioassets.concurrency import for_each
from aioassets.errors import AssetNotFound
from aioassets.leftovers import CleaningPlan, CleaningResult, CleaningRules, Leftover, LeftoverKind
from aioassets.store_cleaning import StoreCleaning
from aioassets.threads import in_thread

AT_ONCE: Final = 16
"""Leftovers that are removed at once; the budget bounds their requests."""


@dataclass(frozen=True, slots=True)
class Cleaning:
    """Looks for leftovers, and removes them.

    Attributes:
        store: cleans the store; `None` where there is none.
        assets_dir: the assets directory.
        rules: what may be removed.
        is_version: tells versions from other names.
    """

    store: StoreCleaning | None
    assets_dir: Path
    rules: CleaningRules
    is_version: Callable[[str], bool]

    async def plan(self, name: str | None) -> CleaningPlan:
        """See `AssetsManager.plan_clean`."""
        cached = await in_thread(find_cached, self.assets_dir, name, self.rules, self.is_version)
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
                removed[leftover] = await in_thread(remove_cached, self.assets_dir, leftover)
            else:
                removed[leftover] = self.store is not None and await self.store.remove(leftover)

        await for_each(plan.removable, remove, limit=AT_ONCE)
        return CleaningResult(
            tuple(leftover for leftover in plan.removable if removed[leftover]),
            tuple(leftover for leftover in plan.removable if not removed[leftover]),
        )


# The assets directory: these block


def find_cached(
    assets_dir: Path, name: str | None, rules: CleaningRules, is_version: Callable[[str], bool]
) -> list[Leftover]:
    """What fetches that died left in the assets directory."""
    found = [
        Leftover(
            LeftoverKind.UNFINISHED_DOWNLOAD,
            str(slot.staging),
            slot.name,
            slot.version,
            *_measured(slot.staging),
            removable=True,
            is_cached=True,
        )
        for slot in stale_slots(assets_dir, name, is_version)
    ]
    for path, temporary in untidy_files(assets_dir, name):
        with contextlib.suppress(FileNotFoundError):
            age = timedelta(seconds=time.time() - path.stat().st_mtime)
            if temporary:
                removable, kind, advice = rules.is_old(age), LeftoverKind.TEMPORARY_OBJECTS, ""
            else:
                removable, kind, advice = False, LeftoverKind.FILES_PUT_ASIDE, "delete it by hand if nobody needs it"
            found.append(
                Leftover(
                    kind,
                    str(path),
                    "",
                    "",
                    *_measured(path),
                    age=age,
                    removable=removable,
                    advice=advice,
                    is_cached=True,
                )
            )
    return found


def remove_cached(assets_dir: Path, leftover: Leftover) -> bool:
    """Remove something that `find_cached` found; `False` where it is in use by now."""
    if leftover.kind is LeftoverKind.TEMPORARY_OBJECTS:
        Path(leftover.where).unlink(missing_ok=True)
        return True
    slot = Slot(assets_dir, leftover.name, leftover.version)
    descriptor = slot.try_lock()
    if descriptor is None:
        return False
    try:
        slot.clear_staging()
    finally:
        slot.unlock(descriptor)
    return True


def _measured(path: Path) -> tuple[int, int]:
    """How many files there are, and how many bytes they hold."""
    files = [path] if path.is_file() else [inner for inner in path.rglob("*") if inner.is_file()]
    return len(files), sum(file.stat().st_size for file in files)
