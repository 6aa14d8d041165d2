"""Graceful cancellation: work is asked to stop, and gets time to clean up."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Awaitable, Callable, Iterator
from contextvars import ContextVar
from typing import Final

import anyio

from aioassets.runtime.tasks import T, unwrapped

GRACE: Final = 5.0
"""Default seconds for cleaning up."""
CLEANUP_SHARE: Final = 0.75
"""Share of the grace period in which stopped work must clean up after its requests."""


class Stopped(Exception):
    """Exception that ends work after a stop was requested. It never leaves this package."""


class StopSignal:
    """Request to work to stop within a grace period.

    Args:
        grace: seconds that the work may take after the request.
    """

    def __init__(self, grace: float) -> None:
        self._grace = grace
        self._requested_at: float | None = None
        self._bounded: list[tuple[anyio.CancelScope, float]] = []

    @property
    def requested(self) -> bool:
        """Whether the work should stop."""
        return self._requested_at is not None

    def check(self) -> None:
        """Raise `Stopped` if the work should stop."""
        if self.requested:
            raise Stopped

    def request(self) -> None:
        """Ask the work to stop."""
        self._requested_at = anyio.current_time()
        for scope, share in self._bounded:
            scope.deadline = min(scope.deadline, self._requested_at + share * self._grace)

    @contextlib.contextmanager
    def bounded(
        self, share: float = 1.0, *, limit: float = math.inf, shield: bool = False
    ) -> Iterator[anyio.CancelScope]:
        """Return a scope that is cancelled at this share of the grace period, once a stop is requested.

        Args:
            share: the share of the grace period.
            limit: seconds after which the scope is cancelled in any case.
            shield: whether to shield the scope from outer cancellation.
        """
        scope = anyio.CancelScope(deadline=anyio.current_time() + limit, shield=shield)
        if self._requested_at is not None:
            scope.deadline = min(scope.deadline, self._requested_at + share * self._grace)
        entry = (scope, share)
        self._bounded.append(entry)
        try:
            with scope:
                yield scope
        finally:
            self._bounded.remove(entry)


_stop: ContextVar[StopSignal | None] = ContextVar("aioassets_stop", default=None)


def cleanup_scope() -> contextlib.AbstractContextManager[object]:
    """Return a shielded scope for cleaning up, of at most 5 seconds, or less in work that was asked to stop."""
    return (_stop.get() or StopSignal(GRACE)).bounded(CLEANUP_SHARE, limit=GRACE, shield=True)


async def stoppable(work: Callable[[StopSignal], Awaitable[T]], *, grace: float = GRACE) -> T:
    """Run `work` shielded from cancellation. If cancelled, ask it to stop, and raise the cancellation after its end.

    The work limits its phases with `StopSignal.bounded`, cleans up and raises `Stopped`. Nested calls
    take no longer than the outer one may.

    Args:
        grace: seconds between the cancellation and the end of the last bounded phase.
    """
    stop = StopSignal(grace)
    around = _stop.get()
    result: list[T] = []

    async def watch() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            stop.request()

    async def shielded(watching: anyio.CancelScope) -> None:
        within = around.bounded(CLEANUP_SHARE) if around is not None else contextlib.nullcontext()
        with anyio.CancelScope(shield=True), contextlib.suppress(Stopped), within:
            _stop.set(stop)
            result.append(await work(stop))
        watching.cancel()

    with unwrapped():
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(watch)
            tasks.start_soon(shielded, tasks.cancel_scope)
    return result[0]
