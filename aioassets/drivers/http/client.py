"""HTTP/1.1 on asyncio's transports, for requests by the thousand.

What a client for the whole of HTTP does for a request (redirections, cookies, models of URLs and
headers, a timer for each) costs several times what its sending takes. Here a request is one write to
a connection that is kept, and its answer is read by llhttp.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections import deque
from collections.abc import Mapping
from functools import partial
from typing import Any, Final

import aiohappyeyeballs

from aioassets.drivers.http.connections import NotConnected
from aioassets.drivers.http.exchange import PIECE, Connection, Server
from aioassets.drivers.http.response import Response
from aioassets.drivers.protocol import Data, StreamedDocument
from aioassets.runtime.ticks import TickBatcher

RESOLVED: Final = 10.0
"""Seconds for which a host's addresses hold."""
EYEBALLS: Final = 0.25
"""Seconds after which another address of a host is tried beside the first (RFC 8305)."""


def head_of(method: str, target: str, headers: Mapping[str, str]) -> bytes:
    """The first line and the headers of a request, as they are sent.

    Raises:
        ValueError: one of them would begin another line.
    """
    lines = [f"{method} {target} HTTP/1.1", *[f"{name}: {value}" for name, value in headers.items()]]
    text = "\r\n".join(lines)
    if text.count("\n") + text.count("\r") != 2 * (len(lines) - 1) or "\0" in text:
        raise ValueError("a header has a line break")
    return f"{text}\r\n\r\n".encode()


class Connections:
    """Connections to a server, as many as there are requests at once; kept for the next ones.

    Args:
        tls: how to encrypt; `None` to send in clear.
        connect_timeout: seconds.
        read_timeout: seconds without a byte before a connection is given up.
    """

    def __init__(self, *, tls: ssl.SSLContext | None, connect_timeout: float, read_timeout: float) -> None:
        self._tls = tls
        self._connect_timeout = connect_timeout
        self._read_timeout = read_timeout
        self._server: Server = ("", 0)
        self._idle: list[Connection] = []
        self._busy: set[Connection] = set()
        self._watch: asyncio.TimerHandle | None = None
        self._batcher = TickBatcher()
        self._resolving = asyncio.Lock()
        self._addresses: deque[Any] = deque()
        self._resolved_server: Server | None = None
        self._resolved_until = 0.0
        self.buffer = memoryview(bytearray(PIECE))
        """What all of them receive into, since what arrives is dealt with at once."""

    async def request(self, server: Server, head: bytes, body: Data | StreamedDocument = b"") -> Response:
        """Send a request, once, and wait for the head of its answer.

        Args:
            server: connections to any other one aren't kept.
            head: its first line and headers, as they are sent.

        Raises:
            NotConnected: nothing was sent.
            OSError: the connection broke, or was silent for too long.
        """
        if server != self._server:
            self._move_to(server)
        connection = self._taken() or await self._connect()
        self._busy.add(connection)
        self._keep_watch(connection.loop)
        try:
            return await connection.exchange(head, body)
        except BaseException:
            connection.abort()
            raise

    async def aclose(self) -> None:
        """Close all of them."""
        if self._watch is not None:
            self._watch.cancel()
        connections = [*self._idle, *self._busy]
        for connection in connections:
            connection.abort()
        for connection in connections:
            await connection.closed

    def let_on(self, waiting: asyncio.Future[None]) -> None:
        """Let who waits for something go on, now or in a turn to come."""
        self._batcher.add(partial(_let_on, waiting))

    def put_back(self, connection: Connection) -> None:
        """Keep a connection for the next request."""
        self._busy.discard(connection)
        if connection.server == self._server:
            self._idle.append(connection)
        else:
            connection.abort()

    def drop(self, connection: Connection) -> None:
        """Forget a connection."""
        self._busy.discard(connection)
        with contextlib.suppress(ValueError):
            self._idle.remove(connection)

    def _move_to(self, server: Server) -> None:
        for connection in [*self._idle]:
            connection.abort()
        self._server = server

    def _taken(self) -> Connection | None:
        """The one that was used last, so that those that aren't needed grow old."""
        while self._idle:
            connection = self._idle.pop()
            if connection.is_fresh():
                return connection
            connection.abort()
        return None

    async def _connect(self) -> Connection:
        loop = asyncio.get_running_loop()
        host, port = server = self._server
        self.let_on(turn := loop.create_future())
        await turn
        try:
            async with asyncio.timeout(self._connect_timeout):
                connected = await aiohappyeyeballs.start_connection(
                    await self._resolved(server, loop), happy_eyeballs_delay=EYEBALLS, interleave=1, loop=loop
                )
                try:
                    _, connection = await loop.create_connection(
                        lambda: Connection(self, server, loop),
                        sock=connected,
                        ssl=self._tls,
                        server_hostname=host if self._tls is not None else None,
                    )
                except BaseException:
                    connected.close()
                    raise
        except TimeoutError:
            raise NotConnected("connecting took too long") from None
        except ConnectionRefusedError as error:
            raise NotConnected(f"{host}:{port} refuses connections") from error
        except OSError as error:
            certificate = isinstance(error, ssl.SSLError)
            raise NotConnected(f"{host}:{port} can't be reached: {error}", certificate) from error
        return connection

    async def _resolved(self, server: Server, loop: asyncio.AbstractEventLoop) -> list[Any]:
        """The addresses of a server, another one first each time."""
        async with self._resolving:
            if self._resolved_server != server or loop.time() >= self._resolved_until:
                self._addresses = deque(await loop.getaddrinfo(*server, type=socket.SOCK_STREAM))
                self._resolved_server, self._resolved_until = server, loop.time() + RESOLVED
            self._addresses.rotate()
            return [*self._addresses]

    def _keep_watch(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._watch is None:
            self._watch = loop.call_later(self._read_timeout, self._look, loop)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        """Give up those that are silent, and look again when the next one might be."""
        self._watch = None
        silent_since = loop.time() - self._read_timeout
        for connection in [each for each in self._busy if each.is_silent(silent_since)]:
            connection.fail(TimeoutError())
        if self._busy:
            first = min(max(each.touched, silent_since) for each in self._busy)
            self._watch = loop.call_at(first + self._read_timeout, self._look, loop)


def _let_on(waiting: asyncio.Future[None]) -> None:
    if not waiting.done():
        waiting.set_result(None)
