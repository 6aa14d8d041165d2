"""Of a large file that has changed, only what the base doesn't have is uploaded, and downloaded again."""

from __future__ import annotations

import json
import random
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from tools.claims import state_of
from tools.factories import ManagerFactory
from tools.inspection import contents, keys, store_of
from tools.interposer import Fail, Interposer, Pause, failure
from tools.steps import Ended, at_each_step, ended_at

from aioassets import (
    AccessDenied,
    AssetsManager,
    BytesTransferred,
    Event,
    FetchedAsset,
    MemoryDriver,
    ObjectNotFound,
    PushResult,
    SourceChanged,
    StoreError,
    StoreUnavailable,
)
from aioassets.drivers.protocol import Expect
from aioassets.errors import CannotCompose
from aioassets.model.chunks import CHUNKING, ChunkList, ChunkTable, document_digest
from aioassets.model.claim import ClaimState
from aioassets.runtime.chunking import dividing_from
from aioassets.store.chunks import read_chunks
from aioassets.testing import BytesSource

pytestmark = pytest.mark.once

MIB = 1024 * 1024
SIZE = 4 * MIB
CHANGED = 2 * CHUNKING.max_size
"""Maximum of bytes in the chunks around one edit."""
CHUNKS = "assets/model/0.0.chunks"


@pytest.fixture(autouse=True)
def smaller_files() -> Iterator[None]:
    with dividing_from(MIB):
        yield


@pytest.fixture
def driver(memory: MemoryDriver) -> Interposer:
    return Interposer(memory)


@pytest.fixture
def manager(driver: Interposer, make_manager: ManagerFactory) -> AssetsManager:
    return make_manager(driver)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Make a tree with a large file and a small one."""
    root = tmp_path / "source"
    root.mkdir()
    (root / "large").write_bytes(random.Random(1).randbytes(SIZE))
    (root / "small").write_bytes(b"small")
    return root


def overwrite(data: bytes) -> bytes:
    return data[:MIB] + b"changed" + data[MIB + 7 :]


def insert(data: bytes) -> bytes:
    return data[:1000] + b"inserted" + data[1000:]


def remove(data: bytes) -> bytes:
    return data[:500] + data[700:]


def edit(source: Path, change: Callable[[bytes], bytes] = overwrite) -> None:
    (source / "large").write_bytes(change((source / "large").read_bytes()))


async def update(manager: AssetsManager, source: Path) -> PushResult:
    return await manager.update_asset(source, "model")


async def check(make_manager: ManagerFactory, driver: Interposer, source: Path, cache: Path) -> None:
    """Check that a machine without any cached version gets exactly the bytes of the source."""
    fetched = await make_manager(driver, assets_dir=cache).fetch_asset("model")
    assert contents(fetched.path) == contents(source)
    assert fetched.verified


async def table_of(driver: Interposer, version: str) -> ChunkTable | None:
    content = (await store_of(driver).read_meta("model", version)).content
    digest = getattr(content, "chunks_digest", None)
    return None if digest is None else await read_chunks(store_of(driver), "model", version, digest)


@pytest.mark.parametrize("change", [overwrite, insert, remove])
async def test_only_what_changed_travels(
    manager: AssetsManager,
    driver: Interposer,
    source: Path,
    make_manager: ManagerFactory,
    tmp_path: Path,
    change: Callable[[bytes], bytes],
) -> None:
    await manager.create_asset(source, "model")
    await manager.fetch_asset("model")
    edit(source, change)
    events: list[Event] = []
    pushed = await manager.update_asset(source, "model", progress=events.append)
    assert pushed.uploaded + pushed.copied == pushed.size
    assert 0 < pushed.uploaded < CHANGED
    transferred = [event for event in events if isinstance(event, BytesTransferred)]
    assert sum(event.nbytes for event in transferred) == pushed.size
    assert sum(event.nbytes for event in transferred if event.reused) == pushed.copied

    events.clear()
    fetched = await manager.fetch_asset("model", progress=events.append)
    assert contents(fetched.path) == contents(source)
    assert fetched.verified
    assert 0 < fetched.downloaded < CHANGED
    assert fetched.downloaded + fetched.reused == pushed.size
    reused = sum(event.nbytes for event in events if isinstance(event, BytesTransferred) and event.reused)
    assert reused == fetched.reused
    await check(make_manager, driver, source, tmp_path / "other")


async def test_a_plan_tells_what_would_travel(manager: AssetsManager, driver: Interposer, source: Path) -> None:
    await manager.create_asset(source, "model")
    edit(source)
    before = await keys(driver)
    plan = await manager.plan_update(source, "model")
    assert await keys(driver) == before
    pushed = await manager.push(plan)
    assert (plan.uploaded, plan.copied) == (pushed.uploaded, pushed.copied)


async def test_versions_list_the_chunks_of_large_files(
    manager: AssetsManager, driver: Interposer, source: Path
) -> None:
    """Uploaded, composed and copied ones."""
    await manager.create_asset(source, "model")
    first = await table_of(driver, "0.0")
    assert first is not None
    assert set(first.files) == {"large"}
    assert first.files["large"].size == SIZE
    await update(manager, source)
    assert await table_of(driver, "0.1") == first
    edit(source)
    await update(manager, source)
    composed = await table_of(driver, "0.2")
    await manager.create_asset(source, "other")
    assert composed is not None
    assert composed.files["large"] != first.files["large"]
    content = (await store_of(driver).read_meta("other", "0.0")).content
    assert getattr(content, "chunks_digest", None) == document_digest(composed.to_json())


async def test_a_copied_version_keeps_its_list(
    manager: AssetsManager, driver: Interposer, source: Path, make_manager: ManagerFactory
) -> None:
    """By the store, and through this machine."""
    await manager.create_asset(source, "model")
    other = Interposer(MemoryDriver())
    await manager.copy_version("model", make_manager(other))
    await manager.copy_version("model", manager, name="copy")
    assert await table_of(other, "0.0") == await table_of(driver, "0.0")
    assert "assets/copy/0.0.chunks" in await keys(driver)


async def test_a_file_without_enough_of_the_base_is_uploaded(
    manager: AssetsManager, driver: Interposer, source: Path
) -> None:
    await manager.create_asset(source, "model")
    edit(source, lambda data: data[: len(data) // 8] + random.Random(2).randbytes(SIZE))
    pushed = await update(manager, source)
    assert pushed.copied == 0
    assert "compose" not in {method for method, _ in driver.calls}


async def test_without_the_optional_packages_files_are_uploaded(
    manager: AssetsManager, driver: Interposer, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aioassets.runtime.chunking.can_chunk", lambda: False)
    monkeypatch.setattr("aioassets.push.reuse.can_chunk", lambda: False)
    await manager.create_asset(source, "model")
    edit(source)
    pushed = await update(manager, source)
    assert pushed.copied == 0
    assert not [key for key in await keys(driver) if key.endswith(".chunks")]


async def damage(driver: Interposer) -> None:
    await driver.write(CHUNKS, b"{}", expected=Expect.ANYTHING)


async def lose(driver: Interposer) -> None:
    await driver.delete([CHUNKS])


async def deny(driver: Interposer) -> None:
    driver.hook = Fail("before", "read", CHUNKS, AccessDenied("read", "the object", "a test says so"), times=9)


@pytest.mark.parametrize("fault", [damage, lose, deny])
async def test_a_base_whose_list_cannot_be_used_costs_time_only(
    manager: AssetsManager,
    driver: Interposer,
    source: Path,
    make_manager: ManagerFactory,
    tmp_path: Path,
    fault: Callable[[Interposer], object],
) -> None:
    await manager.create_asset(source, "model")
    await manager.fetch_asset("model")
    await fault(driver)  # type: ignore[misc]
    edit(source)
    pushed = await update(manager, source)
    assert pushed.copied == 0
    fetched = await manager.fetch_asset("model")
    assert fetched.reused == len(b"small")
    await check(make_manager, driver, source, tmp_path / "other")


async def test_a_list_that_lies_costs_time_only(
    manager: AssetsManager, driver: Interposer, source: Path, make_manager: ManagerFactory, tmp_path: Path
) -> None:
    """It attributes the digests of the new file to other bytes of the base."""
    edit(source)
    await manager.create_asset(source, "model")
    new = await table_of(driver, "0.0")
    assert new is not None
    edit(source, lambda data: random.Random(3).randbytes(len(data)))
    await manager.create_asset(source, "lie")
    lie = ChunkTable(
        {
            "large": ChunkList(
                [chunk.length for chunk in new.files["large"]], b"".join(chunk.digest for chunk in new.files["large"])
            )
        }
    ).to_json()
    await driver.write("assets/lie/0.0.chunks", lie, expected=Expect.ANYTHING)
    meta = await driver.read("assets/lie/0.0.meta")
    content = (await store_of(driver).read_meta("lie", "0.0")).content
    recorded = getattr(content, "chunks_digest", "").encode()
    lying = meta.data.replace(recorded, document_digest(lie).encode())
    await driver.write("assets/lie/0.0.meta", lying, expected=Expect.ANYTHING)
    await manager.fetch_asset("lie")

    (source / "large").write_bytes((await manager.fetch_asset("model")).path.joinpath("large").read_bytes() + b"more")
    events: list[Event] = []
    pushed = await manager.update_asset(source, "lie", progress=events.append)
    assert "compose" in {method for method, _ in driver.calls}
    assert (pushed.uploaded, pushed.copied) == (pushed.size, 0)
    assert sum(event.nbytes for event in events if isinstance(event, BytesTransferred)) == pushed.size
    fetched = await manager.fetch_asset("lie")
    assert contents(fetched.path) == contents(source)
    assert fetched.reused == len(b"small")
    assert fetched.verified


async def cut(base: Path) -> None:
    base.chmod(0o644)
    base.write_bytes(base.read_bytes()[:-MIB])


async def overwritten(base: Path) -> None:
    base.chmod(0o644)
    base.write_bytes(bytes(SIZE))


async def evicted(base: Path) -> None:
    base.unlink()


@pytest.mark.parametrize("fault", [cut, overwritten, evicted])
async def test_a_cached_file_that_cannot_be_used_costs_time_only(
    manager: AssetsManager, source: Path, fault: Callable[[Path], object]
) -> None:
    await manager.create_asset(source, "model")
    base: FetchedAsset = await manager.fetch_asset("model")
    await fault(base.path / "large")  # type: ignore[misc]
    edit(source)
    await update(manager, source)
    fetched = await manager.fetch_asset("model")
    assert contents(fetched.path) == contents(source)
    assert fetched.verified


async def test_a_limit_may_evict_the_version_that_a_file_is_assembled_from(
    manager: AssetsManager,
    driver: Interposer,
    source: Path,
    make_manager: ManagerFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is assembled before the eviction."""
    monkeypatch.setattr("aioassets.fetch.eviction.RECENT", -1.0)
    await manager.create_asset(source, "model")
    base = (await manager.fetch_asset("model")).path
    edit(source)
    await update(manager, source)
    fetched = await make_manager(driver, cache_limit=SIZE + 20_000).fetch_asset("model")
    assert fetched.downloaded < CHANGED
    assert not base.exists()
    assert contents(fetched.path) == contents(source)


async def test_a_version_of_which_only_small_files_are_cached_is_no_base(manager: AssetsManager, source: Path) -> None:
    await manager.create_asset(source, "model")
    await manager.fetch_asset("model")
    for spec in ("model[small]", "model"):
        edit(source, insert)
        await update(manager, source)
        fetched = await manager.fetch_asset(spec)
    assert fetched.downloaded < CHANGED
    assert contents(fetched.path) == contents(source)


async def test_a_file_without_a_digest_is_not_assembled(
    manager: AssetsManager, driver: Interposer, source: Path
) -> None:
    """Nothing would tell that the cached file is damaged."""
    await manager.create_asset(source, "model")
    base = (await manager.fetch_asset("model")).path
    await overwritten(base / "large")
    edit(source)
    await update(manager, source)
    meta = await driver.read("assets/model/0.1.meta")
    fields = json.loads(meta.data)
    fields.pop("content_digest")
    for entry in fields["files"]:
        entry["digests"] = {}
    await driver.write("assets/model/0.1.meta", json.dumps(fields).encode(), expected=meta.revision)
    fetched = await manager.fetch_asset("model")
    assert contents(fetched.path) == contents(source)


@pytest.mark.parametrize("is_lost", [False, True])
async def test_a_composition_that_is_refused_is_an_upload(
    manager: AssetsManager,
    driver: Interposer,
    source: Path,
    make_manager: ManagerFactory,
    tmp_path: Path,
    is_lost: bool,
) -> None:
    """Also if the object in the base was replaced."""
    await manager.create_asset(source, "model")
    if is_lost:
        await driver.upload("assets/model/0.0/large", BytesSource(bytes(SIZE)), expected=Expect.ANYTHING)
    else:
        driver.hook = Fail("before", "compose", "0.1/large", CannotCompose("large"))
    edit(source)
    pushed = await update(manager, source)
    assert (pushed.uploaded, pushed.copied) == (pushed.size, 0)
    await check(make_manager, driver, source, tmp_path / "other")


async def test_a_store_that_refuses_to_compose_is_not_asked_again(
    manager: AssetsManager, driver: Interposer, source: Path
) -> None:
    await manager.create_asset(source, "model")
    edit(source)
    reuse = (await manager.plan_update(source, "model")).reuse
    assert reuse is not None
    refused = CannotCompose("large")
    for cause, is_lasting in ((None, False), (ObjectNotFound("large"), False), (StoreError("not implemented"), True)):
        refused.__cause__ = cause
        reuse.note_not_composed(refused)
        assert (await reuse.runs(0) == ()) is is_lasting


async def deleted(manager: AssetsManager) -> None:
    await manager.delete_version("model", "0.0")


async def yanked(manager: AssetsManager) -> None:
    await manager.yank_version("model", "0.0", "a test says so")


@pytest.mark.parametrize("moment", [("read", CHUNKS), ("compose", "0.1/large"), ("upload", "0.1.chunks")])
@pytest.mark.parametrize("withdraw", [deleted, yanked])
async def test_a_base_that_is_withdrawn_meanwhile_costs_time_at_most(
    manager: AssetsManager,
    driver: Interposer,
    source: Path,
    make_manager: ManagerFactory,
    tmp_path: Path,
    moment: tuple[str, str],
    withdraw: Callable[[AssetsManager], Awaitable[None]],
) -> None:
    await manager.create_asset(source, "model")
    edit(source)
    other = make_manager(driver.driver)
    driver.hook = Pause("before", *moment, wait=lambda: withdraw(other))
    pushed = await update(manager, source)
    assert pushed.version == "0.1"
    assert (pushed.copied > 0) == (withdraw is yanked or moment[0] == "upload")
    await check(make_manager, driver, source, tmp_path / "other")


async def test_no_list_is_written_under_a_key_that_is_too_long(
    manager: AssetsManager, driver: Interposer, source: Path
) -> None:
    """The key of the `.meta` is two bytes shorter."""
    name = f"{'n' * 251}/" * 3
    name += "n" * (1024 - len(f"assets/{name}/0.0.meta"))
    await manager.create_asset(source / "large", name)
    stored = await keys(driver)
    assert (f"assets/{name}/0.0.meta" in stored, max(map(len, stored))) == (True, 1024)
    assert (await manager.fetch_asset(name)).verified


async def test_a_file_that_changes_after_it_was_divided_is_an_error(
    manager: AssetsManager, driver: Interposer, source: Path
) -> None:
    await manager.create_asset(source, "model")
    edit(source)
    plan = await manager.plan_update(source, "model")
    edit(source, lambda data: data[::-1])
    with pytest.raises(SourceChanged):
        await manager.push(plan)
    assert not [key for key in await keys(driver) if "/0.1/" in key or "0.1.chunks" in key]
    assert await state_of(driver) is ClaimState.RELEASED


async def test_a_push_whose_list_got_no_answer_is_continued(
    manager: AssetsManager, driver: Interposer, source: Path
) -> None:
    """Under the same number, because its list is the same."""
    await manager.create_asset(source, "model")
    edit(source)
    driver.hook = Fail("after", "upload", ".chunks")
    with pytest.raises(StoreUnavailable):
        await update(manager, source)
    assert await manager.list_versions("model") == ["0.0"]
    assert (await update(manager, source)).version == "0.1"
    assert await table_of(driver, "0.1") is not None


async def test_a_push_whose_list_was_refused_leaves_nothing(
    manager: AssetsManager, driver: Interposer, source: Path
) -> None:
    driver.hook = Fail("before", "upload", ".chunks", failure())
    with pytest.raises(StoreError):
        await manager.create_asset(source, "model")
    assert await keys(driver) == ["assets/model/0.0.meta"]
    assert await state_of(driver, version="0.0") is ClaimState.RELEASED


async def test_a_foreign_list_costs_the_number(manager: AssetsManager, driver: Interposer, source: Path) -> None:
    await driver.upload(CHUNKS, BytesSource(b"foreign"))
    assert (await manager.create_asset(source, "model")).version == "0.1"
    assert (await driver.read(CHUNKS)).data == b"foreign"


async def test_a_push_cancelled_at_any_step_leaves_nothing(
    memory: MemoryDriver, make_manager: ManagerFactory, source: Path
) -> None:
    manager = make_manager(memory)
    await manager.create_asset(source, "model")
    edit(source)

    async def end_at(nth: int) -> Ended:
        ended = await ended_at(nth, lambda: update(make_manager(memory), source))
        assert ended.left == []
        if ended.cancelled:
            listed = await manager.list_versions("model")
            left = [key for key in await keys(memory) if "/0." in key and not key.endswith(".meta")]
            assert {key.split("/")[2].removesuffix(".chunks") for key in left} == set(listed)
        return ended

    await at_each_step(end_at)


async def test_a_fetch_cancelled_at_any_step_leaves_nothing(
    memory: MemoryDriver, make_manager: ManagerFactory, source: Path, tmp_path: Path
) -> None:
    manager = make_manager(memory)
    await manager.create_asset(source, "model")
    base = await manager.fetch_asset("model")
    before = contents(base.path)
    edit(source)
    await update(manager, source)

    async def end_at(nth: int) -> Ended:
        ended = await ended_at(nth, lambda: make_manager(memory).fetch_asset("model"))
        assert ended.left == []
        assert not list((tmp_path / "cache").rglob("*.staging-*"))
        assert contents(base.path) == before
        return ended

    await at_each_step(end_at)
    fetched = await manager.fetch_asset("model")
    assert contents(fetched.path) == contents(source)
