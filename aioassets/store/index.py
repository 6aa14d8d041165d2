"""Choosing the next version of an asset, and adding versions to its index."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Sequence

from aioassets.errors import (
    AssetExists,
    AssetNotFound,
    InvalidVersion,
    PreconditionFailed,
    VersionNotFound,
)
from aioassets.model.index import Fence, VersionIndex
from aioassets.model.operations import COPY, CREATE
from aioassets.model.versioning import Bump, VersioningScheme
from aioassets.runtime.retry import RetryPolicy
from aioassets.store.documents import AssetStore, IndexState
from aioassets.store.swaps import Swaps

logger = logging.getLogger(__name__)


def check_index(state: IndexState, scheme: VersioningScheme, name: str) -> None:
    """Raise `InvalidVersion` if an index contains a version that doesn't belong to the given scheme."""
    for version in state.index.numbers:
        if not scheme.is_version(version):
            raise InvalidVersion(
                version,
                f"asset {name!r} does not use the versioning scheme {scheme.name}; "
                "select the scheme that it uses (versioning=…, --versioning, AIOASSETS_VERSIONING)",
            )


def next_version(state: IndexState, scheme: VersioningScheme, name: str, plan_bump: Bump, where: str) -> str:
    """Return the next version after those in an index.

    Raises:
        InvalidVersion: if the index uses a different versioning scheme.
        VersionNotFound: if the index has no version with the requested major version.
    """
    check_index(state, scheme, name)
    version = scheme.following(plan_bump, _numbers(state, scheme, plan_bump))
    if version is None:
        raise VersionNotFound(name, str(plan_bump.major), where, state.index.versions)
    return version


def _numbers(state: IndexState, scheme: VersioningScheme, bump: Bump) -> Sequence[str]:
    """Return the listed versions, and the fenced versions that the next version must also follow.

    Usually, these are the fenced versions in the series of the latest listed version. If no version is listed, or
    the bump concerns a major version, all fenced versions are returned.
    """
    index = state.index
    if not (index.fences and index.versions) or bump.major is not None or bump.bump_major:
        return index.numbers
    series = scheme.series(scheme.select(None, index.versions)[0])
    return [*index.versions, *(v for v in index.fences if scheme.series(v) == series)]


def check_exists(state: IndexState, operation: str, name: str, where: str) -> None:
    """Raise `AssetExists` if the asset to create exists, or `AssetNotFound` if the asset to update doesn't exist.

    A copy accepts both.
    """
    if operation == CREATE and state.exists:
        latest = f" (its latest version is {state.index.versions[0]})" if state.index.versions else ""
        raise AssetExists(
            name, f"it already exists in {where}{latest}. Push a new version with `update` (update_asset)."
        )
    if operation not in (CREATE, COPY) and not state.exists:
        raise AssetNotFound(name, where, "Push its first version with `new` (create_asset).")


async def add_to_index(
    store: AssetStore,
    scheme: VersioningScheme,
    name: str,
    versions: set[str],
    *,
    retry: RetryPolicy,
    known: IndexState | None = None,
) -> IndexState:
    """Add versions to an index, using compare-and-swap. Try again whenever another writer has changed the index.

    Versions that are already listed are not an error. Fenced versions are left out.

    Args:
        store: the store.
        scheme: the versioning scheme.
        name: the asset's name.
        versions: the versions to add.
        retry: the retry policy, which determines the delays between attempts.
        known: a known state of the index to try first, instead of reading the index.

    Returns:
        The state of the index that contains the versions, apart from fenced ones.

    Raises:
        InvalidVersion: if the index uses a different versioning scheme.
        StoreUnsuitable: if the store refuses conditional writes even with the current revision.
    """

    def added(state: IndexState) -> VersionIndex:
        if versions <= set(state.index.numbers):
            return state.index
        check_index(state, scheme, name)
        return _listing(state.index, scheme, versions)

    return await _change(store, name, added, retry, known)


async def withdraw_from_index(
    store: AssetStore, name: str, version: str, fence: Fence, *, retry: RetryPolicy, known: IndexState | None = None
) -> IndexState:
    """Take a version out of an index and fence it, in one compare-and-swap. It need not be listed.

    The arguments, result and exceptions are those of `add_to_index`.
    """

    def withdrawn(state: IndexState) -> VersionIndex:
        return state.index.fenced(version, fence, secrets.token_hex(16))

    return await _change(store, name, withdrawn, retry, known)


async def restore_to_index(
    store: AssetStore,
    scheme: VersioningScheme,
    name: str,
    version: str,
    *,
    retry: RetryPolicy,
    known: IndexState | None = None,
) -> IndexState:
    """Lift the fence of a version and list it, in one compare-and-swap, unless it is fenced as deleted.

    The arguments, result and exceptions are those of `add_to_index`.
    """

    def restored(state: IndexState) -> VersionIndex:
        index = state.index.unfenced(version, secrets.token_hex(16))
        if version in index.numbers:
            return index
        check_index(state, scheme, name)
        return _listing(index, scheme, {version})

    return await _change(store, name, restored, retry, known)


def _listing(index: VersionIndex, scheme: VersioningScheme, versions: set[str]) -> VersionIndex:
    return index.with_versions(scheme.select(None, {*index.versions, *versions} - index.fences.keys()))


async def _change(
    store: AssetStore,
    name: str,
    change: Callable[[IndexState], VersionIndex],
    retry: RetryPolicy,
    known: IndexState | None,
) -> IndexState:
    """Change an index by compare-and-swap, retrying as long as other writers change it."""
    swaps = Swaps(store.driver.url, retry)
    while True:
        state = known or await store.read_index(name)
        changed = change(state)
        if changed == state.index:
            if known is None:
                return state
            known = None  # it may be outdated
            continue
        swaps.check(state.revision)
        try:
            return await store.swap_index(name, state, changed)
        except PreconditionFailed:
            logger.info("The index of %r in %s was changed by another writer; trying again", name, store.url)
            await swaps.refused(state.revision, wait=known is None)
            known = None
