"""Yanking, restoring and deleting versions: what others see of it, and what no race and no crash can break."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tools.factories import Files, ManagerFactory
from tools.inspection import contents, exists, keys, store_of
from tools.interposer import Fail, Interposer, LostAnswers

from aioassets import (
    AssetExists,
    AssetNotFound,
    AssetsManager,
    Driver,
    InvalidVersion,
    MemoryDriver,
    StoreUnavailable,
    VersionDeleted,
    VersionInUse,
    VersionNotFound,
)
from aioassets.drivers.protocol import Expect
from aioassets.model.index import Fence
from aioassets.model.manifest import Manifest
from aioassets.model.marks import Mark
from aioassets.model.tombstone import Tombstone
from aioassets.store.aliases import Aliases
from aioassets.store.marks import new_mark
from aioassets.testing import BytesSource


async def pushed(manager: AssetsManager, files: Files, versions: int = 2) -> None:
    """Push the versions 0.0, 0.1 and so on, whose content is their number."""
    await manager.create_asset(files("0.0"), "model")
    for number in range(1, versions):
        await manager.update_asset(files(f"0.{number}"), "model")


async def fences(driver: Driver) -> dict[str, Fence]:
    return dict((await store_of(driver).read_index("model")).index.fences)


async def meta_of(driver: Driver, version: str) -> Manifest | Tombstone:
    content = (await store_of(driver).read_meta("model", version)).content
    assert isinstance(content, Manifest | Tombstone)
    return content


async def point(driver: Driver, alias: str, version: str) -> None:
    """Point an alias at a version, without any check."""
    store = store_of(driver)
    state = await store.read_aliases("model")
    await store.swap_aliases("model", state, state.table.moved(alias, version, new_mark_of_a_test()))


def new_mark_of_a_test() -> Mark:
    from aioassets.model.pusher import Pusher

    return new_mark(Pusher("ann", "host"), None)


async def test_a_yanked_version_is_fetched_only_if_it_is_named(
    driver: Driver, make_manager: ManagerFactory, files: Files
) -> None:
    manager = make_manager(driver)
    await pushed(manager, files)
    mark = await manager.yank_version("model", "0.1", "bad weights")
    assert mark.reason == "bad weights"
    assert await manager.list_versions("model") == ["0.0"]
    assert await fences(driver) == {"0.1": Fence.YANKED}
    meta = await meta_of(driver, "0.1")
    assert isinstance(meta, Manifest)
    assert (meta.is_yanked, meta.mark) == (True, mark)
    assert (await manager.fetch_asset("model")).version == "0.0"
    assert (await manager.fetch_asset("model:0")).version == "0.0"
    assert (await manager.fetch_asset("model:0.1")).path.read_text() == "0.1"


async def test_a_restored_version_is_the_latest_again(
    driver: Driver, make_manager: ManagerFactory, files: Files
) -> None:
    manager = make_manager(driver)
    await pushed(manager, files)
    await manager.yank_version("model", "0.1", "bad weights")
    await manager.unyank_version("model", "0.1")
    assert await manager.list_versions("model") == ["0.1", "0.0"]
    assert await fences(driver) == {}
    meta = await meta_of(driver, "0.1")
    assert isinstance(meta, Manifest)
    assert meta.mark is not None
    assert not meta.is_yanked
    assert (await manager.fetch_asset("model")).version == "0.1"


async def test_a_deleted_version_leaves_a_tombstone(
    driver: Driver, make_manager: ManagerFactory, files: Files, tree: Path
) -> None:
    manager = make_manager(driver)
    await manager.create_asset(tree, "model")
    await manager.update_asset(files("0.1"), "model")
    digest = (await meta_of(driver, "0.0")).content_digest
    plan = await manager.plan_delete("model", "0.0")
    result = await manager.delete_version("model", "0.0", "obsolete")
    assert (plan.files, plan.size, plan.aliases, plan.is_deleted) == (result.files, result.size, (), False)
    assert (result.files, result.size) == (7, sum(file.stat().st_size for file in tree.rglob("*") if file.is_file()))
    assert await keys(driver) == ["assets/model.versions", "assets/model/0.0.meta", "assets/model/0.1", "assets/model/0.1.meta"]
    assert await meta_of(driver, "0.0") == Tombstone(result.deleted, digest)
    assert digest is not None
    assert await fences(driver) == {"0.0": Fence.DELETED}
    assert await manager.list_versions("model") == ["0.1"]
    with pytest.raises(VersionDeleted, match=r"model:0\.0 was deleted from .*: obsolete"):
        await make_manager(driver, assets_dir=tree / "cache").fetch_asset("model:0.0")
