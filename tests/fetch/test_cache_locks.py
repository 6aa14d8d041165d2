"""Locks in the assets directory leave nothing behind, and are never held twice."""

from __future__ import annotations

import os
from pathlib import Path

from aioassets.fetch.entry import CacheEntry


def test_a_lock_that_was_given_back_leaves_no_file(tmp_path: Path) -> None:
    slot = CacheEntry(tmp_path, "model", "0.0")
    descriptor = slot.try_lock()
    assert descriptor is not None
    assert slot.try_lock() is None
    slot.unlock(descriptor)
    assert not list(tmp_path.rglob("*.lock"))


def test_a_lock_whose_file_is_gone_is_not_the_lock(tmp_path: Path) -> None:
    """Whoever opened the file before it was removed holds something that nobody else looks at."""
    slot = CacheEntry(tmp_path, "model", "0.0")
    opened = os.open

    def slowly(path: Path, *args: int) -> int:
        descriptor = opened(path, *args)
        if not removed:
            removed.append(path)
            os.unlink(path)  # by a holder that gives it back between the two
        return descriptor

    removed: list[Path] = []
    os.open = slowly  # type: ignore[assignment]
    try:
        first = slot.try_lock()
    finally:
        os.open = opened
    assert first is not None
    assert removed
    assert slot.try_lock() is None
    slot.unlock(first)
