"""Conformance tests for uploads."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime

import anyio
import pytest

from aioassets.drivers.protocol import Driver, Expect, OpenUpload
from aioassets.errors import PreconditionFailed
from aioassets.testing.requests import (
    CLOCK_TOLERANCE,
    PartSized,
    assert_empty,
    listed_revision,
    open_uploads,
    race,
    read_all,
    upload_until_aborted,
    winners_of,
)
from aioassets.testing.sources import BrokenSource, BytesSource, FailingSource, StuckSource


class UploadConformance(PartSized):
    """Tests for uploading blobs and resuming uploads."""

    @pytest.mark.parametrize("parts", [0, 0.001, 1, 2.5], ids=["empty", "small", "one part", "several parts"])
    async def test_a_blob_is_stored(self, driver: Driver, parts: float) -> None:
        data = self._content(parts)
        assert (await driver.upload("blob", BytesSource(data))).created
        assert (await driver.stat("blob")).size == len(data)
        assert await read_all(driver, "blob", 0, len(data) + 1) == data

    @pytest.mark.parametrize("parts", [0, 0.001, 2.5], ids=["empty", "small", "several parts"])
    async def test_an_upload_returns_the_revision_of_its_object(self, driver: Driver, parts: float) -> None:
        """It is the revision that `stat` and listings report, also if the object already existed."""
        data = self._content(parts)
        made = await driver.upload("blob", BytesSource(data))
        again = await driver.upload("blob", BytesSource(data))
        resumed = await driver.upload("blob", BytesSource(data), resume=True)
        assert [each.revision for each in (made, again, resumed)] == [(await driver.stat("blob")).revision] * 3
        assert await listed_revision(driver, "blob") in (made.revision, "")
        over = await driver.upload("blob", BytesSource(data + b"!"), expected=Expect.ANYTHING)
        assert over.revision == (await driver.stat("blob")).revision != made.revision

    @pytest.mark.parametrize("parts", [0, 0.001, 2.5], ids=["empty", "small", "several parts"])
    async def test_uploading_the_same_blob_again_succeeds(self, driver: Driver, parts: float) -> None:
        """Nothing is written if the object already has the same contents."""
        data = self._content(parts)
        await driver.upload("blob", BytesSource(data))
        before = await driver.stat("blob")
        assert not (await driver.upload("blob", BytesSource(data))).created
        assert await driver.stat("blob") == before

    @pytest.mark.parametrize("parts", [0.001, 2.5], ids=["small", "several parts"])
    async def test_a_blob_is_never_overwritten(self, driver: Driver, parts: float) -> None:
        """An upload with different contents is refused, whatever their size."""
        data = self._content(parts)
        await driver.upload("blob", BytesSource(data))
        for other in (data[:-1] + b"!", data + b"!", b""):
            with pytest.raises(PreconditionFailed, match="blob"):
                await driver.upload("blob", BytesSource(other))
        assert await read_all(driver, "blob", 0, len(data)) == data

    @pytest.mark.parametrize("parts", [0.001, 2.5], ids=["small", "several parts"])
    async def test_an_unconditional_upload_overwrites(self, driver: Driver, parts: float) -> None:
        data = self._content(parts)
        await driver.upload("blob", BytesSource(b"before"))
        assert (await driver.upload("blob", BytesSource(data), expected=Expect.ANYTHING)).created
        assert await read_all(driver, "blob", 0, len(data)) == data

    @pytest.mark.parametrize("parts", [0.001, 2.5], ids=["small", "several parts"])
    async def test_of_racing_uploads_of_different_bytes_one_wins(self, driver: Driver, parts: float) -> None:
        """The bytes of different uploads are never mixed.

        Some stores don't check the condition atomically when a multipart upload is completed, so more than
        one upload may succeed. That is harmless, because no two pushes upload to the same key.
        """
        blobs = [self._content(parts, salt=n) for n in range(4)]
        results = await race(lambda n: driver.upload("blob", BytesSource(blobs[n])), racers=4)
        winners = winners_of(results)
        assert len(winners) == 1 or (winners and parts > 1)
        assert await read_all(driver, "blob", 0, len(blobs[0])) in [blobs[winner] for winner in winners]

    @pytest.mark.parametrize("parts", [0.001, 2.5], ids=["small", "several parts"])
    async def test_an_upload_whose_source_fails_leaves_nothing(self, driver: Driver, parts: float) -> None:
        """The source's error is raised unchanged, and no object is created."""
        with pytest.raises(BrokenSource):
            await driver.upload("blob", FailingSource(self._content(parts)))
        await assert_empty(driver, "blob")

    @pytest.mark.parametrize("parts", [0.001, 2.5], ids=["small", "several parts"])
    async def test_a_cancelled_upload_leaves_nothing(self, driver: Driver, parts: float) -> None:
        """No object is created, and the next upload to the key succeeds."""
        data = self._content(parts)
        source = StuckSource(data)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(driver.upload, "blob", source)
            await source.stuck.wait()
            tasks.cancel_scope.cancel()
        await assert_empty(driver, "blob")
        assert (await driver.upload("blob", BytesSource(data))).created

    @pytest.mark.parametrize("parts", [0, 0.001, 2.5], ids=["empty", "small", "several parts"])
    async def test_resuming_an_upload_that_is_complete_writes_nothing(self, driver: Driver, parts: float) -> None:
        data = self._content(parts)
        await driver.upload("blob", BytesSource(data))
        before = await driver.stat("blob")
        assert not (await driver.upload("blob", BytesSource(data), resume=True)).created
        assert await driver.stat("blob") == before

    @pytest.mark.parametrize("parts", [0, 0.001, 2.5], ids=["empty", "small", "several parts"])
    async def test_resuming_an_upload_that_left_nothing_stores_it(self, driver: Driver, parts: float) -> None:
        """The source is hashed as in any other upload."""
        data = self._content(parts)
        source = BytesSource(data)
        assert (await driver.upload("blob", source, resume=True)).created
        assert source.digests == {"sha256": hashlib.sha256(data).hexdigest()}
        assert await read_all(driver, "blob", 0, len(data) + 1) == data

    @pytest.mark.parametrize("parts", [0.001, 2.5], ids=["small", "several parts"])
    async def test_resuming_an_upload_overwrites_nothing(self, driver: Driver, parts: float) -> None:
        data = self._content(parts)
        await driver.upload("blob", BytesSource(data))
        for other in (data[:-1] + b"!", b"!" + data[1:], data + b"!", b""):
            with pytest.raises(PreconditionFailed, match="blob"):
                await driver.upload("blob", BytesSource(other), resume=True)
        assert await read_all(driver, "blob", 0, len(data)) == data

    async def test_an_open_upload_is_listed_until_it_is_aborted(self, driver: Driver) -> None:
        """No uploads are listed if the store can't list them. A key is empty if the store doesn't report it."""
        await driver.write("clock", b"", expected=Expect.ABSENT)
        now = (await driver.read("clock")).answered
        await driver.delete(["clock"])
        source = StuckSource(self._content(2.5))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(upload_until_aborted, driver, "team/blob", source)
            await source.stuck.wait()
            found = await open_uploads(driver, "team/blob")
            assert {upload.key for upload in found} <= {"team/blob", ""}
            assert all(abs(upload.active - now) < CLOCK_TOLERANCE for upload in found)
            assert [upload for upload in await open_uploads(driver, "team/other") if upload.key] == []
            for upload in found:
                await driver.abort(upload)
            assert await open_uploads(driver, "team/blob") == []
            tasks.cancel_scope.cancel()
        await assert_empty(driver, "team/blob")

    async def test_aborting_an_upload_that_does_not_exist_is_no_error(self, driver: Driver) -> None:
        """Another process may already have aborted it. Other objects are not affected."""
        await driver.upload("blob", BytesSource(b"data"))
        for key in ("blob", "nothing"):
            await driver.abort(OpenUpload(key, "a0b1c2d3e4f5", datetime.now(UTC)))
        assert await read_all(driver, "blob", 0, 10) == b"data"

    async def test_a_finished_upload_is_not_open(self, driver: Driver) -> None:
        """An upload is finished if it was completed or refused, or if the store already held the same contents."""
        data = self._content(2.5)
        await driver.upload("blob", BytesSource(data))
        await driver.upload("blob", BytesSource(data))
        with pytest.raises(PreconditionFailed):
            await driver.upload("blob", BytesSource(data[:-1]))
        assert await open_uploads(driver, "") == []
