"""The clock for measuring elapsed time."""

from __future__ import annotations

import time
from typing import Final

_CLOCK: Final[int] = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def elapsed() -> float:
    """Return the time in seconds from a monotonic clock that keeps running while the machine is suspended.

    On Linux and macOS, `time.monotonic` stops while the machine is suspended, so old data would look fresh afterwards.
    """
    return time.clock_gettime(_CLOCK)
