"""The store copies the files of a base instead of receiving them again. A base can cost time, but never bytes."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tools.claims import dead_claim, put_claim, state_of
from tools.factories import ManagerFactory
from tools.inspection import contents, keys, store_of
from tools.interposer import Fail, Interposer, Pause, failure
from tools.states import bury, mark_yanked

from aioassets import (
    AccessDenied,
    AliasNotFound,
    AssetNotFound,
    AssetsManager,
    BytesTransferred,
    Event,
    FileTransferred,
    Manifest,
    MemoryDriver,
    ObjectNotFound,
    PreconditionFailed,
    PushResult,
    SourceChanged,
    StoreError,
    StoreUnavailable,
    UsageError,
    VersionDeleted,
    VersionNotFound,
)
from aioassets.cli.display import Tally
from aioassets.drivers.protocol import Driver, Expect, ObjectInfo, OpenUpload
from aioassets.errors import NotSameStore
from aioassets.model.claim import ClaimState
from aioassets.model.files import FileEntry
from aioassets.push.base import MIN_COPIED, read_base
from aioassets.push.hashes import Hashes
from aioassets.push.reuse import Reuse
from aioassets.push.scan import scan
from aioassets.push.sources import LocalFile
from aioassets.runtime.effects import Effects
from aioassets.store.resolve import SealedVersion
from aioassets.testing import BytesSource

SIZE = MIN_COPIED
DENIED = AccessDenied("copy", "the object", "a test says so")
META = "assets/model/0.0.meta"


@pytest.fixture
def driver(memory: MemoryDriver) -> Interposer:
    return Interposer(memory)


@pytest.fixture
def manager(driver: Interposer, make_manager: ManagerFactory) -> AssetsManager:
    return make_manager(driver)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Make a tree with large files that have the same size, and a small file."""
    return fill(tmp_path / "source", {"a": "a", "b": "b", "sub/c": "c"})


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Record the paths of files that are hashed before they are uploaded."""
    paths: list[str] = []
    original = LocalFile.hashed

    async def recorded(self: LocalFile, algorithm: str) -> str | None:
        paths.append(self.path)
        return await original(self, algorithm)

    monkeypatch.setattr(LocalFile, "hashed", recorded)
    return paths


def fill(folder: Path, files: dict[str, str]) -> Path:
    """Write files that consist of one letter, and a small file."""
    for path, letter in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(letter.encode() * SIZE)
    (folder / "small").write_bytes(b"small")
    return folder


def moved(driver: Interposer, method: str) -> list[str]:
    """Return the paths of the files of 0.1 that were copied or uploaded."""
    return sorted(key.partition("/0.1/")[2] for found, key in driver.calls if found == method and "/0.1/" in key)


async def update(manager: AssetsManager, source: Path, **options: Any) -> PushResult:
    """Push an update, and check that it has exactly the bytes of the source."""
    result = await manager.update_asset(source, "model", **options)
    fetched = await manager.fetch_asset(f"model:{result.version}")
    assert contents(fetched.path) == contents(source)
    assert fetched.verified
    return result


async def manifest_of(driver: Driver, version: str = "0.0") -> Manifest:
    content = (await store_of(driver).read_meta("model", version)).content
    assert isinstance(content, Manifest)
    return content


async def test_only_changed_files_are_uploaded(manager: AssetsManager, driver: Interposer, source: Path) -> None:
    """Files that were renamed or duplicated are copied, too."""
    created = await manager.create_asset(source, "model")
    assert (created.uploaded, created.copied, created.base) == (created.size, 0, None)
    (source / "a").rename(source / "renamed")
    fill(source, {"b": "B", "duplicate": "c"})
    found = await update(manager, source)
    assert moved(driver, "copy") == ["duplicate", "renamed", "sub/c"]
    assert moved(driver, "upload") == ["b", "small"]
    assert (found.uploaded, found.copied, found.base) == (SIZE + 5, 3 * SIZE, "model:0.0")
    assert found.uploaded + found.copied == found.size


async def test_a_file_asset_is_copied(manager: AssetsManager, driver: Interposer, source: Path) -> None:
    await manager.create_asset(source / "a", "model")
    await manager.update_asset(source / "a", "model")
    assert ("copy", "assets/model/0.1") in driver.calls
    await manager.update_asset(source, "model")
    assert ("copy", "assets/model/0.2/a") in driver.calls


async def test_a_copy_is_a_base_in_turn(manager: AssetsManager, driver: Interposer, source: Path) -> None:
    """Manifests record the revisions of copies, and keep them when they are rewritten."""
    await manager.create_asset(source, "model")
    await update(manager, source)
    await manager.yank_version("model", "0.1", "test")
    await manager.unyank_version("model", "0.1")
    found = await update(manager, source)
    assert (found.base, found.copied) == ("model:0.1", 3 * SIZE)
    copied = await manager.copy_version("model:0.2", manager, name="other")
    found = await update(manager, source, base=f"other:{copied.version}")
    assert (found.base, found.copied) == ("other:0.2", 3 * SIZE)


class TestHashing:
    async def test_only_large_files_whose_size_the_base_has_are_hashed(
        self, manager: AssetsManager, source: Path, hashed: list[str]
    ) -> None:
        await manager.create_asset(source, "model")
        (source / "a").write_bytes(b"longer" * SIZE)
        await update(manager, source)
        assert sorted(hashed) == ["b", "sub/c"]

    async def test_a_plan_hashes_the_files_for_its_push(
        self, manager: AssetsManager, driver: Interposer, source: Path, hashed: list[str]
    ) -> None:
        await manager.create_asset(source, "model")
        plan = await manager.plan_update(source, "model")
        result = await manager.push(plan)
        assert sorted(hashed) == ["a", "b", "sub/c"]
        assert (plan.base, plan.copied, plan.uploaded) == (result.base, result.copied, result.uploaded)
        assert plan.copied == 3 * SIZE

    async def test_files_are_hashed_once_with_if_changed(
        self, manager: AssetsManager, driver: Interposer, source: Path, hashed: list[str]
    ) -> None:
        """The manifest is read once, too."""
        await manager.create_asset(source, "model")
        fill(source, {"sub/c": "C"})
        driver.calls.clear()
        found = await update(manager, source, if_changed=True)
        assert (found.version, found.copied) == ("0.1", 2 * SIZE)
        assert len(hashed) == len(set(hashed))
        assert driver.calls.count(("read", META)) == 1
        assert (await manager.update_asset(source, "model", if_changed=True)).unchanged

    async def test_no_manifest_is_read_for_small_files(
        self, manager: AssetsManager, driver: Interposer, tmp_path: Path
    ) -> None:
        small = tmp_path / "small"
        small.write_bytes(b"x" * (SIZE - 1))
        await manager.create_asset(small, "model")
        driver.calls.clear()
        assert (await manager.update_asset(small, "model")).base is None
        assert ("read", META) not in driver.calls


class TestTheBase:
    @pytest.fixture(autouse=True)
    async def bases(self, manager: AssetsManager, source: Path) -> None:
        """Push `a`, `b` and `c` in 0.0, only `b` in 0.1 and nothing else than `a` in 1.0."""
        await manager.create_asset(source, "model")
        await manager.update_asset(source / "b", "model")
        await manager.update_asset(source / "a", "model", bump_major=True)
        await manager.set_alias("model", "prod", "0.0")

    @pytest.mark.parametrize(
        ("options", "base", "files"),
        [
            ({}, "model:1.0", 1),
            ({"major": 0}, "model:0.1", 1),
            ({"bump_major": True}, "model:1.0", 1),
            ({"base": "model:0.0"}, "model:0.0", 3),
            ({"base": "model@prod"}, "model:0.0", 3),
            ({"base": "model:0"}, "model:0.1", 1),
            ({"base": "model"}, "model:1.0", 1),
            ({"base": None}, None, 0),
        ],
    )
    async def test_of_an_update(
        self, manager: AssetsManager, source: Path, options: dict[str, Any], base: str | None, files: int
    ) -> None:
        forecast = await manager.update_asset(source, "model", dry_run=True, **options)
        assert (forecast.base, forecast.copied) == (base, files * SIZE)
        found = await update(manager, source, **options)
        assert (found.base, found.copied, found.uploaded) == (base, files * SIZE, found.size - files * SIZE)

    async def test_of_a_new_asset(self, manager: AssetsManager, source: Path) -> None:
        assert (await manager.plan_create(source, "new")).base is None
        assert (await manager.plan_create(source, "new", base="model:0.0")).copied == 3 * SIZE
        assert (await manager.create_asset(source, "new", base="model:0.0")).copied == 3 * SIZE

    async def test_of_many_updates(self, manager: AssetsManager, source: Path) -> None:
        pushes: dict[str, Any] = {"model": source, "new": source}
        found = await manager.update_assets(pushes, create_missing=True)
        assert [each.copied for each in found.values()] == [SIZE, 0]
        found = await manager.update_assets(dict.fromkeys(pushes, source), base="model:0.0")
        assert [each.copied for each in found.values()] == [3 * SIZE, 3 * SIZE]
        found = await manager.update_assets(dict.fromkeys(pushes, source), base=None)
        assert [each.copied for each in found.values()] == [0, 0]

    @pytest.mark.parametrize(
        ("base", "error"),
        [
            ("unknown:0.0", AssetNotFound),
            ("model:0.7", VersionNotFound),
            ("model@unknown", AliasNotFound),
            ("gone:0.0", VersionDeleted),
            ("s3://bucket/assets/model:0.0", UsageError),
            ("model:0.0[sub]", UsageError),
            ("not a spec", UsageError),
            (3, UsageError),
        ],
    )
    async def test_that_is_named_wrongly_is_an_error_before_anything_is_written(
        self, manager: AssetsManager, driver: Interposer, source: Path, base: Any, error: type[Exception]
    ) -> None:
        await manager.create_asset(source / "small", "gone")
        await manager.delete_version("gone", "0.0")
        before = await keys(driver)
        with pytest.raises(error):
            await manager.update_asset(source, "model", base=base)
        with pytest.raises(error):
            await manager.create_asset(source, "new", base=base)
        assert await keys(driver) == before

    async def test_that_was_withdrawn_is_left_out(
        self, manager: AssetsManager, driver: Interposer, source: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The index may still list it. If no other is left, there is no base."""
        await bury(store_of(driver), "model", "1.0")
        assert (await update(manager, source)).base == "model:0.1"
        for version in ("0.0", "0.1", "1.1"):
            await mark_yanked(store_of(driver), "model", version)
        with caplog.at_level(logging.DEBUG, "aioassets"):
            assert (await update(manager, source)).base is None
        assert "Pushing without a base" in caplog.text

    @pytest.mark.parametrize("data", [b"{}", b'{"push_date": "2026-03-09T17:05:00", "is_directory": false}'])
    async def test_that_cannot_be_read_or_has_no_digests_is_no_base(
        self, manager: AssetsManager, driver: Interposer, source: Path, data: bytes
    ) -> None:
        await driver.write("assets/model/1.0.meta", data, expected=Expect.ANYTHING)
        assert (await update(manager, source)).base is None
        assert (await manager.update_asset(source, "model", major=0, base="model:0.1")).copied == SIZE

    async def test_that_the_store_fails_to_read_is_no_base(
        self, manager: AssetsManager, driver: Interposer, source: Path
    ) -> None:
        driver.hook = Fail("before", "read", "model/1.0.meta", DENIED)
        assert (await update(manager, source)).base is None

    async def test_without_revisions_is_no_base(self, manager: AssetsManager, driver: Interposer, source: Path) -> None:
        """Earlier releases didn't record them."""
        manifest = json.loads((await driver.read("assets/model/1.0.meta")).data)
        assert manifest["files"][0].pop("revision")
        await driver.write("assets/model/1.0.meta", json.dumps(manifest).encode(), expected=Expect.ANYTHING)
        assert (await update(manager, source)).base is None

    async def test_of_a_single_writer_is_not_used(
        self, make_manager: ManagerFactory, memory: MemoryDriver, source: Path
    ) -> None:
        """Its store may ignore the conditions of copies."""
        manager = make_manager(memory, single_writer=True)
        assert (await manager.plan_update(source, "model")).copied == 0
        found = await update(manager, source, base="model:0.0")
        assert (found.base, found.copied) == (None, 0)


class TestManifests:
    async def test_record_the_revisions_of_large_objects(
        self, manager: AssetsManager, driver: Interposer, source: Path
    ) -> None:
        await manager.create_asset(source, "model")
        found = {file.path: file.revision for file in (await manifest_of(driver)).files}
        stored = {path: (await driver.stat(f"assets/model/0.0/{path}")).revision for path in ("a", "b", "sub/c")}
        assert found == {**stored, "small": None}

    @pytest.mark.parametrize("revision", ["", "x" * 129, "two words", "ü", "a\r\nb"])
    async def test_never_contain_revisions_that_are_not_plain_text(self, revision: str) -> None:
        """A driver would send them in a header."""
        files = [FileEntry("a", 1, {}, revision="r1"), FileEntry("b", 1, {}, revision=revision)]
        manifest = json.loads((await self.manifest(files)).to_json())
        assert [file.get("revision") for file in manifest["files"]] == ["r1", None]
        manifest["files"][1]["revision"] = revision
        with pytest.raises(ValueError, match="revision that isn't"):
            Manifest.from_json(json.dumps(manifest).encode())

    async def manifest(self, files: list[FileEntry]) -> Manifest:
        driver = MemoryDriver()
        text = {"push_date": "2026-03-09T17:05:00", "is_directory": True, "contents": ["a", "b"]}
        await driver.write(META, json.dumps(text).encode(), expected=Expect.ABSENT)
        found = await manifest_of(driver)
        return Manifest(found.push_date, True, files)


ERRORS: dict[str, tuple[Exception, bool]] = {
    "the object is gone": (ObjectNotFound("x"), False),
    "it has another revision": (PreconditionFailed("x"), False),
    "another store": (NotSameStore("x"), True),
    "copying is refused": (DENIED, True),
    "copying isn't implemented": (failure(), True),
    "nobody knows": (failure(uncertain=True), True),
    "the store is unavailable": (StoreUnavailable("x", "a test says so.", uncertain=True), True),
}
"""Errors of copies, and whether they would happen again with other files, so that no further copy is tried."""


class TestFailures:
    @pytest.mark.parametrize("name", ERRORS)
    @pytest.mark.parametrize("moment", ["before", "after"])
    async def test_of_copies_end_in_uploads(
        self,
        manager: AssetsManager,
        driver: Interposer,
        source: Path,
        name: str,
        moment: str,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """`after` is the loss of a response."""
        error, _ = ERRORS[name]
        await manager.create_asset(source, "model")
        driver.hook = Fail(moment, "copy", "", error, times=100)
        with caplog.at_level(logging.DEBUG, "aioassets.push"):
            found = await update(manager, source)
        assert (found.version, found.copied, found.uploaded) == ("0.1", 0, found.size)
        assert moved(driver, "upload") == ["a", "b", "small", "sub/c"]
        assert "Uploading a file instead of copying" in caplog.text
        assert not [record for record in caplog.records if record.levelno >= logging.WARNING]

    @pytest.mark.parametrize("name", ERRORS)
    async def test_that_would_happen_again_end_copying(
        self, manager: AssetsManager, driver: Interposer, source: Path, name: str
    ) -> None:
        await manager.create_asset(source, "model")
        files, store = (await scan(source)).files, store_of(driver)
        base = SealedVersion("model", "0.0", await manifest_of(driver))
        reuse = Reuse(files, Hashes(files), partial(read_base, store, base), driver.composable)
        await reuse.prepare()
        original = await reuse.find(0)
        assert original is not None
        error, is_lasting = ERRORS[name]
        driver.hook = Fail("before", "copy", "", error)
        effects = Effects()
        assert await reuse.copy(original, driver, "key", effects) is None
        assert effects.uncertain is error.uncertain  # type: ignore[attr-defined]
        assert (await reuse.find(1) is None) is is_lasting

    async def test_of_one_copy_dont_concern_others(
        self, manager: AssetsManager, driver: Interposer, source: Path
    ) -> None:
        await manager.create_asset(source, "model")
        driver.hook = Fail("before", "copy", "/a", ObjectNotFound("x"))
        found = await update(manager, source)
        assert (found.copied, found.uploaded) == (2 * SIZE, SIZE + 5)

    async def test_after_a_lost_copy_burn_the_number(
        self, manager: AssetsManager, driver: Interposer, source: Path
    ) -> None:
        """The copy may still appear."""
        await manager.create_asset(source, "model")

        async def hook(moment: str, method: str, key: str) -> None:
            if (moment, method) == ("before", "copy"):
                raise StoreUnavailable("x", "a test says so.", uncertain=True)
            if (moment, method) == ("before", "upload") and key.endswith("/a"):
                raise failure()

        driver.hook = hook
        with pytest.raises(StoreError):
            await manager.update_asset(source, "model")
        assert await state_of(driver) is ClaimState.ABANDONED
        driver.hook = Fail("before", "copy", "", times=0)
        assert (await update(manager, source)).version == "0.2"

    async def test_with_certain_errors_release_the_number_and_remove_copies(
        self, manager: AssetsManager, driver: Interposer, source: Path
    ) -> None:
        await manager.create_asset(source, "model")
        fill(source, {"b": "B"})
        driver.hook = Fail("before", "upload", "0.1/b", failure())
        with pytest.raises(Exception, match="a test says so"):
            await manager.update_asset(source, "model")
        assert not [key for key in await keys(driver) if "/0.1/" in key]
        assert await state_of(driver) is ClaimState.RELEASED

    async def test_a_replaced_object_is_not_copied(
        self, manager: AssetsManager, driver: Interposer, source: Path
    ) -> None:
        """Its size is the same, and nothing else of the version has changed."""
        await manager.create_asset(source, "model")
        await driver.upload("assets/model/0.0/a", BytesSource(b"!" * SIZE), expected=Expect.ANYTHING)
        found = await update(manager, source)
        assert (found.copied, found.uploaded) == (2 * SIZE, SIZE + 5)

    async def test_a_copy_with_other_content_costs_the_number(
        self, memory: MemoryDriver, make_manager: ManagerFactory, source: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The manifest of the base was wrong, or the store damaged the object. The next attempt has no base."""
        await make_manager(memory).create_asset(source, "model")

        class Damaging(Interposer):
            async def copy(
                self, source: Driver, info: ObjectInfo, key: str, *, effects: Effects | None = None
            ) -> ObjectInfo:
                await self.driver.upload(key, BytesSource(b"!" * info.size), effects=effects)
                return await self.driver.stat(key)

        found = await update(make_manager(Damaging(memory)), source)
        assert (found.version, found.copied, found.uploaded) == ("0.2", 0, found.size)
        assert found.base == "model:0.0"
        assert not [key for key in await keys(memory) if "/0.1/" in key]
        assert "other content than its manifest says" in caplog.text


class TestRaces:
    async def test_a_base_that_is_deleted_in_the_meantime(
        self, manager: AssetsManager, driver: Interposer, make_manager: ManagerFactory, source: Path
    ) -> None:
        """Some files are copied before the deletion, and the others are uploaded."""
        await manager.create_asset(source, "model")
        deleted = False

        async def hook(moment: str, method: str, key: str) -> None:
            nonlocal deleted
            if (moment, method) == ("before", "copy") and not key.endswith("/a") and not deleted:
                deleted = True
                await make_manager(driver.driver).delete_version("model", "0.0")

        driver.hook = hook
        found = await update(manager, source)
        assert found.copied >= SIZE
        assert found.uploaded >= SIZE
        assert found.copied + found.uploaded == found.size

    async def test_a_base_that_is_deleted_between_plan_and_push(
        self, manager: AssetsManager, driver: Interposer, source: Path
    ) -> None:
        await manager.create_asset(source, "model")
        plan = await manager.plan_update(source, "model")
        await manager.delete_version("model", "0.0")
        result = await manager.push(plan)
        assert (result.copied, result.uploaded) == (0, result.size)
        assert (await manager.verify_asset(f"model:{result.version}")).ok

    @pytest.mark.parametrize("when", ["before the copy", "after the plan"])
    async def test_a_file_that_changes_after_it_was_hashed_is_an_error(
        self, manager: AssetsManager, driver: Interposer, source: Path, when: str
    ) -> None:
        """Its copy has the old content, so nothing is published."""
        await manager.create_asset(source, "model")
        plan = await manager.plan_update(source, "model")
        if when == "after the plan":
            (source / "a").write_bytes(b"A" * SIZE)
        else:

            async def hook(moment: str, method: str, key: str) -> None:
                if (moment, method) == ("before", "copy") and key.endswith("/a"):
                    await asyncio.to_thread((source / "a").write_bytes, b"A" * SIZE)

            driver.hook = hook
        with pytest.raises(SourceChanged):
            await manager.push(plan)
        assert await manager.list_versions("model") == ["0.0"]
        assert not [key for key in await keys(driver) if "/0.1/" in key]

    async def test_a_cancelled_push_removes_its_copies(
        self, manager: AssetsManager, driver: Interposer, source: Path
    ) -> None:
        await manager.create_asset(source, "model")
        pause = driver.hook = Pause("after", "copy", "/a")
        push = asyncio.ensure_future(manager.update_asset(source, "model"))
        await pause.reached_by(push)
        push.cancel()
        pause.go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await push
        assert not [key for key in await keys(driver) if "/0.1/" in key]

    async def test_a_killed_push_is_resumed(self, manager: AssetsManager, driver: Interposer, source: Path) -> None:
        """What it copied and uploaded stays, and the rest is copied."""
        await manager.create_asset(source, "model")
        await put_claim(driver, await dead_claim(fingerprint=(await scan(source)).fingerprint))
        info = await driver.stat("assets/model/0.0/a")
        await driver.copy(driver, info, "assets/model/0.1/a")
        driver.calls.clear()
        found = await update(manager, source)
        assert (found.version, found.copied, found.uploaded) == ("0.1", 2 * SIZE, 5)
        assert moved(driver, "copy") == ["b", "sub/c"]

    @pytest.mark.parametrize("refused", [False, True])
    async def test_an_open_upload_of_a_killed_push_is_aborted_before_a_copy(
        self, memory: MemoryDriver, make_manager: ManagerFactory, source: Path, refused: bool
    ) -> None:
        """The store might still complete it in spite of its condition. If it can't be aborted, nothing is copied."""
        await make_manager(memory).create_asset(source, "model")
        await put_claim(memory, await dead_claim(fingerprint=(await scan(source)).fingerprint))
        left = OpenUpload("assets/model/0.1/a", "left", datetime.now(UTC))
        aborted: list[OpenUpload] = []

        class Uploading(Interposer):
            async def open_uploads(self, prefix: str) -> AsyncIterator[OpenUpload]:
                yield left

            async def abort(self, upload: OpenUpload) -> None:
                if refused:
                    raise DENIED
                aborted.append(upload)

        driver = Uploading(memory)
        found = await update(make_manager(driver), source)
        assert found.version == "0.1"
        assert moved(driver, "copy") == [*([] if refused else ["a"]), "b", "sub/c"]
        assert aborted == ([] if refused else [left])


async def test_progress_tells_copied_bytes(manager: AssetsManager, source: Path) -> None:
    await manager.create_asset(source, "model")
    fill(source, {"b": "B"})
    events: list[Event] = []
    tally = Tally("", "Uploading")

    def receive(event: Event) -> None:
        events.append(event)
        tally.receive(event)

    found = await manager.update_asset(source, "model", progress=receive)
    moved = [event for event in events if isinstance(event, BytesTransferred)]
    assert sum(event.nbytes for event in moved) == found.size
    assert sum(event.nbytes for event in moved if event.reused) == found.copied == 2 * SIZE
    files = {event.path: event.reused for event in events if isinstance(event, FileTransferred)}
    assert files == {"a": True, "b": False, "sub/c": True, "small": False}
    assert tally.reused_text == ", 524.3 kB copied by the store"
