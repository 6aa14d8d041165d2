"""Cleaning: it finds and removes the leftovers of dead pushes and fetches, and nothing else."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest
from botocore.config import Config
from botocore.session import get_session
from tools.claims import META, dead_claim, live_claim, put_claim, state_of
from tools.factories import Files, ManagerFactory
from tools.inspection import contents, exists, keys, store_folder
from tools.interposer import Fail, Interposer, LostAnswers, Pause, failure

from aioassets import (
    AccessDenied,
    AioAssetsError,
    AssetNotFound,
    AssetsManager,
    CleaningResult,
    Driver,
    LeftoverKind,
    MemoryDriver,
    PublicationUncertain,
    StoreError,
    VersionNotFound,
)
from aioassets.drivers.protocol import MAX_DOCUMENT, Document, Expect
from aioassets.fetch.entry import CacheEntry
from aioassets.model.claim import ClaimState
from aioassets.runtime.threads import in_thread
from aioassets.testing import BytesSource

AT_ONCE = timedelta(0)


class Later(Interposer):
    """Store whose responses have a later time than its objects."""

    def __init__(self, driver: Driver, by: timedelta) -> None:
        super().__init__(driver)
        self.by = by

    async def read(self, key: str, *, limit: int = MAX_DOCUMENT) -> Document:
        found = await super().read(key, limit=limit)
        return replace(found, answered=found.answered + self.by)


async def cleaned(manager: AssetsManager, name: str | None = None, **rules: Any) -> CleaningResult:
    return await manager.clean(await manager.plan_clean(name, **rules))


async def put_dead_push(driver: Driver, version: str = "0.1", *, operation: str = "update") -> None:
    await put_claim(driver, await dead_claim(operation), f"assets/model/{version}.meta")
    await driver.upload(f"assets/model/{version}/a", BytesSource(b"first"))
    await driver.upload(f"assets/model/{version}/b/c", BytesSource(b"second"))


async def test_a_dead_push_is_shown_and_removed(driver: Driver, make_manager: ManagerFactory, files: Files) -> None:
    """Its number stays in use, because its requests may still arrive."""
    manager = make_manager(driver)
    await manager.create_asset(files("a"), "model")
    await put_dead_push(driver)
    plan = await manager.plan_clean()
    (leftover,) = plan.leftovers
    assert (leftover.kind, leftover.name, leftover.version) == (LeftoverKind.DEAD_PUSH, "model", "0.1")
    assert (leftover.files, leftover.size, str(leftover.holder)) == (2, 11, "ann@host")
    assert leftover.removable
    result = await manager.clean(plan)
    assert (result.removed, result.kept) == ((leftover,), ())
    assert [key for key in await keys(driver) if "/0.1/" in key] == []
    assert await state_of(driver) is ClaimState.ABANDONED
    assert (await manager.plan_clean()).leftovers == ()
    assert (await manager.update_asset(files("b"), "model")).version == "0.2"
    assert (await manager.fetch_asset("model:0.0")).path.read_text() == "a"


async def test_only_the_asset_that_is_named_is_cleaned(
    driver: Driver, make_manager: ManagerFactory, files: Files
) -> None:
    """An asset whose first push died has no index, and is found too."""
    manager = make_manager(driver)
    for name in ("model", "model/inner", "other"):
        await put_claim(driver, await dead_claim("create"), f"assets/{name}/0.0.meta")
    found = [leftover.name for leftover in (await manager.plan_clean()).leftovers]
    assert found == ["model", "model/inner", "other"]
    assert [leftover.name for leftover in (await cleaned(manager, "model")).removed] == ["model"]
    assert [leftover.name for leftover in (await manager.plan_clean()).leftovers] == ["model/inner", "other"]
    with pytest.raises(AssetNotFound):
        await manager.plan_clean("nothing")


async def test_a_file_asset_is_removed_without_its_neighbours(
    driver: Driver, make_manager: ManagerFactory, files: Files
) -> None:
    """Keys are compared by whole segments: 0.1 is not 0.10."""
    manager = make_manager(driver)
    await manager.create_asset(files("a"), "model")
    await put_claim(driver, await dead_claim())
    await driver.upload("assets/model/0.1", BytesSource(b"dead"))
    await put_claim(driver, await live_claim(), "assets/model/0.10.meta")
    await driver.upload("assets/model/0.10/a", BytesSource(b"live"))
    (removed,) = (await cleaned(manager)).removed
    assert (removed.files, removed.size) == (1, 4)
    assert not await exists(driver, "assets/model/0.1")
    assert await exists(driver, "assets/model/0.10/a")


async def test_a_live_push_is_left_alone(driver: Driver, make_manager: ManagerFactory, files: Files) -> None:
    """With `older_than=0` it is ended, and starts again under another number."""
    manager = make_manager(driver)
    await manager.create_asset(files("a"), "model")
    gate = Pause("after", "upload", "model/0.1")
    pushing = asyncio.ensure_future(make_manager(Interposer(driver, gate)).update_asset(files("b"), "model"))
    await gate.reached_by(pushing)
    (leftover,) = (await manager.plan_clean()).leftovers
    assert (leftover.kind, leftover.removable) == (LeftoverKind.LIVE_PUSH, False)
    assert not (await manager.plan_clean(older_than=timedelta(hours=1))).removable
    assert await cleaned(manager) == CleaningResult((), ())
    (removed,) = (await cleaned(manager, older_than=AT_ONCE)).removed
    assert removed.version == "0.1"
    gate.go_on.set()
    assert (await pushing).version == "0.2"
    assert await manager.list_versions("model") == ["0.2", "0.0"]
    assert not await exists(driver, "assets/model/0.1")


@pytest.mark.parametrize("error", [failure(uncertain=True), AccessDenied("the store", "write", "no.")])
async def test_a_push_that_is_stopped_while_it_fails_starts_again(
    memory: MemoryDriver, make_manager: ManagerFactory, files: Files, error: AioAssetsError
) -> None:
    """It may have failed because another process removed its content."""
    manager = make_manager(memory)
    await manager.create_asset(files("a"), "model")
    fail = Fail("after", "upload", "model/0.1", error)

    async def stop_and_fail(moment: str, method: str, key: str) -> None:
        if (moment, method, key) == ("after", "upload", "assets/model/0.1"):
            await cleaned(manager, older_than=AT_ONCE)
        await fail(moment, method, key)

    pushed = await make_manager(Interposer(memory, stop_and_fail)).update_asset(files("b"), "model")
    assert pushed.version == "0.2"


async def test_content_published_since_the_plan_is_kept(
    driver: Driver, make_manager: ManagerFactory, files: Files
) -> None:
    """A removal looks at each leftover again."""
    manager = make_manager(driver)
    await manager.create_asset(files("a"), "model")
    gate = Pause("after", "upload", "model/0.1")
    pushing = asyncio.ensure_future(make_manager(Interposer(driver, gate)).update_asset(files("b"), "model"))
    await gate.reached_by(pushing)
    plan = await manager.plan_clean(older_than=AT_ONCE)
    gate.go_on.set()
    await pushing
    result = await manager.clean(plan)
    assert [leftover.version for leftover in result.kept] == ["0.1"]
    assert not result.removed
    assert (await manager.fetch_asset("model:0.1")).path.read_text() == "b"


async def test_a_push_that_seals_first_keeps_its_content(
    driver: Driver, make_manager: ManagerFactory, files: Files
) -> None:
    """The push seals after the look: the swap of the claim is refused, and nothing is deleted."""
    manager = make_manager(driver)
    await manager.create_asset(files("a"), "model")
    pushing_gate = Pause("after", "upload", "model/0.1")
    pushing = asyncio.ensure_future(make_manager(Interposer(driver, pushing_gate)).update_asset(files("b"), "model"))
    await pushing_gate.reached_by(pushing)
    gate = Pause("before", "write", "0.1.meta")
    cleaning = asyncio.ensure_future(cleaned(make_manager(Interposer(driver, gate)), older_than=AT_ONCE))
    await gate.reached_by(cleaning)
    pushing_gate.go_on.set()
    assert (await pushing).version == "0.1"
    gate.go_on.set()
    assert [leftover.version for leftover in (await cleaning).kept] == ["0.1"]
    assert (await manager.fetch_asset("model:0.1")).path.read_text() == "b"


async def test_a_number_that_is_cleaned_is_never_released(
    driver: Driver, make_manager: ManagerFactory, files: Files, tree: Path
) -> None:
    """Another push could claim it between the look and the deletion."""
    manager = make_manager(driver)
    await manager.create_asset(files("a"), "model")
    stuck = Pause("before", "delete", "/.hidden")
    fail = Fail("before", "upload", "/x.bin", failure())

    async def hook(moment: str, method: str, key: str) -> None:
        await stuck(moment, method, key)
        await fail(moment, method, key)

    pushing = asyncio.ensure_future(make_manager(Interposer(driver, hook)).update_asset(tree, "model"))
    await stuck.reached_by(pushing)  # the claim is abandoned, and about to be deleted and released
    (leftover,) = (await manager.plan_clean()).leftovers
    assert leftover.kind is LeftoverKind.ABANDONED_PUSH
    assert [leftover.version for leftover in (await cleaned(manager)).removed] == ["0.1"]
    stuck.go_on.set()
    with pytest.raises(StoreError):
        await pushing
    assert await state_of(driver) is ClaimState.ABANDONED
    assert (await manager.update_asset(files("c"), "model")).version == "0.2"


async def test_an_unlisted_version_is_shown_and_can_be_published(
    driver: Driver, make_manager: ManagerFactory, files: Files
) -> None:
    manager = make_manager(driver)
    await manager.create_asset(files("a"), "model")
    with pytest.raises(PublicationUncertain):
        await make_manager(Interposer(driver, Fail("before", "write", "model.versions"))).update_asset(
            files("b"), "model"
        )
    (leftover,) = (await manager.plan_clean(older_than=AT_ONCE)).leftovers
    assert (leftover.kind, leftover.removable) == (LeftoverKind.UNLISTED_VERSION, False)
    assert "--publish model:0.1" in leftover.advice
    await cleaned(manager, older_than=AT_ONCE)
    await manager.publish_version("model", "0.1")
    await manager.publish_version("model", "0.1")
    assert await manager.list_versions("model") == ["0.1", "0.0"]
    assert (await manager.plan_clean()).leftovers == ()


async def test_only_complete_versions_can_be_published(
    memory: MemoryDriver, make_manager: ManagerFactory, files: Files
) -> None:
    manager = make_manager(memory)
    await manager.create_asset(files("a"), "model")
    await put_dead_push(memory)
    for version in ("0.1", "0.2"):
        with pytest.raises(VersionNotFound):
            await manager.publish_version("model", version)
    assert await manager.list_versions("model") == ["0.0"]


async def test_content_without_a_manifest_is_left_alone(
    driver: Driver, make_manager: ManagerFactory, files: Files
) -> None:
    """modelkit may be pushing it."""
    await make_manager(driver).create_asset(files("a"), "model")
    await driver.upload("assets/model/0.1/a", BytesSource(b"of modelkit"))
    cases: tuple[tuple[timedelta, dict[str, Any], bool], ...] = (
        (timedelta(days=2), {}, False),
        (timedelta(days=2), {"older_than": AT_ONCE}, False),
        (timedelta(hours=23), {"legacy": True, "older_than": AT_ONCE}, False),
        (timedelta(hours=25), {"legacy": True, "older_than": timedelta(days=2)}, False),
        (timedelta(hours=25), {"legacy": True}, True),
    )
    for by, rules, removable in cases:
        manager = make_manager(Later(driver, by))
        (leftover,) = (await manager.plan_clean(**rules)).leftovers
        assert (leftover.kind, leftover.removable) == (LeftoverKind.WITHOUT_MANIFEST, removable)
    assert await exists(driver, "assets/model/0.1/a")
    assert len((await cleaned(manager, legacy=True)).removed) == 1
    assert not await exists(driver, "assets/model/0.1/a")
    assert await state_of(driver) is ClaimState.ABANDONED


async def test_content_of_an_asset_without_documents_has_an_age(driver: Driver, make_manager: ManagerFactory) -> None:
    """If no document tells the store's time, a scratch object is written and read."""
    await driver.upload("assets/model/0.0/a", BytesSource(b"of modelkit"))
    manager = make_manager(Later(driver, timedelta(days=2)))
    (leftover,) = (await manager.plan_clean()).leftovers
    assert (leftover.age, leftover.removable) == (None, False)
    assert len((await cleaned(manager, legacy=True)).removed) == 1
    assert await keys(driver) == ["assets/model/0.0.meta"]


async def test_legacy_content_that_is_claimed_meanwhile_is_kept(
    driver: Driver, make_manager: ManagerFactory, files: Files
) -> None:
    """The cleaning claims the number before it deletes anything, and the push was faster."""
    manager = make_manager(driver)
    await manager.create_asset(files("a"), "model")
    await driver.upload("assets/model/0.1", BytesSource(b"b"))
    gate = Pause("before", "write", "0.1.meta")
    cleaning = asyncio.ensure_future(
        cleaned(make_manager(Interposer(Later(driver, timedelta(days=2)), gate)), legacy=True)
    )
    await gate.reached_by(cleaning)
    assert (await manager.update_asset(files("b"), "model")).version == "0.1"  # its bytes are there already
    gate.go_on.set()
    assert not (await cleaning).removed
    assert (await manager.fetch_asset("model:0.1")).path.read_text() == "b"


async def test_the_meta_of_an_emptied_number_stays(driver: Driver, make_manager: ManagerFactory, files: Files) -> None:
    """A request of its dead push may still arrive, and a copy may claim a number below the latest one."""
    manager = make_manager(driver)
    await manager.create_asset(files("a"), "model")
    await put_dead_push(driver)
    await cleaned(manager)
    await manager.update_asset(files("b"), "model")
    later = make_manager(Later(driver, timedelta(days=9)))
    assert (await later.plan_clean()).leftovers == ()
    assert await state_of(driver) is ClaimState.ABANDONED
    assert await manager.list_versions("model") == ["0.2", "0.0"]
    assert (await manager.update_asset(files("c"), "model")).version == "0.3"


async def test_a_plan_writes_nothing(driver: Driver, make_manager: ManagerFactory, files: Files) -> None:
    """Permission to read suffices for a plan."""
    await make_manager(driver).create_asset(files("a"), "model")
    await put_dead_push(driver)
    await driver.upload("assets/model/0.2/a", BytesSource(b"of modelkit"))
    watched = Interposer(driver)
    await make_manager(watched).plan_clean(older_than=AT_ONCE)
    assert {method for method, _ in watched.calls} <= {"read", "stat", "list", "open_uploads"}


async def test_a_lost_answer_does_not_stop_a_cleaning(
    driver: Driver, make_manager: ManagerFactory, files: Files
) -> None:
    """A repeated swap is refused by its own first attempt."""
    manager = make_manager(driver)
    await manager.create_asset(files("a"), "model")
    await put_dead_push(driver)
    assert len((await cleaned(make_manager(LostAnswers(driver)))).removed) == 1
    assert not await exists(driver, "assets/model/0.1/a")


async def test_unreadable_documents_are_shown(driver: Driver, make_manager: ManagerFactory, files: Files) -> None:
    """They and the content of their versions are kept."""
    manager = make_manager(driver)
    await manager.create_asset(files("a"), "model")
    await driver.write(META, b"nonsense", expected=Expect.ABSENT)
    await driver.upload("assets/model/0.1/a", BytesSource(b"of another program"))
    await driver.write("assets/other.versions", b"nonsense", expected=Expect.ABSENT)
    plan = await manager.plan_clean(older_than=AT_ONCE, legacy=True)
    found = [(leftover.kind, leftover.name, leftover.version, leftover.removable) for leftover in plan.leftovers]
    kind = LeftoverKind.UNREADABLE_DOCUMENT
    assert found == [(kind, "model", "0.1", False), (kind, "other", "", False)]
    assert await exists(driver, "assets/model/0.1/a")


async def test_scratch_objects_of_killed_probes_are_removed(
    driver: Driver, make_manager: ManagerFactory, files: Files
) -> None:
    manager = make_manager(driver)
    await manager.create_asset(files("a"), "model")
    await driver.write("assets/.aioassets-probe/token", b"1", expected=Expect.ABSENT)
    assert not (await manager.plan_clean()).removable
    later = make_manager(Later(driver, timedelta(minutes=16)))
    (removed,) = (await cleaned(later)).removed
    assert removed.kind is LeftoverKind.TEMPORARY_OBJECTS
    assert not await exists(driver, "assets/.aioassets-probe/token")


async def test_temporary_files_of_a_folder_are_removed(
    make_manager: ManagerFactory, files: Files, tmp_path: Path
) -> None:
    """Recent ones may still be written."""
    manager = AssetsManager(tmp_path / "store", assets_dir=tmp_path / "cache")
    await manager.create_asset(files("a"), "model")
    left = tmp_path / "store" / ".aioassets" / "tmp" / "0123456789abcdef"
    left.write_bytes(b"half")
    assert not (await manager.plan_clean()).removable
    long_ago = time.time() - 1000
    os.utime(left, (long_ago, long_ago))
    (removed,) = (await cleaned(manager)).removed
    assert (removed.kind, removed.uploads) == (LeftoverKind.TEMPORARY_OBJECTS, 1)
    assert not left.exists()
    await manager.aclose()


@pytest.fixture
def s3_client(place: dict[str, Any]) -> Iterator[Any]:
    """Return a client of the SDK, whose calls block."""
    client = get_session().create_client(
        "s3",
        endpoint_url=place["endpoint_url"],
        region_name=place["region"],
        aws_access_key_id=place["access_key_id"],
        aws_secret_access_key=place["secret_access_key"],
        config=Config(s3={"addressing_style": place["addressing_style"]}),
    )
    yield client
    client.close()


@pytest.mark.servers
@pytest.mark.parametrize("place", ["s3"], indirect=True)
async def test_open_uploads_are_aborted(
    place: dict[str, Any], driver: Driver, s3_client: Any, make_manager: ManagerFactory, files: Files
) -> None:
    """Uploads of dead pushes and of published versions are aborted, those of other programs are kept."""
    manager = make_manager(driver)
    await manager.create_asset(files("a"), "model")
    await put_claim(driver, await dead_claim())
    await put_claim(driver, await live_claim(), "assets/model/0.2.meta")
    published, dead, live, foreign = (
        f"assets/{key}" for key in ("model/0.0", "model/0.1/big", "model/0.2/big", "another program's/dump.bin")
    )
    for key in (published, dead, live, foreign):
        await in_thread(partial(s3_client.create_multipart_upload, Bucket=place["bucket"], Key=key))

    async def still_open() -> list[str]:
        return sorted([upload.key async for upload in driver.open_uploads("assets/")])

    plan = await manager.plan_clean()
    found = {leftover.version: (leftover.kind, leftover.uploads, leftover.removable) for leftover in plan.leftovers}
    assert found == {
        "0.0": (LeftoverKind.OPEN_UPLOADS, 1, False),
        "0.1": (LeftoverKind.DEAD_PUSH, 1, True),
        "0.2": (LeftoverKind.LIVE_PUSH, 1, False),
    }
    await manager.clean(plan)
    assert await still_open() == sorted([published, live, foreign])
    (removed,) = (await cleaned(make_manager(Later(driver, timedelta(minutes=16))), "model")).removed[:1]
    assert removed.version == "0.0"
    await cleaned(manager, older_than=AT_ONCE)
    assert await still_open() == [foreign]
    assert (await manager.fetch_asset("model:0.0")).path.read_text() == "a"


async def test_unfinished_downloads_are_removed(
    memory: MemoryDriver, make_manager: ManagerFactory, files: Files, tmp_path: Path
) -> None:
    """A download is dead if its lock can be taken."""
    manager = make_manager(memory)
    await manager.create_asset(files("a"), "model")
    dead, live = (CacheEntry(tmp_path / "cache", "model", version) for version in ("0.1", "0.2"))
    staging = {entry: entry.own_path(".staging") for entry in (dead, live)}
    for folder in staging.values():
        (folder / "payload").mkdir(parents=True)
        (folder / "payload" / "file").write_bytes(b"half")
    dead.lock_file.touch()
    held = await in_thread(live.try_lock)
    assert held is not None
    (leftover,) = (await manager.plan_clean()).leftovers
    assert (leftover.kind, leftover.version, leftover.size) == (LeftoverKind.UNFINISHED_DOWNLOAD, "0.1", 4)
    assert len((await cleaned(manager)).removed) == 1
    assert not staging[dead].exists()
    assert not dead.lock_file.exists()
    assert staging[live].exists()
    await in_thread(live.unlock, held)
    assert (await manager.fetch_asset("model")).version == "0.0"
    assert len((await cleaned(manager)).removed) == 1


async def test_an_assets_directory_is_cleaned_without_a_bucket(
    make_manager: ManagerFactory, memory: MemoryDriver, files: Files, tmp_path: Path
) -> None:
    """Files that were put aside are only shown. An asset may be called `model.staging`."""
    pushing = make_manager(memory)
    await pushing.create_asset(files("a"), "model.staging")
    await pushing.fetch_asset("model.staging")
    own = tmp_path / "cache" / ".aioassets"  # of an early release
    aside, temporary = own / "model" / "0.1.aside-01234567", own / "model" / "0.1.json.89abcdef.tmp"
    aside.mkdir(parents=True)
    (aside / "file").write_bytes(b"put aside")
    temporary.write_bytes(b"half")
    long_ago = time.time() - 1000
    os.utime(temporary, (long_ago, long_ago))
    kept = store_folder(tmp_path / "cache") / ".aioassets" / "model.staging"
    before = contents(kept)
    async with AssetsManager(assets_dir=tmp_path / "cache") as manager:
        plan = await manager.plan_clean()
        found = {leftover.kind: leftover.removable for leftover in plan.leftovers}
        assert found == {LeftoverKind.FILES_PUT_ASIDE: False, LeftoverKind.TEMPORARY_OBJECTS: True}
        await manager.clean(plan)
    assert aside.exists()
    assert not temporary.exists()
    assert contents(kept) == before


class RacingPushes:
    """Concurrent pushes of one asset, each with its own content."""

    def __init__(self, make_manager: ManagerFactory, driver: Driver, folder: Path) -> None:
        self._make_manager = make_manager
        self._driver = driver
        self._folder = folder
        self.published: dict[str, str] = {}
        self.stopped: list[AioAssetsError] = []

    async def run(self, number: int) -> None:
        manager = self._make_manager(self._driver)
        for turn in range(3):
            source = self._folder / f"{number}-{turn}"
            source.mkdir(parents=True)
            for part in ("a", "b"):
                (source / part).write_text(f"{source.name} {part}")
            try:
                self.published[(await manager.update_asset(source, "model")).version] = source.name
            except AioAssetsError as error:
                self.stopped.append(error)


@pytest.mark.parametrize("older_than", [None, AT_ONCE], ids=["patiently", "at once"])
async def test_cleaning_beside_racing_pushes_removes_nothing_that_was_published(
    driver: Driver, make_manager: ManagerFactory, files: Files, tree: Path, older_than: timedelta | None
) -> None:
    """A cleaning may stop pushes, but loses and mixes nothing."""
    manager = make_manager(driver)
    await manager.create_asset(files("0"), "model")
    pushes = RacingPushes(make_manager, driver, tree.parent / "pushed")

    async def clean() -> None:
        cleaner = make_manager(driver)
        while True:
            await cleaned(cleaner, older_than=older_than)
            await anyio.lowlevel.checkpoint()

    async with anyio.create_task_group() as cleaners:
        for _ in range(2):
            cleaners.start_soon(clean)
        async with anyio.create_task_group() as pushers:
            for number in range(4):
                pushers.start_soon(pushes.run, number)
        cleaners.cancel_scope.cancel()
    if older_than is None:
        assert not pushes.stopped
    published = pushes.published
    listed = await manager.list_versions("model")
    assert set(published) <= set(listed)
    assert len(set(published.values())) == len(published)
    for version in listed[:-1]:
        fetched = await manager.fetch_asset(f"model:{version}")
        content = (fetched.path / "a").read_text().removesuffix(" a")
        assert (fetched.path / "b").read_text() == f"{content} b"
        assert published.get(version, content) == content


async def test_a_cleaning_logs_what_it_removes(
    memory: MemoryDriver, make_manager: ManagerFactory, files: Files, caplog: pytest.LogCaptureFixture
) -> None:
    manager = make_manager(memory)
    await manager.create_asset(files("a"), "model")
    await put_dead_push(memory)
    caplog.set_level(logging.INFO, "aioassets.cleanup")
    await cleaned(manager)

    assert [record.getMessage() for record in caplog.records if record.name.startswith("aioassets.cleanup")] == [
        "Abandoned model:0.1 in memory://memory/assets: this version number will not be used",
        "Removed: dead_push at 'memory://memory/assets/model/0.1'",
    ]


async def test_a_cleaning_logs_what_has_changed_and_is_kept(
    memory: MemoryDriver, make_manager: ManagerFactory, files: Files, caplog: pytest.LogCaptureFixture
) -> None:
    manager = make_manager(memory)
    await manager.create_asset(files("a"), "model")
    await put_dead_push(memory)
    plan = await manager.plan_clean()
    await memory.delete([META])
    caplog.set_level(logging.INFO, "aioassets.cleanup")
    await manager.clean(plan)

    assert [record.getMessage() for record in caplog.records if record.name.startswith("aioassets.cleanup")] == [
        "Kept because it has changed or is in use: dead_push at 'memory://memory/assets/model/0.1'",
    ]


async def test_a_damaged_index_does_not_stop_the_cleanup(
    memory: MemoryDriver, make_manager: ManagerFactory, files: Files
) -> None:
    """Whether a version of that asset is listed isn't known: only its claim may go."""
    manager = make_manager(memory)
    for name in ("broken", "model"):
        await manager.create_asset(files("a"), name)
    await put_dead_push(memory)
    await put_claim(memory, await dead_claim("update"), "assets/broken/0.1.meta")
    await memory.upload("assets/broken/0.2/a", BytesSource(b"its manifest is lost"))
    index = await memory.read("assets/broken.versions")
    await memory.write("assets/broken.versions", b"{", expected=index.revision)
    plan = await make_manager(Later(memory, timedelta(days=2))).plan_clean(legacy=True)
    assert [(leftover.name, leftover.version, leftover.kind) for leftover in plan.leftovers] == [
        ("broken", "", LeftoverKind.UNREADABLE_DOCUMENT),
        ("broken", "0.1", LeftoverKind.DEAD_PUSH),
        ("model", "0.1", LeftoverKind.DEAD_PUSH),
    ]
    (error,) = plan.errors
    assert error.where.endswith("/broken.versions")
    result = await manager.clean(plan)
    assert [leftover.name for leftover in result.removed] == ["broken", "model"]
    assert (result.kept, result.failed) == ((), ())
    assert (await manager.fetch_asset("broken:0.0")).path.read_bytes() == b"a"
