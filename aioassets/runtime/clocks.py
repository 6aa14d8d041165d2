"""Clocks of this machine."""

from __future__ import annotations

import time
from typing import Final

_CLOCK: Final[int] = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def elapsed() -> float:
    """Return seconds since some fixed moment, by a clock that never goes back and runs on while the machine sleeps.

    Linux stops `time.monotonic` in suspend, macOS too. What was read before a laptop was closed would look fresh.
    """
    return time.clock_gettime(_CLOCK)
