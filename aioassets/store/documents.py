"""Reading the documents in a store, and writing indexes and aliases."""

from __future__ import annotations

import contextlib
import enum
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, TypeVar

from aioassets.drivers.protocol import (
    MAX_DOCUMENT,
    SMALL_DOCUMENT,
    CommonPrefix,
    Document,
    Driver,
    Expect,
    ObjectInfo,
    Revision,
)
from aioassets.errors import BucketNotFound, DocumentTooLarge, ObjectNotFound, StoreCorrupt
from aioassets.model.aliases import AliasTable
from aioassets.model.claim import Claim
from aioassets.model.documents import parse_meta
from aioassets.model.index import MAX_INDEX, VersionIndex
from aioassets.model.jsontext import no_check
from aioassets.model.keys import Layout
from aioassets.model.manifest import Manifest
from aioassets.model.names import is_name, looks_like_version
from aioassets.model.tombstone import Tombstone
from aioassets.runtime.budget import Budget
from aioassets.runtime.clocks import elapsed
from aioassets.runtime.effects import Effects
from aioassets.runtime.lanes import FILES_AT_ONCE
from aioassets.runtime.tasks import for_each, gather2
from aioassets.runtime.threads import check_cancelled, in_thread

logger = logging.getLogger(__name__)

T = TypeVar("T")
_Parse = Callable[[bytes, Callable[[], None]], T]
"""A function that parses bytes. It regularly calls its second argument, which raises an exception on cancellation."""

INLINE: Final = 16 * 1024
"""Maximum size in bytes of a document to parse on the event loop, which takes at most a few milliseconds. Larger
documents are parsed in a thread."""
LISTED_AT_ONCE: Final = 64
"""Maximum number of concurrent listings."""
LARGE_AT_ONCE: Final = 64 * 1024 * 1024
"""Maximum total size in bytes of large documents to read and parse concurrently. A document that exceeds this size is
read on its own. Once parsed, documents take several times as much memory."""
INDEX_LIFETIME: Final = 60.0
"""Number of seconds for which a push may rely on an index after reading it. `clean` waits many times as long before it
removes a `.meta` whose version number could then be used again."""


async def read_small_first(read: Callable[[int], Awaitable[T]], limit: int, what: str) -> T:
    """Read a document with a limit of 1 MiB. If it is larger, read it again with its size as the limit.

    The size of a document isn't known before the first response.

    Args:
        read: a function that reads the document, given a limit in bytes.
        limit: the maximum size in bytes.
        what: the kind of document, for the error message.

    Raises:
        StoreCorrupt: if the document is larger than `limit`.
    """
    try:
        return await read(SMALL_DOCUMENT)
    except DocumentTooLarge as error:
        error.__traceback__ = None  # its frames are in a reference cycle, and would keep the document in memory
        size = error.size or limit
        if size > limit:
            raise StoreCorrupt(error.where, f"it is larger than the {limit:,} bytes allowed for {what}") from None
    return await read(min(limit, size + SMALL_DOCUMENT))  # the document may have grown in the meantime


@dataclass(frozen=True, slots=True)
class IndexState:
    """The state of an index when it was read or written.

    Attributes:
        index: the content; empty if the index doesn't exist.
        revision: the revision; `Expect.ABSENT` if the index doesn't exist.
        store: the `AssetStore` that the index belongs to.
        asked: the time of the request, according to the clock of that `AssetStore`.
        new_store: whether the bucket or folder doesn't exist yet and the first write will create it.
        answered: the time of the response, according to the store's clock; `None` if the index didn't exist, or if
            this is its state after a write.
    """

    index: VersionIndex
    revision: Revision | Expect
    store: AssetStore
    asked: float
    new_store: bool = False
    answered: datetime | None = None

    @property
    def exists(self) -> bool:
        """Whether the asset exists."""
        return self.revision is not Expect.ABSENT


@dataclass(frozen=True, slots=True)
class MetaState:
    """The state of a `.meta` object when it was read.

    Attributes:
        content: the claim, manifest or tombstone.
        revision: the revision.
        modified: the time of the last write, according to the store's clock.
        answered: the time of the response, according to the same clock.
    """

    content: Manifest | Claim | Tombstone
    revision: Revision
    modified: datetime
    answered: datetime

    @property
    def age(self) -> timedelta:
        """The time since the last write. It is never negative, although stores round down the dates of responses."""
        return max(timedelta(), self.answered - self.modified)


@dataclass(frozen=True, slots=True)
class AliasState:
    """The state of an asset's aliases when they were read or written.

    Attributes:
        table: the aliases; empty if the document doesn't exist.
        revision: the revision; `Expect.ABSENT` if the document doesn't exist.
    """

    table: AliasTable
    revision: Revision | Expect

    @property
    def exists(self) -> bool:
        """Whether the document exists."""
        return self.revision is not Expect.ABSENT


class Presence(enum.Flag):
    """The kinds of objects that a version has in the store."""

    META = enum.auto()
    CONTENT = enum.auto()


@dataclass(frozen=True, slots=True)
class AssetStore:
    """The assets under one prefix in a store.

    Attributes:
        driver: the driver for the bucket.
        layout: the layout of the keys.
        clock: a monotonic clock in seconds that keeps running while the machine is suspended.
        files_at_once: the maximum number of files that one call processes concurrently.
        large: the budget for large documents in memory.
    """

    driver: Driver
    layout: Layout
    clock: Callable[[], float] = elapsed
    files_at_once: int = FILES_AT_ONCE
    large: Budget = field(default_factory=lambda: Budget(nbytes=LARGE_AT_ONCE), compare=False, repr=False)

    @property
    def url(self) -> str:
        """The URL of the prefix, for messages."""
        return f"{self.driver.url}/{self.layout.prefix}".rstrip("/")

    @property
    def identity(self) -> str:
        """The identifier of the bucket and the prefix; see `Driver.identity`. Blocking."""
        return f"{self.driver.identity}/{self.layout.prefix}"

    def url_of(self, name: str, version: str) -> str:
        """Return the URL of a version's content."""
        return f"{self.driver.url}/{self.layout.content(name, version)}"

    async def read_index(self, name: str, *, creating: bool = False) -> IndexState:
        """Read an asset's index. If it doesn't exist, return an empty one.

        Args:
            name: the asset's name.
            creating: whether to accept that the bucket or folder doesn't exist, if the first write would create it.

        Raises:
            BucketNotFound: if the bucket or folder doesn't exist.
            StoreCorrupt: if the document isn't a valid index.
        """
        key = self.layout.versions(name)
        asked = self.clock()

        def parse(data: bytes, check: Callable[[], None]) -> VersionIndex:
            try:
                return VersionIndex.from_json(data, check)
            except ValueError as error:
                raise ValueError(
                    f"{error}; restore this object from a backup, or remove it, run `aioassets clean {name}`, and then "
                    f"`aioassets clean --publish {name}:VERSION` for each version that it names"
                ) from error

        try:
            found, index = await self._read(key, parse, MAX_INDEX, "an index")
        except ObjectNotFound:
            return IndexState(VersionIndex(), Expect.ABSENT, self, asked)
        except BucketNotFound as error:
            if creating and error.creatable:
                return IndexState(VersionIndex(), Expect.ABSENT, self, asked, new_store=True)
            raise
        return IndexState(index, found.revision, self, asked, answered=found.answered)

    async def swap_index(self, name: str, state: IndexState, index: VersionIndex) -> IndexState:
        """Replace an index by compare-and-swap.

        Raises:
            PreconditionFailed: if the index is no longer in the given state.
        """
        asked = self.clock()
        key = self.layout.versions(name)
        revision = await self.driver.write(key, index.to_json(), expected=state.revision)
        logger.debug("Wrote %s/%s, now at revision %s", self.driver.url, key, revision)
        return IndexState(index, revision, self, asked)

    def is_fresh(self, state: IndexState) -> bool:
        """Return whether a state belongs to this store and is recent enough for a push to rely on."""
        return state.store is self and self.clock() - state.asked <= INDEX_LIFETIME

    async def read_meta(self, name: str, version: str) -> MetaState:
        """Read the `.meta` object of a version.

        Raises:
            ObjectNotFound: if it doesn't exist.
            StoreCorrupt: if it isn't a valid claim, manifest or tombstone.
        """
        key = self.layout.meta(name, version)
        found, content = await self._read(key, parse_meta, MAX_DOCUMENT, "a manifest")
        return MetaState(content, found.revision, found.modified, found.answered)

    async def read_aliases(self, name: str) -> AliasState:
        """Read an asset's aliases. If the document doesn't exist, return an empty table.

        Raises:
            StoreCorrupt: if the document is invalid.
        """
        key = self.layout.aliases(name)
        try:
            found, table = await self._read(
                key, lambda data, check: AliasTable.from_json(data), MAX_DOCUMENT, "a list of aliases"
            )
        except ObjectNotFound:
            return AliasState(AliasTable(), Expect.ABSENT)
        return AliasState(table, found.revision)

    async def swap_aliases(
        self, name: str, state: AliasState, table: AliasTable, effects: Effects | None = None
    ) -> AliasState:
        """Replace an asset's aliases, using compare-and-swap.

        Args:
            name: the asset's name.
            state: the known state.
            table: the new aliases.
            effects: where to record attempts with an unknown effect.

        Raises:
            PreconditionFailed: if the aliases are no longer in the given state.
        """
        key = self.layout.aliases(name)
        revision = await self.driver.write(key, table.to_json(), expected=state.revision, effects=effects)
        logger.debug("Wrote %s/%s, now at revision %s", self.driver.url, key, revision)
        return AliasState(table, revision)

    async def read_document(self, key: str) -> Document:
        """Read a document of any valid size without parsing it.

        Raises:
            ObjectNotFound: if it doesn't exist.
            StoreCorrupt: if it is too large.
        """
        found, _ = await self._read(key, lambda data, check: None, MAX_DOCUMENT, "a document")
        return found

    async def _read(self, key: str, parse: _Parse[T], limit: int, what: str) -> tuple[Document, T]:
        """Read and parse a document. Wait for a share of the memory budget if it is large."""

        async def read(size: int) -> tuple[Document, T]:
            async with self.large.slot(size) if size > SMALL_DOCUMENT else contextlib.nullcontext():
                found = await self.driver.read(key, limit=size)
                logger.debug("Read %s/%s at revision %s", self.driver.url, key, found.revision)
                return found, await self._parsed(parse, key, found.data)

        return await read_small_first(read, limit, what)

    async def _parsed(self, parse: _Parse[T], key: str, data: bytes) -> T:
        try:
            return parse(data, no_check) if len(data) <= INLINE else await in_thread(parse, data, check_cancelled)
        except ValueError as error:
            raise StoreCorrupt(f"{self.driver.url}/{key}", str(error)) from error

    async def numbers(self, name: str) -> dict[str, bool]:
        """Return all versions that have objects in the store, listed or not, and whether each has a `.meta`."""
        return {version: Presence.META in there for version, there in (await self.presence(name)).items()}

    async def presence(self, name: str) -> dict[str, Presence]:
        """Return all versions that have objects in the store, listed or not, and what each has."""
        folder = self.layout.folder(name)
        found: dict[str, Presence] = {}
        async for item in self.driver.list(folder, delimiter="/"):
            key = item.prefix if isinstance(item, CommonPrefix) else item.key
            if version := self.layout.version_in(folder, key):
                kind = Presence.META if key == self.layout.meta(name, version) else Presence.CONTENT
                found[version] = found.get(version, kind) | kind
        return found

    async def content(self, name: str, version: str) -> AsyncIterator[ObjectInfo]:
        """Iterate over a version's content objects, regardless of its `.meta`."""
        if (found := await self._present(self.layout.content(name, version))) is not None:
            yield found
        async for item in self._inside(name, version):
            yield item

    async def objects(self, name: str, version: str) -> AsyncIterator[ObjectInfo]:
        """Iterate over all objects of a version except its `.meta`: its content and its `.chunks`."""
        content, chunks = self.layout.content(name, version), self.layout.chunks(name, version)
        for found in await gather2(lambda: self._present(content), lambda: self._present(chunks)):
            if found is not None:
                yield found
        async for item in self._inside(name, version):
            yield item

    async def _present(self, key: str) -> ObjectInfo | None:
        with contextlib.suppress(ObjectNotFound):
            return await self.driver.stat(key)
        return None

    async def _inside(self, name: str, version: str) -> AsyncIterator[ObjectInfo]:
        async for item in self.driver.list(f"{self.layout.content(name, version)}/"):
            if isinstance(item, ObjectInfo):
                yield item

    async def names_in_use(self, is_version: Callable[[str], bool]) -> set[str]:
        """Return the names of all assets that have objects in the store, without listing the content of versions."""
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
        """Return all asset names that start with `prefix`, sorted, without listing the content of versions."""
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
        """Traverse the folders under a prefix level by level, listing the folders of each level concurrently.

        Args:
            prefix: the prefix to start from.
            look: a function that takes a folder and an item in it, and returns whether to descend into the item.
        """
        inner: list[str] = []

        async def list_one(folder: str) -> None:
            items = self.driver.list(folder, delimiter="/")
            inner.extend([item.prefix async for item in items if look(folder, item) and isinstance(item, CommonPrefix)])

        level = [prefix]
        while level:
            await for_each(level, list_one, limit=LISTED_AT_ONCE)
            level, inner[:] = [*inner], []
