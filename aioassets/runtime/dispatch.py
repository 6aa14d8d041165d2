"""Sending requests within the budget, with retries."""

from __future__ import annotations

import contextlib
import logging
import math
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Sized
from functools import partial
from typing import Any, Final, TypeVar

from aioassets.errors import AioAssetsError, StoreUnavailable
from aioassets.runtime.budget import MAX_REQUESTS, Budget
from aioassets.runtime.descriptors import fitting
from aioassets.runtime.effects import Effects
from aioassets.runtime.retry import RetryPolicy, Tries

__all__ = ["Dispatcher"]

logger = logging.getLogger(__name__)

T = TypeVar("T")
C = TypeVar("C", bound=Sized)

WARN_EVERY: Final = 5.0
"""Minimum number of seconds between warnings about retries. Retries in between are logged at INFO."""


class Dispatcher:
    """Sends requests within a budget, and retries them.

    Args:
        budget: the budget that the requests share. The default is adapted to the limit on open files.
        retry: the retry policy.

    Attributes:
        stream_memory: the limit on bytes of streams that are kept in memory because they can't be read again. It is
            separate from the budget, because reading a stream may need the budget. See ADR 0042.
    """

    def __init__(self, budget: Budget | None = None, retry: RetryPolicy | None = None) -> None:
        self.budget = budget or Budget(fitting(MAX_REQUESTS))
        self.retry = retry or RetryPolicy()
        self.stream_memory = Budget(sys.maxsize, self.budget.max_bytes)
        self._warned_at = -math.inf

    async def send(
        self,
        request: Callable[[], Awaitable[T]],
        *,
        nbytes: int = 0,
        urgent: bool = False,
        effects: Effects | None = None,
    ) -> T:
        """Send a request that is safe to retry. Its share of the budget is released between attempts.

        Args:
            request: a function that sends the request once, and raises `StoreUnavailable` if a retry may succeed.
            nbytes: the number of bytes that the request keeps in memory.
            urgent: whether to use the part of the budget that is reserved for documents and cleaning up.
            effects: where to record attempts whose effect is unknown, even if a later attempt succeeds.

        Raises:
            AioAssetsError: if the last attempt failed. `uncertain` refers only to that attempt.
        """
        tries = Tries(self.retry)
        while True:
            if logger.isEnabledFor(logging.DEBUG):
                logger.debug("Sending %s (%d bytes, attempt %d)", _name_of(request), nbytes, tries.failed + 1)
            try:
                async with self.budget.slot(nbytes, urgent=urgent):
                    return await request()
            except AioAssetsError as error:
                if effects is not None:
                    effects.note_error(error)
                if not isinstance(error, StoreUnavailable):
                    raise
                pause = self._pause_after(error, tries)
                if pause is None:
                    raise
            await self.retry.sleep(pause)

    async def stream(
        self, open_at: Callable[[int], AsyncGenerator[C, None]], start: int, stop: int
    ) -> AsyncGenerator[C, None]:
        """Stream a range of bytes. After a failure, resume at the first byte that is still missing.

        Args:
            open_at: a function that streams from an offset up to `stop`, and raises `StoreUnavailable` if that fails.
            start: the offset of the first byte.
            stop: the offset after the last byte.
        """
        tries = Tries(self.retry)
        offset = start
        while True:
            if logger.isEnabledFor(logging.DEBUG):
                logger.debug("Opening %s (bytes %d to %d)", _name_of(open_at), offset, stop)
            try:
                async with self.budget.slot(stop - offset), contextlib.aclosing(open_at(offset)) as chunks:
                    async for chunk in chunks:
                        offset += len(chunk)
                        tries.succeed()
                        yield chunk
                return
            except StoreUnavailable as error:
                if offset >= stop:
                    return
                pause = self._pause_after(error, tries)
                if pause is None:
                    raise
            await self.retry.sleep(pause)

    def _pause_after(self, error: StoreUnavailable, tries: Tries) -> float | None:
        """Count and log a failure, and return the seconds to wait before the next attempt, or `None` to give up."""
        pause = tries.pause_after(error)
        if pause is not None:
            logger.log(self._level(error), "Attempt %d failed, retrying in %.2f s: %s", tries.failed, pause, error)
        elif tries.failed > 1:
            logger.warning("Giving up after %d attempts: %s", tries.failed, error)
        return pause

    def _level(self, error: StoreUnavailable) -> int:
        """Return the log level for a retry. Requests may fail by the hundreds, so only some retries are warnings."""
        now = self.retry.clock()
        if error.throttled or now - self._warned_at < WARN_EVERY:
            return logging.INFO
        self._warned_at = now
        return logging.WARNING


def _name_of(request: Any) -> str:
    """Return the name of the function that sends a request, without its arguments, which may contain secrets."""
    while isinstance(request, partial):
        request = request.func
    return str(getattr(request, "__qualname__", type(request).__qualname__))
