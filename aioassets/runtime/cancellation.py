"""Work that is asked to stop, and given time to clean up, before it is cancelled."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Awaitable, Callable, Iterator
from contextvars import ContextVar
from typing import Final

import anyio

from aioassets.runtime.tasks import T, unwrapped

GRACE: Final = 5.0
"""Seconds that tidying up may take where nobody says less."""
CLEANUP_SHARE: Final = 0.75
"""The share of the grace after which work that was stopped is done with tidying up behind its requests."""


class Stopped(Exception):
    """Ends work that was asked to stop; never leaves this package."""


class StopSignal:
    """How work that must end in good order learns that it was cancelled.

    Args:
        grace: seconds that it may then still take.
    """

    def __init__(self, grace: float) -> None:
        self._grace = grace
        self._requested_at: float | None = None
        self._bounded: list[tuple[anyio.CancelScope, float]] = []

    @property
    def requested(self) -> bool:
        """Whether the work should end."""
        return self._requested_at is not None

    def check(self) -> None:
        """Raise `Stopped` if the work should end."""
        if self.requested:
            raise Stopped

    def request(self) -> None:
        """Ask the work to end."""
        self._requested_at = anyio.current_time()
        for scope, share in self._bounded:
            scope.deadline = min(scope.deadline, self._requested_at + share * self._grace)

    @contextlib.contextmanager
    def bounded(
        self, share: float = 1.0, *, limit: float = math.inf, shield: bool = False
    ) -> Iterator[anyio.CancelScope]:
        """A phase that, once the work should end, is cut off after this share of the grace.

        Args:
            share: of the grace.
            limit: seconds after which it is cut off in any case.
            shield: whether it goes on when what is around it is cancelled.
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
    """A phase that goes on when cancelled, for 5 s at the most, and less within work that was stopped."""
    return (_stop.get() or StopSignal(GRACE)).bounded(CLEANUP_SHARE, limit=GRACE, shield=True)


async def stoppable(work: Callable[[StopSignal], Awaitable[T]], *, grace: float = GRACE) -> T:
    """Run `work` shielded from cancellation; when it comes, ask it to stop instead.

    The work bounds its own phases by `StopSignal.bounded`, cleans up and raises `Stopped`; the
    cancellation is raised after that. Within other such work, it takes no longer than that one may.

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
