"""Conformance tests for drivers, which driver authors inherit in their own test suites.

::

    class TestMyDriver(DriverConformance):
        @pytest.fixture
        async def driver(self):
            async with MyDriver(fresh_bucket()) as driver:
                yield driver

The tests require pytest, and pytest-asyncio in auto mode. For detailed assertion messages, call
`pytest.register_assert_rewrite("aioassets.testing")` in `conftest.py`.
"""

from __future__ import annotations

from aioassets.testing.compositions import CompositionConformance
from aioassets.testing.copies import CopyConformance
from aioassets.testing.documents import DocumentConformance
from aioassets.testing.listings import ListingConformance
from aioassets.testing.presigning import PresignConformance
from aioassets.testing.ranges import RangeConformance
from aioassets.testing.sources import BytesSource
from aioassets.testing.streams import StreamConformance
from aioassets.testing.uploads import UploadConformance

__all__ = ["BytesSource", "DriverConformance"]


class DriverConformance(
    DocumentConformance,
    UploadConformance,
    StreamConformance,
    RangeConformance,
    ListingConformance,
    CopyConformance,
    CompositionConformance,
    PresignConformance,
):
    """Tests for the guarantees of `aioassets.drivers.protocol.Driver`.

    A subclass provides the fixture `driver`: a new driver for an empty bucket.

    Attributes:
        part_size: the size in bytes above which the driver uploads a blob in several parts. The default is
            S3's minimum part size. For a driver without multipart uploads, it can be smaller.
        composes: whether the driver can compose objects. If not, the tests of compositions are skipped.
        presigns: whether the driver of the fixture signs URLs that its server checks. If not, it must refuse to.
    """

    part_size = 5 * 1024 * 1024
    composes = False
    presigns = False
