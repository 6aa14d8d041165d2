"""Running short blocking functions in worker threads, in batches."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Final, Generic, TypeVar

import anyio

from aioassets.errors import OutOfThreads
from aioassets.runtime.threads import THREADS, in_thread, is_out_of_threads, is_threadless
from aioassets.runtime.ticks import TickBatcher

T = TypeVar("T")

BATCH_SIZE: Final = 32
"""Maximum number of jobs in a batch. Larger batches would delay the first results."""
SLOW_BATCH: Final = 0.005
"""How many seconds a batch may run before each of the waiting jobs is run in a separate thread."""
SMALL: Final = 128 * 1024
"""Maximum size in bytes of a file that is read or written (and hashed) as part of a batch."""

_batches: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _Batches] = weakref.WeakKeyDictionary()


class _Job(Generic[T]):
    """A short blocking function call and its outcome."""

    def __init__(self, work: Callable[[], T], outcome: asyncio.Future[T]) -> None:
        self._work = work
        self._outcome = outcome
        self._result: T
        self._error: BaseException | None = None
        self.batch: asyncio.Future[None] | None = None

    def is_wanted(self) -> bool:
        """Return whether the caller is still waiting for the outcome."""
        return not self._outcome.done()

    def run(self) -> None:
        try:
            self._result = self._work()
        except Exception as error:
            self._error = error

    def deliver(self, failure: BaseException | None) -> None:
        """Pass the result or the error to the caller. If the job didn't run, pass `failure` instead."""
        error = failure or self._error
        if not self.is_wanted():
            return
        if error is None:
            self._outcome.set_result(self._result)
        else:
            self._outcome.set_exception(error)


class _Batch:
    """Jobs that a single thread runs one after another."""

    def __init__(self, jobs: Sequence[_Job[Any]], loop: asyncio.AbstractEventLoop) -> None:
        self.jobs = jobs
        self.ended: asyncio.Future[None] = loop.create_future()
        self._loop = loop

    def run(self) -> None:
        """Run all jobs. Blocking."""
        jobs = self.jobs
        for job in jobs:
            job.run()
        if jobs:
            self._loop.call_soon_threadsafe(self._end)

    def _end(self) -> None:
        if not self.ended.done():
            self.ended.set_result(None)


class _Batches:
    """Batches of short jobs for one event loop. Jobs are collected while a thread runs the previous batch.

    A round trip to a thread takes longer than reading or writing a small file. Threads that run short
    jobs at the same time compete for the GIL, so a single thread runs all of them. On slow disks, where a
    batch takes longer than `SLOW_BATCH`, each waiting job runs in a separate thread if one is available.
    The threads exit when the loop is garbage-collected.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = weakref.proxy(loop)
        self._threads = ThreadPoolExecutor(THREADS, "aioassets")
        self._has_thread = False
        self._waiting: list[_Job[Any]] = []
        self._running = 0
        self._batcher = TickBatcher()
        self._begun_at = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def add(self, job: _Job[Any]) -> None:
        self._waiting.append(job)
        if self._running and self._timer is None:
            self._timer = self._loop.call_at(self._begun_at + SLOW_BATCH, self._begin_apart)
        elif not self._running and len(self._waiting) == 1:
            self._loop.call_soon(self._begin)

    def _begin(self) -> None:
        if jobs := self._taken(BATCH_SIZE):
            self._start(jobs)

    def _begin_apart(self) -> None:
        """Start a separate batch for each waiting job if the running batch is slow."""
        self._timer = None
        slow_at = self._begun_at + SLOW_BATCH
        if self._waiting and self._loop.time() < slow_at:  # another batch has started in the meantime
            self._timer = self._loop.call_at(slow_at, self._begin_apart)
            return
        for job in self._taken(len(self._waiting)):
            self._start([job])

    def _taken(self, limit: int) -> list[_Job[Any]]:
        """Remove and return up to `limit` waiting jobs, and drop those whose callers were cancelled."""
        wanted = [job for job in self._waiting if job.is_wanted()]
        self._waiting = wanted[limit:]
        return wanted[:limit]

    def _start(self, jobs: list[_Job[Any]]) -> None:
        self._begun_at = self._loop.time()
        batch = _Batch(jobs, self._loop)
        try:
            self._submit(batch)
        except Exception as error:
            batch.jobs = ()
            self._deliver(jobs, error)
            self._loop.call_soon(self._begin)
        else:
            self._running += 1
            for job in jobs:
                job.batch = batch.ended
            batch.ended.add_done_callback(partial(self._ended, jobs))

    def _submit(self, batch: _Batch) -> None:
        """Submit a batch to the threads. If no further thread can be started, the batch waits for an existing one."""
        try:
            self._threads.submit(batch.run)
        except RuntimeError as error:
            if not is_out_of_threads(error):
                raise
            if not self._has_thread:
                raise OutOfThreads from error
        self._has_thread = True

    def _ended(self, jobs: Iterable[_Job[Any]], ended: asyncio.Future[None]) -> None:
        self._running -= 1
        self._deliver(jobs, asyncio.CancelledError() if ended.cancelled() else None)
        self._begin()

    def _deliver(self, jobs: Iterable[_Job[Any]], failure: BaseException | None) -> None:
        for job in jobs:
            self._batcher.add(partial(job.deliver, failure))


async def in_batch(work: Callable[..., T], *args: object) -> T:
    """Run `work(*args)` in a worker thread, batched with other short calls. If cancelled, wait for `work` to finish.

    Raises:
        OutOfThreads: if no thread can be started, not even by `in_thread`.
    """
    if is_threadless():
        return await in_thread(work, *args)
    loop = asyncio.get_running_loop()
    batches = _batches.get(loop)
    if batches is None:
        batches = _batches[loop] = _Batches(loop)
    outcome: asyncio.Future[T] = loop.create_future()
    job = _Job(partial(work, *args), outcome)
    batches.add(job)
    try:
        return await outcome
    except OutOfThreads:  # `work` was never called
        return await in_thread(work, *args)
    except asyncio.CancelledError:
        with anyio.CancelScope(shield=True):  # `work` is short, and must not outlive this call
            if job.batch is not None:
                await asyncio.wait([job.batch])
        raise
