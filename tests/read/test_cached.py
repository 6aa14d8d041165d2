"""Files that are cached are read from the cache, which keeps them while they are open."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

import pytest
from tools.factories import ManagerFactory
from tools.inspection import store_folder
from tools.interposer import Interposer

from aioassets import AssetsManager, IntegrityError, StoreUnavailable, VersionNotFound

pytestmark = pytest.mark.once

Content = Mapping[str, bytes]


def cached(tmp_path: Path, path: str) -> Path:
    """Return the cached file, made writable and as old as files that were fetched long ago."""
    return store_folder(tmp_path / "cache") / "model" / "0.0" / path


async def test_they_need_no_store(manager: AssetsManager, driver: Interposer, files: Content) -> None:
    await manager.fetch_asset("model")
    driver.calls.clear()
    for path, content in files.items():
        assert await manager.read(f"model:0.0[{path}]") == content
    assert (await manager.list_files("model:0.0")).from_cache
    assert driver.calls == []
    for path, content in files.items():
        assert await manager.read(f"model[{path}]", offline=True) == content
    assert [file.path for file in (await manager.list_files("model[sub]", offline=True)).files] == ["sub/plain"]
    assert driver.calls == []


async def test_offline_without_a_cached_file_is_an_error(manager: AssetsManager) -> None:
    await manager.fetch_asset("model[small]")
    assert await manager.read("model[small]", offline=True) == b"small"
    for call in (manager.read, manager.list_files):
        with pytest.raises(VersionNotFound, match="offline"):
            await call("model:0.0[large]", offline=True)


async def test_a_file_that_changed_is_read_from_the_store(
    manager: AssetsManager, driver: Interposer, files: Content, tmp_path: Path
) -> None:
    await manager.fetch_asset("model")
    path = cached(tmp_path, "sub/plain")
    path.chmod(0o600)
    path.write_bytes(files["sub/plain"][::-1])
    os.utime(path, (2e9, 2e9))
    assert await manager.read("model:0.0[sub/plain]") == files["sub/plain"]
    assert await manager.read("model:0.0[small]") == b"small"
    with pytest.raises(IntegrityError, match="expected sha256"):
        await manager.read("model:0.0[sub/plain]", offline=True)
    path.unlink()
    with pytest.raises(IntegrityError, match="nothing"):
        await manager.read("model:0.0[sub/plain]", offline=True)


async def test_they_are_not_evicted_while_they_are_open(manager: AssetsManager, files: Content, tmp_path: Path) -> None:
    (await manager.fetch_asset("model")).close()
    file = await manager.open("model:0.0[large]")
    pruned = await manager.cache.prune(limit=0, unused_for=timedelta())
    assert [each.version for each in (*pruned.kept, *pruned.removed)] == ["0.0"]
    assert not pruned.removed
    assert await file.read() == files["large"]
    await file.aclose()


async def test_a_file_that_vanishes_is_still_read(manager: AssetsManager, files: Content, tmp_path: Path) -> None:
    """It was opened before."""
    await manager.fetch_asset("model")
    async with manager.open("model:0.0[large]") as file:
        cached(tmp_path, "large").unlink()
        assert await file.read() == files["large"]


async def test_a_file_that_is_cut_off_is_an_error(manager: AssetsManager, files: Content, tmp_path: Path) -> None:
    await manager.fetch_asset("model")
    async with manager.open("model:0.0[large]") as file:
        path = cached(tmp_path, "large")
        path.chmod(0o600)
        os.truncate(path, 1000)
        with pytest.raises(IntegrityError, match="found 1000"):
            await file.read()


async def test_reading_adds_nothing_to_the_cache(manager: AssetsManager, files: Content) -> None:
    for path, content in files.items():
        assert await manager.read(f"model[{path}]") == content
    assert await manager.cache.list() == []


async def test_an_unreachable_store_names_what_is_cached(
    manager: AssetsManager, driver: Interposer, make_manager: ManagerFactory
) -> None:
    await manager.fetch_asset("model")

    async def fail(moment: str, method: str, key: str) -> None:
        raise StoreUnavailable(driver.url, "it is down", uncertain=False)

    driver.hook = fail
    with pytest.raises(StoreUnavailable, match=r"exactly: 0\.0"):
        await manager.open("model[small]")
