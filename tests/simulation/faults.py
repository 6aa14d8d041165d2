"""Faults of requests, drawn from a seed: the same request of the same operation meets the same one."""

from __future__ import annotations

import enum
import functools
from collections.abc import Collection
from dataclasses import dataclass
from random import Random
from typing import Final

MINUTE: Final = 60.0
TIMEOUT: Final = 60.0
"""Seconds that a client waits for an answer."""

LONGEST: Final = 512 * MINUTE
"""Seconds that a fault lasts at the most."""


class Kind(enum.Enum):
    """A fault of one request."""

    LATE = "takes effect long after the client gave it up"
    LOST = "takes effect, and its answer is lost"
    DROPPED = "is lost, and the client can't tell"
    REFUSED = "is refused by a busy store"
    GARBLED = "takes effect, and its answer makes no sense"
    KILLED_BEFORE = "is never sent: its process is killed"
    KILLED_AFTER = "is sent, and its process is killed"
    PAUSED_BEFORE = "is sent after its process stood still"
    PAUSED_AFTER = "is sent, and its process stands still"
    CANCELLED = "is sent, and its operation is cancelled"


SPREAD: Final = (0.3, 1.0, 1.0, 1.0, 1.0, 5.0)
"""By how much single requests are slower than others."""
SLOWEST: Final = 25.0
"""Seconds that a request without a fault takes at the most, in each direction."""
READING: Final = 0.3
"""Faults of requests that only read are less frequent: they do less harm."""
RequestId = tuple[str, int]
"""An operation, and which request of it."""


@dataclass(frozen=True, slots=True)
class Conditions:
    """How one request fares.

    Attributes:
        there: seconds until it takes effect.
        back: seconds until it is answered, from then on.
        skew: seconds by which the clock that stamps it is wrong.
        fault: what else happens; `None` for nothing.
        duration: of the fault, in seconds.
    """

    there: float
    back: float
    skew: float
    fault: Kind | None
    duration: float


@dataclass(frozen=True, slots=True)
class Weather:
    """How requests fare in one schedule.

    Attributes:
        seed: what all is drawn from.
        latency: seconds that most requests take.
        skew: seconds by which the store's clocks are wrong at the most.
        rate: faults per request that changes something.
        kinds: the faults that occur.
        calm: requests that have no fault all the same.
    """

    seed: int
    latency: float
    skew: float
    rate: float
    kinds: tuple[Kind, ...]
    calm: Collection[RequestId] = frozenset()

    def of(self, request: RequestId, *, weight: float) -> Conditions:
        """Return how a request fares.

        Args:
            weight: by how much faults are more frequent than with most requests; 0 for one that only reads.
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
    """How fast an operation is: faster or slower than others, and once much slower.

    Attributes:
        pace: by how much.
        stalls_at: the request that takes long, which lets others pass between two steps.
        stalls_there: latencies until that takes effect.
        stalls_back: latencies from then on.
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
