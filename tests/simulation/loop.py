"""An event loop in virtual time, on which single processes can stand still or die."""

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
"""Turns in which no time passes. More in a row wait for something in a busy loop, as cancelled task groups do."""
ENDLESS: Final = 100_000
"""Turns in a row without a timer after which the loop is stuck."""


class Lane:
    """The callbacks of one process.

    Attributes:
        is_dead: whether they will never run again.
        is_paused: whether they wait.
    """

    def __init__(self) -> None:
        self.is_dead = False
        self.is_paused = False
        self.waiting: list[_Handle] = []


LANE: Final[ContextVar[Lane | None]] = ContextVar("simulation_lane", default=None)
"""The process that runs; none for the store and for what drives the simulation."""
OUTSIDE: Final = Context()
"""The context of what belongs to no process."""


class _Handle:
    """A callback that waits for its turn."""

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
    """A task whose place in a set is the same in each run."""

    def __init__(self, number: int, coro: Coroutine[Any, Any, Any], **options: Any) -> None:
        self.number = number
        super().__init__(coro, **options)

    def __hash__(self) -> int:
        return self.number


class VirtualLoop(asyncio.AbstractEventLoop):
    """An event loop on which time passes only while nobody has anything to do."""

    def __init__(self) -> None:
        self._now = 0.0
        self._ready: deque[_Handle] = deque()
        self._timers: list[tuple[float, int, _Handle]] = []
        self._numbers = itertools.count()
        self._tasks = itertools.count()
        self.errors: list[dict[str, Any]] = []

    def run(self, until: Callable[[], bool], *, limit: float) -> None:
        """Run until a condition holds, nothing is left to do, or the time is up."""
        asyncio._set_running_loop(self)
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
            asyncio._set_running_loop(None)

    def pause(self, lane: Lane, seconds: float) -> None:
        """Let a process stand still."""
        lane.is_paused = True
        self.call_at(self._now + seconds, self._resume, lane, context=OUTSIDE)

    def wake(self, lane: Lane) -> None:
        """Let a process go on, even one that is dead: so it can be taken down when all is over."""
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
        """Tell that tasks are made by `create_task` alone."""

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return False

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Keep what nobody handled."""
        self.errors.append(context)
