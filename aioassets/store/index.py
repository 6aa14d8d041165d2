"""What an asset's index says of the next version, and adding versions to it."""

from __future__ import annotations

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

MAX_REFUSALS: Final = 5
"""How often in a row an index may refuse its own revision before the store is called unsuitable."""


def check_index(state: IndexState, scheme: VersioningScheme, name: str) -> None:
    """Raise `InvalidVersion` where an index holds versions of another scheme."""
    for version in state.index.versions:
        if not scheme.is_version(version):
            raise InvalidVersion(
                version,
                f"{name!r} is not versioned by the scheme {scheme.name}; "
                "choose its own scheme (versioning=…, --versioning, AIOASSETS_VERSIONING)",
            )


def next_version(state: IndexState, scheme: VersioningScheme, name: str, plan_bump: Bump, where: str) -> str:
    """The number that a push would get now, from what the index lists.

    Raises:
        InvalidVersion: the index is of another scheme.
        VersionNotFound: no version of the major is listed.
    """
    check_index(state, scheme, name)
    version = scheme.following(plan_bump, state.index.versions)
    if version is None:
        raise VersionNotFound(name, str(plan_bump.major), where, state.index.versions)
    return version


def check_exists(state: IndexState, operation: str, name: str, where: str) -> None:
    """Raise unless an asset is absent for `create` and present for the others."""
    if operation == CREATE and state.exists:
        latest = f" (its latest version is {state.index.versions[0]})" if state.index.versions else ""
        raise AssetExists(name, f"it exists in {where}{latest}. Use update to push a new version.")
    if operation != CREATE and not state.exists:
        raise AssetNotFound(name, where, "Use new (create_asset) to push its first version.")


async def add_to_index(
    store: AssetStore,
    scheme: VersioningScheme,
    name: str,
    versions: set[str],
    *,
    retry: RetryPolicy,
    known: IndexState | None = None,
) -> IndexState:
    """List versions, by compare-and-swap, for as long as the index keeps changing; listed ones are no error.

    Args:
        retry: how to pause between attempts.
        known: a state of the index to try first, which spares reading it.

    Returns:
        The index with them.

    Raises:
        InvalidVersion: the index is of another scheme.
        StoreUnsuitable: it refuses swaps of its own revision.
    """
    attempt = refusals = 0
    refused: object = None
    while True:
        state = known or await store.read_index(name)
        if versions <= set(state.index.versions):
            return state
        refusals = refusals + 1 if state.revision == refused else 0
        if refusals >= MAX_REFUSALS:
            raise StoreUnsuitable(store.driver.url, "it refuses to replace an object at the very revision it shows")
        check_index(state, scheme, name)
        merged = scheme.select(None, {*state.index.versions, *versions})
        try:
            return await store.swap_index(name, state, merged)
        except PreconditionFailed:
            refused = state.revision
            if known is None:
                attempt += 1
                await retry.sleep(retry.pause(min(attempt, 5)))
            known = None
