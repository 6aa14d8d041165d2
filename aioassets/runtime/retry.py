"""When to send a request again."""

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


class Tries:
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
