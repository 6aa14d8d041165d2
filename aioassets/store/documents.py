"""The documents of assets in a driver: indexes, claims and manifests."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Protocol, TypeVar

from aioassets.drivers.protocol import CommonPrefix, Document, Driver, Expect, ObjectInfo, Revision
from aioassets.errors import BucketNotFound, ObjectNotFound, StoreCorrupt
from aioassets.model.claim import Claim
from aioassets.model.documents import parse_meta
from aioassets.model.index import VersionIndex
from aioassets.model.keys import Layout
from aioassets.model.manifest import Manifest
from aioassets.model.names import is_name, looks_like_version
from aioassets.runtime.clocks import elapsed
from aioassets.runtime.lanes import FILES_AT_ONCE
from aioassets.runtime.tasks import for_each
from aioassets.runtime.threads import check_cancelled, in_thread

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

INLINE: Final = 16 * 1024
"""Bytes of JSON that are parsed on the event loop, in no more than some milliseconds; more go to a thread."""
LISTED_AT_ONCE: Final = 64
"""Folders that are listed at once."""
INDEX_LIFETIME: Final = 60.0
"""Seconds for which a push may count on an index as it was read; `clean` leaves pushes many times that."""


class _Parser(Protocol[T_co]):
    def __call__(self, data: bytes, check: Callable[[], None] = ..., /) -> T_co: ...


@dataclass(frozen=True, slots=True)
class IndexState:
    """An index as it was read.

    Attributes:
        index: what it holds; empty where it doesn't exist.
        revision: its state; `Expect.ABSENT` where it doesn't exist.
        store: whose it is, by the `identity` of its `AssetStore`.
        asked: when that was asked for or written, by the clock of its `AssetStore`.
        new_store: whether the store itself is still to be made.
        answered: when the store answered, by its clock; `None` where there is no index.
    """

    index: VersionIndex
    revision: Revision | Expect
    store: str
    asked: float
    new_store: bool = False
    answered: datetime | None = None

    @property
    def exists(self) -> bool:
        """Whether there is such an asset."""
        return self.revision is not Expect.ABSENT


@dataclass(frozen=True, slots=True)
class MetaState:
    """A `.meta` as it was read.

    Attributes:
        content: what it holds.
        revision: its state.
        modified: when it was written, by the store's clock.
        answered: when the store answered, by the same clock.
    """

    content: Manifest | Claim
    revision: Revision
    modified: datetime
    answered: datetime

    @property
    def age(self) -> timedelta:
        """Since it was written; an answer's own time is rounded down to a second."""
        return max(timedelta(), self.answered - self.modified)


@dataclass(frozen=True, slots=True)
class AssetStore:
    """Assets below one prefix of one driver.

    Attributes:
        driver: where objects are.
        layout: what their keys are.
        clock: a clock in seconds that never goes back, and runs on while the machine sleeps.
        files_at_once: how many files of one call may be under way.
    """

    driver: Driver
    layout: Layout
    clock: Callable[[], float] = elapsed
    files_at_once: int = FILES_AT_ONCE

    @property
    def url(self) -> str:
        """Where the assets are, for people."""
        return f"{self.driver.url}/{self.layout.prefix}".rstrip("/")

    @property
    def identity(self) -> str:
        """What tells this store from any other of the same URL."""
        return f"{self.driver.identity}/{self.layout.prefix}"

    def url_of(self, name: str, version: str) -> str:
        """Where a version's content is."""
        return f"{self.driver.url}/{self.layout.content(name, version)}"

    async def read_index(self, name: str, *, creating: bool = False) -> IndexState:
        """Read an asset's index, which may be absent.

        Args:
            creating: whether the store may be absent as well, where the first write makes it.

        Raises:
            StoreCorrupt: it isn't an index.
        """
        key = self.layout.versions(name)
        asked = self.clock()
        try:
            found = await self.driver.read(key)
        except ObjectNotFound:
            return IndexState(VersionIndex(), Expect.ABSENT, self.identity, asked)
        except BucketNotFound as error:
            if creating and error.creatable:
                return IndexState(VersionIndex(), Expect.ABSENT, self.identity, asked, new_store=True)
            raise
        index = await self._parsed(VersionIndex.from_json, key, found)
        return IndexState(index, found.revision, self.identity, asked, answered=found.answered)

    async def swap_index(self, name: str, state: IndexState, versions: Sequence[str]) -> IndexState:
        """Have an index list these versions, if it is in that state.

        Raises:
            PreconditionFailed: it isn't.
        """
        index, asked = state.index.with_versions(versions), self.clock()
        revision = await self.driver.write(self.layout.versions(name), index.to_json(), expected=state.revision)
        return IndexState(index, revision, self.identity, asked)

    def is_fresh(self, state: IndexState) -> bool:
        """Whether a push to this store may count on it."""
        return state.store == self.identity and self.clock() - state.asked <= INDEX_LIFETIME

    async def read_meta(self, name: str, version: str) -> MetaState:
        """Read the `.meta` of a version.

        Raises:
            ObjectNotFound: there is none.
            StoreCorrupt: it is neither a claim nor a manifest.
        """
        key = self.layout.meta(name, version)
        found = await self.driver.read(key)
        content = await self._parsed(parse_meta, key, found)
        return MetaState(content, found.revision, found.modified, found.answered)

    async def _parsed(self, parse: _Parser[T], key: str, document: Document) -> T:
        data = document.data
        try:
            return parse(data) if len(data) <= INLINE else await in_thread(parse, data, check_cancelled)
        except ValueError as error:
            raise StoreCorrupt(f"{self.driver.url}/{key}", str(error)) from error

    async def numbers(self, name: str) -> dict[str, bool]:
        """All that stands in an asset's folder by version, listed or not; true where it has a `.meta`."""
        found: dict[str, bool] = {}
        async for item in self.driver.list(self.layout.folder(name), delimiter="/"):
            key = item.prefix if isinstance(item, CommonPrefix) else item.key
            if version := self.layout.version_of(name, key):
                found[version] = found.get(version, False) or key == self.layout.meta(name, version)
        return found

    async def content(self, name: str, version: str) -> AsyncIterator[ObjectInfo]:
        """The objects of a version, whatever its `.meta` says."""
        key = self.layout.content(name, version)
        with contextlib.suppress(ObjectNotFound):
            yield await self.driver.stat(key)
        async for item in self.driver.list(f"{key}/"):
            if isinstance(item, ObjectInfo):
                yield item

    async def names_in_use(self, is_version: Callable[[str], bool]) -> set[str]:
        """Every asset of which anything is there, listed or not; never lists inside a version."""
        found: set[str] = set()

        def look(folder: str, item: ObjectInfo | CommonPrefix) -> bool:
            is_folder = isinstance(item, CommonPrefix)
            key = item.prefix.rstrip("/") if isinstance(item, CommonPrefix) else item.key
            if not is_folder and (name := self.layout.asset_of(key)):
                found.add(name)
            elif is_version(self.layout.version_in(folder, key) or ""):
                found.add(folder[len(self.layout.root) :].rstrip("/"))
            else:
                return is_folder
            return False

        await self._descend(self.layout.root, look)
        return found - {""}

    async def asset_names(self, prefix: str) -> list[str]:
        """The assets whose names begin with `prefix`, sorted; never lists inside a version, nor where no name leads."""
        root = self.layout.root
        found: list[str] = []

        def look(_folder: str, item: ObjectInfo | CommonPrefix) -> bool:
            if isinstance(item, CommonPrefix):
                last = item.prefix.rstrip("/").rpartition("/")[2]
                return is_name(f"{item.prefix.removeprefix(root)}x") and not looks_like_version(last)
            if (name := self.layout.asset_of(item.key)) and is_name(name):
                found.append(name)
            return False

        await self._descend(f"{root}{prefix}", look)
        return sorted(found)

    async def _descend(self, prefix: str, look: Callable[[str, ObjectInfo | CommonPrefix], bool]) -> None:
        """List what is below a prefix, level by level, the folders of each side by side.

        Args:
            look: is given a folder and an item of it; tells whether that is a folder to go on in.
        """
        inner: list[str] = []

        async def list_one(folder: str) -> None:
            items = self.driver.list(folder, delimiter="/")
            inner.extend([item.prefix async for item in items if look(folder, item) and isinstance(item, CommonPrefix)])

        level = [prefix]
        while level:
            await for_each(level, list_one, limit=LISTED_AT_ONCE)
            level, inner[:] = [*inner], []
