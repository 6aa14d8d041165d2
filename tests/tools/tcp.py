"""TCP servers whose connections all end with the test."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import cast

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def listening(handle: Handler, *, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """Accept connections on a free port of 127.0.0.1; yield the port.

    A connection closes when its handler returns or meets the end of the stream. At the end, all handlers are cancelled
    and all connections are closed, including those whose handlers have not started. `asyncio.Server` leaves them open
    before Python 3.12. Other exceptions of handlers are raised.
    """
    connections = _Connections(handle)
    server = await asyncio.start_server(connections.accept, "127.0.0.1", 0, ssl=tls)
    try:
        yield cast("int", server.sockets[0].getsockname()[1])
    finally:
        server.close()
        await connections.aclose()
        await server.wait_closed()


async def tunnel(client: tuple[asyncio.StreamReader, asyncio.StreamWriter], host: str, port: int) -> None:
    """Copy bytes between a client and a server, both ways, until both have closed."""
    server = await asyncio.open_connection(host, port)
    try:
        await asyncio.gather(_copy(client[0], server[1]), _copy(server[0], client[1]))
    finally:
        server[1].transport.abort()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


class _Connections:
    def __init__(self, handle: Handler) -> None:
        self._handle = handle
        self._handlers: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self._closed = False

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._closed:
            writer.transport.abort()
            return
        self._handlers[asyncio.ensure_future(self._serve(reader, writer))] = writer

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(EOFError, OSError):
            await self._handle(reader, writer)
        writer.close()

    async def aclose(self) -> None:
        self._closed = True
        for handler in self._handlers:
            handler.cancel()
        outcomes = await asyncio.gather(*self._handlers, return_exceptions=True)
        for writer in self._handlers.values():
            writer.transport.abort()
        for outcome in outcomes:
            if isinstance(outcome, Exception):
                raise outcome
