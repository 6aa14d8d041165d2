"""One connection of HTTP/1.1: requests are written to it one after the other, and llhttp reads the answers."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, Final, Protocol

import httptools

from aioassets.drivers.http.response import TOO_LONG, Response
from aioassets.drivers.protocol import Data, StreamedDocument

NOT_HTTP: Final = "what it answers isn't HTTP"
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
IDLE: Final = 12.0
"""Seconds after which a connection isn't used again: stores close those that were idle for 15 or 20."""
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


class Pool(Protocol):
    """What a connection needs of the pool that it belongs to."""

    buffer: memoryview

    def let_on(self, waiting: asyncio.Future[None]) -> None:
        """Let who waits for something go on."""

    def put_back(self, connection: Connection) -> None:
        """Keep a connection for the next request."""

    def drop(self, connection: Connection) -> None:
        """Forget a connection."""


class Connection(asyncio.BufferedProtocol):
    """One connection, for one exchange after the other.

    Attributes:
        touched: when an exchange last made progress. A head that comes in pieces is progress when it
            begins and when it is complete, and so may take no longer than silence.
    """

    def __init__(self, pool: Pool, server: Server, loop: asyncio.AbstractEventLoop) -> None:
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


def _pieces(body: Data | StreamedDocument) -> Iterable[Data]:
    if not isinstance(body, Data):
        return body
    view = memoryview(body)
    return (view[start : start + PIECE] for start in range(0, len(view), PIECE))
