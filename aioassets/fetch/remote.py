"""Complete versions in the store, and their files."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from aioassets.drivers.protocol import ObjectInfo, Revision
from aioassets.errors import IntegrityError, ObjectNotFound
from aioassets.fetch.labels import file_label
from aioassets.model.files import FileEntry
from aioassets.model.manifest import Manifest
from aioassets.model.tombstone import Tombstone
from aioassets.store.documents import AssetStore
from aioassets.store.resolve import read_manifest
from aioassets.store.settling import deletion_error


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """One file of a version in the store.

    Attributes:
        entry: its entry in the manifest.
        key: the key of its object.
        label: its name for error messages and logs: asset, version and path.
        size: its size in bytes.
        revision: the revision to read if the manifest doesn't record a size.
    """

    entry: FileEntry
    key: str
    label: str
    size: int
    revision: Revision | None = None


@dataclass(frozen=True, slots=True)
class RemoteVersion:
    """A complete version in the store.

    Attributes:
        store: the store.
        name: the asset's name.
        version: the version.
        manifest: its manifest.
        listed: its objects by key, if the manifest doesn't record sizes.
    """

    store: AssetStore
    name: str
    version: str
    manifest: Manifest
    listed: Mapping[str, ObjectInfo] = field(default_factory=dict)

    @classmethod
    async def find(cls, store: AssetStore, name: str, version: str) -> RemoteVersion:
        """Read the manifest of a version.

        Raises:
            AssetNotFound: if the asset doesn't exist.
            VersionNotFound: if the version doesn't exist or isn't complete.
            VersionDeleted: if the version was deleted.
            StoreCorrupt: if the index lists the version, but it has no manifest.
        """
        return cls(store, name, version, await read_manifest(store, name, version))

    async def check_undeleted(self) -> None:
        """Raise `VersionDeleted` if the version was deleted since its manifest was read."""
        with contextlib.suppress(ObjectNotFound):
            content = (await self.store.read_meta(self.name, self.version)).content
            if isinstance(content, Tombstone):
                raise deletion_error(self.store, self.name, self.version, content)

    async def with_sizes(self) -> RemoteVersion:
        """List the version's objects, and return the version with their sizes. modelkit doesn't record sizes."""
        listed = {info.key: info async for info in self.store.content(self.name, self.version)}
        return replace(self, listed=listed)

    def size_of(self, entry: FileEntry) -> int:
        """Return the size of a file in bytes; 0 if neither the manifest nor the listing contains it."""
        info = self.listed.get(self.store.layout.content(self.name, self.version, entry.path))
        return entry.size if entry.size is not None else info.size if info is not None else 0

    def file(self, entry: FileEntry) -> RemoteFile:
        """Return a file of the version.

        Raises:
            IntegrityError: if the manifest doesn't record the file's size, and the file's object doesn't exist.
        """
        key = self.store.layout.content(self.name, self.version, entry.path)
        label = file_label(self.name, self.version, entry.path)
        if entry.size is not None:
            return RemoteFile(entry, key, label, entry.size)
        info = self.listed.get(key)
        if info is None:
            raise IntegrityError(label, "an object", "nothing")
        return RemoteFile(entry, key, label, info.size, info.revision or None)
