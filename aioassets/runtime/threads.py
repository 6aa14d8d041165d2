"""Blocking work in threads. A cancelled call waits for its thread, so that none runs on."""

from __future__ import annotations

import asyncio
import contextlib
import os
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextvars import ContextVar
from functools import partial
from typing import Any, Final, Generic, TypeVar

import anyio
import anyio.from_thread
import anyio.to_thread
from anyio.lowlevel import RunVar, checkpoint

from aioassets.errors import AioAssetsError, OutOfThreads
from aioassets.runtime.ticks import TickBatcher

T = TypeVar("T")

THREADS = 16
"""Maximum number of threads for reading, hashing and writing files: enough to keep a disk queue busy."""
BATCH_SIZE: Final = 16
"""Number of waiting jobs that fill a batch, which then starts without waiting for the previous one."""
SLOW_BATCH: Final = 0.005
"""Seconds after which the next batch no longer waits for the running one."""
SMALL: Final = 128 * 1024
"""Maximum size in bytes of a file that is read or written, and hashed, in a batch."""
CHUNK_SIZE: Final = 1024 * 1024
"""Bytes to hash or write at once: half a millisecond, enough for another thread to wake up."""
POLL: Final = 0.05
"""Seconds between checks for cancellation in a thread."""

_REFUSED: Final = "can't start new thread"
"""CPython's message if the system refuses to start a thread."""

_limiter: RunVar[anyio.CapacityLimiter] = RunVar("aioassets_threads")
_batches: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _Batches] = weakref.WeakKeyDictionary()
_threadless: ContextVar[bool] = ContextVar("aioassets_threadless", default=False)


@contextlib.contextmanager
def without_threads() -> Iterator[None]:
    """Run blocking work on the event loop, in this block and in the tasks that it starts.

    Simulations need this to be deterministic.
    """
    token = _threadless.set(True)
    try:
        yield
    finally:
        _threadless.reset(token)


def is_out_of_threads(error: BaseException) -> bool:
    """Return whether an error of another library was caused by the failure to start a thread."""
    cause: BaseException | None = None if isinstance(error, AioAssetsError) else error
    while cause is not None:
        if isinstance(cause, OutOfThreads) or (isinstance(cause, RuntimeError) and _REFUSED in f"{cause}"):
            return True
        cause = cause.__cause__ or cause.__context__
    return False


async def in_thread(work: Callable[..., T], *args: object) -> T:
    """Run `work(*args)` in a worker thread. If cancelled, wait for its end.

    Long work should call `check_cancelled`. If the system refuses another thread, wait for a busy one.

    Raises:
        OutOfThreads: if no thread is available.
    """
    # anyio's default limiter is shared with the application, whose slow threads would delay transfers.
    if _threadless.get():
        await checkpoint()
        return work(*args)
    try:
        limiter = _limiter.get()
    except LookupError:
        limiter = anyio.CapacityLimiter(THREADS)
        _limiter.set(limiter)
    begun = False

    def call() -> T:
        nonlocal begun
        begun = True
        return work(*args)

    while True:
        try:
            result = await anyio.to_thread.run_sync(call, limiter=limiter)
        except RuntimeError as error:
            if not is_out_of_threads(error):
                raise
            if begun or not limiter.borrowed_tokens:
                raise OutOfThreads from error
            limiter.total_tokens = limiter.borrowed_tokens
        else:
            if limiter.total_tokens < THREADS:
                limiter.total_tokens += 1
            return result


class LoopThreads(Executor):
    """Executor that uses the threads of `in_thread`. Submit from the event loop only."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Run `fn(*args, **kwargs)` in a worker thread."""
        future: Future[T] = Future()
        future.set_running_or_notify_cancel()
        task = asyncio.get_running_loop().create_task(self._run(partial(fn, *args, **kwargs), future))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return future

    async def _run(self, work: Callable[[], T], future: Future[T]) -> None:
        try:
            result = await in_thread(work)
        except BaseException as error:
            future.set_exception(error)
            if not isinstance(error, Exception):
                raise
        else:
            future.set_result(result)


@contextlib.asynccontextmanager
async def opened(opening: Callable[[], int], closing: Callable[[int], None] = os.close) -> AsyncIterator[int]:
    """Open and close a file in threads, and yield its descriptor."""
    descriptor = await in_thread(opening)
    try:
        yield descriptor
    finally:
        with anyio.CancelScope(shield=True):
            try:
                await in_thread(closing, descriptor)
            except OutOfThreads:
                closing(descriptor)


class _Job(Generic[T]):
    """Short work for a thread, and its outcome."""

    def __init__(self, work: Callable[[], T], outcome: asyncio.Future[T]) -> None:
        self._work = work
        self._outcome = outcome
        self._result: T
        self._error: BaseException | None = None
        self.batch: asyncio.Future[None] | None = None

    def is_wanted(self) -> bool:
        """Return whether the caller still waits for it."""
        return not self._outcome.done()

    def run(self) -> None:
        try:
            self._result = self._work()
        except Exception as error:
            self._error = error

    def deliver(self, failure: BaseException | None) -> None:
        """Give the caller the result or the error, or `failure` if the job was not run."""
        error = failure or self._error
        if not self.is_wanted():
            return
        if error is None:
            self._outcome.set_result(self._result)
        else:
            self._outcome.set_exception(error)


class _Batch:
    """Short jobs that a thread runs one after the other."""

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
    """Batches of short jobs of one event loop. Jobs are collected while a thread runs the previous batch.

    A round trip to a thread takes longer than reading or writing a small file. On slow disks, a batch
    that is full, or has waited for `SLOW_BATCH`, doesn't wait for the previous one. The threads end with
    the loop.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = weakref.proxy(loop)
        self._threads = ThreadPoolExecutor(THREADS, "aioassets")
        self._has_thread = False
        self._waiting: list[_Job[Any]] = []
        self._running = 0
        self._batcher = TickBatcher()
        self._begun_at = 0.0

    def add(self, job: _Job[Any]) -> None:
        self._waiting.append(job)
        count = len(self._waiting)
        if count == 1 and not self._running:
            self._loop.call_soon(self._begin)
        elif count >= BATCH_SIZE or (self._running and self._loop.time() - self._begun_at > SLOW_BATCH):
            self._begin()

    def _begin(self) -> None:
        jobs, self._waiting = [job for job in self._waiting if job.is_wanted()], []
        if not jobs:
            return
        self._begun_at = self._loop.time()
        batch = _Batch(jobs, self._loop)
        try:
            self._submit(batch)
        except Exception as error:
            batch.jobs = ()
            self._deliver(jobs, error)
        else:
            self._running += 1
            for job in jobs:
                job.batch = batch.ended
            batch.ended.add_done_callback(partial(self._ended, jobs))

    def _submit(self, batch: _Batch) -> None:
        """Queue a batch for the threads. It stays queued even if no further thread can be started."""
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
    """Run short blocking work in a worker thread, in a batch with other such work. If cancelled, wait for its end.

    Raises:
        OutOfThreads: if no thread is available, not even one of `in_thread`.
    """
    if _threadless.get():
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
    except OutOfThreads:  # the work was not started
        return await in_thread(work, *args)
    except asyncio.CancelledError:
        with anyio.CancelScope(shield=True):  # the work is short, and must not run on after the call
            if job.batch is not None:
                await asyncio.wait([job.batch])
        raise


def coalesced(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Join pieces to chunks of a MiB, to be hashed or written in a thread, and check for cancellation.

    Hashing or writing a chunk releases the GIL for long enough that other threads wake up. After shorter
    releases they wouldn't run at all, because each release restarts Python's switch interval of 5 ms.
    """
    held: list[bytes] = []
    size = 0
    for piece in pieces:
        check_cancelled()
        held.append(piece)
        size += len(piece)
        if size >= CHUNK_SIZE:
            chunk, held, size = b"".join(held), [], 0
            yield chunk
    if held:
        yield b"".join(held)


def check_cancelled() -> None:
    """Raise the cancellation of the call that this worker thread runs for. Other threads are never cancelled."""
    with contextlib.suppress(RuntimeError):  # not a worker thread of anyio
        anyio.from_thread.check_cancelled()


def run_async(work: Callable[[], Awaitable[T]]) -> T:
    """Run a coroutine that may block, on a new event loop in a worker thread, until it ends or is cancelled."""

    async def watched() -> T:
        task = asyncio.ensure_future(work())
        while not task.done():
            check_cancelled()
            await asyncio.wait([task], timeout=POLL)
        return task.result()

    return asyncio.run(watched())
