"""Pruning the assets directory: evicting the least recently used versions."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from aioassets.fetch import eviction
from aioassets.fetch.entry import CacheEntry
from aioassets.fetch.inventory import CachedVersion, Inventory, Stock
from aioassets.fetch.locks import Locks
from aioassets.fetch.origin import all_folders
from aioassets.fetch.usage import retire, unix_time
from aioassets.runtime.disk import reason
from aioassets.runtime.notices import NOTICE

__all__ = ["CachePruning"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class CachePruning:
    """The result of pruning the cache.

    Attributes:
        removed: the versions that were removed or, in a dry run, would be removed, least recently used first.
        kept: the versions that were kept only because they are held, or were used within the last hour.
        freed: the size of the removed versions in bytes.
        size: the size of the remaining versions in bytes.
    """

    removed: tuple[CachedVersion, ...]
    kept: tuple[CachedVersion, ...]
    freed: int
    size: int


def pruning(
    assets_dir: Path, locks: Locks, sleep: Callable[[float], Awaitable[None]]
) -> AbstractAsyncContextManager[None]:
    """Exclude other processes that prune the same directory, so that they don't evict more than necessary."""
    lock = CacheEntry(assets_dir, "", "pruning")
    return locks.holding(lock, sleep=sleep, other="another process that prunes the cache")


def enforce(assets_dir: Path, limit: int) -> None:
    """Evict versions until the cache, with what downloads have reserved, fits into a limit in bytes. Blocking."""
    pruned, reserved = _prune(assets_dir, limit, None, dry_run=False)
    if (excess := pruned.size + reserved - limit) > 0:
        logger.warning(
            "The cache in %r exceeds its limit of %s bytes by %s bytes. The remaining versions are in use, were used "
            "within the last hour, or are being downloaded.",
            str(assets_dir),
            f"{limit:,}",
            f"{excess:,}",
            extra=NOTICE,
        )


def prune(assets_dir: Path, limit: int | None, unused_for: timedelta | None, *, dry_run: bool) -> CachePruning:
    """Evict versions. See `Cache.prune`. Blocking."""
    return _prune(assets_dir, limit, unused_for, dry_run=dry_run)[0]


def _prune(
    assets_dir: Path, limit: int | None, unused_for: timedelta | None, *, dry_run: bool
) -> tuple[CachePruning, int]:
    """Return the result, and the number of bytes that downloads have reserved."""
    if not dry_run:
        for root in all_folders(assets_dir):
            eviction.end_interrupted(root)
    inventory = Inventory.of(assets_dir)
    if not dry_run:
        retire(inventory.dead_leases)
    size = inventory.size
    removed: list[CachedVersion] = []
    kept: list[CachedVersion] = []
    for item in inventory.stock:
        age = unix_time() - item.cached.last_used.timestamp()
        is_old = unused_for is not None and age >= unused_for.total_seconds()
        is_over = limit is not None and size + inventory.reserved > limit
        if not (is_old or is_over):
            continue
        if not item.cached.held and age >= eviction.RECENT and (dry_run or _evict(item)):
            removed.append(item.cached)
            size -= item.cached.size
        else:
            kept.append(item.cached)
    freed = sum(cached.size for cached in removed)
    return CachePruning(tuple(removed), tuple(kept), freed, size), inventory.reserved


def _evict(item: Stock) -> bool:
    """Evict a version. Return `False` if it is in use or can't be removed."""
    entry = item.entry
    try:
        descriptor = entry.try_lock()
        if descriptor is None:
            return False
        try:
            evicted = eviction.Eviction.of(entry, is_partial=item.cached.partial).run()
        finally:
            entry.unlock(descriptor)
    except OSError as error:
        logger.warning("Cannot evict %s from %r: %s", entry.label, str(item.cached.path), reason(error))
        return False
    if evicted:
        logger.info("Evicted %s from %r: %d bytes", entry.label, str(item.cached.path), item.cached.size)
    return evicted
