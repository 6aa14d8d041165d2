"""Leases, which keep the versions that a process uses from being evicted.

A lease is an empty file next to the records of a version, whose name identifies its process. It is created before
the version is looked up, and removed a moment after nothing refers to the lease any more. If the fetch succeeded, the
modification time of the version's `.used` file then becomes the time of the last use. That file is created while the
version is held, so that the end of a lease adds no file to a folder that the program may be deleting.

Objects may be garbage-collected in any thread, including that of an event loop, so another thread ends the leases.
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import functools
import itertools
import logging
import os
import queue
import threading
import time
import weakref
from collections import deque
from dataclasses import dataclass, field
from typing import Final

from aioassets.fetch.directory import LEASE, USED
from aioassets.fetch.entry import CacheEntry
from aioassets.runtime.clocks import elapsed
from aioassets.runtime.disk import DENIED, reason
from aioassets.runtime.machine import current_machine

logger = logging.getLogger(__name__)

LINGERS: Final = 1.0
"""Minimum duration of a lease in seconds, so that repeated fetches of a version share it."""

RENEWED_EVERY: Final = 3600.0
"""Seconds between renewals of a lease. Other machines consider it dead after `usage.LEASE_LASTS`."""

_UNHOLDABLE: Final = DENIED | {errno.ENOENT, errno.ENOTDIR}
"""Error numbers for folders that don't exist or can't be written to, in which nothing can be evicted either."""

_BY_EFFECTIVE_IDS: Final = os.access in os.supports_effective_ids
_numbers: Final = itertools.count()


@dataclass(slots=True)
class LeaseFile:
    """The file of a lease.

    Attributes:
        path: the path of the file.
        used: the path of the file whose modification time is that of the last use.
        is_used: whether a fetch has returned the version.
        pid: the process that created it.
    """

    path: str
    used: str
    is_used: bool = False
    pid: int = field(default_factory=os.getpid)

    def create(self) -> None:
        """Create the file unless it exists. Blocking."""
        if not self._is_writable():
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), self.path)
        _create(self.path)

    def mark_used(self) -> None:
        """Record that a fetch returns the version. Blocking."""
        if not self.is_used:
            self.is_used = True
            with contextlib.suppress(OSError):
                _create(self.used)

    def renew(self) -> None:
        """Update the modification time, and create the file again if it was deleted. Blocking."""
        with contextlib.suppress(OSError):
            try:
                os.utime(self.path)
            except FileNotFoundError:
                self.create()

    def end(self) -> None:
        """Remove the file, and record the use if there was one. Do nothing in a forked child. Blocking."""
        if self.pid != os.getpid() or not self._is_writable():
            return
        with contextlib.suppress(OSError):  # for example, the version was deleted together with its lease
            if self.is_used:
                self._record_use()
            os.unlink(self.path)

    def _record_use(self) -> None:
        try:
            os.utime(self.used)
        except FileNotFoundError:  # an eviction of an earlier payload deleted it
            os.utime(self.path)
            os.replace(self.path, self.used)

    def _is_writable(self) -> bool:
        """Return whether the folder exists and can be written to, without an attempt to do so."""
        return os.access(os.path.dirname(self.path), os.W_OK, effective_ids=_BY_EFFECTIVE_IDS)


class Lease:
    """A lease of the current process on one version. It lasts as long as the object.

    Args:
        file: the lease file.
    """

    __slots__ = ("__weakref__", "file")

    def __init__(self, file: LeaseFile) -> None:
        self.file = file
        weakref.finalize(self, _released, file).atexit = False


class Hold:
    """A share in a lease. Copies within a process share it; a pickled copy holds nothing. Creating one blocks.

    Args:
        lease: the lease; `None` if the version can't be held because the assets directory is read-only.
    """

    __slots__ = ("_lease",)

    def __init__(self, lease: Lease | None = None) -> None:
        self._lease = lease
        if lease is not None:
            lease.file.mark_used()

    def release(self) -> None:
        """Give up the share. The lease ends with its last share."""
        self._lease = None

    def __deepcopy__(self, memo: object) -> Hold:
        return self

    def __reduce__(self) -> tuple[type[Hold], tuple[()]]:
        return Hold, ()


class _Ending:
    """The leases of the current process, and the thread that ends and renews them. A forked child has its own."""

    def __init__(self) -> None:
        self.live: weakref.WeakValueDictionary[str, Lease] = weakref.WeakValueDictionary()
        self._recent: list[Lease] = []
        self._released: deque[LeaseFile] = deque()
        self._wake: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread, unless it is running. If there are too many threads, do its work now. Blocking."""
        with self._lock:
            if self._thread is not None:
                return
            thread = threading.Thread(target=self._run, name="aioassets-leases", daemon=True)
            with contextlib.suppress(RuntimeError):
                thread.start()
                self._thread = thread
                return
        self.settle()

    def keep(self, lease: Lease) -> None:
        """Keep a new lease for `LINGERS`, if the thread is running."""
        if self._thread is not None:
            self._recent.append(lease)
            self._wake.put(None)

    def add(self, file: LeaseFile) -> None:
        """Schedule the end of a lease. May be called at any point, since it takes no lock."""
        self._released.append(file)
        if self._thread is not None:
            self._wake.put(None)

    def settle(self) -> None:
        """End all leases to which nothing refers any more. Blocking."""
        with self._lock:
            self._recent.clear()
            while self._released:
                self._released.popleft().end()

    def _run(self) -> None:
        renewed = elapsed()
        while True:
            with contextlib.suppress(queue.Empty):
                self._wake.get(timeout=max(0.0, renewed + RENEWED_EVERY - elapsed()))
                time.sleep(LINGERS)
            self._skip_requests()
            self.settle()
            if elapsed() - renewed >= RENEWED_EVERY:
                renewed = elapsed()
                self.renew()

    def _skip_requests(self) -> None:
        """Skip requests of the thread that came in while it slept. It is about to meet them."""
        with contextlib.suppress(queue.Empty):
            while True:
                self._wake.get_nowait()

    def renew(self) -> None:
        """Renew all leases. Blocking."""
        for lease in list(self.live.values()):
            lease.file.renew()

    def end_all(self) -> None:
        """End all leases. Blocking."""
        self._released.extend(lease.file for lease in list(self.live.values()))
        self.settle()


_ending = _Ending()


def hold(entry: CacheEntry) -> Lease | None:
    """Keep a version from being evicted as long as the returned object exists. Blocking.

    Returns:
        The lease, or `None` if the version can't be held: its folder doesn't exist or isn't writable.
    """
    key = str(entry.own_path(""))
    lease = _ending.live.get(key)
    if lease is not None:
        is_there = os.path.exists(lease.file.path) or _try_create(lease.file, entry.label)
        return lease if is_there else None
    _ending.start()
    file = LeaseFile(f"{key}{LEASE}{_owner(os.getpid())}-{next(_numbers)}", f"{key}{USED}")
    if not _try_create(file, entry.label):
        return None
    lease = _ending.live[key] = Lease(file)
    _ending.keep(lease)
    return lease


def settle() -> None:
    """End the leases of this process to which nothing refers any more, without waiting for the thread. Blocking."""
    _ending.settle()


def renew() -> None:
    """Renew the leases of this process, as the thread does from time to time. Blocking."""
    _ending.renew()


def _try_create(file: LeaseFile, label: str) -> bool:
    try:
        file.create()
    except OSError as error:
        if error.errno == errno.ESTALE:
            raise
        if error.errno not in _UNHOLDABLE:
            logger.warning("Cannot keep %s from being evicted while it is in use: %s", label, reason(error))
        return False
    return True


def _create(path: str) -> None:
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666))


@functools.lru_cache(maxsize=1)
def _owner(pid: int) -> str:
    """Return the part of a lease file's name that identifies the current process."""
    me = current_machine().this_process(user=False, host=False)
    return f"{me.machine}-{pid}-{me.started}"


def _released(file: LeaseFile) -> None:
    _ending.add(file)


def _reset() -> None:
    global _ending  # noqa: PLW0603 - the thread and the state of locks don't survive a fork
    _ending = _Ending()


def _end_all() -> None:
    _ending.end_all()


os.register_at_fork(after_in_child=_reset)
atexit.register(_end_all)
