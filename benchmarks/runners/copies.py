"""A store that copies the 99% of its objects that did not change, without any push around it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from aiobotocore.config import AioConfig
from aiobotocore.session import get_session

from benchmarks.runners.changes import SHARE
from benchmarks.runners.fan_out import IN_FLIGHT, for_each, keys_of
from benchmarks.runners.job import KEY, Job, Measured
from benchmarks.runners.meter import Meter


def run(job: Job) -> Measured:
    """Upload all files, or have the store copy the objects of those that did not change."""
    return asyncio.run(_run(job, job.bucket.removeprefix("s3://")))


async def _run(job: Job, bucket: str) -> Measured:
    session: Any = get_session()
    async with session.create_client("s3", config=AioConfig(max_pool_connections=IN_FLIGHT)) as client:
        await client.put_object(Bucket=bucket, Key="warm-up", Body=b"data")
        items = sorted(keys_of(job.source), key=lambda item: item[1])
        async with Meter() as meter:
            if job.action == "first":
                await for_each(items, lambda item: _put(client, bucket, *item))
            else:
                kept = [key for number, (key, _) in enumerate(items) if number % SHARE]
                await for_each(kept, lambda key: _copy(client, bucket, key))
        return meter.result()


async def _put(client: Any, bucket: str, key: str, path: str) -> None:
    await client.put_object(Bucket=bucket, Key=key, Body=await asyncio.to_thread(Path(path).read_bytes))


async def _copy(client: Any, bucket: str, key: str) -> None:
    target = f"{KEY}-copy/{key}"
    await client.copy_object(Bucket=bucket, Key=target, CopySource={"Bucket": bucket, "Key": key}, IfNoneMatch="*")
