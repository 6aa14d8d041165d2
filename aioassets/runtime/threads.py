"""Running blocking functions in threads. A cancelled call waits until the function returns."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from contextvars import ContextVar
from functools import partial
from typing import Any, Final, Self, TypeVar

import anyio
import anyio.from_thread
import anyio.to_thread
from anyio.lowlevel import RunVar, checkpoint

from aioassets.errors import AioAssetsError, OutOfThreads
from aioassets.runtime.descriptors import fitting

T = TypeVar("T")

THREADS = 16
"""Maximum number of threads for reading, hashing and writing files: enough to keep a disk queue busy."""
MAX_FILES: Final = 256
"""Maximum number of files that one event loop keeps open, if the limit on open files allows it."""
CHUNK_SIZE: Final = 1024 * 1024
"""Number of bytes to hash or write at once. This takes half a millisecond, so that other threads can wake up."""
POLL: Final = 0.05
"""Number of seconds between checks for cancellation in a thread."""

_REFUSED: Final = "can't start new thread"
"""CPython's error message when the system can't start a thread."""

_limiter: RunVar[anyio.CapacityLimiter] = RunVar("aioassets_threads")
_waiting_limiter: RunVar[anyio.CapacityLimiter] = RunVar("aioassets_waiting_threads")
_files: RunVar[anyio.Semaphore] = RunVar("aioassets_files")
_threadless: ContextVar[bool] = ContextVar("aioassets_threadless", default=False)


@contextlib.contextmanager
def without_threads() -> Iterator[None]:
    """Run blocking functions on the event loop within a `with` block and the tasks that it starts.

    This makes simulations deterministic.
    """
    token = _threadless.set(True)
    try:
        yield
    finally:
        _threadless.reset(token)


def is_threadless() -> bool:
    """Return whether blocking functions currently run on the event loop (see `without_threads`)."""
    return _threadless.get()


def is_out_of_threads(error: BaseException) -> bool:
    """Return whether another library's error was caused by a failure to start a thread."""
    cause: BaseException | None = None if isinstance(error, AioAssetsError) else error
    while cause is not None:
        if isinstance(cause, OutOfThreads) or (isinstance(cause, RuntimeError) and _REFUSED in f"{cause}"):
            return True
        cause = cause.__cause__ or cause.__context__
    return False


async def in_thread(work: Callable[..., T], *args: object) -> T:
    """Run `work(*args)` in a worker thread. If cancelled, wait for `work` to finish.

    Long-running functions should call `check_cancelled`. If no further thread can be started, wait until one of the
    existing threads is idle.

    Raises:
        OutOfThreads: if there are no threads and none can be started.
    """
    # The application shares anyio's default limiter, so its slow threads would delay transfers.
    return await _in_thread_of(_limiter, partial(work, *args))


async def in_waiting_thread(work: Callable[..., T], *args: object) -> T:
    """Run `work(*args)` as `in_thread` does, but in threads that may wait for long without delaying other work.

    Raises:
        OutOfThreads: if there are no threads and none can be started.
    """
    return await _in_thread_of(_waiting_limiter, partial(work, *args))


async def _in_thread_of(threads: RunVar[anyio.CapacityLimiter], work: Callable[[], T]) -> T:
    if is_threadless():
        await checkpoint()
        return work()
    try:
        limiter = threads.get()
    except LookupError:
        limiter = anyio.CapacityLimiter(THREADS)
        threads.set(limiter)
    begun = False

    def call() -> T:
        nonlocal begun
        begun = True
        return work()

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
    """An executor that uses the threads of `in_thread`. Call `submit` only from the event loop.

    On exit, the async context manager waits for all submitted calls, even if their callers have been cancelled.
    """

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        with anyio.CancelScope(shield=True):
            while self._tasks:
                await asyncio.wait(self._tasks)

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
    """Open a file in a thread, yield its descriptor, and close it in a thread.

    If too many files are open, wait first. Only files opened by this function count towards the limit. To avoid
    deadlocks, don't nest calls, and don't call this function inside a slot of the budget.
    """
    async with _open_files():
        descriptor = await in_thread(opening)
        try:
            yield descriptor
        finally:
            with anyio.CancelScope(shield=True):
                try:
                    await in_thread(closing, descriptor)
                except OutOfThreads:
                    closing(descriptor)


def _open_files() -> anyio.Semaphore:
    try:
        return _files.get()
    except LookupError:
        _files.set(semaphore := anyio.Semaphore(fitting(MAX_FILES)))
        return semaphore


def coalesced(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Join pieces into chunks of at least 1 MiB (except the last), and check for cancellation in between.

    Hashing or writing a chunk releases the GIL for long enough that other threads wake up. With shorter
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
    """Raise an exception if the call that this worker thread is running has been cancelled.

    Do nothing in other threads.
    """
    with contextlib.suppress(RuntimeError):  # not an anyio worker thread
        anyio.from_thread.check_cancelled()


def run_async(work: Callable[[], Awaitable[T]]) -> T:
    """Run `work` on a new event loop in the current thread, where it may block.

    If the call that the current worker thread is running is cancelled, `work` is cancelled too.
    """

    async def watched() -> T:
        task = asyncio.ensure_future(work())
        while not task.done():
            check_cancelled()
            await asyncio.wait([task], timeout=POLL)
        return task.result()

    return asyncio.run(watched())
