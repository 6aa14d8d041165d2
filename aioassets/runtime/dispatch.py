"""Sending requests within the budget, and repeating them where that is safe."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sized
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TypeVar

from aioassets.errors import AioAssetsError, StoreUnavailable
from aioassets.runtime.budget import Budget
from aioassets.runtime.effects import Effects
from aioassets.runtime.retry import RetryPolicy, Tries

__all__ = ["Dispatcher"]

T = TypeVar("T")
C = TypeVar("C", bound=Sized)


@dataclass(slots=True)
class Doubt:
    """Whether a request was sent whose effect isn't known, also where a later try of it succeeded.

    Attributes:
        arisen: whether there was one.
    """

    arisen: bool = False


_doubt: ContextVar[Doubt | None] = ContextVar("aioassets_doubt", default=None)


@contextlib.contextmanager
def watching_for_doubt() -> Iterator[Doubt]:
    """Watch all requests that are sent in this block, and in the tasks that it starts."""
    doubt = Doubt()
    token = _doubt.set(doubt)
    try:
        yield doubt
    finally:
        _doubt.reset(token)


class Dispatcher:
    """Sends requests within a budget, and again where that is safe.

    Args:
        budget: shared by everything that must stay within one limit.
        retry: when to try again.
    """

    def __init__(self, budget: Budget | None = None, retry: RetryPolicy | None = None) -> None:
        self.budget = budget or Budget()
        self.retry = retry or RetryPolicy()

    async def send(
        self,
        request: Callable[[], Awaitable[T]],
        *,
        nbytes: int = 0,
        urgent: bool = False,
        effects: Effects | None = None,
    ) -> T:
        """Send a request that may be repeated, holding its share of the budget only while it is under way.

        Args:
            request: sends it once; raises `StoreUnavailable` where another try may help.
            nbytes: the bytes that it keeps in memory.
            urgent: whether it may use the reserved requests (documents and cleaning up).
            effects: record to note each attempt with an unknown effect in, even if a later one succeeds.

        Raises:
            AioAssetsError: the last failure, `uncertain` where any attempt may have taken effect.
        """
        tries = Tries(self.retry)
        uncertain = False
        while True:
            try:
                async with self.budget.slot(nbytes, urgent=urgent):
                    return await request()
            except AioAssetsError as error:
                if effects is not None:
                    effects.note_error(error)
                uncertain = error.uncertain = uncertain or error.uncertain
                if uncertain and (doubt := _doubt.get()) is not None:
                    doubt.arisen = True
                if not isinstance(error, StoreUnavailable):
                    raise
                pause = tries.pause_after(error)
                if pause is None:
                    raise
            await self.retry.sleep(pause)

    async def stream(
        self, open_at: Callable[[int], AsyncGenerator[C, None]], start: int, stop: int
    ) -> AsyncGenerator[C, None]:
        """Stream a range that can be resumed where it broke.

        Args:
            open_at: streams from an offset up to `stop`; raises `StoreUnavailable` where it breaks.
        """
        tries = Tries(self.retry)
        offset = start
        while True:
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
                pause = tries.pause_after(error)
                if pause is None:
                    raise
            await self.retry.sleep(pause)
