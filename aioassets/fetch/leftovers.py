"""Leftovers of interrupted fetches in the assets directory."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from aioassets.fetch.cache import CacheEntry, stale_entries, untidy_files
from aioassets.model.leftovers import CleaningRules, Leftover, LeftoverKind


@dataclass(frozen=True, slots=True)
class CacheCleaning:
    """Finds leftovers of fetches in the assets directory, and removes them.

    Attributes:
        assets_dir: the assets directory.
        is_version: tells versions from other names.
    """

    assets_dir: Path
    is_version: Callable[[str], bool]

    def find(self, name: str | None, rules: CleaningRules) -> list[Leftover]:
        """Return the leftovers of one asset, or of all. Blocking."""
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
            for slot in stale_entries(self.assets_dir, name, self.is_version)
        ]
        for path, temporary in untidy_files(self.assets_dir, name):
            with contextlib.suppress(FileNotFoundError):
                age = timedelta(seconds=time.time() - path.stat().st_mtime)
                if temporary:
                    removable, kind, advice = rules.is_old(age), LeftoverKind.TEMPORARY_OBJECTS, ""
                else:
                    removable, kind, advice = (
                        False,
                        LeftoverKind.FILES_PUT_ASIDE,
                        "delete it by hand if nobody needs it",
                    )
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

    def remove(self, leftover: Leftover) -> bool:
        """Remove one that was found; return `False` where it is in use by now. Blocking."""
        if leftover.kind is LeftoverKind.TEMPORARY_OBJECTS:
            Path(leftover.where).unlink(missing_ok=True)
            return True
        slot = CacheEntry(self.assets_dir, leftover.name, leftover.version)
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
