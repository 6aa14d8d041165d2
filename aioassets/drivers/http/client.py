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
import sys
from collections import deque
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any, Final, Self

import aiohappyeyeballs
import httptools

from aioassets.drivers.http.connections import NotConnected
from aioassets.drivers.protocol import Data, StreamedDocument
from aioassets.runtime.ticks import TickBatcher

NOT_HTTP: Final = "what it answers isn't HTTP"
TOO_LONG: Final = "its answer is too long"
UNASKED: Final = "it answers what nobody asked"
EARLY: Final = "it closed the connection before all of the answer was here"
Server = tuple[str, int]
"""Its name or address, and its port."""

PIECE: Final = 256 * 1024
"""Bytes handed to a socket, or taken from one, at once."""
BLOCK: Final = 1024 * 1024
"""Bytes of a large body that are received, and handed on, in memory of their own."""
TOGETHER: Final = 64 * 1024
"""Bytes of a body that goes to the socket in one piece with the head, which copies it."""
BREATH: Final = 1024 * 1024
"""Bytes of a body after which others have their turn."""
AHEAD: Final = 1024 * 1024
"""Bytes of an answer that are taken before somebody wants them."""
IDLE: Final = 12.0
"""Seconds after which a connection isn't used again: stores close those that were idle for 15 or 20."""
RESOLVED: Final = 10.0
"""Seconds for which a host's addresses hold."""
MAX_HEAD: Final = 64 * 1024
"""Bytes of an answer besides its body (a few hundred are usual) after which it is given up; S3 allows 8 KiB."""
MAX_HEADERS: Final = 256
"""Headers of an answer, and repetitions of them, after which it is given up."""
SWITCHING: Final = 101
"""The status of a server that goes on with another protocol."""
MAX_INTERIM: Final = 16
"""Interim answers (1xx) after which no other is waited for."""
FRAMING: Final = 16
"""Bytes that may frame one byte of a body in chunks; a chunk of a single byte takes five more."""
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

    def __init__(self, connection: _Connection) -> None:
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


class _Connection(asyncio.BufferedProtocol):
    """One connection, for one exchange after the other.

    Attributes:
        touched: when an exchange last made progress. A head that comes in pieces is progress when it
            begins and when it is complete, and so may take no longer than silence.
    """

    def __init__(self, pool: Connections, server: Server, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.server = server
        self.touched = loop.time()
        self.closed = loop.create_future()
        self._pool = pool
        self._transport: Any = None
        self._parser = httptools.HttpResponseParser(self)
        self._block = self._pool.buffer
        self._filled = self._left = 0
        self._response: Response | None = None
        self._headers: dict[bytes, bytes] = {}
        self._fed = self._interim = self._repeated = 0
        self._sending = self._cut_off = self._keep_alive = False
        self._reading = True
        self._writable: asyncio.Future[None] | None = None

    # Requests

    async def exchange(self, head: bytes, body: Data | StreamedDocument) -> Response:
        """Send a request, and wait for the head of its answer."""
        response = self._response = Response(self)
        self._headers = response.raw_headers
        self._fed = self._interim = self._repeated = 0
        self.touched = self.loop.time()
        try:
            if len(body) <= TOGETHER:
                self._transport.write(head + bytes(body))
            else:
                await self._send(head, body, response)
                if response.complete:
                    self._settle()
            await response.begun
        finally:
            response.abandon()
        return response

    async def _send(self, head: bytes, body: Data | StreamedDocument, response: Response) -> None:
        self._sending = True
        self._transport.write(head)
        is_made = not isinstance(body, Data)
        unbroken = 0
        for piece in _pieces(body):
            if response.status or response.over:
                self._cut_off = True  # what follows isn't wanted
                break
            self._transport.write(piece)
            unbroken += len(piece)
            self.touched = self.loop.time()
            if self._writable is not None:
                await self._writable
            elif is_made or unbroken >= BREATH:
                await asyncio.sleep(0)
            else:
                continue
            unbroken = 0
        self._sending = False

    def resume(self) -> None:
        """Take more from the socket."""
        if not self._reading:
            self._reading = True
            self.touched = self.loop.time()
            self._transport.resume_reading()

    def is_fresh(self) -> bool:
        """Whether it may be used again."""
        return self.loop.time() - self.touched < IDLE and not self._transport.is_closing()

    def is_silent(self, since: float) -> bool:
        """Whether nothing was taken or given from a moment on, though it might have been."""
        return self._reading and self.touched <= since

    def abort(self) -> None:
        """Give the connection up, and with it what is under way."""
        self._pool.drop(self)
        self._transport.abort()

    def fail(self, error: Exception) -> None:
        """Give the connection up with an error for who waits."""
        self._end(error)
        self.abort()

    def _settle(self) -> None:
        """Behind an exchange, be ready for the next one, or be gone."""
        if self._keep_alive and not self._cut_off:
            self.resume()
            self._pool.put_back(self)
        else:
            self.abort()

    def _end(self, error: Exception | None) -> None:
        response, self._response = self._response, None
        if response is not None:
            if self._left and self._filled:
                response.took(self._block[: self._filled])
            response.end(error)
            self.resume_writing()

    # What asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._transport.set_write_buffer_limits(high=1)  # with none at all, that of TLS pauses for ever

    def get_buffer(self, sizehint: int) -> memoryview:
        if not self._left:
            return self._pool.buffer
        if self._filled == len(self._block):
            self._block, self._filled = memoryview(bytearray(min(BLOCK, self._left))), 0
        return self._block[self._filled :]

    def buffer_updated(self, nbytes: int) -> None:
        if self._left:
            self.touched = self.loop.time()
            self._fill(nbytes)
            return
        response = self._response
        if response is None:  # nothing was asked, so what comes must not be taken for the next answer
            self.abort()
            return
        before = (response.status, response.received) if self._fed else None
        try:
            self._parser.feed_data(self._pool.buffer[:nbytes])
        except Exception as error:  # of the parser, which has several kinds, or of what it calls
            told = error.__context__
            self.fail(told if isinstance(told, ConnectionError) else ConnectionError(NOT_HTTP))
            return
        if self._response is not response:
            return
        if before != (response.status, response.received):
            self.touched = self.loop.time()
        self._fed += nbytes
        if self._fed > MAX_HEAD + FRAMING * response.received:
            self.fail(ConnectionError(TOO_LONG))
        elif response.status and response.length - response.received > PIECE:
            self._left = response.length - response.received
            self._block, self._filled = self._pool.buffer[:0], 0

    def _fill(self, nbytes: int) -> None:
        """Take in more of a large body, which is handed on by the block as it was received."""
        self._filled += nbytes
        self._left -= nbytes
        if self._filled == len(self._block):
            self.on_body(self._block)
            if not self._left:
                self._parser = httptools.HttpResponseParser(self)  # the other one waits for the body
                self.on_message_complete()

    def pause_writing(self) -> None:
        self._writable = self.loop.create_future()

    def resume_writing(self) -> None:
        self.touched = self.loop.time()
        writable, self._writable = self._writable, None
        if writable is not None and not writable.done():
            writable.set_result(None)

    def connection_lost(self, error: Exception | None) -> None:
        self._pool.drop(self)
        ends_answers = error is None and self._response is not None and self._response.ends_with_connection
        self._end(None if ends_answers else error or ConnectionResetError(EARLY))
        self.closed.set_result(None)

    # What the parser calls, in which an exception makes it fail

    def on_message_begin(self) -> None:
        if self._response is None:
            raise ConnectionError(UNASKED)

    def on_header(self, name: bytes, value: bytes) -> None:
        headers, name = self._headers, name.lower()
        if name not in headers:
            headers[name] = value
            return
        self._repeated += 1
        if self._repeated > MAX_HEADERS:
            raise ConnectionError(TOO_LONG)
        headers[name] = b"%b, %b" % (headers[name], value)

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if len(self._headers) > MAX_HEADERS:
            raise ConnectionError(TOO_LONG)
        if status < 200:  # another answer follows
            self._headers.clear()
            self._interim += 1
            if status == SWITCHING or self._interim > MAX_INTERIM:
                raise ConnectionError(NOT_HTTP)
        else:
            self._current.status = status
            self._headers = {}  # of trailers, which nobody reads
            self._keep_alive = self._parser.should_keep_alive()
            self._pool.let_on(self._current.begun)

    def on_body(self, body: Data) -> None:
        if self._current.took(body):
            self._reading = False
            self._transport.pause_reading()

    def on_message_complete(self) -> None:
        if self._current.status:
            self._end(None)
            if not self._sending:
                self._settle()

    @property
    def _current(self) -> Response:
        if self._response is None:
            raise ConnectionError(UNASKED)
        return self._response


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
        self._idle: list[_Connection] = []
        self._busy: set[_Connection] = set()
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

    def put_back(self, connection: _Connection) -> None:
        """Keep a connection for the next request."""
        self._busy.discard(connection)
        if connection.server == self._server:
            self._idle.append(connection)
        else:
            connection.abort()

    def drop(self, connection: _Connection) -> None:
        """Forget a connection."""
        self._busy.discard(connection)
        with contextlib.suppress(ValueError):
            self._idle.remove(connection)

    def _move_to(self, server: Server) -> None:
        for connection in [*self._idle]:
            connection.abort()
        self._server = server

    def _taken(self) -> _Connection | None:
        """The one that was used last, so that those that aren't needed grow old."""
        while self._idle:
            connection = self._idle.pop()
            if connection.is_fresh():
                return connection
            connection.abort()
        return None

    async def _connect(self) -> _Connection:
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
                        lambda: _Connection(self, server, loop),
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


def _pieces(body: Data | StreamedDocument) -> Iterable[Data]:
    if not isinstance(body, Data):
        return body
    view = memoryview(body)
    return (view[start : start + PIECE] for start in range(0, len(view), PIECE))


def _let_on(waiting: asyncio.Future[None]) -> None:
    if not waiting.done():
        waiting.set_result(None)
