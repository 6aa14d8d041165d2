"""Yanking, restoring and deleting versions: what others see of it, and how failures end."""

from __future__ import annotations

import asyncio
import json
import secrets
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore.config import Config
from botocore.session import get_session
from tools.claims import live_claim, put_claim
from tools.factories import Files, ManagerFactory
from tools.inspection import exists, keys
from tools.interposer import Fail, Interposer, LostAnswers, Pause
from tools.relay import Relay, Reply
from tools.rounds import Rounds
from tools.servers import S3Server
from tools.withdrawals import bury_only, check, index_of, mark_only, meta_of, point_at, put_index

from aioassets import (
    AccessDenied,
    AssetExists,
    AssetNotFound,
    AssetsManager,
    Dispatcher,
    Driver,
    InvalidName,
    InvalidVersion,
    LeftoverKind,
    Manifest,
    MemoryDriver,
    NotFound,
    StoreUnavailable,
    VersionContended,
    VersionDeleted,
    VersionInUse,
    VersionNotFound,
    VersionYanked,
)
from aioassets.drivers.protocol import Expect
from aioassets.drivers.s3.driver import S3Driver
from aioassets.model.files import FileEntry
from aioassets.model.index import Fence, VersionIndex
from aioassets.model.tombstone import Tombstone
from aioassets.runtime.notices import is_notice
from aioassets.testing import BytesSource

DENIED = b"<Error><Code>AccessDenied</Code><Message>Denied.</Message></Error>"


async def pushed(manager: AssetsManager, files: Files, versions: int = 2) -> None:
    """Push the versions 0.0, 0.1 and so on, whose content is their number."""
    await manager.create_asset(files("0.0"), "model")
    for number in range(1, versions):
        await manager.update_asset(files(f"0.{number}"), "model")


def notices(log: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in log.records if is_notice(record)]


# Other processes


async def test_a_yanked_version_is_fetched_only_if_it_is_named(
    driver: Driver, make_manager: ManagerFactory, files: Files, caplog: pytest.LogCaptureFixture
) -> None:
    manager = make_manager(driver)
    await pushed(manager, files)
    mark = await manager.yank_version("model", "0.1", "bad weights")
    meta = await meta_of(driver, "0.1")
    assert isinstance(meta, Manifest)
    assert (meta.is_yanked, meta.mark, mark.reason) == (True, mark, "bad weights")
    assert await check(driver) == {"0.0": None, "0.1": Fence.YANKED}
    assert await manager.list_versions("model") == ["0.0"]
    assert (await manager.fetch_asset("model")).version == "0.0"
    assert (await manager.fetch_asset("model:0")).version == "0.0"
    assert notices(caplog) == []
    assert (await manager.fetch_asset("model:0.1")).path.read_text() == "0.1"
    assert notices(caplog) == ["model:0.1 has been yanked (bad weights), so use another version if you can."]
    assert (await manager.verify_asset("model:0.1")).ok


async def test_a_restored_version_is_the_latest_again(
    driver: Driver, make_manager: ManagerFactory, files: Files
) -> None:
    manager = make_manager(driver)
    await pushed(manager, files)
    await manager.yank_version("model", "0.1", "bad weights")
    await manager.unyank_version("model", "0.1")
    assert await check(driver) == {"0.0": None, "0.1": None}
    assert (await manager.fetch_asset("model")).version == "0.1"
    meta = await meta_of(driver, "0.1")
    assert isinstance(meta, Manifest)
    assert meta.mark is not None


async def test_a_deleted_version_leaves_a_tombstone(
    driver: Driver, make_manager: ManagerFactory, files: Files, tree: Path
) -> None:
    manager = make_manager(driver)
    await manager.create_asset(tree, "model")
    await manager.update_asset(files("0.1"), "model")
    manifest = await meta_of(driver, "0.0")
    assert isinstance(manifest, Manifest)
    plan = await manager.plan_delete("model", "0.0")
    result = await manager.delete_version("model", "0.0", "obsolete")
    assert (plan.files, plan.size, plan.aliases, plan.is_deleted) == (result.files, result.size, (), False)
    assert (result.files, result.size) == (7, sum(file.stat().st_size for file in tree.rglob("*") if file.is_file()))
    assert [key for key in await keys(driver) if "/0.0" in key] == ["assets/model/0.0.meta"]
    assert await meta_of(driver, "0.0") == Tombstone(result.deleted, manifest.content_digest, manifest.token)
    assert (result.deleted.reason, manifest.content_digest is None) == ("obsolete", False)
    assert await check(driver) == {"0.0": Fence.DELETED, "0.1": None}
    with pytest.raises(VersionDeleted, match=r"model:0\.0 was deleted from .*: obsolete"):
        await manager.fetch_asset("model:0.0")
    for call in (manager.yank_version("model", "0.0", "bad"), manager.unyank_version("model", "0.0")):
        with pytest.raises(VersionDeleted):
            await call


async def test_all_below_a_deleted_version_goes_and_nothing_else(
    driver: Driver, make_manager: ManagerFactory, files: Files, tree: Path
) -> None:
    """Keys are compared by whole segments: 0.1 is not 0.10."""
    manager = make_manager(driver)
    await manager.create_asset(files("0.0"), "model")
    await manager.update_asset(tree, "model")
    for key in ("assets/model/0.1/straggler", "assets/model/0.10/a", "assets/model/0.1.fragments/w1"):
        await driver.upload(key, BytesSource(b"data"))
    assert (await manager.delete_version("model", "0.1")).files == 8
    assert [key for key in await keys(driver) if key.startswith("assets/model/0.1/")] == []
    assert await exists(driver, "assets/model/0.10/a")
    assert await exists(driver, "assets/model/0.1.fragments/w1")


async def test_repetitions_succeed(driver: Driver, make_manager: ManagerFactory, files: Files) -> None:
    manager = make_manager(driver)
    await pushed(manager, files)
    await manager.unyank_version("model", "0.1")
    mark = await manager.yank_version("model", "0.1", "first")
    assert await manager.yank_version("model", "0.1", "second") == mark
    await manager.unyank_version("model", "0.1")
    await manager.unyank_version("model", "0.1")
    deleted = await manager.delete_version("model", "0.1", "first")
    assert (await manager.plan_delete("model", "0.1")).is_deleted
    again = await manager.delete_version("model", "0.1", "second")
    assert again == replace(deleted, files=0, size=0, keeps_old_bytes=None)
    assert await check(driver) == {"0.0": None, "0.1": Fence.DELETED}


async def test_a_version_with_an_alias_is_kept_and_never_marked(
    driver: Driver, make_manager: ManagerFactory, files: Files
) -> None:
    manager = make_manager(driver)
    await pushed(manager, files)
    await point_at(driver, "0.1")
    before = await meta_of(driver, "0.1")
    with pytest.raises(VersionInUse, match=r"Cannot yank model:0\.1 while aliases point at it: model@prod"):
        await manager.yank_version("model", "0.1", "bad")
    with pytest.raises(VersionInUse, match=r"Cannot delete model:0\.1"):
        await manager.delete_version("model", "0.1")
    after = await meta_of(driver, "0.1")
    assert isinstance(before, Manifest)
    assert isinstance(after, Manifest)
    assert (after, after.mark) == (before, None)
    assert await check(driver) == {"0.0": None, "0.1": None}
    assert (await manager.plan_delete("model", "0.1")).aliases == ("prod",)


async def test_a_refused_deletion_leaves_a_yanked_version_yanked(
    memory: MemoryDriver, make_manager: ManagerFactory, files: Files
) -> None:
    """A process died while it moved the alias."""
    manager = make_manager(memory)
    await pushed(manager, files)
    await manager.yank_version("model", "0.1", "bad")
    await point_at(memory, "0.1")
    with pytest.raises(VersionInUse):
        await manager.delete_version("model", "0.1")
    assert await check(memory, settled=False) == {"0.0": None, "0.1": Fence.YANKED}


@pytest.mark.parametrize("again", ["yank", "delete", "clean"])
async def test_an_interrupted_yank_of_a_version_with_an_alias_is_undone(
    memory: MemoryDriver, make_manager: ManagerFactory, files: Files, again: str
) -> None:
    manager = make_manager(memory)
    await pushed(manager, files)
    await mark_only(memory, "0.1")
    await point_at(memory, "0.1")
    if again == "clean":
        await manager.clean(await manager.plan_clean("model"))
    else:
        with pytest.raises(VersionInUse):
            await (
                manager.yank_version("model", "0.1", "bad")
                if again == "yank"
                else manager.delete_version("model", "0.1")
            )
    assert await check(memory) == {"0.0": None, "0.1": None}


async def test_what_does_not_exist_can_t_be_withdrawn(
    driver: Driver, make_manager: ManagerFactory, files: Files
) -> None:
    manager = make_manager(driver)
    with pytest.raises(AssetNotFound):
        await manager.yank_version("model", "0.0", "bad")
    await pushed(manager, files, 1)
    await put_claim(driver, await live_claim())
    for version in ("0.1", "7.0"):
        for call in (manager.delete_version, manager.plan_delete, manager.unyank_version):
            with pytest.raises(VersionNotFound):
                await call("model", version)
    with pytest.raises(InvalidVersion, match="partial"):
        await manager.delete_version("model", "0")
    with pytest.raises(InvalidName):
        await manager.delete_version("../model", "0.0")
    assert (await manager.fetch_asset("model")).version == "0.0"


async def test_unknown_fields_are_kept(memory: MemoryDriver, make_manager: ManagerFactory, files: Files) -> None:
    manager = make_manager(memory)
    await pushed(manager, files)
    for key in ("assets/model.versions", "assets/model/0.1.meta"):
        found = await memory.read(key)
        await memory.write(key, json.dumps({**json.loads(found.data), "new": [1]}).encode(), expected=found.revision)
    await manager.yank_version("model", "0.1", "bad")
    await manager.unyank_version("model", "0.1")
    for key in ("assets/model.versions", "assets/model/0.1.meta"):
        assert json.loads((await memory.read(key)).data)["new"] == [1]


async def test_a_version_of_modelkit_is_yanked_and_deleted(
    memory: MemoryDriver, make_manager: ManagerFactory, files: Files
) -> None:
    """Its manifest has no files, sizes or token."""
    manager = make_manager(memory)
    await manager.create_asset(files("0.0"), "model")
    meta = {"push_date": "2024-05-06T07:08:09.123456+00:00", "is_directory": True, "contents": ["b", "a/c"]}
    await memory.write("assets/model/0.1.meta", json.dumps(meta).encode(), expected=Expect.ABSENT)
    for path in ("b", "a/c"):
        await memory.upload(f"assets/model/0.1/{path}", BytesSource(path.encode()))
    await put_index(memory, VersionIndex(("0.1", "0.0")))
    await manager.yank_version("model", "0.1", "bad")
    await manager.unyank_version("model", "0.1")
    found = json.loads((await memory.read("assets/model/0.1.meta")).data)
    assert {key: found[key] for key in meta} == meta
    assert sorted(path.name for path in (await manager.fetch_asset("model")).path.rglob("*")) == ["a", "b", "c"]
    assert (await manager.delete_version("model", "0.1")).files == 2
    assert await check(memory) == {"0.0": None, "0.1": Fence.DELETED}


async def test_a_version_with_many_files_is_withdrawn(memory: MemoryDriver, make_manager: ManagerFactory) -> None:
    """Its manifest is streamed, and its content is deleted in several batches."""
    manager = make_manager(memory)
    names = [f"{number:05}" for number in range(2_500)]
    for name in names:
        await memory.upload(f"assets/model/0.0/{name}", BytesSource(b"x"))
    entries = [FileEntry(name, 1, {"sha256": "0" * 256, "md5": "0" * 256}) for name in names]
    manifest = Manifest(datetime.now(UTC), True, entries)
    assert len(manifest.to_json()) > 1024 * 1024
    await memory.write("assets/model/0.0.meta", manifest.to_json(), expected=Expect.ABSENT)
    await put_index(memory, VersionIndex(("0.0",)))
    await manager.yank_version("model", "0.0", "bad")
    assert await meta_of(memory, "0.0") == manifest
    result = await manager.delete_version("model", "0.0")
    assert (result.files, result.size) == (2_500, 2_500)
    assert await keys(memory) == ["assets/model.versions", "assets/model/0.0.meta"]


# Failures


async def test_writes_that_are_sent_twice_are_recognised(
    driver: Driver, make_manager: ManagerFactory, files: Files
) -> None:
    await pushed(make_manager(driver), files)
    manager = make_manager(LostAnswers(driver))
    await manager.yank_version("model", "0.1", "bad")
    await manager.unyank_version("model", "0.1")
    await manager.delete_version("model", "0.1")
    assert await check(driver) == {"0.0": None, "0.1": Fence.DELETED}


@pytest.mark.parametrize("moment", ["before", "after"])
async def test_a_mark_whose_response_is_lost_is_read_again(
    memory: MemoryDriver, make_manager: ManagerFactory, files: Files, moment: str
) -> None:
    """If it isn't there, its fate is unknown, and nothing is fenced or deleted."""
    await pushed(make_manager(memory), files)
    lost = StoreUnavailable("the store", "a test says so.", uncertain=True)
    manager = make_manager(Interposer(memory, Fail(moment, "write", ".meta", lost)))
    if moment == "after":
        await manager.delete_version("model", "0.1")
        assert await check(memory) == {"0.0": None, "0.1": Fence.DELETED}
    else:
        with pytest.raises(StoreUnavailable):
            await manager.delete_version("model", "0.1")
        assert await check(memory) == {"0.0": None, "0.1": None}


async def test_a_tombstone_of_unknown_fate_deletes_no_content(
    memory: MemoryDriver, make_manager: ManagerFactory, files: Files
) -> None:
    await pushed(make_manager(memory), files)

    class Silent(Interposer):
        """Store that takes every tombstone and answers nothing from then on."""

        async def write(self, key, data, **options):  # type: ignore[no-untyped-def]
            revision = await super().write(key, data, **options)
            if b"aioassets_deleted" in bytes(data):
                self.hook = Fail("before", "read", ".meta", times=99)
                raise StoreUnavailable("the store", "a test says so.", uncertain=True)
            return revision

    with pytest.raises(StoreUnavailable):
        await make_manager(Silent(memory)).delete_version("model", "0.1")
    assert await exists(memory, "assets/model/0.1")
    assert await check(memory, settled=False) == {"0.0": None, "0.1": Fence.DELETED}
    assert (await make_manager(memory).delete_version("model", "0.1")).files == 1
    assert await check(memory) == {"0.0": None, "0.1": Fence.DELETED}


async def test_a_contest_without_end_is_an_error(
    memory: MemoryDriver, make_manager: ManagerFactory, files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    await pushed(make_manager(memory), files)
    monkeypatch.setattr("aioassets.runtime.retry.RetryPolicy.pause", lambda *_, **__: 0.0)
    yanked = False

    async def contest(moment: str, method: str, key: str) -> None:
        nonlocal yanked
        if (moment, method) == ("before", "write") and key.endswith(".meta"):
            yanked = not yanked
            await mark_only(memory, "0.1", yanked=False)

    manager = make_manager(Interposer(memory, contest))
    with pytest.raises(VersionContended, match=r"Cannot delete model:0\.1: other processes keep changing it"):
        await manager.delete_version("model", "0.1")
    assert await check(memory) == {"0.0": None, "0.1": None}


async def test_a_deletion_without_permission_to_list_open_uploads_deletes_the_files(
    memory: MemoryDriver, make_manager: ManagerFactory, files: Files
) -> None:
    """The error says what may be left."""
    driver = Interposer(
        memory, Fail("before", "open_uploads", "", error=AccessDenied("memory", "list open uploads", ""))
    )
    manager = make_manager(driver)
    await pushed(manager, files)
    with pytest.raises(AccessDenied, match="list open uploads"):
        await manager.delete_version("model", "0.0")
    assert not await exists(memory, "assets/model/0.0")
    assert await exists(memory, "assets/model/0.1")


async def test_a_deletion_that_is_denied_says_what_is_left(
    memory: MemoryDriver, make_manager: ManagerFactory, files: Files, caplog: pytest.LogCaptureFixture
) -> None:
    await pushed(make_manager(memory), files)
    denied = AccessDenied("memory://", "delete", "A test says so.")
    with pytest.raises(AccessDenied):
        await make_manager(Interposer(memory, Fail("before", "delete", "0.1", denied))).delete_version("model", "0.1")
    [notice] = notices(caplog)
    assert "model:0.1 is deleted, but some of its files may be left" in notice
    manager = make_manager(memory)
    plan = await manager.plan_delete("model", "0.1")
    assert (plan.is_deleted, plan.files) == (True, 1)
    assert (await manager.delete_version("model", "0.1")).files == 1


# Pushes


@pytest.mark.parametrize("fences", ["kept", "dropped"])
async def test_numbers_go_on_after_withdrawn_versions(
    driver: Driver, make_manager: ManagerFactory, files: Files, fences: str
) -> None:
    """Also if modelkit has rewritten the index."""
    manager = make_manager(driver)
    await pushed(manager, files)
    await manager.update_asset(files("1.0"), "model", bump_major=True)
    await manager.yank_version("model", "0.0", "bad")
    await manager.delete_version("model", "0.1")
    await manager.delete_version("model", "1.0")
    assert await manager.list_versions("model") == []
    if fences == "dropped":
        await put_index(driver, VersionIndex())
    assert (await manager.plan_update(files("next"), "model")).version == "1.1"
    assert (await manager.update_asset(files("next"), "model", major=0)).version == "0.2"
    assert (await manager.update_asset(files("next"), "model", bump_major=True)).version in ("1.0", "2.0")[1:]
    assert await check(driver) == {
        "0.0": Fence.YANKED,
        "0.1": Fence.DELETED,
        "1.0": Fence.DELETED,
        "0.2": None,
        "2.0": None,
    }


@pytest.mark.parametrize("withdraw", ["yank", "delete"])
async def test_an_asset_without_a_listed_version_exists(
    driver: Driver, make_manager: ManagerFactory, files: Files, withdraw: str
) -> None:
    manager = make_manager(driver)
    await pushed(manager, files, 1)
    await (
        manager.yank_version("model", "0.0", "bad") if withdraw == "yank" else manager.delete_version("model", "0.0")
    )
    assert [(asset.name, asset.versions) async for asset in manager.list_assets()] == [("model", ())]
    with pytest.raises(AssetExists, match="it already exists"):
        await manager.create_asset(files("other"), "model")
    with pytest.raises(VersionNotFound, match=r"has no latest version in .*: (0\.0 is yanked|all of them)"):
        await manager.fetch_asset("model")
    assert (await manager.update_asset(files("next"), "model")).version == "0.1"


@pytest.mark.parametrize("state", ["yanked", "deleted", "yanked and not fenced", "deleted and not fenced"])
async def test_a_push_that_steps_over_a_withdrawn_version_does_not_list_it(
    driver: Driver, make_manager: ManagerFactory, files: Files, state: str
) -> None:
    """Its own push or its withdrawal died before the index was written, or modelkit has rewritten the index."""
    manager = make_manager(driver)
    await pushed(manager, files)
    if state.startswith("yanked"):
        await mark_only(driver, "0.1")
    else:
        await bury_only(driver, "0.1")
    fence = Fence.YANKED if state.startswith("yanked") else Fence.DELETED
    fences = {} if state.endswith("fenced") else {"0.1": fence}
    await put_index(driver, VersionIndex(("0.0",), fences))
    assert (await manager.update_asset(files("next"), "model")).version == "0.2"
    assert await manager.list_versions("model") == ["0.2", "0.0"]
    await manager.clean(await manager.plan_clean("model"))
    assert (await index_of(driver)).fences == {"0.1": fence}


@pytest.mark.parametrize("withdraw", ["yank", "delete", "yank and unyank"])
async def test_a_slow_push_does_not_list_its_version_again(
    driver: Driver, make_manager: ManagerFactory, files: Files, withdraw: str
) -> None:
    """It succeeds nevertheless, and its result stays true."""
    manager = make_manager(driver)
    await pushed(manager, files, 1)
    gate = Pause("before", "write", ".versions")
    pushing = asyncio.ensure_future(make_manager(Interposer(driver, gate)).update_asset(files("0.1"), "model"))
    await gate.reached_by(pushing)
    if withdraw == "delete":
        await manager.delete_version("model", "0.1")
    else:
        await manager.yank_version("model", "0.1", "bad")
    if withdraw == "yank and unyank":
        await manager.unyank_version("model", "0.1")
    gate.go_on.set()
    assert (await pushing).version == "0.1"
    fence = {"yank": Fence.YANKED, "delete": Fence.DELETED}.get(withdraw)
    assert await check(driver) == {"0.0": None, "0.1": fence}


@pytest.mark.parametrize("withdraw", ["yank", "delete"])
async def test_a_push_recognises_its_version_after_it_was_withdrawn(
    memory: MemoryDriver, make_manager: ManagerFactory, files: Files, withdraw: str
) -> None:
    """The response to its seal was lost, so that it sends it again."""
    manager = make_manager(memory)
    await pushed(manager, files, 1)

    class Slow(Interposer):
        async def write(self, key, data, **options):  # type: ignore[no-untyped-def]
            revision = await super().write(key, data, **options)
            if key.endswith(".meta") and b"push_date" in bytes(data):
                await (
                    manager.yank_version("model", "0.1", "bad")
                    if withdraw == "yank"
                    else manager.delete_version("model", "0.1")
                )
                return await super().write(key, data, **options)
            return revision

    result = await make_manager(Slow(memory)).update_asset(files("0.1"), "model")
    assert result.version == "0.1"
    assert await check(memory) == {"0.0": None, "0.1": Fence.YANKED if withdraw == "yank" else Fence.DELETED}


@pytest.mark.parametrize("state", ["yanked", "deleted"])
async def test_a_create_that_meets_a_withdrawn_version_says_that_the_asset_exists(
    driver: Driver, make_manager: ManagerFactory, files: Files, state: str
) -> None:
    """There was no index yet when the withdrawal died. There is one then, so that the asset can be updated."""
    manager = make_manager(driver)
    await pushed(manager, files, 1)
    await driver.delete(["assets/model.versions"])
    await (mark_only if state == "yanked" else bury_only)(driver, "0.0")
    with pytest.raises(AssetExists, match=r"its version 0\.0 was yanked or deleted"):
        await manager.create_asset(files("other"), "model")
    assert await manager.list_versions("model") == []
    assert (await manager.update_asset(files("next"), "model")).version == "0.1"


async def test_a_withdrawn_version_can_t_be_published(
    driver: Driver, make_manager: ManagerFactory, files: Files
) -> None:
    manager = make_manager(driver)
    await pushed(manager, files, 3)
    await manager.yank_version("model", "0.1", "bad")
    await manager.delete_version("model", "0.2")
    with pytest.raises(VersionYanked, match=r"yanked \(bad\), so it can't be listed\. Restore it with `aioass"):
        await manager.publish_version("model", "0.1")
    with pytest.raises(VersionDeleted):
        await manager.publish_version("model", "0.2")
    assert await manager.list_versions("model") == ["0.0"]


# Readers


@pytest.mark.parametrize("spec", ["model", "model:0"])
async def test_a_reader_skips_what_the_index_lists_too_long(
    driver: Driver, make_manager: ManagerFactory, files: Files, spec: str
) -> None:
    manager = make_manager(driver)
    await pushed(manager, files, 3)
    await mark_only(driver, "0.2")
    await bury_only(driver, "0.1")
    assert (await manager.fetch_asset(spec)).version == "0.0"
    assert (await manager.verify_asset(spec)).version == "0.0"
    await mark_only(driver, "0.0")
    with pytest.raises(NotFound):
        await manager.verify_asset(spec)


@pytest.mark.parametrize("step", ["before the manifest", "before the content"])
@pytest.mark.parametrize("spec", ["model", "model:0.1"])
async def test_a_fetch_that_a_deletion_overtakes(
    driver: Driver, make_manager: ManagerFactory, files: Files, spec: str, step: str
) -> None:
    """It gets the next version, or raises VersionDeleted if the version was named."""
    manager = make_manager(driver)
    await pushed(manager, files)
    gate = Pause("before", "read", "0.1.meta") if step.endswith("manifest") else Pause("before", "read_range", "0.1")
    fetching = asyncio.ensure_future(make_manager(Interposer(driver, gate)).fetch_asset(spec))
    await gate.reached_by(fetching)
    await manager.delete_version("model", "0.1", "leaked")
    gate.go_on.set()
    if spec == "model":
        assert (await fetching).path.read_text() == "0.0"
    else:
        with pytest.raises(VersionDeleted, match="leaked"):
            await fetching


async def test_a_check_that_a_deletion_overtakes(driver: Driver, make_manager: ManagerFactory, files: Files) -> None:
    manager = make_manager(driver)
    await pushed(manager, files)
    gate = Pause("before", "read_range", "0.1")
    checking = asyncio.ensure_future(make_manager(Interposer(driver, gate)).verify_asset("model:0.1"))
    await gate.reached_by(checking)
    await manager.delete_version("model", "0.1")
    gate.go_on.set()
    with pytest.raises(VersionDeleted):
        await checking


# Cleaning


async def test_interrupted_withdrawals_are_shown_and_finished(
    driver: Driver, make_manager: ManagerFactory, files: Files
) -> None:
    """The tombstone stays for good."""
    manager = make_manager(driver)
    await pushed(manager, files, 4)
    await mark_only(driver, "0.1")
    await bury_only(driver, "0.2")
    await manager.yank_version("model", "0.3", "bad")
    await mark_only(driver, "0.3", yanked=False)
    plan = await manager.plan_clean("model")
    assert [(each.version, each.kind, each.files, each.removable) for each in plan.leftovers] == [
        ("0.1", LeftoverKind.UNFINISHED_YANK, 0, True),
        ("0.2", LeftoverKind.UNFINISHED_DELETION, 1, True),
        ("0.3", LeftoverKind.UNFINISHED_YANK, 0, True),
    ]
    assert str(plan.leftovers[1].holder) == "ann@host"
    assert [each.version for each in (await manager.clean(plan)).removed] == ["0.1", "0.2", "0.3"]
    assert await check(driver) == {"0.0": None, "0.1": Fence.YANKED, "0.2": Fence.DELETED, "0.3": None}
    assert not await exists(driver, "assets/model/0.2")
    for name in ("model", None):
        assert (await manager.plan_clean(name)).leftovers == ()
    assert not (await manager.plan_clean("model", older_than=timedelta())).removable


async def test_a_late_upload_of_a_deleted_version_is_removed(
    driver: Driver, make_manager: ManagerFactory, files: Files
) -> None:
    manager = make_manager(driver)
    await pushed(manager, files)
    await manager.delete_version("model", "0.1")
    await driver.upload("assets/model/0.1", BytesSource(b"late"))
    plan = await manager.plan_clean()
    [leftover] = plan.leftovers
    assert (leftover.kind, leftover.files, leftover.size) == (LeftoverKind.UNFINISHED_DELETION, 1, 4)
    await manager.clean(plan)
    assert await check(driver) == {"0.0": None, "0.1": Fence.DELETED}
    assert (await manager.plan_clean()).leftovers == ()


# Requests


async def test_the_requests_of_withdrawals(memory: MemoryDriver, make_manager: ManagerFactory, files: Files) -> None:
    """Round trips in sequence, and the requests of each."""
    await pushed(make_manager(memory), files)
    rounds = Rounds()
    manager = make_manager(Interposer(memory, rounds))
    await rounds.count(lambda: manager.unyank_version("model", "0.1"))  # probes the store
    counts = []
    for call in (
        lambda: manager.yank_version("model", "0.1", "bad"),
        lambda: manager.unyank_version("model", "0.1"),
        lambda: manager.delete_version("model", "0.1"),
    ):
        rounds.sizes.clear()
        await rounds.count(call)
        counts.append([*rounds.sizes])
    reads, mark, aliases, fence, again, tombstone = 3, 1, 1, 1, 1, 1
    uploads, content_and_chunks, listing, deletion = 1, 2, 1, 1
    assert counts == [
        [reads, mark, aliases, fence, again],
        [reads, mark, fence, again],
        [reads, mark, aliases, fence, tombstone, 1, fence, uploads, content_and_chunks, listing, deletion],
    ]


@pytest.fixture
def bucket(seaweedfs: S3Server) -> str:
    """Return the name of an empty bucket that other tests don't use, as its object versioning can't be removed."""
    name = f"versioned-{secrets.token_hex(4)}"
    seaweedfs.make_bucket(name)
    return name


def turn_versioning_on(options: dict[str, Any], bucket: str) -> None:
    client = get_session().create_client(
        "s3",
        endpoint_url=options["endpoint_url"],
        region_name=options["region"],
        aws_access_key_id=options["access_key_id"],
        aws_secret_access_key=options["secret_access_key"],
        config=Config(s3={"addressing_style": "path"}),
    )
    client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    client.close()


@pytest.mark.servers
@pytest.mark.parametrize("expected", [False, True, None])
async def test_a_deletion_says_whether_the_bucket_keeps_old_bytes(
    seaweedfs: S3Server, bucket: str, make_manager: ManagerFactory, files: Files, expected: bool | None
) -> None:
    """If the store doesn't say, the result doesn't either."""
    async with (
        Relay(seaweedfs.endpoint_url) as relay,
        S3Driver(bucket, dispatcher=Dispatcher(), **relay.through(seaweedfs.options)) as driver,
    ):
        if expected:
            await asyncio.to_thread(turn_versioning_on, seaweedfs.options, bucket)
        if expected is None:
            relay.inject(Reply(403, body=DENIED), method="GET", target=r"\?versioning", times=99)
        manager = make_manager(driver)
        await pushed(manager, files)
        assert (await manager.delete_version("model", "0.1")).keeps_old_bytes is expected
        assert (await manager.delete_version("model", "0.1")).keeps_old_bytes is None
