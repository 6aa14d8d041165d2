"""Making an index agree with the `.meta` of a version, which may be yanked, restored or deleted at the same time."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import Final

from aioassets.errors import ObjectNotFound, StoreCorrupt, VersionContended, VersionDeleted
from aioassets.model.claim import Claim
from aioassets.model.index import Fence
from aioassets.model.manifest import Manifest
from aioassets.model.tombstone import Tombstone
from aioassets.model.versioning import VersioningScheme
from aioassets.runtime.retry import RetryPolicy
from aioassets.runtime.tasks import for_each
from aioassets.store.documents import AssetStore, IndexState, MetaState
from aioassets.store.index import restore_to_index, withdraw_from_index

MAX_ROUNDS: Final = 20
"""Maximum number of changes of a `.meta` to follow."""
READ_AT_ONCE: Final = 16
"""Maximum number of documents to read concurrently when looking for withdrawn versions."""


def is_withdrawn(content: Manifest | Claim | Tombstone) -> bool:
    """Return whether a version is yanked or deleted."""
    return isinstance(content, Tombstone) or (isinstance(content, Manifest) and content.is_yanked)


def deletion_error(store: AssetStore, name: str, version: str, tombstone: Tombstone) -> VersionDeleted:
    """Return the error for a version that was deleted."""
    deleted = tombstone.deleted
    return VersionDeleted(name, version, store.url, deleted.date, deleted.by, deleted.reason)


def fence_of(content: Manifest | Tombstone) -> Fence | None:
    """Return the fence that the index must have for a version; `None` if the version must be listed."""
    if isinstance(content, Tombstone):
        return Fence.DELETED
    return Fence.YANKED if content.is_yanked else None


async def recovered(store: AssetStore, scheme: VersioningScheme, name: str, state: IndexState) -> IndexState:
    """Return an index with the fences of withdrawn versions if it names no versions at all.

    modelkit drops fences when it rewrites an index. Tombstones and marks tell which numbers were in use.
    """
    if state.index.numbers or not state.exists:
        return state
    fences: dict[str, Fence] = {}

    async def look(version: str) -> None:
        with contextlib.suppress(ObjectNotFound, StoreCorrupt):
            content = (await store.read_meta(name, version)).content
            if not isinstance(content, Claim) and (fence := fence_of(content)) is not None:
                fences[version] = fence

    numbers = await store.numbers(name)
    await for_each([v for v in numbers if numbers[v] and scheme.is_version(v)], look, limit=READ_AT_ONCE)
    return replace(state, index=replace(state.index, fences=fences))


async def settle(
    store: AssetStore,
    scheme: VersioningScheme,
    name: str,
    version: str,
    *,
    retry: RetryPolicy,
    known: tuple[MetaState, IndexState] | None = None,
) -> MetaState:
    """Make the index agree with a version's `.meta`, and repeat this until the `.meta` stays the same.

    Args:
        store: the store.
        scheme: the versioning scheme.
        name: the asset's name.
        version: a complete, yanked or deleted version.
        retry: the retry policy, which determines the delays between attempts.
        known: the states of both documents to try first, instead of reading them.

    Returns:
        The state of the `.meta` with which the index agrees.

    Raises:
        ObjectNotFound: if the `.meta` doesn't exist.
        VersionContended: if other processes keep changing the `.meta`.
    """
    meta, index = known or (await store.read_meta(name, version), None)
    for attempt in range(MAX_ROUNDS):
        if attempt:
            await retry.sleep(retry.pause(min(attempt, 5)))
        if not isinstance(meta.content, Claim):
            await _agree(store, scheme, name, version, meta.content, retry, index)
        found = await store.read_meta(name, version)
        if found.revision == meta.revision:
            return found
        meta, index = found, None
    raise VersionContended(name, version, "update the index for")


async def _agree(
    store: AssetStore,
    scheme: VersioningScheme,
    name: str,
    version: str,
    content: Manifest | Tombstone,
    retry: RetryPolicy,
    known: IndexState | None,
) -> None:
    fence = fence_of(content)
    if fence is None:
        await restore_to_index(store, scheme, name, version, retry=retry, known=known)
    else:
        await withdraw_from_index(store, name, version, fence, retry=retry, known=known)
