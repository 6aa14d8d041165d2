"""Bounded fan-out and graceful cancellation."""

from __future__ import annotations

import asyncio
import itertools

import anyio
import pytest

from aioassets.runtime import cancellation
from aioassets.runtime.cancellation import Stopped, StopSignal, cleanup_scope, stoppable
from aioassets.runtime.tasks import for_each, gather2, supervised


async def test_for_each_takes_items_lazily_within_its_limit() -> None:
    running = most = 0
    taken = itertools.count()
    started: list[int] = []

    async def work(item: int) -> None:
        nonlocal running, most
        started.append(item)
        running += 1
        most = max(most, running)
        await anyio.lowlevel.checkpoint()
        running -= 1

    await for_each(itertools.islice(taken, 50), work, limit=4)
    assert (most, started) == (4, list(range(50)))


async def test_the_first_error_cancels_the_rest_and_is_raised_unwrapped() -> None:
    cause = ValueError("cause")
    done: list[int] = []

    async def work(item: int) -> None:
        if item == 2:
            raise KeyError(item) from cause
        await anyio.sleep_forever()
        done.append(item)

    with pytest.raises(KeyError) as caught:
        await for_each(range(10), work, limit=5)
    assert (done, caught.value.__cause__) == ([], cause)


async def test_gather2_runs_both_concurrently_and_raises_the_error_of_the_first() -> None:
    first_began, second_failed = anyio.Event(), anyio.Event()

    async def first() -> int:
        first_began.set()
        await second_failed.wait()
        raise ValueError("first")

    async def second() -> int:
        await first_began.wait()
        second_failed.set()
        raise ValueError("second")

    with pytest.raises(ValueError, match="first"):
        await gather2(first, second)


async def test_a_supervised_shield_withstands_a_native_cancellation() -> None:
    entered, let_go, finished = anyio.Event(), anyio.Event(), anyio.Event()

    async def work() -> None:
        with anyio.CancelScope(shield=True):
            entered.set()
            await let_go.wait()
            finished.set()

    task = asyncio.ensure_future(supervised(work))
    await entered.wait()
    task.cancel()
    await anyio.lowlevel.checkpoint()
    let_go.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert finished.is_set()


async def test_work_that_is_not_cancelled_returns_its_result() -> None:
    async def work(stop: StopSignal) -> int:
        with stop.bounded():
            await anyio.lowlevel.checkpoint()
        stop.check()
        return 7

    assert await stoppable(work, grace=0) == 7


async def test_cancelled_work_is_asked_to_stop_and_may_finish() -> None:
    entered = anyio.Event()
    steps: list[str] = []

    async def work(stop: StopSignal) -> None:
        with stop.bounded():
            entered.set()
            while not stop.requested:
                await anyio.lowlevel.checkpoint()
            steps.append("asked")
            await anyio.lowlevel.checkpoint()
            steps.append("finished")
        stop.check()
        steps.append("never")

    task = asyncio.ensure_future(stoppable(work, grace=60))
    await entered.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert steps == ["asked", "finished"]


async def test_a_phase_is_cancelled_at_the_end_of_its_grace_period() -> None:
    entered = anyio.Event()
    steps: list[str] = []

    async def work(stop: StopSignal) -> None:
        with stop.bounded(0.5) as phase:
            entered.set()
            await anyio.sleep_forever()
        assert phase.cancelled_caught
        with stop.bounded():
            steps.append("tidied")
        raise Stopped

    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: stoppable(work, grace=0))
            await entered.wait()
            scope.cancel()
    assert steps == ["tidied"]


async def test_an_error_of_stopped_work_is_raised() -> None:
    entered = anyio.Event()

    async def work(stop: StopSignal) -> None:
        entered.set()
        while not stop.requested:
            await anyio.lowlevel.checkpoint()
        raise ValueError("uncertain")

    task = asyncio.ensure_future(stoppable(work, grace=60))
    await entered.wait()
    task.cancel()
    with pytest.raises(ValueError, match="uncertain"):
        await task


async def test_a_cleanup_scope_survives_cancellation_until_its_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cancellation, "GRACE", 0.01)
    steps: list[str] = []
    with anyio.CancelScope() as scope:
        try:
            scope.cancel()
            await anyio.sleep_forever()
        finally:
            with cleanup_scope():
                await anyio.lowlevel.checkpoint()
                steps.append("tidied")
                await anyio.sleep_forever()
    assert steps == ["tidied"]


@pytest.mark.parametrize("nested", [False, True], ids=["cleanup_scope", "stoppable"])
async def test_a_cleanup_scope_ends_within_the_grace_period_of_the_stopped_work(nested: bool) -> None:
    """The same holds for nested stoppable work, whatever its own grace period."""
    entered = anyio.Event()
    steps: list[str] = []

    async def endless(stop: StopSignal) -> None:
        entered.set()
        await anyio.sleep_forever()

    async def work(stop: StopSignal) -> None:
        with stop.bounded(0.5):
            if nested:
                await stoppable(endless, grace=float("inf"))
            with cleanup_scope():
                entered.set()
                await anyio.sleep_forever()
        with stop.bounded():
            await anyio.lowlevel.checkpoint()
            steps.append("cleaned up")
        raise Stopped

    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: stoppable(work, grace=0.2))
            await entered.wait()
            scope.cancel()
    assert steps == ["cleaned up"]
