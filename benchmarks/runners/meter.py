"""Measurement of a block of code within a process."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import time
from pathlib import Path
from typing import Final, Self

from benchmarks.runners.job import Measured

TICK: Final = 0.005
"""Interval of the ticker, in seconds. Longer gaps are stalls that a service would notice."""


class Meter:
    """Meter of the code in `with Meter() as meter`, or in `async with`, which also measures event loop stalls."""

    def __init__(self) -> None:
        self._wall = self._cpu = self._last_tick = 0.0
        self._stall: float | None = None
        self._ticker: asyncio.Task[None] | None = None

    def __enter__(self) -> Self:
        self._cpu = -_cpu_seconds()
        self._wall = -time.perf_counter()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._wall += time.perf_counter()
        self._cpu += _cpu_seconds()

    async def __aenter__(self) -> Self:
        self._stall = 0.0
        self._last_tick = time.perf_counter()
        self._ticker = asyncio.create_task(self._tick())
        return self.__enter__()

    async def __aexit__(self, *exc_info: object) -> None:
        self.__exit__()
        self._note_tick()
        if self._ticker is not None:
            self._ticker.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._ticker

    def result(self, **extra: float) -> Measured:
        """Return the measured values, with further numbers."""
        children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
        return Measured(self._wall, self._cpu, max(memory("VmHWM"), children), self._stall, extra)

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK)
            self._note_tick()

    def _note_tick(self) -> None:
        now = time.perf_counter()
        self._stall = max(self._stall or 0.0, now - self._last_tick)
        self._last_tick = now


def memory(field: str) -> int:
    """Return bytes of this process's memory: `VmRSS` is the current size, `VmHWM` the peak.

    `ru_maxrss` doesn't serve: it begins with the peak of the parent process.
    """
    for line in Path("/proc/self/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return int(value.split()[0]) * 1024
    raise LookupError(field)


def _cpu_seconds() -> float:
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)
