"""Latency of a small push and fetch: requests in sequence, and the time without any network."""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

from aioassets import AssetsManager, MemoryDriver
from benchmarks.runners.job import KEY, Job, Measured
from benchmarks.runners.meter import Meter

sys.path.append(str(Path(__file__).parents[2] / "tests"))

from tools.interposer import Interposer

DELAY: Final = 0.1
"""Seconds of each request. It is so long that all other work takes less than one request."""
CACHED: Final = 500
"""Cached fetches for one median."""

Operation = Callable[[AssetsManager], Awaitable[Any]]


def run(job: Job) -> Measured:
    """Run one operation with and without delay, on a store in memory."""
    return asyncio.run(_run(job))


async def _run(job: Job) -> Measured:
    prepare, operation = _operations(job.source)[job.action]
    requests, delayed = await _delayed(Path(job.target, "delayed"), prepare, operation)
    async with AssetsManager(driver=MemoryDriver(), assets_dir=Path(job.target, "plain")) as manager:
        await _all(manager, prepare)
        async with Meter() as meter:
            await operation(manager)
        extra: dict[str, float] = {"requests": requests, "in sequence": delayed // DELAY}
        if job.action == "fetch-pinned-cached":
            extra["ms each"] = 1000 * await _median(manager, operation)
    return meter.result(**extra)


def _operations(source: str) -> dict[str, tuple[tuple[Operation, ...], Operation]]:
    """Return the operations to prepare and to measure, by action."""

    async def probe(manager: AssetsManager) -> None:  # once a week and store
        await manager.create_asset(source, "warm-up")

    async def create(manager: AssetsManager) -> None:
        await manager.create_asset(source, KEY)

    async def update(manager: AssetsManager) -> None:
        await manager.update_asset(source, KEY)

    async def fetch(manager: AssetsManager) -> None:
        await manager.fetch_asset(KEY)

    async def fetch_pinned(manager: AssetsManager) -> None:
        await manager.fetch_asset(f"{KEY}:0.0")

    return {
        "create": ((probe,), create),
        "update": ((probe, create), update),
        "fetch-latest": ((create,), fetch),
        "fetch-latest-cached": ((create, fetch), fetch),
        "fetch-pinned": ((create,), fetch_pinned),
        "fetch-pinned-cached": ((create, fetch), fetch_pinned),
    }


async def _delayed(assets_dir: Path, prepare: tuple[Operation, ...], operation: Operation) -> tuple[int, float]:
    """Return the number of requests, and the time that the operation takes if each of them takes `DELAY`."""
    driver = Interposer(MemoryDriver())
    async with AssetsManager(driver=driver, assets_dir=assets_dir) as manager:
        await _all(manager, prepare)
        driver.calls.clear()
        driver.hook = _wait
        start = time.perf_counter()
        await operation(manager)
        return len(driver.calls), time.perf_counter() - start


async def _wait(moment: str, method: str, key: str) -> None:
    if moment == "before":
        await asyncio.sleep(DELAY)


async def _all(manager: AssetsManager, operations: tuple[Operation, ...]) -> None:
    for operation in operations:
        await operation(manager)


async def _median(manager: AssetsManager, operation: Operation) -> float:
    times = []
    for _ in range(CACHED):
        start = time.perf_counter()
        await operation(manager)
        times.append(time.perf_counter() - start)
    return statistics.median(times)
