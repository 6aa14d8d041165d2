"""The next version of an asset, and the addition of versions to its index."""

from __future__ import annotations

import logging
from typing import Final

from aioassets.errors import (
    AssetExists,
    AssetNotFound,
    InvalidVersion,
    PreconditionFailed,
    StoreUnsuitable,
    VersionNotFound,
)
from aioassets.model.operations import CREATE
from aioassets.model.versioning import Bump, VersioningScheme
from aioassets.runtime.retry import RetryPolicy
from aioassets.store.documents import AssetStore, IndexState

logger = logging.getLogger(__name__)

MAX_REFUSALS: Final = 5
"""Number of consecutive swaps refused at an unchanged revision after which the store is unsuitable."""


def check_index(state: IndexState, scheme: VersioningScheme, name: str) -> None:
    """Raise `InvalidVersion` if an index contains versions of another scheme."""
    for version in state.index.versions:
        if not scheme.is_version(version):
            raise InvalidVersion(
                version,
                f"asset {name!r} does not use the versioning scheme {scheme.name}; "
                "select its scheme (versioning=…, --versioning, AIOASSETS_VERSIONING)",
            )


def next_version(state: IndexState, scheme: VersioningScheme, name: str, plan_bump: Bump, where: str) -> str:
    """Return the next version after those in an index.

    Raises:
        InvalidVersion: if the index has another versioning scheme.
        VersionNotFound: if the index has no version of the requested major.
    """
    check_index(state, scheme, name)
    version = scheme.following(plan_bump, state.index.versions)
    if version is None:
        raise VersionNotFound(name, str(plan_bump.major), where, state.index.versions)
    return version


def check_exists(state: IndexState, operation: str, name: str, where: str) -> None:
    """Raise if an asset exists on `create`, or doesn't exist on another operation."""
    if operation == CREATE and state.exists:
        latest = f" (its latest version is {state.index.versions[0]})" if state.index.versions else ""
        raise AssetExists(name, f"it exists in {where}{latest}. Push a new version with `update` (update_asset).")
    if operation != CREATE and not state.exists:
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
    """Add versions to an index by compare-and-swap, and retry as long as others change it.

    Versions that are listed already are no error.

    Args:
        retry: the policy that determines the pauses between attempts.
        known: a state of the index to try first, instead of reading it.

    Returns:
        The index with the versions.

    Raises:
        InvalidVersion: if the index has another versioning scheme.
        StoreUnsuitable: if the store refuses swaps at the revision that it reports.
    """
    attempt = refusals = 0
    refused: object = None
    while True:
        state = known or await store.read_index(name)
        if versions <= set(state.index.versions):
            return state
        refusals = refusals + 1 if state.revision == refused else 0
        if refusals >= MAX_REFUSALS:
            raise StoreUnsuitable(store.driver.url, "it refuses to replace an object at the revision that it reports")
        check_index(state, scheme, name)
        merged = scheme.select(None, {*state.index.versions, *versions})
        try:
            return await store.swap_index(name, state, merged)
        except PreconditionFailed:
            logger.info("The index of %r in %s was changed by another writer; trying again", name, store.url)
            refused = state.revision
            if known is None:
                attempt += 1
                await retry.sleep(retry.pause(min(attempt, 5)))
            known = None
