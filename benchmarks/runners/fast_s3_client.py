"""fast-s3, in a running process. It moves whole objects only."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from fast_s3 import AsyncS3Client

from benchmarks.runners.fan_out import Folder, for_each, keys_of
from benchmarks.runners.job import Job, Measured
from benchmarks.runners.meter import Meter


def run(job: Job) -> Measured:
    """Push or fetch with a client that is already connected."""
    return asyncio.run(_run(job))


async def _run(job: Job) -> Measured:
    client = AsyncS3Client(
        endpoint_url=os.environ["AWS_ENDPOINT_URL"],
        access_key=os.environ["AWS_ACCESS_KEY_ID"],
        secret_key=os.environ["AWS_SECRET_ACCESS_KEY"],
        region=os.environ["AWS_DEFAULT_REGION"],
        bucket=job.bucket.removeprefix("s3://"),
    )
    async with client:
        await client.put_object("warm-up", b"data")
        folder = Folder(job.target)
        async with Meter() as meter:
            if job.action == "push":
                await for_each(keys_of(job.source), lambda item: _put(client, *item))
            else:  # it can't list objects
                await for_each(keys_of(job.source), lambda item: _get(client, item[0], folder))
        return meter.result()


async def _put(client: AsyncS3Client, key: str, path: str) -> None:
    await client.put_object(key, Path(path).read_bytes())


async def _get(client: AsyncS3Client, key: str, folder: Folder) -> None:
    folder.write(key, await client.get_object(key))
