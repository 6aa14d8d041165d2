"""The driver for Google Cloud Storage keeps a driver's promises, names what goes wrong, and survives lost answers."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from servers import GCSServer

from aioassets.dispatch import Dispatcher, RetryPolicy
from aioassets.drivers._gcs_uploads import CHUNK_UNIT
from aioassets.drivers.gcs import GCSDriver
from aioassets.testing import DriverConformance

servers = pytest.mark.servers
PART_SIZE = CHUNK_UNIT


@pytest.fixture
def bucket(gcs: GCSServer) -> str:
    return gcs.fresh_bucket()


@pytest.fixture
def pauses() -> list[float]:
    """The pauses that retries asked for; nobody waits for them."""
    return []


@pytest.fixture
def retry(pauses: list[float]) -> RetryPolicy:
    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    return RetryPolicy(sleep=sleep)


@pytest.fixture
async def driver(gcs: GCSServer, bucket: str, retry: RetryPolicy) -> AsyncIterator[GCSDriver]:
    async with GCSDriver(bucket, part_size=PART_SIZE, dispatcher=Dispatcher(retry=retry), **gcs.options) as driver:
        yield driver


@servers
class TestGCSDriver(DriverConformance):
    part_size = PART_SIZE
