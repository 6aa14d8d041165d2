"""Uploads of streams: parts that stay in memory until the store has acknowledged them."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Final, Self

import anyio

from aioassets.drivers.bodies import MIB
from aioassets.drivers.composition import Piece
from aioassets.drivers.contents import find_same, has_sha256_of, present
from aioassets.drivers.parts import SendPart, UploadDropped, start_part
from aioassets.drivers.protocol import Data, Driver, Expect, ObjectInfo, Revision, Stream, Uploaded
from aioassets.errors import PreconditionFailed, StoreUnavailable
from aioassets.runtime.budget import Budget
from aioassets.runtime.effects import Effects
from aioassets.runtime.memory import pages
from aioassets.runtime.tasks import unwrapped

HEAD: Final = 64 * 1024
"""Number of bytes of a stream to read before memory for a part is reserved. Most short streams need no more."""
GROWTH: Final = 8
"""Share of the allowed number of parts that all have the initial size: one in this many. Later parts grow.

With 10,000 parts of at least 5 MiB, this suffices for the 5 TiB that S3 allows.
"""


@dataclass(slots=True, eq=False)
class _Part:
    piece: Piece
    data: memoryview
    reserved: int
    acknowledged: bool = False


class PartStream:
    """A stream that is divided into parts, and the `Source` of those that are in memory.

    A part is kept until the store has acknowledged it and all parts before it. Use this class as an async context
    manager, which frees the memory.

    Args:
        stream: the contents.
        memory: the limit on the bytes that the parts of all streams take.
        part_size: the size of a part in bytes.
        max_parts: the maximum number of parts. If there is one, later parts are larger.

    Attributes:
        pieces: the positions of all parts that have been read.
        size: the number of bytes in these parts.
    """

    def __init__(self, stream: Stream, memory: Budget, part_size: int, max_parts: int | None = None) -> None:
        self._stream = stream
        self._memory = memory
        self._part_size = part_size
        self._max_parts = max_parts
        self._head = memoryview(bytearray(min(HEAD, part_size)))
        self._ahead = 0
        self._is_exhausted = False
        self._parts: deque[_Part] = deque()
        self.pieces: list[Piece] = []
        self.size = 0

    async def __aenter__(self) -> Self:
        try:
            self._ahead = await self._fill(self._head, 0)
            await self.advance()
        except BaseException:
            self._drop_all()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._drop_all()

    @property
    def has_ended(self) -> bool:
        """Whether the last part has been read."""
        return self._is_exhausted and not self._ahead

    @property
    def digests(self) -> Mapping[str, str]:
        """The digests of the whole content; empty until the last part has been read."""
        return self._stream.digests if self.has_ended else {}

    async def advance(self) -> None:
        """Read the next part, and far enough to know whether it is the last one. Wait until there is memory for it."""
        if self._is_exhausted:
            self._add(_Part(self._next_piece(self._ahead), self._head[: self._ahead], 0))
            self._ahead = 0
            return
        size = self._next_size()
        reserved = min(size, self._memory.max_bytes)
        await self._memory.acquire(reserved, urgent=False)
        try:
            data = memoryview(pages(size))
            data[: self._ahead] = self._head
            filled = await self._fill(data, self._ahead)
        except BaseException:
            self._memory.release(reserved)
            raise
        self._add(_Part(self._next_piece(filled), data[:filled], reserved))
        self._ahead = 0 if filled < size else await self._fill(self._head, 0)

    async def read(self, offset: int, size: int) -> Data:
        """Return bytes of a part that is in memory."""
        for part in self._parts:
            start = offset - part.piece.offset
            if start >= 0 and offset + size <= part.piece.stop:
                return part.data[start : start + size]
        raise RuntimeError(f"{size} bytes from {offset} are not in memory")

    async def copy_to(self, descriptor: int, offset: int, size: int) -> bool:
        """Return `False`, because the bytes are in memory."""
        return False

    def acknowledge(self, offset: int) -> None:
        """Note that the store has the part at an offset."""
        for part in self._parts:
            part.acknowledged |= part.piece.offset == offset
        while self._parts and self._parts[0].acknowledged:
            self._drop()

    def _drop_all(self) -> None:
        while self._parts:
            self._drop()

    def _drop(self) -> None:
        if reserved := self._parts.popleft().reserved:
            self._memory.release(reserved)

    def _add(self, part: _Part) -> None:
        self._parts.append(part)
        self.pieces.append(part.piece)
        self.size = part.piece.stop

    def _next_piece(self, size: int) -> Piece:
        return Piece(self.size, size)

    def _next_size(self) -> int:
        if self._max_parts is None:
            return self._part_size
        return max(self._part_size, -(-self.size * GROWTH // (self._max_parts * MIB)) * MIB)

    async def _fill(self, buffer: memoryview, filled: int) -> int:
        while filled < len(buffer):
            count = await self._stream.readinto(buffer[filled:])
            if not count:
                self._is_exhausted = True
                break
            filled += count
        return filled


async def send_as_read(parts: PartStream, send: SendPart, first: int) -> None:
    """Send the parts of a stream in parallel while reading the following ones. Drop each when it has been sent.

    Args:
        parts: the stream, of which the first part has been read.
        send: a function that sends a part, as for `send_in_order`.
        first: the number of the first part.
    """

    async def sent(number: int, offset: int, has_read: Callable[[], None]) -> None:
        await send(number, offset, has_read)
        parts.acknowledge(offset)

    with unwrapped():
        async with anyio.create_task_group() as tasks:
            for number in itertools.count(first):
                await start_part(tasks, sent, number, parts.pieces[-1].offset)
                if parts.has_ended:
                    return
                await parts.advance()


async def upload_stream_by(
    send: Callable[[], Awaitable[Revision]],
    driver: Driver,
    key: str,
    parts: PartStream,
    expected: Expect,
    effects: Effects | None,
) -> Uploaded:
    """Upload a stream in parts. If it consists of one part, upload that like any other source.

    Args:
        send: a function that uploads all parts, or raises `PreconditionFailed` or `UploadDropped`.
        driver: the store.
        key: the object's key.
        parts: the stream, of which the first part has been read.
        expected: the expected current state of the object.
        effects: records requests whose effect is unknown.
    """
    if parts.has_ended:
        return await driver.upload(key, parts, expected=expected, effects=effects)
    url = f"{driver.url}/{key}"
    if expected is Expect.ABSENT and await present(driver, key) is not None:
        raise PreconditionFailed(url)
    try:
        return Uploaded(created=True, revision=await send())
    except UploadDropped as error:  # it may have been completed although the response was lost
        if (found := await _same(driver, key, parts)) is not None:
            return Uploaded(created=True, revision=found.revision)
        detail = "it dropped the upload of a stream, which can't be read again. Push again with a new stream."
        raise StoreUnavailable(url, detail) from error
    except PreconditionFailed:
        if expected is not Expect.ABSENT or (found := await _same(driver, key, parts)) is None:
            raise
        return Uploaded(created=False, revision=found.revision)


async def _same(driver: Driver, key: str, parts: PartStream) -> ObjectInfo | None:
    """Return the object with this key if it has the same contents as a stream that was read up to its end."""
    return await find_same(driver, key, parts, partial(has_sha256_of, driver)) if parts.has_ended else None
