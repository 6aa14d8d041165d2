"""Retry policy for requests."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

import anyio

from aioassets.errors import StoreUnavailable
from aioassets.runtime.clocks import elapsed

__all__ = ["RetryPolicy"]


RETRY_FOR: Final = 60.0
"""Default number of seconds for which to retry a failing request. Most store failovers and restarts take less time."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Time-based retry policy with exponential backoff and jitter.

    Attributes:
        retry_for: for how many seconds after the first failure new attempts may be started; 0 disables retries.
            Each delay counts as at least its intended length, even if less time has passed according to the clock.
        first_delay: the delay in seconds before the second attempt. It doubles for each further attempt.
        max_delay: the maximum delay in seconds. A store's Retry-After may exceed it, up to `retry_for`.
        sleep: the function that waits between attempts. Tests replace it.
        clock: a monotonic clock in seconds that keeps running while the machine is suspended.
        jitter: a function that returns a random number in [0, 1).
    """

    retry_for: float = RETRY_FOR
    first_delay: float = 0.1
    max_delay: float = 5.0
    sleep: Callable[[float], Awaitable[None]] = anyio.sleep
    clock: Callable[[], float] = elapsed
    jitter: Callable[[], float] = random.random

    def pause(self, attempt: int, *, at_least: float | None = None) -> float:
        """Return the delay in seconds after an attempt (counted from 1), with exponential backoff and equal jitter."""
        doublings = min(attempt - 1, 1000)  # a larger exponent overflows
        pause = min(self.max_delay, self.first_delay * 2.0**doublings)
        return max(pause * (0.5 + 0.5 * self.jitter()), at_least or 0.0)


class Tries:
    """A counter of a request's consecutive failures."""

    def __init__(self, retry: RetryPolicy) -> None:
        self._retry = retry
        self._failing_since = 0.0
        self._paused = 0.0
        self.failed = 0
        """The number of consecutive failures."""

    def succeed(self) -> None:
        """Reset the counter."""
        self.failed = 0

    def pause_after(self, error: StoreUnavailable) -> float | None:
        """Count a failure, and return the seconds to wait before the next attempt, or `None` to give up."""
        now = self._retry.clock()
        if not self.failed:
            self._failing_since, self._paused = now, 0.0
        self.failed += 1
        pause = self._retry.pause(self.failed, at_least=error.retry_after)
        if max(now - self._failing_since, self._paused) + pause > self._retry.retry_for:
            return None
        self._paused += pause
        return pause


NO_RETRY = RetryPolicy(retry_for=0.0)
"""A policy that disables retries, for tests."""
