"""Threads end with the call that they work for."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import anyio
import pytest

from aioassets.threads import check_cancelled, in_thread, run_async


def never_ending(began: Callable[[], object], ended: Callable[[], object]) -> None:
    try:
        began()
        while True:
            check_cancelled()
    finally:
        ended()


def never_ending_coroutine(began: Callable[[], object], ended: Callable[[], object]) -> None:
    async def work() -> None:
        try:
            began()
            await asyncio.sleep(float("inf"))
        finally:
            ended()

    run_async(work)


@pytest.mark.parametrize("work", [never_ending, never_ending_coroutine])
async def test_a_cancelled_call_waits_for_its_thread_which_looks_whether_it_is_wanted(
    work: Callable[..., None],
) -> None:
    began, ended = anyio.Event(), threading.Event()
    loop = asyncio.get_running_loop()
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(in_thread, work, lambda: loop.call_soon_threadsafe(began.set), ended.set)
            await began.wait()
            scope.cancel()
    assert scope.cancelled_caught
    assert ended.is_set()


async def test_what_a_coroutine_on_another_loop_returns_or_raises_comes_back() -> None:
    async def work(value: int) -> int:
        await asyncio.sleep(0)
        return 6 // value

    assert await in_thread(run_async, lambda: work(2)) == 3
    with pytest.raises(ZeroDivisionError):
        await in_thread(run_async, lambda: work(0))


def test_nobody_is_asked_in_a_thread_of_nobody() -> None:
    check_cancelled()
