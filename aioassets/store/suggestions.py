"""Suggesting asset names after a request for an asset that doesn't exist."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeVar

import anyio

from aioassets.drivers.protocol import CommonPrefix
from aioassets.errors import AssetNotFound, BulkError, nearest
from aioassets.model.names import is_name
from aioassets.store.documents import AssetStore

T = TypeVar("T")

MAX_LISTED: Final = 1000
"""Maximum number of items in a folder to look through: one page of a listing."""
MAX_FOLDERS: Final = 8
"""Maximum number of folders to list for all assets that one call didn't find."""
MAX_SECONDS: Final = 2.0
"""Number of seconds that looking through the folders may take."""


async def with_suggestions(store: AssetStore | None, work: Callable[[], Awaitable[T]]) -> T:
    """Run a call. If the store has no such asset, add similar names to the error, or to each error of a `BulkError`."""
    try:
        return await work()
    except AssetNotFound as error:
        await _suggest(store, [error])
        raise
    except BulkError as error:
        await _suggest(store, [each for each in error.failed.values() if isinstance(each, AssetNotFound)])
        error.restate()
        raise


async def _suggest(store: AssetStore | None, errors: Sequence[AssetNotFound]) -> None:
    """Add similar names to errors, unless looking for them fails or takes too long."""
    if store is None:
        return
    folders = _Folders(store)
    with contextlib.suppress(Exception), anyio.move_on_after(MAX_SECONDS):
        for error in errors:
            if error.where == store.url and not error.suggestions:
                error.suggest(error.name, await folders.near(error.name))


@dataclass(frozen=True, slots=True)
class _Folder:
    """The items directly in a folder; empty if it doesn't exist, or has too many items.

    Attributes:
        assets: the names of assets.
        folders: the names of folders.
        is_missing: whether there is nothing in the folder.
    """

    assets: Sequence[str] = ()
    folders: Sequence[str] = ()
    is_missing: bool = False


@dataclass(frozen=True, slots=True)
class _Folders:
    """The folders of a store, each of which is listed at most once.

    Attributes:
        store: the store.
    """

    store: AssetStore
    _listed: dict[tuple[str, ...], _Folder] = field(default_factory=dict)

    async def near(self, name: str) -> Sequence[str]:
        """Return the assets in the folder of a name or, if it doesn't exist, in the folder with the nearest name."""
        path = tuple(name.split("/")[:-1])
        there = await self._list(path)
        return (await self._nearest(path)).assets if there.is_missing else there.assets

    async def _nearest(self, path: Sequence[str]) -> _Folder:
        """Return the folder with the path that is most similar to another one, level by level."""
        found: tuple[str, ...] = ()
        for segment in path:
            present = (await self._list(found)).folders
            names = (segment,) if segment in present else nearest(segment, present, 1)
            if not names:
                return _Folder()
            found = (*found, names[0])
        return await self._list(found)

    async def _list(self, path: tuple[str, ...]) -> _Folder:
        if path not in self._listed:
            if len(self._listed) == MAX_FOLDERS:
                return _Folder()
            self._listed[path] = await _list_folder(self.store, "".join(f"{segment}/" for segment in path))
        return self._listed[path]


async def _list_folder(store: AssetStore, path: str) -> _Folder:
    prefix = f"{store.layout.root}{path}"
    assets: list[str] = []
    folders: list[str] = []
    number = 0
    items = aiter(store.driver.list(prefix, delimiter="/"))
    async with contextlib.AsyncExitStack() as stack:
        if (close := getattr(items, "aclose", None)) is not None:
            stack.push_async_callback(close)
        async for item in items:
            number += 1
            if number > MAX_LISTED:
                return _Folder()
            if isinstance(item, CommonPrefix):
                folders.append(item.prefix[len(prefix) :].rstrip("/"))
            elif (asset := store.layout.asset_of(item.key)) is not None and is_name(asset):
                assets.append(asset)
    return _Folder(assets, folders, is_missing=not number)
