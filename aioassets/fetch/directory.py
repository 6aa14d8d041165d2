"""The assets directory: names of the files and folders in it.

======================================================  ============================================
`{assets_dir}/{name}/{version}`                         the payload: a complete, verified version
`{assets_dir}/.aioassets/{name}/{version}.json`         its record, written last
`{assets_dir}/.aioassets/{name}/{version}.parts/`       single files of an incomplete version
`{assets_dir}/.aioassets/{name}/{version}.parts.json`   the record of these
`{assets_dir}/.aioassets/{name}/{version}.lock`         held by the process that changes any of them
`{assets_dir}/.aioassets/{name}/{version}.staging/`     files that are being downloaded
`{assets_dir}/.aioassets/{name}/{version}.aside-*`      a payload that wasn't this version
======================================================  ============================================

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
STAGING: Final = ".staging"
ASIDE: Final = ".aside-"
"""Followed by eight hexadecimal digits."""

_TEMPORARY: Final = ".tmp"
_IS_ASIDE: Final = re.compile(r"\.aside-[0-9a-f]{8}$")
_IS_FOLDER_OF_VERSION: Final = re.compile(r"\.(?:parts|staging|aside-[0-9a-f]{8})$")


def complete_versions(assets_dir: Path, name: str) -> list[str]:
    """Return the cached complete versions of an asset, in any order."""
    return [
        version
        for version in _recorded_versions(assets_dir, name, RECORD)
        if not version.endswith(PARTS) and (assets_dir / name / version).exists()
    ]


def partial_versions(assets_dir: Path, name: str) -> list[str]:
    """Return the versions of an asset with cached single files, in any order."""
    return _recorded_versions(assets_dir, name, PARTS_RECORD)


def _recorded_versions(assets_dir: Path, name: str, suffix: str) -> list[str]:
    folder = assets_dir / OWN_FOLDER / name
    with contextlib.suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as found:
        return [file.name.removesuffix(suffix) for file in found if file.name.endswith(suffix)]
    return []


def unfinished_versions(assets_dir: Path, name: str | None, is_version: Callable[[str], bool]) -> list[tuple[str, str]]:
    """Return the assets and versions with a staging folder or a lock, sorted.

    Args:
        assets_dir: the assets directory.
        name: the only asset to look at; `None` for all.
        is_version: tells versions from assets whose names end in these suffixes.
    """
    found = {
        (asset, item.removesuffix(suffix))
        for asset, item in _own_items(assets_dir, name)
        for suffix in (LOCK, STAGING)
        if item.endswith(suffix) and is_version(item.removesuffix(suffix))
    }
    return sorted(found)


def untidy_files(assets_dir: Path, name: str | None) -> list[tuple[Path, LeftoverKind]]:
    """Return temporary files and payloads that were put aside, sorted by path."""
    own = assets_dir / OWN_FOLDER
    found = ((own / asset / item, _kind_of(item)) for asset, item in _own_items(assets_dir, name))
    return sorted(((path, kind) for path, kind in found if kind is not None), key=lambda pair: pair[0])


def _kind_of(item: str) -> LeftoverKind | None:
    if item.endswith(_TEMPORARY):
        return LeftoverKind.TEMPORARY_OBJECTS
    return LeftoverKind.FILES_PUT_ASIDE if _IS_ASIDE.search(item) else None


def _own_items(assets_dir: Path, name: str | None) -> Iterator[tuple[str, str]]:
    """Yield asset and name of each item in the own folder, except for those inside folders of versions."""
    own = assets_dir / OWN_FOLDER
    for base, folders, files in os.walk(own if name is None else own / name):
        asset = str(Path(base).relative_to(own))
        yield from ((asset, item) for item in (*files, *folders))
        inner = () if name is not None else (folder for folder in folders if not _IS_FOLDER_OF_VERSION.search(folder))
        folders[:] = inner
