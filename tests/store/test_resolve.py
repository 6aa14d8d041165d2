"""Resolving specs to versions in a store, where documents may lag behind each other."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
from tools.factories import Files, ManagerFactory
from tools.inspection import store_of
from tools.interposer import Interposer
from tools.states import bury, mark_yanked, point

from aioassets import AliasNotFound, AssetNotFound, MemoryDriver, VersionDeleted, VersionNotFound, VersionYanked
from aioassets.model.index import Fence
from aioassets.model.names import AssetSpec
from aioassets.model.versioning import MajorMinor
from aioassets.store.documents import AssetStore
from aioassets.store.resolve import candidates, find_version


@pytest.fixture
async def store(memory: MemoryDriver, make_manager: ManagerFactory, files: Files) -> AssetStore:
    """Return a store with versions 0.0, 0.1, 1.0 and 1.1 of `model`, and the alias `prod` of 0.1."""
    manager = make_manager(memory)
    await manager.create_asset(files("a"), "model")
    await manager.update_asset(files("b"), "model")
    await manager.update_asset(files("c"), "model", bump_major=True)
    await manager.update_asset(files("d"), "model")
    await point(store_of(memory), "model", "prod", "0.1")
    return store_of(memory)


async def found(store: AssetStore, spec: str) -> str:
    return (await find_version(store, MajorMinor(), AssetSpec.parse(spec))).version


@pytest.mark.parametrize(
    ("spec", "version"), [("model", "1.1"), ("model:0", "0.1"), ("model:1.0", "1.0"), ("model@prod", "0.1")]
)
async def test_a_spec_resolves_to_a_version(store: AssetStore, spec: str, version: str) -> None:
    assert await found(store, spec) == version
    assert (await candidates(store, MajorMinor(), AssetSpec.parse(spec)))[0] == version


async def test_a_listed_version_that_is_yanked_or_deleted_is_passed_over(store: AssetStore) -> None:
    await mark_yanked(store, "model", "1.1")
    await bury(store, "model", "1.0")
    assert await found(store, "model") == "0.1"
    assert await found(store, "model:1.1") == "1.1"
    with pytest.raises(VersionDeleted, match=r"model:1\.0 was deleted from memory://.* by ann@build-7"):
        await found(store, "model:1.0")
    with pytest.raises(VersionNotFound, match=r"has no version 1 in memory://.*: 1\.1 is yanked\. Restore it with"):
        await found(store, "model:1")


async def test_a_partial_version_of_which_all_are_yanked_is_not_found(store: AssetStore) -> None:
    for version in ("1.1", "1.0"):
        await mark_yanked(store, "model", version)
    with pytest.raises(VersionNotFound, match="has no version 1 in memory://"):
        await found(store, "model:1")


@pytest.mark.parametrize("withdraw", [bury, mark_yanked])
async def test_an_alias_that_moves_while_its_target_is_withdrawn_is_resolved_again(
    store: AssetStore, withdraw: Callable[[AssetStore, str, str], Awaitable[None]]
) -> None:
    driver = Interposer(store.driver)
    reads = 0

    async def hook(moment: str, method: str, key: str) -> None:
        nonlocal reads
        if (moment, method) == ("before", "read") and key.endswith("0.1.meta"):
            reads += 1
            await withdraw(store, "model", "0.1")
            await point(store, "model", "prod", "1.0")

    driver.hook = hook
    assert await found(store_of(driver), "model@prod") == "1.0"
    assert reads == 1


async def test_an_alias_of_a_deleted_version_is_reported(store: AssetStore) -> None:
    await bury(store, "model", "0.1", "bad data")
    with pytest.raises(VersionDeleted, match="bad data"):
        await found(store, "model@prod")


async def test_an_alias_of_a_yanked_version_is_reported(store: AssetStore) -> None:
    """So it is neither locked nor copied. An exact version is found."""
    await mark_yanked(store, "model", "0.1", "bad data")
    with pytest.raises(VersionYanked, match="bad data"):
        await found(store, "model@prod")
    assert await found(store, "model:0.1") == "0.1"


async def test_what_is_missing_is_reported(store: AssetStore) -> None:
    with pytest.raises(AliasNotFound, match="Its aliases: prod"):
        await found(store, "model@stable")
    for spec in ("absent@prod", "absent", "absent:0.0"):
        with pytest.raises(AssetNotFound):
            await found(store, spec)
    for spec in ("model:2", "model:2.0"):
        with pytest.raises(VersionNotFound):
            await found(store, spec)


async def test_an_asset_without_listed_versions_is_explained(store: AssetStore) -> None:
    state = await store.read_index("model")
    index = state.index
    for version in index.versions:
        index = index.fenced(version, Fence.YANKED, "token")
    await store.driver.write("assets/model.versions", index.to_json(), expected=state.revision)
    with pytest.raises(
        VersionNotFound, match=r"no latest version in memory://.*: 1\.1, 1\.0, 0\.1 and 0\.0 are yanked"
    ):
        await found(store, "model")
    with pytest.raises(VersionNotFound, match=r"no version 1 in memory://.*: 1\.1 and 1\.0 are yanked"):
        await found(store, "model:1")
