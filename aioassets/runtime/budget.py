"""The one limit of requests and bytes in flight."""

from __future__ import annotations

import itertools
from collections import deque
from dataclasses import dataclass, field
from types import TracebackType

import anyio

from aioassets.errors import StoreUnavailable

__all__ = ["Budget"]

MAX_REQUESTS = 256
"""Requests in flight: with 20 ms to the store more small objects a second than S3 takes; it then gets fewer at once."""
MIN_REQUESTS = 4
"""Requests in flight that a store may always be asked for, however much it throttles."""
MAX_BYTES = 32 * 1024 * 1024
"""Bytes in flight: 4 parts of 8 MiB, which fill a 5 Gbit/s link at 50 ms; clients copy each about twice."""
LIGHT_SHARE = 1 / 32
"""Of all bytes in flight, what a request may have at the most to be light: it takes its time for its round trip."""
RESERVED_SHARE = 1 / 8
"""Of all bytes in flight, what heavy requests leave to light ones, and these don't exceed while heavy ones wait."""
RESERVED_REQUESTS = 4
"""Requests beyond `MAX_REQUESTS` kept for documents, so that a busy push can still renew its claim."""


@dataclass(slots=True, eq=False)
class _Waiter:
    nbytes: int
    number: int
    granted: anyio.Event = field(default_factory=anyio.Event)


class AdaptiveLimit:
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
        self._light_seen = False  # since a heavy one had its turn, or waits since before
        self._light_limit = nbytes * LIGHT_SHARE
        self._reserved_for_light = nbytes * RESERVED_SHARE
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
        return self._limit.limit

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
        """Whether a heavy request leaves the light ones their share, where there are any; a single one may take it."""
        taken = self._heavy_bytes_taken
        return not self._light_seen or not taken or taken + nbytes <= self._nbytes - self._reserved_for_light

    def _light_fits(self, nbytes: int, number: int) -> bool:
        """Whether a light request takes nothing that a heavy one, which waits for longer, could have soon."""
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
        """Give a share back."""
        self._requests_taken -= 1
        self._urgent_taken -= urgent
        self._bytes_taken -= nbytes
        if self._is_heavy(nbytes):
            self._heavy_bytes_taken -= nbytes
        self._grant()

    def begin(self) -> int:
        """Mark when a request is sent, for `learn`."""
        return self._limit.begin()

    def learn(self, begun: int, error: BaseException | None) -> None:
        """Take note of how the store answered a request that isn't urgent."""
        if error is None:
            self._limit.answered()
        elif isinstance(error, StoreUnavailable) and error.throttled:
            self._limit.throttled(begun, self._requests_taken)

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
