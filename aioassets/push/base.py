"""The base of a push: a version whose files the store can copy instead of receiving them again."""

from __future__ import annotations

import contextlib
import logging
from array import array
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Final, Self

from aioassets.drivers.protocol import ObjectInfo, Revision, Run
from aioassets.errors import AioAssetsError
from aioassets.model.chunks import CHUNKING, ChunkList, ChunkTable
from aioassets.model.deltas import ChunkIndex
from aioassets.model.digests import SHA256
from aioassets.model.files import FileEntry
from aioassets.runtime.threads import check_cancelled, in_thread
from aioassets.store.chunks import read_chunks
from aioassets.store.documents import AssetStore
from aioassets.store.resolve import SealedVersion

logger = logging.getLogger(__name__)

MIN_COPIED: Final = 256 * 1024
"""Minimum size in bytes of a file for the store to copy. ADR 0037 has the measurement.

Below it, a copy costs S3-compatible stores up to twice as much as an upload, which needs no hashing in advance.
"""
CHECKED_EVERY: Final = 1024
"""Number of files to look at between two checks for cancellation."""

_min_copied: ContextVar[int] = ContextVar("aioassets_min_copied", default=MIN_COPIED)


def is_copied(size: int) -> bool:
    """Return whether files of this size are copied. Manifests record the revisions of their objects."""
    return size >= _min_copied.get()


@contextlib.contextmanager
def copying_from(size: int) -> Iterator[None]:
    """Copy files of at least this size within a `with` block and the tasks that it starts, for simulations."""
    token = _min_copied.set(size)
    try:
        yield
    finally:
        _min_copied.reset(token)


@dataclass(frozen=True, slots=True)
class Base:
    """A version with files that the store can copy.

    Attributes:
        store: the store.
        version: the version.
        rows: the numbers of these files in the manifest, by SHA-256 digest.
        sizes: the sizes of these files in bytes.
        chunks: the chunks of these files; `None` if none are known or needed.
    """

    store: AssetStore
    version: SealedVersion
    rows: dict[bytes, int]
    sizes: frozenset[int]
    chunks: BaseChunks | None = None

    @classmethod
    def of(cls, store: AssetStore, version: SealedVersion) -> Self | None:
        """Return a version as a base, or `None` if the store can copy none of its files. Blocking.

        Files without SHA-256 or revision aren't copied, such as those that modelkit pushed.
        """
        table = version.manifest.table
        large = array("L", (row for row, size in enumerate(table.sizes) if size is not None and is_copied(size)))
        rows: dict[bytes, int] = {}
        sizes: set[int] = set()
        for count, row in enumerate(large):
            if not count % CHECKED_EVERY:
                check_cancelled()
            file = table[row]
            if file.revision is not None and (digest := _sha256_of(file)) is not None and file.size is not None:
                rows.setdefault(digest, row)
                sizes.add(file.size)
        return cls(store, version, rows, frozenset(sizes)) if rows else None

    @property
    def label(self) -> str:
        """The name of the version, such as `model:1.2`."""
        return f"{self.version.name}:{self.version.version}"

    def find(self, size: int, sha256: str) -> ObjectInfo | None:
        """Return the object of a file with this content, at the revision that was published, or `None`."""
        row = self.rows.get(bytes.fromhex(sha256))
        file = None if row is None else self.version.manifest.files[row]
        return None if file is None or file.size != size else self.object_of(file)

    def object_of(self, file: FileEntry) -> ObjectInfo | None:
        """Return the object of a file, at the revision that was published, or `None` if it can't be copied."""
        sha256 = file.digests.get(SHA256)
        if file.size is None or file.revision is None or sha256 is None:
            return None
        key = self.store.layout.content(self.version.name, self.version.version, file.path)
        published = self.version.manifest.push_date
        return ObjectInfo(key, file.size, Revision(file.revision), published, {SHA256: sha256})

    def chunks_of(self, found: ObjectInfo) -> ChunkList | None:
        """Return the chunks of an object of this version if they are known."""
        prefix = self.store.layout.content(self.version.name, self.version.version, "")
        path = found.key.removeprefix(prefix).removeprefix("/")
        if self.chunks is None or self.chunks.table.chunking != CHUNKING:
            return None
        return self.chunks.table.of(path, found.size)

    async def with_chunks(self) -> Base:
        """Return the base with the chunks of its large files, which are read from the store if it has any."""
        manifest = self.version.manifest
        if manifest.chunks_digest is None:
            return self
        table = await read_chunks(self.store, self.version.name, self.version.version, manifest.chunks_digest)
        if table is None or table.chunking.digest != CHUNKING.digest:
            return self
        return replace(self, chunks=await in_thread(BaseChunks.of, self, table))


@dataclass(frozen=True, slots=True)
class BaseChunks:
    """The chunks of a base's large files, of which the store can compose other files.

    Attributes:
        table: the chunks.
        index: an index of these chunks.
        objects: the objects by path.
    """

    table: ChunkTable
    index: ChunkIndex
    objects: Mapping[str, ObjectInfo]

    @classmethod
    def of(cls, base: Base, table: ChunkTable) -> BaseChunks | None:
        """Return the chunks of the files that can be copied from, or `None` if there are none. Blocking."""
        objects = {}
        for row in base.rows.values():
            file = base.version.manifest.files[row]
            if table.of(file.path, file.size) is not None and (found := base.object_of(file)) is not None:
                objects[file.path] = found
        return cls(table, ChunkIndex({path: table.files[path] for path in objects}), objects) if objects else None

    def runs(self, new: ChunkList, path: str) -> Sequence[Run]:
        """Return the runs of a new file that the store can copy, in ascending order. Blocking.

        Args:
            new: the chunks of the new file.
            path: its path.
        """
        delta = self.index.delta(new, path)
        return [Run(run.start, run.length, self.objects[run.source], run.source_start) for run in delta.runs]


async def read_base(store: AssetStore, base: SealedVersion | Callable[[], Awaitable[SealedVersion]]) -> Base | None:
    """Return a base, or `None` if the store can copy none of its files.

    Args:
        store: the store.
        base: the version, or a function that reads it. If that fails, there is no base.
    """
    try:
        found = base if isinstance(base, SealedVersion) else await base()
    except AioAssetsError as error:
        logger.debug("Pushing without a base: %s", error)
        return None
    return await in_thread(Base.of, store, found)


def _sha256_of(file: FileEntry) -> bytes | None:
    try:
        return bytes.fromhex(file.digests[SHA256])
    except (KeyError, ValueError):
        return None
