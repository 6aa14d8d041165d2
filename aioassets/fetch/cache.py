"""The cache of a manager, which users can list and prune."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TypeVar

import anyio

from aioassets.errors import UsageError
from aioassets.fetch.inventory import CachedVersion, Inventory
from aioassets.fetch.locks import Locks
from aioassets.fetch.pruning import CachePruning, prune, pruning
from aioassets.fetch.reporting import Reporter
from aioassets.model.sizes import checked_size
from aioassets.runtime.lifecycle import Lifecycle
from aioassets.runtime.threads import in_thread

__all__ = ["Cache"]

T = TypeVar("T")
Versions = list[CachedVersion]


class Cache:
    """The versions in the assets directory, from all stores. `AssetsManager.cache` returns it.

    Its methods need no store, and don't use the network.

    Args:
        assets_dir: the assets directory.
        limit: the limit on the cache's size in bytes; `None` for no limit.
        locks: the locks of the manager.
        lifecycle: the lifecycle of the manager.
    """

    def __init__(self, assets_dir: Path, limit: int | None, locks: Locks, lifecycle: Lifecycle) -> None:
        self._assets_dir = assets_dir
        self._limit = limit
        self._locks = locks
        self._lifecycle = lifecycle

    @property
    def path(self) -> Path:
        """The assets directory."""
        return self._assets_dir

    @property
    def limit(self) -> int | None:
        """The limit on the cache's size in bytes (`cache_limit`); `None` for no limit."""
        return self._limit

    async def list(self) -> Versions:
        """Return the cached versions, least recently used first.

        Raises:
            CacheError: if the assets directory can't be read.
            AccessDenied: if the file system denied access.
        """
        return [item.cached for item in (await self._in_thread(partial(Inventory.of, self._assets_dir))).stock]

    async def size(self) -> int:
        """Return the size of the cached versions in bytes, without unfinished downloads.

        Raises:
            CacheError: if the assets directory can't be read.
            AccessDenied: if the file system denied access.
        """
        return (await self._in_thread(partial(Inventory.of, self._assets_dir))).size

    async def prune(
        self, *, limit: int | str | None = None, unused_for: timedelta | None = None, dry_run: bool = False
    ) -> CachePruning:
        """Remove the least recently used versions from the cache.

        Versions that a live process holds, or that were used within the last hour, are kept.

        Args:
            limit: the size in bytes, or as a text such as `20GB`, to which to reduce the cache. Unless `unused_for` is
                given, the default is the manager's `cache_limit`.
            unused_for: the time for which versions must be unused to be removed regardless of the limit.
            dry_run: whether to return the expected result without removing anything.

        Raises:
            UsageError: if there is neither a limit nor `unused_for`, or `unused_for` isn't a timedelta.
            InvalidSetting: if the limit is invalid.
            CacheError: if the assets directory can't be used.
            AccessDenied: if the file system denied access.
        """
        size = checked_size("limit", limit)
        if not isinstance(unused_for, timedelta | None):
            raise UsageError(f"unused_for must be a timedelta, not {type(unused_for).__name__}.")
        if size is None and unused_for is None:
            size = self._limit
        if size is None and unused_for is None:
            raise UsageError(
                "The cache can't be pruned without a limit. Pass limit (--limit) or unused_for (--unused-for), or set "
                "cache_limit (AIOASSETS_CACHE_LIMIT)."
            )
        work = partial(prune, self._assets_dir, size, unused_for, dry_run=dry_run)
        if dry_run or not await self._in_thread(self._assets_dir.is_dir):
            return await self._in_thread(work)

        async def locked() -> CachePruning:
            with self._disk_errors():
                async with pruning(self._assets_dir, self._locks, anyio.sleep):
                    return await in_thread(work)

        return await self._lifecycle.run(locked)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        async def run() -> T:
            with self._disk_errors():
                return await in_thread(work)

        return await self._lifecycle.run(run)

    def _disk_errors(self) -> AbstractContextManager[None]:
        return Reporter(lambda _: None, self._assets_dir).disk_errors()
