"""Concurrent calls of one manager in a long-lived service, and its shutdown."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import anyio
import pytest
from tools.factories import Files, ManagerFactory, driver_at
from tools.inspection import store_of
from tools.interposer import Fail, Interposer, Pause

from aioassets import (
    AccessDenied,
    Budget,
    Dispatcher,
    Driver,
    ManagerStateError,
    MemoryDriver,
    PublicationUncertain,
)
from aioassets.drivers.protocol import Data, Expect, Source, Uploaded
from aioassets.model.claim import Claim, ClaimState
from aioassets.runtime.effects import Effects

pytestmark = pytest.mark.once

INDEX = ".versions"
META = ".meta"
SIZE = 10_000


def writes(driver: Interposer, ending: str) -> int:
    """Count the attempted writes of keys with this ending."""
    return sum(method == "write" and key.endswith(ending) for method, key in driver.calls)


def refusal() -> AccessDenied:
    return AccessDenied("memory://store", "write", "a test says so.")


class Listing:
    """Hook that blocks the first write of an index, and signals when enough versions are sealed."""

    def __init__(self, sealed: int) -> None:
        self._writes_left = 2 * sealed
        self._sealed = anyio.Event()
        self.pause = Pause("before", "write", INDEX)

    async def __call__(self, moment: str, method: str, key: str) -> None:
        if (moment, method) == ("after", "write") and key.endswith(META):
            self._writes_left -= 1
            if self._writes_left == 0:
                self._sealed.set()
        await self.pause(moment, method, key)

    async def all_others_wait(self) -> None:
        await self._sealed.wait()
        await anyio.wait_all_tasks_blocked()


class TestPushes:
    async def test_they_never_try_to_claim_the_same_number(
        self, driver: Driver, make_manager: ManagerFactory, files: Files
    ) -> None:
        """Each push needs only two writes of its own: the claim and the manifest."""
        interposer = Interposer(driver)
        manager = make_manager(interposer)
        await manager.create_asset(files("0"), "model")
        interposer.calls.clear()
        await asyncio.gather(*(manager.update_asset(files(str(n)), "model") for n in range(1, 31)))
        assert await manager.list_versions("model") == [f"0.{n}" for n in range(30, -1, -1)]
        assert writes(interposer, META) == 60

    async def test_a_number_that_one_gives_up_goes_to_the_next(
        self, memory: MemoryDriver, make_manager: ManagerFactory, files: Files
    ) -> None:
        interposer = Interposer(memory)
        manager = make_manager(interposer)
        await manager.create_asset(files("0"), "model")
        interposer.hook = Fail("before", "upload", "", refusal())
        with pytest.raises(AccessDenied):
            await manager.update_asset(files("1"), "model")
        assert (await manager.update_asset(files("2"), "model")).version == "0.1"

    async def test_versions_that_gather_are_listed_together(
        self, memory: MemoryDriver, make_manager: ManagerFactory, files: Files
    ) -> None:
        """One more write lists all versions that gathered during a write."""
        interposer = Interposer(memory)
        manager = make_manager(interposer)
        await manager.create_asset(files("0"), "model")
        interposer.calls.clear()
        interposer.hook = hook = Listing(10)
        async with asyncio.TaskGroup() as tasks:
            for number in range(1, 11):
                tasks.create_task(manager.update_asset(files(str(number)), "model"))
            await hook.all_others_wait()
            hook.pause.go_on.set()
        assert await manager.list_versions("model") == [f"0.{n}" for n in range(10, -1, -1)]
        assert writes(interposer, INDEX) == 2

    async def test_a_listing_that_fails_fails_all_pushes_of_its_batch(
        self, memory: MemoryDriver, make_manager: ManagerFactory, files: Files
    ) -> None:
        """A later push lists their versions."""
        interposer = Interposer(memory)
        manager = make_manager(interposer)
        await manager.create_asset(files("0"), "model")
        interposer.calls.clear()
        interposer.hook = hook = Listing(10)
        pushes = [asyncio.create_task(manager.update_asset(files(str(n)), "model")) for n in range(1, 11)]
        await hook.all_others_wait()
        interposer.hook = Fail("before", "write", INDEX, refusal())
        hook.pause.go_on.set()
        outcomes = await asyncio.gather(*pushes, return_exceptions=True)
        published = [outcome for outcome in outcomes if not isinstance(outcome, PublicationUncertain)]
        assert 0 < len(published) < 10
        assert writes(interposer, INDEX) == 2
        assert len(await manager.list_versions("model")) == 1 + len(published)
        await manager.update_asset(files("11"), "model")
        assert await manager.list_versions("model") == [f"0.{n}" for n in range(11, -1, -1)]

    async def test_a_listing_that_is_cut_off_is_left_to_the_next(
        self, memory: MemoryDriver, make_manager: ManagerFactory, files: Files
    ) -> None:
        interposer = Interposer(memory)
        manager = make_manager(interposer, cleanup_timeout=0.01)
        await manager.create_asset(files("0"), "model")
        interposer.hook = hook = Listing(1)
        push = asyncio.create_task(manager.update_asset(files("1"), "model"))
        await hook.pause.reached.wait()
        push.cancel()
        await asyncio.wait([push])
        assert await manager.list_versions("model") == ["0.0"]
        await manager.update_asset(files("2"), "model", bump_major=True)  # another number than 0.1
        assert await manager.list_versions("model") == ["1.0", "0.1", "0.0"]


class CountedSource:
    """Source that counts concurrent reads, and blocks them until there are enough."""

    path = None

    def __init__(self, source: Source, readers: Readers) -> None:
        self._source = source
        self._readers = readers
        self.size = source.size

    @property
    def digests(self) -> Mapping[str, str]:
        return self._source.digests

    async def read(self, offset: int, size: int) -> Data:
        async with self._readers.counted():
            return await self._source.read(offset, size)

    async def copy_to(self, descriptor: int, offset: int, size: int) -> bool:
        return False


class Readers(Interposer):
    """Driver that counts uploads that read their sources at once, and blocks them until the test releases them."""

    def __init__(self, driver: Driver, enough: int) -> None:
        super().__init__(driver)
        self._enough = enough
        self._now = 0
        self.most = 0
        self.enough_read = anyio.Event()
        self.go_on = anyio.Event()

    async def upload(
        self,
        key: str,
        source: Source,
        *,
        expected: Expect = Expect.ABSENT,
        resume: bool = False,
        effects: Effects | None = None,
    ) -> Uploaded:
        return await self.driver.upload(
            key, CountedSource(source, self), expected=expected, resume=resume, effects=effects
        )

    @contextlib.asynccontextmanager
    async def counted(self) -> AsyncIterator[None]:
        self._now += 1
        self.most = max(self.most, self._now)
        if self._now >= self._enough:
            self.enough_read.set()
        await self.go_on.wait()
        try:
            yield
        finally:
            self._now -= 1


@pytest.mark.parametrize(("limits", "uploads"), [((8, 100 * SIZE), 8), ((64, 5 * SIZE), 5)], ids=["requests", "bytes"])
async def test_many_pushes_hold_no_more_than_the_budget_allows(
    place: dict[str, Any], make_manager: ManagerFactory, tmp_path: Path, limits: tuple[int, int], uploads: int
) -> None:
    """Sources are read within the budget, so memory is bounded too."""
    sources = [tmp_path / str(number) for number in range(51)]
    for number, source in enumerate(sources):
        source.write_bytes(f"{number:02d}".encode() * (SIZE // 2))
    async with contextlib.aclosing(driver_at(place, Dispatcher(Budget(*limits)))) as driver:
        await make_manager(driver).create_asset(sources.pop(), "model")
        readers = Readers(driver, uploads)
        manager = make_manager(readers)
        async with asyncio.TaskGroup() as tasks:
            for source in sources:
                tasks.create_task(manager.update_asset(source, "model"))
            await readers.enough_read.wait()
            await anyio.wait_all_tasks_blocked()
            readers.go_on.set()
        assert readers.most == uploads
        assert len(await manager.list_versions("model")) == 51


async def test_a_thousand_fetches_of_what_is_cached_ask_the_store_nothing(
    memory: MemoryDriver, make_manager: ManagerFactory, tree: Path
) -> None:
    interposer = Interposer(memory)
    manager = make_manager(interposer)
    await manager.create_asset(tree, "model")
    first = await manager.fetch_asset("model")
    interposer.calls.clear()
    fetched = await asyncio.gather(*(manager.fetch_asset("model:0.0") for _ in range(1000)))
    assert {(each.path, each.from_cache) for each in fetched} == {(first.path, True)}
    assert interposer.calls == []


async def test_a_thousand_fetches_of_an_uncached_version_download_once(
    memory: MemoryDriver, make_manager: ManagerFactory, tree: Path
) -> None:
    pause = Pause("before", "read_range", "w.bin")
    interposer = Interposer(memory, pause)
    manager = make_manager(interposer)
    await manager.create_asset(tree, "model")
    async with asyncio.TaskGroup() as tasks:
        fetches = [tasks.create_task(manager.fetch_asset("model")) for _ in range(1000)]
        await pause.reached.wait()
        await anyio.wait_all_tasks_blocked()
        pause.go_on.set()
    assert [fetch.result().from_cache for fetch in fetches].count(False) == 1
    downloads = [key for method, key in interposer.calls if method == "read_range"]
    assert len(downloads) == len(set(downloads))


class TestClosing:
    async def test_it_waits_for_calls_under_way(
        self, memory: MemoryDriver, make_manager: ManagerFactory, files: Files
    ) -> None:
        """New calls are refused."""
        pause = Pause("after", "read", INDEX)
        interposer = Interposer(memory)
        manager = make_manager(interposer)
        await manager.create_asset(files("0"), "model")
        interposer.hook = pause
        push = asyncio.create_task(manager.update_asset(files("1"), "model"))
        await pause.reached.wait()
        closing = asyncio.create_task(manager.aclose())
        await anyio.wait_all_tasks_blocked()
        assert not closing.done()
        with pytest.raises(ManagerStateError, match="closed"):
            await manager.list_versions("model")
        pause.go_on.set()
        await closing
        assert (await push).version == "0.1"

    async def test_it_waits_for_the_cleanup_of_a_cancelled_push(
        self, memory: MemoryDriver, make_manager: ManagerFactory, files: Files
    ) -> None:
        """The cleanup needs the connections."""
        pause = Pause("after", "upload", "")
        interposer = Interposer(memory)
        manager = make_manager(interposer)
        await manager.create_asset(files("0"), "model")
        interposer.hook = pause
        push = asyncio.create_task(manager.update_asset(files("1"), "model"))
        await pause.reached.wait()
        push.cancel()
        closing = asyncio.create_task(manager.aclose())
        await anyio.wait_all_tasks_blocked()
        assert not closing.done()
        pause.go_on.set()
        await closing
        claim = (await store_of(memory).read_meta("model", "0.1")).content
        assert isinstance(claim, Claim)
        assert claim.state is ClaimState.RELEASED
        await asyncio.wait([push])
        assert push.cancelled()

    async def test_a_call_can_be_cancelled_instead_of_waited_for(
        self, memory: MemoryDriver, make_manager: ManagerFactory, files: Files
    ) -> None:
        pause = Pause("after", "upload", "")
        interposer = Interposer(memory, pause)
        manager = make_manager(interposer)
        push = asyncio.create_task(manager.create_asset(files("0"), "model"))
        await pause.reached.wait()
        with anyio.move_on_after(0) as scope:
            await manager.aclose()
        assert scope.cancelled_caught
        pause.go_on.set()
        assert (await push).version == "0.0"
