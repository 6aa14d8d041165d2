"""Fetching many assets concurrently."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Final, TypeVar

from aioassets.errors import BulkFetchError, UsageError
from aioassets.fetch.fetched import FetchedAsset
from aioassets.model.names import AssetSpec
from aioassets.runtime.tasks import for_each

Spec = TypeVar("Spec", bound=str | AssetSpec)

ASSETS_AT_ONCE: Final = 64
"""Maximum number of assets to fetch concurrently: enough for single-file assets to use the whole budget."""


async def fetch_many(
    specs: Iterable[Spec], fetch: Callable[[AssetSpec], Awaitable[FetchedAsset]]
) -> dict[Spec, FetchedAsset]:
    """Fetch many specs concurrently, and return the results by spec, in the order of the specs.

    Different spellings of one spec, such as a string and an `AssetSpec`, are fetched once.

    Args:
        specs: the specs, as strings or parsed.
        fetch: a function that fetches one of them.

    Raises:
        UsageError: if `specs` is a single spec.
        BulkFetchError: if any spec is invalid or can't be fetched. The others are fetched nevertheless.
    """
    if isinstance(specs, str | AssetSpec):
        raise UsageError(f"Pass a list of specs instead of {str(specs)!r}.")
    spellings: dict[AssetSpec, list[Spec]] = {}
    fetched: dict[Spec, FetchedAsset] = {}
    failed: dict[Spec, Exception] = {}
    given = tuple(dict.fromkeys(specs))
    for spec in given:
        try:
            spellings.setdefault(spec if isinstance(spec, AssetSpec) else AssetSpec.parse(spec), []).append(spec)
        except UsageError as error:
            failed[spec] = error

    async def fetch_one(spec: AssetSpec) -> None:
        try:
            fetched.update(dict.fromkeys(spellings[spec], await fetch(spec)))
        except Exception as error:
            failed.update(dict.fromkeys(spellings[spec], error))

    await for_each(spellings, fetch_one, limit=ASSETS_AT_ONCE)
    fetched = {spec: fetched[spec] for spec in given if spec in fetched}
    if failed:
        raise BulkFetchError(fetched, {spec: failed[spec] for spec in given if spec in failed})
    return fetched
