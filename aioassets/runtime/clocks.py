"""The clock for measuring elapsed time, and times of files."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Final

_CLOCK: Final[int] = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
_EARLIEST: Final = datetime.min.replace(tzinfo=UTC).timestamp()
_LATEST: Final = datetime.max.replace(tzinfo=UTC, microsecond=0).timestamp()


def elapsed() -> float:
    """Return the time in seconds from a monotonic clock that keeps running while the machine is suspended.

    On Linux and macOS, `time.monotonic` stops while the machine is suspended, so old data would look fresh afterwards.
    """
    return time.clock_gettime(_CLOCK)


def utc(timestamp: float) -> datetime:
    """Return a Unix time in seconds as a date in UTC, or the nearest one within the years 1 to 9999.

    Some file systems keep any number that a program or a wrong clock sets as the modification time of a file.
    """
    return datetime.fromtimestamp(min(max(timestamp, _EARLIEST), _LATEST), UTC)
