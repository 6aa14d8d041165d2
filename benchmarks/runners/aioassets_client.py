"""The library aioassets, in a running process."""

from __future__ import annotations

import asyncio
from pathlib import Path

from aioassets import AssetsManager
from benchmarks.runners.job import KEY, Job, Measured
from benchmarks.runners.meter import Meter

WARM_UP = "warm-up"


def run(job: Job) -> Measured:
    """Push or fetch with a manager that is already open, or is opened within the measurement."""
    return asyncio.run(_opening(job) if job.opening else _running(job))


async def _opening(job: Job) -> Measured:
    async with Meter() as meter, AssetsManager(job.bucket, assets_dir=job.target) as manager:
        await _transfer(manager, job)
    return meter.result()


async def _running(job: Job) -> Measured:
    async with AssetsManager(job.bucket, assets_dir=job.target) as manager:
        await _open(manager, job)
        async with Meter() as meter:
            await _transfer(manager, job)
        return meter.result()


async def _open(manager: AssetsManager, job: Job) -> None:
    """Connect, and probe the store."""
    if job.action == "push":
        await manager.create_asset(__file__, WARM_UP)
    else:
        await manager.fetch_asset(WARM_UP)


async def _transfer(manager: AssetsManager, job: Job) -> None:
    if job.action == "push" and job.apart:
        folders = sorted(folder for folder in Path(job.source).iterdir() if folder.is_dir())
        await manager.update_assets({f"{KEY}/{folder.name}": folder for folder in folders}, create_missing=True)
    elif job.action == "push":
        await manager.create_asset(job.source, KEY)
    else:
        await manager.fetch_asset(KEY)
