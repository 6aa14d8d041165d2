"""Pushes of sources that are in a store."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tools.factories import ManagerFactory
from tools.inspection import contents, exists, keys, store_of
from tools.interposer import Fail, Interposer, failure
from tools.servers import S3Server

from aioassets import (
    AssetsManager,
    Driver,
    InvalidSetting,
    LocalDriver,
    MemoryDriver,
    SourceChanged,
    SourceError,
    SourceNotFound,
    StoreError,
)
from aioassets.drivers.protocol import Expect, ObjectInfo
from aioassets.drivers.s3.driver import MIN_PART_SIZE, S3Driver
from aioassets.model.claim import Claim, ClaimState
from aioassets.push.stored import scan_store
from aioassets.runtime.effects import Effects
from aioassets.testing import BytesSource

FILES = {"a": b"a", "sub/b": b"b" * 3000, "sub/deep/c c.bin": b"c", "empty": b""}
ReadingFrom = Callable[[AssetsManager, Driver], AssetsManager]
SHA256_OF_A = hashlib.sha256(b"a").hexdigest()


async def fill(driver: Driver, prefix: str = "raw/data/") -> None:
    for path, data in FILES.items():
        await driver.upload(prefix + path, BytesSource(data))


@pytest.fixture
def reading_from(monkeypatch: pytest.MonkeyPatch) -> ReadingFrom:
    """Return a function that lets a manager read its sources by this driver, whatever their URLs are."""

    def replace(manager: AssetsManager, sources: Driver) -> AssetsManager:
        monkeypatch.setattr("aioassets.session.make_driver", lambda location, **_: sources)
        return manager

    return replace


async def test_a_prefix_is_a_tree_with_its_folders(
    reading_from: ReadingFrom, driver: Driver, make_manager: ManagerFactory
) -> None:
    sources = MemoryDriver("elsewhere")
    await fill(sources)
    manager = reading_from(make_manager(driver), sources)
    pushed = await manager.create_asset("memory://elsewhere/raw/data", "model")
    assert (pushed.version, pushed.files) == ("0.0", 4)
    fetched = await manager.fetch_asset("model")
    assert contents(fetched.path) == {path: (data, False) for path, data in FILES.items()}
    assert fetched.manifest.files[0].digests["sha256"] == SHA256_OF_A


async def test_objects_of_the_same_store_are_copied_by_the_store(
    reading_from: ReadingFrom, driver: Driver, make_manager: ManagerFactory
) -> None:
    """The copies can be verified."""
    interposer = Interposer(driver)
    await fill(driver)
    manager = reading_from(make_manager(interposer), driver)
    await manager.create_asset("s3://bucket/raw/data/", "model")
    copied = [key for method, key in interposer.calls if method == "copy"]
    uploaded = [key for method, key in interposer.calls if method == "upload"]
    assert len(copied) == 4
    assert uploaded == []
    fetched = await manager.fetch_asset("model")
    assert contents(fetched.path) == {path: (data, False) for path, data in FILES.items()}
    assert fetched.verified
    assert fetched.verified_by


class WithoutDigests(Interposer):
    """Store that reports no digests of copies."""

    async def copy(self, source: Driver, info: ObjectInfo, key: str, *, effects: Effects | None = None) -> ObjectInfo:
        return replace(await super().copy(source, info, key, effects=effects), checksums={})


async def test_a_number_with_a_copy_that_could_not_be_read_is_not_released(
    reading_from: ReadingFrom, memory: MemoryDriver, make_manager: ManagerFactory
) -> None:
    """The copy is still there."""
    await fill(memory)
    broken = WithoutDigests(memory, Fail("before", "read_range", "0.0/sub/b", failure()))
    manager = reading_from(make_manager(broken), memory)
    with pytest.raises(StoreError, match="a test says so"):
        await manager.create_asset("s3://bucket/raw/data", "model")
    assert await exists(memory, "assets/model/0.0/sub/b")
    content = (await store_of(memory).read_meta("model", "0.0")).content
    assert isinstance(content, Claim)
    assert content.state is ClaimState.ABANDONED
    assert (await manager.create_asset("s3://bucket/raw/data/a", "model")).version == "0.1"


async def test_an_object_is_a_file(reading_from: ReadingFrom, driver: Driver, make_manager: ManagerFactory) -> None:
    await fill(driver)
    manager = reading_from(make_manager(driver), driver)
    await manager.create_asset("s3://bucket/raw/data/sub/b", "model")
    await manager.update_asset("s3://bucket/raw/data/a", "model")
    assert (await manager.fetch_asset("model:0.0")).path.read_bytes() == FILES["sub/b"]
    assert (await manager.fetch_asset("model:0.1")).path.read_bytes() == b"a"


async def test_a_large_object_is_streamed_in_parts(
    reading_from: ReadingFrom, make_manager: ManagerFactory, tmp_path: Path
) -> None:
    data = bytes(range(256)) * 100_000
    sources = MemoryDriver("elsewhere")
    await sources.upload("big", BytesSource(data))
    manager = reading_from(make_manager(LocalDriver(tmp_path / "store")), sources)
    await manager.create_asset("s3://elsewhere/big", "model")
    assert (await manager.fetch_asset("model")).path.read_bytes() == data


async def test_patterns_and_folder_markers_are_honoured() -> None:
    """Cloud consoles write an object with a trailing slash for an empty folder."""
    driver = MemoryDriver()
    await fill(driver)
    for marker in ("raw/data/", "raw/data/sub/", "raw/data/hollow/", "raw/data/hollow/inner/"):
        await driver.upload(marker, BytesSource(b""))
    tree = await scan_store(driver, "raw/data", exclude=["deep/"])
    assert [file.path for file in tree.files] == ["a", "empty", "sub/b"]
    assert tree.empty_directories == ("hollow/inner",)


async def test_a_url_without_objects_is_not_found(
    reading_from: ReadingFrom, memory: MemoryDriver, make_manager: ManagerFactory
) -> None:
    sources = MemoryDriver("elsewhere")
    await fill(sources)
    manager = reading_from(make_manager(memory), sources)
    for url in ("s3://elsewhere/raw/dat", "s3://elsewhere/raw/data/a/", "s3://elsewhere/nothing"):
        with pytest.raises(SourceNotFound, match=url.rpartition("/")[0].rpartition("/")[2]):
            await manager.create_asset(url, "model")
    assert await keys(memory) == []


@pytest.mark.parametrize("key", ["raw/a//b", "raw/../b", "raw/x.versions", "raw/tab\t"])
async def test_keys_that_are_no_paths_are_refused(memory: MemoryDriver, key: str) -> None:
    """They could not be placed on disk."""
    await memory.upload(key, BytesSource(b""))
    with pytest.raises(SourceError):
        await scan_store(memory, "raw")


async def test_a_source_that_changes_during_a_push_fails_it(
    reading_from: ReadingFrom, make_manager: ManagerFactory, tmp_path: Path
) -> None:
    """The push is pinned to one revision."""
    for store in (LocalDriver(tmp_path / "store"), MemoryDriver()):
        sources = MemoryDriver("elsewhere")
        await fill(sources)

        async def change(moment: str, method: str, key: str, sources: MemoryDriver = sources) -> None:
            if (moment, method) == ("before", "copy") and key.endswith("sub/b"):
                await sources.upload("raw/data/sub/b", BytesSource(b"changed"), expected=Expect.ANYTHING)

        manager = reading_from(make_manager(Interposer(store, change)), sources)
        with pytest.raises(SourceChanged):
            await manager.create_asset("s3://elsewhere/raw/data", "model")
        assert not [key for key in await keys(store) if "/0.0/" in key]


async def test_urls_that_name_no_source_are_refused(memory: MemoryDriver, make_manager: ManagerFactory) -> None:
    manager = make_manager(memory)
    for url in ("ftp://x/y", "s3:///y"):
        with pytest.raises(InvalidSetting):
            await manager.create_asset(url, "model")


async def test_a_file_url_is_a_path(memory: MemoryDriver, make_manager: ManagerFactory, tree: Path) -> None:
    manager = make_manager(memory)
    await manager.create_asset(tree.as_uri(), "model")
    assert contents((await manager.fetch_asset("model")).path) == contents(tree)


@pytest.mark.servers
def test_an_s3_bucket_is_a_source_by_its_url(seaweedfs: S3Server, tmp_path: Path) -> None:
    """The manager's options apply to sources of the same provider."""

    async def push(source: str, target: str, options: dict[str, Any]) -> None:
        async with S3Driver(source, **options) as driver:
            await fill(driver)
            big = bytes(range(256)) * 30_000
            await driver.upload("raw/data/big", BytesSource(big))
        async with AssetsManager(f"s3://{target}", assets_dir=tmp_path / "cache", storage_options=options) as manager:
            await manager.create_asset(f"s3://{source}/raw/data", "model")
            fetched = await manager.fetch_asset("model")
            assert contents(fetched.path) == {path: (data, False) for path, data in {**FILES, "big": big}.items()}
        plain = {f"s3.{key}": value for key, value in options.items()}
        async with AssetsManager(tmp_path / "store", assets_dir=tmp_path / "local", storage_options=plain) as manager:
            await manager.create_asset(f"s3://{source}/raw/data/sub", "model")
            assert set(contents((await manager.fetch_asset("model")).path)) == {"b", "deep/c c.bin"}

    asyncio.run(push(seaweedfs.fresh_bucket(), seaweedfs.fresh_bucket(), seaweedfs.options))


@pytest.mark.servers
def test_a_very_large_object_is_copied_in_parts(seaweedfs: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """S3 copies no more than 5 GiB in one request."""
    monkeypatch.setattr("aioassets.drivers.s3.copying.MAX_COPY", 8 * 1024 * 1024)
    monkeypatch.setattr("aioassets.drivers.s3.copying.COPY_PART", MIN_PART_SIZE)

    async def copy(bucket: str) -> None:
        data = bytes(range(256)) * 50_000
        async with S3Driver(bucket, **seaweedfs.options) as driver:
            await driver.upload("big", BytesSource(data))
            await driver.copy(driver, await driver.stat("big"), "copy")
            read = b"".join([chunk async for chunk in driver.read_range("copy", 0, len(data))])
        assert read == data

    asyncio.run(copy(seaweedfs.fresh_bucket()))
