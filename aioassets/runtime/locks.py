"""Locks that are identified by keys."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Hashable

import anyio


class KeyedLock:
    """A set of fair locks, one for each key. Unused locks are removed."""

    def __init__(self) -> None:
        self._locks: dict[Hashable, tuple[anyio.Lock, int]] = {}

    @contextlib.asynccontextmanager
    async def holding(self, key: Hashable) -> AsyncIterator[None]:
        """Hold the lock for a key for the duration of a `with` block."""
        lock, users = self._locks.get(key, (anyio.Lock(), 0))
        self._locks[key] = (lock, users + 1)
        try:
            async with lock:
                yield
        finally:
            lock, users = self._locks.pop(key)
            if users > 1:
                self._locks[key] = (lock, users - 1)
