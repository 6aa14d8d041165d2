"""Cancelled calls, and files that are closed early or never, leave neither requests nor memory taken."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Mapping

import pytest
from tools.interposer import Interposer, Pause
from tools.steps import Ended, at_each_step, ended_at

from aioassets import AssetFile, AssetsManager, Dispatcher, MemoryDriver, UsageError
from aioassets.read.ahead import Ahead, Allowance
from aioassets.read.pieces import Anywhere, Piece

pytestmark = pytest.mark.once

MIB = 1024 * 1024
Content = Mapping[str, bytes]


@pytest.fixture
def dispatcher() -> Dispatcher:
    return Dispatcher()


@pytest.fixture
def memory(dispatcher: Dispatcher) -> MemoryDriver:
    return MemoryDriver(dispatcher=dispatcher)


def allowance_of(manager: AssetsManager) -> Allowance:
    return manager._session.reads.allowance  # noqa: SLF001 - only tests ask for it


def is_idle(manager: AssetsManager, dispatcher: Dispatcher) -> bool:
    allowance = allowance_of(manager)
    return allowance.left == allowance.size and dispatcher.budget.requests_in_flight == 0


@pytest.mark.parametrize("path", ["large", "sub/plain"])
@pytest.mark.parametrize("cached", [False, True])
async def test_a_cancellation_at_each_step_leaves_nothing(
    manager: AssetsManager, dispatcher: Dispatcher, files: Content, path: str, cached: bool
) -> None:
    if cached:
        await manager.fetch_asset("model")

    async def read() -> None:
        async with manager.open(f"model:0.0[{path}]") as file:
            assert await file.read(10) == files[path][:10]
            assert await file.read() == files[path][10:]
            assert await file.read_ranges([(5, 7), (MIB, MIB + 3)]) == [files[path][5:7], files[path][MIB : MIB + 3]]

    async def end_at(nth: int) -> Ended:
        ended = await ended_at(nth, read)
        assert ended.left == []
        assert is_idle(manager, dispatcher)
        return ended

    await at_each_step(end_at)


async def test_a_file_goes_on_after_a_cancelled_read(
    manager: AssetsManager, driver: Interposer, files: Content
) -> None:
    async with manager.open("model[large]") as file:
        driver.hook = pause = Pause("before", "read_range", "large")
        reading = asyncio.ensure_future(file.read())
        await pause.reached.wait()
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        pause.go_on.set()
        assert await file.read() == files["large"]
        assert file.verified


async def test_closing_a_file_ends_its_requests(
    manager: AssetsManager, driver: Interposer, dispatcher: Dispatcher
) -> None:
    file = await manager.open("model[large]")
    driver.hook = pause = Pause("before", "read_range", "large")
    reading = asyncio.ensure_future(file.read())
    await pause.reached.wait()
    await file.aclose()
    with pytest.raises(UsageError, match="closed while it was being read"):
        await reading
    assert is_idle(manager, dispatcher)


async def test_a_file_that_is_never_closed_gives_back_its_memory(
    manager: AssetsManager, dispatcher: Dispatcher
) -> None:
    file: AssetFile | None = await manager.open("model[large]")
    assert file is not None
    await file.read(10)
    assert not is_idle(manager, dispatcher)
    del file
    gc.collect()
    assert is_idle(manager, dispatcher)


class Counting(Anywhere):
    """Content that records what is read."""

    def __init__(self) -> None:
        self.read: list[tuple[int, int]] = []

    async def piece(self, start: int, stop: int) -> Piece:
        self.read.append((start, stop))
        return Piece(start, bytes(stop - start), verified=True)

    async def aclose(self) -> None:
        """Do nothing."""


class TestReadingAhead:
    async def test_it_reads_ahead_as_much_as_was_read_before(self) -> None:
        content, allowance = Counting(), Allowance(32 * MIB)
        ahead = Ahead(content, 100 * MIB, 0, allowance, None)
        begun: list[int] = []
        for position in range(0, 8 * MIB, 256 * 1024):
            await ahead.piece(position, 10)
            begun.append(max(stop for _, stop in content.read) - position)
        assert begun[0] == 256 * 1024
        assert begun[4] >= MIB
        assert begun[-1] >= 8 * MIB
        assert max(stop - start for start, stop in content.read) <= 8 * MIB
        await ahead.aclose()
        assert allowance.left == allowance.size

    async def test_the_memory_of_all_files_is_limited(self) -> None:
        """A file without any left reads only what it is asked for."""
        allowance, most = Allowance(4 * MIB), 0
        content = [Counting() for _ in range(8)]
        readers = [Ahead(each, 100 * MIB, 0, allowance, None) for each in content]
        for position in range(0, 10 * MIB, MIB):
            for reader in readers:
                await reader.piece(position, MIB)
                most = max(most, allowance.size - allowance.left)
        assert most <= 4 * MIB
        assert all(max(stop for _, stop in each.read) >= 10 * MIB for each in content)
        for reader in readers:
            await reader.aclose()
        assert allowance.left == allowance.size

    async def test_all_of_a_file_is_read_in_parallel(self) -> None:
        content = Counting()
        ahead = Ahead(content, 100 * MIB, 0, Allowance(32 * MIB), None)
        await ahead.piece(0, 100 * MIB)
        assert content.read == [(start * MIB, (start + 8) * MIB) for start in (0, 8, 16, 24)]
        await ahead.aclose()
