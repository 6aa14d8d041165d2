"""Threads end with the call that they work for."""

from __future__ import annotations

import asyncio
import itertools
import operator
import threading
from collections.abc import Callable

import anyio
import pytest
from anyio.lowlevel import checkpoint
from relay import settled

from aioassets.threads import BATCH, GATHERED, check_cancelled, gathered, in_batch, in_thread, run_async


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


def never_ending_pieces(began: Callable[[], object], ended: Callable[[], object]) -> None:
    try:
        began()
        for _ in gathered(itertools.repeat(bytes(GATHERED))):
            pass
    finally:
        ended()


@pytest.mark.parametrize("work", [never_ending, never_ending_coroutine, never_ending_pieces])
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


@pytest.mark.parametrize(
    "sizes", [[], [1], [GATHERED], [1, GATHERED], [1000] * 5000, [GATHERED - 1, 1, 1], [3 * GATHERED, 1]]
)
def test_what_is_hashed_or_written_is_no_less_than_a_mib_at_once(sizes: list[int]) -> None:
    pieces = [bytes([number % 256]) * size for number, size in enumerate(sizes)]
    chunks = [*gathered(iter(pieces))]
    assert b"".join(chunks) == b"".join(pieces)
    assert all(len(chunk) >= GATHERED for chunk in chunks[:-1])
    assert all(len(chunk) < GATHERED + max(sizes) for chunk in chunks)
    assert all(chunks)


def test_nobody_is_asked_in_a_thread_of_nobody() -> None:
    check_cancelled()


class TestBatches:
    @pytest.fixture(autouse=True)
    def no_batch_takes_long(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """However busy the machine is."""
        monkeypatch.setattr("aioassets.threads.SLOW", float("inf"))

    async def test_what_is_asked_for_while_a_thread_is_busy_goes_there_together(self) -> None:
        busy = threading.Event()
        used: set[int] = set()

        def work(number: int) -> int:
            busy.wait()
            used.add(threading.get_ident())
            return number

        async with anyio.create_task_group() as tasks:
            results: list[int] = []

            async def ask(number: int) -> None:
                results.append(await in_batch(work, number))

            for number in range(BATCH // 2):
                tasks.start_soon(ask, number)
                await checkpoint()
            busy.set()
        assert sorted(results) == list(range(BATCH // 2))
        assert len(used) <= 2

    async def test_a_full_batch_does_not_wait_for_one_that_is_slow(self) -> None:
        slow = threading.Event()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(in_batch, slow.wait)
            await settled()
            async with anyio.create_task_group() as others:
                for _ in range(BATCH):
                    others.start_soon(in_batch, threading.get_ident)
            slow.set()

    async def test_what_is_asked_for_does_not_wait_for_what_takes_long(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("aioassets.threads.SLOW", -1)
        slow = threading.Event()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(in_batch, slow.wait)
            await settled()
            await in_batch(threading.get_ident)
            slow.set()

    async def test_an_error_is_of_who_asked(self) -> None:
        async def fail() -> None:
            with pytest.raises(ZeroDivisionError):
                await in_batch(operator.truediv, 1, 0)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(fail)
            assert await in_batch(operator.truediv, 1, 2) == 0.5

    async def test_who_is_cancelled_waits_for_the_end(self) -> None:
        began, go_on, ended = asyncio.Event(), threading.Event(), threading.Event()
        loop = asyncio.get_running_loop()

        def work() -> None:
            loop.call_soon_threadsafe(began.set)
            go_on.wait()
            ended.set()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(in_batch, work)
            await began.wait()
            tasks.cancel_scope.cancel()
            loop.call_soon(go_on.set)
        assert ended.is_set()

    async def test_what_nobody_waits_for_any_more_is_not_begun(self) -> None:
        slow, begun = threading.Event(), threading.Event()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(in_batch, slow.wait)
            await settled()
            async with anyio.create_task_group() as others:
                others.start_soon(in_batch, begun.set)
                await settled()
                others.cancel_scope.cancel()
            slow.set()
        await in_batch(threading.get_ident)
        assert not begun.is_set()

    async def test_without_a_thread_nobody_waits_for_ever(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(_: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        monkeypatch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError, match="new thread"):
            await in_batch(threading.get_ident)
