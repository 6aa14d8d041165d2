"""Retry policy of requests."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import anyio

from aioassets.errors import StoreUnavailable
from aioassets.runtime.clocks import elapsed

__all__ = ["RetryPolicy"]


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Retry policy with exponential backoff and jitter.

    Attributes:
        attempts: maximum number of attempts of one request.
        first_delay: seconds before the second attempt, doubled for each further one.
        max_delay: maximum seconds between attempts. A store's Retry-After may exceed it, up to `total`.
        total: seconds after the first failure in which new attempts may start.
        sleep: the function that pauses, for tests to replace.
        clock: a monotonic clock in seconds that also runs while the machine sleeps.
        jitter: a function that returns a random number in [0, 1).
    """

    attempts: int = 6
    first_delay: float = 0.1
    max_delay: float = 10.0
    total: float = 120.0
    sleep: Callable[[float], Awaitable[None]] = anyio.sleep
    clock: Callable[[], float] = elapsed
    jitter: Callable[[], float] = random.random

    def pause(self, attempt: int, *, at_least: float | None = None) -> float:
        """Return the seconds to wait after an attempt (counted from 1), with exponential backoff and equal jitter."""
        pause = min(self.max_delay, self.first_delay * 2.0 ** (attempt - 1))
        return max(pause * (0.5 + 0.5 * self.jitter()), at_least or 0.0)

    def next_pause(self, attempt: int, failing_for: float, error: StoreUnavailable) -> float | None:
        """Return the seconds to wait before the next attempt, or `None` to give up.

        Args:
            attempt: number of consecutive failures.
            failing_for: seconds since the first of them.
            error: the last failure.
        """
        if attempt >= self.attempts:
            return None
        pause = self.pause(attempt, at_least=error.retry_after)
        return pause if failing_for + pause <= self.total else None


class Tries:
    """Consecutive failures of one request."""

    @property
    def failed(self) -> int:
        """The number of consecutive failures."""
        return self._failed

    def __init__(self, retry: RetryPolicy) -> None:
        self._retry = retry
        self._failed = 0
        self._failing_since = 0.0

    def succeed(self) -> None:
        """Reset the failures."""
        self._failed = 0

    def pause_after(self, error: StoreUnavailable) -> float | None:
        """Count a failure, and return the seconds to wait before the next attempt, or `None` to give up."""
        now = self._retry.clock()
        if not self._failed:
            self._failing_since = now
        self._failed += 1
        return self._retry.next_pause(self._failed, now - self._failing_since, error)


NO_RETRY = RetryPolicy(attempts=1)
"""Policy without retries, for tests."""
