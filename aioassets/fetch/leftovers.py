"""Leftovers from interrupted fetches in the assets directory."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from aioassets.fetch.directory import IS_SPARE, OWN_FOLDER, staging_folders, unfinished_versions, untidy_files
from aioassets.fetch.entry import CacheEntry
from aioassets.fetch.origin import all_folders
from aioassets.fetch.owners import is_abandoned, remove
from aioassets.model.leftovers import CleaningRules, Leftover, LeftoverKind


@dataclass(frozen=True, slots=True)
class CacheCleaning:
    """An object that finds and removes leftovers from fetches in the assets directory.

    Attributes:
        assets_dir: the assets directory.
        is_version: a function that returns whether a text is a version.
    """

    assets_dir: Path
    is_version: Callable[[str], bool]

    def find(self, name: str | None, rules: CleaningRules) -> list[Leftover]:
        """Return the leftovers of one asset, or of all assets if `name` is `None`. Blocking."""
        found: list[Leftover] = []
        for root in (self.assets_dir, *all_folders(self.assets_dir)):
            found += [*self._unfinished_downloads(root, name), *self._untidy_files(root, name, rules)]
        return found

    def remove(self, leftover: Leftover) -> bool:
        """Remove a leftover. Return `False` if it is now in use. Blocking."""
        if leftover.kind is LeftoverKind.TEMPORARY_OBJECTS:
            Path(leftover.where).unlink(missing_ok=True)
            return True
        staging = Path(leftover.where)
        entry = _entry_of(staging, leftover.name, leftover.version)
        descriptor = entry.try_lock()
        if descriptor is None:
            return False
        try:
            if not is_abandoned(staging, time.time()):
                return False
            remove(staging)
        finally:
            entry.unlock(descriptor)
        return True

    def _unfinished_downloads(self, root: Path, name: str | None) -> Iterator[Leftover]:
        for asset, version in unfinished_versions(root, name, self.is_version):
            entry = CacheEntry(root, asset, version)
            if not _is_stale(entry):
                continue
            for folder in staging_folders(entry.record_file.parent, version):
                if is_abandoned(folder, time.time()):
                    files, size = _measured(folder)
                    yield Leftover(
                        LeftoverKind.UNFINISHED_DOWNLOAD,
                        str(folder),
                        asset,
                        version,
                        files=files,
                        size=size,
                        removable=True,
                        is_cached=True,
                    )

    def _untidy_files(self, root: Path, name: str | None, rules: CleaningRules) -> Iterator[Leftover]:
        for path, asset, kind in untidy_files(root, name):
            if _is_in_use(root, asset, path.name):
                continue
            try:
                age = timedelta(seconds=time.time() - path.stat().st_mtime)
                files, size = _measured(path)
            except FileNotFoundError:  # removed by its writer in the meantime
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


def _entry_of(path: Path, name: str, version: str) -> CacheEntry:
    """Return the entry for a version, given the path of an item next to its records."""
    root = str(path.parent).removesuffix(f"{OWN_FOLDER}/{name}")
    return CacheEntry(Path(root), name, version)


def _is_in_use(root: Path, name: str, item: str) -> bool:
    """Return whether a record refers to an item next to it."""
    spare = IS_SPARE.search(item)
    return spare is not None and spare[0] in CacheEntry(root, name, item[: spare.start()]).payloads_in_use()


def _is_stale(entry: CacheEntry) -> bool:
    """Return whether no process holds the lock. If so, remove the lock file."""
    try:
        descriptor = entry.try_lock()
    except OSError:  # a folder that isn't writable can't be cleaned up
        return False
    if descriptor is None:
        return False
    entry.unlock(descriptor)
    return True


def _measured(path: Path) -> tuple[int, int]:
    """Return the number of files at or below a path and their total size in bytes."""
    files = [path] if path.is_file() else [inner for inner in path.rglob("*") if inner.is_file()]
    return len(files), sum(file.stat().st_size for file in files)
