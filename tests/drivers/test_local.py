"""Tests of the local driver: the protocol, and the behaviour of a folder."""

from __future__ import annotations

import dataclasses
import errno
import os
import tempfile
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tools.factories import long_text
from tools.filesystems import whole_seconds

from aioassets import AccessDenied, BucketNotFound, LocalDriver, ObjectNotFound, PreconditionFailed, StoreError
from aioassets.drivers.protocol import Expect, Run
from aioassets.testing import BytesSource, DriverConformance
from aioassets.testing.sources import KnownSource


class TestConformance(DriverConformance):
    """The conformance suite on a folder."""

    composes = True

    @pytest.fixture
    async def driver(self, tmp_path: Path) -> AsyncIterator[LocalDriver]:
        """Open a driver on an empty folder."""
        (tmp_path / "store").mkdir()
        async with LocalDriver(tmp_path / "store") as driver:
            yield driver


@pytest.fixture(scope="module")
def coarse_disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Mount a file system with times of whole seconds."""
    with whole_seconds(tmp_path_factory.mktemp("disk")) as path:
        if path is None:
            pytest.skip("needs root, mkfs.ext4 and a loop device")
        yield path


@pytest.fixture
def coarse_folder(coarse_disk: Path) -> Iterator[Path]:
    """Create a folder on that file system."""
    with tempfile.TemporaryDirectory(dir=coarse_disk) as folder:
        yield Path(folder)


class TestServerSideCopies:
    """Copies and compositions of objects, without hard links: a change of one file doesn't change the other."""

    @pytest.fixture
    async def driver(self, tmp_path: Path) -> AsyncIterator[LocalDriver]:
        async with LocalDriver(tmp_path / "store") as driver:
            yield driver

    async def test_a_copy_is_a_file_of_its_own(self, driver: LocalDriver, tmp_path: Path) -> None:
        await driver.upload("original", BytesSource(b"content"))
        copy = await driver.copy(driver, await driver.stat("original"), "folder/copy")
        assert (tmp_path / "store" / "original").stat().st_nlink == 1
        (tmp_path / "store" / "original").write_bytes(b"changed")
        assert (tmp_path / "store" / "folder" / "copy").read_bytes() == b"content"
        assert await driver.stat("folder/copy") == copy

    async def test_an_object_of_another_folder_is_copied(self, driver: LocalDriver, tmp_path: Path) -> None:
        other = LocalDriver(tmp_path / "other")
        await other.upload("original", BytesSource(b"content"))
        assert (await driver.copy(other, await other.stat("original"), "copy")).size == 7
        assert (await driver.read("copy")).data == b"content"

    async def test_a_full_disk_is_reported(
        self, driver: LocalDriver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Copying and composing fail as an upload does, and leave nothing."""
        await driver.upload("original", BytesSource(b"content"))
        original = await driver.stat("original")

        def refuse(*_: object) -> int:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        for name in ("copy_file_range", "pwrite"):
            monkeypatch.setattr(os, name, refuse, raising=False)
        with pytest.raises(StoreError, match="No space left on device"):
            await driver.copy(driver, original, "copy")
        with pytest.raises(StoreError, match="No space left on device"):
            await driver.compose("copy", KnownSource(b"content"), [Run(0, 7, original, 0)])
        assert [row async for row in driver.list("")] == [original]
        assert [upload async for upload in driver.open_uploads("")] == []


class TestConformanceOnWholeSeconds(DriverConformance):
    """The conformance suite where times do not distinguish states."""

    composes = True

    @pytest.fixture
    async def driver(self, coarse_folder: Path) -> AsyncIterator[LocalDriver]:
        """Open a driver on that folder."""
        async with LocalDriver(coarse_folder) as driver:
            yield driver


async def test_no_stale_swap_wins_where_times_are_whole_seconds(coarse_folder: Path) -> None:
    """Sizes are equal, inodes are reused, and all writes happen within about a second."""
    driver = LocalDriver(coarse_folder)
    revision = await driver.write("a", b"00000", expected=Expect.ABSENT)
    stale = [revision]
    for number in range(1, 100):
        revision = await driver.write("a", b"%05d" % number, expected=revision)
        for old in stale:
            with pytest.raises(PreconditionFailed):
                await driver.write("a", b"stale", expected=old)
        stale.append(revision)
    assert len(set(stale)) == len(stale)
    assert not (coarse_folder / "a").stat().st_mtime_ns % 1_000_000_000


async def test_a_revision_does_not_come_back_with_other_bytes(tmp_path: Path) -> None:
    """On a simulated file system, only the bytes differ, not inode, size and time."""
    driver = LocalDriver(tmp_path)
    before = await driver.write("a", b"first", expected=Expect.ABSENT)
    status = os.stat(tmp_path / "a")
    with open(tmp_path / "a", "r+b") as file:
        file.write(b"other")
    os.utime(tmp_path / "a", ns=(status.st_atime_ns, status.st_mtime_ns))
    assert os.stat(tmp_path / "a").st_mtime_ns == status.st_mtime_ns
    with pytest.raises(PreconditionFailed):
        await driver.write("a", b"stale", expected=before)
    found = await driver.read("a")
    assert (found.data, found.revision != before) == (b"other", True)
    await driver.write("a", b"swapped", expected=found.revision)
    assert (await driver.read("a")).data == b"swapped"


async def test_a_store_of_an_earlier_release_works(tmp_path: Path) -> None:
    """Swapping needs nothing but the file itself."""
    (tmp_path / "a").write_bytes(b"before")
    driver = LocalDriver(tmp_path)
    await driver.write("a", b"after", expected=(await driver.read("a")).revision)
    assert (tmp_path / "a").read_bytes() == b"after"


async def test_stat_and_listings_do_not_read_files(tmp_path: Path) -> None:
    """The file is too large to read."""
    driver = LocalDriver(tmp_path)
    await driver.write("a", b"", expected=Expect.ABSENT)
    os.truncate(tmp_path / "a", 2**36)
    info = await driver.stat("a")
    assert info.size == 2**36
    assert [row async for row in driver.list("")] == [info]


async def test_the_first_write_creates_the_folder(tmp_path: Path) -> None:
    """Reading from a missing folder is an error."""
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
    driver = LocalDriver(tmp_path)
    await driver.upload("a/b/c/d", BytesSource(b"data"))
    await driver.delete(["a/b/c/d"])
    assert not (tmp_path / "a").exists()


async def test_internal_files_are_not_listed(tmp_path: Path) -> None:
    """Listings omit the folder of locks and temporary files."""
    driver = LocalDriver(tmp_path)
    revision = await driver.write("a", b"1", expected=Expect.ABSENT)
    await driver.write("a", b"2", expected=revision)
    assert (tmp_path / ".aioassets").is_dir()
    assert [item.key async for item in driver.list("")] == ["a"]  # type: ignore[union-attr]


async def test_a_failed_upload_leaves_no_temporary_file(tmp_path: Path) -> None:
    driver = LocalDriver(tmp_path)
    await driver.upload("a", BytesSource(b"1"))
    with pytest.raises(Exception, match="changed by another writer"):
        await driver.upload("a", BytesSource(b"2"))
    assert list((tmp_path / ".aioassets" / "tmp").iterdir()) == []


async def test_temporary_files_are_open_uploads(tmp_path: Path) -> None:
    """Their keys are unknown. Aborting one removes it, and no file outside their folder."""
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


async def test_a_resumed_upload_of_an_existing_object_writes_nothing(tmp_path: Path) -> None:
    """It creates no temporary file either."""
    driver = LocalDriver(tmp_path)
    await driver.upload("a", BytesSource(b"data"))
    temporary = tmp_path / ".aioassets" / "tmp"
    temporary.rmdir()
    assert not (await driver.upload("a", BytesSource(b"data"), resume=True)).created
    assert not temporary.exists()
    await driver.upload("a", BytesSource(b"data"))
    assert temporary.exists()


async def test_writing_without_permission_is_access_denied(readable: Path, unprivileged: None) -> None:
    """A permission error is not a missing object."""
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
    """Successive swaps within one tick of the clock have different revisions."""
    driver = LocalDriver(tmp_path)
    revisions = {await driver.write("a", b"0", expected=Expect.ABSENT)}
    for _ in range(50):
        revisions.add(await driver.write("a", b"1", expected=(await driver.read("a")).revision))
    assert len(revisions) == 51


async def test_only_regular_files_are_objects(tmp_path: Path) -> None:
    """Reading a pipe would wait for a writer."""
    os.mkfifo(tmp_path / "pipe")
    driver = LocalDriver(tmp_path)
    with pytest.raises(ObjectNotFound):
        await driver.read("pipe")
    with pytest.raises(ObjectNotFound):
        await driver.stat("pipe")
    with pytest.raises(ObjectNotFound):
        await anext(driver.read_range("pipe", 0, 1))
