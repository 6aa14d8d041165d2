"""Conformance tests for listings, unusual keys and deletion."""

from __future__ import annotations

import pytest

from aioassets.drivers.protocol import Driver, Expect, ObjectInfo
from aioassets.runtime.threads import in_thread
from aioassets.testing.requests import (
    CLOCK_TOLERANCE,
    MANY,
    PartSized,
    list_keys,
    list_rows,
    read_all,
    write_all,
)
from aioassets.testing.sources import BytesSource


class ListingConformance(PartSized):
    """Tests for listings, unusual keys, deletion and closing."""

    async def test_listing_without_matching_keys_is_empty(self, driver: Driver) -> None:
        assert await list_keys(driver, "") == []
        await driver.write("key", b"", expected=Expect.ABSENT)
        assert await list_keys(driver, "other") == []
        assert await list_keys(driver, "key/") == []

    async def test_keys_are_listed_by_prefix(self, driver: Driver) -> None:
        """A prefix doesn't have to end at a folder boundary. Keys are listed in ascending order."""
        keys = ["team/a", "team/model.versions", "team/model/1.0.meta", "team/model/1.0/x", "teams/b", "z"]
        await write_all(driver, reversed(keys))
        assert await list_keys(driver, "") == keys
        assert await list_keys(driver, "team") == keys[:5]
        assert await list_keys(driver, "team/") == keys[:4]
        assert await list_keys(driver, "team/mod") == keys[1:4]
        assert await list_keys(driver, "team/model/1.0") == keys[2:4]

    async def test_a_delimiter_folds_keys(self, driver: Driver) -> None:
        """Each folder is a single row, sorted among the keys."""
        await write_all(driver, ["a/1", "a/2/x", "b", "c/1", "d/e/f"])
        assert await list_rows(driver, "", "/") == ["a/...", "b", "c/...", "d/..."]
        assert await list_rows(driver, "a/", "/") == ["a/1", "a/2/..."]
        assert await list_rows(driver, "d/e", "/") == ["d/e/..."]
        assert await list_rows(driver, "d/e/", "/") == ["d/e/f"]

    async def test_a_listing_describes_its_objects(self, driver: Driver) -> None:
        """The metadata agrees with `stat`. A listing may omit the revision."""
        await driver.write("key", b"data", expected=Expect.ABSENT)
        (row,) = [row async for row in driver.list("")]
        assert isinstance(row, ObjectInfo)
        assert (row.key, row.size) == ("key", 4)
        info = await driver.stat("key")
        assert row.revision in (info.revision, "")
        assert abs(row.modified - info.modified) < CLOCK_TOLERANCE

    async def test_many_keys_are_written_listed_and_deleted(self, driver: Driver) -> None:
        """There are more keys than a store lists or deletes in a single request."""
        keys = [f"many/{n:05}" for n in range(MANY)]
        await write_all(driver, keys)
        assert await list_keys(driver, "many/") == keys
        await driver.delete(key for key in keys)
        assert await list_keys(driver, "many/") == []

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
        assert await list_keys(driver, key) == [key]
        folder = key.rpartition("/")[0]
        assert await list_keys(driver, folder) == [key]
        await driver.delete([key])
        await driver.upload(key, BytesSource(b"blob"))
        assert await read_all(driver, key, 0, 4) == b"blob"
        await driver.delete([key])
        assert await list_keys(driver, "") == []

    async def test_deleting_missing_keys_is_no_error(self, driver: Driver) -> None:
        await driver.write("here", b"", expected=Expect.ABSENT)
        await driver.delete([])
        await driver.delete(["here", "not/here"])
        await driver.delete(["here"])
        assert await list_keys(driver, "") == []

    async def test_deleting_a_key_keeps_its_neighbours(self, driver: Driver) -> None:
        """Deleting a key doesn't delete other keys that begin with it."""
        await write_all(driver, ["a/b", "a/bc", "a/c/d"])
        await driver.delete(["a/b", "a/c"])
        assert await list_keys(driver, "") == ["a/bc", "a/c/d"]

    async def test_a_driver_has_a_url_and_an_identity(self, driver: Driver) -> None:
        """The identity begins with the URL."""
        assert "://" in driver.url
        assert not driver.url.endswith("/")
        assert (await in_thread(lambda: driver.identity)).startswith(driver.url)

    async def test_closing_twice_is_no_error(self, driver: Driver) -> None:
        await driver.write("key", b"", expected=Expect.ABSENT)
        await driver.aclose()
        await driver.aclose()
