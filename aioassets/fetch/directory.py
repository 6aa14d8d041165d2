"""The assets directory: names of the files and folders in it.

=================================================  ======================================================
`{root}/{name}/{version}`                          the payload: a complete, verified version
`{root}/.aioassets/{name}/{version}.json`          its record, written last
`{root}/.aioassets/{name}/{version}.parts/`        single files of an incomplete version
`{root}/.aioassets/{name}/{version}.parts.json`    the record of these
`{root}/.aioassets/{name}/{version}.lock`          held by the process that changes any of them
`{root}/.aioassets/{name}/{version}.staging-*/`    files that one fetch is downloading
`{root}/.aioassets/{name}/{version}.payload-*`     a payload or single files whose usual place is taken
`{root}/.aioassets/{name}/{version}.aside-*`       a payload that wasn't this version
=================================================  ======================================================

`{root}` is the folder of a store in the assets directory. What early versions wrote to the assets directory itself is
left alone.

Locks save downloads. Correctness doesn't depend on them, because some file systems grant every lock.

The umask decides the modes of files. Of the source's own modes, only the executable bit is kept.
A single file and the same file of the whole version may be hard links to one inode.

Links in the directory are followed, except for staging folders, which are always created anew.

All functions block and raise `OSError`.
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
STAGING: Final = ".staging-"
ASIDE: Final = ".aside-"
SPARE: Final = ".payload-"
"""Followed by eight hexadecimal digits, like `STAGING` and `ASIDE`."""

IS_SPARE: Final = re.compile(r"\.payload-[0-9a-f]{8}$")
_TEMPORARY: Final = ".tmp"
_IS_ASIDE: Final = re.compile(r"\.(?:aside|payload)-[0-9a-f]{8}$")
_IS_STAGING: Final = re.compile(r"(?P<version>.*)\.staging(?:-[0-9a-f]{8})?")
"""Early versions used one folder without digits."""
_IS_FOLDER_OF_VERSION: Final = re.compile(r"\.(?:parts|staging|(?:staging|aside|payload)-[0-9a-f]{8})$")


def complete_versions(root: Path, name: str) -> list[str]:
    """Return the recorded complete versions of an asset, in any order."""
    return [version for version in _recorded_versions(root, name, RECORD) if not version.endswith(PARTS)]


def partial_versions(root: Path, name: str) -> list[str]:
    """Return the versions of an asset with cached single files, in any order."""
    return _recorded_versions(root, name, PARTS_RECORD)


def _recorded_versions(root: Path, name: str, suffix: str) -> list[str]:
    folder = root / OWN_FOLDER / name
    with contextlib.suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as found:
        return [file.name.removesuffix(suffix) for file in found if file.name.endswith(suffix)]
    return []


def unfinished_versions(root: Path, name: str | None, is_version: Callable[[str], bool]) -> list[tuple[str, str]]:
    """Return the assets and versions with a staging folder or a lock, sorted.

    Args:
        root: the folder of a store.
        name: the only asset to look at; `None` for all.
        is_version: tells versions from assets whose names end in these suffixes.
    """
    found = {(asset, _unfinished(item)) for asset, item in _own_items(root, name)}
    return sorted((asset, version) for asset, version in found if version and is_version(version))


def _unfinished(item: str) -> str:
    """Return the version of a staging folder or a lock; empty for other items."""
    found = _IS_STAGING.fullmatch(item)
    return found["version"] if found else item.removesuffix(LOCK) if item.endswith(LOCK) else ""


def staging_folders(folder: Path, version: str) -> list[Path]:
    """Return the staging folders of a version, in the own folder of its asset, sorted."""
    found: list[str] = []
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        found = sorted(os.listdir(folder))
    return [folder / item for item in found if (it := _IS_STAGING.fullmatch(item)) and it["version"] == version]


def untidy_files(root: Path, name: str | None) -> list[tuple[Path, str, LeftoverKind]]:
    """Return temporary files and payloads out of their usual place, with their assets, sorted by path."""
    own = root / OWN_FOLDER
    found = ((own / asset / item, asset, _kind_of(item)) for asset, item in _own_items(root, name))
    return sorted(((path, asset, kind) for path, asset, kind in found if kind is not None), key=lambda row: row[0])


def _kind_of(item: str) -> LeftoverKind | None:
    if item.endswith(_TEMPORARY):
        return LeftoverKind.TEMPORARY_OBJECTS
    return LeftoverKind.FILES_PUT_ASIDE if _IS_ASIDE.search(item) else None


def _own_items(root: Path, name: str | None) -> Iterator[tuple[str, str]]:
    """Yield asset and name of each item in the own folder, except for those inside folders of versions."""
    own = root / OWN_FOLDER
    for base, folders, files in os.walk(own if name is None else own / name):
        asset = str(Path(base).relative_to(own))
        yield from ((asset, item) for item in (*files, *folders))
        inner = () if name is not None else (folder for folder in folders if not _IS_FOLDER_OF_VERSION.search(folder))
        folders[:] = inner
