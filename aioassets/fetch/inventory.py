"""Inventory of the assets directory: the cached versions, and the bytes that downloads have reserved."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from aioassets.fetch.directory import OWN_FOLDER, PARTS, all_recorded_versions, all_staging_folders
from aioassets.fetch.entry import CacheEntry
from aioassets.fetch.leases import settle
from aioassets.fetch.origin import all_folders
from aioassets.fetch.record import RecordHead
from aioassets.fetch.staging import reserved_bytes
from aioassets.fetch.usage import Usage, modified_at, unix_time, usage_in
from aioassets.runtime.clocks import utc

__all__ = ["CachedVersion"]


@dataclass(frozen=True, slots=True)
class CachedVersion:
    """A version in the cache, or the individual files of a version that were fetched.

    Attributes:
        store: the identity of the store that it came from: the bucket's URL, the prefix and, if needed, the endpoint.
        name: the asset's name.
        version: the version.
        path: the file or directory.
        size: the size of its files in bytes. Individual files that the whole version shares aren't counted.
        files: the number of its files.
        last_used: the time in UTC at which a fetch last returned it, or at which a process last held it.
        held: whether a live process holds it, so that it isn't evicted.
        partial: whether only individual files are cached.
    """

    store: str
    name: str
    version: str
    path: Path
    size: int
    files: int
    last_used: datetime
    held: bool
    partial: bool


@dataclass(frozen=True, slots=True)
class Stock:
    """A cached version and its place in the assets directory.

    Attributes:
        entry: the entry for the version.
        cached: the description of the version.
    """

    entry: CacheEntry
    cached: CachedVersion


@dataclass(frozen=True, slots=True)
class Inventory:
    """The contents of an assets directory.

    Attributes:
        stock: the cached versions, least recently used first.
        reserved: the number of bytes that downloads in progress have reserved.
        dead_leases: the leases of processes that have ended.
    """

    stock: tuple[Stock, ...]
    reserved: int
    dead_leases: tuple[Path, ...]

    @classmethod
    def of(cls, assets_dir: Path) -> Inventory:
        """Take an inventory of an assets directory. Blocking."""
        settle()
        stock: list[Stock] = []
        dead: list[Path] = []
        reserved = 0
        for root in all_folders(assets_dir):
            usages: dict[str, dict[str, Usage]] = {}
            for name, version, is_partial in all_recorded_versions(root):
                if name not in usages:
                    usages[name] = usage_in(root / OWN_FOLDER / name)
                    dead += [lease for usage in usages[name].values() for lease in usage.dead]
                entry = CacheEntry(root, name, version)
                cached = _described(entry, usages[name].get(version, Usage()), is_partial=is_partial)
                stock += [] if cached is None else [Stock(entry, cached)]
            reserved += sum(reserved_bytes(folder, unix_time()) for folder in all_staging_folders(root))
        # Individual files may be hard links to those of the whole version, whose eviction alone would free nothing.
        stock.sort(key=lambda item: (item.cached.last_used, not item.cached.partial))
        return cls(tuple(stock), reserved, tuple(dead))

    @property
    def size(self) -> int:
        """The size of all cached versions in bytes."""
        return sum(item.cached.size for item in self.stock)


def _described(entry: CacheEntry, usage: Usage, *, is_partial: bool) -> CachedVersion | None:
    """Return the description of a cached version, or `None` if it has been removed."""
    head = entry.head(is_partial=is_partial)
    recorded = modified_at(entry.parts_record_file if is_partial else entry.record_file)
    if head is None or recorded is None:
        return None
    path = entry.own_path(head.payload or PARTS) if is_partial else entry.payload_of(head.payload)
    if not path.exists():
        return None
    files, size = _measured(path, head, is_partial=is_partial)
    return CachedVersion(
        store=head.source,
        name=entry.name,
        version=entry.version,
        path=path,
        size=size,
        files=files,
        last_used=utc(max(usage.last_used, recorded)),
        held=usage.is_held,
        partial=is_partial,
    )


def _measured(path: Path, head: RecordHead, *, is_partial: bool) -> tuple[int, int]:
    """Return the number of files and their size in bytes."""
    if not is_partial and head.files is not None and head.size is not None:
        return head.files, head.size
    found = list(_files_below(path))
    return len(found), sum(file.st_size for file in found if not (is_partial and file.st_nlink > 1))


def _files_below(path: Path) -> Iterator[os.stat_result]:
    if path.is_file():
        yield path.stat()
    for base, _, names in os.walk(path):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                yield os.lstat(os.path.join(base, name))
