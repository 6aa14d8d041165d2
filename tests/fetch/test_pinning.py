"""Locking assets, and fetching what is locked."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tools.factories import Files, ManagerFactory
from tools.inspection import store_of
from tools.interposer import Interposer

from aioassets import (
    AccessDenied,
    AliasNotFound,
    AssetNotFound,
    AssetsManager,
    BulkError,
    BulkFetchError,
    Driver,
    IntegrityError,
    InvalidSpec,
    MemoryDriver,
    NotFound,
    PartNotFound,
    UsageError,
)
from aioassets.drivers.protocol import Expect
from aioassets.model.pusher import Pusher
from aioassets.store.marks import new_mark


async def set_alias(driver: Driver, name: str, alias: str, version: str) -> None:
    store = store_of(driver)
    state = await store.read_aliases(name)
    await store.swap_aliases(name, state, state.table.moved(alias, version, new_mark(Pusher(), None)))


async def test_a_lock_keeps_its_versions(
    driver: Driver, make_manager: ManagerFactory, files: Files, tree: Path
) -> None:
    """Also when aliases and partial versions refer to later ones."""
    manager = make_manager(driver)
    await manager.create_asset(files("0"), "model")
    await manager.create_asset(tree, "tree")
    await set_alias(driver, "model", "prod", "0.0")
    specs = ["tree[weights]", "model@prod", "model:0", "model"]
    lock = await manager.lock_assets(specs)
    assert lock == await manager.lock_assets([*reversed(specs), "tree[weights/]"])
    await manager.update_asset(files("1"), "model")
    await set_alias(driver, "model", "prod", "0.1")
    fetched = await manager.sync_assets(lock)
    assert list(fetched) == ["model", "model:0", "model@prod", "tree[weights]"]
    assert {fetched[spec].path.read_text() for spec in ("model", "model:0", "model@prod")} == {"0"}
    assert (fetched["tree[weights]"].path / "w.bin").read_bytes() == b"w" * 3000
    assert await manager.lock_assets(specs) != lock


async def test_a_lock_is_read_from_a_file(
    memory: MemoryDriver, make_manager: ManagerFactory, files: Files, tmp_path: Path
) -> None:
    manager = make_manager(memory)
    await manager.create_asset(files("0"), "model")
    path = tmp_path / "assets.lock"
    path.write_text(await manager.lock_assets(["model"]))
    for source in (path, str(path)):
        assert (await manager.sync_assets(source))["model"].version == "0.0"


async def test_a_lock_is_valid_for_a_copy_in_another_store(
    memory: MemoryDriver, make_manager: ManagerFactory, files: Files, tmp_path: Path
) -> None:
    here = make_manager(memory)
    await here.create_asset(files("0"), "model")
    async with AssetsManager(driver=MemoryDriver("other"), assets_dir=tmp_path / "other") as there:
        await here.copy_version("model", there)
        lock = await here.lock_assets(["model"])
        assert lock == await there.lock_assets(["model"])
        assert (await there.sync_assets(lock))["model"].path.read_text() == "0"


async def test_offline_a_lock_is_fetched_from_the_cache(
    memory: MemoryDriver, make_manager: ManagerFactory, files: Files
) -> None:
    driver = Interposer(memory)
    manager = make_manager(driver)
    await manager.create_asset(files("0"), "model")
    lock = await manager.lock_assets(["model"])
    await manager.sync_assets(lock)
    driver.calls.clear()
    for offline in (True, False):  # an exact version that is cached needs no request
        assert (await manager.sync_assets(lock, offline=offline))["model"].from_cache
    assert driver.calls == []


class TestOtherContent:
    """The version has another digest than its lock: it was published again in a store that had been emptied."""

    async def lock_of_the_first(self, manager: AssetsManager, memory: MemoryDriver, files: Files) -> str:
        await manager.create_asset(files("first"), "model")
        await manager.create_asset(files("other"), "other")
        lock = await manager.lock_assets(["model", "other"])
        await memory.delete([item.key async for item in memory.list("assets/model")])  # type: ignore[union-attr]
        await manager.create_asset(files("second"), "model")
        return lock

    async def test_in_the_store_it_is_an_error_before_anything_is_downloaded(
        self, memory: MemoryDriver, make_manager: ManagerFactory, files: Files
    ) -> None:
        driver = Interposer(memory)
        manager = make_manager(driver)
        lock = await self.lock_of_the_first(manager, memory, files)
        with pytest.raises(BulkFetchError) as caught:
            await manager.sync_assets(lock)
        assert isinstance(caught.value.failed["model"], IntegrityError)
        assert "model:0.0 differs from what was locked: expected content digest" in str(caught.value)
        assert caught.value.fetched["other"].path.read_text() == "other"
        assert ("read_range", "assets/model/0.0") not in driver.calls

    @pytest.mark.parametrize("offline", [True, False])
    async def test_in_the_cache_it_is_an_error(
        self, memory: MemoryDriver, make_manager: ManagerFactory, files: Files, offline: bool
    ) -> None:
        manager = make_manager(memory)
        lock = await self.lock_of_the_first(manager, memory, files)
        await manager.fetch_assets(["model", "other"])
        with pytest.raises(BulkFetchError) as caught:
            await manager.sync_assets(lock, offline=offline)
        assert [type(error) for error in caught.value.failed.values()] == [IntegrityError]


async def test_a_version_of_modelkit_is_locked_by_its_listing(
    memory: MemoryDriver, make_manager: ManagerFactory
) -> None:
    meta = {"push_date": "2024-03-09T17:05:00", "is_directory": False}
    await memory.write("assets/model.versions", b'{"versions": ["0.0"]}', expected=Expect.ABSENT)
    await memory.write("assets/model/0.0.meta", json.dumps(meta).encode(), expected=Expect.ABSENT)
    await memory.write("assets/model/0.0", b"content", expected=Expect.ABSENT)
    manager = make_manager(memory)
    lock = await manager.lock_assets(["model"])
    assert "listing_digest" in lock
    assert (await manager.sync_assets(lock))["model"].path.read_bytes() == b"content"
    meta["push_date"] = "2024-03-09T17:05:01"
    await memory.write("assets/model/0.0.meta", json.dumps(meta).encode(), expected=Expect.ANYTHING)
    with pytest.raises(BulkFetchError) as caught:
        await manager.sync_assets(lock, force_download=True)
    assert isinstance(caught.value.failed["model"], IntegrityError)


class TestErrors:
    async def test_all_specs_that_cannot_be_locked_are_reported(
        self, memory: MemoryDriver, make_manager: ManagerFactory, files: Files
    ) -> None:
        manager = make_manager(memory)
        await manager.create_asset(files("0"), "model")
        with pytest.raises(BulkError, match=r"4 of 5 assets were not locked: nothing \(No asset 'nothing'") as caught:
            await manager.lock_assets(["nothing", "model@prod", "model", "model[part]", "["])
        assert {spec: type(error) for spec, error in caught.value.failed.items()} == {
            "nothing": AssetNotFound,
            "model@prod": AliasNotFound,
            "model[part]": PartNotFound,
            "[": InvalidSpec,
        }

    async def test_a_single_spec_is_refused(self, memory: MemoryDriver, make_manager: ManagerFactory) -> None:
        with pytest.raises(UsageError, match=r"must be a list of strings: write \['model'\]"):
            await make_manager(memory).lock_assets("model")

    async def test_a_lock_file_that_cannot_be_read_is_one_error(
        self, memory: MemoryDriver, make_manager: ManagerFactory, tmp_path: Path
    ) -> None:
        manager = make_manager(memory)
        with pytest.raises(NotFound, match=r"assets\.lock': no such file\. Write it with `aioassets lock`\."):
            await manager.sync_assets(tmp_path / "assets.lock")
        with pytest.raises(UsageError, match="Is a directory"):
            await manager.sync_assets(tmp_path)
        (tmp_path / "binary").write_bytes(b"\xff\xfe")
        with pytest.raises(UsageError, match="it isn't a text file in UTF-8"):
            await manager.sync_assets(tmp_path / "binary")

    @pytest.fixture
    def secret(self, readable: Path) -> Path:
        """Make a lock file that only root may read."""
        path = readable / "assets.lock"
        path.write_text("lock_version = 1\n")
        path.chmod(0)
        return path

    async def test_a_lock_file_without_permission_is_reported(
        self, memory: MemoryDriver, secret: Path, unprivileged: None
    ) -> None:
        manager = AssetsManager(driver=memory, assets_dir=secret.parent / "cache")
        with pytest.raises(AccessDenied, match=r"Cannot read '.*assets\.lock'"):
            await manager.sync_assets(secret)
