"""The manager for code without an event loop, such as scripts, notebooks and Celery tasks.

Its calls run on an event loop in a separate thread, and block the calling thread until they end.
"""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from concurrent.futures import Future
from datetime import timedelta
from pathlib import Path
from typing import Any, Concatenate, Final, ParamSpec, Self, TypeVar

from anyio.from_thread import BlockingPortal

from aioassets.drivers.protocol import Driver
from aioassets.errors import ManagerStateError
from aioassets.fetch.cache import Cache as _AsyncCache
from aioassets.fetch.cache import Versions
from aioassets.fetch.pruning import CachePruning
from aioassets.manager import AssetsManager as _Async
from aioassets.model.names import AssetSpec
from aioassets.model.versioning import VersioningScheme
from aioassets.progress import Progress
from aioassets.push.copy import CopyResult
from aioassets.read.blocking import BlockingFile
from aioassets.read.file import AssetFile
from aioassets.runtime.loopthread import LoopThread
from aioassets.runtime.retry import RetryPolicy
from aioassets.settings import Settings

__all__ = ["AssetsManager"]

P = ParamSpec("P")
T = TypeVar("T")

_loops: Final[dict[int, LoopThread]] = {}
"""The loop threads, by process ID. The managers of a process share one, so that one manager can copy to another."""
_END: Final = object()


def _blocking(
    method: Callable[Concatenate[_Async, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[AssetsManager, P], T]:
    """Return a method that runs a coroutine method of the asynchronous manager."""

    def call(self: AssetsManager, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._calls.run(functools.partial(method, self._manager, *_plain(args), **_plain_values(kwargs)))

    functools.update_wrapper(call, method)
    return call


def _iterating(
    method: Callable[Concatenate[_Async, P], AsyncIterator[T]],
) -> Callable[Concatenate[AssetsManager, P], Iterator[T]]:
    """Return a method that iterates over the items of an asynchronous iterator of the asynchronous manager."""

    def iterate(self: AssetsManager, /, *args: P.args, **kwargs: P.kwargs) -> Iterator[T]:
        items = method(self._manager, *args, **kwargs)
        while True:
            item: Any = self._calls.run(functools.partial(_following, items))
            if item is _END:
                return
            yield item  # if it ends here, the event loop closes `items` when that is garbage-collected

    functools.update_wrapper(iterate, method)
    return iterate


async def _following(items: AsyncIterator[T]) -> T | object:
    return await anext(items, _END)


def _plain(args: Any) -> Any:
    return tuple(
        arg._manager if isinstance(arg, AssetsManager) else arg  # noqa: SLF001 - its own class
        for arg in args
    )


def _plain_values(kwargs: Any) -> Any:
    return dict(zip(kwargs, _plain(kwargs.values()), strict=True))


class _Calls:
    """The calls of one manager, which run on the loop thread of the process that created the manager."""

    def __init__(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._portal: BlockingPortal | None = None
        self._closed = False

    def run(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run a coroutine function on the loop thread, and return its result.

        An exception in the waiting thread, such as `KeyboardInterrupt`, cancels the call. It is raised once the call
        has cleaned up.

        Raises:
            ManagerStateError: if the manager is closed, was created before a fork, or is called from a progress
                function.
            OutOfThreads: if the loop thread can't be started.
        """
        portal = self._opened()
        ended = threading.Event()
        try:
            future: Future[T] = portal.start_task_soon(_noted, work, ended)
        except RuntimeError:  # raised on the loop thread itself, and after it has ended
            self.check()
            raise ManagerStateError(
                "A progress function can't call a blocking manager, because that call would wait for itself."
            ) from None
        try:
            return future.result()
        except BaseException:
            if future.cancel():
                ended.wait()
            raise

    def close(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run a last coroutine function, if any other has run, and leave the loop thread."""
        if self._pid != os.getpid():
            return
        with self._lock:
            was_closed, self._closed = self._closed, True
        if was_closed or self._portal is None:
            return
        try:
            self._portal.call(work)
        finally:
            _loops[self._pid].leave()

    def check(self) -> None:
        """Raise `ManagerStateError` if the manager is closed, or was created before a fork."""
        self._opened()

    def _opened(self) -> BlockingPortal:
        if self._pid != os.getpid():
            raise ManagerStateError(
                "This manager was created before a fork, and its thread doesn't exist in this process. "
                "Create a manager in each process, after the fork."
            )
        with self._lock:
            if self._closed:
                raise ManagerStateError("This manager is closed. Create a new one.")
            if self._portal is None:
                self._portal = _loops.setdefault(self._pid, LoopThread()).enter()
            return self._portal


async def _noted(work: Callable[[], Coroutine[Any, Any, T]], ended: threading.Event) -> T:
    try:
        return await work()
    finally:
        ended.set()


class Cache:
    """Cache with the methods of `aioassets.Cache`, which block. `AssetsManager.cache` returns it."""

    def __init__(self, calls: _Calls, cache: _AsyncCache) -> None:
        self._calls = calls
        self._cache = cache

    @property
    def path(self) -> Path:
        """The assets directory."""
        return self._cache.path

    @property
    def limit(self) -> int | None:
        """The limit on the cache's size in bytes (`cache_limit`); `None` for no limit."""
        return self._cache.limit

    def list(self) -> Versions:
        """Return the cached versions, least recently used first."""
        return self._calls.run(self._cache.list)

    def size(self) -> int:
        """Return the size of the cached versions in bytes, without unfinished downloads."""
        return self._calls.run(self._cache.size)

    def prune(
        self, *, limit: int | str | None = None, unused_for: timedelta | None = None, dry_run: bool = False
    ) -> CachePruning:
        """Remove the least recently used versions from the cache. See `aioassets.Cache.prune`."""
        prune = functools.partial(self._cache.prune, limit=limit, unused_for=unused_for, dry_run=dry_run)
        return self._calls.run(prune)


class AssetsManager:
    """Manager with the methods of `aioassets.AssetsManager`, which block until they are done.

    Use a manager as a context manager, or close it with `close`. Several threads may use one manager at the same
    time. It also works while an event loop is running, as in Jupyter, but blocks that loop. It doesn't work in a
    process that was forked after the manager was created.

    Progress functions are called in the manager's own thread. They can't call a blocking manager.

    Args:
        bucket: as for `aioassets.AssetsManager`, like all other arguments.

    Raises:
        InvalidSetting: if an argument or environment variable is invalid.
    """

    def __init__(
        self,
        bucket: str | os.PathLike[str] | None = None,
        *,
        settings: Settings | None = None,
        assetsmanager_prefix: str | None = None,
        storage_provider: str | None = None,
        assets_dir: str | os.PathLike[str] | None = None,
        cache_limit: int | str | None = None,
        versioning: str | VersioningScheme | None = None,
        driver: Driver | None = None,
        storage_options: Mapping[str, Any] | None = None,
        max_requests: int | None = None,
        min_requests: int | None = None,
        max_bytes: int | None = None,
        connect_timeout: float | None = None,
        read_timeout: float | None = None,
        cleanup_timeout: float | None = None,
        retry_for: float | None = None,
        offline: bool | None = None,
        single_writer: bool | None = None,
        record_user: bool | None = None,
        record_host: bool | None = None,
        remember_hashes: bool | None = None,
        retry: RetryPolicy | None = None,
    ) -> None:
        self._calls = _Calls()
        self._manager = _Async(
            bucket,
            settings=settings,
            assetsmanager_prefix=assetsmanager_prefix,
            storage_provider=storage_provider,
            assets_dir=assets_dir,
            cache_limit=cache_limit,
            versioning=versioning,
            driver=driver,
            storage_options=storage_options,
            max_requests=max_requests,
            min_requests=min_requests,
            max_bytes=max_bytes,
            connect_timeout=connect_timeout,
            read_timeout=read_timeout,
            cleanup_timeout=cleanup_timeout,
            retry_for=retry_for,
            offline=offline,
            single_writer=single_writer,
            record_user=record_user,
            record_host=record_host,
            remember_hashes=remember_hashes,
            retry=retry,
        )

    def __enter__(self) -> Self:
        self._calls.check()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """Reject further calls, wait for those in progress, and close the manager's connections.

        It is safe to call this method more than once.
        """
        self._calls.close(self._manager.aclose)

    @property
    def url(self) -> str | None:
        """The URL under which the store keeps its assets; `None` if there is no bucket."""
        return self._manager.url

    @property
    def cache(self) -> Cache:
        """The cached versions of all stores in the assets directory, to list and prune them.

        Raises:
            InvalidSetting: if the path of the assets directory can't be used.
        """
        return Cache(self._calls, self._manager.cache)

    # Push

    create_asset = _blocking(_Async.create_asset)
    update_asset = _blocking(_Async.update_asset)
    update_assets = _blocking(_Async.update_assets)
    plan_create = _blocking(_Async.plan_create)
    plan_update = _blocking(_Async.plan_update)
    push = _blocking(_Async.push)

    # Fetch and list

    fetch_asset = _blocking(_Async.fetch_asset)
    fetch_assets = _blocking(_Async.fetch_assets)
    watch = _iterating(_Async.watch)
    verify_asset = _blocking(_Async.verify_asset)
    read = _blocking(_Async.read)
    list_files = _blocking(_Async.list_files)

    def open(self, spec: str | AssetSpec, *, verify: bool = True, offline: bool | None = None) -> BlockingFile:
        """Open one file of a version for reading, as `aioassets.AssetsManager.open` does, as a raw binary file."""

        async def opened() -> AssetFile:
            return await self._manager.open(spec, verify=verify, offline=offline)

        return BlockingFile(self._calls.run, self._calls.run(opened))

    list_versions = _blocking(_Async.list_versions)
    list_assets = _iterating(_Async.list_assets)

    # Look

    describe_asset = _blocking(_Async.describe_asset)
    url_of = _blocking(_Async.url_of)
    presign = _blocking(_Async.presign)
    log_versions = _blocking(_Async.log_versions)
    diff_versions = _blocking(_Async.diff_versions)

    # Aliases

    set_alias = _blocking(_Async.set_alias)
    remove_alias = _blocking(_Async.remove_alias)
    rollback_alias = _blocking(_Async.rollback_alias)
    list_aliases = _blocking(_Async.list_aliases)
    alias_history = _blocking(_Async.alias_history)

    # Clean

    plan_clean = _blocking(_Async.plan_clean)
    clean = _blocking(_Async.clean)
    publish_version = _blocking(_Async.publish_version)

    # Withdraw

    yank_version = _blocking(_Async.yank_version)
    unyank_version = _blocking(_Async.unyank_version)
    plan_delete = _blocking(_Async.plan_delete)
    delete_version = _blocking(_Async.delete_version)
    plan_prune = _blocking(_Async.plan_prune)
    prune = _blocking(_Async.prune)

    # Copy

    lock_assets = _blocking(_Async.lock_assets)
    sync_assets = _blocking(_Async.sync_assets)

    def copy_version(
        self,
        spec: str | AssetSpec,
        to: AssetsManager,
        *,
        name: str | None = None,
        renumber: bool = False,
        alias: str | None = None,
        dry_run: bool = False,
        progress: Progress | None = None,
    ) -> CopyResult:
        """Copy a version to another store, prefix or name, as `aioassets.AssetsManager.copy_version` does."""
        copy = functools.partial(
            self._manager.copy_version,
            spec,
            *_plain((to,)),
            name=name,
            renumber=renumber,
            alias=alias,
            dry_run=dry_run,
            progress=progress,
        )
        return self._calls.run(copy)
