"""Damaged, replaced and missing objects give a clear error, and damaged bytes are not returned as verified ones."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path

import pytest
from read.damaging import Damaging
from tools.inspection import store_of
from tools.states import bury, mark_yanked

from aioassets import (
    AssetFile,
    AssetsManager,
    IntegrityError,
    MemoryDriver,
    VersionDeleted,
    VersionNotFound,
    VersionYanked,
)
from aioassets.drivers.protocol import Expect
from aioassets.errors import StoreUnavailable
from aioassets.read.known import LIFETIME

pytestmark = pytest.mark.once

MIB = 1024 * 1024
Content = Mapping[str, bytes]
CHUNKS = "assets/model/0.0.chunks"


@pytest.fixture
def driver(memory: MemoryDriver) -> Damaging:
    return Damaging(memory)


def key_of(path: str) -> str:
    return f"assets/model/0.0/{path}"


def damage(driver: Damaging, path: str, at: int, times: float = math.inf) -> None:
    driver.key, driver.at, driver.times = key_of(path), at, times


async def replace(driver: Damaging, path: str, content: bytes) -> None:
    """Replace an object, so that it has another revision."""
    await driver.write(key_of(path), content, expected=Expect.ANYTHING)


async def read_all(file: AssetFile) -> int:
    """Read a file in order, and return the number of bytes."""
    while await file.read(300_000):
        pass
    return await file.tell()


class TestDamage:
    async def test_damaged_chunks_are_not_returned(
        self, manager: AssetsManager, driver: Damaging, files: Content
    ) -> None:
        content = files["large"]
        damage(driver, "large", 2 * MIB)
        async with manager.open("model[large]") as file:
            with pytest.raises(IntegrityError, match=r"^model:0\.0\[large\] differs from what was pushed: .* blake3 "):
                await file.read()
            assert await file.tell() == 0
            with pytest.raises(IntegrityError, match="blake3"):
                await file.read_ranges([(0, 10), (2 * MIB, 2 * MIB + 1)])
            assert await file.read_ranges([(0, 10), (4 * MIB, 4 * MIB + 1)]) == [content[:10], content[4 * MIB :][:1]]
            assert file.verified
        async with manager.open("model[large]", verify=False) as file:
            assert await file.read() != content
            assert not file.verified

    @pytest.mark.parametrize("path", ["small", "sub/plain"])
    async def test_a_damaged_file_fails_at_its_end(
        self, manager: AssetsManager, driver: Damaging, files: Content, path: str
    ) -> None:
        damage(driver, path, 3)
        async with manager.open(f"model[{path}]") as file:
            with pytest.raises(IntegrityError, match="expected sha256"):
                await read_all(file)
            assert await file.tell() < file.size
            assert not file.verified
            with pytest.raises(IntegrityError, match="expected sha256"):  # the rest isn't returned later, either
                await file.read()
        with pytest.raises(IntegrityError):
            await manager.read(f"model[{path}]")

    @pytest.mark.parametrize(("path", "at"), [("small", 0), ("large", 10), ("large", 3 * MIB)])
    async def test_what_a_connection_damaged_is_read_again(
        self, manager: AssetsManager, driver: Damaging, files: Content, path: str, at: int
    ) -> None:
        damage(driver, path, at, times=1)
        assert await manager.read(f"model[{path}]") == files[path]
        assert driver.times == 0

    @pytest.mark.parametrize("change", [b"", b"longer"])
    async def test_another_size_is_an_error(
        self, manager: AssetsManager, driver: Damaging, files: Content, change: bytes
    ) -> None:
        for path in files:
            await replace(driver, path, change)
            if path != "empty":  # no request is needed to read it
                with pytest.raises(IntegrityError, match=rf"^model:0\.0\[{path}\] differs from what was pushed"):
                    await manager.read(f"model:0.0[{path}]")


class TestReplacement:
    async def test_other_bytes_are_an_error(self, manager: AssetsManager, driver: Damaging, files: Content) -> None:
        for path in ("large", "sub/plain", "small"):
            await replace(driver, path, files[path][::-1])
            with pytest.raises(IntegrityError):
                await manager.read(f"model[{path}]")

    async def test_a_file_that_is_open_is_pinned(
        self, manager: AssetsManager, driver: Damaging, files: Content
    ) -> None:
        opened = [await manager.open(f"model[{path}]", verify=verify) for path in files for verify in (True, False)]
        for file in opened:
            assert await file.read(1) == files[file.path][:1]
        for path, content in files.items():
            await replace(driver, path, content[::-1])
        for file in opened:
            if file.size <= MIB:  # it is in memory
                assert await file.read() == files[file.path][1:]
            else:
                with pytest.raises(IntegrityError):
                    await file.read()
            await file.aclose()

    async def test_a_store_that_was_moved_is_read_as_far_as_bytes_are_verified(
        self, manager: AssetsManager, driver: Damaging, files: Content
    ) -> None:
        """All its objects have other revisions."""
        for path, content in files.items():
            await replace(driver, path, content)
            assert await manager.read(f"model:0.0[{path}]") == content
            async with manager.open(f"model:0.0[{path}]") as file:
                assert await file.read_ranges([(0, 9), (MIB, MIB + 9)]) == [content[:9], content[MIB : MIB + 9]]
                assert file.verified
        async with manager.open("model:0.0[large]", verify=False) as file:
            with pytest.raises(IntegrityError, match=r"expected revision .* the store was moved; fetch_asset"):
                await file.read(1)

    async def test_a_deleted_version_says_so(self, manager: AssetsManager, driver: Damaging, files: Content) -> None:
        opened = [await manager.open(f"model[{path}]") for path in files if path != "empty"]
        await manager.delete_version("model", "0.0")
        for file in opened:
            with pytest.raises(VersionDeleted):
                await file.read()
            await file.aclose()
        with pytest.raises(VersionDeleted):  # its manifest was forgotten
            await manager.open("model:0.0[small]")

    async def test_a_missing_object_says_so(self, manager: AssetsManager, driver: Damaging, files: Content) -> None:
        for path in files:
            await driver.delete([key_of(path)])
            if path != "empty":
                with pytest.raises(IntegrityError, match="found nothing"):
                    await manager.read(f"model:0.0[{path}]")


class TestChunks:
    @pytest.mark.parametrize("change", ["missing", "damaged", "no package"])
    async def test_without_chunks_parts_are_not_verified(
        self,
        manager: AssetsManager,
        driver: Damaging,
        files: Content,
        change: str,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        if change == "missing":
            await driver.delete([CHUNKS])
        elif change == "damaged":
            await driver.write(CHUNKS, b"{}", expected=Expect.ANYTHING)
        else:
            monkeypatch.setattr("aioassets.read.contents.blake3", lambda: None)
        content = files["large"]
        async with manager.open("model[large]") as file:
            assert await file.read_ranges([(5, 9), (3 * MIB, 4 * MIB)]) == [content[5:9], content[3 * MIB : 4 * MIB]]
            assert not file.verified
        assert ("Parts of model:0.0[large] can't be verified" in caplog.text) is (change != "no package")
        async with manager.open("model[large]") as file:  # it can still be verified as a whole
            assert await file.read(MIB) == content[:MIB]
            assert not file.verified
            assert await file.read() == content[MIB:]
            assert file.verified

    async def test_they_are_read_once_for_a_version(self, manager: AssetsManager, driver: Damaging) -> None:
        driver.calls.clear()
        for _ in range(3):
            async with manager.open("model:0.0[large]") as file:
                await file.read_ranges([(0, 1), (3 * MIB, 3 * MIB + 1)])
        assert driver.calls.count(("read", CHUNKS)) == 1


class TestOutage:
    async def test_a_file_can_be_read_after_an_error(
        self, manager: AssetsManager, driver: Damaging, files: Content
    ) -> None:
        async def fail(moment: str, method: str, key: str) -> None:
            if method == "read_range":
                raise StoreUnavailable(driver.url, "it is down", uncertain=False)

        async def work(moment: str, method: str, key: str) -> None:
            """Do nothing."""

        for path in ("large", "sub/plain", "small"):
            async with manager.open(f"model[{path}]") as file:
                driver.hook = fail
                for _ in range(2):
                    with pytest.raises(StoreUnavailable, match="it is down"):
                        await file.read(10)
                with pytest.raises(StoreUnavailable, match="it is down"):
                    await file.read_ranges([(0, 5)])
                driver.hook = work
                assert await file.read() == files[path]
                assert file.verified


class TestKnownVersions:
    async def test_a_yank_is_noticed_where_it_counts(
        self, manager: AssetsManager, driver: Damaging, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A spec that doesn't name the version never gets a yanked one; one that does gets a warning later."""
        clock = store_of(driver).clock
        now = clock()
        object.__setattr__(manager._session.store, "clock", lambda: now)  # noqa: SLF001
        await manager.set_alias("model", "prod", "0.0")
        assert await manager.read("model@prod[small]") == b"small"
        await mark_yanked(store_of(driver), "model", "0.0")
        for spec in ("model[small]", "model:0[small]", "model@prod[small]"):
            with pytest.raises((VersionNotFound, VersionYanked), match="yanked"):
                await manager.read(spec)
        assert await manager.read("model:0.0[small]") == b"small"
        now += LIFETIME + 1
        assert await manager.read("model:0.0[small]") == b"small"
        assert "has been yanked" in caplog.text

    async def test_a_buried_version_is_found_out_by_a_new_manager(
        self, manager: AssetsManager, driver: Damaging
    ) -> None:
        await bury(store_of(driver), "model", "0.0")
        with pytest.raises(VersionDeleted):
            await manager.list_files("model:0.0")


async def test_versions_of_modelkit_are_read_but_not_verified(
    manager: AssetsManager, driver: Damaging, files: Content, source: Path
) -> None:
    """Their manifests have neither sizes nor digests."""
    manifest = {"push_date": "2026-01-01T00:00:00+00:00", "is_directory": True, "contents": ["large", "small"]}
    await driver.write("assets/kit.versions", b'{"versions": ["0.0"]}', expected=Expect.ABSENT)
    await driver.write("assets/kit/0.0.meta", json.dumps(manifest).encode(), expected=Expect.ABSENT)
    for path in ("large", "small"):
        await driver.write(f"assets/kit/0.0/{path}", files[path], expected=Expect.ABSENT)
    listed = await manager.list_files("kit")
    assert [(file.path, file.size, dict(file.digests)) for file in listed.files] == [
        (path, len(files[path]), {}) for path in ("large", "small")
    ]
    for path in ("large", "small"):
        async with manager.open(f"kit[{path}]") as file:
            assert await file.read(3) == files[path][:3]
            assert await file.read_ranges([(1, 4)]) == [files[path][1:4]]
            assert not file.verified
            await driver.write(f"assets/kit/0.0/{path}", files[path], expected=Expect.ANYTHING)
            if path == "large":  # it was pinned when it was opened
                with pytest.raises(IntegrityError, match="revision"):
                    await file.read_ranges([(0, 9), (2 * MIB, 2 * MIB + 9)])
