"""Deltas of large files: which of their bytes another cached version has, at whatever offset.

See `docs/adr/0040-deltas.md`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from aioassets.fetch.remote import RemoteVersion
from aioassets.model.chunks import ChunkList, ChunkTable
from aioassets.model.deltas import ChunkIndex, Delta
from aioassets.model.files import FileTable
from aioassets.model.manifest import Manifest
from aioassets.runtime.chunking import has_chunks
from aioassets.runtime.tasks import gather2
from aioassets.runtime.threads import in_thread
from aioassets.store.chunks import read_chunks

MIN_RUN: Final = 512 * 1024
"""Minimum number of bytes to copy between two ranges that are downloaded. For fewer, one longer request is faster."""


@dataclass(frozen=True, slots=True)
class CachedVersion:
    """Another cached version of the asset, or its individual files.

    Attributes:
        version: the version.
        root: its folder. For a file asset, the path of the file.
        manifest: its manifest, of which files may be missing in the folder.
    """

    version: str
    root: Path
    manifest: Manifest

    def path(self, path: str) -> str:
        """Return the local path of a file."""
        return f"{self.root}/{path}" if path else str(self.root)

    def has(self, path: str, size: int) -> bool:
        """Return whether there is a local file of this size. Blocking."""
        try:
            return os.stat(self.path(path)).st_size == size
        except OSError:  # it was evicted, or only other files are cached
            return False

    def has_large_file(self) -> bool:
        """Return whether any file is large enough for a list of chunks. Blocking."""
        rows = zip(self.manifest.table.paths, self.manifest.table.sizes, strict=True)
        return any(size is not None and has_chunks(size) and self.has(path, size) for path, size in rows)


async def find_deltas(
    remote: RemoteVersion, missing: FileTable, cached: Iterable[CachedVersion]
) -> Mapping[str, Delta]:
    """Return the deltas of missing files by path. The source of each run is the local path of a cached file.

    Args:
        remote: the version to fetch.
        missing: the files that aren't staged yet.
        cached: other cached versions, of which the first one with a list of chunks and a large file is used.
    """
    digest = remote.manifest.chunks_digest
    if digest is None:
        return {}
    base = await in_thread(_base_among, cached)
    base_digest = None if base is None else base.manifest.chunks_digest
    if base is None or base_digest is None:
        return {}
    new, old = await gather2(
        lambda: read_chunks(remote.store, remote.name, remote.version, digest),
        lambda: read_chunks(remote.store, remote.name, base.version, base_digest),
    )
    if new is None or old is None or not new.is_comparable(old):
        return {}
    return await in_thread(_deltas, missing, new, base, old)


def _deltas(missing: FileTable, new: ChunkTable, base: CachedVersion, old: ChunkTable) -> Mapping[str, Delta]:
    wanted = _listed(missing, new)
    if not wanted:
        return {}
    listed = _listed(base.manifest.table, old)
    index = ChunkIndex({base.path(path): chunks for path, chunks in listed if base.has(path, chunks.size)})
    found = ((path, index.delta(chunks, base.path(path)).joined(MIN_RUN)) for path, chunks in wanted)
    return {path: delta for path, delta in found if delta.runs}


def _base_among(cached: Iterable[CachedVersion]) -> CachedVersion | None:
    return next((each for each in cached if each.manifest.chunks_digest is not None and each.has_large_file()), None)


def _listed(files: FileTable, table: ChunkTable) -> Sequence[tuple[str, ChunkList]]:
    """Return the files with chunks. Those without SHA-256 aren't verified, so nothing is copied into them."""
    rows = zip(files.paths, files.sizes, files.sha256s, strict=True)
    return [
        (path, chunks)
        for path, size, sha256 in rows
        if size and sha256 and (chunks := table.of(path, size)) is not None
    ]
