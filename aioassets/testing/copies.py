"""Conformance tests for server-side copies."""

from __future__ import annotations

import pytest

from aioassets.drivers.protocol import Driver, Expect
from aioassets.errors import NotSameStore, ObjectNotFound, PreconditionFailed
from aioassets.testing.requests import (
    PartSized,
    listed_revision,
    read_all,
)
from aioassets.testing.sources import BytesSource


class CopyConformance(PartSized):
    """Tests for server-side copies."""

    async def test_an_object_is_copied_on_the_server_side(self, driver: Driver) -> None:
        """The copy has the same checksums as the original."""
        data = b"content" * 100
        await driver.upload("source", BytesSource(data))
        info = await driver.stat("source")
        try:
            copy = await driver.copy(driver, info, "folder/copy of it")
        except NotSameStore:
            return  # the store has no server-side copy
        assert (copy.key, copy.size) == ("folder/copy of it", len(data))
        assert copy.checksums == info.checksums
        assert await read_all(driver, "folder/copy of it", 0, 10_000) == data

    async def test_a_copy_has_the_revision_that_it_returns(self, driver: Driver) -> None:
        """It is the revision that `stat` reports, also if the copy already existed."""
        await driver.upload("source", BytesSource(b"content"))
        info = await driver.stat("source")
        try:
            copies = [await driver.copy(driver, info, "copy") for _ in range(2)]
        except NotSameStore:
            return  # the store has no server-side copy
        assert [copy.revision for copy in copies] == [(await driver.stat("copy")).revision] * 2
        assert await listed_revision(driver, "copy") in (copies[0].revision, "")

    @pytest.mark.parametrize("parts", [0.001, 2.5], ids=["small", "several parts"])
    async def test_a_copy_overwrites_nothing(self, driver: Driver, parts: float) -> None:
        """A copy succeeds if the target already has the same contents, and is refused if the contents differ."""
        data = self._content(parts)
        other = data[:-1] + b"!"
        for key in ("source", "same"):
            await driver.upload(key, BytesSource(data))
        await driver.upload("other", BytesSource(other))
        info = await driver.stat("source")
        try:
            assert (await driver.copy(driver, info, "same")).size == info.size
        except NotSameStore:
            return  # the store has no server-side copy
        with pytest.raises(PreconditionFailed):
            await driver.copy(driver, info, "other")
        assert await read_all(driver, "other", 0, len(data)) == other

    async def test_a_copy_is_pinned_to_its_revision(self, driver: Driver) -> None:
        """An object is not copied if it has been changed or deleted in the meantime."""
        await driver.upload("source", BytesSource(b"before"))
        info = await driver.stat("source")
        await driver.upload("source", BytesSource(b"after!"), expected=Expect.ANYTHING)
        try:
            with pytest.raises(PreconditionFailed):
                await driver.copy(driver, info, "copy")
        except NotSameStore:
            return  # the store has no server-side copy
        await driver.delete(["source"])
        with pytest.raises((ObjectNotFound, PreconditionFailed)):
            await driver.copy(driver, info, "copy")
        with pytest.raises(ObjectNotFound):
            await driver.stat("copy")
