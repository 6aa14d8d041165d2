"""The common interface of responses received over aioassets' own connections or through an SDK."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Protocol, Self

from aioassets.drivers.http.connections import received
from aioassets.drivers.protocol import Data

PIECE = 1024 * 1024
"""Maximum number of bytes to read from a response at a time."""


class AnyResponse(Protocol):
    """The part of the `aioassets.drivers.http.response.Response` interface that drivers use."""

    @property
    def status(self) -> int:
        """The HTTP status."""

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers, with lower-case names."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *exc_info: object) -> None: ...

    async def read(self, size: int = sys.maxsize) -> Data:
        """Return the next bytes of the body, or the whole body if `size` is omitted. Empty only at the end."""

    async def content(self, limit: int, seconds: float | None) -> Data:
        """Return the whole body. Raise an error if it exceeds `limit` bytes, or takes longer than `seconds`."""


class SDKResponse:
    """A response received through an SDK.

    Args:
        status: the HTTP status.
        headers: the headers; names are case-insensitive.
        pieces: the body.
        close: a function that releases the connection.
    """

    def __init__(
        self,
        status: int,
        headers: Mapping[str, str],
        pieces: AsyncIterator[bytes],
        close: Callable[[], Awaitable[None]],
    ) -> None:
        self.status = status
        self.headers = headers
        self._pieces = pieces
        self._close = close

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._close()

    async def read(self, size: int = sys.maxsize) -> Data:
        """Return the next piece of the body, of any size, or the whole body if `size` is omitted."""
        if size == sys.maxsize:
            return await self.content(sys.maxsize, None)
        return await anext(self._pieces, b"")

    async def content(self, limit: int, seconds: float | None) -> Data:
        return await received(self._pieces, limit, seconds)


async def pieces_of(response: AnyResponse) -> AsyncIterator[Data]:
    """Iterate over the body of a response."""
    while piece := await response.read(PIECE):
        yield piece
