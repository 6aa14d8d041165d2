"""Deleting versions by rules."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tools.inspection import store_of
from tools.states import mark_yanked

from aioassets import AssetsManager, KeepReason, Manifest, MemoryDriver
from aioassets.drivers.protocol import Expect
from aioassets.errors import AccessDenied, AssetNotFound, InvalidVersion, StoreCorrupt, VersionDeleted
from aioassets.model.keys import Layout
from aioassets.model.pusher import Pusher
from aioassets.model.versioning import MajorMinor
from aioassets.runtime.retry import RetryPolicy
from aioassets.store.aliases import Aliases
from aioassets.store.documents import AssetStore

NAME = "team/model"


@pytest.fixture
def driver() -> MemoryDriver:
    return MemoryDriver()


@pytest.fixture
async def manager(driver: MemoryDriver, tmp_path: Path) -> AsyncIterator[AssetsManager]:
    (tmp_path / "file").write_text("data")
    async with AssetsManager(driver=driver, assets_dir=tmp_path / "cache") as manager:
        await manager.create_asset(tmp_path / "file", NAME)
        for _ in range(4):
            await manager.update_asset(tmp_path / "file", NAME)
        yield manager


async def point(driver: MemoryDriver, alias: str, version: str) -> None:
    async def suitable() -> None:
        pass

    store = AssetStore(driver, Layout("assets"))
    await Aliases(store, MajorMinor(), RetryPolicy(), Pusher(), suitable).move(NAME, alias, version)


async def test_versions_that_no_rule_keeps_are_deleted(manager: AssetsManager) -> None:
    plan = await manager.plan_prune(NAME, keep_last=2)
    assert [row.version for row in plan.deleted] == ["0.2", "0.1", "0.0"]
    assert (plan.size, [row.version for row in plan.kept]) == (12, ["0.4", "0.3"])
    result = await manager.prune(plan)
    assert ([row.version for row in result.deleted], result.size) == (["0.0", "0.1", "0.2"], 12)
    assert (result.kept, result.failed) == ((), ())
    assert await manager.list_versions(NAME) == ["0.4", "0.3"]
    with pytest.raises(VersionDeleted, match="pruned"):
        await manager.fetch_asset(f"{NAME}:0.0")
    assert not (await manager.plan_prune(NAME, keep_last=2)).deleted


async def test_all_assets_are_pruned(manager: AssetsManager, tmp_path: Path) -> None:
    await manager.create_asset(tmp_path / "file", "other")
    plan = await manager.plan_prune(keep_last=1)
    assert {(row.name, row.version) for row in plan.kept} == {(NAME, "0.4"), ("other", "0.0")}
    assert len((await manager.prune(plan)).deleted) == 4


async def test_recent_versions_are_kept(manager: AssetsManager) -> None:
    assert not (await manager.plan_prune(keep_within=timedelta(hours=1))).deleted
    assert len((await manager.plan_prune(keep_within=timedelta())).deleted) in (3, 4)  # a clock may not have advanced


async def test_a_copy_is_as_old_as_its_promotion(manager: AssetsManager, driver: MemoryDriver, tmp_path: Path) -> None:
    store = store_of(driver)
    meta = await store.read_meta(NAME, "0.0")
    assert isinstance(meta.content, Manifest)
    old = replace(meta.content, push_date=datetime(2020, 1, 1, tzinfo=UTC))
    await driver.write(store.layout.meta(NAME, "0.0"), old.to_json(), expected=meta.revision)
    for version in ("0.0", "0.1"):
        await manager.copy_version(f"{NAME}:{version}", manager, name="copy")
    for name, deleted in ((NAME, ["0.0"]), ("copy", [])):
        plan = await manager.plan_prune(name, keep_within=timedelta(days=1))
        assert [row.version for row in plan.deleted] == deleted


async def test_a_version_that_gets_an_alias_after_planning_is_kept(
    manager: AssetsManager, driver: MemoryDriver
) -> None:
    plan = await manager.plan_prune(NAME, keep_last=1)
    await point(driver, "prod", "0.1")
    result = await manager.prune(plan)
    assert [(row.version, row.aliases) for row in result.kept] == [("0.1", ("prod",))]
    assert await manager.list_versions(NAME) == ["0.4", "0.1"]


async def test_a_version_that_is_among_the_last_after_a_yank_is_kept(manager: AssetsManager) -> None:
    plan = await manager.plan_prune(NAME, keep_last=2)
    await manager.yank_version(NAME, "0.4", "it is broken")
    result = await manager.prune(plan)
    assert [row.version for row in result.kept] == ["0.2"]
    assert await manager.list_versions(NAME) == ["0.3", "0.2"]


@pytest.mark.once
async def test_a_version_whose_yank_was_interrupted_is_not_the_latest(
    manager: AssetsManager, driver: MemoryDriver
) -> None:
    """Readers skip it, although the index lists it. Otherwise, no version that they can get would be left."""
    plan = await manager.plan_prune(NAME, keep_last=1)
    await mark_yanked(store_of(driver), NAME, "0.4")
    assert [row.version for row in (await manager.plan_prune(NAME, keep_last=1)).deleted] == ["0.2", "0.1", "0.0"]
    result = await manager.prune(plan)
    assert [(row.version, row.reasons) for row in result.kept] == [("0.3", (KeepReason.LATEST, KeepReason.LAST))]
    assert (await manager.fetch_asset(NAME)).version == "0.3"


@pytest.mark.once
async def test_a_version_that_is_restored_during_the_deletions_is_the_latest(
    manager: AssetsManager, driver: MemoryDriver
) -> None:
    await manager.yank_version(NAME, "0.4", "it is broken")
    plan = await manager.plan_prune(NAME, keep_within=timedelta())
    delete = driver.delete

    async def restore(keys: Iterable[str], **options: Any) -> None:
        await manager.unyank_version(NAME, "0.4")
        await delete(keys, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(driver, "delete", restore)
        result = await manager.prune(plan)
    assert [row.version for row in result.kept] == ["0.4"]
    assert (await manager.fetch_asset(NAME)).version == "0.4"


async def test_versions_that_cannot_be_deleted_do_not_stop_the_others(
    manager: AssetsManager, driver: MemoryDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = await manager.plan_prune(NAME, keep_last=1)
    write = driver.write

    async def refuse(key: str, *args: object, **options: object) -> object:
        if key.endswith("0.1.meta"):
            raise AccessDenied(driver.url, "write", "a test says so.")
        return await write(key, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(driver, "write", refuse)
    result = await manager.prune(plan)
    assert [row.version for row in result.deleted] == ["0.0", "0.2", "0.3"]
    assert [(row.version, type(error)) for row, error in result.failed] == [("0.1", AccessDenied)]


async def test_deleted_and_unfinished_versions_are_left_out(manager: AssetsManager) -> None:
    await manager.delete_version(NAME, "0.0")
    assert [row.version for row in (await manager.plan_prune(NAME, keep_last=9)).versions] == [
        "0.4",
        "0.3",
        "0.2",
        "0.1",
    ]


async def test_an_unreadable_asset_is_kept_and_a_missing_one_is_an_error(
    manager: AssetsManager, driver: MemoryDriver, caplog: pytest.LogCaptureFixture
) -> None:
    await driver.write("assets/broken.versions", b"[", expected=Expect.ABSENT)
    plan = await manager.plan_prune(keep_last=1)
    assert ({row.name for row in plan.versions}, list(plan.skipped)) == ({NAME}, ["broken"])
    assert isinstance(plan.skipped["broken"], StoreCorrupt)
    with pytest.raises(StoreCorrupt):
        await manager.plan_prune("broken", keep_last=1)
    assert "Keeping all versions of broken" in caplog.text
    with pytest.raises(AssetNotFound):
        await manager.plan_prune("missing", keep_last=1)


async def test_another_versioning_scheme_is_an_error(
    manager: AssetsManager, driver: MemoryDriver, tmp_path: Path
) -> None:
    async with AssetsManager(driver=driver, assets_dir=tmp_path / "cache", versioning="simple_date") as other:
        with pytest.raises(InvalidVersion, match="does not use the versioning scheme"):
            await other.plan_prune(NAME, keep_last=1)
        assert list((await other.plan_prune(keep_last=1)).skipped) == [NAME]


async def test_a_version_with_an_unreadable_manifest_protects_no_other(
    manager: AssetsManager, driver: MemoryDriver
) -> None:
    key = "assets/team/model/0.4.meta"
    await driver.write(key, b"{bad", expected=(await driver.read(key)).revision)
    plan = await manager.plan_prune(NAME, keep_last=1)
    assert [row.version for row in plan.kept] == ["0.4", "0.3"]
    assert isinstance(plan.kept[0].error, StoreCorrupt)


async def test_a_version_whose_files_are_left_is_deleted_nevertheless(
    manager: AssetsManager, driver: MemoryDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(keys: object, **options: object) -> None:
        raise AccessDenied(driver.url, "delete", "a test says so.")

    monkeypatch.setattr(driver, "delete", refuse)
    result = await manager.prune(await manager.plan_prune(NAME, keep_last=4))
    assert [(row.version, row.is_deleted, type(error)) for row, error in result.failed] == [("0.0", True, AccessDenied)]
