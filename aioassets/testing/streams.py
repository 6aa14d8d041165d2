"""Conformance tests for uploads of unknown size."""

from __future__ import annotations

import anyio
import pytest

from aioassets.drivers.protocol import Driver, Expect
from aioassets.errors import PreconditionFailed
from aioassets.testing.requests import PartSized, assert_empty, open_uploads, read_all
from aioassets.testing.sources import BrokenSource, BytesSource, BytesStream, StuckStream


class StreamConformance(PartSized):
    """Tests for uploading streams."""

    async def test_a_stream_is_stored(self, driver: Driver) -> None:
        """The result contains the revision of the object, as for other uploads."""
        for parts in (0, 0.001, 1, 3):
            key, data = f"blob of {parts} parts", self._content(parts)
            made = await driver.upload_stream(key, BytesStream(data))
            assert made.created
            assert made.revision == (await driver.stat(key)).revision
            assert await read_all(driver, key, 0, len(data) + 1) == data
        assert await open_uploads(driver, "") == []

    async def test_a_stream_never_overwrites_an_object(self, driver: Driver) -> None:
        """It is refused if the object exists, unless it is uploaded unconditionally."""
        data = self._content(2.5)
        await driver.upload("blob", BytesSource(data))
        for other in (data[:-1] + b"!", b""):
            with pytest.raises(PreconditionFailed, match="blob"):
                await driver.upload_stream("blob", BytesStream(other))
        assert await read_all(driver, "blob", 0, len(data)) == data
        assert await open_uploads(driver, "blob") == []
        assert (await driver.upload_stream("blob", BytesStream(data[:-1]), expected=Expect.ANYTHING)).created
        assert await read_all(driver, "blob", 0, len(data)) == data[:-1]

    async def test_a_stream_that_fails_or_is_cancelled_leaves_nothing(self, driver: Driver) -> None:
        """Its error is raised unchanged, no object is created, and the next upload to the key succeeds."""
        data = self._content(2.5)
        for stop in (100, len(data) * 3 // 4):
            with pytest.raises(BrokenSource):
                await driver.upload_stream("blob", BytesStream(data, stop))
            await assert_empty(driver, "blob")
        stream = StuckStream(data, len(data) * 3 // 4)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(driver.upload_stream, "blob", stream)
            await stream.stuck.wait()
            tasks.cancel_scope.cancel()
        await assert_empty(driver, "blob")
        assert (await driver.upload_stream("blob", BytesStream(data))).created
