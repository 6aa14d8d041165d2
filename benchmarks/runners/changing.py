"""aioassets, in a running process: a first push of a folder, and a push after a change of some files."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

from aioassets import AssetsManager
from benchmarks.runners.changes import change
from benchmarks.runners.job import KEY, Job, Measured
from benchmarks.runners.meter import Meter


def run(job: Job) -> Measured:
    """Copy or change the folder, and push it."""
    folder = Path(job.target).parent
    if job.action == "first":
        shutil.copytree(job.source, folder / "work")
    else:
        change(folder / "work")
    return asyncio.run(_push(job, folder))


async def _push(job: Job, folder: Path) -> Measured:
    async with AssetsManager(job.bucket, assets_dir=folder / "assets") as manager:
        await manager.update_assets({"warm-up": __file__}, create_missing=True)
        push = manager.create_asset if job.action == "first" else manager.update_asset
        async with Meter() as meter:
            await push(folder / "work", KEY)
        return meter.result()
