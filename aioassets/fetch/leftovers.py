"""Leftovers of interrupted fetches in the assets directory."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from aioassets.fetch.directory import unfinished_versions, untidy_files
from aioassets.fetch.entry import CacheEntry
from aioassets.fetch.staging import clear_staging
from aioassets.model.leftovers import CleaningRules, Leftover, LeftoverKind


@dataclass(frozen=True, slots=True)
class CacheCleaning:
    """Finds and removes leftovers of fetches in the assets directory.

    Attributes:
        assets_dir: the assets directory.
        is_version: tells versions from other names.
    """

    assets_dir: Path
    is_version: Callable[[str], bool]

    def find(self, name: str | None, rules: CleaningRules) -> list[Leftover]:
        """Return the leftovers of one asset, or of all. Blocking."""
        return [*self._unfinished_downloads(name), *self._untidy_files(name, rules)]

    def remove(self, leftover: Leftover) -> bool:
        """Remove a leftover; return `False` if it is in use now. Blocking."""
        if leftover.kind is LeftoverKind.TEMPORARY_OBJECTS:
            Path(leftover.where).unlink(missing_ok=True)
            return True
        entry = CacheEntry(self.assets_dir, leftover.name, leftover.version)
        descriptor = entry.try_lock()
        if descriptor is None:
            return False
        try:
            clear_staging(entry)
        finally:
            entry.unlock(descriptor)
        return True

    def _unfinished_downloads(self, name: str | None) -> Iterator[Leftover]:
        for asset, version in unfinished_versions(self.assets_dir, name, self.is_version):
            entry = CacheEntry(self.assets_dir, asset, version)
            if _is_stale(entry):
                files, size = _measured(entry.staging)
                yield Leftover(
                    LeftoverKind.UNFINISHED_DOWNLOAD,
                    str(entry.staging),
                    asset,
                    version,
                    files=files,
                    size=size,
                    removable=True,
                    is_cached=True,
                )

    def _untidy_files(self, name: str | None, rules: CleaningRules) -> Iterator[Leftover]:
        for path, kind in untidy_files(self.assets_dir, name):
            try:
                age = timedelta(seconds=time.time() - path.stat().st_mtime)
                files, size = _measured(path)
            except FileNotFoundError:  # removed by its writer meanwhile
                continue
            is_temporary = kind is LeftoverKind.TEMPORARY_OBJECTS
            yield Leftover(
                kind,
                str(path),
                files=files,
                size=size,
                age=age,
                removable=is_temporary and rules.is_old(age),
                advice="" if is_temporary else "delete it if you don't need it",
                is_cached=True,
            )


def _is_stale(entry: CacheEntry) -> bool:
    """Return whether no process holds the lock. Removes a lock file that is not held."""
    try:
        descriptor = entry.try_lock()
    except OSError:  # a folder that can't be written can't be cleaned
        return False
    if descriptor is None:
        return False
    entry.unlock(descriptor)
    return True


def _measured(path: Path) -> tuple[int, int]:
    """Return the number of files at or below a path, and their bytes."""
    files = [path] if path.is_file() else [inner for inner in path.rglob("*") if inner.is_file()]
    return len(files), sum(file.stat().st_size for file in files)
