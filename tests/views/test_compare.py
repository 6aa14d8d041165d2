"""Comparing versions with each other and with local paths."""

from __future__ import annotations

import json
import logging
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from tools.factories import Files, ManagerFactory
from tools.inspection import store_of
from tools.interposer import Interposer
from tools.states import point

from aioassets import (
    AliasNotFound,
    AssetNotFound,
    AssetsManager,
    AssetSpec,
    Driver,
    FileEntry,
    MemoryDriver,
    PartNotFound,
    SourceNotFound,
    UsageError,
    VersionDiff,
    VersionNotFound,
)
from aioassets.drivers.protocol import Expect, ObjectInfo
from aioassets.push.sources import LocalFile


@pytest.fixture
def manager(driver: Driver, make_manager: ManagerFactory) -> AssetsManager:
    return make_manager(driver)


def change(tree: Path) -> None:
    """Change, add, rename and remove files of a tree, change a mode, and fill an empty directory."""
    (tree / "weights" / "deeper" / "x.bin").write_bytes(b"y")
    (tree / ".hidden").write_bytes(b"not hidden")
    (tree / "run.sh").chmod(0o644)
    (tree / "link").unlink()
    (tree / "ünïcödé" / "日本語.txt").rename(tree / "renamed.txt")
    (tree / "empty directory" / "inner" / "new").write_bytes(b"new!")


def assert_changed(found: VersionDiff) -> None:
    """Check that these are the differences that `change` makes."""
    assert [file.path for file in found.added] == ["empty directory/inner/new"]
    assert [file.path for file in found.removed] == ["link"]
    assert [each.after.path for each in found.changed] == [".hidden", "weights/deeper/x.bin"]
    assert [(each.before.path, each.after.path) for each in found.renamed] == [("ünïcödé/日本語.txt", "renamed.txt")]
    assert [each.after.path for each in found.mode_changed] == ["run.sh"]
    assert (found.added_directories, found.removed_directories) == (("ünïcödé",), ("empty directory/inner",))
    assert (found.unknown, found.unchanged) == ((), 2)
    assert (found.bytes_added, found.bytes_removed) == (4 + 10 + 1, 3000 + 6 + 1)


async def put_legacy(driver: Driver, version: str, contents: dict[str, bytes]) -> None:
    """Write a version of `legacy` as modelkit does: without sizes and digests."""
    manifest = {"push_date": "2026-03-09T17:05:00", "is_directory": True, "contents": list(contents)}
    for path, data in contents.items():
        await driver.write(f"assets/legacy/{version}/{path}", data, expected=Expect.ABSENT)
    await driver.write(f"assets/legacy/{version}.meta", json.dumps(manifest).encode(), expected=Expect.ABSENT)


class TestTwoVersions:
    async def test_all_differences_are_told(self, manager: AssetsManager, tree: Path) -> None:
        await manager.create_asset(tree, "model")
        change(tree)
        await manager.update_asset(tree, "model")
        found = await manager.diff_versions("model:0.0", "model")
        assert (found.a, found.b) == ("model:0.0", "model:0.1")
        assert_changed(found)

    async def test_equal_content_has_none_under_another_name(self, manager: AssetsManager, tree: Path) -> None:
        for name in ("model", "team/other"):
            await manager.create_asset(tree, name)
        found = await manager.diff_versions("model", AssetSpec("team/other"))
        assert found == VersionDiff("model:0.0", "team/other:0.0", unchanged=7)
        assert found.is_equal

    async def test_an_alias_is_resolved(self, manager: AssetsManager, driver: Driver, files: Files) -> None:
        await manager.create_asset(files("a"), "model")
        await manager.update_asset(files("b"), "model")
        await point(store_of(driver), "model", "prod", "0.0")
        found = await manager.diff_versions("model@prod", "model")
        assert (found.a, found.b, len(found.changed)) == ("model:0.0", "model:0.1", 1)

    async def test_paths_of_parts_are_relative(self, manager: AssetsManager, tree: Path) -> None:
        await manager.create_asset(tree, "model")
        shutil.copytree(tree / "weights", tree / "copy")
        (tree / "copy" / "deeper" / "x.bin").write_bytes(b"y")
        await manager.update_asset(tree, "model")
        found = await manager.diff_versions("model:0.0[weights]", "model:0.1[copy]")
        assert (found.a, found.b) == ("model:0.0[weights]", "model:0.1[copy]")
        assert [each.after.path for each in found.changed] == ["deeper/x.bin"]
        assert (found.unchanged, found.added, found.removed) == (1, (), ())

    async def test_what_does_not_exist_is_reported(self, manager: AssetsManager, files: Files) -> None:
        await manager.create_asset(files("a"), "model")
        expected: dict[str, type[Exception]] = {
            "absent": AssetNotFound,
            "model:1": VersionNotFound,
            "model@prod": AliasNotFound,
            "model[part]": PartNotFound,
            "/nowhere/at/all": SourceNotFound,
        }
        for other, error in expected.items():
            with pytest.raises(error):
                await manager.diff_versions("model", other)


class TestVersionsWithoutDigests:
    """modelkit records neither sizes nor digests."""

    async def test_sizes_and_digests_that_the_store_reports_are_compared(
        self, manager: AssetsManager, driver: Driver
    ) -> None:
        await put_legacy(driver, "0.0", {"same size": b"1", "other size": b"1"})
        await put_legacy(driver, "0.1", {"same size": b"2", "other size": b"22"})
        found = await manager.diff_versions("legacy:0.0", "legacy:0.1")
        (info,) = [info async for info in driver.list("assets/legacy/0.0/same")]
        assert isinstance(info, ObjectInfo)
        reports_digests = bool(info.checksums)
        told = [each.after.path for each in found.changed]
        assert told == (["other size", "same size"] if reports_digests else ["other size"])
        assert [each.after.path for each in found.unknown] == ([] if reports_digests else ["same size"])
        assert (found.bytes_added, found.is_equal) == (3 if reports_digests else 2, False)

    async def test_a_version_equals_itself(self, manager: AssetsManager, driver: Driver) -> None:
        await put_legacy(driver, "0.0", {"a": b"1"})
        assert (await manager.diff_versions("legacy:0.0", "legacy:0.0")).is_equal

    async def test_a_file_whose_object_is_missing_may_differ(
        self, memory: MemoryDriver, make_manager: ManagerFactory
    ) -> None:
        for version in ("0.0", "0.1"):
            await put_legacy(memory, version, {"a": b"1"})
        await memory.delete(["assets/legacy/0.1/a"])
        found = await make_manager(memory).diff_versions("legacy:0.0", "legacy:0.1")
        assert [(each.before.size, each.after.size) for each in found.unknown] == [(1, None)]


class TestALocalPath:
    async def test_all_differences_are_told(self, manager: AssetsManager, tree: Path) -> None:
        await manager.create_asset(tree, "model")
        assert (await manager.diff_versions("model", tree)).is_equal
        change(tree)
        found = await manager.diff_versions("model", f"{tree}/")
        assert (found.a, found.b) == ("model:0.0", f"{tree}/")
        assert_changed(found)

    async def test_it_may_be_the_first_side(self, manager: AssetsManager, tree: Path) -> None:
        await manager.create_asset(tree, "model")
        (tree / "new").write_bytes(b"new!")
        found = await manager.diff_versions(tree, "model")
        assert [file.path for file in found.removed] == ["new"]
        assert (found.a, found.b, found.added) == (str(tree), "model:0.0", ())

    async def test_a_file_is_compared_with_a_file(self, manager: AssetsManager, files: Files) -> None:
        await manager.create_asset(files("a"), "model")
        assert (await manager.diff_versions("model", files("a"))).is_equal
        (changed,) = (await manager.diff_versions("model", files("b"))).changed
        assert (changed.before.path, changed.after.size) == ("", 1)

    async def test_a_part_is_compared_with_what_is_below_it(self, manager: AssetsManager, tree: Path) -> None:
        await manager.create_asset(tree, "model")
        assert (await manager.diff_versions("model[weights]", tree / "weights")).is_equal
        assert (await manager.diff_versions("model[weights/w.bin]", tree / "weights" / "w.bin")).is_equal
        found = await manager.diff_versions("model[empty directory/inner]", tree / "empty directory" / "inner")
        assert found.is_equal

    async def test_only_files_that_sizes_do_not_tell_apart_are_hashed(
        self, memory: MemoryDriver, make_manager: ManagerFactory, tree: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        manager = make_manager(memory)
        await manager.create_asset(tree, "model")
        change(tree)
        (tree / "other").write_bytes(b"of a size that no file had")
        hashed: list[str] = []
        original = LocalFile.hashed

        async def recorded(self: LocalFile, algorithm: str) -> str | None:
            hashed.append(self.path)
            return await original(self, algorithm)

        monkeypatch.setattr(LocalFile, "hashed", recorded)
        assert (await manager.diff_versions("model", tree)).added[-1] == FileEntry("other", 26)
        same_size = ["empty file", "run.sh", "weights/deeper/x.bin", "weights/w.bin"]
        assert sorted(hashed) == sorted(["renamed.txt", *same_size])

    async def test_digests_that_the_store_reported_are_compared(
        self, memory: MemoryDriver, make_manager: ManagerFactory, tmp_path: Path
    ) -> None:
        """Files that a store copied may have no SHA-256."""
        manifest = {
            "push_date": "2026-03-09T17:05:00",
            "is_directory": False,
            "files": [{"path": "", "size": 1, "digests": {"md5": "0cc175b9c0f1b6a831c399e269772661"}}],
        }
        await memory.write("assets/model/0.0.meta", json.dumps(manifest).encode(), expected=Expect.ABSENT)
        for content, equal in (("a", True), ("b", False)):
            (tmp_path / "file").write_text(content)
            found = await make_manager(memory).diff_versions("model:0.0", tmp_path / "file")
            assert (found.is_equal, found.unknown) == (equal, ())

    async def test_nothing_is_written(self, memory: MemoryDriver, make_manager: ManagerFactory, tree: Path) -> None:
        driver = Interposer(memory)
        manager = make_manager(driver)
        await manager.create_asset(tree, "model")
        driver.calls.clear()
        await manager.diff_versions("model:0.0", tree)
        assert driver.calls == [("read", "assets/model/0.0.meta")]


class TestTellingPathsFromSpecs:
    @pytest.fixture
    async def there(
        self, manager: AssetsManager, files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Push `model`, and create a file of this name in the working directory."""
        await manager.create_asset(files("a"), "model")
        (tmp_path / "work" / "inner").mkdir(parents=True)
        monkeypatch.chdir(tmp_path / "work")
        Path("model").write_text("local")
        Path("not a spec").write_text("a")

    @pytest.mark.parametrize(
        ("side", "label"),
        [
            ("./model", "./model"),
            ("../work/model", "../work/model"),
            (Path("model"), "model"),
            ("not a spec", "not a spec"),
            (".", "."),
            ("inner/", "inner/"),
        ],
    )
    async def test_these_are_paths(self, manager: AssetsManager, there: None, side: Any, label: str) -> None:
        assert (await manager.diff_versions("model:0.0", side)).b == label

    async def test_an_absolute_path_is_a_path(self, manager: AssetsManager, there: None, tmp_path: Path) -> None:
        path = os.path.join(tmp_path, "work", "model")
        assert (await manager.diff_versions("model:0.0", path)).b == path

    async def test_a_spec_that_is_a_path_too_is_a_spec_and_a_warning_says_so(
        self, manager: AssetsManager, there: None, caplog: pytest.LogCaptureFixture
    ) -> None:
        with caplog.at_level(logging.WARNING):
            assert (await manager.diff_versions("model:0.0", "model")).is_equal
        assert caplog.messages == [
            "'model' is compared as an asset. To compare the local path of this name, write ./model."
        ]

    async def test_a_path_that_is_a_valid_spec_is_a_path_if_there_is_no_such_asset(
        self, manager: AssetsManager, there: None, caplog: pytest.LogCaptureFixture
    ) -> None:
        with caplog.at_level(logging.WARNING):
            assert (await manager.diff_versions("inner", "model:0.0")).a == "./inner"
        assert caplog.messages == [
            "'inner' is compared as the local path ./inner, since there is no such asset.",
        ]

    @pytest.mark.parametrize(
        ("a", "b", "message"),
        [
            ("./model", ".", "Both sides are local paths"),
            ("model", "s3://bucket/key", "Cannot compare the URL 's3://bucket/key'"),
            ("model", "neither a spec nor a path", "is not a valid asset name"),
            ("model", "a\0b", "is not a valid asset name"),
        ],
    )
    async def test_anything_else_is_refused(
        self, manager: AssetsManager, there: None, a: str, b: str, message: str
    ) -> None:
        with pytest.raises(UsageError, match=message):
            await manager.diff_versions(a, b)
