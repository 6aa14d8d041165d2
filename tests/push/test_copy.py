"""Copying versions to other stores, prefixes and names."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tools.claims import state_of
from tools.factories import PART_SIZE, Files, ManagerFactory, driver_at
from tools.inspection import contents, exists, keys, store_of
from tools.interposer import Fail, Interposer, Pause
from tools.relay import Relay
from tools.servers import AzureServer, S3Server
from tools.states import mark_yanked, point

from aioassets import (
    AssetsManager,
    CopyResult,
    Driver,
    Event,
    FileTransferred,
    IntegrityError,
    InvalidAlias,
    InvalidVersion,
    MemoryDriver,
    PublicationUncertain,
    SimpleDate,
    StoreUnavailable,
    UsageError,
    VersionClaimed,
    VersionDeleted,
    VersionDiffers,
    VersionYanked,
)
from aioassets.drivers.protocol import CommonPrefix, Expect, ObjectInfo
from aioassets.drivers.s3.driver import S3Driver
from aioassets.errors import StoreError
from aioassets.model.claim import ClaimState
from aioassets.model.manifest import Manifest
from aioassets.push.base import MIN_COPIED


@pytest.fixture
def target() -> MemoryDriver:
    """Return the empty store to copy to."""
    return MemoryDriver("target")


@pytest.fixture
async def there(target: MemoryDriver, tmp_path: Path) -> AsyncIterator[AssetsManager]:
    """Return the manager to copy to."""
    async with AssetsManager(driver=target, assets_dir=tmp_path / "target") as manager:
        yield manager


async def manifest_of(driver: Driver, name: str, version: str) -> Manifest:
    content = (await store_of(driver).read_meta(name, version)).content
    assert isinstance(content, Manifest)
    return content


async def push(manager: AssetsManager, files: Files, *texts: str) -> None:
    """Push `model` with one version for each text."""
    await manager.update_assets({"model": files(texts[0])}, create_missing=True)
    for text in texts[1:]:
        await manager.update_asset(files(text), "model")


async def test_files_that_an_earlier_version_of_the_target_has_are_not_streamed(
    make_manager: ManagerFactory, there: AssetsManager, target: MemoryDriver, tmp_path: Path
) -> None:
    """If the target has lost an object of that version, the file is streamed."""
    (source := tmp_path / "source").mkdir()
    (source / "large").write_bytes(b"x" * MIN_COPIED)
    (source / "changing").write_bytes(b"0" * MIN_COPIED)
    here = make_manager(driver_at({"kind": "local", "path": str(tmp_path / "here")}))
    await here.create_asset(source, "model")
    await here.copy_version("model", there)
    for number, reused in ((1, MIN_COPIED), (2, 0)):
        (source / "changing").write_bytes(f"{number}".encode() * MIN_COPIED)
        await here.update_asset(source, "model")
        copied = await here.copy_version("model", there)
        assert (copied.streamed, copied.copied) == (2 * MIN_COPIED - reused, reused)
        fetched = await there.fetch_asset("model")
        assert contents(fetched.path) == contents(source)
        await target.delete([f"assets/model/0.{number}/large"])


async def test_a_version_keeps_everything_but_its_place(
    driver: Driver, make_manager: ManagerFactory, there: AssetsManager, target: MemoryDriver, tree: Path
) -> None:
    """Streamed from each kind of store, and copied within the one in memory."""
    here = make_manager(driver)
    await here.create_asset(tree, "team/model", message="of Monday", labels={"stage": "test"})
    copied = await here.copy_version("team/model", there)
    original, copy = await manifest_of(driver, "team/model", "0.0"), await manifest_of(target, "team/model", "0.0")
    assert replace(copied, streamed=0, copied=0) == CopyResult(
        "team/model", "0.0", f"{there.url}/team/model/0.0", 7, 6026, "team/model:0.0", original.content_digest
    )
    is_same_store = isinstance(driver, MemoryDriver)
    assert (copied.streamed, copied.copied) == ((0, 6026) if is_same_store else (6026, 0))
    assert copy.origin is not None
    assert (copy.origin.store, copy.origin.name, copy.origin.version) == (here.url, "team/model", "0.0")
    assert copy.token != original.token
    kept = ("push_date", "is_directory", "files", "empty_directories", "pushed_by", "tool", "message", "labels")
    assert [getattr(copy, name) for name in kept] == [getattr(original, name) for name in kept]
    assert copy.content_digest == original.content_digest
    fetched = await there.fetch_asset("team/model")
    assert contents(fetched.path) == contents((await here.fetch_asset("team/model")).path)
    assert fetched.verified_by == ("sha256",)


async def test_a_version_can_be_copied_within_its_store(
    driver: Driver, make_manager: ManagerFactory, tree: Path, tmp_path: Path
) -> None:
    """To another name or prefix."""
    manager = make_manager(driver)
    await manager.create_asset(tree, "model")
    assert (await manager.copy_version("model", manager, name="other")).name == "other"
    elsewhere = make_manager(driver, assetsmanager_prefix="production/assets")
    await manager.copy_version("model", elsewhere)
    pushed = contents((await manager.fetch_asset("model")).path)
    assert contents((await manager.fetch_asset("other:0.0")).path) == pushed
    assert contents((await elsewhere.fetch_asset("model:0.0")).path) == pushed


async def test_a_file_asset_is_copied_as_a_file(
    driver: Driver, make_manager: ManagerFactory, there: AssetsManager, files: Files
) -> None:
    here = make_manager(driver)
    await push(here, files, "first", "second")
    await here.copy_version("model:0.1", there)
    assert (await there.fetch_asset("model:0.1")).path.read_text() == "second"
    assert await there.list_versions("model") == ["0.1"]


async def test_copying_again_sends_nothing(
    memory: MemoryDriver, make_manager: ManagerFactory, tree: Path, tmp_path: Path
) -> None:
    target = Interposer(MemoryDriver("target"))
    here, there = make_manager(memory), make_manager(target)
    await here.create_asset(tree, "model")
    first = await here.copy_version("model", there)
    target.calls.clear()
    again = await here.copy_version("model", there, renumber=True)
    assert (first.unchanged, again.unchanged) == (False, True)
    assert (again.version, again.content_digest) == ("0.0", first.content_digest)
    assert target.calls == [("read", "assets/model.versions"), ("read", "assets/model/0.0.meta")]


async def test_equal_content_that_was_pushed_there_counts(
    memory: MemoryDriver, make_manager: ManagerFactory, there: AssetsManager, files: Files
) -> None:
    here = make_manager(memory)
    for manager in (here, there):
        await manager.create_asset(files("same"), "model")
    assert (await here.copy_version("model", there)).unchanged


async def test_a_copy_that_was_not_listed_is_listed(
    memory: MemoryDriver, make_manager: ManagerFactory, files: Files
) -> None:
    target = Interposer(MemoryDriver("target"))
    here, there = make_manager(memory), make_manager(target)
    await push(here, files, "first")
    target.hook = Fail("before", "write", ".versions")
    with pytest.raises(PublicationUncertain):
        await here.copy_version("model", there)
    assert (await here.copy_version("model", there)).unchanged
    assert await there.list_versions("model") == ["0.0"]


class TestConflicts:
    async def test_other_content_is_a_conflict(
        self, memory: MemoryDriver, make_manager: ManagerFactory, there: AssetsManager, files: Files
    ) -> None:
        here = make_manager(memory)
        await push(here, files, "first", "second")
        await push(there, files, "other")
        with pytest.raises(VersionDiffers, match=r"model:0\.0 exists in memory://target/assets with different content"):
            await here.copy_version("model:0.0", there)
        assert (await there.fetch_asset("model:0.0")).path.read_text() == "other"

    async def test_other_content_that_is_not_listed_is_a_conflict(
        self, memory: MemoryDriver, make_manager: ManagerFactory, files: Files
    ) -> None:
        target = Interposer(MemoryDriver("target"), Fail("before", "write", ".versions"))
        here, there = make_manager(memory), make_manager(target)
        await push(here, files, "first")
        with pytest.raises(PublicationUncertain):
            await there.create_asset(files("other"), "model")
        with pytest.raises(VersionDiffers):
            await here.copy_version("model", there)
        assert (await here.copy_version("model", there, renumber=True)).version == "0.1"
        assert await there.list_versions("model") == ["0.1", "0.0"]

    async def test_renumber_takes_the_next_free_number_of_the_series(
        self, memory: MemoryDriver, make_manager: ManagerFactory, there: AssetsManager, files: Files
    ) -> None:
        here = make_manager(memory)
        await push(here, files, "first")
        await push(there, files, "a", "b")
        await there.update_asset(files("c"), "model", bump_major=True)
        copied = await here.copy_version("model", there, renumber=True)
        assert (copied.version, copied.unchanged) == ("0.2", False)
        assert (await there.fetch_asset("model:0.2")).path.read_text() == "first"
        assert await there.list_versions("model") == ["1.0", "0.2", "0.1", "0.0"]

    async def test_renumbering_again_finds_the_earlier_copy(
        self, memory: MemoryDriver, make_manager: ManagerFactory, there: AssetsManager, files: Files
    ) -> None:
        here = make_manager(memory)
        await push(here, files, "first")
        await push(there, files, "other")
        for unchanged in (False, True):
            copied = await here.copy_version("model", there, renumber=True)
            assert (copied.version, copied.unchanged) == ("0.1", unchanged)
        assert await there.list_versions("model") == ["0.1", "0.0"]

    @pytest.mark.parametrize("state", ["unlisted", "yanked"])
    async def test_renumbering_again_finds_an_earlier_copy_that_is_not_listed(
        self,
        memory: MemoryDriver,
        make_manager: ManagerFactory,
        target: MemoryDriver,
        there: AssetsManager,
        files: Files,
        state: str,
    ) -> None:
        """The process died before it listed the copy, or the copy was yanked."""
        here = make_manager(memory)
        await push(here, files, "first")
        await push(there, files, "other")
        await here.copy_version("model", there, renumber=True)
        if state == "yanked":
            await there.yank_version("model", "0.1", "it is broken")
        else:
            index = await store_of(target).read_index("model")
            await store_of(target).swap_index("model", index, index.index.with_versions(["0.0"]))
        copied = await here.copy_version("model", there, renumber=True)
        assert (copied.version, copied.unchanged) == ("0.1", True)
        assert await there.list_versions("model") == (["0.0"] if state == "yanked" else ["0.1", "0.0"])

    async def test_of_two_equal_copies_that_are_renumbered_one_wins(
        self, memory: MemoryDriver, make_manager: ManagerFactory, target: MemoryDriver, files: Files
    ) -> None:
        """Of one manager, and of two."""
        here, there = make_manager(memory), make_manager(target)
        await push(here, files, "first")
        await push(there, files, "other")
        managers = [there, there, make_manager(target)]
        copies = [here.copy_version("model", manager, renumber=True) for manager in managers]
        results = await asyncio.gather(*copies, return_exceptions=True)
        copied = [result for result in results if not isinstance(result, VersionClaimed)]
        assert {result.version for result in copied if isinstance(result, CopyResult)} == {"0.1"}
        assert await there.list_versions("model") == ["0.1", "0.0"]

    async def test_a_version_that_was_deleted_there_does_not_come_back(
        self,
        memory: MemoryDriver,
        make_manager: ManagerFactory,
        target: MemoryDriver,
        there: AssetsManager,
        files: Files,
    ) -> None:
        here = make_manager(memory)
        await push(here, files, "first")
        await here.copy_version("model", there)
        await there.delete_version("model", "0.0")
        with pytest.raises(VersionDeleted, match="was deleted from memory://target/assets"):
            await here.copy_version("model:0.0", there)
        assert (await here.copy_version("model:0.0", there, renumber=True)).version == "0.1"
        assert await there.list_versions("model") == ["0.1"]

    async def test_a_version_that_is_being_pushed_is_a_conflict(
        self, memory: MemoryDriver, make_manager: ManagerFactory, files: Files
    ) -> None:
        """Renumbering steps over the other push, but not over another copy of the same version."""
        target = Interposer(MemoryDriver("target"), pause := Pause("before", "upload", "model/0.0"))
        here, there = make_manager(memory), make_manager(target.driver)
        await push(here, files, "first")
        pushing = asyncio.ensure_future(make_manager(target).create_asset(files("other"), "model"))
        await pause.reached_by(pushing)
        with pytest.raises(VersionClaimed, match="is pushing it at the moment"):
            await here.copy_version("model", there)
        assert (await here.copy_version("model", there, renumber=True)).version == "0.1"
        pause.go_on.set()
        with contextlib.suppress(StoreError):
            await pushing

    async def test_of_two_equal_copies_one_wins(
        self, memory: MemoryDriver, make_manager: ManagerFactory, files: Files
    ) -> None:
        target = Interposer(MemoryDriver("target"), pause := Pause("before", "copy", "model/0.0"))
        here, there = make_manager(memory), make_manager(target)
        await push(here, files, "first")
        copying = asyncio.ensure_future(here.copy_version("model", make_manager(target)))
        await pause.reached_by(copying)
        for renumber in (False, True):
            with pytest.raises(VersionClaimed):
                await here.copy_version("model", there, renumber=renumber)
        pause.go_on.set()
        assert not (await copying).unchanged
        assert (await here.copy_version("model", there)).unchanged


class TestSources:
    async def test_a_deleted_version_is_reported(
        self, memory: MemoryDriver, make_manager: ManagerFactory, there: AssetsManager, files: Files
    ) -> None:
        here = make_manager(memory)
        await push(here, files, "first")
        await here.delete_version("model", "0.0", "it is broken")
        with pytest.raises(VersionDeleted, match="it is broken"):
            await here.copy_version("model:0.0", there)

    async def test_a_version_that_is_deleted_meanwhile_is_reported(
        self,
        memory: MemoryDriver,
        make_manager: ManagerFactory,
        there: AssetsManager,
        target: MemoryDriver,
        files: Files,
    ) -> None:
        """Nothing of it is published, and its number is free."""
        source = Interposer(memory, pause := Pause("before", "stat", "model/0.0"))
        here = make_manager(source)
        await push(here, files, "first")
        copying = asyncio.ensure_future(here.copy_version("model", there))
        await pause.reached_by(copying)
        await make_manager(memory).delete_version("model", "0.0")
        pause.go_on.set()
        with pytest.raises(VersionDeleted):
            await copying
        assert [key for key in await keys(target) if "/model" in key] == []

    async def test_an_exact_yanked_version_is_copied_with_a_warning(
        self,
        memory: MemoryDriver,
        make_manager: ManagerFactory,
        there: AssetsManager,
        files: Files,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """The copy isn't yanked."""
        here = make_manager(memory)
        await push(here, files, "first", "second")
        await here.yank_version("model", "0.1", "it is broken")
        assert (await here.copy_version("model", there)).version == "0.0"
        assert caplog.messages == []
        assert (await here.copy_version("model:0.1", there)).version == "0.1"
        assert [message for message in caplog.messages if "model:0.1 is yanked in memory://memory/assets" in message]
        assert await there.list_versions("model") == ["0.1", "0.0"]

    async def test_a_yanked_version_is_not_copied_by_an_alias(
        self, memory: MemoryDriver, make_manager: ManagerFactory, there: AssetsManager, files: Files
    ) -> None:
        """A killed move may have left it there. If the alias has been moved since, its new target is copied."""
        here = make_manager(memory)
        await push(here, files, "first", "second")
        await here.set_alias("model", "prod", "0.0")
        await mark_yanked(store_of(memory), "model", "0.0", "it is broken")
        with pytest.raises(VersionYanked, match=r"must be named exactly\. Move the alias prod, or request model:0\.0"):
            await here.copy_version("model@prod", there)

        async def move(moment: str, method: str, key: str) -> None:
            if (moment, method) == ("before", "read") and key.endswith("0.0.meta"):
                await point(store_of(memory), "model", "prod", "0.1")

        assert (await make_manager(Interposer(memory, move)).copy_version("model@prod", there)).version == "0.1"

    async def test_a_version_that_is_yanked_there_is_not_listed_again(
        self,
        memory: MemoryDriver,
        make_manager: ManagerFactory,
        there: AssetsManager,
        target: MemoryDriver,
        files: Files,
    ) -> None:
        here = make_manager(memory)
        await push(here, files, "first")
        await here.copy_version("model", there)
        await there.yank_version("model", "0.0", "it is broken")
        assert (await here.copy_version("model", there)).unchanged
        assert await there.list_versions("model") == []

    async def test_an_index_that_has_the_fence_is_not_settled_again(
        self, memory: MemoryDriver, make_manager: ManagerFactory, target: MemoryDriver, files: Files
    ) -> None:
        """A write could take effect late, after the version was restored."""
        here, there = make_manager(memory), make_manager(recorded := Interposer(target))
        await push(here, files, "first")
        await here.copy_version("model", there)
        await there.yank_version("model", "0.0", "it is broken")
        before = len(recorded.calls)
        assert (await here.copy_version("model", there)).unchanged
        assert recorded.calls[before:].count(("read", "assets/model.versions")) == 1

    @pytest.mark.parametrize("kind", ["memory", "local"])
    async def test_damaged_content_is_not_published(
        self,
        make_manager: ManagerFactory,
        there: AssetsManager,
        target: MemoryDriver,
        tmp_path: Path,
        tree: Path,
        kind: str,
    ) -> None:
        """Copied by the store or streamed, damage is noticed. Nothing is left, and the number stays free."""
        source = driver_at({"kind": kind, "path": str(tmp_path / "store")})
        here = make_manager(source if kind == "local" else WithoutChecksums(source))
        await here.create_asset(tree, "model")
        await source.delete(["assets/model/0.0/run.sh"])
        await source.upload("assets/model/0.0/run.sh", Bytes(b"#!/bin/xx\n"))
        with pytest.raises(IntegrityError, match=r"model:0\.0\[run\.sh\] differs from what was pushed"):
            await here.copy_version("model", there)
        assert [key for key in await keys(target) if "/model" in key] == ["assets/model/0.0.meta"]
        await source.delete(["assets/model/0.0/run.sh"])
        with pytest.raises(IntegrityError, match=r"run\.sh differs"):
            await here.copy_version("model", there)
        await source.upload("assets/model/0.0/run.sh", Bytes(b"#!/bin/sh\n"))
        assert (await here.copy_version("model", there)).version == "0.0"

    async def test_a_size_that_differs_is_noticed_before_anything_is_claimed(
        self,
        memory: MemoryDriver,
        make_manager: ManagerFactory,
        there: AssetsManager,
        target: MemoryDriver,
        files: Files,
    ) -> None:
        here = make_manager(memory)
        await push(here, files, "first")
        await memory.delete(["assets/model/0.0"])
        await memory.upload("assets/model/0.0", Bytes(b"longer than that"))
        with pytest.raises(IntegrityError, match="expected 5 bytes, found 16"):
            await here.copy_version("model", there)
        assert await keys(target) == []

    async def test_a_version_of_modelkit_gets_digests(
        self, driver: Driver, make_manager: ManagerFactory, there: AssetsManager, target: MemoryDriver
    ) -> None:
        """Repeating the copy finds it, although the source has no content digest to compare."""
        meta = {"push_date": "2024-03-09T17:05:00", "is_directory": True, "contents": ["a", "b/c"]}
        await driver.write("assets/model.versions", b'{"versions": ["0.0"]}', expected=Expect.ABSENT)
        await driver.write("assets/model/0.0.meta", json.dumps(meta).encode(), expected=Expect.ABSENT)
        for path, data in (("a", b"first"), ("b/c", b"second")):
            await driver.upload(f"assets/model/0.0/{path}", Bytes(data))
        here = make_manager(driver)
        copied = await here.copy_version("model", there)
        manifest = await manifest_of(target, "model", "0.0")
        assert (copied.size, copied.content_digest) == (11, manifest.content_digest)
        assert manifest.verified_by == ("sha256",)
        assert manifest.push_date == (await manifest_of(driver, "model", "0.0")).push_date
        assert (await there.fetch_asset("model[b/c]")).path.read_bytes() == b"second"
        again = await here.copy_version("model", there)
        assert again.unchanged


class WithoutChecksums(Interposer):
    """Driver whose listings have no checksums, as on most stores."""

    async def list(self, prefix: str, *, delimiter: str | None = None) -> AsyncIterator[ObjectInfo | CommonPrefix]:
        async for item in super().list(prefix, delimiter=delimiter):
            yield replace(item, checksums={}) if isinstance(item, ObjectInfo) else item


class Bytes:
    """Source of bytes in memory."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.digests: dict[str, str] = {}

    @property
    def size(self) -> int:
        return len(self._data)

    async def read(self, offset: int, size: int) -> bytes:
        return self._data[offset : offset + size]

    async def copy_to(self, descriptor: int, offset: int, size: int) -> bool:
        return False


class TestUsage:
    async def test_a_version_is_not_copied_onto_itself(
        self, memory: MemoryDriver, make_manager: ManagerFactory, files: Files
    ) -> None:
        manager = make_manager(memory)
        await push(manager, files, "first")
        for other in (manager, make_manager(memory)):
            with pytest.raises(UsageError, match=r"Cannot copy model:0\.0 onto itself: choose another store, prefix"):
                await manager.copy_version("model", other)

    async def test_a_part_is_not_copied(
        self, memory: MemoryDriver, make_manager: ManagerFactory, there: AssetsManager
    ) -> None:
        with pytest.raises(UsageError, match=r"Cannot copy a part of a version: write model:1\.0\."):
            await make_manager(memory).copy_version("model:1.0[a]", there)

    async def test_the_target_must_use_the_same_scheme(
        self, memory: MemoryDriver, make_manager: ManagerFactory, files: Files, target: MemoryDriver
    ) -> None:
        here = make_manager(memory)
        await push(here, files, "first")
        with pytest.raises(InvalidVersion, match="the versioning scheme of the target is simple_date"):
            await here.copy_version("model", make_manager(target, versioning="simple_date"))

    async def test_an_alias_points_at_the_copy(
        self,
        memory: MemoryDriver,
        make_manager: ManagerFactory,
        there: AssetsManager,
        target: MemoryDriver,
        files: Files,
    ) -> None:
        """Also if the target had the version already."""
        here = make_manager(memory)
        await push(here, files, "first", "second")
        for version in ("0.0", "0.1", "0.0"):
            assert (await here.copy_version(f"model:{version}", there, alias="prod")).alias == "prod"
            table = (await store_of(target).read_aliases("model")).table
            assert table.target("prod") == version

    async def test_an_invalid_alias_is_refused_before_copying(
        self,
        memory: MemoryDriver,
        make_manager: ManagerFactory,
        there: AssetsManager,
        target: MemoryDriver,
        files: Files,
    ) -> None:
        here = make_manager(memory)
        await push(here, files, "first")
        with pytest.raises(InvalidAlias):
            await here.copy_version("model", there, alias="1.0")
        assert await keys(target) == []

    async def test_a_dry_run_writes_nothing(
        self,
        memory: MemoryDriver,
        make_manager: ManagerFactory,
        there: AssetsManager,
        target: MemoryDriver,
        files: Files,
    ) -> None:
        here = make_manager(memory)
        await push(here, files, "first")
        forecast = await here.copy_version("model", there, dry_run=True)
        assert (forecast.version, forecast.unchanged, forecast.dry_run) == ("0.0", False, True)
        assert await keys(target) == []
        await here.copy_version("model", there)
        assert (await here.copy_version("model", there, dry_run=True)).unchanged
        await push(there, files, "other")
        await here.update_asset(files("second"), "model")
        with pytest.raises(VersionDiffers):
            await here.copy_version("model:0.1", there, dry_run=True)
        assert (await here.copy_version("model:0.1", there, dry_run=True, renumber=True)).version == "0.2"

    async def test_the_progress_is_reported(
        self, memory: MemoryDriver, make_manager: ManagerFactory, there: AssetsManager, tree: Path
    ) -> None:
        events: list[Event] = []
        here = make_manager(memory)
        await here.create_asset(tree, "model")
        await here.copy_version("model", there, progress=events.append)
        assert len([event for event in events if isinstance(event, FileTransferred)]) == 7


class TestRaces:
    async def test_two_versions_copied_to_a_new_name_at_once_both_succeed(
        self, memory: MemoryDriver, driver: Driver, make_manager: ManagerFactory, files: Files
    ) -> None:
        here = make_manager(memory)
        await push(here, files, *"abcd")
        copies = [here.copy_version(f"model:0.{minor}", make_manager(driver), name="new") for minor in range(4)]
        await asyncio.gather(*copies)
        there = make_manager(driver)
        assert await there.list_versions("new") == ["0.3", "0.2", "0.1", "0.0"]
        for minor, text in enumerate("abcd"):
            assert (await there.fetch_asset(f"new:0.{minor}")).path.read_text() == text

    async def test_a_create_does_not_end_a_copy_of_a_later_date(
        self, memory: MemoryDriver, make_manager: ManagerFactory, files: Files
    ) -> None:
        """It ends other creates of later dates, but a copy may succeed beside it."""
        target = Interposer(MemoryDriver("target"), pause := Pause("before", "copy", "Z"))
        later = SimpleDate(lambda: datetime(2040, 1, 1, tzinfo=UTC))
        here = make_manager(memory, versioning=later)
        await push(here, files, "first")
        copying = asyncio.ensure_future(here.copy_version("model", make_manager(target, versioning=later)))
        try:
            await pause.reached_by(copying)
            there = make_manager(target.driver, versioning="simple_date")
            created = await there.create_asset(files("other"), "model")
        finally:
            pause.go_on.set()
        assert (await copying).version == "2040-01-01T00-00-00Z"
        assert await there.list_versions("model") == ["2040-01-01T00-00-00Z", created.version]

    async def test_a_copy_beside_updates_gets_its_number_or_a_conflict(
        self, memory: MemoryDriver, make_manager: ManagerFactory, there: AssetsManager, files: Files
    ) -> None:
        here = make_manager(memory)
        await push(here, files, "a", "b")
        await push(there, files, "a")
        updates = [there.update_asset(files(text), "model") for text in "xyz"]
        outcome, *_ = await asyncio.gather(here.copy_version("model:0.1", there), *updates, return_exceptions=True)
        listed = await there.list_versions("model")
        if isinstance(outcome, BaseException):
            assert isinstance(outcome, VersionDiffers | VersionClaimed)
            assert listed == ["0.3", "0.2", "0.1", "0.0"]
        else:
            assert listed == ["0.4", "0.3", "0.2", "0.1", "0.0"]
            assert (await there.fetch_asset("model:0.1")).path.read_text() == "b"


class TestInterruptions:
    async def test_a_copy_that_fails_leaves_nothing_and_its_number_free(
        self, memory: MemoryDriver, make_manager: ManagerFactory, tree: Path
    ) -> None:
        target = Interposer(MemoryDriver("target"), Fail("before", "copy", "run.sh", StoreError("it is broken.")))
        here, there = make_manager(memory), make_manager(target)
        await here.create_asset(tree, "model")
        with pytest.raises(StoreError, match="it is broken"):
            await here.copy_version("model", there)
        assert [key for key in await keys(target) if "/model/" in key] == ["assets/model/0.0.meta"]
        assert await state_of(target, "0.0") is ClaimState.RELEASED
        assert (await here.copy_version("model", there)).version == "0.0"

    async def test_a_copy_that_an_outage_interrupted_is_continued(
        self, memory: MemoryDriver, make_manager: ManagerFactory, tree: Path
    ) -> None:
        """Files that are already there are not copied again."""
        outage = StoreUnavailable("the store", "a test says so.", uncertain=False)
        target = Interposer(MemoryDriver("target"), Fail("before", "copy", "run.sh", outage))
        here, there = make_manager(memory), make_manager(target)
        await here.create_asset(tree, "model")
        with pytest.raises(StoreUnavailable):
            await here.copy_version("model", there)
        assert await state_of(target, "0.0") is ClaimState.CLAIMED
        events: list[Event] = []
        copied = await here.copy_version("model", there, progress=events.append)
        assert (copied.version, copied.unchanged) == ("0.0", False)
        assert any(isinstance(event, FileTransferred) and event.skipped for event in events)
        assert contents((await there.fetch_asset("model")).path) == contents((await here.fetch_asset("model")).path)

    async def test_a_claim_of_other_content_is_not_taken_over(
        self, memory: MemoryDriver, make_manager: ManagerFactory, files: Files
    ) -> None:
        outage = StoreUnavailable("the store", "a test says so.", uncertain=False)
        target = Interposer(MemoryDriver("target"), Fail("before", "upload", "model/0.0", outage))
        here, there = make_manager(memory), make_manager(target)
        await push(here, files, "first")
        with pytest.raises(StoreUnavailable):
            await there.create_asset(files("other"), "model")
        with pytest.raises(VersionClaimed, match="an interrupted push used its number"):
            await here.copy_version("model", there)
        assert (await here.copy_version("model", there, renumber=True)).version == "0.1"

    async def test_foreign_bytes_under_the_number_are_left_alone(
        self,
        memory: MemoryDriver,
        make_manager: ManagerFactory,
        there: AssetsManager,
        target: MemoryDriver,
        files: Files,
    ) -> None:
        here = make_manager(memory)
        await push(here, files, "first")
        await target.upload("assets/model/0.0", Bytes(b"foreign"))
        with pytest.raises(VersionClaimed):
            await here.copy_version("model", there)
        assert await exists(target, "assets/model/0.0")
        assert (await here.copy_version("model", there, renumber=True)).version == "0.1"


@pytest.fixture
def buckets(seaweedfs: S3Server) -> list[str]:
    """Make two buckets, outside of any event loop."""
    return [seaweedfs.fresh_bucket(), seaweedfs.fresh_bucket()]


@pytest.fixture
def container(azurite: AzureServer) -> str:
    return azurite.fresh_container()


class TestOnServers:
    @pytest.mark.servers
    async def test_between_buckets_of_one_server_no_bytes_pass_through_the_client(
        self, seaweedfs: S3Server, buckets: list[str], tmp_path: Path
    ) -> None:
        """The relay counts the bytes of all bodies. A repeated copy sends nothing."""
        (tmp_path / "tree").mkdir()
        for name in ("a", "b"):
            (tmp_path / "tree" / name).write_bytes(name.encode() * 4_000_000)
        async with Relay(seaweedfs.endpoint_url) as relay:
            options = {"part_size": PART_SIZE, **relay.through(seaweedfs.options)}
            drivers = [S3Driver(bucket=bucket, **options) for bucket in buckets]
            here, there = (AssetsManager(driver=driver, assets_dir=tmp_path / "cache") for driver in drivers)
            await here.create_asset(tree := tmp_path / "tree", "model")
            await there.create_asset(tree / "a", "warm-up")  # probes the store
            relay.forget()
            first = await here.copy_version("model", there)
            assert sum(each.sent + each.received for each in relay.exchanges) < 20_000
            relay.forget()
            again = await here.copy_version("model", there)
            assert (first.unchanged, again.unchanged) == (False, True)
            assert relay.sent() == 0
            assert again.content_digest == first.content_digest
            assert contents((await there.fetch_asset("model")).path) == contents(tree)
            for manager, driver in zip((here, there), drivers, strict=True):
                await manager.aclose()
                await driver.aclose()

    @pytest.mark.servers
    async def test_from_s3_to_azure_bytes_are_streamed_and_verified(
        self, seaweedfs: S3Server, azurite: AzureServer, buckets: list[str], container: str, tmp_path: Path, tree: Path
    ) -> None:
        (tree / "large").write_bytes(b"0123456789abcdef" * 1_000_000)
        here = AssetsManager(f"s3://{buckets[0]}", assets_dir=tmp_path / "a", storage_options=seaweedfs.options)
        there = AssetsManager(f"az://{container}", assets_dir=tmp_path / "b", storage_options=azurite.options)
        async with here, there:
            await here.create_asset(tree, "model")
            copied = await here.copy_version("model", there, alias="prod")
            original = (await here.fetch_asset("model")).manifest
            fetched = await there.fetch_asset("model:0.0")
            assert contents(fetched.path) == contents(tree)
            assert fetched.manifest.content_digest == original.content_digest == copied.content_digest
            assert (await here.copy_version("model", there)).unchanged
