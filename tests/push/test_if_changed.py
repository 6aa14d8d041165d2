"""Updates that publish nothing if the latest version has the same content."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tools.factories import Files, ManagerFactory
from tools.inspection import keys, store_of
from tools.interposer import Interposer
from tools.states import mark_yanked

from aioassets import AssetsManager, Driver, MemoryDriver, PushResult, SourceChanged
from aioassets.drivers.protocol import Expect
from aioassets.model.digests import best_of
from aioassets.push.sources import LocalFile
from aioassets.runtime.threads import THREADS

INDEX = "assets/model.versions"


@pytest.fixture
def manager(driver: Driver, make_manager: ManagerFactory) -> AssetsManager:
    return make_manager(driver)


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Record the paths of files that are hashed to compare them."""
    paths: list[str] = []
    original = LocalFile.hashed

    async def recorded(self: LocalFile, algorithm: str) -> str | None:
        paths.append(self.path)
        return await original(self, algorithm)

    monkeypatch.setattr(LocalFile, "hashed", recorded)
    return paths


async def update(manager: AssetsManager, source: object, **options: Any) -> PushResult:
    return await manager.update_asset(source, "model", if_changed=True, **options)  # type: ignore[arg-type]


async def test_equal_content_publishes_nothing(manager: AssetsManager, driver: Driver, tree: Path) -> None:
    pushed = await manager.create_asset(tree, "model")
    before = await keys(driver)
    found = await update(manager, tree, message="again", labels={"stage": "test"})
    assert found == PushResult("model", "0.0", pushed.url, pushed.files, pushed.size, unchanged=True)
    assert not pushed.unchanged
    assert sorted(await keys(driver)) == sorted(before)


CHANGES: dict[str, Callable[[Path], object]] = {
    "content": lambda tree: (tree / ".hidden").write_bytes(b"HIDDEN"),
    "size": lambda tree: (tree / ".hidden").write_bytes(b"more"),
    "mode": lambda tree: (tree / "run.sh").chmod(0o644),
    "added": lambda tree: (tree / "new").write_bytes(b""),
    "removed": lambda tree: (tree / "empty file").unlink(),
    "renamed": lambda tree: (tree / "run.sh").rename(tree / "start.sh"),
    "empty directory": lambda tree: (tree / "empty directory" / "inner").rmdir(),
}


@pytest.mark.parametrize("name", CHANGES)
async def test_any_change_publishes_a_version(
    memory: MemoryDriver, make_manager: ManagerFactory, tree: Path, name: str
) -> None:
    manager = make_manager(memory)
    await manager.create_asset(tree, "model")
    CHANGES[name](tree)
    found = await update(manager, tree)
    assert (found.version, found.unchanged) == ("0.1", False)
    described = await manager.describe_asset("model")
    assert (described.version, described.file_count) == ("0.1", found.files)
    assert (await update(manager, tree)).unchanged


async def test_a_folder_is_not_equal_to_a_file(
    memory: MemoryDriver, make_manager: ManagerFactory, files: Files
) -> None:
    manager = make_manager(memory)
    await manager.create_asset(files("a").parent, "model")
    assert (await update(manager, files("a"))).version == "0.1"
    assert (await update(manager, files("a"))).version == "0.1"
    assert (await update(manager, files("a").parent)).version == "0.2"


class TestTheVersionToCompareWith:
    @pytest.fixture
    async def series(self, manager: AssetsManager, files: Files) -> None:
        """Push `a` as 0.0, `b` as 0.1 and `c` as 1.0."""
        await manager.create_asset(files("a"), "model")
        await manager.update_asset(files("b"), "model")
        await manager.update_asset(files("c"), "model", bump_major=True)

    @pytest.mark.parametrize(
        ("content", "options", "expected"),
        [
            ("c", {}, ("1.0", True)),
            ("b", {}, ("1.1", False)),
            ("b", {"major": 0}, ("0.1", True)),
            ("a", {"major": 0}, ("0.2", False)),
            ("c", {"bump_major": True}, ("1.0", True)),
            ("a", {"bump_major": True}, ("2.0", False)),
        ],
    )
    async def test_it_is_the_latest_of_the_series(
        self,
        manager: AssetsManager,
        series: None,
        files: Files,
        content: str,
        options: dict[str, Any],
        expected: tuple[str, bool],
    ) -> None:
        found = await update(manager, files(content), **options)
        assert (found.version, found.unchanged) == expected

    async def test_it_is_not_one_that_is_yanked(
        self, manager: AssetsManager, series: None, driver: Driver, files: Files
    ) -> None:
        await mark_yanked(store_of(driver), "model", "1.0")
        assert (await update(manager, files("b"))).version == "0.1"
        assert (await update(manager, files("c"))).version == "1.1"

    async def test_it_is_the_latest_at_the_time_of_the_comparison(
        self, memory: MemoryDriver, make_manager: ManagerFactory, files: Files
    ) -> None:
        """A version that is published during the comparison doesn't change the result."""
        driver = Interposer(memory)
        manager, other, changed = make_manager(driver), make_manager(memory), files("b")
        await manager.create_asset(files("a"), "model")

        async def hook(moment: str, method: str, key: str) -> None:
            if (moment, method) == ("after", "read") and key.endswith("0.0.meta"):
                await other.update_asset(changed, "model")

        driver.hook = hook
        found = await update(manager, files("a"))
        assert (found.version, found.unchanged) == ("0.0", True)
        assert await manager.list_versions("model") == ["0.1", "0.0"]


class TestHashing:
    async def test_nothing_is_hashed_if_sizes_differ(
        self, memory: MemoryDriver, make_manager: ManagerFactory, tree: Path, hashed: list[str]
    ) -> None:
        manager = make_manager(memory)
        await manager.create_asset(tree, "model")
        for name in ("size", "mode", "added"):
            CHANGES[name](tree)
            assert not (await update(manager, tree)).unchanged
        assert hashed == []

    async def test_each_file_is_hashed_once(
        self, memory: MemoryDriver, make_manager: ManagerFactory, tree: Path, hashed: list[str]
    ) -> None:
        manager = make_manager(memory)
        pushed = await manager.create_asset(tree, "model")
        assert (await update(manager, tree)).unchanged
        assert (len(hashed), len(set(hashed))) == (pushed.files, pushed.files)

    async def test_hashing_stops_at_a_difference(
        self, memory: MemoryDriver, make_manager: ManagerFactory, tmp_path: Path, hashed: list[str]
    ) -> None:
        many = tmp_path / "many"
        many.mkdir()
        for number in range(8 * THREADS):
            (many / f"{number}").write_text("a")
        manager = make_manager(memory)
        await manager.create_asset(many, "model")
        for file in many.iterdir():
            file.write_text("b")
        assert not (await update(manager, many)).unchanged
        assert len(hashed) <= THREADS

    async def test_a_file_that_changes_meanwhile_is_an_error(
        self, memory: MemoryDriver, make_manager: ManagerFactory, tree: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        manager = make_manager(memory)
        await manager.create_asset(tree, "model")
        original = LocalFile.hashed

        async def touching(self: LocalFile, algorithm: str) -> str | None:
            digest = await original(self, algorithm)
            os.utime(tree / "run.sh", (1, 1))
            return digest

        monkeypatch.setattr(LocalFile, "hashed", touching)
        with pytest.raises(SourceChanged):
            await update(manager, tree)


class TestUnknownDigests:
    async def put(self, driver: Driver, **file: object) -> None:
        """Write version 0.0, a file, with this entry in its manifest."""
        manifest = {"push_date": "2026-03-09T17:05:00", "is_directory": False, "files": [{"path": "", **file}]}
        await driver.write("assets/model/0.0.meta", json.dumps(manifest).encode(), expected=Expect.ABSENT)
        await driver.write("assets/model.versions", b'{"versions": ["0.0"]}', expected=Expect.ABSENT)

    @pytest.mark.parametrize(
        ("file", "unchanged"),
        [
            ({}, False),
            ({"size": 1}, False),
            ({"size": 1, "digests": {"unknown": "00"}}, False),
            ({"size": 1, "digests": {"md5": "0cc175b9c0f1b6a831c399e269772661"}}, True),
            ({"size": 1, "digests": {"md5": "00000000000000000000000000000000"}}, False),
        ],
    )
    async def test_a_version_without_content_digest_is_compared_by_the_digests_it_has(
        self,
        memory: MemoryDriver,
        make_manager: ManagerFactory,
        files: Files,
        file: dict[str, object],
        unchanged: bool,
    ) -> None:
        await self.put(memory, **file)
        assert (await update(make_manager(memory), files("a"))).unchanged is unchanged

    async def test_an_invalid_manifest_counts_as_changed(
        self,
        memory: MemoryDriver,
        make_manager: ManagerFactory,
        files: Files,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        await self.put(memory, size=-1)
        with caplog.at_level(logging.WARNING):
            assert (await update(make_manager(memory), files("a"))).version == "0.1"
        assert "treating the files as changed" in caplog.text

    async def test_objects_of_a_store_are_compared_by_the_digests_that_it_reports(
        self, make_manager: ManagerFactory, driver: Driver, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Others would have to be downloaded, and count as changed."""
        await driver.write("raw/a", b"a", expected=Expect.ABSENT)
        monkeypatch.setattr("aioassets.session.make_driver", lambda location, **_: driver)
        counting = Interposer(driver)
        manager = make_manager(counting)
        await manager.create_asset("s3://bucket/raw/a", "model")
        (file,) = (await manager.describe_asset("model")).files
        reported = (await driver.stat("raw/a")).checksums
        counting.calls.clear()
        found = await update(manager, "s3://bucket/raw/a")
        assert found.unchanged is (best_of(file.digests) in reported)
        assert not found.unchanged or counting.calls == [("read", INDEX), ("read", "assets/model/0.0.meta")]


async def test_a_plan_says_that_nothing_would_be_pushed(
    memory: MemoryDriver, make_manager: ManagerFactory, files: Files
) -> None:
    driver = Interposer(memory)
    manager = make_manager(driver)
    await manager.create_asset(files("a"), "model")
    forecast = await update(manager, files("a"), dry_run=True)
    assert (forecast.version, forecast.unchanged, forecast.dry_run) == ("0.0", True, True)
    plan = await manager.plan_update(files("a"), "model", if_changed=True)
    assert (plan.version, plan.unchanged, plan.url) == ("0.0", True, f"{manager.url}/model/0.0")
    driver.calls.clear()
    result = await manager.push(plan)
    assert (result.version, result.unchanged, result.dry_run) == ("0.0", True, False)
    assert driver.calls == []
    changed = await manager.plan_update(files("b"), "model", if_changed=True)
    assert (changed.version, changed.unchanged) == ("0.1", False)


async def test_many_assets_are_compared(memory: MemoryDriver, make_manager: ManagerFactory, files: Files) -> None:
    manager = make_manager(memory)
    for name in ("a", "b"):
        await manager.create_asset(files(name), name)
    sources: dict[str, Any] = {"a": files("a"), "b": files("x"), "c": files("c")}
    found = await manager.update_assets(sources, create_missing=True, if_changed=True)
    assert {name: (result.version, result.unchanged) for name, result in found.items()} == {
        "a": ("0.0", True),
        "b": ("0.1", False),
        "c": ("0.0", False),
    }
