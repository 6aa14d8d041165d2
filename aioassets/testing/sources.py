"""Sources and documents for conformance tests."""

from __future__ import annotations

import hashlib
import itertools
import os
from collections.abc import Iterator, Mapping

import anyio


class BytesSource:
    """A `Source` that holds its contents in memory.

    Args:
        data: the contents.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._hash = hashlib.sha256()
        self._hashed = 0

    @property
    def size(self) -> int:
        return len(self._data)

    @property
    def digests(self) -> Mapping[str, str]:
        return {"sha256": self._hash.hexdigest()} if self._hashed == self.size else {}

    async def read(self, offset: int, size: int) -> bytes:
        assert offset <= self._hashed, f"read from offset {offset} before the bytes from {self._hashed} had been read"
        data = self._data[offset : offset + size]
        assert len(data) == size, f"read {size} bytes from offset {offset}, but the size is {self.size}"
        if offset == self._hashed:
            self._hash.update(data)
            self._hashed += size
        return data

    async def copy_to(self, descriptor: int, offset: int, size: int) -> bool:
        return False


class KnownSource(BytesSource):
    """A source whose digests are already known, so that it can be read from any offset."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self._hash.update(data)
        self._hashed = len(data)


class FailingSource(BytesSource):
    """A source that raises `BrokenSource` when its second half is read."""

    async def read(self, offset: int, size: int) -> bytes:
        if offset + size > self.size // 2:
            raise BrokenSource
        return await super().read(offset, size)


class StuckSource(BytesSource):
    """A source that sets `stuck` and blocks forever when its second half is read."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.stuck = anyio.Event()

    async def read(self, offset: int, size: int) -> bytes:
        if offset + size > self.size // 2:
            self.stuck.set()
            await anyio.sleep_forever()
        return await super().read(offset, size)


class KnownFailingSource(FailingSource, KnownSource):
    """A `FailingSource` whose digests are known."""


class KnownStuckSource(StuckSource, KnownSource):
    """A `StuckSource` whose digests are known."""


class BytesStream:
    """A `Stream` of contents in memory, which is read in pieces of uneven sizes.

    Args:
        data: the contents.
        stop: the offset at which `fail` is called instead of reading on; `None` to read all contents.
    """

    def __init__(self, data: bytes, stop: int | None = None) -> None:
        self._data = data
        self._stop = stop
        self.size = 0
        self.has_ended = False

    @property
    def digests(self) -> Mapping[str, str]:
        return {"sha256": hashlib.sha256(self._data).hexdigest()} if self.has_ended else {}

    async def readinto(self, buffer: memoryview) -> int:
        assert not self.has_ended, "read after the end"
        assert len(buffer) > 0, "read into an empty buffer"
        if self._stop is not None and self.size >= self._stop:
            await self.fail()
        piece = self._data[self.size : self.size + min(len(buffer), 300_007)]
        buffer[: len(piece)] = piece
        self.size += len(piece)
        self.has_ended = not piece
        return len(piece)

    async def fail(self) -> None:
        """Raise `BrokenSource`."""
        raise BrokenSource


class StuckStream(BytesStream):
    """A stream that sets `stuck` and blocks forever when it reaches the offset `stop`."""

    def __init__(self, data: bytes, stop: int) -> None:
        super().__init__(data, stop)
        self.stuck = anyio.Event()

    async def fail(self) -> None:
        """Block forever."""
        self.stuck.set()
        await anyio.sleep_forever()


class RandomDocument:
    """A `StreamedDocument` with random content."""

    def __init__(self) -> None:
        self._piece = os.urandom(300_000)
        self.sha256 = hashlib.sha256(bytes(self)).hexdigest()

    def __len__(self) -> int:
        return 8 * len(self._piece)

    def __iter__(self) -> Iterator[bytes]:
        return itertools.repeat(self._piece, 8)

    def __bytes__(self) -> bytes:
        return b"".join(self)


class BrokenSource(Exception):
    """Raised by `FailingSource` and `BytesStream`."""
