"""What goes to stores and comes from them: bodies of requests, and ranges of objects."""

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
"""Bytes handed on at once when reading; the connection's pieces of some KiB would cost a thread hop each."""
WHOLE: Final = 64 * 1024
"""Bodies up to this many bytes are handed to the socket at once."""


class Share(TypedDict):
    """The share of the budget that a request takes, as arguments for it."""

    nbytes: int
    urgent: bool


class PastEnd(Exception):
    """The object ends before the range begins."""


@dataclass(frozen=True, slots=True)
class Part:
    """An answer to a request for a range, with its body still to be read.

    Attributes:
        pieces: the body.
        revision: the state that it is of, where the store tells.
        ranged: whether it is the range that was asked for, not the object from its beginning.
        length: bytes of the body, where the store tells.
    """

    pieces: AsyncIterator[Data]
    revision: Revision | None
    ranged: bool
    length: int | None


OpenRange = Callable[[str, int, int, Revision | None], contextlib.AbstractAsyncContextManager[Part]]
"""Asks once for a key's bytes from an offset up to another, of a revision if one is given; raises `PastEnd`."""


async def read_range(
    driver: Driver,
    dispatcher: Dispatcher,
    open_range: OpenRange,
    key: str,
    start: int,
    stop: int,
    revision: Revision | None,
) -> AsyncGenerator[Data, None]:
    """Do what `Driver.read_range` promises, by single requests for ranges."""
    if stop <= start:  # HTTP has no empty range, but what is promised of the object holds
        if (await driver.stat(key)).revision != revision and revision is not None:
            raise PreconditionFailed(f"{driver.url}/{key}")
        return
    url = f"{driver.url}/{key}"
    pinned = revision

    async def open_at(offset: int) -> AsyncGenerator[Data, None]:
        nonlocal pinned
        async with open_range(key, offset, stop, pinned) as part:
            _check_ranged(part, offset, stop, url)
            pinned = part.revision or pinned  # what follows a break must be of the same state
            async with contextlib.aclosing(_in_chunks(part.pieces)) as chunks:
                async for chunk in chunks:
                    yield chunk

    with contextlib.suppress(PastEnd):
        async with contextlib.aclosing(dispatcher.stream(open_at, start, stop)) as chunks:
            async for chunk in chunks:
                yield chunk


def _check_ranged(part: Part, start: int, stop: int, url: str) -> None:
    if not part.ranged and (start or part.length is None or part.length > stop):
        raise StoreError(f"{url} can't be read in ranges: the store sends all of it.")


async def _in_chunks(pieces: AsyncIterator[Data]) -> AsyncGenerator[Data, None]:
    """Gather pieces; what came before a break is good, and handed on before it."""
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
    """Gather the body of a document.

    Args:
        length: what the store says that it has, if it does.

    Raises:
        DocumentTooLarge: it has more than `limit`.
    """
    check_document(length or 0, limit, url)
    kept = io.BytesIO()  # which hands on what it holds; pieces in a list would be copied once more
    async for piece in pieces:
        if kept.tell() + len(piece) > limit:
            raise DocumentTooLarge(url, length, limit)
        kept.write(piece)
    return kept.getvalue()


def share_of(limit: int) -> Share:
    """Return the share of the budget for reading a document, whose size isn't known before."""
    return {"nbytes": 0, "urgent": True} if limit <= SMALL_DOCUMENT else {"nbytes": limit, "urgent": False}


async def joined(data: Data | StreamedDocument) -> Data:
    """What is to be written, in memory."""
    return data if isinstance(data, Data) else await in_thread(bytes, data)


def check_document(size: int, limit: int, url: str) -> None:
    """Raise `DocumentTooLarge` if a document has more bytes than are read."""
    if size > limit:
        raise DocumentTooLarge(url, size, limit)


class Stream(io.BytesIO):
    """A body that is read piece by piece, under watch."""

    def __init__(self, data: Data) -> None:
        super().__init__(data)
        self._size = len(data)
        self.watch = Watch()

    def read(self, size: int | None = -1, /) -> bytes:
        """See `io.BytesIO.read`."""
        data = super().read(size)
        self.watch.taken(last=self.tell() >= self._size)
        return data


@contextlib.contextmanager
def body_of(data: Data) -> Iterator[bytes | Stream]:
    """A request body that goes to the socket piece by piece; whole, it would be copied at once, on the loop."""
    if len(data) <= WHOLE:
        yield bytes(data)
        return
    body = Stream(data)
    del data  # aiohttp makes the stream copy it, so nobody should keep the original
    with body:  # closed, because the SDK's requests live on in cycles until the next collection
        yield body


def being_sent(body: object, patience: float) -> contextlib.AbstractContextManager[None]:
    """Give a request up where its body isn't taken for `patience` seconds."""
    return body.watch.patient_for(patience) if isinstance(body, Stream) else contextlib.nullcontext()
