"""The local driver keeps the promises of the protocol, and those of a folder."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from factories import long_text

from aioassets import AccessDenied, BucketNotFound, LocalDriver, ObjectNotFound
from aioassets.drivers.protocol import Expect
from aioassets.testing import BytesSource, DriverConformance


class TestConformance(DriverConformance):
    """The suite that all drivers pass."""

    @pytest.fixture
    async def driver(self, tmp_path: Path) -> AsyncIterator[LocalDriver]:
        """A driver over an empty folder."""
        (tmp_path / "store").mkdir()
        async with LocalDriver(tmp_path / "store") as driver:
            yield driver


async def test_the_first_creation_makes_the_folder(tmp_path: Path) -> None:
    """Reading from a folder that isn't there is an error, creating in it is not."""
    driver = LocalDriver(tmp_path / "not" / "there")
    with pytest.raises(BucketNotFound) as caught:
        await driver.read("a")
    assert caught.value.creatable
    await driver.write("a", b"data", expected=Expect.ABSENT)
    assert (await driver.read("a")).data == b"data"


async def test_a_long_document_is_written_as_it_is_made(tmp_path: Path) -> None:
    text = long_text()
    await LocalDriver(tmp_path).write("a", text, expected=Expect.ABSENT)
    assert (tmp_path / "a").read_bytes() == b"".join(text)


async def test_deleting_leaves_no_empty_folder(tmp_path: Path) -> None:
    """What a push created is gone with its folders."""
    driver = LocalDriver(tmp_path)
    await driver.upload("a/b/c/d", BytesSource(b"data"))
    await driver.delete(["a/b/c/d"])
    assert not (tmp_path / "a").exists()


async def test_objects_of_its_own_are_not_listed(tmp_path: Path) -> None:
    """Locks and temporary files stand in a folder that no listing shows."""
    driver = LocalDriver(tmp_path)
    revision = await driver.write("a", b"1", expected=Expect.ABSENT)
    await driver.write("a", b"2", expected=revision)
    assert (tmp_path / ".aioassets").is_dir()
    assert [item.key async for item in driver.list("")] == ["a"]  # type: ignore[union-attr]


async def test_a_failed_upload_leaves_no_temporary_file(tmp_path: Path) -> None:
    """The temporary file goes where the upload ends."""
    driver = LocalDriver(tmp_path)
    await driver.upload("a", BytesSource(b"1"))
    with pytest.raises(Exception, match="changed by somebody else"):
        await driver.upload("a", BytesSource(b"2"))
    assert list((tmp_path / ".aioassets" / "tmp").iterdir()) == []


async def test_temporary_files_are_open_uploads(tmp_path: Path) -> None:
    """What they were to become isn't known; aborting one removes it, and nothing outside their folder."""
    driver = LocalDriver(tmp_path)
    assert [upload async for upload in driver.open_uploads("")] == []
    await driver.upload("a", BytesSource(b"data"))
    left = tmp_path / ".aioassets" / "tmp" / "0123456789abcdef"
    left.write_bytes(b"of an upload that was killed")
    (found,) = [upload async for upload in driver.open_uploads("any/prefix")]
    assert (found.key, found.id) == ("", left.name)
    assert found.active == datetime.fromtimestamp(left.stat().st_mtime, UTC)
    await driver.abort(dataclasses.replace(found, id="../../a"))
    assert (await driver.read("a")).data == b"data"
    await driver.abort(found)
    await driver.abort(found)
    assert not left.exists()
    assert [upload async for upload in driver.open_uploads("")] == []


async def test_a_resumed_upload_writes_nothing_of_what_is_there(tmp_path: Path) -> None:
    """Not even a temporary file."""
    driver = LocalDriver(tmp_path)
    await driver.upload("a", BytesSource(b"data"))
    temporary = tmp_path / ".aioassets" / "tmp"
    temporary.rmdir()
    assert not (await driver.upload("a", BytesSource(b"data"), resume=True)).created
    assert not temporary.exists()
    await driver.upload("a", BytesSource(b"data"))
    assert temporary.exists()


async def test_a_read_only_principal_reads_and_is_told_that_it_cannot_write(readable: Path, unprivileged: None) -> None:
    """A refusal of the file system isn't an absence."""
    driver = LocalDriver(readable)
    assert (await driver.read("a")).data == b"data"
    assert [item.key async for item in driver.list("")] == ["a"]  # type: ignore[union-attr]
    revision = (await driver.read("a")).revision
    for attempt in (
        driver.write("b", b"1", expected=Expect.ABSENT),
        driver.write("a", b"1", expected=revision),
        driver.upload("b", BytesSource(b"1")),
        driver.delete(["a"]),
    ):
        with pytest.raises(AccessDenied):
            await attempt


async def test_revisions_differ_although_size_and_tick_are_the_same(tmp_path: Path) -> None:
    """Swaps that follow one another within one tick of the clock get revisions of their own."""
    driver = LocalDriver(tmp_path)
    revisions = {await driver.write("a", b"0", expected=Expect.ABSENT)}
    for _ in range(50):
        revisions.add(await driver.write("a", b"1", expected=(await driver.read("a")).revision))
    assert len(revisions) == 51


async def test_what_is_no_file_is_no_object(tmp_path: Path) -> None:
    """A pipe would be waited for."""
    os.mkfifo(tmp_path / "pipe")
    driver = LocalDriver(tmp_path)
    with pytest.raises(ObjectNotFound):
        await driver.read("pipe")
    with pytest.raises(ObjectNotFound):
        await driver.stat("pipe")
    with pytest.raises(ObjectNotFound):
        await anext(driver.read_range("pipe", 0, 1))
