"""An event loop in a separate thread, for callers without one."""

from __future__ import annotations

import contextvars
import threading
from concurrent.futures import Future

import anyio
from anyio.from_thread import BlockingPortal

from aioassets.errors import OutOfThreads


class LoopThread:
    """An event loop in a daemon thread, which runs as long as it has users.

    The interpreter doesn't wait for it on exit. `anyio.from_thread.start_blocking_portal` does, for ever, if it wasn't
    stopped: its context manager is finalized when other threads don't run any more.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._running: tuple[threading.Thread, BlockingPortal] | None = None

    def enter(self) -> BlockingPortal:
        """Return the portal to the loop for a new user, who must call `leave` once. The first user starts the thread.

        Raises:
            OutOfThreads: if the thread can't be started.
        """
        with self._lock:
            if self._running is None:
                self._running = _started()
            self._users += 1
            return self._running[1]

    def leave(self) -> None:
        """Let a user go. After the last one, end the thread, and wait for its end."""
        with self._lock:
            self._users -= 1
            if self._users or self._running is None:
                return
            (thread, portal), self._running = self._running, None
        portal.call(portal.stop)
        thread.join()


def _started() -> tuple[threading.Thread, BlockingPortal]:
    ready: Future[BlockingPortal] = Future()
    run = contextvars.Context().run
    thread = threading.Thread(target=run, args=(_run, ready), name="aioassets-loop", daemon=True)
    try:
        thread.start()
    except RuntimeError as error:
        raise OutOfThreads from error
    return thread, ready.result()


def _run(ready: Future[BlockingPortal]) -> None:
    try:
        anyio.run(_serve, ready)
    except BaseException as error:
        if ready.done():
            raise
        ready.set_exception(error)


async def _serve(ready: Future[BlockingPortal]) -> None:
    async with BlockingPortal() as portal:
        ready.set_result(portal)
        await portal.sleep_until_stopped()
