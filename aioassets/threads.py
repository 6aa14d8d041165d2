"""Blocking work, off the event loop; a call that is cancelled leaves no thread at work behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final, TypeVar

import anyio
import anyio.from_thread
import anyio.to_thread
from anyio.lowlevel import RunVar

T = TypeVar("T")

THREADS = 16
"""Threads for reading, hashing and writing files: enough to keep a disk queue busy on few cores."""
POLL: Final = 0.05
"""Seconds after which a loop in a thread looks whether it is still wanted."""

_limiter: RunVar[anyio.CapacityLimiter] = RunVar("aioassets_threads")


async def in_thread(work: Callable[..., T], *args: object) -> T:
    """Run `work(*args)` in a worker thread, on a limiter of our own; when cancelled, wait for its end.

    anyio's default limiter is shared with the whole application, whose slow threads
    would stall transfers (and ours its). Work that may take long calls `check_cancelled`.
    """
    try:
        limiter = _limiter.get()
    except LookupError:
        limiter = anyio.CapacityLimiter(THREADS)
        _limiter.set(limiter)
    return await anyio.to_thread.run_sync(work, *args, limiter=limiter)


@contextlib.asynccontextmanager
async def opened(opening: Callable[[], int], closing: Callable[[int], None] = os.close) -> AsyncIterator[int]:
    """A file that is opened and closed in threads; yields its descriptor."""
    descriptor = await in_thread(opening)
    try:
        yield descriptor
    finally:
        with anyio.CancelScope(shield=True):
            await in_thread(closing, descriptor)


def check_cancelled() -> None:
    """In a worker thread, end its work if the call is cancelled that it is for."""
    with contextlib.suppress(RuntimeError):  # in another thread, nobody is to say so
        anyio.from_thread.check_cancelled()


def run_async(work: Callable[[], Awaitable[T]]) -> T:
    """In a worker thread, run a coroutine that may block on a loop of its own; ends as by `check_cancelled`."""

    async def watched() -> T:
        task = asyncio.ensure_future(work())
        while not task.done():
            check_cancelled()
            await asyncio.wait([task], timeout=POLL)
        return task.result()

    return asyncio.run(watched())
