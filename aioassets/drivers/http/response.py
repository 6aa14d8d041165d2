"""HTTP responses, whose bodies may still be arriving."""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Final, Protocol, Self

from aioassets.drivers.protocol import Data

TOO_LONG: Final = "the response is too long"
AHEAD: Final = 1024 * 1024
"""Number of bytes of a body to buffer before receiving is paused."""


class Channel(Protocol):
    """The part of a connection that a response uses."""

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The connection's event loop."""

    def resume(self) -> None:
        """Resume receiving data if it was paused."""

    def abort(self) -> None:
        """Close the connection immediately."""


def text_of(value: bytes) -> str:
    """Decode the value of a header."""
    return value.decode("utf-8", "surrogateescape")


class Headers(Mapping[str, str]):
    """Response headers. Most are never read, so each one is decoded on access.

    Args:
        raw: the headers as received, except that names are in lower case.
    """

    __slots__ = ("_raw",)

    def __init__(self, raw: Mapping[bytes, bytes]) -> None:
        self._raw = raw

    def __getitem__(self, name: str) -> str:
        return text_of(self._raw[name.encode("latin-1")])

    def __iter__(self) -> Iterator[str]:
        return (name.decode("latin-1") for name in self._raw)

    def __len__(self) -> int:
        return len(self._raw)


class Response:
    """A response whose body may still be arriving. Close it after use.

    Attributes:
        status: the HTTP status.
        raw_headers: the headers as received, except that names are in lower case.
        begun: a future that is done when the head is complete.
        complete: whether the whole body has been received.
        received: how many bytes of the body have been received so far.
    """

    __slots__ = (
        "_connection",
        "_error",
        "_pieces",
        "_size",
        "_waiting",
        "begun",
        "complete",
        "raw_headers",
        "received",
        "status",
    )

    def __init__(self, connection: Channel) -> None:
        self.status = 0
        self.raw_headers: dict[bytes, bytes] = {}
        self.begun: asyncio.Future[None] = connection.loop.create_future()
        self.complete = False
        self.received = 0
        self._connection = connection
        self._pieces: deque[Data] = deque()
        self._size = 0
        self._waiting: asyncio.Future[None] | None = None
        self._error: Exception | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """Discard the rest of the body. Close the connection if the body is incomplete."""
        self._pieces.clear()
        if not self.complete:
            self._connection.abort()

    async def read(self, size: int = sys.maxsize) -> Data:
        """Return the next bytes of the body: up to `size`, or by default all that remain. Empty only at the end.

        Raises:
            OSError: the connection broke. If `size` is given, bytes that arrived before that are returned first.
        """
        while self._size < size and not self.over:
            await self._more()
        if self._error is not None and (size == sys.maxsize or not self._size):
            raise self._error
        return self._next(size)

    async def content(self, limit: int, seconds: float | None) -> Data:
        """Return the whole body, which must be short.

        Args:
            limit: the maximum size in bytes.
            seconds: the maximum duration; `None` for no limit.

        Raises:
            OSError: the connection broke, or the body exceeds a limit.
        """
        if not self.complete:
            async with asyncio.timeout(seconds):
                while self._size <= limit and not self.over:
                    await self._more()
        if self._size > limit:
            raise ConnectionError(TOO_LONG)
        return await self.read()

    async def _more(self) -> None:
        """Wait until more of the body has arrived or the body has ended."""
        self._connection.resume()
        self._waiting = self._connection.loop.create_future()
        await self._waiting

    def _next(self, size: int) -> Data:
        taken: list[Data] = []
        while self._pieces and len(self._pieces[0]) <= size:
            taken.append(self._pieces.popleft())
            size -= len(taken[-1])
        if self._pieces and not taken:
            taken.append(self._pieces[0][:size])
            self._pieces[0] = self._pieces[0][size:]
        data = taken[0] if len(taken) == 1 else b"".join(taken)
        self._size -= len(data)
        return data

    @property
    def ends_with_connection(self) -> bool:
        """Whether the body extends until the connection is closed."""
        return self.status > 0 and not {b"content-length", b"transfer-encoding"} & self.raw_headers.keys()

    @property
    def length(self) -> int:
        """The declared length of the body, or 0 if none is declared."""
        length = self.raw_headers.get(b"content-length", b"0")  # checked by the parser
        return int(length) if b"transfer-encoding" not in self.raw_headers else 0

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers, with lower-case names. Each one is decoded on access."""
        return Headers(self.raw_headers)

    def took(self, piece: Data) -> bool:
        """Add a piece of the body, and return whether the buffer is full."""
        self._pieces.append(piece)
        self._size += len(piece)
        self.received += len(piece)
        self._wake()
        return self._size >= AHEAD

    @property
    def over(self) -> bool:
        """Whether no more of the body will arrive."""
        return self.complete or self._error is not None

    def end(self, error: Exception | None = None) -> None:
        """Mark the end of the body. If the body was cut short, `error` is the reason."""
        self.complete = error is None
        self._error = error
        self._wake()
        if error is not None and not self.begun.done():
            self.begun.set_exception(error)

    def abandon(self) -> None:
        """Stop waiting for the head."""
        if not self.begun.cancel() and not self.begun.cancelled():
            self.begun.exception()  # marks it as retrieved, for asyncio

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)
