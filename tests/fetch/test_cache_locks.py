"""Locks of the assets directory: one holder at a time, and no files left."""

from __future__ import annotations

import os
from pathlib import Path

from aioassets.fetch.entry import CacheEntry


def test_unlock_removes_the_lock_file(tmp_path: Path) -> None:
    entry = CacheEntry(tmp_path, "model", "0.0")
    descriptor = entry.try_lock()
    assert descriptor is not None
    assert entry.try_lock() is None
    entry.unlock(descriptor)
    assert not list(tmp_path.rglob("*.lock"))


def test_a_lock_on_a_removed_file_is_taken_again(tmp_path: Path) -> None:
    """A lock on a file that its last holder has just removed would exclude no other process."""
    entry = CacheEntry(tmp_path, "model", "0.0")
    opened = os.open

    def open_and_lose(path: Path, *args: int) -> int:
        descriptor = opened(path, *args)
        if not removed:
            removed.append(path)
            os.unlink(path)  # its holder releases the lock
        return descriptor

    removed: list[Path] = []
    os.open = open_and_lose  # type: ignore[assignment]
    try:
        first = entry.try_lock()
    finally:
        os.open = opened
    assert first is not None
    assert removed
    assert entry.try_lock() is None
    entry.unlock(first)
