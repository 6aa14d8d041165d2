"""Suggesting asset names after a request for an asset that doesn't exist."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import anyio

from aioassets.drivers.protocol import ObjectInfo
from aioassets.errors import AssetNotFound
from aioassets.model.names import is_name
from aioassets.store.documents import AssetStore

T = TypeVar("T")

MAX_LISTED: Final = 1000
"""Maximum number of items in a folder to look through: one page of a listing."""
MAX_SECONDS: Final = 2.0
"""Number of seconds that looking through a folder may take."""


async def with_suggestions(store: AssetStore | None, work: Callable[[], Awaitable[T]]) -> T:
    """Run a call. If the store has no such asset, add similar names from the same folder to the error."""
    try:
        return await work()
    except AssetNotFound as error:
        if store is not None and error.where == store.url:
            error.suggest(error.name, await _neighbours(store, error.name))
        raise


async def _neighbours(store: AssetStore, name: str) -> list[str]:
    """Return the assets in the same folder, or nothing if they can't be listed or the folder has too many items."""
    with contextlib.suppress(Exception), anyio.move_on_after(MAX_SECONDS):
        return await _assets_in(store, f"{store.layout.root}{name}".rpartition("/")[0])
    return []


async def _assets_in(store: AssetStore, folder: str) -> list[str]:
    found: list[str] = []
    items = aiter(store.driver.list(f"{folder}/" if folder else "", delimiter="/"))
    async with contextlib.AsyncExitStack() as stack:
        if (close := getattr(items, "aclose", None)) is not None:
            stack.push_async_callback(close)
        number = 0
        async for item in items:
            number += 1
            if number > MAX_LISTED:
                return []
            asset = store.layout.asset_of(item.key) if isinstance(item, ObjectInfo) else None
            if asset is not None and is_name(asset):
                found.append(asset)
    return found
