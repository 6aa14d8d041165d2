"""Results of fetches."""

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
        name: the asset's name.
        version: the version that the spec resolved to.
        part: the part in the spec, or `None` for the whole version.
        from_cache: whether it was already cached, so that nothing was downloaded.
        verified: whether every file was verified against a digest; `False` for versions pushed by modelkit.
        verified_by: the algorithms of these digests, strongest first: `sha256` for content that
            passed through aioassets, and one of the store's algorithms for content that the store copied.
        manifest: the manifest of the version. Its `yanked` tells whether the version is yanked; for a cached version,
            whether it was when it was downloaded.
        repaired: the paths of damaged or missing cached files that were downloaded again.
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
