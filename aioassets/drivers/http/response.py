"""Responses of HTTP, whose bodies may still be on their way."""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from typing import Final, Protocol, Self

from aioassets.drivers.protocol import Data

TOO_LONG: Final = "its answer is too long"
AHEAD: Final = 1024 * 1024
"""Bytes of an answer that are taken before somebody wants them."""


class Channel(Protocol):
    """What a response needs of the connection that it comes by."""

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """Its loop."""

    def resume(self) -> None:
        """Take more from the socket."""

    def abort(self) -> None:
        """Give the connection up."""


def text_of(value: bytes) -> str:
    """A header's value."""
    return value.decode("utf-8", "surrogateescape")


class Response:
    """An answer, whose body may still be on its way; to be closed.

    Attributes:
        status: of HTTP.
        raw_headers: by names in lower case, as they came.
        begun: done when these are known.
        complete: whether all of it is here.
        received: bytes of the body that are or were here.
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
        """Take no more of it; a connection that isn't through with it is given up."""
        self._pieces.clear()
        if not self.complete:
            self._connection.abort()

    async def read(self, size: int = sys.maxsize) -> Data:
        """The next bytes of the body: up to `size` of them, none only at its end; or all that are left.

        Raises:
            OSError: the connection broke; what came before is returned first.
        """
        while self._size < size and not self.over:
            await self._more()
        if self._error is not None and (size == sys.maxsize or not self._size):
            raise self._error
        return self._next(size)

    async def content(self, limit: int, seconds: float) -> Data:
        """Read all of a short body.

        Args:
            limit: bytes that it may have.
            seconds: how long it may take.

        Raises:
            OSError: the connection broke, or it has more, or takes longer.
        """
        if not self.complete:
            async with asyncio.timeout(seconds):
                while self._size <= limit and not self.over:
                    await self._more()
        if self._size > limit:
            raise ConnectionError(TOO_LONG)
        return await self.read()

    async def _more(self) -> None:
        """Wait until more of the body is here, or no more comes."""
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
        """Whether nothing else tells where it ends."""
        return self.status > 0 and not {b"content-length", b"transfer-encoding"} & self.raw_headers.keys()

    @property
    def length(self) -> int:
        """Bytes of the body, where it is told and the body isn't sent otherwise; else 0."""
        length = self.raw_headers.get(b"content-length", b"0")  # which the parser has checked
        return int(length) if b"transfer-encoding" not in self.raw_headers else 0

    @property
    def headers(self) -> dict[str, str]:
        """By names in lower case."""
        return {name.decode("latin-1"): text_of(value) for name, value in self.raw_headers.items()}

    def took(self, piece: Data) -> bool:
        """Note a piece of the body; whether it is enough for now."""
        self._pieces.append(piece)
        self._size += len(piece)
        self.received += len(piece)
        self._wake()
        return self._size >= AHEAD

    @property
    def over(self) -> bool:
        """Whether no more comes."""
        return self.complete or self._error is not None

    def end(self, error: Exception | None = None) -> None:
        """Note that no more comes."""
        self.complete = error is None
        self._error = error
        self._wake()
        if error is not None and not self.begun.done():
            self.begun.set_exception(error)

    def abandon(self) -> None:
        """Note that nobody waits for it any more."""
        if not self.begun.cancel() and not self.begun.cancelled():
            self.begun.exception()  # which asyncio would otherwise miss

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)
