"""Fetching many assets concurrently."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Final, TypeVar

from aioassets.errors import BulkFetchError, UsageError
from aioassets.fetch.fetched import FetchedAsset
from aioassets.model.arguments import check_list
from aioassets.model.names import AssetSpec
from aioassets.runtime.tasks import for_each

Spec = TypeVar("Spec", bound=str | AssetSpec)
Item = TypeVar("Item")

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
        UsageError: if `specs` isn't a list.
        BulkFetchError: if any spec is invalid or can't be fetched. The others are fetched nevertheless.
    """
    check_list(specs, "specs")
    given = tuple(dict.fromkeys(specs))
    parsed: dict[Spec, AssetSpec] = {}
    failed: dict[Spec, Exception] = {}
    for spec in given:
        try:
            parsed[spec] = spec if isinstance(spec, AssetSpec) else AssetSpec.parse(spec)
        except UsageError as error:
            failed[spec] = error
    fetched, errors = await fetch_each(dict.fromkeys(parsed.values()), fetch)
    failed |= {spec: errors[each] for spec, each in parsed.items() if each in errors}
    results = {spec: fetched[each] for spec, each in parsed.items() if each in fetched}
    if failed:
        raise BulkFetchError(results, {spec: failed[spec] for spec in given if spec in failed})
    return results


async def fetch_each(
    items: Iterable[Item], fetch: Callable[[Item], Awaitable[FetchedAsset]]
) -> tuple[dict[Item, FetchedAsset], dict[Item, Exception]]:
    """Fetch many items concurrently, and return the results and the errors."""
    fetched: dict[Item, FetchedAsset] = {}
    failed: dict[Item, Exception] = {}

    async def fetch_one(item: Item) -> None:
        try:
            fetched[item] = await fetch(item)
        except Exception as error:
            failed[item] = error

    await for_each(items, fetch_one, limit=ASSETS_AT_ONCE)
    return fetched, failed
