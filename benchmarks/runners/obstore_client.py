"""obstore, in a running process: whole objects in flight, and ranges of a large one."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Final, TypeAlias

import obstore
from obstore.store import AzureStore, GCSStore, S3Store

from benchmarks.runners.fan_out import Folder, for_each, keys_of
from benchmarks.runners.job import KEY, Job, Measured
from benchmarks.runners.meter import Meter

RANGE: Final = 8 * 1024 * 1024
RANGES: Final = 8
Store: TypeAlias = AzureStore | GCSStore | S3Store


def run(job: Job) -> Measured:
    """Push or fetch with a store that is already connected, or is opened within the measurement."""
    return asyncio.run(_run(job))


async def _run(job: Job) -> Measured:
    store = None if job.opening else _store(job)
    if store is not None:
        await obstore.put_async(store, "warm-up", b"data")
    async with Meter() as meter:
        await _transfer(store or _store(job), job)
    return meter.result()


def _store(job: Job) -> Store:
    scheme, _, name = job.bucket.partition("://")
    if scheme == "az":
        return AzureStore(name, client_options={"allow_http": True})
    if scheme == "gs":
        account = {"client_email": "", "private_key": "", "private_key_id": "", "disable_oauth": True}
        key = json.dumps({**account, "gcs_base_url": os.environ["STORAGE_EMULATOR_HOST"]})
        return GCSStore(name, service_account_key=key, client_options={"allow_http": True})
    return S3Store(
        name,
        endpoint=os.environ["AWS_ENDPOINT_URL"],
        region=os.environ["AWS_DEFAULT_REGION"],
        access_key_id=os.environ["AWS_ACCESS_KEY_ID"],
        secret_access_key=os.environ["AWS_SECRET_ACCESS_KEY"],
        virtual_hosted_style_request=False,
        client_options={"allow_http": True},
    )


async def _transfer(store: Store, job: Job) -> None:
    if job.action == "fetch":
        await _fetch(store, job)
    elif Path(job.source).is_dir():
        await for_each(keys_of(job.source), lambda item: _put(store, *item))
    else:
        await obstore.put_async(store, KEY, Path(job.source))  # obstore splits it into parts


async def _put(store: Store, key: str, path: str) -> None:
    with open(path, "rb", buffering=0) as file:
        data = file.read()
    await obstore.put_async(store, key, data)


async def _fetch(store: Store, job: Job) -> None:
    source, folder = Path(job.source), Folder(job.target)
    if source.is_dir():
        keys = [row["path"] async for rows in obstore.list(store, KEY, chunk_size=1000) for row in rows]
        await for_each(keys, lambda key: _get(store, key, folder))
    elif source.stat().st_size <= RANGE:
        await _get(store, KEY, folder)
    else:
        await _get_ranges(store, Path(job.target))


async def _get(store: Store, key: str, folder: Folder) -> None:
    answer = await obstore.get_async(store, key)
    folder.write(key, memoryview(await answer.bytes_async()))


async def _get_ranges(store: Store, target: Path) -> None:
    size = (await obstore.head_async(store, KEY))["size"]
    target.mkdir(parents=True)
    with (target / KEY).open("wb", buffering=0) as file:

        async def get(start: int) -> None:
            data = await obstore.get_range_async(store, KEY, start=start, length=min(RANGE, size - start))
            await asyncio.to_thread(os.pwrite, file.fileno(), data, start)

        await for_each(range(0, size, RANGE), get, limit=RANGES)
