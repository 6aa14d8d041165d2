"""Source files whose content can be read only once: async iterators and file objects."""

from __future__ import annotations

import contextlib
import inspect
import secrets
import weakref
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from anyio.lowlevel import checkpoint

from aioassets.drivers.protocol import Driver
from aioassets.errors import AioAssetsError, SourceError
from aioassets.model.digests import SHA256, new_hash
from aioassets.push.sources import Copied, Divided, HashedSource
from aioassets.runtime.batches import SMALL, in_batch
from aioassets.runtime.cancellation import cleanup_scope
from aioassets.runtime.digests import update_digest
from aioassets.runtime.disk import reason
from aioassets.runtime.effects import Effects
from aioassets.runtime.filereading import FileReader, Moved, position_of
from aioassets.runtime.threads import CHUNK_SIZE, in_thread

TURN: Final = 256
"""Number of chunks of an iterator after which other tasks get a turn, even if the iterator never waits."""

USED: Final = "it was used already, and can be read only once; pass a new one"


class Reader(Protocol):
    """A reader for the content of a stream."""

    async def readinto(self, buffer: memoryview, update: Callable[[memoryview], None]) -> int:
        """Read bytes into a buffer, and pass them to `update` in a thread. Return their number: 0 at the end."""

    async def aclose(self) -> None:
        """Release what the reader holds."""


@dataclass(slots=True, eq=False)
class StreamFile:
    """A file in the source of a push whose content is read while it is uploaded.

    Attributes:
        path: the path relative to the asset, with `/` as the separator; empty for a file asset.
        source: the name of the stream, for messages.
        value: the async iterable or file object.
        open_reader: a function that returns a reader for the value.
        identity: a unique text, so that no push resumes another one.
        size: the size in bytes, once it is known; 0 before.
    """

    path: str
    source: str
    value: object
    open_reader: Callable[[str, Any], Reader]
    identity: str
    size: int = 0

    @classmethod
    def of(cls, path: str, source: str, value: object, open_reader: Callable[[str, Any], Reader]) -> StreamFile:
        """Return a file with a new identity, or raise `SourceError` if its stream was used already."""
        uses.check(source, value)
        return cls(path, source, value, open_reader, secrets.token_hex(16))

    @property
    def executable(self) -> bool:
        return False

    def opened(self) -> HashedSource:
        raise RuntimeError("a stream can't be read twice; call `stream`")

    async def stream(self) -> HashedStream:
        """Begin to read the content.

        Raises:
            SourceError: if the stream was used already.
        """
        await in_thread(uses.begin, self.source, self.value)
        return HashedStream(self, self.open_reader(self.source, self.value))

    def changed(self) -> bool:
        return False

    async def hashed(self, algorithm: str) -> str | None:
        return None

    async def divided(self) -> Divided | None:
        return None

    async def copied(self, driver: Driver, key: str, effects: Effects) -> Copied | None:
        """Return `None`, because no store has the content."""


class HashedStream:
    """A `Stream` that hashes its content as it is read.

    Args:
        file: the file that it is the content of. Its size is set at the end.
        reader: the reader.
    """

    def __init__(self, file: StreamFile, reader: Reader) -> None:
        self._file = file
        self._reader = reader
        self._hash = new_hash(SHA256)
        self._has_ended = False
        self.size = 0

    @property
    def digests(self) -> Mapping[str, str]:
        return {SHA256: self._hash.hexdigest()} if self._has_ended else {}

    async def readinto(self, buffer: memoryview) -> int:
        count = 0
        if not self._has_ended:
            count = await self._reader.readinto(buffer[:CHUNK_SIZE], self._update)
        self.size += count
        if not count:
            self._has_ended = True
            self._file.size = self.size
        return count

    def _update(self, data: memoryview) -> None:
        update_digest(self._hash, data)

    async def aclose(self) -> None:
        """End the use of the stream. An async generator is closed, a file object isn't."""
        with cleanup_scope():
            await in_thread(uses.end, self._file.value)
            await self._reader.aclose()


class IteratorReader:
    """A reader for an async iterator of bytes.

    Args:
        source: the name of the stream, for messages.
        iterator: the iterator.
        owned: whether to close the iterator.
    """

    def __init__(self, source: str, iterator: AsyncIterator[object], *, owned: bool) -> None:
        self._source = source
        self._iterator = iterator
        self._owned = owned
        self._rest = memoryview(b"")
        self._has_ended = False

    async def readinto(self, buffer: memoryview, update: Callable[[memoryview], None]) -> int:
        pieces: list[memoryview] = []
        filled = steps = 0
        while filled < len(buffer):
            if not self._rest:
                if self._has_ended or not await self._advance():
                    break
                steps += 1
                if not steps % TURN:
                    await checkpoint()
                continue
            piece = self._rest[: len(buffer) - filled]
            self._rest = self._rest[len(piece) :]
            pieces.append(piece)
            filled += len(piece)
        if filled:
            await (in_batch if filled <= SMALL else in_thread)(_join, pieces, buffer[:filled], update)
        return filled

    async def _advance(self) -> bool:
        try:
            chunk: Any = await anext(self._iterator)
        except StopAsyncIteration:
            self._has_ended = True
            return False
        except SourceError:
            raise
        except AioAssetsError as error:  # must not be taken for an error of the store to push to
            raise SourceError(self._source, f"its iterator failed: {str(error).removesuffix('.')}") from error
        if not isinstance(chunk, bytes | bytearray | memoryview):
            raise SourceError(self._source, f"its iterator yielded {_kind(chunk)}; it must yield bytes")
        if not isinstance(chunk, bytes):  # the iterator may use the same buffer again
            chunk = await in_thread(bytes, chunk) if len(chunk) > SMALL else bytes(chunk)
        self._rest = memoryview(chunk)
        return True

    async def aclose(self) -> None:
        close = getattr(self._iterator, "aclose", None)
        if close is not None and (self._owned or inspect.isasyncgen(self._iterator)):
            with contextlib.suppress(Exception):  # the push has ended, with or without an error
                await close()


def _join(pieces: list[memoryview], buffer: memoryview, update: Callable[[memoryview], None]) -> None:
    start = 0
    for piece in pieces:
        buffer[start : start + len(piece)] = piece
        start += len(piece)
    update(buffer)


def is_blocking_file(value: Any) -> bool:
    """Return whether a value is a file object whose methods aren't coroutine functions."""
    return hasattr(value, "read") and not inspect.iscoroutinefunction(value.read)


def is_repeatable(value: object) -> bool:
    """Return whether a value is an async iterable that returns a new iterator each time."""
    return hasattr(value, "__aiter__") and not hasattr(value, "__anext__") and not hasattr(value, "read")


def _kind(value: object) -> str:
    return "text" if isinstance(value, str) else f"a value of type {type(value).__name__}"


def read_iterable(source: str, value: Any) -> Reader:
    """Return a reader for an async iterable."""
    iterator = aiter(value)
    return IteratorReader(source, iterator, owned=iterator is not value)


def read_async_file(source: str, value: Any) -> Reader:
    """Return a reader for a file object whose `read` is a coroutine function."""

    async def chunks() -> AsyncIterator[object]:
        while chunk := await value.read(CHUNK_SIZE):
            yield chunk

    return IteratorReader(source, chunks(), owned=True)


class _FileStreamReader:
    """A reader for a binary file object that translates its errors."""

    def __init__(self, source: str, file: Any) -> None:
        self._source = source
        self._file = file
        self._reader = FileReader(file)

    async def readinto(self, buffer: memoryview, update: Callable[[memoryview], None]) -> int:
        try:
            return await self._reader.readinto(buffer, update)
        except Moved:
            raise SourceError(
                self._source, "something else read the file object, or moved its position, during the push"
            ) from None
        except (OSError, TypeError, ValueError) as error:
            if getattr(self._file, "closed", False):
                raise SourceError(self._source, "the file object was closed during the push") from error
            raise SourceError(self._source, reason(error) if isinstance(error, OSError) else str(error)) from error

    async def aclose(self) -> None:
        """Do nothing, because the caller that opened the file closes it."""


def read_file(source: str, value: Any) -> Reader:
    """Return a reader for a binary file object."""
    return _FileStreamReader(source, value)


@dataclass(slots=True)
class _Use:
    reference: weakref.ref[object]
    is_active: bool
    position: int | None = None


class Uses:
    """A record of the streams that pushes have used, so that none is taken for an empty one later.

    Streams that can't be referenced weakly are not recorded.
    """

    def __init__(self) -> None:
        self._uses: dict[int, _Use] = {}

    def check(self, source: str, value: object) -> None:
        """Raise `SourceError` if a stream was used already, or nothing moved a file object since. Blocking."""
        if inspect.isasyncgen(value) and value.ag_frame is None:
            raise SourceError(source, USED)
        use = self._uses.get(id(value))
        if use is None or use.reference() is not value or is_repeatable(value):
            return
        if use.is_active:
            raise SourceError(source, "another push, or another file of this push, is reading it")
        if use.position is None:
            raise SourceError(source, USED)
        if use.position and position_of(value) == use.position:
            raise SourceError(source, "a push has read it up to its end; call seek(0) to push its content again")

    def begin(self, source: str, value: object) -> None:
        """Record the use of a stream, or raise `SourceError` as `check` does. Blocking."""
        self.check(source, value)
        if is_repeatable(value):
            return
        number = id(value)
        with contextlib.suppress(TypeError):
            self._uses[number] = _Use(weakref.ref(value, lambda _: self._uses.pop(number, None)), is_active=True)

    def end(self, value: object) -> None:
        """Record that a stream isn't being read any more. Blocking."""
        if (use := self._uses.get(id(value))) is not None:
            use.is_active = False
            use.position = position_of(value) if is_blocking_file(value) else None


uses: Final = Uses()
"""The uses of streams in this process."""
