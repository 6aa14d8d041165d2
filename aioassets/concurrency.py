"""Structured concurrency: fan-out, and work that is asked to stop before it is made to."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Iterable, Iterator
from contextvars import ContextVar
from itertools import islice
from typing import Any, Final, TypeVar

import anyio
from anyio.lowlevel import checkpoint

T = TypeVar("T")
U = TypeVar("U")

GRACE: Final = 5.0
"""Seconds that tidying up may take where nobody says less."""
TIDYING: Final = 0.75
"""The share of the grace after which work that was stopped is done with tidying up behind its requests."""


AT_ONCE: Final = 16
"""Tasks that are started, or let go on, in one turn of the loop: each may be some tenths of a millisecond of work."""


class Stopped(Exception):
    """Ends work that was asked to stop; never leaves this package."""


@contextlib.contextmanager
def unwrapped() -> Iterator[None]:
    """Let an exception group of a task group pass as its first exception that isn't a cancellation."""
    try:
        yield
    except BaseExceptionGroup as group:
        first = _first_of(group)
        raise first from first.__cause__


def _first_of(group: BaseExceptionGroup[BaseException]) -> BaseException:
    first = group.exceptions[0]
    return _first_of(first) if isinstance(first, BaseExceptionGroup) else first


async def for_each(items: Iterable[T], work: Callable[[T], Awaitable[None]], *, limit: int) -> None:
    """Run `work` on each item, at most `limit` at a time; items are taken lazily, in order.

    The first exception cancels the rest and is raised as it is.
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
                if not started % AT_ONCE:
                    await checkpoint()


class Pacer:
    """Does some things in one turn of the loop and leaves the rest to the next ones, so that others have theirs."""

    def __init__(self) -> None:
        self._waiting: deque[Callable[[], None]] = deque()
        self._scheduled = False

    def add(self, action: Callable[[], None]) -> None:
        """Do this as soon as it has its turn, perhaps now."""
        self._waiting.append(action)
        if not self._scheduled:
            self._do_some()

    def _do_some(self) -> None:
        self._scheduled = bool(self._waiting)
        if self._scheduled:
            asyncio.get_running_loop().call_soon(self._do_some)
        for _ in range(min(len(self._waiting), AT_ONCE)):
            self._waiting.popleft()()


class Turns:
    """One at a time for each key, first come, first served; what nobody uses is forgotten."""

    def __init__(self) -> None:
        self._locks: dict[Hashable, tuple[anyio.Lock, int]] = {}

    @contextlib.asynccontextmanager
    async def of(self, key: Hashable) -> AsyncIterator[None]:
        """Wait until all that came before with this key are through."""
        lock, users = self._locks.get(key, (anyio.Lock(), 0))
        self._locks[key] = (lock, users + 1)
        try:
            async with lock:
                yield
        finally:
            lock, users = self._locks.pop(key)
            if users > 1:
                self._locks[key] = (lock, users - 1)


async def both(first: Callable[[], Awaitable[T]], second: Callable[[], Awaitable[U]]) -> tuple[T, U]:
    """Run two things at once; where both fail, the error is always that of the first."""
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
    """Run `work` in a task of its own.

    A native `Task.cancel()` ignores anyio's shields; this turns it into a cancellation of the
    child's scope, which respects them.
    """
    result: list[T] = []

    async def child() -> None:
        result.append(await work())

    with unwrapped():
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(child)
    return result[0]


class Stop:
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


_stop: ContextVar[Stop | None] = ContextVar("aioassets_stop", default=None)


def tidying() -> contextlib.AbstractContextManager[object]:
    """A phase that goes on when cancelled, for 5 s at the most, and less within work that was stopped."""
    return (_stop.get() or Stop(GRACE)).bounded(TIDYING, limit=GRACE, shield=True)


async def stoppable(work: Callable[[Stop], Awaitable[T]], *, grace: float = GRACE) -> T:
    """Run `work` shielded from cancellation; when it comes, ask it to stop instead.

    The work bounds its own phases by `Stop.bounded`, cleans up and raises `Stopped`; the
    cancellation is raised after that. Within other such work, it takes no longer than that one may.

    Args:
        grace: seconds between the cancellation and the end of the last bounded phase.
    """
    stop = Stop(grace)
    around = _stop.get()
    result: list[T] = []

    async def watch() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            stop.request()

    async def shielded(watching: anyio.CancelScope) -> None:
        within = around.bounded(TIDYING) if around is not None else contextlib.nullcontext()
        with anyio.CancelScope(shield=True), contextlib.suppress(Stopped), within:
            _stop.set(stop)
            result.append(await work(stop))
        watching.cancel()

    with unwrapped():
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(watch)
            tasks.start_soon(shielded, tasks.cancel_scope)
    return result[0]
