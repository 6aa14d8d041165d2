"""The names of the files and folders in the assets directory.

=================================================  ======================================================
`{root}/{name}/{version}`                          the payload: a complete, verified version
`{root}/.aioassets/{name}/{version}.json`          its record, written last
`{root}/.aioassets/{name}/{version}.parts/`        individual files of an incomplete version
`{root}/.aioassets/{name}/{version}.parts.json`    the record for these
`{root}/.aioassets/{name}/@{alias}.alias`          the target of an alias when it was last looked up
`{root}/.aioassets/{name}/{version}.lock`          locked by the process that is changing any of these
`{root}/.aioassets/{name}/{version}.staging-*/`    files that one fetch is downloading
`{root}/.aioassets/{name}/{version}.payload-*`     a payload or files whose usual place was taken
`{root}/.aioassets/{name}/{version}.aside-*`       a payload or files that didn't match the version
`{root}/.aioassets/{name}/{version}.lease-*`       exists while a process uses the version
`{root}/.aioassets/{name}/{version}.used`          its modification time is that of the last use
`{root}/.aioassets/{name}/{version}.evicting-*/`   a record, then a payload, that is being evicted
`{root}/.aioassets/{name}/@{alias}.alias`          the target of an alias when it was last looked up
=================================================  ======================================================

`{root}` is a store's folder in the assets directory. Fetches ignore files that early releases wrote directly to the
assets directory.

Locks only avoid duplicate downloads. Correctness doesn't depend on them, because some file systems grant every lock.

The umask determines the file modes. Of the source's modes, only the executable bit is preserved. If a file is cached
both individually and as part of the whole version, both paths may be hard links to the same data.

Symbolic links in the directory are followed, except for staging folders, which are always newly created.

All functions block, and may raise `OSError`.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from aioassets.model.leftovers import LeftoverKind

OWN_FOLDER: Final = ".aioassets"
RECORD: Final = ".json"
PARTS: Final = ".parts"
PARTS_RECORD: Final = ".parts.json"
LOCK: Final = ".lock"
ALIAS: Final = ".alias"
STAGING: Final = ".staging-"
ASIDE: Final = ".aside-"
LEASE: Final = ".lease-"
USED: Final = ".used"
EVICTING: Final = ".evicting-"
SPARE: Final = ".payload-"
"""Suffix of a payload outside its usual place. Like `STAGING` and `ASIDE`, it is followed by eight hex digits."""

IS_SPARE: Final = re.compile(r"\.payload-[0-9a-f]{8}$")
_TEMPORARY: Final = ".tmp"
_IS_ASIDE: Final = re.compile(r"\.(?:aside|payload)-[0-9a-f]{8}$")
_IS_STAGING: Final = re.compile(r"(?P<version>.*)\.staging(?:-[0-9a-f]{8})?")
"""Matches the name of a staging folder. Early releases used a single folder per version, without digits in its name."""
_IS_EVICTION: Final = re.compile(r"(?P<version>.*)\.evicting-[0-9a-f]{8}")
_IS_FOLDER_OF_VERSION: Final = re.compile(r"\.(?:parts|staging|(?:staging|aside|payload|evicting)-[0-9a-f]{8})$")


def complete_versions(root: Path, name: str) -> list[str]:
    """Return the versions of an asset that are recorded as complete, in any order."""
    return [version for version in _recorded_versions(root, name, RECORD) if not version.endswith(PARTS)]


def partial_versions(root: Path, name: str) -> list[str]:
    """Return the versions of an asset for which cached individual files are recorded, in any order."""
    return _recorded_versions(root, name, PARTS_RECORD)


def _recorded_versions(root: Path, name: str, suffix: str) -> list[str]:
    folder = root / OWN_FOLDER / name
    with contextlib.suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as found:
        return [file.name.removesuffix(suffix) for file in found if file.name.endswith(suffix)]
    return []


def all_recorded_versions(root: Path) -> list[tuple[str, str, bool]]:
    """Return the (asset, version, whether it is partial) triples of all records, sorted."""
    found: list[tuple[str, str, bool]] = []
    for asset, item in _own_items(root, None):
        if item.endswith(PARTS_RECORD):
            found.append((asset, item.removesuffix(PARTS_RECORD), True))
        elif item.endswith(RECORD):
            found.append((asset, item.removesuffix(RECORD), False))
    return sorted(found)


def all_evictions(root: Path) -> list[tuple[str, str, Path]]:
    """Return the assets, versions and folders of evictions that haven't ended, sorted."""
    found = ((asset, item, _IS_EVICTION.fullmatch(item)) for asset, item in _own_items(root, None))
    return sorted((asset, it["version"], root / OWN_FOLDER / asset / item) for asset, item, it in found if it)


def evictions_of(folder: Path, version: str) -> list[Path]:
    """Return the folders of a version's evictions in an asset's folder below `OWN_FOLDER`, sorted."""
    return [folder / item for item in _listed(folder) if (it := _IS_EVICTION.fullmatch(item)) and it[1] == version]


def all_staging_folders(root: Path) -> list[Path]:
    """Return the staging folders of all versions, sorted."""
    own = root / OWN_FOLDER
    return sorted(own / asset / item for asset, item in _own_items(root, None) if _IS_STAGING.fullmatch(item))


def unfinished_versions(root: Path, name: str | None, is_version: Callable[[str], bool]) -> list[tuple[str, str]]:
    """Return the (asset, version) pairs that have a staging folder or a lock file, sorted.

    Args:
        root: the folder of a store.
        name: the asset to search; `None` for all assets.
        is_version: a function that returns whether a text is a version. It excludes assets whose names end like
            the names of staging folders or lock files.
    """
    found = {(asset, _unfinished(item)) for asset, item in _own_items(root, name)}
    return sorted((asset, version) for asset, version in found if version and is_version(version))


def _unfinished(item: str) -> str:
    """Return the version that a staging folder or lock file belongs to, or an empty string for other items."""
    found = _IS_STAGING.fullmatch(item)
    return found["version"] if found else item.removesuffix(LOCK) if item.endswith(LOCK) else ""


def staging_folders(folder: Path, version: str) -> list[Path]:
    """Return the staging folders of a version in an asset's folder below `OWN_FOLDER`, sorted."""
    return [folder / item for item in _listed(folder) if (it := _IS_STAGING.fullmatch(item)) and it[1] == version]


def _listed(folder: Path) -> list[str]:
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        return sorted(os.listdir(folder))
    return []


def untidy_files(root: Path, name: str | None) -> list[tuple[Path, str, LeftoverKind]]:
    """Return temporary files, and payloads outside their usual places, each with its asset and kind, sorted by path."""
    own = root / OWN_FOLDER
    found = ((own / asset / item, asset, _kind_of(item)) for asset, item in _own_items(root, name))
    return sorted(((path, asset, kind) for path, asset, kind in found if kind is not None), key=lambda row: row[0])


def _kind_of(item: str) -> LeftoverKind | None:
    if item.endswith(_TEMPORARY):
        return LeftoverKind.TEMPORARY_OBJECTS
    return LeftoverKind.FILES_PUT_ASIDE if _IS_ASIDE.search(item) else None


def _own_items(root: Path, name: str | None) -> Iterator[tuple[str, str]]:
    """Yield the asset and the name of each item below `OWN_FOLDER`, except for items inside the folders of versions."""
    own = root / OWN_FOLDER
    for base, folders, files in os.walk(own if name is None else own / name):
        asset = str(Path(base).relative_to(own))
        yield from ((asset, item) for item in (*files, *folders))
        inner = () if name is not None else (folder for folder in folders if not _IS_FOLDER_OF_VERSION.search(folder))
        folders[:] = inner
