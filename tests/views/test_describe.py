"""Descriptions and logs of versions, and listings with labels."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tools.factories import Files, ManagerFactory
from tools.inspection import store_of
from tools.interposer import Interposer
from tools.states import DATE, bury, mark_yanked, point

from aioassets import (
    AccessDenied,
    AliasNotFound,
    AssetNotFound,
    AssetsManager,
    AssetSpec,
    AssetVersions,
    Driver,
    InvalidAlias,
    MemoryDriver,
    PartNotFound,
    Pusher,
    StoreCorrupt,
    UsageError,
    VersionDeleted,
    VersionDescription,
    VersionNotFound,
    VersionYanked,
    __version__,
)
from aioassets.drivers.protocol import Document, Expect
from aioassets.model.files import FileTable
from aioassets.model.index import VersionIndex
from aioassets.store.documents import AssetStore


@pytest.fixture
def manager(driver: Driver, make_manager: ManagerFactory) -> AssetsManager:
    return make_manager(driver)


@pytest.fixture
def store(driver: Driver) -> AssetStore:
    return store_of(driver)


async def put(driver: Driver, key: str, document: Any) -> None:
    data = document if isinstance(document, bytes) else json.dumps(document).encode()
    await driver.write(key, data, expected=Expect.ABSENT)


async def put_legacy(driver: Driver, name: str, *paths: str) -> None:
    """Write the documents of a version as modelkit does."""
    manifest = {"push_date": "2026-03-09T17:05:00", "is_directory": True, "contents": paths}
    await put(driver, f"assets/{name}/0.0.meta", manifest)
    await put(driver, f"assets/{name}.versions", {"versions": ["0.0"]})


class TestDescribing:
    async def test_it_tells_what_the_manifest_and_the_aliases_say(
        self, manager: AssetsManager, store: AssetStore, tree: Path
    ) -> None:
        await manager.create_asset(tree, "team/model", message="trained", labels={"stage": "test"})
        await point(store, "team/model", "prod", "0.0")
        await point(store, "team/model", "beta", "0.0")
        found = await manager.describe_asset("team/model")
        assert (found.name, found.version, found.part) == ("team/model", "0.0", None)
        assert found.url == f"{manager.url}/team/model/0.0"
        assert found.push_date is not None
        assert abs((datetime.now(UTC) - found.push_date).total_seconds()) < 600
        assert (found.tool, found.message, found.labels) == (
            f"aioassets/{__version__}",
            "trained",
            {"stage": "test"},
        )
        assert (found.pushed_by.user, found.pushed_by.host) != (None, None)
        assert found.aliases == ("beta", "prod")
        assert (found.yanked, found.origin, found.error) == (None, None, None)
        assert (found.is_directory, found.file_count, found.size) == (
            True,
            7,
            sum(file.size or 0 for file in found.files),
        )
        assert [file.path for file in found.files][:2] == [".hidden", "empty file"]
        assert found.content_digest == (await manager.fetch_asset("team/model")).manifest.content_digest

    async def test_its_files_are_those_of_the_manifest_and_not_copied(self, manager: AssetsManager, tree: Path) -> None:
        await manager.create_asset(tree, "model")
        assert isinstance((await manager.describe_asset("model")).files, FileTable)

    async def test_a_part_limits_the_files(self, manager: AssetsManager, tree: Path) -> None:
        await manager.create_asset(tree, "model")
        whole, part = await manager.describe_asset("model"), await manager.describe_asset("model:0.0[weights/]")
        assert [file.path for file in part.files] == ["deeper/x.bin", "w.bin"]
        assert (whole.empty_directories, part.empty_directories) == (("empty directory/inner",), ())
        assert (part.file_count, part.size, part.part) == (2, 3001, "weights")
        assert part.url == f"{whole.url}/weights"
        assert part.content_digest == whole.content_digest
        with pytest.raises(PartNotFound):
            await manager.describe_asset("model[weight]")

    async def test_a_yanked_version_is_described_by_its_exact_number(
        self, manager: AssetsManager, store: AssetStore, files: Files
    ) -> None:
        await manager.create_asset(files("a"), "model")
        await manager.update_asset(files("b"), "model")
        await mark_yanked(store, "model", "0.1", "bad data")
        yanked = (await manager.describe_asset("model:0.1")).yanked
        assert yanked is not None
        assert (yanked.date, yanked.by, yanked.reason) == (DATE, Pusher("ann", "build-7"), "bad data")
        assert (await manager.describe_asset("model")).version == "0.0"
        await point(store, "model", "prod", "0.1")
        with pytest.raises(VersionYanked, match="bad data"):
            await manager.describe_asset("model@prod")

    async def test_an_alias_that_moves_while_its_target_is_deleted_is_resolved_again(
        self, memory: MemoryDriver, make_manager: ManagerFactory, files: Files
    ) -> None:
        driver, store = Interposer(memory), store_of(memory)
        manager = make_manager(driver)
        await manager.create_asset(files("a"), "model")
        await manager.update_asset(files("b"), "model")
        await point(store, "model", "prod", "0.1")

        async def hook(moment: str, method: str, key: str) -> None:
            if (moment, method) == ("before", "read") and key.endswith("0.1.meta"):
                await bury(store, "model", "0.1")
                await point(store, "model", "prod", "0.0")

        driver.hook = hook
        found = await manager.describe_asset("model@prod")
        assert (found.version, found.aliases) == ("0.0", ("prod",))

    async def test_a_version_of_modelkit_has_no_sizes(self, manager: AssetsManager, driver: Driver) -> None:
        await put_legacy(driver, "model", "a", "b")
        found = await manager.describe_asset("model")
        assert (found.file_count, found.size, found.content_digest, found.tool) == (2, None, None, None)
        assert found.push_date == datetime(2026, 3, 9, 17, 5, tzinfo=UTC)
        assert [(file.path, file.size, file.digests) for file in found.files] == [("a", None, {}), ("b", None, {})]

    async def test_what_does_not_exist_is_reported(
        self, manager: AssetsManager, store: AssetStore, files: Files
    ) -> None:
        await manager.create_asset(files("a"), "model")
        await manager.update_asset(files("b"), "model")
        await bury(store, "model", "0.0", "bad data")
        expected = {
            "absent": AssetNotFound,
            "model:1": VersionNotFound,
            "model:0.0": VersionDeleted,
            "model@prod": AliasNotFound,
        }
        for spec, error in expected.items():
            with pytest.raises(error):
                await manager.describe_asset(spec)


class TestLogging:
    async def test_it_tells_the_latest_versions_first(
        self, manager: AssetsManager, store: AssetStore, files: Files
    ) -> None:
        await manager.create_asset(files("a"), "model", message="first")
        for content in ("bb", "ccc"):
            await manager.update_asset(files(content), "model", message=content)
        await point(store, "model", "prod", "0.1")
        found = await manager.log_versions("model")
        assert [(each.version, each.size, each.message, each.aliases) for each in found] == [
            ("0.2", 3, "ccc", ()),
            ("0.1", 2, "bb", ("prod",)),
            ("0.0", 1, "first", ()),
        ]
        assert [each.version for each in await manager.log_versions("model", 2)] == ["0.2", "0.1"]
        assert len(await manager.log_versions("model", None)) == 3

    async def test_it_keeps_no_files(self, manager: AssetsManager, tree: Path) -> None:
        """Twenty versions with a million files each would take gigabytes."""
        await manager.create_asset(tree, "model")
        (found,) = await manager.log_versions("model")
        assert (found.files, found.file_count) == ((), 7)

    async def test_an_unreadable_version_does_not_hide_the_others(
        self, manager: AssetsManager, driver: Driver, files: Files
    ) -> None:
        await manager.create_asset(files("a"), "model")
        await put(driver, "assets/model/0.1.meta", b"{")
        state = await store_of(driver).read_index("model")
        await store_of(driver).swap_index("model", state, VersionIndex(("0.2", "0.1", "0.0")))
        found = await manager.log_versions("model")
        assert [(each.version, type(each.error)) for each in found] == [
            ("0.2", StoreCorrupt),
            ("0.1", StoreCorrupt),
            ("0.0", type(None)),
        ]
        assert "0.1.meta is invalid" in str(found[1].error)
        assert found[1].push_date is None

    @pytest.fixture
    async def withdrawn(self, manager: AssetsManager, store: AssetStore, files: Files) -> None:
        """Push 0.0, 0.1 (yanked), 0.2 (deleted, but still listed) and 0.3 (deleted)."""
        await manager.create_asset(files("a"), "model")
        for content in "bcd":
            await manager.update_asset(files(content), "model")
        state = await store.read_index("model")
        await mark_yanked(store, "model", "0.1", "bad")
        await bury(store, "model", "0.2")  # still listed
        await bury(store, "model", "0.3", "leaked")
        fences = {"fences": {"0.1": "yanked", "0.3": "deleted"}, "versions": ["0.2", "0.0"]}
        await store.driver.write("assets/model.versions", json.dumps(fences).encode(), expected=state.revision)

    async def test_it_includes_yanked_versions_but_not_deleted_ones(
        self, manager: AssetsManager, withdrawn: None
    ) -> None:
        found = await manager.log_versions("model")
        assert [(each.version, each.yanked is not None) for each in found] == [("0.1", True), ("0.0", False)]

    async def test_it_tells_who_deleted_a_version_on_request(self, manager: AssetsManager, withdrawn: None) -> None:
        found = await manager.log_versions("model", deleted=True)
        assert [each.version for each in found] == ["0.3", "0.2", "0.1", "0.0"]
        assert [each.deleted is not None for each in found] == [True, True, False, False]
        deleted = found[0].deleted
        assert deleted is not None
        assert (deleted.date, deleted.by, deleted.reason) == (DATE, Pusher("ann", "build-7"), "leaked")
        assert (found[0].push_date, found[0].error) == (None, None)
        assert [each.version for each in await manager.log_versions("model", 1, deleted=True)] == ["0.3"]

    async def test_a_version_limits_it_to_a_series_or_to_one_version(
        self, manager: AssetsManager, withdrawn: None, files: Files
    ) -> None:
        await manager.update_asset(files("e"), "model", bump_major=True)
        logs = {"model": ["1.0", "0.1", "0.0"], "model:0": ["0.1", "0.0"], "model:1": ["1.0"], "model:0.1": ["0.1"]}
        for name, versions in logs.items():
            assert [each.version for each in await manager.log_versions(name)] == versions
        assert await manager.list_versions("model:0") == ["0.2", "0.0"]
        assert await manager.list_versions(AssetSpec("model", "1.0")) == ["1.0"]
        assert [each.version for each in await manager.log_versions("model:0.3", deleted=True)] == ["0.3"]

    async def test_a_version_without_matches_is_reported(self, manager: AssetsManager, withdrawn: None) -> None:
        with pytest.raises(VersionNotFound, match=r"no version 2 in .*Available: 0\.2, 0\.0"):
            await manager.log_versions("model:2")
        with pytest.raises(VersionNotFound, match="no version 2 in "):
            await manager.list_versions("model:2")
        with pytest.raises(VersionNotFound, match=r"no version 0\.9 in "):
            await manager.log_versions("model:0.9")
        with pytest.raises(VersionNotFound, match=r"no version 0\.1 in .*0\.1 is yanked"):
            await manager.list_versions("model:0.1")
        with pytest.raises(VersionDeleted, match=r"model:0\.3 was deleted from .*: leaked"):
            await manager.log_versions("model:0.3")

    @pytest.mark.parametrize("name", ["model@prod", "model[a]", "model:0[a]"])
    async def test_an_alias_or_a_part_is_refused(self, manager: AssetsManager, name: str) -> None:
        for call in (manager.log_versions, manager.list_versions):
            with pytest.raises(UsageError, match="write model or model:1 instead of"):
                await call(name)

    async def test_invalid_arguments_are_refused(self, manager: AssetsManager, files: Files) -> None:
        await manager.create_asset(files("a"), "other")
        with pytest.raises(UsageError, match="must be at least 1, not 0"):
            await manager.log_versions("model", 0)
        with pytest.raises(AssetNotFound):
            await manager.log_versions("model")


class TestListing:
    @pytest.fixture
    async def assets(self, manager: AssetsManager, store: AssetStore, files: Files) -> None:
        """Push `a` (0.1 is prod), `b` (no prod) and `c` (0.0 is prod)."""
        for name, stages in {"a": ["prod", "test"], "b": ["test"], "c": ["prod"]}.items():
            await manager.create_asset(files("a"), name, labels={"stage": stages[0], "team": name})
            for stage in stages[1:]:
                await manager.update_asset(files("b"), name, labels={"stage": stage, "team": name})
        await point(store, "a", "prod", "0.0")
        await point(store, "c", "prod", "0.0")

    @pytest.mark.parametrize(
        ("options", "expected"),
        [
            ({"describe": True}, ["a:0.1", "b:0.0", "c:0.0"]),
            ({"labels": {"stage": "test"}}, ["a:0.1", "b:0.0"]),
            ({"labels": {"stage": "test", "team": "b"}}, ["b:0.0"]),
            ({"alias": "prod"}, ["a:0.0", "c:0.0"]),
            ({"alias": "prod", "labels": {"stage": "prod"}}, ["a:0.0", "c:0.0"]),
            ({"alias": "prod", "labels": {"stage": "test"}}, []),
            ({"alias": "prod", "prefix": "a"}, ["a:0.0"]),
        ],
    )
    async def test_labels_are_those_of_the_latest_version_or_of_the_alias(
        self, manager: AssetsManager, assets: None, options: dict[str, Any], expected: list[str]
    ) -> None:
        found = [asset.described async for asset in manager.list_assets(**options)]
        assert [f"{each.name}:{each.version}" for each in found if each is not None] == expected

    async def test_descriptions_are_complete_apart_from_files(self, manager: AssetsManager, assets: None) -> None:
        (asset,) = [asset async for asset in manager.list_assets("c", describe=True)]
        described = await manager.describe_asset("c")
        assert isinstance(asset.described, VersionDescription)
        assert (asset.described.aliases, asset.described.size) == (("prod",), 1)
        assert (asset.described.content_digest, asset.described.files) == (described.content_digest, ())

    async def test_the_latest_version_is_not_one_that_is_yanked(
        self, manager: AssetsManager, store: AssetStore, assets: None
    ) -> None:
        await mark_yanked(store, "a", "0.1")
        await mark_yanked(store, "b", "0.0")
        found = [asset async for asset in manager.list_assets(describe=True)]
        assert [asset.described.version if asset.described else None for asset in found] == ["0.0", None, "0.0"]
        assert [asset.name async for asset in manager.list_assets(labels={"team": "b"})] == []
        await mark_yanked(store, "c", "0.0")
        assert [asset.name async for asset in manager.list_assets(alias="prod")] == ["a"]

    async def test_an_unreadable_manifest_is_listed_with_the_error(
        self, manager: AssetsManager, driver: Driver, assets: None
    ) -> None:
        await put(driver, "assets/bad/0.0.meta", b"{")
        await put(driver, "assets/bad.versions", {"versions": ["0.0"]})
        found = [asset async for asset in manager.list_assets(labels={"team": "c"})]
        assert [(asset.name, asset.versions, type(asset.error)) for asset in found] == [
            ("bad", ("0.0",), StoreCorrupt),
            ("c", ("0.0",), type(None)),
        ]

    async def test_an_asset_without_versions_has_no_description(self, manager: AssetsManager, driver: Driver) -> None:
        await put(driver, "assets/empty.versions", {"versions": []})
        assert [asset async for asset in manager.list_assets(describe=True)] == [AssetVersions("empty", ())]
        assert [asset async for asset in manager.list_assets(labels={"a": "b"})] == []

    async def test_an_invalid_alias_is_refused(self, manager: AssetsManager) -> None:
        with pytest.raises(InvalidAlias):
            _ = [asset async for asset in manager.list_assets(alias="1.2")]


async def test_aliases_that_may_not_be_read_are_not_shown(
    tmp_path: Path, make_manager: ManagerFactory, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """S3 denies access to a missing object if listing isn't permitted."""
    driver = MemoryDriver()
    manager = make_manager(driver)
    (tmp_path / "file").write_bytes(b"data")
    await manager.create_asset(tmp_path / "file", "model")
    read = driver.read

    async def refuse(key: str, **options: Any) -> Document:
        if key.endswith(".aliases"):
            raise AccessDenied(driver.url, f"read {key!r}", "403.")
        return await read(key, **options)

    monkeypatch.setattr(driver, "read", refuse)
    assert (await manager.describe_asset("model")).aliases == ()
    assert [found.aliases for found in await manager.log_versions("model")] == [()]
    assert [asset.described is not None async for asset in manager.list_assets(describe=True)] == [True]
    assert "Showing no aliases of model" in caplog.text
    with pytest.raises(AccessDenied):
        await manager.describe_asset("model@prod")
