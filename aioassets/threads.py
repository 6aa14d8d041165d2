"""Blocking work, off the event loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import anyio
import anyio.to_thread
from anyio.lowlevel import RunVar

T = TypeVar("T")

THREADS = 16
"""Threads for reading, hashing and writing files: enough to keep a disk queue busy on few cores."""

_limiter: RunVar[anyio.CapacityLimiter] = RunVar("aioassets_threads")


async def in_thread(work: Callable[..., T], *args: object, abandon_on_cancel: bool = False) -> T:
    """Run `work(*args)` in a worker thread, on a limiter of our own.

    anyio's default limiter is shared with the whole application, whose slow threads
    would stall transfers (and ours its).

    Args:
        abandon_on_cancel: leave the thread to itself when cancelled; only for work
            that changes nothing.
    """
    try:
        limiter = _limiter.get()
    except LookupError:
        limiter = anyio.CapacityLimiter(THREADS)
        _limiter.set(limiter)
    return await anyio.to_thread.run_sync(work, *args, limiter=limiter, abandon_on_cancel=abandon_on_cancel)
