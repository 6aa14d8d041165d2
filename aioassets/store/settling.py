"""Making an index agree with the `.meta` of a version, which may be yanked, restored or deleted at the same time."""

from __future__ import annotations

from typing import Final

from aioassets.errors import VersionContended
from aioassets.model.claim import Claim
from aioassets.model.index import Fence
from aioassets.model.manifest import Manifest
from aioassets.model.tombstone import Tombstone
from aioassets.model.versioning import VersioningScheme
from aioassets.runtime.retry import RetryPolicy
from aioassets.store.documents import AssetStore, IndexState, MetaState
from aioassets.store.index import restore_to_index, withdraw_from_index

MAX_ROUNDS: Final = 20
"""Maximum number of changes of a `.meta` to follow."""


def is_withdrawn(content: Manifest | Claim | Tombstone) -> bool:
    """Return whether a version is yanked or deleted."""
    return isinstance(content, Tombstone) or (isinstance(content, Manifest) and content.is_yanked)


def fence_of(content: Manifest | Tombstone) -> Fence | None:
    """Return the fence that the index must have for a version; `None` if the version must be listed."""
    if isinstance(content, Tombstone):
        return Fence.DELETED
    return Fence.YANKED if content.is_yanked else None


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
