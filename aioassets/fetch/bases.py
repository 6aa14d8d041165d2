"""Bases: other cached versions of an asset, whose files may be reused."""

from __future__ import annotations

import os
from dataclasses import dataclass

from aioassets.fetch.deltas import CachedVersion
from aioassets.fetch.directory import complete_versions, partial_versions
from aioassets.fetch.entry import CacheEntry


@dataclass(frozen=True, slots=True)
class Base:
    """Another cached version of the asset, or its individual files, whose files may be reused.

    Methods block, and may raise `OSError`.

    Attributes:
        entry: the entry for the version.
        is_partial: whether only individual files are cached.
        recorded_at: the modification time of its record in nanoseconds.
        record_bytes: the size of its record in bytes.
    """

    entry: CacheEntry
    is_partial: bool
    recorded_at: int
    record_bytes: int

    @classmethod
    def all_for(cls, entry: CacheEntry) -> list[Base]:
        """Return the bases in the same store's folder, most recently recorded first."""
        whole = ((version, False) for version in complete_versions(entry.root, entry.name))
        partial = ((version, True) for version in partial_versions(entry.root, entry.name))
        others = ((version, is_partial) for version, is_partial in (*whole, *partial) if version != entry.version)
        bases = (cls._of(CacheEntry(entry.root, entry.name, version), is_partial) for version, is_partial in others)
        return sorted(filter(None, bases), key=lambda base: base.recorded_at, reverse=True)

    @classmethod
    def _of(cls, entry: CacheEntry, is_partial: bool) -> Base | None:
        try:
            found = os.stat(entry.parts_record_file if is_partial else entry.record_file)
        except OSError:  # it was evicted
            return None
        return cls(entry, is_partial, found.st_mtime_ns, found.st_size)

    def read(self) -> CachedVersion | None:
        """Read the record, or return `None` if the version isn't cached any more. Its files may be damaged."""
        record = self.entry.parts_record() if self.is_partial else self.entry.record()
        if record is None:
            return None
        root = self.entry.parts_of(record) if self.is_partial else self.entry.payload_of(record.payload)
        return CachedVersion(self.entry.version, root, record.manifest)
