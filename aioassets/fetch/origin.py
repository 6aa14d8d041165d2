"""Folders for stores in the assets directory."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from typing import Final

from aioassets.fetch.directory import OWN_FOLDER
from aioassets.store.documents import AssetStore

_READABLE: Final = 40
"""Maximum number of characters from the end of a store's URL, its most specific part, to use in the folder's name."""


def folder_of(assets_dir: Path, store: AssetStore) -> Path:
    """Return the folder for versions from a store, such as `s3-models-assets-1a2b3c4d`. Blocking."""
    scheme, _, place = store.url.lower().partition("://")
    words = re.sub(r"[^a-z0-9]+", "-", place).strip("-")
    if len(words) > _READABLE:
        words = words[-_READABLE:].lstrip("-")
    digest = hashlib.sha256(store.identity.encode()).hexdigest()[:8]
    return assets_dir / "-".join(filter(None, (scheme, words, digest)))


def all_folders(assets_dir: Path, name: str = "") -> list[Path]:
    """Return the folders of all stores, sorted. Blocking.

    Args:
        assets_dir: the assets directory.
        name: an asset name. If given, only folders that contain this asset are returned.
    """
    try:
        with os.scandir(assets_dir) as found:
            folders = sorted(item.name for item in found if item.is_dir())
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [assets_dir / folder for folder in folders if (assets_dir / folder / OWN_FOLDER / name).is_dir()]
