"""Faults of requests, drawn from a seed: equal for the same request of the same operation."""

from __future__ import annotations

import enum
import functools
from collections.abc import Collection
from dataclasses import dataclass
from random import Random
from typing import Final

MINUTE: Final = 60.0
TIMEOUT: Final = 60.0
"""Seconds for which a client waits for a response."""

LONGEST: Final = 512 * MINUTE
"""Maximum duration of a fault in seconds."""


class Kind(enum.Enum):
    """Fault of one request."""

    LATE = "takes effect long after the client gave up"
    LOST = "takes effect, and its response is lost"
    DROPPED = "is lost, unknown to the client"
    REFUSED = "is refused by a busy store"
    GARBLED = "takes effect, and its response is invalid"
    KILLED_BEFORE = "is never sent: its process is killed"
    KILLED_AFTER = "is sent, and its process is killed"
    PAUSED_BEFORE = "is sent after its process paused"
    PAUSED_AFTER = "is sent, and its process pauses"
    CANCELLED = "is sent, and its operation is cancelled"
    OUTAGE = "is refused, and so are all requests of its process for a while"


SPREAD: Final = (0.3, 1.0, 1.0, 1.0, 1.0, 5.0)
"""Factors of the latency of single requests."""
SLOWEST: Final = 25.0
"""Maximum latency in seconds, in each direction, of a request without a fault."""
READING: Final = 0.3
"""Factor of the rate of faults of reading requests, which do less harm."""
RequestId = tuple[str, int]
"""Label of an operation, and the number of its request."""


@dataclass(frozen=True, slots=True)
class Conditions:
    """Conditions of one request.

    Attributes:
        there: seconds until it takes effect.
        back: seconds from then until the response arrives.
        skew: error in seconds of the clock that stamps it.
        fault: the fault, or `None`.
        duration: the duration of the fault in seconds.
    """

    there: float
    back: float
    skew: float
    fault: Kind | None
    duration: float


@dataclass(frozen=True, slots=True)
class Weather:
    """Conditions of all requests in one schedule.

    Attributes:
        seed: the seed of all random choices.
        latency: the latency of most requests in seconds.
        skew: maximum error in seconds of the store's clocks.
        rate: faults per request that changes an object.
        kinds: the faults that occur.
        calm: requests without faults.
    """

    seed: int
    latency: float
    skew: float
    rate: float
    kinds: tuple[Kind, ...]
    calm: Collection[RequestId] = frozenset()

    def of(self, request: RequestId, *, weight: float) -> Conditions:
        """Return the conditions of a request.

        Args:
            weight: factor of the rate of faults; 0 for a request that only reads.
        """
        draw = Random(f"{self.seed}/{request[0]}/{request[1]}")
        habit = _habit(self.seed, request[0])
        there, back = (draw.expovariate(2) * draw.choice(SPREAD) * habit.pace for _ in range(2))
        if request[1] == habit.stalls_at:
            there, back = there + habit.stalls_there, back + habit.stalls_back
        there, back = min(self.latency * there, SLOWEST), min(self.latency * back, SLOWEST)
        skew = draw.uniform(-self.skew, self.skew)
        hit, kind = draw.random(), draw.choice(self.kinds)
        duration = MINUTE * (LONGEST / MINUTE) ** draw.random()
        rate = self.rate * (weight or READING)
        fault = kind if hit < rate and request not in self.calm else None
        if fault is Kind.GARBLED and not weight:
            fault = Kind.DROPPED
        return Conditions(there, back, skew, fault, duration)


@dataclass(frozen=True, slots=True)
class _Habit:
    """Speed of an operation, which stalls at one request.

    Attributes:
        pace: the factor of its latencies.
        stalls_at: the request that stalls, so that others overtake between two steps.
        stalls_there: number of latencies until that request takes effect.
        stalls_back: number of latencies from then until its response.
    """

    pace: float
    stalls_at: int
    stalls_there: float
    stalls_back: float


@functools.lru_cache(maxsize=256)
def _habit(seed: int, label: str) -> _Habit:
    draw = Random(f"{seed}/{label}")
    long = draw.uniform(5, 50)
    before = draw.choice([0.0, 1.0])
    return _Habit(draw.choice([0.3, 1.0, 1.0, 3.0]), draw.randint(1, 20), before * long, (1 - before) * long)
