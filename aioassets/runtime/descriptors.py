"""The limit of open files of this process."""

from __future__ import annotations

import logging
import os
import resource
from typing import Final

logger = logging.getLogger(__name__)

RESERVED: Final = 64
"""Descriptors left for threads that read and write files, for cleaning up, and for the rest of the program."""
PER_REQUEST: Final = 4
"""Descriptors for each request at once: its connection, one to the source's store, an open file, and room."""
FEWEST: Final = 2
"""Minimum of requests at once. A limit of open files that doesn't allow them causes errors."""
MOST: Final = 10_240
"""Limit of open files to which a command raises its own. macOS allows no more."""


def fitting(wanted: int) -> int:
    """Return the number of requests, or of files that are kept open, that the limit of open files allows.

    Args:
        wanted: the maximum to return.
    """
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY:
        return wanted
    allowed = max(FEWEST, (limit - _in_use(limit) - RESERVED) // PER_REQUEST)
    if allowed < wanted:
        logger.info("At most %d requests at once, since the limit of open files is %d (ulimit -n)", allowed, limit)
    return min(wanted, allowed)


def raise_limit() -> None:
    """Raise the limit of open files of this process as far as the system allows. For programs, not for libraries."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = MOST if hard == resource.RLIM_INFINITY else min(hard, MOST)
    if soft == resource.RLIM_INFINITY or soft >= most:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    except (OSError, ValueError) as error:
        logger.info("Cannot raise the limit of open files from %d to %d: %s", soft, most, error)


def _in_use(limit: int) -> int:
    """Return about how many descriptors are open: the system assigns the lowest free number."""
    try:
        lowest, other = os.pipe()
    except OSError:
        return limit
    os.close(lowest)
    os.close(other)
    return lowest
