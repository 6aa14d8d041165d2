"""Conformance tests for documents."""

from __future__ import annotations

import hashlib

import pytest

from aioassets.drivers.protocol import Driver, Expect
from aioassets.errors import DocumentTooLarge, ObjectNotFound, PreconditionFailed
from aioassets.testing.requests import (
    CLOCK_TOLERANCE,
    PartSized,
    race,
    read_all,
    winners_of,
)
from aioassets.testing.sources import BytesSource, RandomDocument


class DocumentConformance(PartSized):
    """Tests for reading and writing documents, and for `stat`."""

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
        """A large document must not exhaust memory. A document whose size equals the limit can be read."""
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
        """Conditions work in the same way for a `StreamedDocument`."""
        first, second = RandomDocument(), RandomDocument()
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
        results = await race(lambda n: driver.write("key", b"by %d" % n, expected=Expect.ABSENT))
        (winner,) = winners_of(results)
        assert (await driver.read("key")).data == b"by %d" % winner

    async def test_of_racing_swaps_one_wins(self, driver: Driver) -> None:
        revision = await driver.write("key", b"before", expected=Expect.ABSENT)
        results = await race(lambda n: driver.write("key", b"by %d" % n, expected=revision))
        (winner,) = winners_of(results)
        document = await driver.read("key")
        assert (document.data, document.revision) == (b"by %d" % winner, results[winner])

    async def test_a_document_has_the_times_of_its_write_and_its_response(self, driver: Driver) -> None:
        """Both times come from the store's clock, so they are close together after a write."""
        await driver.write("key", b"data", expected=Expect.ABSENT)
        document = await driver.read("key")
        assert document.modified.utcoffset() is not None
        assert document.answered.utcoffset() is not None
        assert abs(document.answered - document.modified) < CLOCK_TOLERANCE

    async def test_stat_describes_an_object(self, driver: Driver) -> None:
        """The revision stays the same until the object changes, and reads can be pinned to it."""
        revision = await driver.write("key", b"data", expected=Expect.ABSENT)
        info = await driver.stat("key")
        assert (info.key, info.size) == ("key", 4)
        assert info.modified.utcoffset() is not None
        assert (await driver.stat("key")).revision == info.revision
        assert await read_all(driver, "key", 0, 4, revision=info.revision) == b"data"
        await driver.write("key", b"more", expected=revision)
        assert (await driver.stat("key")).revision != info.revision
        with pytest.raises(PreconditionFailed):
            await read_all(driver, "key", 0, 4, revision=info.revision)

    async def test_stat_of_a_missing_object_is_not_found(self, driver: Driver) -> None:
        with pytest.raises(ObjectNotFound):
            await driver.stat("nothing/here")

    async def test_reported_checksums_are_right(self, driver: Driver) -> None:
        """A store doesn't have to report checksums. Any that it does report are digests of the whole content."""
        await driver.upload("key", BytesSource(b"data"))
        checksums = (await driver.stat("key")).checksums
        assert checksums.get("sha256") in (None, hashlib.sha256(b"data").hexdigest())
