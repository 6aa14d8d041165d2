"""Files of a version to copy, which are verified against its manifest."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from aioassets.drivers.protocol import Data, Driver, ObjectInfo
from aioassets.errors import IntegrityError, ObjectNotFound, SourceChanged
from aioassets.model.chunks import ChunkList
from aioassets.model.content import content_digest
from aioassets.model.digests import SHA256, best_of, new_hash
from aioassets.model.files import FileEntry
from aioassets.model.manifest import Manifest
from aioassets.push.scan import Tree, tree_of_directory, tree_of_file
from aioassets.push.sources import READ_CHUNK, Copied, Divided, HashedSource, LocalFile, Stamp, nothing
from aioassets.push.stored import StoredFile, StoredSource
from aioassets.runtime.effects import Effects
from aioassets.runtime.threads import check_cancelled, in_thread
from aioassets.store.documents import AssetStore


@dataclass(frozen=True, slots=True)
class SourceVersion:
    """Version to copy.

    Attributes:
        store: the store that has it.
        driver: the driver by which the other store identifies this one.
        reader: a function that returns the driver to read content with. Its budget must not be shared with uploads.
        name: the asset's name.
        version: the version.
        manifest: its manifest.
    """

    store: AssetStore
    driver: Driver
    reader: Callable[[], Driver]
    name: str
    version: str
    manifest: Manifest

    @property
    def label(self) -> str:
        """The name of the version, such as `model:1.2`."""
        return f"{self.name}:{self.version}"

    @property
    def url(self) -> str:
        """The URL of its content."""
        return self.store.url_of(self.name, self.version)


@dataclass(frozen=True, slots=True)
class CopiedFile:
    """File of a version to copy.

    Attributes:
        entry: its entry in the manifest.
        stored: its object.
        version: the version.
        local: the local file that stores the object, if there is one.
    """

    entry: FileEntry
    stored: StoredFile
    version: SourceVersion
    local: LocalFile | None = None

    @property
    def path(self) -> str:
        return self.entry.path

    @property
    def source(self) -> str:
        return self.stored.source

    @property
    def size(self) -> int:
        return self.stored.size

    @property
    def executable(self) -> bool:
        return self.entry.executable

    @property
    def identity(self) -> str:
        return self.entry.digests.get(SHA256) or self.stored.identity

    @property
    def label(self) -> str:
        """The name of the file for error messages, such as `model:1.2[config.json]`."""
        return f"{self.version.label}[{self.path}]" if self.path else self.version.label

    def opened(self) -> HashedSource:
        inner = self.local or replace(self.stored, driver=self.version.reader())
        return VerifiedSource(inner.opened(), self)

    def changed(self) -> bool:
        return False

    async def hashed(self, algorithm: str) -> str | None:
        return self.entry.digests.get(algorithm)

    async def divided(self) -> Divided | None:
        return None

    async def copied(self, driver: Driver, key: str, effects: Effects) -> Copied | None:
        copy = await self.stored.copied_by(driver, key, effects)
        if copy is None:
            return None
        try:
            return Copied(await self._verified(driver, copy), copy.revision)
        except IntegrityError:  # the caller deletes the copy
            raise
        except BaseException:
            effects.note_uncertain()  # the copy exists, and nobody is going to delete it
            raise

    async def _verified(self, driver: Driver, copy: ObjectInfo) -> Mapping[str, str]:
        """Compare a copy with the manifest. Read it only if the manifest has no SHA-256."""
        self.check(copy.size, copy.checksums)
        if SHA256 in self.entry.digests:
            return self.entry.digests
        stored = StoredFile(self.path, driver, copy)
        return await VerifiedSource(StoredSource(stored), self).finish()

    def check(self, size: int, digests: Mapping[str, str]) -> None:
        """Raise `IntegrityError` if a size or a known digest differs from the manifest."""
        if self.entry.size not in (None, size):
            raise IntegrityError(self.label, f"{self.entry.size} bytes", str(size))
        for algorithm in self.entry.digests.keys() & digests.keys():
            expected, found = self.entry.digests[algorithm], digests[algorithm]
            if expected != found:
                raise IntegrityError(self.label, f"{algorithm} {expected}", found)


class VerifiedSource:
    """Source that compares the digest of what was read with the manifest when it finishes.

    Args:
        source: the content.
        file: the file as the manifest describes it.
    """

    def __init__(self, source: HashedSource, file: CopiedFile) -> None:
        self._source = source
        self._file = file
        algorithm = best_of(file.entry.digests)
        self._other = None if algorithm in (None, SHA256) else (algorithm, new_hash(algorithm))
        self._position = 0

    @property
    def size(self) -> int:
        return self._source.size

    @property
    def digests(self) -> Mapping[str, str]:
        return self._source.digests

    @property
    def chunks(self) -> ChunkList | None:
        return self._source.chunks

    async def read(self, offset: int, size: int) -> Data:
        data = await self._source.read(offset, size)
        if self._other is not None and offset == self._position:
            await in_thread(self._other[1].update, data)
            self._position += len(data)
        return data

    async def copy_to(self, descriptor: int, offset: int, size: int) -> bool:
        return self._other is None and await self._source.copy_to(descriptor, offset, size)

    async def finish(self, check: Callable[[], None] = nothing) -> Mapping[str, str]:
        found: dict[str, str] = {}
        if self._other is not None:
            while self._position < self.size:
                check()
                await self.read(self._position, min(READ_CHUNK, self.size - self._position))
            found[self._other[0]] = self._other[1].hexdigest()
        found |= await self._source.finish(check)
        self._file.check(self.size, found)
        return {**self._file.entry.digests, **found}


async def scan_version(version: SourceVersion) -> Tree:
    """List the objects of a version, and return the files to copy. Its fingerprint is the content digest if known.

    Raises:
        IntegrityError: if an object has another size than the manifest says, or the manifest is inconsistent.
        SourceChanged: if an object is missing.
    """
    return await in_thread(_tree, version, await _objects(version))


async def _objects(version: SourceVersion) -> dict[str, ObjectInfo]:
    key = version.store.layout.content(version.name, version.version)
    if version.manifest.is_directory:
        return {item.key: item async for item in version.driver.list(f"{key}/") if isinstance(item, ObjectInfo)}
    try:
        return {key: await version.driver.stat(key)}
    except ObjectNotFound:
        return {}


def _tree(version: SourceVersion, objects: Mapping[str, ObjectInfo]) -> Tree:
    manifest = version.manifest
    files = [_file(version, entry, objects) for entry in manifest.files]
    if manifest.is_directory:
        tree = tree_of_directory(version.url, files, manifest.table.paths, manifest.empty_directories)
    else:
        tree = tree_of_file(version.url, files)
    digest = content_digest(manifest.files, manifest.empty_directories)
    if digest is not None and manifest.content_digest not in (None, digest):
        raise IntegrityError(version.label, f"the content digest {manifest.content_digest}", digest)
    return tree if digest is None else replace(tree, fingerprint=digest)


def _file(version: SourceVersion, entry: FileEntry, objects: Mapping[str, ObjectInfo]) -> CopiedFile:
    check_cancelled()
    key = version.store.layout.content(version.name, version.version, entry.path)
    info = objects.get(key)
    if info is None:
        raise SourceChanged(f"{version.driver.url}/{key}")
    file = CopiedFile(entry, StoredFile(entry.path, version.driver, info), version, _local(version.driver, key, entry))
    file.check(info.size, info.checksums)
    return file


def _local(driver: Driver, key: str, entry: FileEntry) -> LocalFile | None:
    path = driver.local_path(key)
    if path is None:
        return None
    try:
        return LocalFile(path, "", Stamp.of(os.stat(path)), entry.executable)
    except OSError:
        return None
