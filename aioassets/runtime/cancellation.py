"""Graceful cancellation: an operation is asked to stop and is given time to clean up."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Awaitable, Callable, Iterator
from contextvars import ContextVar
from typing import Final

import anyio

from aioassets.runtime.tasks import T, unwrapped

GRACE: Final = 5.0
"""Default number of seconds for cleaning up."""
CLEANUP_SHARE: Final = 0.75
"""Share of the grace period in which a stopped operation must clean up after its requests."""


class Stopped(Exception):
    """Raised to end an operation after a stop was requested. Users of the package never see it."""


class StopSignal:
    """A signal that asks an operation to stop within a grace period.

    Args:
        grace: the number of seconds that the operation may still take after it has been asked to stop.
    """

    def __init__(self, grace: float) -> None:
        self._grace = grace
        self._requested_at: float | None = None
        self._bounded: list[tuple[anyio.CancelScope, float]] = []

    @property
    def requested(self) -> bool:
        """Whether the operation should stop."""
        return self._requested_at is not None

    def check(self) -> None:
        """Raise `Stopped` if the operation should stop."""
        if self.requested:
            raise Stopped

    def request(self) -> None:
        """Ask the operation to stop."""
        self._requested_at = anyio.current_time()
        for scope, share in self._bounded:
            scope.deadline = min(scope.deadline, self._requested_at + share * self._grace)

    @contextlib.contextmanager
    def bounded(
        self, share: float = 1.0, *, limit: float = math.inf, shield: bool = False
    ) -> Iterator[anyio.CancelScope]:
        """Return a scope that, once a stop is requested, is cancelled after a share of the grace period.

        Args:
            share: the share of the grace period.
            limit: the number of seconds after which the scope is cancelled in any case.
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
    """Return a shielded scope for cleaning up. It lasts at most 5 seconds, or less if a stop has been requested."""
    return (_stop.get() or StopSignal(GRACE)).bounded(CLEANUP_SHARE, limit=GRACE, shield=True)


async def stoppable(work: Callable[[StopSignal], Awaitable[T]], *, grace: float = GRACE) -> T:
    """Run `work` shielded from cancellation. If cancelled, ask `work` to stop, wait for it to end, and re-raise.

    `work` should limit its phases with `StopSignal.bounded`, clean up and raise `Stopped`. A nested call never
    takes longer than the outer call allows.

    Args:
        work: the operation, which receives the signal that asks it to stop.
        grace: the number of seconds from the cancellation to the end of the last bounded phase.
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


async def uninterrupted(work: Callable[[StopSignal], Awaitable[T]], *, grace: float = GRACE) -> T:
    """Run `work` to its end, even if it is cancelled, but then for no longer than the grace period.

    Args:
        work: the operation. It may use the signal to stop earlier.
        grace: the number of seconds that it may take after the cancellation.
    """

    async def bounded(stop: StopSignal) -> T:
        stop.check()
        with stop.bounded():
            return await work(stop)
        raise Stopped

    return await stoppable(bounded, grace=grace)
