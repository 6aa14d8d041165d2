"""Sources in stores: an object, or all objects under a prefix."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass

from aioassets.drivers.protocol import Data, Driver, ObjectInfo
from aioassets.errors import NotSameStore, ObjectNotFound, PreconditionFailed, SourceChanged, SourceNotFound
from aioassets.model.digests import best_of
from aioassets.model.paths import parents
from aioassets.push.scan import Filter, Tree, checked, tree_of_directory, tree_of_file
from aioassets.push.sources import Copied, Divided, HashedSource, HashingSource
from aioassets.runtime.effects import Effects
from aioassets.runtime.threads import in_thread


@dataclass(frozen=True, slots=True)
class StoredFile:
    """An object to push.

    Attributes:
        path: the path relative to the asset, with `/` as the separator; empty for a file asset.
        driver: the driver of the object's bucket.
        info: the object, including the revision to push.
    """

    path: str
    driver: Driver
    info: ObjectInfo

    @property
    def source(self) -> str:
        return f"{self.driver.url}/{self.info.key}"

    @property
    def size(self) -> int:
        return self.info.size

    @property
    def executable(self) -> bool:
        return False

    @property
    def identity(self) -> str:
        return self.info.revision

    def opened(self) -> HashedSource:
        return StoredSource(self)

    def changed(self) -> bool:
        return False

    async def hashed(self, algorithm: str) -> str | None:
        return self.info.checksums.get(algorithm)

    async def divided(self) -> Divided | None:
        return None

    async def copied(self, driver: Driver, key: str, effects: Effects) -> Copied | None:
        copy = await self.copied_by(driver, key, effects)
        if copy is None:
            return None
        if best_of(copy.checksums) is not None:
            return Copied(copy.checksums, copy.revision)
        # The store reports no digest for verifying the file later, so read the copy once.
        try:
            digests = await StoredSource(StoredFile(self.path, driver, copy)).finish()
        except BaseException:
            effects.note_uncertain()  # the copy exists, and nobody is going to delete it
            raise
        return Copied(digests, copy.revision)

    async def copied_by(self, driver: Driver, key: str, effects: Effects) -> ObjectInfo | None:
        """Ask a store to copy the object to a key. Return `None` if it can't.

        Raises:
            SourceChanged: if the object changed since it was listed.
            PreconditionFailed: if there is a different object at the key.
        """
        try:
            return await driver.copy(self.driver, self.info, key, effects=effects)
        except NotSameStore:
            return None
        except ObjectNotFound as error:
            raise SourceChanged(self.source) from error
        except PreconditionFailed as error:  # either the source changed or the target exists
            if await self._is_current():
                raise
            raise SourceChanged(self.source) from error

    async def _is_current(self) -> bool:
        try:
            return (await self.driver.stat(self.info.key)).revision == self.info.revision
        except ObjectNotFound:
            return False


class StoredSource(HashingSource):
    """A `HashedSource` that reads one revision of an object.

    Args:
        file: the object as it was listed.
    """

    def __init__(self, file: StoredFile) -> None:
        super().__init__(file.size)
        self._file = file

    async def read(self, offset: int, size: int) -> Data:
        data = await self._fetched(offset, size) if size else b""
        if offset == self._hashed:
            await in_thread(self._hash.update, data)
            self._hashed += len(data)
        return data

    async def copy_to(self, descriptor: int, offset: int, size: int) -> bool:
        return False

    async def _fetched(self, offset: int, size: int) -> bytes:
        info = self._file.info
        pieces: list[Data] = []
        try:
            async with aclosing(
                self._file.driver.read_range(info.key, offset, offset + size, revision=info.revision)
            ) as chunks:
                async for chunk in chunks:
                    pieces.append(chunk)  # noqa: PERF401 - `aclosing` closes it in any case
        except (ObjectNotFound, PreconditionFailed) as error:
            raise SourceChanged(self._file.source) from error
        data = b"".join(pieces)
        if len(data) != size:
            raise SourceChanged(self._file.source)
        return data


async def scan_store(driver: Driver, key: str, *, include: Sequence[str] = (), exclude: Sequence[str] = ()) -> Tree:
    """Scan an object, or all objects under a prefix.

    Args:
        driver: the driver of the bucket.
        key: the key of an object, or a prefix. A key that is empty or ends with `/` is a prefix.
        include: gitignore-style patterns for objects to include; empty for all objects.
        exclude: gitignore-style patterns for objects to leave out.

    Raises:
        SourceNotFound: if there is no such object or prefix.
        SourceError: if a key isn't a valid path, or there are too many files for one version.
    """
    root = f"{driver.url}/{key}"
    if key and not key.endswith("/"):
        try:
            return tree_of_file(root, [StoredFile("", driver, await driver.stat(key))])
        except ObjectNotFound:
            pass
    return await _scan_prefix(driver, root, f"{key.rstrip('/')}/" if key else "", Filter(include, exclude))


async def _scan_prefix(driver: Driver, root: str, prefix: str, wanted: Filter) -> Tree:
    files: list[StoredFile] = []
    folders: set[str] = set()
    exists = False
    async for item in driver.list(prefix):
        exists = True
        if not isinstance(item, ObjectInfo) or item.key == prefix:
            continue
        path = item.key[len(prefix) :]
        if path.endswith("/"):  # cloud consoles create such objects for empty folders
            folders.add(path.rstrip("/"))
        elif wanted.wants_file(path):
            files.append(StoredFile(checked(f"{driver.url}/{item.key}", path), driver, item))
    used = {folder for path in (*folders, *(file.path for file in files)) for folder in parents(path)}
    empty = [checked(f"{root}/{path}", path) for path in folders - used if wanted.wants_empty_directory(path)]
    if not exists:
        raise SourceNotFound(root)
    return await in_thread(_tree_of, root, files, empty)


def _tree_of(root: str, files: list[StoredFile], empty_directories: list[str]) -> Tree:
    files.sort(key=lambda file: file.path)
    return tree_of_directory(root, files, [file.path for file in files], empty_directories)
