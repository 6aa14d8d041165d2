"""Manifests and chunks of versions that a manager has read recently."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final

import anyio

from aioassets.fetch.remote import RemoteVersion
from aioassets.model.chunks import ChunkTable
from aioassets.model.manifest import Manifest
from aioassets.store.chunks import read_chunks
from aioassets.store.documents import AssetStore

LIFETIME: Final = 300.0
"""Number of seconds for which a manifest may be used without reading it again. After that, a yank is noticed."""
MAX_VERSIONS: Final = 64
"""Maximum number of versions to know."""
MAX_FILES: Final = 50_000
"""Maximum number of files of all known versions together. A file takes about 0.3 KB of memory."""
CHUNKS_PER_FILE: Final = 6
"""Number of chunks that take as much memory as a file."""


@dataclass(slots=True, eq=False)
class KnownVersion:
    """A version whose manifest was read.

    Attributes:
        store: the store.
        name: the asset's name.
        version: the version.
        manifest: its manifest.
        read_at: the time at which it was read, by the clock of the store.
    """

    store: AssetStore
    name: str
    version: str
    manifest: Manifest
    read_at: float
    _chunks: ChunkTable | None = None
    _reading: anyio.Lock = field(default_factory=anyio.Lock)

    @property
    def weight(self) -> int:
        """The memory that it takes, as a number of files."""
        chunks = 0 if self._chunks is None else sum(map(len, self._chunks.files.values()))
        return len(self.manifest.table) + chunks // CHUNKS_PER_FILE

    async def chunks(self) -> ChunkTable | None:
        """Return the chunks of the version; `None` if they can't be used. They are read once."""
        async with self._reading:
            if self._chunks is None and self.manifest.chunks_digest is not None:
                self._chunks = await read_chunks(self.store, self.name, self.version, self.manifest.chunks_digest)
            return self._chunks


class KnownVersions:
    """The versions that were opened or listed most recently.

    Manifests of sealed versions don't change, but for a mark when a version is yanked, and a deletion. So a manifest
    is only used for specs that name the version exactly, which may be yanked, and forgotten after `LIFETIME`, or when
    something isn't as it says. The files of a deleted version are gone, even if its manifest is known.
    """

    def __init__(self) -> None:
        self._versions: OrderedDict[tuple[str, str], KnownVersion] = OrderedDict()

    def get(self, name: str, version: str) -> KnownVersion | None:
        """Return a version, or `None` if its manifest has to be read."""
        found = self._versions.get((name, version))
        if found is None or found.store.clock() - found.read_at > LIFETIME:
            return None
        self._versions.move_to_end((name, version))
        return found

    def add(self, remote: RemoteVersion) -> KnownVersion:
        """Add a version unless it is known with the same manifest, and forget the least recently used ones."""
        found = self._versions.get((remote.name, remote.version))
        if found is not None and found.manifest is remote.manifest:
            return found
        store = remote.store
        known = KnownVersion(store, remote.name, remote.version, remote.manifest, store.clock())
        self._versions[remote.name, remote.version] = known
        self._versions.move_to_end((remote.name, remote.version))
        while len(self._versions) > MAX_VERSIONS or sum(each.weight for each in self._versions.values()) > MAX_FILES:
            self._versions.popitem(last=False)
        return known

    def forget(self, known: KnownVersion) -> None:
        """Forget a version."""
        if self._versions.get((known.name, known.version)) is known:
            del self._versions[known.name, known.version]
