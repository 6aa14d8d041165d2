"""The driver for a local folder, which stores objects as files."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Final, Self, TypeVar

import aiofiles
import anyio
from aiofiles.threadpool.binary import AsyncBufferedReader

from aioassets.drivers.bodies import check_document, share_of
from aioassets.drivers.contents import find_same
from aioassets.drivers.folder import Folder, is_pinned_to, opener, unlink
from aioassets.drivers.protocol import (
    MAX_DOCUMENT,
    CommonPrefix,
    Document,
    Driver,
    Expect,
    NoObjectVersions,
    ObjectInfo,
    OpenUpload,
    Revision,
    Source,
    StreamedDocument,
    Uploaded,
)
from aioassets.errors import (
    AioAssetsError,
    BucketNotFound,
    NotSameStore,
    ObjectNotFound,
    OutOfThreads,
    PreconditionFailed,
    StoreError,
)
from aioassets.runtime.disk import DENIED, STALE_TRIES, again_if_stale, denied, reason, write_at
from aioassets.runtime.dispatch import Dispatcher
from aioassets.runtime.effects import Effects
from aioassets.runtime.threads import LoopThreads, in_thread, opened

__all__ = ["LocalDriver"]

T = TypeVar("T")

CHUNK: Final = 1024 * 1024
PIECE: Final = 8 * CHUNK
"""Number of bytes that the system copies in one call. Cancellation takes effect between calls."""
PAGE: Final = 1000

_MISSING: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.EISDIR})


class LocalDriver(NoObjectVersions):
    """A store in a local folder. Any number of processes can share it safely.

    The file system must support hard links, and locks that other processes and machines can see.
    If it doesn't, conditional writes raise `StoreUnsuitable`. The first write creates the folder.
    The umask determines the modes of files and folders; the modes of the sources are ignored.
    To restrict access, set the umask or the mode of the folder.

    Args:
        path: the folder. A leading `~` is expanded to the user's home directory.
        dispatcher: the dispatcher whose budget limits the requests.
    """

    def __init__(self, path: str | os.PathLike[str], *, dispatcher: Dispatcher | None = None) -> None:
        self._folder = Folder(_absolute(os.path.expanduser(os.fspath(path))))
        self.url = Path(self._folder.root).as_uri()
        self._budget = (dispatcher or Dispatcher()).budget

    @property
    def identity(self) -> str:
        """The URL, followed by the real path if the folder's path contains symbolic links. Accessing it may block."""
        real = Path(os.path.realpath(self._folder.root)).as_uri()
        return self.url if real == self.url else f"{self.url}@{real}"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()

    async def read(self, key: str, *, limit: int = MAX_DOCUMENT) -> Document:
        def check(size: int) -> None:
            check_document(size, limit, self._url(key))

        async with self._budget.slot(**share_of(limit)):
            return await self._run("read", key, again_if_stale, self._folder.read, key, check)

    async def write(
        self, key: str, data: bytes | StreamedDocument, *, expected: Revision | Expect, effects: Effects | None = None
    ) -> Revision:
        return await self._small("write", key, self._folder.write, key, data, expected)

    async def stat(self, key: str) -> ObjectInfo:
        return await self._small("read", key, self._folder.stat, key)

    async def delete(self, keys: Iterable[str], *, effects: Effects | None = None) -> None:
        remaining = iter(keys)
        failed: list[tuple[str, OSError]] = []
        while batch := list(itertools.islice(remaining, PAGE)):
            if (failure := await self._small("delete", batch[0], self._folder.delete, batch)) is not None:
                failed.append(failure)
        for key, error in failed[:1]:
            raise await in_thread(self._translated, error, "delete", key) from error

    async def upload(
        self,
        key: str,
        source: Source,
        *,
        expected: Expect = Expect.ABSENT,
        resume: bool = False,
        effects: Effects | None = None,
    ) -> Uploaded:
        if resume and expected is Expect.ABSENT and (found := await find_same(self, key, source)) is not None:
            return Uploaded(created=False, revision=found.revision)
        temporary = self._folder.temporary_path()
        try:
            if source.size <= CHUNK:
                async with self._budget.slot(source.size):
                    data = await source.read(0, source.size)
                    await self._run("write", key, self._folder.append, temporary, data)
            else:
                await self._write_large(key, source, temporary)
            return await self._small("write", key, self._folder.place, temporary, key, expected)
        finally:
            with anyio.CancelScope(shield=True):
                with contextlib.suppress(OutOfThreads):  # only the removal failed; the object may exist
                    await in_thread(unlink, temporary)

    async def _write_large(self, key: str, source: Source, temporary: str) -> None:
        opening = partial(self._do, "write", key, self._folder.create, temporary)
        async with opened(opening, partial(self._do, "write", key, os.close)) as descriptor:
            for offset in range(0, source.size, PIECE):
                size = min(PIECE, source.size - offset)
                if not await self._copy_piece(key, source, descriptor, offset, size):
                    await self._write_piece(key, source, descriptor, offset, size)

    async def _copy_piece(self, key: str, source: Source, descriptor: int, offset: int, size: int) -> bool:
        async with self._budget.slot():
            try:
                return await source.copy_to(descriptor, offset, size)
            except OSError as error:
                raise await in_thread(self._translated, error, "write", key) from error

    async def _write_piece(self, key: str, source: Source, descriptor: int, offset: int, size: int) -> None:
        for start in range(offset, offset + size, CHUNK):
            length = min(CHUNK, offset + size - start)
            async with self._budget.slot(length):
                data = await source.read(start, length)
                await self._run("write", key, write_at, descriptor, data, start)

    async def read_range(
        self, key: str, start: int, stop: int, *, revision: Revision | None = None
    ) -> AsyncGenerator[bytes, None]:
        for tries in range(STALE_TRIES, 0, -1):
            try:
                async with self._budget.slot(min(CHUNK, stop - start)), _opened(self._folder.path(key)) as file:
                    if revision is not None and not is_pinned_to(await in_thread(os.fstat, file.fileno()), revision):
                        raise PreconditionFailed(self._url(key))
                    await file.seek(start)
                    while start < stop and (chunk := await file.read(min(CHUNK, stop - start))):
                        start += len(chunk)
                        yield chunk
                return
            except OSError as error:
                if error.errno != errno.ESTALE or tries == 1:
                    raise await in_thread(self._translated, error, "read", key) from error

    def local_path(self, key: str) -> str | None:
        try:
            return self._folder.path(key)
        except OSError:  # no object can have this key
            return None

    async def copy(self, source: Driver, info: ObjectInfo, key: str, *, effects: Effects | None = None) -> ObjectInfo:
        raise NotSameStore(f"{source.url}/{info.key}")

    async def list(self, prefix: str, *, delimiter: str | None = None) -> AsyncIterator[ObjectInfo | CommonPrefix]:
        """List objects; see `Driver.list`. The only supported delimiter is `/`."""
        if delimiter not in (None, "/"):
            raise ValueError("the only delimiter that a folder supports is '/'")
        walk = self._folder.walk(prefix, deep=delimiter is None)
        while page := await self._listed(prefix, walk):
            for item in page:
                yield item

    async def _listed(
        self, prefix: str, walk: Iterator[ObjectInfo | CommonPrefix]
    ) -> Sequence[ObjectInfo | CommonPrefix]:
        async with self._budget.slot(urgent=True):
            return await self._run("list", prefix, _page, walk)

    async def open_uploads(self, prefix: str) -> AsyncIterator[OpenUpload]:
        """List temporary files, whose keys are unknown; see `Driver.open_uploads`."""
        for upload in await self._small("list", prefix, self._folder.temporaries):
            yield upload

    async def abort(self, upload: OpenUpload) -> None:
        await self._small("delete", upload.id, self._folder.remove_temporary, upload.id)

    async def aclose(self) -> None:
        """Do nothing: there are no connections to close."""

    def _url(self, key: str) -> str:
        return f"{self.url}/{key}"

    async def _small(self, doing: str, key: str, work: Callable[..., T], *args: object) -> T:
        """Run a short function that is safe to repeat."""
        async with self._budget.slot(urgent=True):
            return await self._run(doing, key, again_if_stale, work, *args)

    async def _run(self, doing: str, key: str, work: Callable[..., T], *args: object) -> T:
        return await in_thread(partial(self._do, doing, key, work, *args))

    def _do(self, doing: str, key: str, work: Callable[..., T], *args: object) -> T:
        try:
            return work(*args)
        except OSError as error:
            raise self._translated(error, doing, key) from error

    def _translated(self, error: OSError, doing: str, key: str) -> AioAssetsError:
        if error.errno in DENIED:
            return denied(self.url, f"{doing} {key!r}", error)
        if isinstance(error, FileExistsError) or (doing == "write" and error.errno in _MISSING):
            return PreconditionFailed(self._url(key))
        if error.errno not in _MISSING:
            return StoreError(f"Cannot use {self._url(key)}: {reason(error)}.")
        if self._folder.exists():
            return ObjectNotFound(self._url(key))
        return BucketNotFound(self.url, creatable=True)


@contextlib.asynccontextmanager
async def _opened(path: str) -> AsyncIterator[AsyncBufferedReader]:
    async with LoopThreads() as threads:
        # Cancelling aiofiles while it opens or closes a file would leak the file that its thread opened.
        with anyio.CancelScope(shield=True):
            file = await aiofiles.open(path, "rb", opener=opener, executor=threads)
        try:
            yield file
        finally:
            with anyio.CancelScope(shield=True):
                await file.close()


def _absolute(path: str) -> str:
    # Reading the working directory may block, so it is read only for relative paths.
    return os.path.normpath(path) if os.path.isabs(path) else os.path.abspath(path)


def _page(walk: Iterator[ObjectInfo | CommonPrefix]) -> Sequence[ObjectInfo | CommonPrefix]:
    return list(itertools.islice(walk, PAGE))
