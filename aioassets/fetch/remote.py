"""Complete versions in the store and their files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from aioassets.drivers.protocol import ObjectInfo, Revision
from aioassets.errors import (
    AssetNotFound,
    IntegrityError,
    ObjectNotFound,
    StoreCorrupt,
    VersionNotFound,
)
from aioassets.fetch.labels import file_label
from aioassets.model.claim import Claim
from aioassets.model.files import FileEntry
from aioassets.model.manifest import Manifest
from aioassets.model.tombstone import Tombstone
from aioassets.store.documents import AssetStore
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
            AssetNotFound: the asset doesn't exist.
            VersionNotFound: the version doesn't exist or isn't complete.
            VersionDeleted: the version was deleted.
            StoreCorrupt: the index lists the version, but it has no manifest.
        """
        content = await _meta_content(store, name, version)
        if isinstance(content, Manifest):
            return cls(store, name, version, content)
        if isinstance(content, Tombstone):
            raise deletion_error(store, name, version, content)
        state = await store.read_index(name)
        if not state.exists:
            raise AssetNotFound(name, store.url)
        if version in state.index.versions:
            content = await _meta_content(store, name, version)  # it may have been published in the meantime
            if isinstance(content, Manifest):
                return cls(store, name, version, content)
            key = store.layout.meta(name, version)
            raise StoreCorrupt(
                f"{store.driver.url}/{key}",
                f"the index lists {name}:{version}, but its manifest is missing; restore this object from a backup, "
                "fetch another version, or push a new one",
            )
        raise VersionNotFound(name, version, store.url, state.index.versions)

    async def check_undeleted(self) -> None:
        """Raise `VersionDeleted` if the version was deleted since its manifest was read."""
        content = await _meta_content(self.store, self.name, self.version)
        if isinstance(content, Tombstone):
            raise deletion_error(self.store, self.name, self.version, content)

    async def with_sizes(self) -> RemoteVersion:
        """List the version's objects, and return the version with their sizes, which modelkit doesn't record."""
        listed = {info.key: info async for info in self.store.content(self.name, self.version)}
        return replace(self, listed=listed)

    def file(self, entry: FileEntry) -> RemoteFile:
        """Return a file of the version.

        Raises:
            IntegrityError: the manifest doesn't record the file's size and its object doesn't exist.
        """
        key = self.store.layout.content(self.name, self.version, entry.path)
        label = file_label(self.name, self.version, entry.path)
        if entry.size is not None:
            return RemoteFile(entry, key, label, entry.size)
        info = self.listed.get(key)
        if info is None:
            raise IntegrityError(label, "an object", "nothing")
        return RemoteFile(entry, key, label, info.size, info.revision or None)


async def _meta_content(store: AssetStore, name: str, version: str) -> Manifest | Claim | Tombstone | None:
    try:
        return (await store.read_meta(name, version)).content
    except ObjectNotFound:
        return None
