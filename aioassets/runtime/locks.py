"""A lock for each key."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Hashable

import anyio


class KeyedLock:
    """One at a time for each key, first come, first served; what nobody uses is forgotten."""

    def __init__(self) -> None:
        self._locks: dict[Hashable, tuple[anyio.Lock, int]] = {}

    @contextlib.asynccontextmanager
    async def holding(self, key: Hashable) -> AsyncIterator[None]:
        """Wait until all that came before with this key are through."""
        lock, users = self._locks.get(key, (anyio.Lock(), 0))
        self._locks[key] = (lock, users + 1)
        try:
            async with lock:
                yield
        finally:
            lock, users = self._locks.pop(key)
            if users > 1:
                self._locks[key] = (lock, users - 1)
