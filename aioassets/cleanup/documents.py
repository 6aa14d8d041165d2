"""The documents of one version that a withdrawal reads and changes."""

from __future__ import annotations

from dataclasses import dataclass, replace

from aioassets.drivers.protocol import StreamedDocument
from aioassets.errors import (
    AioAssetsError,
    AssetNotFound,
    ObjectNotFound,
    PreconditionFailed,
    VersionNotFound,
    is_uncertain,
)
from aioassets.model.claim import Claim
from aioassets.model.index import Fence
from aioassets.model.manifest import Manifest
from aioassets.model.tombstone import Tombstone
from aioassets.model.versioning import VersioningScheme
from aioassets.runtime.retry import RetryPolicy
from aioassets.runtime.tasks import gather2
from aioassets.runtime.threads import in_thread
from aioassets.store.documents import AssetStore, IndexState, MetaState
from aioassets.store.index import check_index, withdraw_from_index
from aioassets.store.settling import settle
from aioassets.store.streamed import encoded
from aioassets.store.swaps import Swaps


@dataclass(frozen=True, slots=True)
class VersionState:
    """The documents of a complete, yanked or deleted version when they were read.

    Attributes:
        meta: the state of the `.meta`.
        index: the state of the index, which may be older.
        content: the manifest or tombstone in the `.meta`.
        aliases: the aliases that pointed at the version when the index was read, sorted.
    """

    meta: MetaState
    index: IndexState
    content: Manifest | Tombstone
    aliases: tuple[str, ...]


class VersionDocuments:
    """The documents of one version.

    Args:
        store: the store.
        scheme: the versioning scheme.
        name: the asset's name.
        version: the version.
        retry: the retry policy, which determines the delays between attempts.
    """

    def __init__(
        self, store: AssetStore, scheme: VersioningScheme, name: str, version: str, retry: RetryPolicy
    ) -> None:
        self.name = name
        self.version = version
        self._store = store
        self._scheme = scheme
        self._retry = retry
        self._swaps = Swaps(store.driver.url, retry)

    async def read(self) -> VersionState:
        """Read the `.meta`, the index and the aliases.

        Raises:
            AssetNotFound: if the asset doesn't exist.
            VersionNotFound: if the version doesn't exist or isn't complete.
        """
        (meta, index), aliases = await gather2(
            lambda: gather2(self._meta, lambda: self._store.read_index(self.name)), self.aliases
        )
        if meta is None or isinstance(meta.content, Claim):
            if not index.exists:
                raise AssetNotFound(self.name, self._store.url)
            raise VersionNotFound(self.name, self.version, self._store.url, index.index.versions)
        check_index(index, self._scheme, self.name)
        return VersionState(meta, index, meta.content, aliases)

    async def aliases(self) -> tuple[str, ...]:
        """Return the aliases that point at the version, sorted."""
        return (await self._store.read_aliases(self.name)).table.of(self.version)

    async def swap(self, state: VersionState, content: Manifest | Tombstone) -> VersionState | None:
        """Replace the `.meta`. Return the new state, or `None` if another process has changed it.

        A replacement whose response was lost is recognised by the token of its mark.

        Args:
            state: the state to replace.
            content: the new content, whose mark has a new token.

        Raises:
            AioAssetsError: if the request failed, or it is unknown whether it took effect.
        """
        self._swaps.check(state.meta.revision)
        data = await in_thread(_encoded, content)
        doubt: AioAssetsError | None = None
        try:
            key = self._store.layout.meta(self.name, self.version)
            revision = await self._store.driver.write(key, data, expected=state.meta.revision)
        except PreconditionFailed:
            pass
        except AioAssetsError as error:
            if not is_uncertain(error):
                raise
            doubt = error
        else:
            return replace(state, meta=replace(state.meta, content=content, revision=revision), content=content)
        found = await self._present(doubt)
        if _token(found.content) == _token(content):
            return replace(state, meta=found, content=content)
        if doubt is not None:
            raise doubt
        await self._swaps.refused(state.meta.revision)
        return None

    async def fence(self, fence: Fence, known: IndexState | None = None) -> None:
        """Take the version out of the index and fence it, in one compare-and-swap."""
        await withdraw_from_index(self._store, self.name, self.version, fence, retry=self._retry, known=known)

    async def settle(self, state: VersionState | None = None) -> Manifest | Claim | Tombstone:
        """Make the index agree with the `.meta`, and return the content with which it agrees; see `settle`."""
        known = None if state is None else (state.meta, state.index)
        settled = await settle(self._store, self._scheme, self.name, self.version, retry=self._retry, known=known)
        return settled.content

    async def _meta(self) -> MetaState | None:
        try:
            return await self._store.read_meta(self.name, self.version)
        except ObjectNotFound:
            return None

    async def _present(self, doubt: AioAssetsError | None) -> MetaState:
        try:
            return await self._store.read_meta(self.name, self.version)
        except AioAssetsError:
            if doubt is not None:
                raise doubt from None
            raise


def _encoded(content: Manifest | Tombstone) -> bytes | StreamedDocument:
    return content.to_json() if isinstance(content, Tombstone) else encoded(content.to_fields)


def _token(content: Manifest | Claim | Tombstone) -> str | None:
    if isinstance(content, Tombstone):
        return content.deleted.token
    return content.mark.token if isinstance(content, Manifest) and content.mark is not None else None
