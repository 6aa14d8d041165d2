"""Requests of each call: those in sequence, each of which costs a round trip, and their total.

The weekly probe of a store isn't counted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
from tools.claims import state_of
from tools.factories import Files, ManagerFactory
from tools.inspection import keys
from tools.interposer import Interposer, Pause
from tools.rounds import Rounds

from aioassets import AssetExists, AssetNotFound, AssetsManager, MemoryDriver, RetryPolicy
from aioassets.drivers.protocol import Expect
from aioassets.model.claim import ClaimState
from aioassets.model.keys import Layout
from aioassets.model.versioning import MajorMinor
from aioassets.push.base import MIN_COPIED
from aioassets.push.context import Lister
from aioassets.push.pushes import ASSETS_AT_ONCE
from aioassets.runtime.budget import MAX_REQUESTS
from aioassets.runtime.chunking import dividing_from
from aioassets.store.documents import AssetStore

INDEX = ".versions"
MODEL = "assets/model.versions"
Operation = Callable[[AssetsManager, Path], Awaitable[Any]]


@pytest.fixture
def driver(memory: MemoryDriver) -> Interposer:
    return Interposer(memory)


@pytest.fixture
async def manager(driver: Interposer, make_manager: ManagerFactory, files: Files) -> AssetsManager:
    """Return a manager that has probed its store."""
    manager = make_manager(driver)
    await manager.create_asset(files("0"), "warm-up")
    return manager


async def rounds_of(driver: Interposer, call: Callable[[], Awaitable[Any]]) -> list[int]:
    """Return the number of concurrent requests in each round."""
    driver.calls.clear()
    driver.hook = rounds = Rounds()
    await rounds.count(call)
    assert len(driver.calls) == sum(rounds.sizes)
    return rounds.sizes


async def create(manager: AssetsManager, source: Path) -> object:
    return await manager.create_asset(source, "model")


async def update(manager: AssetsManager, source: Path) -> object:
    return await manager.update_asset(source, "model")


async def bump_major(manager: AssetsManager, source: Path) -> object:
    return await manager.update_asset(source, "model", bump_major=True)


async def plan_and_push(manager: AssetsManager, source: Path) -> object:
    return await manager.push(await manager.plan_update(source, "model"))


async def update_many(manager: AssetsManager, source: Path) -> object:
    return await manager.update_assets({"model": source, "a": source, "b": source}, create_missing=True)


async def fetch_latest(manager: AssetsManager, source: Path) -> object:
    return await manager.fetch_asset("model")


async def copy_latest(manager: AssetsManager, source: Path) -> object:
    return await manager.copy_version("model", manager, name="copy")


async def copy_pinned(manager: AssetsManager, source: Path) -> object:
    return await manager.copy_version("model:0.0", manager, name="copy")


async def lock(manager: AssetsManager, source: Path) -> object:
    return await manager.lock_assets(["model", "model:0.0", "warm-up"])


async def lock_and_sync(manager: AssetsManager, source: Path) -> object:
    return await manager.sync_assets(await manager.lock_assets(["model", "warm-up"]))


async def fetch_many(manager: AssetsManager, source: Path) -> object:
    return await manager.fetch_assets(["model", "model:0.0", "warm-up"])


async def fetch_pinned(manager: AssetsManager, source: Path) -> object:
    return await manager.fetch_asset("model:0.0")


@pytest.mark.parametrize(
    ("before", "operation", "sizes"),
    [
        ([], create, [1, 1, 2, 1, 1]),  # index; claim; content and index; manifest; index
        ([create], update, [1, 1, 1, 1, 1]),  # index; claim; content; manifest; index
        ([create], bump_major, [1, 1, 1, 1, 1]),
        ([create], plan_and_push, [1, 1, 1, 1, 1]),
        ([create], update_many, [3, 3, 5, 3, 3]),
        ([create], fetch_latest, [1, 1, 1]),  # index; manifest; content
        ([create], fetch_pinned, [1, 1]),
        ([create], lock, [3, 2]),  # two indexes and a manifest; two manifests
        ([create], lock_and_sync, [2, 2, 2, 2]),  # indexes; manifests; again manifests; contents
        ([create], copy_latest, [1, 1, 2, 1, 1, 1, 1]),  # index; manifest; …
        ([create], copy_pinned, [1, 2, 1, 1, 1, 1]),  # manifest; object and index; claim; content; manifest; index
        ([create, copy_pinned], copy_pinned, [1, 2, 1]),  # manifest; object and index; manifest
        ([create, fetch_latest], fetch_many, [2, 1, 1]),  # indexes; the manifest and content of `warm-up`
        ([create, fetch_latest], fetch_latest, [1]),
        ([create, fetch_latest], fetch_pinned, []),
    ],
)
async def test_a_small_file(
    driver: Interposer,
    manager: AssetsManager,
    files: Files,
    before: list[Operation],
    operation: Operation,
    sizes: list[int],
) -> None:
    for each in before:
        await each(manager, files("a"))
    assert await rounds_of(driver, lambda: operation(manager, files("b"))) == sizes


@pytest.mark.parametrize(
    ("before", "operation", "sizes"),
    [
        ([], create, [1, 1, 8, 1, 1]),
        ([create], update, [1, 1, 7, 1, 1]),
        ([create], fetch_latest, [1, 1, 6]),  # one of the files is empty
        ([create], fetch_pinned, [1, 6]),
        ([create, fetch_latest], fetch_latest, [1]),
        ([create, fetch_latest], fetch_pinned, []),
        ([create], copy_pinned, [1, 2, 1, 7, 1, 1]),
    ],
)
async def test_files_add_no_round_trips(
    driver: Interposer,
    manager: AssetsManager,
    tree: Path,
    before: list[Operation],
    operation: Operation,
    sizes: list[int],
) -> None:
    """Each file takes one request, and the requests run in parallel."""
    for each in before:
        await each(manager, tree)
    assert await rounds_of(driver, lambda: operation(manager, tree)) == sizes


async def update_from_alias(manager: AssetsManager, source: Path) -> object:
    return await manager.update_asset(source, "model", base="model@prod")


async def update_without_base(manager: AssetsManager, source: Path) -> object:
    return await manager.update_asset(source, "model", base=None)


async def create_from_base(manager: AssetsManager, source: Path) -> object:
    return await manager.create_asset(source, "other", base="model:0.0")


async def set_alias(manager: AssetsManager, source: Path) -> object:
    return await manager.set_alias("model", "prod", "0.0")


@pytest.mark.parametrize(
    ("before", "operation", "sizes"),
    [
        ([create], update, [1, 2, 1, 1, 1]),  # index; claim and base; copy; manifest; index
        ([create], update_without_base, [1, 1, 1, 1, 1]),
        ([create], update_many, [3, 4, 5, 3, 3]),
        ([create], create_from_base, [2, 1, 2, 1, 1]),  # index and base; claim; copy and index; …
        ([create, set_alias], update_from_alias, [2, 1, 1, 1, 1, 1]),  # index and aliases; base; claim; …
        ([create], plan_and_push, [1, 1, 1, 1, 1, 1]),  # index; base, for the forecast; claim; …
    ],
)
async def test_a_base_is_read_along_with_other_documents(
    driver: Interposer,
    manager: AssetsManager,
    tmp_path: Path,
    before: list[Operation],
    operation: Operation,
    sizes: list[int],
) -> None:
    source = tmp_path / "large"
    source.write_bytes(b"x" * MIN_COPIED)
    for each in before:
        await each(manager, source)
    assert await rounds_of(driver, lambda: operation(manager, source)) == sizes


async def test_the_first_bytes_of_a_file_take_few_round_trips(
    driver: Interposer, manager: AssetsManager, tmp_path: Path
) -> None:
    """A file that has chunks is verified by them; they are read at the same time as the first bytes."""

    async def read(spec: str) -> None:
        async with manager.open(spec) as file:
            await file.read(100)

    async def rounds(spec: str) -> list[int]:
        return await rounds_of(driver, lambda: read(spec))

    (tmp_path / "tree").mkdir()
    for path, size in {"small": 100, "large": 3 * 1024 * 1024}.items():
        (tmp_path / "tree" / path).write_bytes(b"x" * size)
    with dividing_from(2 * 1024 * 1024):
        for number in range(2):
            await create(manager, tmp_path / "tree") if number == 0 else await update(manager, tmp_path / "tree")
        assert await rounds("model:0.0[small]") == [1, 1]  # manifest; content
        assert await rounds("model:0.0[small]") == [1]  # the manager knows the manifest
        assert await rounds("model[small]") == [1, 1, 1]  # index; manifest; content
        assert await rounds("model:0.0[large]") == [2]  # chunks and range
        assert await rounds("model:0.0[large]") == [1]
        assert await rounds("model[large]") == [1, 1, 2]
        assert await rounds_of(driver, lambda: manager.list_files("model:0.0")) == []
        assert await rounds_of(driver, lambda: manager.list_files("model")) == [1, 1]


async def test_aliases_are_moved_in_few_round_trips(driver: Interposer, manager: AssetsManager, files: Files) -> None:
    async def rounds(call: Callable[[], Awaitable[Any]]) -> list[int]:
        return await rounds_of(driver, call)

    await create(manager, files("a"))
    await update(manager, files("b"))
    # target and aliases; swap; target
    assert await rounds(lambda: manager.set_alias("model", "prod", "0.0", expect=None)) == [2, 1, 1]
    assert await rounds(lambda: manager.set_alias("model", "prod", "0.1")) == [2, 1, 1]
    assert await rounds(lambda: manager.set_alias("model", "prod", "0.1")) == [2, 1]
    assert await rounds(lambda: manager.rollback_alias("model", "prod")) == [1, 1, 1, 1]
    assert await rounds(lambda: manager.list_aliases("model")) == [1]
    assert await rounds(lambda: manager.alias_history("model", "prod")) == [1]
    assert await rounds(lambda: manager.remove_alias("model", "prod")) == [1, 1]


async def test_max_requests_limits_the_requests_in_flight(
    driver: Interposer, make_manager: ManagerFactory, tmp_path: Path
) -> None:
    many = 2 * MAX_REQUESTS
    (tmp_path / "many").mkdir()
    for number in range(many):
        (tmp_path / "many" / f"{number}").write_text("content")
    manager = make_manager(driver, max_requests=many)
    await manager.create_asset(tmp_path / "many", "warm-up")
    assert await rounds_of(driver, lambda: create(manager, tmp_path / "many")) == [1, 1, many + 1, 1, 1]
    assert await rounds_of(driver, lambda: manager.fetch_asset("model")) == [1, 1, many]
    assert await rounds_of(driver, lambda: manager.verify_asset("model:0.0")) == [1, many]


async def test_assets_add_no_round_trips(driver: Interposer, manager: AssetsManager, files: Files) -> None:
    """Assets are pushed and listed in parallel, in any folders."""
    names = [f"team{number % 5}/model{number}" for number in range(ASSETS_AT_ONCE)]
    many = len(names)
    push = lambda: manager.update_assets(dict.fromkeys(names, files("a")), create_missing=True)  # noqa: E731
    assert await rounds_of(driver, push) == [many, many, 2 * many, many, many]

    async def list_all() -> None:
        assert [asset.name async for asset in manager.list_assets("team")] == sorted(names)

    assert await rounds_of(driver, list_all) == [1, 5, many, many]  # the top level; teams; models; indexes


async def test_plan_clean_takes_no_more_round_trips_for_many_assets(
    driver: Interposer, manager: AssetsManager, files: Files
) -> None:
    """Folders are listed in parallel."""
    names = [f"team{number % 5}/model{number}" for number in range(20)]
    await manager.update_assets(dict.fromkeys(names, files("a")), create_missing=True)
    sizes = await rounds_of(driver, manager.plan_clean)
    assert sizes[:4] == [1, 1, 6, 20]  # open uploads; the top level; teams and `warm-up`; models


async def test_a_create_with_dates_checks_for_other_versions(
    driver: Interposer, make_manager: ManagerFactory, files: Files
) -> None:
    """Two creations have different dates, so their claims don't conflict."""
    manager = make_manager(driver, versioning="simple_date")
    await manager.create_asset(files("0"), "warm-up")
    assert await rounds_of(driver, lambda: create(manager, files("a"))) == [1, 1, 2, 1, 1, 1]


async def test_a_missing_or_existing_asset_is_reported_after_one_request(
    driver: Interposer, manager: AssetsManager, files: Files
) -> None:
    with pytest.raises(AssetExists):
        await rounds_of(driver, lambda: manager.create_asset(files("a"), "warm-up"))
    assert driver.calls == [("read", "assets/warm-up.versions")]


class TestAPlan:
    """A push reuses the index of its plan if the plan is recent."""

    @pytest.mark.parametrize(("seconds", "requests"), [(60, 4), (61, 5)])
    async def test_an_old_plan_is_not_reused(
        self, driver: Interposer, make_manager: ManagerFactory, files: Files, seconds: float, requests: int
    ) -> None:
        """`clean` may since have removed the traces of a used number."""
        now = [0.0]
        manager = make_manager(driver, retry=RetryPolicy(clock=lambda: now[0]))
        await manager.create_asset(files("a"), "model")
        now[0] += 100
        plan = await manager.plan_update(files("b"), "model")
        now[0] += seconds
        assert len(await rounds_of(driver, lambda: manager.push(plan))) == requests

    async def test_a_push_that_other_managers_overtook_gets_a_later_number(
        self, memory: MemoryDriver, manager: AssetsManager, make_manager: ManagerFactory, files: Files
    ) -> None:
        """The versions that they listed stay listed."""
        await manager.create_asset(files("a"), "model")
        plan = await manager.plan_update(files("b"), "model")
        for content in "cd":
            await make_manager(memory).update_asset(files(content), "model")
        assert (await manager.push(plan)).version == "0.3"
        assert await manager.list_versions("model") == ["0.3", "0.2", "0.1", "0.0"]
        assert (await manager.fetch_asset("model:0.2")).path.read_text() == "d"

    async def test_a_push_that_the_same_manager_overtook_reads_the_index_again(
        self, driver: Interposer, manager: AssetsManager, files: Files
    ) -> None:
        """The manager knows that its other pushes took numbers, and doesn't try to claim one of them."""
        await manager.create_asset(files("a"), "model")
        plan = await manager.plan_update(files("b"), "model")
        await manager.update_asset(files("c"), "model")
        assert await rounds_of(driver, lambda: manager.push(plan)) == [1, 1, 1, 1, 1]

    async def test_a_plan_for_another_store_is_not_reused(
        self, manager: AssetsManager, make_manager: ManagerFactory, files: Files
    ) -> None:
        """The asset may not exist there."""
        await manager.create_asset(files("a"), "model")
        plan = await manager.plan_update(files("b"), "model")
        with pytest.raises(AssetNotFound):
            await make_manager(MemoryDriver()).push(plan)

    async def test_listed_versions_are_forgotten_after_a_while(self, memory: MemoryDriver) -> None:
        """A manager that lives long doesn't keep every index that it wrote."""
        now = [0.0]
        store = AssetStore(memory, Layout("assets"), lambda: now[0])
        lister = Lister(MajorMinor(), RetryPolicy())
        before = await store.read_index("a")
        for seconds, name in ((1, "a"), (30, "b"), (40, "a"), (40, "c")):
            now[0] += seconds
            await lister.add(store, name, {"0.0"})
        assert [name for name in ("a", "b", "c") if not lister.is_news(name, before)] == ["a", "c"]


async def test_an_index_that_changed_in_the_meantime_is_read_again(
    driver: Interposer, manager: AssetsManager, make_manager: ManagerFactory, files: Files
) -> None:
    """A refused swap costs no more than reading first."""
    await manager.create_asset(files("a"), "model")
    pause = driver.hook = Pause("after", "upload", "0.1")
    push = asyncio.create_task(manager.update_asset(files("b"), "model"))
    await pause.reached_by(push)
    await make_manager(driver.driver).update_asset(files("c"), "model")
    driver.calls.clear()
    pause.go_on.set()
    await push
    assert [method for method, key in driver.calls if key.endswith(INDEX)] == ["write", "read", "write"]
    assert await manager.list_versions("model") == ["0.2", "0.1", "0.0"]


async def test_a_create_that_finds_another_one_ends_its_uploads(
    driver: Interposer, manager: AssetsManager, tmp_path: Path
) -> None:
    """Its uploads in flight end, no more begin, and nothing is left."""
    for number in range(MAX_REQUESTS + 10):
        file = tmp_path / "many" / str(number)
        file.parent.mkdir(exist_ok=True)
        file.write_text("content")
    all_begun, go_on = anyio.Event(), anyio.Event()
    looks = uploads = 0

    async def hook(moment: str, method: str, key: str) -> None:
        nonlocal looks, uploads
        if (moment, method) == ("before", "upload"):
            uploads += 1
            if uploads == MAX_REQUESTS:
                all_begun.set()
            await go_on.wait()
        elif (moment, method) == ("before", "read") and key == MODEL:
            looks += 1
            if looks == 2:  # during the uploads
                await all_begun.wait()
                await driver.driver.write(MODEL, b'{"versions": ["0.1"]}', expected=Expect.ABSENT)

    driver.hook = hook
    push = asyncio.ensure_future(manager.create_asset(tmp_path / "many", "model"))
    await all_begun.wait()
    await anyio.wait_all_tasks_blocked()
    go_on.set()
    with pytest.raises(AssetExists):
        await push
    assert sum(method == "upload" and "/model/" in key for method, key in driver.calls) == MAX_REQUESTS
    assert [key for key in await keys(driver) if "/model/0.0/" in key] == []
    assert await state_of(driver, "0.0") is ClaimState.RELEASED
