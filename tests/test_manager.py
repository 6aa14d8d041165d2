"""Managers: their event loop, their end, and their listings."""

from __future__ import annotations

import asyncio
import json
import os
import re
from pathlib import Path

import pytest
from tools.interposer import Interposer

from aioassets import (
    AssetsManager,
    AssetVersions,
    BulkUpdateError,
    Event,
    InvalidName,
    InvalidSetting,
    ManagerStateError,
    MemoryDriver,
    StoreCorrupt,
)
from aioassets.drivers.protocol import Expect


class Closing(MemoryDriver):
    """Driver that counts its closings."""

    closed = 0

    async def aclose(self) -> None:
        self.closed += 1


async def index(driver: MemoryDriver, name: str, *versions: str) -> None:
    await driver.write(f"assets/{name}.versions", json.dumps({"versions": versions}).encode(), expected=Expect.ABSENT)


async def test_it_works_without_a_context(tmp_path: Path) -> None:
    """Services often make a manager at import time."""
    (tmp_path / "a").write_text("a")
    manager = AssetsManager(tmp_path / "store", assets_dir=tmp_path / "cache")
    assert (await manager.create_asset(tmp_path / "a", "model")).version == "0.0"
    await manager.aclose()
    await manager.aclose()
    with pytest.raises(ManagerStateError, match="closed"):
        await manager.list_versions("model")


@pytest.mark.parametrize("only_folders", [False, True])
async def test_a_name_that_makes_keys_too_long_is_refused(tmp_path: Path, only_folders: bool) -> None:
    (tmp_path / "a" / "empty").mkdir(parents=True)
    if not only_folders:
        (tmp_path / "a" / "file").write_text("a")
    manager = AssetsManager(driver=MemoryDriver(), assets_dir=tmp_path / "cache", assetsmanager_prefix="p/" * 504 + "p")
    with pytest.raises(InvalidName, match="keys with the prefix and this name exceed 1024 bytes"):
        await manager.create_asset(tmp_path / "a", "model-a", allow_empty=True)
    assert (await manager.create_asset(tmp_path / "a", "m", allow_empty=True)).version == "0.0"


def test_a_second_event_loop_is_refused(tmp_path: Path) -> None:
    """Connections belong to the loop that made them."""
    driver = MemoryDriver()
    manager = AssetsManager(driver=driver, assets_dir=tmp_path)
    asyncio.run(index(driver, "model", "0.0"))
    asyncio.run(_versions(manager))
    with pytest.raises(ManagerStateError, match="another event loop"):
        asyncio.run(_versions(manager))


async def _versions(manager: AssetsManager) -> list[str]:
    return await manager.list_versions("model")


async def test_a_driver_from_outside_is_not_closed(tmp_path: Path) -> None:
    driver = Closing()
    async with AssetsManager(driver=driver, assets_dir=tmp_path):
        pass
    assert driver.closed == 0


def test_a_bucket_and_a_driver_exclude_each_other(tmp_path: Path) -> None:
    with pytest.raises(InvalidSetting):
        AssetsManager(tmp_path, driver=MemoryDriver())


async def test_assets_are_listed_by_name_with_their_versions(tmp_path: Path) -> None:
    """Also if the name of one asset is a folder of others."""
    driver = MemoryDriver()
    for name in ("b", "team/model", "team/model/small", "team/other", "teams"):
        await index(driver, name, "1.0", "0.0")
    manager = AssetsManager(driver=driver, assets_dir=tmp_path)

    async def names(prefix: str) -> list[str]:
        return [asset.name async for asset in manager.list_assets(prefix)]

    assert await names("") == ["b", "team/model", "team/model/small", "team/other", "teams"]
    assert await names("team/") == ["team/model", "team/model/small", "team/other"]
    assert await names("team/m") == ["team/model", "team/model/small"]
    assert [asset async for asset in manager.list_assets("b")] == [AssetVersions("b", ("1.0", "0.0"))]


async def test_a_listing_never_looks_into_a_version(tmp_path: Path) -> None:
    """Its cost grows with assets and versions, not with files."""
    memory = MemoryDriver()
    driver = Interposer(memory)
    tree = tmp_path / "tree"
    for number in range(50):
        (tree / f"d{number}").mkdir(parents=True)
        (tree / f"d{number}" / "f").write_text("x")
    manager = AssetsManager(driver=driver, assets_dir=tmp_path / "cache")
    await manager.create_asset(tree, "team/model")
    await manager.update_asset(tree, "team/model")
    driver.calls.clear()
    assert [asset async for asset in manager.list_assets()] == [AssetVersions("team/model", ("0.1", "0.0"))]
    assert sorted(driver.calls) == [
        ("list", "assets/"),
        ("list", "assets/team/"),
        ("list", "assets/team/model/"),
        ("read", "assets/team/model.versions"),
    ]


async def test_an_unreadable_index_is_named(tmp_path: Path) -> None:
    driver = MemoryDriver()
    await driver.write("assets/model.versions", b"nonsense", expected=Expect.ABSENT)
    manager = AssetsManager(driver=driver, assets_dir=tmp_path)
    with pytest.raises(StoreCorrupt, match=r"assets/model\.versions"):
        await manager.list_versions("model")


@pytest.mark.parametrize("prefix", ["../", "a/../../b"])
async def test_a_prefix_can_not_leave_the_store(tmp_path: Path, prefix: str) -> None:
    """A listing stays below the store."""
    await index(outside := MemoryDriver(), "model", "0.0")
    manager = AssetsManager(driver=outside, assets_dir=tmp_path)
    with pytest.raises(InvalidName):
        _ = [asset async for asset in manager.list_assets(prefix)]


async def test_any_failure_of_one_asset_leaves_the_others_alone(tmp_path: Path) -> None:
    """Also an error that aioassets doesn't define, such as that of a callback."""
    (tmp_path / "a").write_text("a")

    def report(event: Event) -> None:
        if event.name == "two":
            raise ValueError("of the callback")

    manager = AssetsManager(driver=MemoryDriver(), assets_dir=tmp_path / "cache")
    paths: dict[str, str | os.PathLike[str]] = dict.fromkeys(("one", "two", "three"), tmp_path / "a")
    with pytest.raises(BulkUpdateError) as caught:
        await manager.update_assets(paths, create_missing=True, progress=report)
    assert set(caught.value.published) == {"one", "three"}
    assert str(caught.value.failed["two"]) == "of the callback"


async def test_a_creation_that_comes_too_late_is_an_update(tmp_path: Path) -> None:
    """With `create_missing`, either operation is fine."""
    memory = MemoryDriver()
    (tmp_path / "a").write_text("a")
    other = AssetsManager(driver=memory, assets_dir=tmp_path / "cache")

    async def be_faster(moment: str, method: str, key: str) -> None:
        if (moment, method, key) == ("before", "write", "assets/model/0.0.meta") and not created:
            created.append((await other.create_asset(tmp_path / "a", "model")).version)

    created: list[str] = []
    manager = AssetsManager(driver=Interposer(memory, be_faster), assets_dir=tmp_path / "cache")
    results = await manager.update_assets({"model": tmp_path / "a"}, create_missing=True)
    assert (created, results["model"].version) == (["0.0"], "0.1")


async def test_a_dry_run_returns_the_forecast_of_the_plan(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a")
    memory = MemoryDriver()
    manager = AssetsManager(driver=memory, assets_dir=tmp_path / "cache")
    plan = await manager.plan_create(tmp_path / "a", "model")
    assert await manager.create_asset(tmp_path / "a", "model", dry_run=True) == plan.forecast()
    await manager.push(plan)
    before = [item async for item in memory.list("")]
    plan = await manager.plan_update(tmp_path / "a", "model", bump_major=True)
    assert await manager.update_asset(tmp_path / "a", "model", bump_major=True, dry_run=True) == plan.forecast()
    assert (plan.forecast().version, plan.forecast().dry_run) == ("1.0", True)
    assert [item async for item in memory.list("")] == before


def test_the_table_of_commands_names_every_method() -> None:
    text = (Path(__file__).parent.parent / "docs" / "command-line.md").read_text()
    table = text.partition("### Methods")[2].partition("###")[0]
    methods = {name for name in vars(AssetsManager) if not name.startswith("_")} - {"aclose", "url"}
    rows = [line.split("|") for line in table.splitlines() if line.startswith("| `")]
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row[2])} - {"AssetsManager"}
    assert named == methods
