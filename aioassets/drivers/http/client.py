"""An HTTP/1.1 client based on asyncio transports, for thousands of small requests.

A general-purpose HTTP client spends several times the cost of sending a request on redirects, cookies,
URL and header objects, and a timer for each request. This one sends a small request with a single write
to a pooled connection, and parses the response with llhttp.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from collections import deque
from collections.abc import Mapping
from functools import partial
from typing import Any, Final

import aiohappyeyeballs

from aioassets.drivers.http.connections import NotConnected
from aioassets.drivers.http.exchange import PIECE, Body, Connection, Server
from aioassets.drivers.http.proxies import Proxy, Tunnel
from aioassets.drivers.http.response import Response
from aioassets.drivers.protocol import Data
from aioassets.runtime.ticks import TickBatcher

RESOLVED: Final = 10.0
"""Number of seconds for which the resolved addresses of a host are cached."""
EYEBALLS: Final = 0.25
"""Number of seconds to wait before also trying the next address of a host (RFC 8305)."""

_log = logging.getLogger(__name__)


def head_of(method: str, target: str, headers: Mapping[str, str]) -> bytes:
    """Return the request line and headers as bytes to send.

    Raises:
        ValueError: one of them contains a line break or a null character.
    """
    lines = [f"{method} {target} HTTP/1.1", *[f"{name}: {value}" for name, value in headers.items()]]
    text = "\r\n".join(lines)
    if text.count("\n") + text.count("\r") != 2 * (len(lines) - 1) or "\0" in text:
        raise ValueError("the request line or a header contains a line break or a null character")
    return f"{text}\r\n\r\n".encode()


class Connections:
    """A pool of connections to one server, with one connection per concurrent request.

    Args:
        tls: the TLS context; `None` for plain HTTP.
        connect_timeout: the connection timeout in seconds.
        read_timeout: how many seconds a request may go without receiving data before it fails.
        proxy: the proxy that all connections go through, if any.
    """

    def __init__(
        self, *, tls: ssl.SSLContext | None, connect_timeout: float, read_timeout: float, proxy: Proxy | None = None
    ) -> None:
        self._tls = tls
        self._connect_timeout = connect_timeout
        self._read_timeout = read_timeout
        self._proxy = proxy
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
        """The receive buffer that all connections share, since received data is parsed immediately."""

    async def request(self, server: Server, head: bytes, body: Data | Body = b"") -> Response:
        """Send a request once, and wait for the head of its response.

        Args:
            server: the server. Only connections to the most recent server are kept.
            head: the request line and headers, from `head_of`.
            body: the request body.

        Raises:
            NotConnected: no connection could be established, so nothing was sent.
            OSError: the connection broke, or the read timeout expired.
        """
        if server != self._server:
            self._move_to(server)
        if self._proxy is not None and self._tls is None:
            head = self._proxy.forwarded(head, server)
        connection = self._taken() or await self._connect()
        self._busy.add(connection)
        self._keep_watch(connection.loop)
        try:
            return await connection.exchange(head, body)
        except BaseException as error:
            if isinstance(error, OSError):
                _log.info("Request to %s:%d failed: %r", *server, error)
            connection.abort()
            raise

    async def aclose(self) -> None:
        """Close all connections."""
        if self._watch is not None:
            self._watch.cancel()
        connections = [*self._idle, *self._busy]
        for connection in connections:
            connection.abort()
        for connection in connections:
            await connection.closed

    def wake(self, waiting: asyncio.Future[None]) -> None:
        """Resolve a future in this iteration of the event loop or a later one."""
        self._batcher.add(partial(_resolve, waiting))

    def put_back(self, connection: Connection) -> None:
        """Keep a connection for the next request, or close it if the server has changed."""
        self._busy.discard(connection)
        if connection.server == self._server:
            self._idle.append(connection)
        else:
            connection.abort()

    def drop(self, connection: Connection) -> None:
        """Remove a connection from the pool."""
        self._busy.discard(connection)
        with contextlib.suppress(ValueError):
            self._idle.remove(connection)

    def _move_to(self, server: Server) -> None:
        for connection in [*self._idle]:
            connection.abort()
        self._server = server

    def _taken(self) -> Connection | None:
        """Return the most recently used idle connection, so that surplus ones expire, or `None` if there is none."""
        while self._idle:
            connection = self._idle.pop()
            if connection.is_fresh():
                return connection
            connection.abort()
        return None

    async def _connect(self) -> Connection:
        loop = asyncio.get_running_loop()
        server = self._server
        self.wake(turn := loop.create_future())
        await turn
        try:
            async with asyncio.timeout(self._connect_timeout):
                return await self._connected(server, loop)
        except TimeoutError:
            problem: Exception = NotConnected("the connection attempt timed out")
        except ConnectionRefusedError:
            problem = NotConnected(f"{self._peer(server)} refused the connection")
        except NotConnected as error:
            problem = error
        except OSError as error:
            is_tls = isinstance(error, ssl.SSLError)
            problem = NotConnected(f"{self._peer(server)} can't be reached: {error}", is_tls)
        _log.info("Could not connect to %s:%d: %s", *server, problem)
        raise problem

    def _peer(self, server: Server) -> str:
        return f"{server[0]}:{server[1]}" if self._proxy is None else f"the proxy {self._proxy.name}"

    async def _connected(self, server: Server, loop: asyncio.AbstractEventLoop) -> Connection:
        connection = Connection(self, server, loop)
        peer, tls = server, self._tls
        first: asyncio.BaseProtocol = connection
        if self._proxy is not None:
            peer, tls = self._proxy.server, self._proxy.tls
            first = Tunnel(self._proxy, server) if self._tls is not None else connection
        connected = await aiohappyeyeballs.start_connection(
            await self._resolved(peer, loop), happy_eyeballs_delay=EYEBALLS, interleave=1, loop=loop
        )
        try:
            transport, _ = await loop.create_connection(
                lambda: first, sock=connected, ssl=tls, server_hostname=None if tls is None else peer[0]
            )
        except BaseException:
            connected.close()
            raise
        if isinstance(first, Tunnel):
            await self._encrypt(first, transport, connection)
        return connection

    async def _encrypt(self, tunnel: Tunnel, transport: asyncio.Transport, connection: Connection) -> None:
        """Open a tunnel through the proxy, and start TLS with the server at the other end."""
        assert self._tls is not None  # noqa: S101 - only TLS connections go through tunnels
        try:
            await tunnel.open(transport)
            encrypted = await connection.loop.start_tls(
                transport, connection, self._tls, server_hostname=connection.server[0]
            )
        except BaseException:
            transport.abort()
            raise
        assert encrypted is not None  # noqa: S101 - only `None` if the transport is already closed
        connection.connection_made(encrypted)

    async def _resolved(self, server: Server, loop: asyncio.AbstractEventLoop) -> list[Any]:
        """Return the server's addresses, starting with a different one each time."""
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
        """Fail the requests whose read timeout has expired, and schedule the next check."""
        self._watch = None
        silent_since = loop.time() - self._read_timeout
        for connection in [each for each in self._busy if each.is_silent(silent_since)]:
            connection.fail(TimeoutError())
        if self._busy:
            first = min(max(each.touched, silent_since) for each in self._busy)
            self._watch = loop.call_at(first + self._read_timeout, self._look, loop)


def _resolve(waiting: asyncio.Future[None]) -> None:
    if not waiting.done():
        waiting.set_result(None)
