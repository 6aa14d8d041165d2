"""Conformance tests for reading ranges."""

from __future__ import annotations

import contextlib

import anyio
import pytest

from aioassets.drivers.protocol import Driver, Expect
from aioassets.errors import ObjectNotFound, PreconditionFailed
from aioassets.testing.requests import (
    PartSized,
    read_all,
)
from aioassets.testing.sources import BytesSource


class RangeConformance(PartSized):
    """Tests for reading ranges."""

    async def test_ranges_are_read(self, driver: Driver) -> None:
        """Read the whole object, its middle, its end, a single byte, and an empty range."""
        data = bytes(range(256)) * 16
        await driver.upload("blob", BytesSource(data))
        for start, stop in ((0, 4096), (100, 300), (4000, 4096), (4095, 4096), (7, 7)):
            assert await read_all(driver, "blob", start, stop) == data[start:stop]

    async def test_a_range_ends_at_the_end_of_the_object(self, driver: Driver) -> None:
        """A range that extends or begins beyond the end of the object is not an error."""
        await driver.upload("blob", BytesSource(b"0123456789"))
        assert await read_all(driver, "blob", 6, 100) == b"6789"
        assert await read_all(driver, "blob", 10, 20) == b""
        assert await read_all(driver, "blob", 50, 60) == b""

    async def test_an_empty_object_has_empty_ranges(self, driver: Driver) -> None:
        await driver.upload("blob", BytesSource(b""))
        assert await read_all(driver, "blob", 0, 10) == b""
        assert await read_all(driver, "blob", 0, 0) == b""

    async def test_a_range_of_a_large_blob_is_read(self, driver: Driver) -> None:
        """The range crosses the boundaries between parts."""
        data = self._content(2.5)
        await driver.upload("blob", BytesSource(data))
        start, stop = self.part_size - 10, 2 * self.part_size + 10
        assert await read_all(driver, "blob", start, stop) == data[start:stop]

    async def test_a_range_of_a_pinned_revision_is_read(self, driver: Driver) -> None:
        """The read is refused once the object has a different revision."""
        revision = await driver.write("key", b"first", expected=Expect.ABSENT)
        assert await read_all(driver, "key", 0, 5, revision=revision) == b"first"
        await driver.write("key", b"other", expected=revision)
        with pytest.raises(PreconditionFailed):
            await read_all(driver, "key", 0, 5, revision=revision)

    async def test_a_range_of_a_missing_object_is_not_found(self, driver: Driver) -> None:
        """This applies whether or not a revision is given."""
        revision = await driver.write("key", b"data", expected=Expect.ABSENT)
        with pytest.raises(ObjectNotFound):
            await read_all(driver, "nothing", 0, 10)
        await driver.delete(["key"])
        with pytest.raises((ObjectNotFound, PreconditionFailed)):
            await read_all(driver, "key", 0, 10, revision=revision)

    async def test_a_range_can_be_closed_early(self, driver: Driver) -> None:
        """The driver still works after the iterator has been closed."""
        data = self._content(2.5)
        await driver.upload("blob", BytesSource(data))
        async with contextlib.aclosing(driver.read_range("blob", 0, len(data))) as chunks:
            first = await anext(chunks)
        assert data.startswith(first)
        assert await read_all(driver, "blob", 0, 10) == data[:10]

    async def test_the_local_path_of_an_object_has_its_bytes(self, driver: Driver) -> None:
        """The path can be requested for any key, even if there is no such object."""
        data = self._content(0.1)
        await driver.upload("folder/blob", BytesSource(data))
        path = driver.local_path("folder/blob")
        assert path is None or await anyio.Path(path).read_bytes() == data
        for key in ("nothing", "folder//blob", "../blob"):
            path = driver.local_path(key)
            assert path is None or not await anyio.Path(path).exists()
