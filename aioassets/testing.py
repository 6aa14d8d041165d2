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

import contextlib
import hashlib
import itertools
import os
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import pytest

from aioassets.drivers.protocol import CommonPrefix, Driver, Expect, ObjectInfo, OpenUpload, Revision
from aioassets.errors import AioAssetsError, DocumentTooLarge, NotSameStore, ObjectNotFound, PreconditionFailed
from aioassets.runtime.tasks import for_each

__all__ = ["BytesSource", "DriverConformance"]

RACERS = 20
MANY = 1100
"""Number of keys that exceeds one page of a listing and one batch of deletions."""
CLOCK_TOLERANCE = timedelta(seconds=5)


class BytesSource:
    """`Source` over bytes in memory.

    Args:
        data: the content.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._hash = hashlib.sha256()
        self._hashed = 0

    @property
    def size(self) -> int:
        return len(self._data)

    @property
    def digests(self) -> Mapping[str, str]:
        return {"sha256": self._hash.hexdigest()} if self._hashed == self.size else {}

    async def read(self, offset: int, size: int) -> bytes:
        assert offset <= self._hashed, f"read at {offset} before the bytes from {self._hashed}"
        data = self._data[offset : offset + size]
        assert len(data) == size, f"asked for {size} bytes at {offset} of {self.size}"
        if offset == self._hashed:
            self._hash.update(data)
            self._hashed += size
        return data

    async def copy_to(self, descriptor: int, offset: int, size: int) -> bool:
        return False


class _BrokenSource(BytesSource):
    """Source that raises when its second half is read."""

    async def read(self, offset: int, size: int) -> bytes:
        if offset + size > self.size // 2:
            raise BrokenSource
        return await super().read(offset, size)


class _StuckSource(BytesSource):
    """Source that sets `stuck` and waits for ever when its second half is read."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.stuck = anyio.Event()

    async def read(self, offset: int, size: int) -> bytes:
        if offset + size > self.size // 2:
            self.stuck.set()
            await anyio.sleep_forever()
        return await super().read(offset, size)


class _RandomDocument:
    """`StreamedDocument` with random content."""

    def __init__(self) -> None:
        self._piece = os.urandom(300_000)
        self.sha256 = hashlib.sha256(bytes(self)).hexdigest()

    def __len__(self) -> int:
        return 8 * len(self._piece)

    def __iter__(self) -> Iterator[bytes]:
        return itertools.repeat(self._piece, 8)

    def __bytes__(self) -> bytes:
        return b"".join(self)


class BrokenSource(Exception):
    """Error of a source of this suite."""


class DriverConformance:
    """Tests of the promises of `aioassets.drivers.protocol.Driver`.

    A subclass provides the fixture `driver`: a new driver over an empty bucket.

    Attributes:
        part_size: size in bytes above which the driver uploads a blob in several parts. The default is
            the minimum of S3. A driver without multipart uploads may set a smaller one.
    """

    part_size = 5 * 1024 * 1024

    # Documents

    async def test_a_written_document_is_read_back(self, driver: Driver) -> None:
        revision = await driver.write("team/model.versions", b'{"versions": []}', expected=Expect.ABSENT)
        document = await driver.read("team/model.versions")
        assert document.data == b'{"versions": []}'
        assert document.revision == revision

    async def test_an_empty_document_exists(self, driver: Driver) -> None:
        await driver.write("empty", b"", expected=Expect.ABSENT)
        assert (await driver.read("empty")).data == b""
        assert (await driver.stat("empty")).size == 0

    async def test_a_missing_document_is_not_found(self, driver: Driver) -> None:
        """The error names the object."""
        with pytest.raises(ObjectNotFound, match="nothing/here"):
            await driver.read("nothing/here")

    async def test_a_document_above_the_limit_is_refused(self, driver: Driver) -> None:
        """A large document must not fill the memory. One of exactly the limit is read."""
        await driver.write("key", b"x" * 1000, expected=Expect.ABSENT)
        assert (await driver.read("key", limit=1000)).data == b"x" * 1000
        with pytest.raises(DocumentTooLarge, match="key is invalid: it is larger than the 999 bytes") as caught:
            await driver.read("key", limit=999)
        assert (caught.value.size, caught.value.limit) == (1000, 999)

    async def test_a_document_is_created_once(self, driver: Driver) -> None:
        await driver.write("key", b"first", expected=Expect.ABSENT)
        with pytest.raises(PreconditionFailed, match="key"):
            await driver.write("key", b"second", expected=Expect.ABSENT)
        assert (await driver.read("key")).data == b"first"

    async def test_a_document_is_swapped_at_its_revision(self, driver: Driver) -> None:
        """Each write returns a new revision."""
        first = await driver.write("key", b"first", expected=Expect.ABSENT)
        second = await driver.write("key", b"second", expected=first)
        document = await driver.read("key")
        assert (document.data, document.revision) == (b"second", second)
        assert second != first

    async def test_a_stale_revision_is_refused(self, driver: Driver) -> None:
        first = await driver.write("key", b"first", expected=Expect.ABSENT)
        await driver.write("key", b"second", expected=first)
        with pytest.raises(PreconditionFailed):
            await driver.write("key", b"third", expected=first)
        assert (await driver.read("key")).data == b"second"

    async def test_swapping_a_missing_document_is_refused(self, driver: Driver) -> None:
        """A swap never creates a document."""
        revision = await driver.write("key", b"first", expected=Expect.ABSENT)
        await driver.delete(["key"])
        with pytest.raises(PreconditionFailed):
            await driver.write("key", b"second", expected=revision)
        with pytest.raises(ObjectNotFound):
            await driver.read("key")

    async def test_a_long_document_is_created_once_and_swapped_at_its_revision(self, driver: Driver) -> None:
        """The same conditions hold for a `StreamedDocument`."""
        first, second = _RandomDocument(), _RandomDocument()
        revision = await driver.write("key", first, expected=Expect.ABSENT)
        with pytest.raises(PreconditionFailed, match="key"):
            await driver.write("key", second, expected=Expect.ABSENT)
        assert (await driver.read("key")).data == bytes(first)
        swapped = await driver.write("key", second, expected=revision)
        with pytest.raises(PreconditionFailed):
            await driver.write("key", first, expected=revision)
        document = await driver.read("key")
        assert (document.data, document.revision) == (bytes(second), swapped)

    async def test_an_unconditional_write_creates_and_overwrites(self, driver: Driver) -> None:
        await driver.write("key", b"first", expected=Expect.ANYTHING)
        await driver.write("key", b"second", expected=Expect.ANYTHING)
        assert (await driver.read("key")).data == b"second"

    async def test_of_racing_creates_one_wins(self, driver: Driver) -> None:
        results = await _race(lambda n: driver.write("key", b"by %d" % n, expected=Expect.ABSENT))
        (winner,) = _winners(results)
        assert (await driver.read("key")).data == b"by %d" % winner

    async def test_of_racing_swaps_one_wins(self, driver: Driver) -> None:
        revision = await driver.write("key", b"before", expected=Expect.ABSENT)
        results = await _race(lambda n: driver.write("key", b"by %d" % n, expected=revision))
        (winner,) = _winners(results)
        document = await driver.read("key")
        assert (document.data, document.revision) == (b"by %d" % winner, results[winner])

    async def test_a_document_has_the_times_of_its_write_and_its_response(self, driver: Driver) -> None:
        """Both times are the store's, so they are close to one another after a write."""
        await driver.write("key", b"data", expected=Expect.ABSENT)
        document = await driver.read("key")
        assert document.modified.utcoffset() is not None
        assert document.answered.utcoffset() is not None
        assert abs(document.answered - document.modified) < CLOCK_TOLERANCE

    # Describing

    async def test_stat_describes_an_object(self, driver: Driver) -> None:
        """Its revision stays the same until the object changes, and pins reads."""
        revision = await driver.write("key", b"data", expected=Expect.ABSENT)
        info = await driver.stat("key")
        assert (info.key, info.size) == ("key", 4)
        assert info.modified.utcoffset() is not None
        assert (await driver.stat("key")).revision == info.revision
        assert await _content(driver, "key", 0, 4, revision=info.revision) == b"data"
        await driver.write("key", b"more", expected=revision)
        assert (await driver.stat("key")).revision != info.revision
        with pytest.raises(PreconditionFailed):
            await _content(driver, "key", 0, 4, revision=info.revision)

    async def test_stat_of_a_missing_object_is_not_found(self, driver: Driver) -> None:
        with pytest.raises(ObjectNotFound):
            await driver.stat("nothing/here")

    async def test_reported_checksums_are_right(self, driver: Driver) -> None:
        """A store may report none. Those that it reports are digests of the whole content."""
        await driver.upload("key", BytesSource(b"data"))
        checksums = (await driver.stat("key")).checksums
        assert checksums.get("sha256") in (None, hashlib.sha256(b"data").hexdigest())

    # Uploading

    @pytest.mark.parametrize("parts", [0, 0.001, 1, 2.5], ids=["empty", "small", "one part", "several parts"])
    async def test_a_blob_is_stored(self, driver: Driver, parts: float) -> None:
        data = self._content(parts)
        assert (await driver.upload("blob", BytesSource(data))).created
        assert (await driver.stat("blob")).size == len(data)
        assert await _content(driver, "blob", 0, len(data) + 1) == data

    @pytest.mark.parametrize("parts", [0, 0.001, 2.5], ids=["empty", "small", "several parts"])
    async def test_uploading_the_same_blob_again_succeeds(self, driver: Driver, parts: float) -> None:
        """Nothing is written if the same bytes exist."""
        data = self._content(parts)
        await driver.upload("blob", BytesSource(data))
        before = await driver.stat("blob")
        assert not (await driver.upload("blob", BytesSource(data))).created
        assert await driver.stat("blob") == before

    @pytest.mark.parametrize("parts", [0.001, 2.5], ids=["small", "several parts"])
    async def test_a_blob_is_never_overwritten(self, driver: Driver, parts: float) -> None:
        """Different bytes of any size are refused."""
        data = self._content(parts)
        await driver.upload("blob", BytesSource(data))
        for other in (data[:-1] + b"!", data + b"!", b""):
            with pytest.raises(PreconditionFailed, match="blob"):
                await driver.upload("blob", BytesSource(other))
        assert await _content(driver, "blob", 0, len(data)) == data

    @pytest.mark.parametrize("parts", [0.001, 2.5], ids=["small", "several parts"])
    async def test_an_unconditional_upload_overwrites(self, driver: Driver, parts: float) -> None:
        data = self._content(parts)
        await driver.upload("blob", BytesSource(b"before"))
        assert (await driver.upload("blob", BytesSource(data), expected=Expect.ANYTHING)).created
        assert await _content(driver, "blob", 0, len(data)) == data

    @pytest.mark.parametrize("parts", [0.001, 2.5], ids=["small", "several parts"])
    async def test_of_racing_uploads_of_different_bytes_one_wins(self, driver: Driver, parts: float) -> None:
        """The bytes of several uploads are never mixed.

        Some stores don't check the condition of a multipart completion atomically. That is harmless,
        because no two pushes upload to the same key.
        """
        blobs = [self._content(parts, salt=n) for n in range(4)]
        results = await _race(lambda n: driver.upload("blob", BytesSource(blobs[n])), racers=4)
        winners = _winners(results)
        assert len(winners) == 1 or (winners and parts > 1)
        assert await _content(driver, "blob", 0, len(blobs[0])) in [blobs[winner] for winner in winners]

    @pytest.mark.parametrize("parts", [0.001, 2.5], ids=["small", "several parts"])
    async def test_an_upload_whose_source_fails_leaves_nothing(self, driver: Driver, parts: float) -> None:
        """The error of the source is raised unchanged, and no object exists."""
        with pytest.raises(BrokenSource):
            await driver.upload("blob", _BrokenSource(self._content(parts)))
        await _assert_empty(driver, "blob")

    @pytest.mark.parametrize("parts", [0.001, 2.5], ids=["small", "several parts"])
    async def test_a_cancelled_upload_leaves_nothing(self, driver: Driver, parts: float) -> None:
        """No object exists, and the next upload of the key succeeds."""
        data = self._content(parts)
        source = _StuckSource(data)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(driver.upload, "blob", source)
            await source.stuck.wait()
            tasks.cancel_scope.cancel()
        await _assert_empty(driver, "blob")
        assert (await driver.upload("blob", BytesSource(data))).created

    # Resuming

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
        assert await _content(driver, "blob", 0, len(data) + 1) == data

    @pytest.mark.parametrize("parts", [0.001, 2.5], ids=["small", "several parts"])
    async def test_resuming_an_upload_overwrites_nothing(self, driver: Driver, parts: float) -> None:
        data = self._content(parts)
        await driver.upload("blob", BytesSource(data))
        for other in (data[:-1] + b"!", b"!" + data[1:], data + b"!", b""):
            with pytest.raises(PreconditionFailed, match="blob"):
                await driver.upload("blob", BytesSource(other), resume=True)
        assert await _content(driver, "blob", 0, len(data)) == data

    async def test_an_open_upload_is_listed_until_it_is_aborted(self, driver: Driver) -> None:
        """A store that can't list them yields none, and one that doesn't know their keys yields empty ones."""
        await driver.write("clock", b"", expected=Expect.ABSENT)
        now = (await driver.read("clock")).answered
        await driver.delete(["clock"])
        source = _StuckSource(self._content(2.5))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_upload_that_is_aborted, driver, "team/blob", source)
            await source.stuck.wait()
            found = await _open_uploads(driver, "team/blob")
            assert {upload.key for upload in found} <= {"team/blob", ""}
            assert all(abs(upload.active - now) < CLOCK_TOLERANCE for upload in found)
            assert [upload for upload in await _open_uploads(driver, "team/other") if upload.key] == []
            for upload in found:
                await driver.abort(upload)
            assert await _open_uploads(driver, "team/blob") == []
            tasks.cancel_scope.cancel()
        await _assert_empty(driver, "team/blob")

    async def test_aborting_an_upload_that_does_not_exist_is_no_error(self, driver: Driver) -> None:
        """Another process may have aborted it. Other objects stay untouched."""
        await driver.upload("blob", BytesSource(b"data"))
        for key in ("blob", "nothing"):
            await driver.abort(OpenUpload(key, "a0b1c2d3e4f5", datetime.now(UTC)))
        assert await _content(driver, "blob", 0, 10) == b"data"

    async def test_a_finished_upload_is_not_open(self, driver: Driver) -> None:
        """Whether it was completed, was refused, or found the same bytes."""
        data = self._content(2.5)
        await driver.upload("blob", BytesSource(data))
        await driver.upload("blob", BytesSource(data))
        with pytest.raises(PreconditionFailed):
            await driver.upload("blob", BytesSource(data[:-1]))
        assert await _open_uploads(driver, "") == []

    # Reading ranges

    async def test_ranges_are_read(self, driver: Driver) -> None:
        """The whole object, its middle, its end, one byte, and none."""
        data = bytes(range(256)) * 16
        await driver.upload("blob", BytesSource(data))
        for start, stop in ((0, 4096), (100, 300), (4000, 4096), (4095, 4096), (7, 7)):
            assert await _content(driver, "blob", start, stop) == data[start:stop]

    async def test_a_range_ends_at_the_end_of_the_object(self, driver: Driver) -> None:
        """Bytes beyond the end are not an error."""
        await driver.upload("blob", BytesSource(b"0123456789"))
        assert await _content(driver, "blob", 6, 100) == b"6789"
        assert await _content(driver, "blob", 10, 20) == b""
        assert await _content(driver, "blob", 50, 60) == b""

    async def test_an_empty_object_has_empty_ranges(self, driver: Driver) -> None:
        await driver.upload("blob", BytesSource(b""))
        assert await _content(driver, "blob", 0, 10) == b""
        assert await _content(driver, "blob", 0, 0) == b""

    async def test_a_range_of_a_large_blob_is_read(self, driver: Driver) -> None:
        """The range crosses the boundaries of its parts."""
        data = self._content(2.5)
        await driver.upload("blob", BytesSource(data))
        start, stop = self.part_size - 10, 2 * self.part_size + 10
        assert await _content(driver, "blob", start, stop) == data[start:stop]

    async def test_a_range_of_a_pinned_revision_is_read(self, driver: Driver) -> None:
        """It is refused once the object is at another revision."""
        revision = await driver.write("key", b"first", expected=Expect.ABSENT)
        assert await _content(driver, "key", 0, 5, revision=revision) == b"first"
        await driver.write("key", b"other", expected=revision)
        with pytest.raises(PreconditionFailed):
            await _content(driver, "key", 0, 5, revision=revision)

    async def test_a_range_of_a_missing_object_is_not_found(self, driver: Driver) -> None:
        """With or without a revision."""
        revision = await driver.write("key", b"data", expected=Expect.ABSENT)
        with pytest.raises(ObjectNotFound):
            await _content(driver, "nothing", 0, 10)
        await driver.delete(["key"])
        with pytest.raises((ObjectNotFound, PreconditionFailed)):
            await _content(driver, "key", 0, 10, revision=revision)

    async def test_a_range_can_be_closed_early(self, driver: Driver) -> None:
        """The driver works on after its iterator is closed."""
        data = self._content(2.5)
        await driver.upload("blob", BytesSource(data))
        async with contextlib.aclosing(driver.read_range("blob", 0, len(data))) as chunks:
            first = await anext(chunks)
        assert data.startswith(first)
        assert await _content(driver, "blob", 0, 10) == data[:10]

    async def test_the_local_path_of_an_object_has_its_bytes(self, driver: Driver) -> None:
        """A driver may be asked for the path of any key."""
        data = self._content(0.1)
        await driver.upload("folder/blob", BytesSource(data))
        path = driver.local_path("folder/blob")
        assert path is None or await anyio.Path(path).read_bytes() == data
        for key in ("nothing", "folder//blob", "../blob"):
            path = driver.local_path(key)
            assert path is None or not await anyio.Path(path).exists()

    # Listing

    async def test_listing_without_matching_keys_is_empty(self, driver: Driver) -> None:
        assert await _keys(driver, "") == []
        await driver.write("key", b"", expected=Expect.ABSENT)
        assert await _keys(driver, "other") == []
        assert await _keys(driver, "key/") == []

    async def test_keys_are_listed_by_prefix(self, driver: Driver) -> None:
        """A prefix needn't be a folder, and keys are in ascending order."""
        keys = ["team/a", "team/model.versions", "team/model/1.0.meta", "team/model/1.0/x", "teams/b", "z"]
        await _write_all(driver, reversed(keys))
        assert await _keys(driver, "") == keys
        assert await _keys(driver, "team") == keys[:5]
        assert await _keys(driver, "team/") == keys[:4]
        assert await _keys(driver, "team/mod") == keys[1:4]
        assert await _keys(driver, "team/model/1.0") == keys[2:4]

    async def test_a_delimiter_folds_keys(self, driver: Driver) -> None:
        """Each folder is one row, in order among the keys."""
        await _write_all(driver, ["a/1", "a/2/x", "b", "c/1", "d/e/f"])
        assert await _rows(driver, "", "/") == ["a/...", "b", "c/...", "d/..."]
        assert await _rows(driver, "a/", "/") == ["a/1", "a/2/..."]
        assert await _rows(driver, "d/e", "/") == ["d/e/..."]
        assert await _rows(driver, "d/e/", "/") == ["d/e/f"]

    async def test_a_listing_describes_its_objects(self, driver: Driver) -> None:
        """Size and time equal those of `stat`, and so does the revision if the listing contains it."""
        await driver.write("key", b"data", expected=Expect.ABSENT)
        (row,) = [row async for row in driver.list("")]
        assert isinstance(row, ObjectInfo)
        assert (row.key, row.size) == ("key", 4)
        info = await driver.stat("key")
        assert row.revision in (info.revision, "")
        assert abs(row.modified - info.modified) < CLOCK_TOLERANCE

    async def test_many_keys_are_written_listed_and_deleted(self, driver: Driver) -> None:
        """They exceed what a store lists or deletes in one request."""
        keys = [f"many/{n:05}" for n in range(MANY)]
        await _write_all(driver, keys)
        assert await _keys(driver, "many/") == keys
        await driver.delete(key for key in keys)
        assert await _keys(driver, "many/") == []

    # Keys

    @pytest.mark.parametrize(
        "key",
        [
            "with space/and more.txt",
            "ünïcödé/日本語.bin",
            "per%20cent/100%",
            "plus+and&and=and;and,",
            "hash#and?question",
            "'single' \"double\"",
            ".hidden/.file",
            "dots/..a/b..",
            "tilde~/at@colon:/(round)[square]{curly}",
            "/".join(["long", *["x" * 244] * 4, "y" * 15]),
        ],
        ids=lambda key: key if len(key) < 100 else f"{len(key)} bytes",
    )
    async def test_unusual_keys_work_like_others(self, driver: Driver, key: str) -> None:
        await driver.write(key, b"document", expected=Expect.ABSENT)
        assert (await driver.read(key)).data == b"document"
        assert (await driver.stat(key)).key == key
        assert await _keys(driver, key) == [key]
        folder = key.rpartition("/")[0]
        assert await _keys(driver, folder) == [key]
        await driver.delete([key])
        await driver.upload(key, BytesSource(b"blob"))
        assert await _content(driver, key, 0, 4) == b"blob"
        await driver.delete([key])
        assert await _keys(driver, "") == []

    # Deleting and closing

    async def test_deleting_missing_keys_is_no_error(self, driver: Driver) -> None:
        await driver.write("here", b"", expected=Expect.ABSENT)
        await driver.delete([])
        await driver.delete(["here", "not/here"])
        await driver.delete(["here"])
        assert await _keys(driver, "") == []

    async def test_deleting_a_key_keeps_its_neighbours(self, driver: Driver) -> None:
        """A key is not a prefix."""
        await _write_all(driver, ["a/b", "a/bc", "a/c/d"])
        await driver.delete(["a/b", "a/c"])
        assert await _keys(driver, "") == ["a/bc", "a/c/d"]

    async def test_an_object_is_copied_on_the_server_side(self, driver: Driver) -> None:
        """The copy has the checksums that the store reports."""
        data = b"content" * 100
        await driver.upload("source", BytesSource(data))
        info = await driver.stat("source")
        try:
            copy = await driver.copy(driver, info, "folder/copy of it")
        except NotSameStore:
            return  # the store has no server-side copy
        assert (copy.key, copy.size) == ("folder/copy of it", len(data))
        assert copy.checksums == info.checksums
        assert await _content(driver, "folder/copy of it", 0, 10_000) == data

    @pytest.mark.parametrize("parts", [0.001, 2.5], ids=["small", "several parts"])
    async def test_a_copy_overwrites_nothing(self, driver: Driver, parts: float) -> None:
        """The same bytes count as success, other bytes are refused, whatever checksums the store reports."""
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
        assert await _content(driver, "other", 0, len(data)) == other

    async def test_a_copy_is_pinned_to_its_revision(self, driver: Driver) -> None:
        """An object that was changed or deleted since isn't copied."""
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

    async def test_a_driver_has_a_url_and_an_identity(self, driver: Driver) -> None:
        """The identity begins with the URL."""
        assert "://" in driver.url
        assert not driver.url.endswith("/")
        assert driver.identity.startswith(driver.url)

    async def test_closing_twice_is_no_error(self, driver: Driver) -> None:
        await driver.write("key", b"", expected=Expect.ABSENT)
        await driver.aclose()
        await driver.aclose()

    def _content(self, parts: float, *, salt: int = 0) -> bytes:
        """Return bytes that differ from part to part, to detect parts in the wrong order."""
        size = int(parts * self.part_size)
        block = b"".join((n + salt).to_bytes(4, "big") for n in range(16 * 1024))
        blocks = (n.to_bytes(4, "big") + block for n in range(-(-size // len(block))))
        return b"".join(blocks)[:size]


async def _race(attempt: Callable[[int], Awaitable[Any]], racers: int = RACERS) -> Sequence[Any]:
    """Return the result of each racer, or its `PreconditionFailed`."""
    results: list[Any] = [None] * racers

    async def run(number: int) -> None:
        try:
            results[number] = await attempt(number)
        except PreconditionFailed as refused:
            results[number] = refused

    await for_each(range(racers), run, limit=racers)
    return results


def _winners(results: Sequence[Any]) -> list[int]:
    return [number for number, result in enumerate(results) if not isinstance(result, PreconditionFailed)]


async def _content(driver: Driver, key: str, start: int, stop: int, *, revision: Revision | None = None) -> bytes:
    async with contextlib.aclosing(driver.read_range(key, start, stop, revision=revision)) as chunks:
        return b"".join([chunk async for chunk in chunks])


async def _open_uploads(driver: Driver, prefix: str) -> list[OpenUpload]:
    return [upload async for upload in driver.open_uploads(prefix)]


async def _upload_that_is_aborted(driver: Driver, key: str, source: BytesSource) -> None:
    with contextlib.suppress(AioAssetsError):  # a part was sent after the upload was aborted
        await driver.upload(key, source)


async def _keys(driver: Driver, prefix: str) -> list[str]:
    return [row.key async for row in driver.list(prefix) if isinstance(row, ObjectInfo)]


async def _rows(driver: Driver, prefix: str, delimiter: str) -> list[str]:
    """Return keys, and common prefixes with an ellipsis."""
    return [
        row.prefix + "..." if isinstance(row, CommonPrefix) else row.key
        async for row in driver.list(prefix, delimiter=delimiter)
    ]


async def _write_all(driver: Driver, keys: Iterable[str]) -> None:
    async def write(key: str) -> None:
        await driver.write(key, key.encode(), expected=Expect.ABSENT)

    await for_each(keys, write, limit=RACERS)


async def _assert_empty(driver: Driver, key: str) -> None:
    with pytest.raises(ObjectNotFound):
        await driver.stat(key)
    with pytest.raises(ObjectNotFound):
        await _content(driver, key, 0, 10)
    assert await _keys(driver, "") == []
    assert await _open_uploads(driver, key) == []
