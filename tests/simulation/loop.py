"""Event loop in virtual time, on which single processes can pause or die."""

from __future__ import annotations

import asyncio
import contextvars
import heapq
import itertools
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar
from typing import Any, Final

BUSY_TURNS: Final = 24
"""Iterations in a row without advancing the time. More of them are a busy wait, as of cancelled task groups."""
ENDLESS: Final = 100_000
"""Iterations in a row without a timer after which the loop is stuck."""


class Lane:
    """Callbacks of one process.

    Attributes:
        is_dead: whether the process is dead, so that they never run again.
        is_paused: whether the process is paused.
    """

    def __init__(self) -> None:
        self.is_dead = False
        self.is_paused = False
        self.waiting: list[_Handle] = []


LANE: Final[ContextVar[Lane | None]] = ContextVar("simulation_lane", default=None)
"""The running process; unset in the store and in the driver of the simulation."""
OUTSIDE: Final = Context()
"""Context of callbacks that belong to no process."""


class _Handle:
    """Scheduled callback."""

    __slots__ = ("_args", "_callback", "_cancelled", "_context", "_when", "lane")

    def __init__(
        self, callback: Callable[..., Any], args: tuple[Any, ...], context: Context | None, when: float
    ) -> None:
        self._callback = callback
        self._args = args
        self._context = contextvars.copy_context() if context is None else context
        self._when = when
        self._cancelled = False
        self.lane = self._context.get(LANE)

    def cancel(self) -> None:
        self._cancelled = True

    def cancelled(self) -> bool:
        return self._cancelled

    def when(self) -> float:
        return self._when

    def run(self) -> None:
        lane = self.lane
        if self._cancelled:
            return
        if lane is not None and (lane.is_paused or lane.is_dead):
            lane.waiting.append(self)
        else:
            self._context.run(self._callback, *self._args)


class _Task(asyncio.Task[Any]):
    """Task with a deterministic hash, so that sets of tasks have the same order in each run."""

    def __init__(self, number: int, coro: Coroutine[Any, Any, Any], **options: Any) -> None:
        self.number = number
        super().__init__(coro, **options)

    def __hash__(self) -> int:
        return self.number


class VirtualLoop(asyncio.AbstractEventLoop):
    """Event loop whose time advances only if no callback is ready."""

    def __init__(self) -> None:
        self._now = 0.0
        self._ready: deque[_Handle] = deque()
        self._timers: list[tuple[float, int, _Handle]] = []
        self._numbers = itertools.count()
        self._tasks = itertools.count()
        self.errors: list[dict[str, Any]] = []

    def run(self, until: Callable[[], bool], *, limit: float) -> None:
        """Run until a condition holds, no callback is left, or the time limit is reached."""
        asyncio._set_running_loop(self)  # noqa: SLF001 - asyncio's function for event loops
        turns = total = 0
        try:
            while not until():
                if self._ready and turns < BUSY_TURNS:
                    turns += 1
                    total += 1
                elif self._timers and self._timers[0][0] <= limit:
                    when, _, handle = heapq.heappop(self._timers)
                    if handle.cancelled():
                        continue
                    self._now = max(self._now, when)
                    self._ready.append(handle)
                    turns = total = 0
                elif not self._ready or total > ENDLESS:
                    return
                else:
                    total += 1
                for _ in range(len(self._ready)):
                    self._ready.popleft().run()
        finally:
            asyncio._set_running_loop(None)  # noqa: SLF001 - as above

    def pause(self, lane: Lane, seconds: float) -> None:
        """Pause a process."""
        lane.is_paused = True
        self.call_at(self._now + seconds, self._resume, lane, context=OUTSIDE)

    def wake(self, lane: Lane) -> None:
        """Resume a process, even a dead one, to take it down at the end."""
        lane.is_dead = False
        self._resume(lane)

    def _resume(self, lane: Lane) -> None:
        lane.is_paused = False
        self._ready.extend(lane.waiting)
        lane.waiting.clear()

    def time(self) -> float:
        return self._now

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> Any:
        handle = _Handle(callback, args, context, self._now)
        self._ready.append(handle)
        return handle

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> Any:
        handle = _Handle(callback, args, context, when)
        heapq.heappush(self._timers, (when, next(self._numbers), handle))
        return handle

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> Any:
        return self.call_at(self._now + delay, callback, *args, context=context)

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(self, coro: Any, **options: Any) -> asyncio.Task[Any]:
        return _Task(next(self._tasks), coro, loop=self, **options)

    def get_task_factory(self) -> None:
        """Return `None`: `create_task` creates all tasks."""

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return False

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Record an unhandled error."""
        self.errors.append(context)
