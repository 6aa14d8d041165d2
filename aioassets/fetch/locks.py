"""Locks for versions in the assets directory."""

from __future__ import annotations

import contextlib
import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Final, Protocol

import anyio

from aioassets.runtime.locks import KeyedLock
from aioassets.runtime.threads import in_thread

logger = logging.getLogger(__name__)

POLL: Final = 0.05
"""Average number of seconds between attempts to take a lock that another process holds."""


class Lockable(Protocol):
    """A version in the assets directory, or another place that has a lock file."""

    def __hash__(self) -> int:
        """Return a hash, since locks are identified by their places."""

    @property
    def label(self) -> str:
        """The name for log messages."""

    @property
    def lock_file(self) -> Path:
        """The lock file."""

    def try_lock(self) -> int | None:
        """Try to take the lock. Return a descriptor, or `None` if the lock is already held. Blocking."""

    def unlock(self, descriptor: int) -> None:
        """Release the lock. Blocking."""


class Locks:
    """A set of locks, one for each version. Each lock excludes both other tasks and other processes."""

    def __init__(self) -> None:
        self._locks = KeyedLock()

    @contextlib.asynccontextmanager
    async def holding(
        self, entry: Lockable, *, sleep: Callable[[float], Awaitable[None]], other: str = ""
    ) -> AsyncIterator[None]:
        """Hold a version's lock for the duration of a `with` block. If the process is killed, its locks are released.

        Args:
            entry: the version's entry, or another place with a lock.
            sleep: the function that waits while another process holds the lock.
            other: a description of that process for the log.
        """
        async with self._locks.holding(entry):
            descriptor = await _acquire(entry, sleep, other or f"another fetch of {entry.label}")
            try:
                yield
            finally:
                with anyio.CancelScope(shield=True):
                    await in_thread(entry.unlock, descriptor)


async def _acquire(entry: Lockable, sleep: Callable[[float], Awaitable[None]], other: str) -> int:
    descriptor = await in_thread(entry.try_lock)
    if descriptor is None:
        logger.info("Waiting for %s, which holds the lock %r", other, str(entry.lock_file))
    while descriptor is None:
        await sleep(POLL * (0.5 + random.random()))  # noqa: S311 - so that waiters don't retry in step
        descriptor = await in_thread(entry.try_lock)
    return descriptor
