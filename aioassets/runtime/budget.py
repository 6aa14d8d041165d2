"""The budget, which limits the requests and bytes in flight."""

from __future__ import annotations

import itertools
import logging
from collections import deque
from dataclasses import dataclass, field
from types import TracebackType

import anyio

from aioassets.errors import StoreUnavailable

__all__ = ["Budget"]

logger = logging.getLogger(__name__)

MAX_REQUESTS = 256
"""Default maximum number of requests in flight. At a latency of 20 ms, this suffices to reach S3's rate limit."""
MIN_REQUESTS = 4
"""Default lower bound to which throttling reduces the number of requests in flight."""
MAX_BYTES = 32 * 1024 * 1024
"""Default maximum number of bytes in flight: 4 parts of 8 MiB fill a 5 Gbit/s link at a latency of 50 ms.
HTTP clients keep about two copies of each part in memory."""
LIGHT_SHARE = 1 / 32
"""Maximum size of a light request, as a share of the byte limit. Its latency matters more than its transfer time."""
RESERVED_SHARE = 1 / 8
"""Share of the byte limit reserved for light requests. While heavy requests wait, light ones can't use more."""
RESERVED_REQUESTS = 4
"""Number of additional requests reserved for documents, so that a busy push can still renew its claim."""


@dataclass(slots=True, eq=False)
class _Waiter:
    nbytes: int
    number: int
    granted: anyio.Event = field(default_factory=anyio.Event)


class AdaptiveLimit:
    """A limit on concurrent requests. Throttling halves it, and successful requests slowly increase it.

    A limit of n increases by about one for every n successful requests.

    Args:
        floor: the minimum limit.
        ceiling: the maximum and initial limit.
    """

    def __init__(self, floor: int, ceiling: int) -> None:
        self._floor = min(floor, ceiling)
        self._ceiling = ceiling
        self._limit = float(ceiling)
        self._slowed = 0

    @property
    def limit(self) -> int:
        """The current limit."""
        return int(self._limit)

    def begin(self) -> int:
        """Return a marker that records when a request is sent. Pass it to `throttled`."""
        return self._slowed

    def answered(self) -> None:
        """Increase the limit a little after a successful request."""
        self._limit = min(self._ceiling, self._limit + 1 / self._limit)

    def throttled(self, begun: int, in_flight: int) -> bool:
        """Halve the limit after a throttled request, unless the request was sent before the last reduction.

        Returns:
            Whether the limit was reduced.
        """
        if begun != self._slowed:
            return False
        self._limit = max(self._floor, min(self._limit, in_flight) / 2)
        self._slowed += 1
        return True


class Budget:
    """A limit on requests and bytes in flight, shared by all transfers of a manager.

    Each request acquires its share of both limits at once, in order of arrival. Light requests can overtake heavy ones
    that are waiting for bytes, and a share of the bytes is reserved for light requests, so that neither kind starves.
    Throttling by the store temporarily reduces the number of requests.

    Args:
        requests: the maximum number of requests in flight.
        nbytes: the maximum number of bytes in flight. A larger request counts as this many bytes.
        reserved: the number of additional requests that may be in flight if they are urgent.
        min_requests: the lower bound to which throttling reduces the number of requests.
    """

    def __init__(
        self,
        requests: int = MAX_REQUESTS,
        nbytes: int = MAX_BYTES,
        reserved: int = RESERVED_REQUESTS,
        *,
        min_requests: int = MIN_REQUESTS,
    ) -> None:
        self._requests = requests
        self._limit = AdaptiveLimit(min_requests, requests)
        self._nbytes = nbytes
        self._reserved = reserved
        self._requests_taken = 0
        self._urgent_taken = 0
        self._bytes_taken = 0
        self._heavy_bytes_taken = 0
        self._light_seen = False  # whether a light request waits, or arrived since a heavy one started
        self._light_limit = nbytes * LIGHT_SHARE
        self._reserved_for_light = nbytes * RESERVED_SHARE
        self._numbers = itertools.count()
        self._urgent: deque[_Waiter] = deque()
        self._light: deque[_Waiter] = deque()
        self._heavy: deque[_Waiter] = deque()

    @property
    def requests_in_flight(self) -> int:
        """The number of requests in flight."""
        return self._requests_taken

    @property
    def bytes_in_flight(self) -> int:
        """The number of bytes in flight."""
        return self._bytes_taken

    @property
    def requests_allowed(self) -> int:
        """The current limit on requests in flight, not counting urgent ones. Throttling reduces it."""
        return self._limit.limit

    @property
    def max_requests(self) -> int:
        """The maximum number of requests in flight, including urgent ones."""
        return self._requests + self._reserved

    @property
    def max_bytes(self) -> int:
        """The maximum number of bytes in flight."""
        return self._nbytes

    def slot(self, nbytes: int = 0, *, urgent: bool = False) -> _Slot:
        """Return an async context manager that holds one request's share of the budget."""
        return _Slot(self, min(nbytes, self._nbytes), urgent)

    async def acquire(self, nbytes: int, urgent: bool) -> None:
        """Wait for one request's share of the budget. Prefer `slot`, which also releases it."""
        heavy = self._is_heavy(nbytes)
        queue = self._urgent if urgent else self._heavy if heavy else self._light
        self._light_seen |= not urgent and not heavy
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
        return nbytes > self._light_limit

    def _fits(self, nbytes: int, urgent: bool, number: int) -> bool:
        free = self._requests_taken < self._limit.limit or (urgent and self._urgent_taken < self._reserved)
        if not free or self._bytes_taken + nbytes > self._nbytes:
            return False
        return urgent or (self._heavy_fits(nbytes) if self._is_heavy(nbytes) else self._light_fits(nbytes, number))

    def _heavy_fits(self, nbytes: int) -> bool:
        """Return whether a heavy request would leave enough for light ones. A lone heavy request may use all bytes."""
        taken = self._heavy_bytes_taken
        return not self._light_seen or not taken or taken + nbytes <= self._nbytes - self._reserved_for_light

    def _light_fits(self, nbytes: int, number: int) -> bool:
        """Return whether a light request fits without delaying a heavy one that has been waiting longer."""
        if not self._heavy or self._heavy[0].number > number:
            return True
        most = min(self._reserved_for_light, self._nbytes - self._heavy[0].nbytes)
        return self._bytes_taken - self._heavy_bytes_taken + nbytes <= most

    def _take(self, nbytes: int, urgent: bool) -> None:
        self._requests_taken += 1
        self._urgent_taken += urgent
        self._bytes_taken += nbytes
        if self._is_heavy(nbytes):
            self._heavy_bytes_taken += nbytes
            self._light_seen = bool(self._light)

    def release(self, nbytes: int, urgent: bool = False) -> None:
        """Release one request's share of the budget."""
        self._requests_taken -= 1
        self._urgent_taken -= urgent
        self._bytes_taken -= nbytes
        if self._is_heavy(nbytes):
            self._heavy_bytes_taken -= nbytes
        self._grant()

    def begin(self) -> int:
        """Return a marker that records when a request is sent. Pass it to `learn`."""
        return self._limit.begin()

    def learn(self, begun: int, error: BaseException | None) -> None:
        """Adapt the request limit to the outcome of a request that wasn't urgent."""
        if error is None:
            self._limit.answered()
        elif (
            isinstance(error, StoreUnavailable)
            and error.throttled
            and self._limit.throttled(begun, self._requests_taken)
        ):
            logger.info("Throttled by %s: limiting requests in flight to %d", error.where, self._limit.limit)

    def _grant(self) -> None:
        while (queue := self._next()) is not None:
            waiter = queue.popleft()
            self._take(waiter.nbytes, queue is self._urgent)
            waiter.granted.set()

    def _next(self) -> deque[_Waiter] | None:
        """Return the queue to serve next, or `None` if no waiting request fits into the budget.

        Urgent requests come first, then whichever of the two other queues has the older first request.
        """
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
        if not self._urgent:  # a store may limit writes to a single document, which says nothing about other requests
            self._budget.learn(self._begun, error)
        self._budget.release(self._nbytes, self._urgent)
