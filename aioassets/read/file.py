"""Files of versions that are open for reading."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Awaitable, Callable, Iterable
from types import TracebackType
from typing import Protocol, Self, TypeVar

import anyio

from aioassets.errors import IntegrityError, UsageError
from aioassets.fetch.digests import hash_for
from aioassets.model.digests import best_of
from aioassets.read.ahead import Ahead, Allowance, OrderedHash
from aioassets.read.pieces import Opened, Piece, Span
from aioassets.read.ranges import checked_ranges, read_ranges
from aioassets.runtime.tasks import supervised
from aioassets.runtime.threads import in_thread

__all__ = ["AssetFile"]

T = TypeVar("T")


class Run(Protocol):
    """A function that runs a call of the manager."""

    async def __call__(self, work: Callable[[], Awaitable[T]], /) -> T:
        """Run the call."""


class AssetFile:
    """One file of a version, open for reading. `AssetsManager.open` returns it.

    It is read where it is: from the cache if it is there, else from the store by ranges. What it reads is always the
    state of the file when it was pushed or, if the manifest doesn't record a revision, when it was opened. If the
    object is replaced or deleted, calls raise an `IntegrityError` or `VersionDeleted`.

    Use a file as an async context manager, or close it with `aclose`. Calls that use the position wait for each other;
    `read_ranges` can be called concurrently.

    Sequential reading reads ahead, as much as was read in order before. All files of a manager together read ahead
    `max_bytes` at most.

    Attributes:
        name: the asset's name.
        version: the version that the spec resolved to.
        path: the path of the file in the version; empty for a file asset.
        size: the size in bytes.
        from_cache: whether the file is read from the cache.
        entry: the file's entry in the manifest.
    """

    def __init__(
        self,
        opened: Opened,
        *,
        verify: bool,
        allowance: Allowance,
        at_once: int,
        run: Run,
        disk_errors: Callable[[], contextlib.AbstractContextManager[None]],
    ) -> None:
        self.name = opened.name
        self.version = opened.version
        self.path = opened.entry.path
        self.size = opened.size
        self.from_cache = opened.from_cache
        self.entry = opened.entry
        self._label = opened.label
        self._pieces = opened.pieces
        self._verify = verify
        self._allowance = allowance
        self._at_once = at_once
        self._run = run
        self._disk_errors = disk_errors
        self._turn = anyio.Lock()
        self._position = 0
        self._ahead: Ahead | None = None
        self._current: Piece | None = None
        self._is_closed = False
        self._has_returned = False
        self._has_loose = False
        self._is_pending = False
        self._digest: OrderedHash | None = None
        self._damage: IntegrityError | None = None
        self._under_way: set[anyio.Event] = set()

    @property
    def closed(self) -> bool:
        """Whether the file is closed."""
        return self._is_closed

    @property
    def verified(self) -> bool:
        """Whether all bytes that the file has returned were verified. `False` until it has returned any.

        Bytes are verified if any of these applies:

        - They were read from the cache, and the manifest has a digest with which they were verified when they were
          downloaded. The size and modification time of the file are as they were then.
        - The file has at most 1 MiB, and the manifest has its digest. Such a file is verified as a whole before any of
          it is returned.
        - The version has digests of the file's chunks, which exist for files of 16 MiB and more if they were pushed
          with the extra `deltas`. Chunks are verified before any of them is returned. This needs the package `blake3`,
          which the same extra installs.
        - The manifest has the file's digest, and the whole file was read in order from its start to its end, without
          `seek`. The digest is compared before the last bytes are returned. Until then, this is `False`.

        With `verify=False`, this is `False` except for files in the cache. With `verify=True`, it is always `True` for
        an empty file whose digest the manifest has.
        """
        if not self.size:
            return self.from_cache or (self._verify and best_of(self.entry.digests) is not None)
        return self._has_returned and not self._has_loose and not self._is_pending

    async def read(self, size: int | None = -1, /) -> bytes:
        """Read up to `size` bytes, or up to the end of the file. Return fewer only at the end of the file.

        Args:
            size: the number of bytes; negative or `None` for all that follow, which are all kept in memory.

        Raises:
            IntegrityError: if the file isn't what was pushed. The position doesn't change.
            VersionDeleted: if the version was deleted.
            UsageError: if the file is closed.
        """
        self._check_open()
        limit = -1 if size is None else _integer(size, "size")
        async with self._turn:
            left = max(0, self.size - self._position)
            wanted = left if limit < 0 else min(limit, left)
            if (data := self._in_memory(wanted)) is not None:
                return data
            kept = io.BytesIO()
            await self._call(lambda: self._copy(wanted, kept.write))
            return kept.getvalue()

    async def readinto(self, buffer: bytearray | memoryview, /) -> int:
        """Read bytes into a buffer, and return their number, which is only smaller at the end of the file.

        Raises:
            IntegrityError: if the file isn't what was pushed. The position doesn't change.
            VersionDeleted: if the version was deleted.
            UsageError: if the buffer isn't a writable contiguous buffer, or the file is closed.
        """
        self._check_open()
        view = _writable(buffer)
        async with self._turn:
            wanted = min(len(view), max(0, self.size - self._position))
            filled = 0

            def fill(data: memoryview) -> None:
                nonlocal filled
                view[filled : filled + len(data)] = data
                filled += len(data)

            await self._call(lambda: self._copy(wanted, fill))
            return wanted

    async def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Change the position, and return the new one. It may be after the end of the file.

        Args:
            offset: the number of bytes from the place that `whence` names.
            whence: the start of the file (0), the current position (1) or the end of the file (2).

        Raises:
            UsageError: if the new position would be negative, `whence` is another number, or the file is closed.
        """
        self._check_open()
        async with self._turn:
            bases = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self.size}
            if whence not in bases or bases[whence] + _integer(offset, "offset") < 0:
                raise UsageError(f"Cannot seek to {offset} with whence={whence} in {self._label}.")
            self._position = bases[whence] + offset
            return self._position

    async def tell(self) -> int:
        """Return the position: the number of bytes before the next one to read."""
        self._check_open()
        return self._position

    async def read_ranges(self, ranges: Iterable[tuple[int, int]], /) -> list[bytes]:
        """Read many ranges in parallel, within the manager's budget. The position doesn't change.

        Ranges that are at most 256 KiB apart are read by one request. Long ranges are read by requests of 8 MiB.

        Args:
            ranges: the offset of the first byte and the one after the last byte, for each range. Both may be after the
                end of the file, where there are no more bytes.

        Returns:
            The bytes of each range, in the given order.

        Raises:
            IntegrityError: if the file isn't what was pushed.
            VersionDeleted: if the version was deleted.
            UsageError: if a range is invalid, or the file is closed.
        """
        return await self._call(lambda: self._read_ranges(ranges))

    async def aclose(self) -> None:
        """Cancel what is read in order or ahead, wait for calls of `read_ranges`, and close the file.

        This method can safely be called more than once.
        """
        was_closed, self._is_closed = self._is_closed, True
        if not was_closed:
            await supervised(self._aclose)

    async def _aclose(self) -> None:
        with anyio.CancelScope(shield=True):
            if self._ahead is not None:
                await self._ahead.aclose()
            for ended in tuple(self._under_way):
                await ended.wait()
            self._ahead = self._current = None
            await self._pieces.aclose()

    async def __aenter__(self) -> Self:
        self._check_open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        return f"<AssetFile {self._label!r}{' (closed)' if self._is_closed else ''}>"

    def _check_open(self) -> None:
        if self._is_closed:
            raise UsageError(f"The file {self._label} is closed. Open it again.")

    async def _call(self, work: Callable[[], Awaitable[T]]) -> T:
        """Run a call of the manager, for whose end `aclose` waits."""
        self._check_open()
        if self._damage is not None:
            raise self._damage
        ended = anyio.Event()
        self._under_way.add(ended)
        try:
            with self._disk_errors():
                return await self._run(work)
        finally:
            self._under_way.remove(ended)
            ended.set()

    # Reading in order. Only one task at a time gets here.

    def _in_memory(self, wanted: int) -> bytes | None:
        """Return bytes from the position on if the current piece has that many; `None` otherwise."""
        piece, start = self._current, self._position
        if piece is None or not piece.start <= start <= start + wanted <= piece.stop:
            return None
        self._position += wanted
        self._note(piece)
        return bytes(piece.view(start, start + wanted))

    async def _copy(self, wanted: int, write: Callable[[memoryview], object]) -> None:
        """Write bytes from the position on. After an error, the position and `verified` are as before."""
        start, stop = self._position, self._position + wanted
        while start < stop:
            piece = await self._piece_at(start, stop - start)
            data = piece.view(start, stop)
            write(data)
            start += len(data)
        if wanted:
            self._position = stop
            self._note(piece)

    async def _piece_at(self, position: int, wanted: int) -> Piece:
        if self._ahead is None or not self._ahead.has(position):
            await self._begin_at(position)
        assert self._ahead is not None  # noqa: S101 - it was just set
        try:
            self._current = await self._ahead.piece(position, wanted)
        except Exception:
            self._damage = None if self._digest is None else self._digest.damage
            await self._begin_at(position)  # the next call begins anew
            raise
        return self._current

    async def _begin_at(self, position: int) -> None:
        """Read in order from an offset on, and no longer from where that was done before."""
        ahead, self._current = self._ahead, None
        digest = None
        if position == 0 and self._verify and (found := await in_thread(hash_for, self.entry)) is not None:
            digest = OrderedHash(self._label, self.entry, found, self.size)
        self._has_loose |= self._is_pending
        self._is_pending = False
        self._digest = digest
        self._ahead = Ahead(self._pieces, self.size, position, self._allowance, digest)
        if ahead is not None:
            await ahead.aclose()

    def _note(self, piece: Piece) -> None:
        """Note that bytes up to some within a piece are returned, all since the last note."""
        self._has_returned = True
        if not piece.verified:
            self._has_loose |= self._digest is None
            self._is_pending = self._digest is not None and piece.stop < self.size

    # Reading ranges

    async def _read_ranges(self, ranges: Iterable[Span]) -> list[bytes]:
        wanted = checked_ranges(ranges, self.size, self._label)
        found, verified = await read_ranges(self._pieces, wanted, self._at_once)
        if any(found):
            self._has_returned = True
            self._has_loose |= not verified
        return found


def _integer(value: int, what: str) -> int:
    if not isinstance(value, int):
        raise UsageError(f"The {what} must be an integer, not {type(value).__name__}.")
    return value


def _writable(buffer: bytearray | memoryview) -> memoryview:
    try:
        view = memoryview(buffer).cast("B")
    except TypeError:
        view = memoryview(b"")
    if view.readonly:
        what = type(buffer).__name__
        raise UsageError(f"Cannot read into a value of type {what}: pass a writable contiguous buffer.")
    return view
