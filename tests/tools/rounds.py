"""Rounds of concurrent requests, to count those in sequence."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import anyio

from aioassets.runtime import batches, threads


class Rounds:
    """Hook that holds requests back until nothing else can continue, and then releases all of them together.

    So a round contains all requests that can run concurrently. The next round contains those that depend on them.

    Attributes:
        sizes: the number of requests in each round.
    """

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self._waiting = 0
        self._next = anyio.Event()

    async def __call__(self, moment: str, method: str, key: str) -> None:
        if moment == "before":
            self._waiting += 1
            await self._next.wait()

    async def count(self, call: Callable[[], Awaitable[Any]]) -> None:
        """Run a call, and count its rounds."""
        task = asyncio.ensure_future(call())
        while not task.done():
            await asyncio.sleep(0)
            if self._waiting and _all_wait():
                self.sizes.append(self._waiting)
                going, self._next, self._waiting = self._next, anyio.Event(), 0
                going.set()
        await task


def _all_wait() -> bool:
    """Return whether this loop and its threads have no work left."""
    ready = asyncio.get_running_loop()._ready  # type: ignore[attr-defined]  # noqa: SLF001 - asyncio doesn't show it
    return not ready and not _threads_at_work()


def _threads_at_work() -> bool:
    running = batches._batches.get(asyncio.get_running_loop())  # noqa: SLF001 - only tests ask for it
    if running is not None and running._running:  # noqa: SLF001 - as above
        return True
    try:
        return threads._limiter.get().borrowed_tokens > 0  # noqa: SLF001 - as above
    except LookupError:
        return False
