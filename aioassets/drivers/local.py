"""The driver for a local folder, which stores objects as files."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import itertools
import os
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final, Self, TypeVar

import aiofiles
import anyio
from aiofiles.threadpool.binary import AsyncBufferedReader

from aioassets.drivers.bodies import check_document, share_of
from aioassets.drivers.composition import UNLIMITED, Piece, copied_bytes, copied_runs, planned
from aioassets.drivers.contents import find_same
from aioassets.drivers.folder import Folder, copy_bytes, is_pinned_to, opener, unlink
from aioassets.drivers.protocol import (
    MAX_DOCUMENT,
    CommonPrefix,
    Document,
    Driver,
    Expect,
    NoObjectVersions,
    NoPresigning,
    ObjectInfo,
    OpenUpload,
    Revision,
    Run,
    Source,
    Stream,
    StreamedDocument,
    Uploaded,
)
from aioassets.errors import (
    AccessDenied,
    AioAssetsError,
    BucketNotFound,
    CannotCompose,
    NotSameStore,
    ObjectError,
    ObjectNotFound,
    OutOfThreads,
    PreconditionFailed,
    StoreError,
)
from aioassets.model.digests import SHA256
from aioassets.runtime.digests import hash_range
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


class LocalDriver(NoObjectVersions, NoPresigning):
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
        write = self._write_small if source.size <= CHUNK else self._write_large
        return await self._placed(key, expected, partial(write, key, source))

    async def upload_stream(
        self, key: str, stream: Stream, *, expected: Expect = Expect.ABSENT, effects: Effects | None = None
    ) -> Uploaded:
        """Upload a blob of unknown size; see `Driver.upload_stream`. It is written to a temporary file first."""
        return await self._placed(key, expected, partial(self._write_stream, key, stream))

    async def _write_stream(self, key: str, stream: Stream, temporary: str) -> None:
        buffer = memoryview(bytearray(CHUNK))
        async with self._created(key, temporary) as descriptor:
            while count := await stream.readinto(buffer):
                async with self._budget.slot(count):
                    await self._run("write", key, write_at, descriptor, buffer[:count], stream.size - count)

    async def _placed(self, key: str, expected: Expect, write: Callable[[str], Awaitable[None]]) -> Uploaded:
        """Write a temporary file with `write`, and turn it into an object."""
        temporary = self._folder.temporary_path()
        try:
            await write(temporary)
            return await self._small("write", key, self._folder.place, temporary, key, expected)
        finally:
            with anyio.CancelScope(shield=True):
                with contextlib.suppress(OutOfThreads):  # only the removal failed; the object may exist
                    await in_thread(unlink, temporary)

    async def _write_small(self, key: str, source: Source, temporary: str) -> None:
        async with self._budget.slot(source.size):
            data = await source.read(0, source.size)
            await self._run("write", key, self._folder.append, temporary, data)

    async def _write_large(self, key: str, source: Source, temporary: str) -> None:
        async with self._created(key, temporary) as descriptor:
            await self._write_range(key, source, descriptor, 0, source.size)

    def _created(self, key: str, temporary: str) -> contextlib.AbstractAsyncContextManager[int]:
        opening = partial(self._do, "write", key, self._folder.create, temporary)
        return opened(opening, partial(self._do, "write", key, os.close))

    async def _write_range(self, key: str, source: Source, descriptor: int, start: int, stop: int) -> None:
        for offset in range(start, stop, PIECE):
            size = min(PIECE, stop - offset)
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
        """Copy an object from a folder; see `Driver.copy`. If the file system can, the files share their blocks."""
        if not isinstance(source, LocalDriver):
            raise NotSameStore(f"{source.url}/{info.key}")

        async def write(temporary: str) -> None:
            async with self._created(key, temporary) as descriptor:
                await source._copy_to(descriptor, info, 0, info.size, 0)  # noqa: SLF001 - an instance of the same class

        made = await self._placed(key, Expect.ABSENT, write)
        return replace(await self.stat(key), revision=made.revision or info.revision)

    async def compose(
        self,
        key: str,
        source: Source,
        runs: Sequence[Run],
        *,
        expected: Expect = Expect.ABSENT,
        resume: bool = False,
        effects: Effects | None = None,
    ) -> Uploaded:
        """Compose a file; see `Driver.compose`. If the file system can, it shares blocks with the originals."""
        pieces = planned(self._url(key), source.size, runs, UNLIMITED)
        if resume and expected is Expect.ABSENT and (found := await find_same(self, key, source)) is not None:
            return Uploaded(created=False, revision=found.revision)
        made = await self._placed(key, expected, partial(self._write_pieces, key, source, pieces))
        return replace(made, copied=copied_bytes(pieces)) if made.created else made

    def composable(self, size: int, runs: Sequence[Run]) -> Sequence[Run]:
        return copied_runs(size, runs, UNLIMITED)

    async def _write_pieces(self, key: str, source: Source, pieces: Sequence[Piece], temporary: str) -> None:
        async with self._created(key, temporary) as descriptor:
            for piece in pieces:
                if piece.run is None:
                    await self._write_range(key, source, descriptor, piece.offset, piece.stop)
                    continue
                try:
                    await self._copy_to(descriptor, piece.run.info, *piece.span, piece.offset)
                except (AccessDenied, ObjectError) as error:
                    raise CannotCompose(self._url(piece.run.info.key)) from error
            digest = hashlib.sha256()
            await self._run("read", key, hash_range, digest, descriptor, 0, source.size)
        if source.digests.get(SHA256) != digest.hexdigest():
            raise CannotCompose(self._url(key))

    async def _copy_to(self, target: int, info: ObjectInfo, start: int, stop: int, to: int) -> None:
        """Copy a range of an object to an offset in an open file.

        Raises:
            PreconditionFailed: the object has a different revision, or ends before the range does.
        """
        opening = partial(self._do, "read", info.key, self._folder.open_pinned, info.key, info.revision)
        async with opened(opening, partial(self._do, "read", info.key, os.close)) as descriptor:
            for offset in range(start, stop, PIECE):
                end = min(offset + PIECE, stop)
                async with self._budget.slot():
                    await self._run("copy", info.key, copy_bytes, descriptor, target, offset, end, to + offset - start)

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
        if self._folder.is_occupied():
            return BucketNotFound(
                self.url, problem="is not a folder. Use a folder as the store, or move the file away."
            )
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
