"""The current process's limit on open files."""

from __future__ import annotations

import logging
import os
import resource
from typing import Final

logger = logging.getLogger(__name__)

RESERVED: Final = 64
"""Number of descriptors reserved for threads that access files, for cleaning up, and for the rest of the program."""
PER_REQUEST: Final = 4
"""Number of descriptors per concurrent request: two connections (one to the source's store), a file and a spare."""
FEWEST: Final = 2
"""Minimum number of concurrent requests. If the limit on open files is too low even for these, requests may fail."""
MOST: Final = 10_240
"""The highest limit on open files that commands set for themselves. macOS doesn't allow a higher one."""


def fitting(wanted: int) -> int:
    """Return how many concurrent requests (or open files) the limit on open files allows.

    Args:
        wanted: the maximum number to return.
    """
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY:
        return wanted
    allowed = max(FEWEST, (limit - _in_use(limit) - RESERVED) // PER_REQUEST)
    if allowed < wanted:
        logger.info("Sending at most %d requests at once: the limit on open files is %d (ulimit -n)", allowed, limit)
    return min(wanted, allowed)


def raise_limit() -> None:
    """Raise the current process's limit on open files as far as possible, up to `MOST`.

    Only programs should call this, not libraries.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = MOST if hard == resource.RLIM_INFINITY else min(hard, MOST)
    if soft == resource.RLIM_INFINITY or soft >= most:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    except (OSError, ValueError) as error:
        logger.info("Cannot raise the limit on open files from %d to %d: %s", soft, most, error)


def _in_use(limit: int) -> int:
    """Return roughly how many descriptors are open, judging by the lowest free one, which the system assigns next."""
    try:
        lowest, other = os.pipe()
    except OSError:
        return limit
    os.close(lowest)
    os.close(other)
    return lowest
