"""The lifecycle of an object that belongs to one event loop and can be closed."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import TypeVar

import anyio

from aioassets.errors import ManagerStateError
from aioassets.runtime.tasks import supervised

T = TypeVar("T")

with contextlib.suppress(ImportError):  # otherwise anyio imports it on the event loop, which takes 15 ms
    importlib.import_module("anyio._backends._asyncio")


class Lifecycle:
    """The lifecycle of a manager. All its calls run on one event loop, and none can start once it is closed."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._under_way: set[anyio.Event] = set()
        self._closed = False
        self._pauses: set[anyio.CancelScope] = set()

    @property
    def calls_under_way(self) -> int:
        """The number of calls in progress."""
        return len(self._under_way)

    def check(self) -> None:
        """Bind the manager to the running event loop on the first call.

        Raises:
            ManagerStateError: if the manager is closed or belongs to a different event loop, or none is running.
        """
        if self._closed:
            raise ManagerStateError("This manager is closed. Create a new one.")
        loop = _running_loop()
        if self._loop is None:
            self._loop = loop
        elif self._loop is not loop:
            raise ManagerStateError("This manager belongs to another event loop. Create one manager for each loop.")

    async def run(self, work: Callable[[], Awaitable[T]]) -> T:
        """Run a call in its own task."""
        self.check()
        ended = anyio.Event()
        self._under_way.add(ended)
        try:
            return await supervised(work)
        finally:
            self._under_way.remove(ended)
            ended.set()

    async def each(self, batches: AsyncIterator[Sequence[T]]) -> AsyncIterator[T]:
        """Iterate over the items of all batches. Each batch is produced by a separate call."""
        while (batch := await self.run(lambda: anext(batches, None))) is not None:
            for item in batch:
                yield item

    async def pause(self, sleep: Callable[[float], Awaitable[None]], seconds: float) -> None:
        """Wait between calls.

        Raises:
            ManagerStateError: if the manager is closed in the meantime. The pause then ends early.
        """
        with anyio.CancelScope() as scope:
            self._pauses.add(scope)
            try:
                await sleep(seconds)
            finally:
                self._pauses.remove(scope)
        self.check()

    async def close(self) -> None:
        """Reject further calls, end all pauses, and wait for the calls in progress."""
        self._closed = True
        if self._loop is _running_loop():  # calls on another loop may never end
            for pause in tuple(self._pauses):
                pause.cancel()
            for ended in tuple(self._under_way):
                await ended.wait()


def _running_loop() -> asyncio.AbstractEventLoop:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        raise ManagerStateError(
            "No asyncio event loop is running. Call aioassets inside asyncio.run(); trio isn't supported."
        ) from None
