"""Blocking work in threads, and its cancellation."""

from __future__ import annotations

import asyncio
import itertools
import operator
import threading
from collections.abc import Callable

import anyio
import pytest
from anyio.lowlevel import checkpoint
from tools.relay import settled

from aioassets import OutOfThreads, PublicationUncertain
from aioassets.runtime.batches import BATCH_SIZE, in_batch
from aioassets.runtime.threads import (
    CHUNK_SIZE,
    THREADS,
    check_cancelled,
    coalesced,
    in_thread,
    is_out_of_threads,
    run_async,
)


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
        for _ in coalesced(itertools.repeat(bytes(CHUNK_SIZE))):
            pass
    finally:
        ended()


@pytest.mark.parametrize("work", [never_ending, never_ending_coroutine, never_ending_pieces])
async def test_a_cancelled_call_ends_its_thread_and_waits_for_it(
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


async def test_run_async_returns_or_raises_the_outcome_of_the_coroutine() -> None:
    async def work(value: int) -> int:
        await asyncio.sleep(0)
        return 6 // value

    assert await in_thread(run_async, lambda: work(2)) == 3
    with pytest.raises(ZeroDivisionError):
        await in_thread(run_async, lambda: work(0))


@pytest.mark.parametrize(
    "sizes", [[], [1], [CHUNK_SIZE], [1, CHUNK_SIZE], [1000] * 5000, [CHUNK_SIZE - 1, 1, 1], [3 * CHUNK_SIZE, 1]]
)
def test_pieces_are_coalesced_to_chunks_of_at_least_a_mib(sizes: list[int]) -> None:
    pieces = [bytes([number % 256]) * size for number, size in enumerate(sizes)]
    chunks = [*coalesced(iter(pieces))]
    assert b"".join(chunks) == b"".join(pieces)
    assert all(len(chunk) >= CHUNK_SIZE for chunk in chunks[:-1])
    assert all(len(chunk) < CHUNK_SIZE + max(sizes) for chunk in chunks)
    assert all(chunks)


def test_check_cancelled_does_nothing_outside_of_a_worker_thread() -> None:
    check_cancelled()


Scarce = Callable[[int], None]


@pytest.fixture
def scarce(monkeypatch: pytest.MonkeyPatch) -> Scarce:
    """Limit the number of further threads."""
    start, left = threading.Thread.start, [0]

    def start_or_refuse(thread: threading.Thread) -> None:
        if not left[0]:
            raise RuntimeError("can't start new thread")
        left[0] -= 1
        start(thread)

    def allow(threads: int) -> None:
        left[0] = threads
        monkeypatch.setattr(threading.Thread, "start", start_or_refuse)

    return allow


class TestFewThreads:
    async def test_without_any_thread_the_call_fails_and_the_work_never_runs(self, scarce: Scarce) -> None:
        done = threading.Event()
        scarce(0)
        with pytest.raises(OutOfThreads, match="ulimit -u"):
            await in_thread(done.set)
        scarce(1)
        await in_thread(threading.get_ident)
        assert not done.is_set()

    async def test_few_threads_do_all_work(self, scarce: Scarce) -> None:
        scarce(2)
        used: set[int] = set()
        async with anyio.create_task_group() as tasks:
            for _ in range(3 * THREADS):
                tasks.start_soon(in_thread, lambda: used.add(threading.get_ident()))
        assert 1 <= len(used) <= 2

    async def test_more_threads_are_used_when_the_system_allows_them_again(self, scarce: Scarce) -> None:
        scarce(1)
        async with anyio.create_task_group() as tasks:
            for _ in range(3 * THREADS):
                tasks.start_soon(in_thread, threading.get_ident)
        scarce(2 * THREADS)
        for _ in range(THREADS):  # one more with each call that ends
            await in_thread(threading.get_ident)
        together = threading.Barrier(THREADS)
        async with anyio.create_task_group() as tasks:
            for _ in range(THREADS):
                tasks.start_soon(in_thread, together.wait)

    async def test_work_that_cannot_start_its_own_thread_fails_and_runs_once(self, scarce: Scarce) -> None:
        """For example an SDK that resolves a host name on another event loop."""
        begun: list[int] = []

        async def look_up() -> None:
            begun.append(1)
            await asyncio.get_running_loop().getaddrinfo("localhost", 80)

        scarce(1)
        with pytest.raises(OutOfThreads):
            await in_thread(run_async, look_up)
        assert begun == [1]

    def test_errors_caused_by_a_lack_of_threads_are_recognised(self) -> None:
        refused = RuntimeError("can't start new thread")
        wrapped = ValueError()
        wrapped.__context__ = refused
        uncertain = PublicationUncertain("name", "0.0", "…")
        uncertain.__cause__ = OutOfThreads()
        assert is_out_of_threads(refused)
        assert is_out_of_threads(wrapped)
        assert not is_out_of_threads(uncertain)
        assert not is_out_of_threads(RuntimeError("no"))


class TestBatches:
    @pytest.fixture(autouse=True)
    def no_batch_takes_long(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Timing must not depend on how busy the machine is."""
        monkeypatch.setattr("aioassets.runtime.batches.SLOW_BATCH", float("inf"))

    async def test_jobs_submitted_while_a_thread_is_busy_share_a_batch(self) -> None:
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

            for number in range(BATCH_SIZE // 2):
                tasks.start_soon(ask, number)
                await checkpoint()
            busy.set()
        assert sorted(results) == list(range(BATCH_SIZE // 2))
        assert len(used) <= 2

    async def test_the_results_of_a_full_batch_do_not_wait_for_further_jobs(self) -> None:
        delivered = threading.Event()

        async def deliver() -> None:
            await in_batch(threading.get_ident)
            delivered.set()

        async def wait() -> None:
            assert await in_batch(delivered.wait, 60)

        async with anyio.create_task_group() as tasks:
            for _ in range(BATCH_SIZE):
                tasks.start_soon(deliver)
            tasks.start_soon(wait)

    async def test_a_job_does_not_wait_for_a_batch_that_takes_long(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("aioassets.runtime.batches.SLOW_BATCH", -1)
        slow = threading.Event()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(in_batch, slow.wait)
            await settled()
            await in_batch(threading.get_ident)
            slow.set()

    async def test_while_a_batch_takes_long_no_job_waits_for_another(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Only a timer can start them, since no further job comes: each may read several files."""
        monkeypatch.setattr("aioassets.runtime.batches.SLOW_BATCH", 0.001)
        meeting = threading.Barrier(4, timeout=60)
        async with anyio.create_task_group() as tasks:
            for _ in range(4):
                tasks.start_soon(in_batch, meeting.wait)
                await checkpoint()
                await checkpoint()

    async def test_an_error_is_raised_to_its_caller_only(self) -> None:
        async def fail() -> None:
            with pytest.raises(ZeroDivisionError):
                await in_batch(operator.truediv, 1, 0)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(fail)
            assert await in_batch(operator.truediv, 1, 2) == 0.5

    async def test_a_cancelled_caller_waits_for_the_end_of_its_job(self) -> None:
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

    async def test_a_cancelled_job_is_not_started(self) -> None:
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

    async def test_without_any_thread_the_job_fails_and_never_runs(self, scarce: Scarce) -> None:
        done = threading.Event()
        scarce(0)
        with pytest.raises(OutOfThreads, match="ulimit -u"):
            await in_batch(done.set)
        scarce(1)
        await in_batch(threading.get_ident)
        assert not done.is_set()

    async def test_few_threads_do_all_work(self, scarce: Scarce) -> None:
        scarce(1)
        slow = threading.Event()
        results: list[int] = []

        async def ask(number: int) -> None:
            results.append(await in_batch(operator.add, number, 0))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(in_batch, slow.wait)
            await settled()
            for number in range(3 * BATCH_SIZE):
                tasks.start_soon(ask, number)
            await settled()
            assert results == []
            slow.set()
        assert sorted(results) == [*range(3 * BATCH_SIZE)]

    async def test_jobs_use_threads_of_in_thread_if_there_are_no_others(self, scarce: Scarce) -> None:
        scarce(1)
        thread = await in_thread(threading.get_ident)
        assert await in_batch(threading.get_ident) == thread
