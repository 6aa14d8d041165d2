"""Sending request bodies, and reading documents and ranges of objects."""

from __future__ import annotations

import contextlib
import io
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Final, TypedDict

from aioassets.drivers.http.connections import Watch
from aioassets.drivers.protocol import SMALL_DOCUMENT, Data, Driver, Revision, StreamedDocument
from aioassets.errors import DocumentTooLarge, PreconditionFailed, StoreError
from aioassets.runtime.dispatch import Dispatcher
from aioassets.runtime.threads import in_thread

MIB: Final = 1024 * 1024
CHUNK: Final = MIB
"""Size in bytes of the chunks that a reader yields. Each chunk costs a round trip to a thread."""
WHOLE: Final = 64 * 1024
"""Maximum size in bytes of a body that is written to the socket in one piece."""


class Share(TypedDict):
    """A request's share of the budget, as keyword arguments for `Dispatcher.send`."""

    nbytes: int
    urgent: bool


class PastEnd(Exception):
    """Raised if the requested range begins beyond the end of the object."""


@dataclass(frozen=True, slots=True)
class Part:
    """A response to a range request, whose body hasn't been read yet.

    Attributes:
        pieces: the body.
        revision: the revision of the object, or `None` if the store doesn't send it.
        ranged: whether the body is the requested range rather than the whole object.
        length: the length of the body in bytes, or `None` if the store doesn't report it.
    """

    pieces: AsyncIterator[Data]
    revision: Revision | None
    ranged: bool
    length: int | None


OpenRange = Callable[[str, int, int, Revision | None], contextlib.AbstractAsyncContextManager[Part]]
"""A function that requests a range of an object, optionally of a given revision. It may raise `PastEnd`."""


async def read_range(
    driver: Driver,
    dispatcher: Dispatcher,
    open_range: OpenRange,
    key: str,
    start: int,
    stop: int,
    revision: Revision | None,
) -> AsyncGenerator[Data, None]:
    """Implement `Driver.read_range`, given a function that requests a single range."""
    if stop <= start:  # HTTP has no empty range, but the object must still be checked
        if (await driver.stat(key)).revision != revision and revision is not None:
            raise PreconditionFailed(f"{driver.url}/{key}")
        return
    url = f"{driver.url}/{key}"
    pinned = revision

    async def open_at(offset: int) -> AsyncGenerator[Data, None]:
        nonlocal pinned
        async with open_range(key, offset, stop, pinned) as part:
            _check_ranged(part, offset, stop, url)
            pinned = part.revision or pinned  # a resumed read must return the same revision
            async with contextlib.aclosing(_in_chunks(part.pieces)) as chunks:
                async for chunk in chunks:
                    yield chunk

    with contextlib.suppress(PastEnd):
        async with contextlib.aclosing(dispatcher.stream(open_at, start, stop)) as chunks:
            async for chunk in chunks:
                yield chunk


def _check_ranged(part: Part, start: int, stop: int, url: str) -> None:
    if not part.ranged and (start or part.length is None or part.length > stop):
        raise StoreError(f"Cannot read a range of {url}: the store returned the whole object.")


async def _in_chunks(pieces: AsyncIterator[Data]) -> AsyncGenerator[Data, None]:
    """Join small pieces. If an error occurs, yield the bytes that have already arrived before raising it."""
    pending: list[Data] = []
    size = 0
    broken: Exception | None = None
    try:
        async for piece in pieces:
            if size and size + len(piece) > CHUNK:
                yield _joined(pending)
                pending, size = [], 0
            pending.append(piece)
            size += len(piece)
            if size >= CHUNK:
                yield _joined(pending)
                pending, size = [], 0
    except Exception as error:
        broken = error
    if pending:
        yield _joined(pending)
    if broken is not None:
        raise broken


def _joined(pieces: list[Data]) -> Data:
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


async def read_whole(pieces: AsyncIterator[Data], length: int | None, limit: int, url: str) -> bytes:
    """Read the body of a document.

    Args:
        pieces: the body.
        length: the length that the store reports, if any.
        limit: the maximum size of the document in bytes.
        url: the document's URL, for error messages.

    Raises:
        DocumentTooLarge: the document is larger than `limit`.
    """
    check_document(length or 0, limit, url)
    kept = io.BytesIO()  # unlike joining a list, this copies nothing
    async for piece in pieces:
        if kept.tell() + len(piece) > limit:
            raise DocumentTooLarge(url, length, limit)
        kept.write(piece)
    return kept.getvalue()


def share_of(limit: int) -> Share:
    """Return the share of the budget for reading a document whose size isn't known yet."""
    return {"nbytes": 0, "urgent": True} if limit <= SMALL_DOCUMENT else {"nbytes": limit, "urgent": False}


async def joined(data: Data | StreamedDocument) -> Data:
    """Return the whole document as a single bytes-like object."""
    return data if isinstance(data, Data) else await in_thread(bytes, data)


def check_document(size: int, limit: int, url: str) -> None:
    """Raise `DocumentTooLarge` if a document is larger than the limit."""
    if size > limit:
        raise DocumentTooLarge(url, size, limit)


class Stream(io.BytesIO):
    """A body that is read in pieces, with a limit on the time between reads."""

    def __init__(self, data: Data) -> None:
        super().__init__(data)
        self._size = len(data)
        self.watch = Watch()

    def read(self, size: int | None = -1, /) -> bytes:
        """Return up to `size` bytes, and record the progress."""
        data = super().read(size)
        self.watch.taken(last=self.tell() >= self._size)
        return data


@contextlib.contextmanager
def body_of(data: Data) -> Iterator[bytes | Stream]:
    """Yield a request body. If it is large, aiohttp sends it in pieces instead of copying it all on the event loop."""
    if len(data) <= WHOLE:
        yield bytes(data)
        return
    body = Stream(data)
    del data  # aiohttp copies the stream, so the original must not be kept
    with body:  # close it, since reference cycles keep the SDK's requests alive until the next garbage collection
        yield body


def being_sent(body: object, patience: float) -> contextlib.AbstractContextManager[None]:
    """Return a context manager that raises `TimeoutError` if sending a body stalls for `patience` seconds."""
    return body.watch.patient_for(patience) if isinstance(body, Stream) else contextlib.nullcontext()
