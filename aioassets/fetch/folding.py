"""Detecting paths that a file system treats as equal because it folds case or Unicode normalization forms."""

from __future__ import annotations

from typing import Final

from aioassets.model.manifest import Manifest
from aioassets.model.paths import folded, inner_folders

ADVICE: Final = "use an assets directory on another file system (assets_dir, AIOASSETS_DIR)"


def twin_of(path: str, manifest: Manifest) -> str | None:
    """Return another path in the version that folds to the same name as `path`, or `None` if there is none.

    File systems fold names in different ways, so use this only after a file system has refused a path.
    """
    known = manifest.table.paths
    for other in (*known, *manifest.empty_directories, *inner_folders(known, manifest.empty_directories)):
        if other != path and folded(other) == folded(path):
            return other
    return None
