"""Common interface of responses received by this package's own connections or by an SDK."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Protocol, Self

from aioassets.drivers.http.connections import received
from aioassets.drivers.protocol import Data

PIECE = 1024 * 1024
"""Bytes to read from a response at a time."""


class AnyResponse(Protocol):
    """The interface of `aioassets.drivers.http.client.Response` that drivers use."""

    @property
    def status(self) -> int:
        """Return the HTTP status."""

    @property
    def headers(self) -> Mapping[str, str]:
        """Return the headers, with names in lower case."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *exc_info: object) -> None: ...

    async def read(self, size: int = sys.maxsize) -> Data:
        """Return the next bytes of the body, at most `size`; empty only at its end."""

    async def content(self, limit: int, seconds: float | None) -> Data:
        """Return the whole body, of at most `limit` bytes, within `seconds`."""


class SDKResponse:
    """A response that an SDK received.

    Args:
        status: the HTTP status.
        headers: a mapping with case-insensitive names.
        pieces: the body.
        close: releases the connection.
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
        """Return the next piece of the body, of any size; or the whole body if `size` is omitted."""
        if size == sys.maxsize:
            return await self.content(sys.maxsize, None)
        return await anext(self._pieces, b"")

    async def content(self, limit: int, seconds: float | None) -> Data:
        return await received(self._pieces, limit, seconds)


async def pieces_of(response: AnyResponse) -> AsyncIterator[Data]:
    """Iterate over the body of a response."""
    while piece := await response.read(PIECE):
        yield piece
