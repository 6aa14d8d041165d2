"""Structured concurrency: bounded fan-out, pairs of calls, supervised tasks."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Iterable, Iterator
from itertools import islice
from typing import Any, Final, TypeVar

import anyio
from anyio.lowlevel import checkpoint

T = TypeVar("T")
U = TypeVar("U")


TASKS_PER_TICK: Final = 16
"""Number of tasks to start or resume per event loop iteration. Each may run for a few tenths of a millisecond."""


@contextlib.contextmanager
def unwrapped() -> Iterator[None]:
    """Raise the first exception in an exception group instead of the group itself."""
    try:
        yield
    except BaseExceptionGroup as group:
        first = _first_of(group)
        raise first from first.__cause__


def _first_of(group: BaseExceptionGroup[BaseException]) -> BaseException:
    first = group.exceptions[0]
    return _first_of(first) if isinstance(first, BaseExceptionGroup) else first


async def for_each(items: Iterable[T], work: Callable[[T], Awaitable[None]], *, limit: int) -> None:
    """Run `work` on each item, at most `limit` at a time. Items are consumed lazily and in order.

    The first exception cancels the rest, and is raised without an exception group.
    """
    remaining = iter(items)

    async def worker(item: T) -> None:
        await work(item)
        for following in remaining:
            await work(following)

    with unwrapped():
        async with anyio.create_task_group() as tasks:
            for started, first in enumerate(islice(remaining, limit), 1):
                tasks.start_soon(worker, first)
                if not started % TASKS_PER_TICK:
                    await checkpoint()


async def gather2(first: Callable[[], Awaitable[T]], second: Callable[[], Awaitable[U]]) -> tuple[T, U]:
    """Run two functions concurrently and return both results. If both fail, raise the first function's error."""
    results: dict[int, Any] = {}
    errors: dict[int, Exception] = {}

    async def run(number: int, work: Callable[[], Awaitable[Any]]) -> None:
        try:
            results[number] = await work()
        except Exception as error:
            errors[number] = error

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run, 1, first)
        tasks.start_soon(run, 2, second)
    if errors:
        raise errors[min(errors)]
    return results[1], results[2]


async def supervised(work: Callable[[], Awaitable[T]]) -> T:
    """Run `work` in a child task.

    On its own, a native `Task.cancel()` ignores anyio's shields. With a child task, it cancels the scope of
    that task, which respects shields.
    """
    result: list[T] = []

    async def child() -> None:
        result.append(await work())

    with unwrapped():
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(child)
    return result[0]
