"""Files that fsspec opens, and the manager of a filesystem."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, cast

from fsspec.asyn import sync
from fsspec.spec import AbstractBufferedFile

from aioassets.manager import AssetsManager
from aioassets.read.file import AssetFile

T = TypeVar("T")


def blocking(loop: Any, work: Callable[..., Awaitable[T]], *args: object) -> T:
    """Run a coroutine function on an event loop of another thread, and wait for its result."""
    return cast("T", sync(loop, work, *args))


class LoopManager:
    """The manager for the running event loop.

    Args:
        make: creates a manager.
    """

    def __init__(self, make: Callable[[], AssetsManager]) -> None:
        self._make = make
        self._manager: AssetsManager | None = make()  # which raises errors of settings at once
        self._loop: asyncio.AbstractEventLoop | None = None

    def get(self) -> AssetsManager:
        """Return the manager. It is a new one if another event loop is running than before."""
        loop = asyncio.get_running_loop()
        if self._manager is None or self._loop not in (None, loop):
            self._manager = self._make()
        self._loop = loop
        return self._manager

    async def aclose(self) -> None:
        """Close the manager. A later call creates a new one."""
        manager, self._manager = self._manager, None
        if manager is not None:
            await manager.aclose()


class BufferedAssetFile(AbstractBufferedFile):  # type: ignore[misc]  # fsspec has no types
    """A file of a version, opened for blocking reads. fsspec reads it through one of its caches.

    Args:
        filesystem: the filesystem.
        path: the path, as in the filesystem.
        file: the open file.
        options: further arguments for fsspec.
    """

    def __init__(self, filesystem: Any, path: str, file: AssetFile, **options: Any) -> None:
        self._file = file
        self._next = 0
        super().__init__(filesystem, path, "rb", **{**options, "size": file.size})

    def _fetch_range(self, start: int, end: int) -> bytes:
        return blocking(self.fs.loop, self._fetch, start, end)

    async def _fetch(self, start: int, end: int) -> bytes:
        """Read a range. One that follows the range before is read in order, which reads ahead."""
        if start == self._next:
            if await self._file.tell() != start:
                await self._file.seek(start)
            data = await self._file.read(end - start)
        else:
            (data,) = await self._file.read_ranges([(start, end)])
        self._next = start + len(data)
        return data

    def close(self) -> None:
        """Close the file, without waiting: the garbage collector may call this in any thread, at any time."""
        loop = self.fs.loop
        if not self.closed and loop.is_running():
            asyncio.run_coroutine_threadsafe(self._file.aclose(), loop)
        super().close()
