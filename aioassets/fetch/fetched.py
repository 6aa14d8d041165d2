"""Results of fetches."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from aioassets.fetch.leases import Hold
from aioassets.model.manifest import Manifest

__all__ = ["FetchedAsset"]


@dataclass(frozen=True, slots=True)
class FetchedAsset(os.PathLike[str]):
    """A version, or part of one, on the local disk.

    Its files aren't evicted from the cache as long as the object, or a copy of it in the same process, exists. Close
    it, or use it as a context manager, to give them up earlier. A copy in another process, such as a pickled or forked
    one, doesn't keep the files: fetch the version there, or keep the original.

    Attributes:
        path: the file or directory.
        name: the asset's name.
        version: the version that the spec resolved to.
        part: the part in the spec, or `None` for the whole version.
        from_cache: whether it was already cached.
        verified: whether every file was verified against a digest; `False` for versions pushed by modelkit.
        verified_by: the algorithms of these digests, strongest first: `sha256` for content that
            passed through aioassets, and one of the store's algorithms for content that the store copied.
        manifest: the manifest of the version. Its `yanked` tells whether the version is yanked; for a cached version,
            whether it was when it was downloaded.
        repaired: the paths of damaged or missing cached files that were replaced.
        downloaded: the number of bytes that this fetch received from the store; 0 if `from_cache`.
        reused: the size in bytes of the files that this fetch took from the cache instead: files of other versions, and
            those of this version that were cached before. 0 if `from_cache`.
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
    downloaded: int = 0
    reused: int = 0
    _hold: Hold = field(default_factory=Hold, repr=False, compare=False)

    def close(self) -> None:
        """Allow the cache to evict the files, unless something else uses them. Closing twice has no effect."""
        self._hold.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __fspath__(self) -> str:
        return str(self.path)
