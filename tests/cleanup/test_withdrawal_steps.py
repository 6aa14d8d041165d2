"""Withdrawals that end or are overtaken at each of their steps."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tools.factories import Files, ManagerFactory, driver_at
from tools.inspection import keys
from tools.interposer import Interposer
from tools.steps import at_each_step, by_native_cancellation, ended_at
from tools.withdrawals import check

from aioassets import AssetsManager, Conflict, Driver, MemoryDriver, NotFound, StoreUnavailable
from aioassets.model.index import Fence

pytestmark = pytest.mark.once

Operation = Callable[[AssetsManager], Awaitable[Any]]


async def fetch(manager: AssetsManager, spec: str) -> None:
    """Fetch a version, and check that it is complete."""
    fetched = await manager.fetch_asset(spec, force_download=True)
    assert fetched.path.read_text() == fetched.version


async def push(path: Path, manager: AssetsManager) -> None:
    await manager.update_asset(path, "model")


async def move_alias(manager: AssetsManager) -> None:
    await manager.set_alias("model", "prod", "0.1")


async def remove_alias(manager: AssetsManager) -> None:
    await manager.remove_alias("model", "prod")


async def clean(manager: AssetsManager) -> None:
    await manager.clean(await manager.plan_clean("model"))


class Steps(Interposer):
    """Driver that calls a function before its n-th request."""

    def __init__(self, driver: Driver, nth: int, act: Callable[[], Awaitable[object]]) -> None:
        super().__init__(driver, self._count)
        self.left = nth
        self._act = act

    async def _count(self, moment: str, method: str, key: str) -> None:
        if moment == "before":
            self.left -= 1
            if self.left == 0:
                await self._act()


class Dead(Steps):
    """Driver of a process that dies before its n-th request."""

    def __init__(self, driver: Driver, nth: int) -> None:
        super().__init__(driver, nth, self._die)

    async def _die(self) -> None:
        self.left = 1  # for all further requests
        raise StoreUnavailable("the store", "a test says so.", uncertain=False)


@pytest.fixture
def operations(files: Files) -> dict[str, Operation]:
    return {
        "yank": lambda manager: manager.yank_version("model", "0.1", "bad"),
        "unyank": lambda manager: manager.unyank_version("model", "0.1"),
        "delete": lambda manager: manager.delete_version("model", "0.1"),
        "move alias": move_alias,
        "remove alias": remove_alias,
        "push": partial(push, files("0.2")),
        "fetch": lambda manager: fetch(manager, "model"),
        "fetch exactly": lambda manager: fetch(manager, "model:0.1"),
        "clean": clean,
    }


NAMES = ["yank", "unyank", "delete", "move alias", "remove alias", "push", "fetch", "fetch exactly", "clean"]
WITHDRAWALS = ["yank", "unyank", "delete"]
BEFORE = {"listed": [], "yanked": ["yank"], "with an alias": ["move alias"]}


async def made(manager: AssetsManager, files: Files, operations: dict[str, Operation], before: list[str]) -> None:
    """Push the versions 0.0 and 0.1, and perform operations."""
    await manager.create_asset(files("0.0"), "model")
    await manager.update_asset(files("0.1"), "model")
    for operation in before:
        await operations[operation](manager)


async def attempt(work: Awaitable[Any]) -> bool:
    """Return whether an operation succeeds. It may fail because of the other one."""
    try:
        await work
    except (NotFound, Conflict):
        return False
    return True


@pytest.mark.parametrize("before", BEFORE)
@pytest.mark.parametrize(
    ("first", "second"),
    [(a, b) for a, b in itertools.product(NAMES, NAMES) if a in WITHDRAWALS or b in WITHDRAWALS],
)
async def test_two_operations_in_any_order(
    make_manager: ManagerFactory,
    files: Files,
    operations: dict[str, Operation],
    tmp_path: Path,
    first: str,
    second: str,
    before: str,
) -> None:
    """The second one runs between any two requests of the first one."""
    for nth in itertools.count(1):
        memory = MemoryDriver()
        caches = [tmp_path / f"{nth}-{number}" for number in range(2)]
        other = make_manager(memory, assets_dir=caches[0])
        await made(other, files, operations, BEFORE[before])

        async def overtake(other: AssetsManager = other) -> None:
            await asyncio.ensure_future(attempt(operations[second](other)))

        steps = Steps(memory, nth, overtake)
        done = await attempt(operations[first](make_manager(steps, assets_dir=caches[1])))
        fences = await check(memory)
        if first == "delete" and done:
            assert fences["0.1"] is Fence.DELETED
        if steps.left > 0:
            assert nth > 1
            return


@pytest.mark.parametrize("place", ["memory", "local"], indirect=True)
@pytest.mark.parametrize("before", ["listed", "yanked"])
@pytest.mark.parametrize("again", ["repeated", "cleaned"])
@pytest.mark.parametrize("operation", WITHDRAWALS)
async def test_a_process_that_dies_at_any_request(
    place: dict[str, Any],
    make_manager: ManagerFactory,
    files: Files,
    operations: dict[str, Operation],
    operation: str,
    again: str,
    before: str,
) -> None:
    """A repetition finishes what it began, and `clean` brings it to an end, too."""
    end = {"yank": Fence.YANKED, "unyank": None, "delete": Fence.DELETED}[operation]
    for nth in itertools.count(1):
        place["path"] = f"{place['path']}-{nth}"
        driver = driver_at(place)
        await made(make_manager(driver), files, operations, BEFORE[before])
        dead = Dead(driver, nth)
        try:
            await operations[operation](make_manager(dead))
        except StoreUnavailable:
            await check(driver, settled=False)
        else:
            assert dead.left > 0
            assert (await check(driver))["0.1"] is end
            return
        manager = make_manager(driver)
        if again == "repeated":
            await operations[operation](manager)
            assert (await check(driver))["0.1"] is end
        else:
            await clean(manager)
            fence = (await check(driver))["0.1"]
            began = Fence.YANKED if before == "yanked" else None
            assert fence in ((end, began, Fence.YANKED) if operation == "delete" else (end, began))
            assert (await manager.plan_clean("model")).leftovers == ()
        assert ("assets/model/0.1" in await keys(driver)) is ((await check(driver))["0.1"] is not Fence.DELETED)


@pytest.mark.once
@pytest.mark.parametrize("place", ["memory", "local"], indirect=True)
@pytest.mark.parametrize("operation", WITHDRAWALS)
async def test_a_cancellation_at_any_step(
    place: dict[str, Any], make_manager: ManagerFactory, files: Files, operations: dict[str, Operation], operation: str
) -> None:
    """Documents agree with each other, since a cancellation waits for them. A repetition finishes the rest."""
    ends = {"yank": Fence.YANKED, "unyank": None, "delete": Fence.DELETED}
    numbers = itertools.count()

    async def end_at(nth: int) -> Any:
        place["path"] = f"{place['path']}-{next(numbers)}"
        driver = driver_at(place)
        manager = make_manager(driver)
        await made(manager, files, operations, ["yank"] if operation == "unyank" else [])
        outcome = await ended_at(nth, lambda: operations[operation](manager), by_native_cancellation)
        assert outcome.left == []
        await check(driver)
        await operations[operation](manager)
        assert (await check(driver))["0.1"] is ends[operation]
        return outcome

    await at_each_step(end_at)
