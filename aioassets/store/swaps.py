"""Repeating a compare-and-swap as long as other writers change the document in between."""

from __future__ import annotations

from typing import Final

from aioassets.errors import StoreUnsuitable
from aioassets.runtime.retry import RetryPolicy

MAX_REFUSALS: Final = 5
"""Number of consecutive writes that are refused, with the revision unchanged, before a store counts as unsuitable."""
MAX_DOUBLINGS: Final = 5
"""Number of attempts after which the delay between attempts no longer grows."""


class Swaps:
    """A record of the attempts to make one compare-and-swap.

    Args:
        url: the URL of the store, for the error message.
        retry: the retry policy, which determines the delays between attempts.
    """

    def __init__(self, url: str, retry: RetryPolicy) -> None:
        self._url = url
        self._retry = retry
        self._attempts = self._refusals = 0
        self._refused: object = None

    def check(self, revision: object) -> None:
        """Check the revision that was read for the next attempt.

        Raises:
            StoreUnsuitable: if the store keeps refusing conditional writes with the current revision.
        """
        self._refusals = self._refusals + 1 if revision == self._refused else 0
        if self._refusals >= MAX_REFUSALS:
            raise StoreUnsuitable(
                self._url, "it refuses a conditional write even with the revision that it has just reported"
            )

    async def refused(self, revision: object, *, wait: bool = True) -> None:
        """Record that the store refused an attempt, and wait with backoff and jitter.

        Args:
            revision: the revision with which the attempt was refused.
            wait: whether to wait, which is unnecessary if the revision was outdated from the start.
        """
        self._refused = revision
        if wait:
            self._attempts += 1
            await self._retry.sleep(self._retry.pause(min(self._attempts, MAX_DOUBLINGS)))
