"""aiobotocore's plain calls, in a running process."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from aiobotocore.config import AioConfig
from aiobotocore.session import get_session

from benchmarks.runners.fan_out import IN_FLIGHT, Folder, for_each, keys_of
from benchmarks.runners.job import KEY, Job, Measured
from benchmarks.runners.meter import Meter


def run(job: Job) -> Measured:
    """Push or fetch with a client that is already connected, or is opened within the measurement."""
    return asyncio.run(_opening(job) if job.opening else _running(job))


async def _opening(job: Job) -> Measured:
    async with Meter() as meter, _client() as client:
        await _transfer(client, job)
    return meter.result()


async def _running(job: Job) -> Measured:
    async with _client() as client:
        await client.put_object(Bucket=_bucket(job), Key="warm-up", Body=b"data")
        async with Meter() as meter:
            await _transfer(client, job)
        return meter.result()


def _client() -> contextlib.AbstractAsyncContextManager[Any]:
    client: contextlib.AbstractAsyncContextManager[Any] = get_session().create_client(
        "s3", config=AioConfig(max_pool_connections=IN_FLIGHT)
    )
    return client


def _bucket(job: Job) -> str:
    return job.bucket.removeprefix("s3://")


async def _transfer(client: Any, job: Job) -> None:
    if job.action == "push":
        await for_each(keys_of(job.source), lambda item: _put(client, job, *item))
        return
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=_bucket(job), Prefix=f"{KEY}/")
    keys = [row["Key"] async for page in pages for row in page["Contents"]]
    folder = Folder(job.target)
    await for_each(keys, lambda key: _get(client, job, key, folder))


async def _put(client: Any, job: Job, key: str, path: str) -> None:
    with open(path, "rb", buffering=0) as file:
        data = file.read()
    await client.put_object(Bucket=_bucket(job), Key=key, Body=data)


async def _get(client: Any, job: Job, key: str, folder: Folder) -> None:
    answer = await client.get_object(Bucket=_bucket(job), Key=key)
    async with answer["Body"] as body:
        folder.write(key, await body.read())
