"""Harness that ends a call at each of its steps, by counting how often its tasks are resumed."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import ContextVar
from typing import Any, TypeVar

import anyio

T = TypeVar("T")
Call = Callable[[], Awaitable[T]]
End = Callable[[], object]


class _Counted(Coroutine[Any, Any, T]):
    """Coroutine that calls a function whenever it is resumed."""

    def __init__(self, coroutine: Coroutine[Any, Any, T], step: Callable[[], None]) -> None:
        self._coroutine = coroutine
        self._step = step

    def send(self, value: Any) -> Any:
        self._step()
        return self._coroutine.send(value)

    def throw(self, *error: Any) -> Any:
        self._step()
        return self._coroutine.throw(*error)

    def close(self) -> None:
        self._coroutine.close()

    def __await__(self) -> Any:
        return self._coroutine.__await__()

    def __getattr__(self, name: str) -> Any:  # anyio reads the state of coroutines
        return getattr(self._coroutine, name)


async def by_native_cancellation(call: Call[T], begin: Callable[[End], None]) -> T:
    """Cancel the call by `Task.cancel()`."""
    task = asyncio.current_task()
    assert task is not None
    begin(task.cancel)
    return await call()


async def by_scope(call: Call[T], begin: Callable[[End], None]) -> T:
    """Cancel the call by a surrounding cancel scope."""
    with anyio.CancelScope() as scope:
        begin(scope.cancel)
        return await call()
    raise asyncio.CancelledError


async def by_timeout(call: Call[T], begin: Callable[[End], None]) -> T:
    """End the call by `asyncio.timeout`."""
    try:
        async with asyncio.timeout(None) as limit:
            begin(lambda: limit.reschedule(asyncio.get_running_loop().time()))
            return await call()
    except TimeoutError:
        raise asyncio.CancelledError from None


async def by_fail_after(call: Call[T], begin: Callable[[End], None]) -> T:
    """End the call by `anyio.fail_after`."""
    try:
        with anyio.fail_after(None) as scope:
            begin(lambda: setattr(scope, "deadline", anyio.current_time()))
            return await call()
    except TimeoutError:
        raise asyncio.CancelledError from None


WAYS = [by_native_cancellation, by_scope, by_timeout, by_fail_after]
"""Ways to end a call from outside."""


class Ended:
    """Result of a call that was to be ended before its n-th step.

    Attributes:
        in_time: whether it had that many steps.
        cancelled: whether it was ended before it gave a result.
        left: its tasks that were still running after it had ended.
    """

    def __init__(self) -> None:
        self.in_time = False
        self.cancelled = False
        self.left: list[asyncio.Task[Any]] = []


_counts: ContextVar[bool] = ContextVar("counts", default=False)


async def ended_at(
    nth: int,
    call: Call[Any],
    way: Callable[..., Coroutine[Any, Any, Any]] = by_native_cancellation,
    *,
    again: bool = False,
) -> Ended:
    """Run a call, end it before the n-th step of all its tasks, and raise any other error of it.

    A step is the code between two suspensions of any of its tasks. The first step is that of the call itself.

    Args:
        again: end it before each later step as well.
    """
    outcome = Ended()
    loop = asyncio.get_running_loop()
    tasks: list[asyncio.Task[Any]] = []
    left = nth
    end: End | None = None

    def begin(how: End) -> None:
        nonlocal end
        end = how
        _counts.set(True)  # for all tasks that it starts
        step()

    def step() -> None:
        nonlocal left
        if end is None or not _counts.get():
            return
        left -= 1
        if left == 0 or (again and left < 0):
            outcome.in_time = True
            end()

    def factory(loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> asyncio.Task[Any]:
        task = asyncio.Task(_Counted(coroutine, step), loop=loop, **options)
        if _counts.get():
            tasks.append(task)
        return task

    loop.set_task_factory(factory)
    try:
        await loop.create_task(way(call, begin))
    except asyncio.CancelledError:
        outcome.cancelled = True
    finally:
        loop.set_task_factory(None)
    outcome.left = [task for task in tasks if not task.done()]
    return outcome


async def at_each_step(end_at: Callable[[int], Awaitable[Ended]]) -> None:
    """End a call at its first step, at its second step, and so on, until it completes."""
    for nth in itertools.count(1):
        outcome = await end_at(nth)
        if not outcome.in_time:
            assert nth > 1, "it was never to be ended"
            assert not outcome.cancelled
            return
