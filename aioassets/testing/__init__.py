"""Conformance tests for drivers, to be inherited by the test suites of their authors.

::

    class TestMyDriver(DriverConformance):
        @pytest.fixture
        async def driver(self):
            async with MyDriver(fresh_bucket()) as driver:
                yield driver

They need pytest, and pytest-asyncio in its auto mode. Call
`pytest.register_assert_rewrite("aioassets.testing")` in a `conftest.py` for detailed failures.
"""

from __future__ import annotations

from aioassets.testing.copies import CopyConformance
from aioassets.testing.documents import DocumentConformance
from aioassets.testing.listings import ListingConformance
from aioassets.testing.ranges import RangeConformance
from aioassets.testing.sources import BytesSource
from aioassets.testing.uploads import UploadConformance

__all__ = ["BytesSource", "DriverConformance"]


class DriverConformance(DocumentConformance, UploadConformance, RangeConformance, ListingConformance, CopyConformance):
    """Tests of what `aioassets.drivers.protocol.Driver` promises.

    A subclass provides the fixture `driver`: a new driver over an empty bucket.

    Attributes:
        part_size: size in bytes above which the driver uploads a blob in several parts. The default is
            the minimum of S3. A driver without multipart uploads may set a smaller one.
    """

    part_size = 5 * 1024 * 1024
