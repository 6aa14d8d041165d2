"""Aliases offline: they resolve to what they pointed at when they were last looked up."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from tools.factories import Files, ManagerFactory
from tools.filesystems import SmallDisk
from tools.interposer import Fail, Interposer
from tools.steps import Ended, at_each_step, ended_at

from aioassets import (
    AliasNotFound,
    AssetNotFound,
    AssetsManager,
    InvalidSetting,
    LocalDriver,
    MemoryDriver,
    StoreUnavailable,
    VersionNotFound,
)

LOOKED_UP = r"pointed at 0\.0 when it was last looked up, on 20\d\d-\d\d-\d\d \d\d:\d\d UTC"


@pytest.fixture
def driver(memory: MemoryDriver) -> Interposer:
    return Interposer(memory)


@pytest.fixture
async def manager(driver: Interposer, make_manager: ManagerFactory, files: Files) -> AssetsManager:
    """Return a manager of a store in which `prod` points at the first of two versions."""
    manager = make_manager(driver)
    await manager.create_asset(files("a"), "team/model")
    await manager.update_asset(files("b"), "team/model")
    await manager.set_alias("team/model", "prod", "0.0")
    return manager


def remembered(tmp_path: Path) -> Path:
    [path] = (tmp_path / "cache").glob("*/.aioassets/team/model/@prod.alias")
    return path


async def test_an_alias_is_remembered_until_it_is_looked_up_again(
    manager: AssetsManager, driver: Interposer, make_manager: ManagerFactory, caplog: pytest.LogCaptureFixture
) -> None:
    await manager.fetch_asset("team/model@prod")
    await manager.fetch_asset("team/model")
    await manager.set_alias("team/model", "prod", "0.1")
    driver.calls.clear()
    assert (await manager.fetch_asset("team/model@prod", offline=True)).version == "0.0"
    assert (await manager.verify_asset("team/model@prod", cached=True)).version == "0.0"
    assert driver.calls == []
    assert [re.fullmatch(f"team/model@prod {LOOKED_UP}", text) is not None for text in caplog.messages] == [True, True]
    await manager.fetch_asset("team/model@prod")
    assert (await make_manager(driver, offline=True).fetch_asset("team/model@prod")).version == "0.1"


async def test_the_date_is_that_of_the_last_lookup(manager: AssetsManager, tmp_path: Path) -> None:
    await manager.fetch_asset("team/model@prod")
    path = remembered(tmp_path)
    before = path.stat().st_ino
    os.utime(path, (0, 0))
    with pytest.raises(AliasNotFound):
        await manager.fetch_asset("team/model@other")
    assert path.stat().st_mtime == 0
    await manager.fetch_asset("team/model@prod")
    assert path.stat().st_mtime > 0
    assert path.stat().st_ino == before  # it was not written again


async def test_the_error_of_an_unreachable_store_names_the_last_target(
    manager: AssetsManager, driver: Interposer
) -> None:
    await manager.fetch_asset("team/model@prod")
    await manager.fetch_asset("team/model:0.1")
    driver.hook = Fail("before", "read", ".aliases")
    text = rf"can't be resolved without the store\. It {LOOKED_UP}; offline=True \(--offline\) uses that\. "
    with pytest.raises(StoreUnavailable, match=text + r"Request a cached version exactly: 0\.1, 0\.0\. \("):
        await manager.fetch_asset("team/model@prod")


async def test_the_error_of_an_unreachable_store_names_cached_versions(
    manager: AssetsManager, driver: Interposer
) -> None:
    await manager.fetch_asset("team/model:0.1")
    driver.hook = Fail("before", "read", ".aliases")
    text = r"team/model@prod can't be resolved without the store\. Request a cached version exactly: 0\.1\. \("
    with pytest.raises(StoreUnavailable, match=text):
        await manager.fetch_asset("team/model@prod")


async def test_a_target_that_is_not_cached_is_named(manager: AssetsManager) -> None:
    await manager.verify_asset("team/model@prod")
    await manager.fetch_asset("team/model:0.1")
    with pytest.raises(VersionNotFound, match=r"has no version 0\.0 in .* \(offline\)\. Available: 0\.1\."):
        await manager.fetch_asset("team/model@prod", offline=True)


async def test_an_alias_that_was_never_looked_up_is_not_found_offline(manager: AssetsManager) -> None:
    with pytest.raises(AliasNotFound, match=r"was never looked up there.*No version is cached\.$"):
        await manager.fetch_asset("team/model@prod", offline=True)
    await manager.fetch_asset("team/model")
    with pytest.raises(AliasNotFound, match=r"can't be resolved offline\. Request a cached version exactly: 0\.1\.$"):
        await manager.fetch_asset("team/model@prod", offline=True)


async def test_an_alias_that_was_removed_is_forgotten(manager: AssetsManager) -> None:
    await manager.fetch_asset("team/model@prod")
    await manager.remove_alias("team/model", "prod")
    with pytest.raises(AliasNotFound, match="has no alias 'prod' in memory://"):
        await manager.fetch_asset("team/model@prod")
    with pytest.raises(AliasNotFound, match="never looked up"):
        await manager.fetch_asset("team/model@prod", offline=True)


async def test_each_store_has_its_own_aliases(make_manager: ManagerFactory, tmp_path: Path, files: Files) -> None:
    """Without a bucket, an alias must have been looked up in one store only."""
    stores = [LocalDriver(tmp_path / name) for name in ("staging", "production")]
    for number, driver in enumerate(stores):
        manager = make_manager(driver)
        await manager.create_asset(files("a"), "team/model")
        await manager.update_asset(files("b"), "team/model")
        await manager.set_alias("team/model", "prod", f"0.{number}")
    await make_manager(stores[0]).fetch_asset("team/model@prod")
    async with AssetsManager(assets_dir=tmp_path / "cache") as anywhere:
        assert (await anywhere.fetch_asset("team/model@prod")).version == "0.0"
        await make_manager(stores[1]).fetch_asset("team/model@prod")
        with pytest.raises(InvalidSetting, match="from 2 stores"):
            await anywhere.fetch_asset("team/model@prod")
    for number, driver in enumerate(stores):
        fetched = await make_manager(driver, offline=True).fetch_asset("team/model@prod")
        assert fetched.version == f"0.{number}"


def write(data: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(data)


VALID = b'{"source": "memory://x", "asset": "team/model", "alias": "prod", "version": "%s"}'


@pytest.mark.parametrize(
    "damage",
    [
        write(b""),
        write(b"{"),
        write(b"null"),
        write(b"[" * 50_000),
        write(b"{}" + b" " * 1_000_000),
        write(b"\xff"),
        write(VALID % b"../../other"),
        write((VALID % b"0.0").replace(b'"prod"', b'"Prod"')),  # of a file system that folds case
        write((VALID % b"0.0").replace(b"memory://x", b"memory://other")),
        write((VALID % b"0.0").replace(b'"memory://x"', b"7")),
        os.mkfifo,
        os.mkdir,
    ],
)
async def test_a_damaged_file_is_an_unknown_alias(
    manager: AssetsManager, tmp_path: Path, damage: Callable[[Path], object]
) -> None:
    await manager.fetch_asset("team/model@prod")
    path = remembered(tmp_path)
    path.unlink()
    damage(path)
    with pytest.raises(AliasNotFound, match="never looked up"):
        await manager.fetch_asset("team/model@prod", offline=True)
    assert (await manager.fetch_asset("team/model@prod")).version == "0.0"
    if not path.is_dir():
        assert (await manager.fetch_asset("team/model@prod", offline=True)).version == "0.0"
    with pytest.raises(AliasNotFound, match="has no alias"):
        await manager.fetch_asset("team/model@other")
    assert not list(path.parent.glob("*.tmp"))


async def test_a_read_only_assets_directory_does_not_prevent_a_fetch(
    manager: AssetsManager, driver: Interposer, make_manager: ManagerFactory, small_disk: SmallDisk
) -> None:
    manager = make_manager(driver, assets_dir=small_disk.path / "cache")
    await manager.fetch_asset("team/model@prod")
    await manager.fetch_asset("team/model:0.1")
    await manager.set_alias("team/model", "prod", "0.1")
    small_disk.make_read_only()
    assert (await manager.fetch_asset("team/model@prod")).version == "0.1"
    assert (await manager.fetch_asset("team/model@prod", offline=True)).version == "0.0"
    with pytest.raises(AssetNotFound):
        await manager.fetch_asset("team/other@prod")


async def test_cleaning_leaves_it_alone(manager: AssetsManager, tmp_path: Path) -> None:
    await manager.fetch_asset("team/model@prod")
    plan = await manager.plan_clean()
    assert plan.leftovers == ()
    assert remembered(tmp_path).exists()


async def test_a_fetch_that_is_cancelled_at_any_step_leaves_a_valid_file_or_none(
    manager: AssetsManager, tmp_path: Path
) -> None:
    await manager.fetch_asset("team/model:0.0")
    folder = next((tmp_path / "cache").glob("*/.aioassets/team/model"))
    path = folder / "@prod.alias"
    known = set()

    async def end_at(nth: int) -> Ended:
        path.unlink(missing_ok=True)
        outcome = await ended_at(nth, lambda: manager.fetch_asset("team/model@prod"))
        assert outcome.left == []
        assert not list(folder.glob("*.tmp"))
        with contextlib.suppress(AliasNotFound):
            known.add((await manager.fetch_asset("team/model@prod", offline=True)).version)
        return outcome

    await at_each_step(end_at)
    assert known == {"0.0"}
