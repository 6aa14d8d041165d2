"""Clocks of this machine."""

from __future__ import annotations

import time
from typing import Final

_CLOCK: Final[int] = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def elapsed() -> float:
    """Return the seconds of a monotonic clock that also runs while the machine sleeps.

    `time.monotonic` stops in suspend on Linux and macOS, so that old data would look fresh afterwards.
    """
    return time.clock_gettime(_CLOCK)
