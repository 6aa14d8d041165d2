"""The S3 driver keeps a driver's promises, and names what goes wrong."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from servers import S3Server

from aioassets.drivers.s3 import MIN_PART_SIZE, S3Driver
from aioassets.testing import DriverConformance


@pytest.fixture
def bucket(seaweedfs: S3Server) -> str:
    return seaweedfs.fresh_bucket()


@pytest.mark.servers
class TestS3Driver(DriverConformance):
    part_size = MIN_PART_SIZE

    @pytest.fixture
    async def driver(self, seaweedfs: S3Server, bucket: str) -> AsyncIterator[S3Driver]:
        async with S3Driver(bucket, part_size=self.part_size, **seaweedfs.options) as driver:
            yield driver
