"""Fetched assets: the results of fetches."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from aioassets.model.manifest import Manifest

__all__ = ["FetchedAsset"]


@dataclass(frozen=True, slots=True)
class FetchedAsset(os.PathLike[str]):
    """A version, or part of one, on the local disk.

    Attributes:
        path: the file or directory.
        name: the asset.
        version: the version that the spec resolved to.
        part: the sub-part of the spec, or `None`.
        from_cache: whether it was cached already, so that nothing was downloaded.
        verified: whether every file was verified by a digest; `False` for versions that modelkit pushed.
        verified_by: the algorithms of these digests, strongest first: `sha256` for content that
            passed through aioassets, the store's own where the store copied it.
        manifest: the manifest of the version.
        repaired: the paths of cached files that were damaged or missing, and were downloaded again.
    """

    path: Path
    name: str
    version: str
    part: str | None
    from_cache: bool
    verified: bool
    verified_by: tuple[str, ...]
    manifest: Manifest = field(repr=False)
    repaired: tuple[str, ...] = ()

    def __fspath__(self) -> str:
        return str(self.path)
