"""Fetching by alias, and fetching versions that are yanked or deleted at the same time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from tools.factories import ManagerFactory
from tools.inspection import store_of
from tools.interposer import Interposer
from tools.rounds import Rounds
from tools.states import bury, mark_yanked, point

from aioassets import (
    AliasNotFound,
    AssetNotFound,
    AssetsManager,
    MemoryDriver,
    VersionDeleted,
    VersionNotFound,
    VersionYanked,
)
from aioassets.store.documents import AssetStore


@pytest.fixture
def driver(memory: MemoryDriver) -> Interposer:
    return Interposer(memory)


@pytest.fixture
def store(driver: Interposer) -> AssetStore:
    return store_of(driver)


@pytest.fixture
async def manager(driver: Interposer, store: AssetStore, make_manager: ManagerFactory, tree: Path) -> AssetsManager:
    """Return a manager of an asset with the versions 0.0, 0.1 and 1.0, and `prod` pointing at 0.1."""
    manager = make_manager(driver)
    await manager.create_asset(tree, "model")
    await manager.update_asset(tree, "model")
    await manager.update_asset(tree, "model", bump_major=True)
    await manager.set_alias("model", "prod", "0.1")
    return manager


def before_reading(driver: Interposer, ending: str, *changes: Callable[[], Awaitable[object]]) -> None:
    """Make one change before each of the first reads of a document."""
    left = list(changes)

    async def hook(moment: str, method: str, key: str) -> None:
        if (moment, method) == ("before", "read") and key.endswith(ending) and left:
            change, driver.hook = left.pop(0), do_nothing
            await change()
            driver.hook = hook

    driver.hook = hook


async def do_nothing(moment: str, method: str, key: str) -> None:
    pass


async def test_an_alias_and_its_parts_are_fetched_and_verified(manager: AssetsManager) -> None:
    assert (await manager.fetch_asset("model@prod")).version == "0.1"
    part = await manager.fetch_asset("model@prod[weights/w.bin]")
    assert (part.version, part.path.read_bytes()) == ("0.1", b"w" * 3000)
    checked = await manager.verify_asset("model@prod")
    assert (checked.version, checked.ok) == ("0.1", True)
    await manager.set_alias("model", "prod", "1.0")
    assert (await manager.fetch_asset("model@prod")).version == "1.0"


async def test_an_alias_costs_one_request_more_in_sequence_than_an_exact_version(
    driver: Interposer, manager: AssetsManager, make_manager: ManagerFactory, tmp_path: Path
) -> None:
    async def rounds(spec: str, cache: str) -> int:
        driver.hook = counted = Rounds()
        await counted.count(lambda: make_manager(driver, assets_dir=tmp_path / cache).fetch_asset(spec))
        return len(counted.sizes)

    assert await rounds("model@prod", "a") == await rounds("model:0.1", "b") + 1
    assert (await rounds("model@prod", "a"), await rounds("model:0.1", "b")) == (1, 0)  # cached


async def test_what_does_not_exist_is_named(manager: AssetsManager) -> None:
    with pytest.raises(AliasNotFound, match=r"has no alias 'staging'.*Its aliases: prod"):
        await manager.fetch_asset("model@staging")
    with pytest.raises(AssetNotFound, match="No asset 'other'"):
        await manager.fetch_asset("other@prod")


@pytest.mark.parametrize("withdraw", [bury, mark_yanked])
@pytest.mark.parametrize("verify", [False, True])
class TestATargetThatIsWithdrawn:
    """The alias is read, and then its target is withdrawn."""

    async def test_its_new_target_is_fetched(
        self,
        driver: Interposer,
        manager: AssetsManager,
        store: AssetStore,
        withdraw: Callable[..., Awaitable[None]],
        verify: bool,
    ) -> None:
        async def move_and_withdraw() -> None:
            await point(store, "model", "prod", "0.0")
            await withdraw(store, "model", "0.1")

        before_reading(driver, "0.1.meta", move_and_withdraw)
        found = await (manager.verify_asset("model@prod") if verify else manager.fetch_asset("model@prod"))
        assert found.version == "0.0"

    async def test_it_is_resolved_again_only_once(
        self,
        driver: Interposer,
        manager: AssetsManager,
        store: AssetStore,
        withdraw: Callable[..., Awaitable[None]],
        verify: bool,
    ) -> None:
        async def move_and_withdraw() -> None:
            await point(store, "model", "prod", "0.0")
            await withdraw(store, "model", "0.1")
            await withdraw(store, "model", "0.0", "it is broken")

        before_reading(driver, "0.1.meta", move_and_withdraw)
        with pytest.raises((VersionDeleted, VersionYanked), match=r"^model:0\.0 .*it is broken"):
            await (manager.verify_asset("model@prod") if verify else manager.fetch_asset("model@prod"))
        assert [key for _, key in driver.calls if key.endswith(".aliases")][-2:] == ["assets/model.aliases"] * 2

    async def test_a_listed_version_is_passed_over(
        self,
        manager: AssetsManager,
        store: AssetStore,
        withdraw: Callable[..., Awaitable[None]],
        verify: bool,
    ) -> None:
        await withdraw(store, "model", "1.0")
        found = await (manager.verify_asset("model") if verify else manager.fetch_asset("model"))
        assert found.version == "0.1"
        with pytest.raises(VersionNotFound):
            await (manager.verify_asset("model:1") if verify else manager.fetch_asset("model:1"))


async def test_a_yanked_version_is_fetched_by_its_exact_version_with_a_warning(
    manager: AssetsManager, store: AssetStore, caplog: pytest.LogCaptureFixture
) -> None:
    await mark_yanked(store, "model", "1.0", "it is broken")
    assert (await manager.fetch_asset("model:1.0")).version == "1.0"
    assert "model:1.0 has been yanked (it is broken), so use another version if you can." in caplog.messages


async def test_offline_a_version_that_was_yanked_is_passed_over(
    manager: AssetsManager, store: AssetStore, caplog: pytest.LogCaptureFixture
) -> None:
    """As far as the cache knows. If it has no other version, that one is fetched, with a warning."""
    for version in ("1.0", "0.1"):
        await mark_yanked(store, "model", version, "it is broken")
        await manager.fetch_asset(f"model:{version}")
    caplog.clear()
    assert (await manager.fetch_asset("model", offline=True)).version == "1.0"
    assert "model:1.0 has been yanked (it is broken), so use another version if you can." in caplog.messages
    await manager.fetch_asset("model:0.0")
    assert (await manager.fetch_asset("model", offline=True)).version == "0.0"
    assert (await manager.fetch_asset("model:1.0", offline=True)).version == "1.0"


async def test_an_asset_of_which_all_versions_are_yanked_is_not_found(
    manager: AssetsManager, store: AssetStore
) -> None:
    for version in ("0.0", "0.1", "1.0"):
        await mark_yanked(store, "model", version)
    with pytest.raises(
        VersionNotFound,
        match=r"no latest version in memory://.*: 1\.0, 0\.1 and 0\.0 are yanked\. Restore one with `unyank`",
    ):
        await manager.fetch_asset("model")


async def test_a_damaged_copy_of_a_deleted_version_does_not_affect_the_next_one(
    manager: AssetsManager, store: AssetStore
) -> None:
    damaged = await manager.fetch_asset("model:1.0")
    (damaged.path / "weights" / "w.bin").write_bytes(b"damaged")
    await bury(store, "model", "1.0")
    fetched = await manager.fetch_asset("model")
    assert (fetched.version, fetched.repaired) == ("0.1", ())
    assert (fetched.path / "weights" / "w.bin").read_bytes() == b"w" * 3000
