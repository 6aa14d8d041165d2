"""The one way for requests to a store: a shared budget, and retries.

Every driver sends its requests through a `Dispatcher`. So one limit holds for all
concurrent calls of a manager, and nothing retries behind anybody's back.
"""

from __future__ import annotations

import contextlib
import itertools
import random
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sized
from contextvars import ContextVar
from dataclasses import dataclass, field
from types import TracebackType
from typing import TypeVar

import anyio

from aioassets.clocks import elapsed
from aioassets.errors import AioAssetsError, StoreUnavailable

T = TypeVar("T")
C = TypeVar("C", bound=Sized)

MAX_REQUESTS = 256
"""Requests in flight: with 20 ms to the store more small objects a second than S3 takes; it then gets fewer at once."""
MIN_REQUESTS = 4
"""Requests in flight that a store may always be asked for, however much it throttles."""
MAX_BYTES = 32 * 1024 * 1024
"""Bytes in flight: 4 parts of 8 MiB, which fill a 5 Gbit/s link at 50 ms; clients copy each about twice."""
LIGHT = 1 / 32
"""Of all bytes in flight, what a request may have at the most to be light: it takes its time for its round trip."""
FOR_LIGHT = 1 / 8
"""Of all bytes in flight, what heavy requests leave to light ones, and these don't exceed while heavy ones wait."""
RESERVED = 4
"""Requests beyond `MAX_REQUESTS` kept for documents, so that a busy push can still renew its claim."""


@dataclass(slots=True, eq=False)
class _Waiter:
    nbytes: int
    number: int
    granted: anyio.Event = field(default_factory=anyio.Event)


class Pace:
    """How many requests a store takes at once: one more for each that many it answers, half where it throttles.

    Args:
        floor: the fewest.
        ceiling: the most, and what is tried first.
    """

    def __init__(self, floor: int, ceiling: int) -> None:
        self._floor = min(floor, ceiling)
        self._ceiling = ceiling
        self._limit = float(ceiling)
        self._slowed = 0

    @property
    def limit(self) -> int:
        """Requests that may be in flight now."""
        return int(self._limit)

    def begin(self) -> int:
        """Mark when a request is sent."""
        return self._slowed

    def answered(self) -> None:
        """A request was answered."""
        self._limit = min(self._ceiling, self._limit + 1 / self._limit)

    def throttled(self, begun: int, in_flight: int) -> None:
        """A request was refused because there are too many; of those sent before the last slowing down, none counts."""
        if begun == self._slowed:
            self._limit = max(self._floor, min(self._limit, in_flight) / 2)
            self._slowed += 1


class Budget:
    """Requests and bytes in flight, taken together in one first-come first-served step.

    Where the store throttles, fewer requests are in flight for a while. Light requests go past heavy
    ones that wait for bytes, and these leave them room, so that neither hold up the other.

    Args:
        requests: how many requests may be in flight.
        nbytes: how many bytes may be in flight. A larger request is clamped to this.
        reserved: how many more requests may be in flight if they are urgent.
        min_requests: how many requests may be in flight where the store throttles.
    """

    def __init__(
        self,
        requests: int = MAX_REQUESTS,
        nbytes: int = MAX_BYTES,
        reserved: int = RESERVED,
        *,
        min_requests: int = MIN_REQUESTS,
    ) -> None:
        self._requests = requests
        self._pace = Pace(min_requests, requests)
        self._nbytes = nbytes
        self._reserved = reserved
        self._requests_taken = 0
        self._urgent_taken = 0
        self._bytes_taken = 0
        self._heavy_bytes_taken = 0
        self._light_came = False  # since a heavy one had its turn, or waits since before
        self._heavy_from = nbytes * LIGHT
        self._for_light = nbytes * FOR_LIGHT
        self._numbers = itertools.count()
        self._urgent: deque[_Waiter] = deque()
        self._light: deque[_Waiter] = deque()
        self._heavy: deque[_Waiter] = deque()

    @property
    def requests_in_flight(self) -> int:
        """Requests under way now."""
        return self._requests_taken

    @property
    def bytes_in_flight(self) -> int:
        """Bytes under way now."""
        return self._bytes_taken

    @property
    def requests_allowed(self) -> int:
        """Requests that may be under way now, urgent ones aside: fewer than at first where the store throttled."""
        return self._pace.limit

    @property
    def max_requests(self) -> int:
        """The most connections that can be busy at once, urgent ones included."""
        return self._requests + self._reserved

    def slot(self, nbytes: int = 0, *, urgent: bool = False) -> _Slot:
        """One request's share, as an async context manager."""
        return _Slot(self, min(nbytes, self._nbytes), urgent)

    async def acquire(self, nbytes: int, urgent: bool) -> None:
        """Wait for a share; `slot` is the safe way to do this."""
        heavy = self._is_heavy(nbytes)
        queue = self._urgent if urgent else self._heavy if heavy else self._light
        self._light_came |= not urgent and not heavy
        number = next(self._numbers)
        if not queue and self._fits(nbytes, urgent, number):
            self._take(nbytes, urgent)
            return
        waiter = _Waiter(nbytes, number)
        queue.append(waiter)
        try:
            await waiter.granted.wait()
        except BaseException:
            if waiter.granted.is_set():
                self.release(nbytes, urgent)
            else:
                queue.remove(waiter)
                self._grant()
            raise

    def _is_heavy(self, nbytes: int) -> bool:
        return nbytes > self._heavy_from

    def _fits(self, nbytes: int, urgent: bool, number: int) -> bool:
        free = self._requests_taken < self._pace.limit or (urgent and self._urgent_taken < self._reserved)
        if not free or self._bytes_taken + nbytes > self._nbytes:
            return False
        return urgent or (self._leaves_room(nbytes) if self._is_heavy(nbytes) else self._may_pass(nbytes, number))

    def _leaves_room(self, nbytes: int) -> bool:
        """Whether a heavy request leaves the light ones their share, where there are any; a single one may take it."""
        taken = self._heavy_bytes_taken
        return not self._light_came or not taken or taken + nbytes <= self._nbytes - self._for_light

    def _may_pass(self, nbytes: int, number: int) -> bool:
        """Whether a light request takes nothing that a heavy one, which waits for longer, could have soon."""
        if not self._heavy or self._heavy[0].number > number:
            return True
        most = min(self._for_light, self._nbytes - self._heavy[0].nbytes)
        return self._bytes_taken - self._heavy_bytes_taken + nbytes <= most

    def _take(self, nbytes: int, urgent: bool) -> None:
        self._requests_taken += 1
        self._urgent_taken += urgent
        self._bytes_taken += nbytes
        if self._is_heavy(nbytes):
            self._heavy_bytes_taken += nbytes
            self._light_came = bool(self._light)

    def release(self, nbytes: int, urgent: bool = False) -> None:
        """Give a share back."""
        self._requests_taken -= 1
        self._urgent_taken -= urgent
        self._bytes_taken -= nbytes
        if self._is_heavy(nbytes):
            self._heavy_bytes_taken -= nbytes
        self._grant()

    def begin(self) -> int:
        """Mark when a request is sent, for `learn`."""
        return self._pace.begin()

    def learn(self, begun: int, error: BaseException | None) -> None:
        """Take note of how the store answered a request that isn't urgent."""
        if error is None:
            self._pace.answered()
        elif isinstance(error, StoreUnavailable) and error.throttled:
            self._pace.throttled(begun, self._requests_taken)

    def _grant(self) -> None:
        while (queue := self._next()) is not None:
            waiter = queue.popleft()
            self._take(waiter.nbytes, queue is self._urgent)
            waiter.granted.set()

    def _next(self) -> deque[_Waiter] | None:
        """Whose first has its turn: the urgent, and then whoever waits for longer."""
        first, second = self._light, self._heavy
        if first and second and second[0].number < first[0].number:
            first, second = second, first
        for queue in (self._urgent, first, second):
            if queue and self._fits(queue[0].nbytes, queue is self._urgent, queue[0].number):
                return queue
        return None


class _Slot:
    __slots__ = ("_begun", "_budget", "_nbytes", "_urgent")

    def __init__(self, budget: Budget, nbytes: int, urgent: bool) -> None:
        self._budget = budget
        self._nbytes = nbytes
        self._urgent = urgent

    async def __aenter__(self) -> None:
        await self._budget.acquire(self._nbytes, self._urgent)
        self._begun = self._budget.begin()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._urgent:  # documents are throttled by themselves where they are written often
            self._budget.learn(self._begun, error)
        self._budget.release(self._nbytes, self._urgent)


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


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """When to try a request again.

    Attributes:
        attempts: how often one request is sent at the most.
        first_delay: seconds before the second attempt; doubled for each further one.
        max_delay: the longest pause between attempts, in seconds. A store's own
            Retry-After may ask for more, up to `total`.
        total: seconds after the first failure in which new attempts are begun.
        sleep: how to pause; tests pass one that doesn't.
        clock: a clock in seconds that never goes back, and runs on while the machine sleeps.
        jitter: a number in [0, 1) to spread the pauses of many clients.
    """

    attempts: int = 6
    first_delay: float = 0.1
    max_delay: float = 10.0
    total: float = 120.0
    sleep: Callable[[float], Awaitable[None]] = anyio.sleep
    clock: Callable[[], float] = elapsed
    jitter: Callable[[], float] = random.random

    def pause(self, attempt: int, *, at_least: float | None = None) -> float:
        """Seconds to wait after the `attempt`-th try (from 1): exponential, with equal jitter."""
        pause = min(self.max_delay, self.first_delay * 2.0 ** (attempt - 1))
        return max(pause * (0.5 + 0.5 * self.jitter()), at_least or 0.0)

    def next_pause(self, attempt: int, failing_for: float, error: StoreUnavailable) -> float | None:
        """Return the seconds to wait before the next try, or `None` to give up.

        Args:
            attempt: how many tries failed in a row, from 1.
            failing_for: seconds since the first of them failed.
            error: how the last one failed.
        """
        if attempt >= self.attempts:
            return None
        pause = self.pause(attempt, at_least=error.retry_after)
        return pause if failing_for + pause <= self.total else None


class _Tries:
    """The failures in a row of one request, and whether to try again."""

    def __init__(self, retry: RetryPolicy) -> None:
        self._retry = retry
        self._failed = 0
        self._failing_since = 0.0

    def succeed(self) -> None:
        """Forget the failures so far."""
        self._failed = 0

    def pause_after(self, error: StoreUnavailable) -> float | None:
        """Count a failure, and return the seconds to wait before the next try, or `None` to give up."""
        now = self._retry.clock()
        if not self._failed:
            self._failing_since = now
        self._failed += 1
        return self._retry.next_pause(self._failed, now - self._failing_since, error)


NO_RETRY = RetryPolicy(attempts=1)
"""Every failure at once, for tests."""


class Dispatcher:
    """Sends requests within a budget, and again where that is safe.

    Args:
        budget: shared by everything that must stay within one limit.
        retry: when to try again.
    """

    def __init__(self, budget: Budget | None = None, retry: RetryPolicy | None = None) -> None:
        self.budget = budget or Budget()
        self.retry = retry or RetryPolicy()

    async def send(self, request: Callable[[], Awaitable[T]], *, nbytes: int = 0, urgent: bool = False) -> T:
        """Send a request that may be repeated, holding its share of the budget only while it is under way.

        Args:
            request: sends it once; raises `StoreUnavailable` where another try may help.
            nbytes: the bytes that it keeps in memory.
            urgent: whether it may use the reserved requests (documents and cleaning up).

        Raises:
            AioAssetsError: the last failure, `uncertain` where any attempt may have taken effect.
        """
        tries = _Tries(self.retry)
        uncertain = False
        while True:
            try:
                async with self.budget.slot(nbytes, urgent=urgent):
                    return await request()
            except AioAssetsError as error:
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
        tries = _Tries(self.retry)
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
