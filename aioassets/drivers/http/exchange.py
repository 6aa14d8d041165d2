"""An HTTP/1.1 connection, which handles one request at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from typing import Any, Final, Protocol

import httptools

from aioassets.drivers.http.response import TOO_LONG, Response
from aioassets.drivers.protocol import Data

NOT_HTTP: Final = "the response is not HTTP"
UNASKED: Final = "it sent a response without a request"
EARLY: Final = "it closed the connection before the response was complete"
Server = tuple[str, int]
"""A host name or address, and a port."""
PIECE: Final = 256 * 1024
"""Maximum number of bytes to pass to a socket or receive from one at a time."""
BLOCK: Final = 1024 * 1024
"""Maximum size in bytes of the buffers into which a large body is received."""
TOGETHER: Final = 64 * 1024
"""Maximum size in bytes of a body that is appended to the head, so that both are sent with one write."""
BREATH: Final = 1024 * 1024
"""Number of bytes of a request body to send before other tasks get a chance to run."""
IDLE: Final = 12.0
"""Number of seconds after which an idle connection isn't reused. Stores close them after 15 or 20 seconds."""
MAX_HEAD: Final = 64 * 1024
"""Maximum size in bytes of a response's status line and headers. They usually take a few hundred bytes."""
MAX_HEADERS: Final = 256
"""Maximum number of headers in a response."""
SWITCHING: Final = 101
"""Status of a response that switches to a different protocol."""
MAX_INTERIM: Final = 16
"""Maximum number of interim (1xx) responses to one request."""
FRAMING: Final = 16
"""Maximum number of bytes received per byte of a chunked body. A chunk that contains one byte takes up six bytes."""


class Body(Protocol):
    """A request body in pieces, such as a `StreamedDocument`."""

    def __len__(self) -> int:
        """Return the total size in bytes."""

    def __iter__(self) -> Iterator[Data]:
        """Iterate over the pieces."""

    def __bytes__(self) -> bytes:
        """Return the whole body. This is only called if the body is short."""


class Pool(Protocol):
    """The part of a connection pool that its connections use."""

    buffer: memoryview

    def wake(self, waiting: asyncio.Future[None]) -> None:
        """Resolve a future in this iteration of the event loop or a later one."""

    def put_back(self, connection: Connection) -> None:
        """Keep a connection for the next request."""

    def drop(self, connection: Connection) -> None:
        """Remove a connection from the pool."""


class Connection(asyncio.BufferedProtocol):
    """A connection that handles one request at a time.

    Attributes:
        touched: when the connection last made progress. While the head of a response is being received, only
            its beginning and its end count as progress, so the whole head must arrive within the read timeout.
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
        self._sending = self._cut_off = self._keep_alive = self._bodiless = False
        self._reading = True
        self._writable: asyncio.Future[None] | None = None

    # Requests

    async def exchange(self, head: bytes, body: Data | Body) -> Response:
        """Send a request, and wait for the head of its response."""
        response = self._response = Response(self)
        self._headers = response.raw_headers
        self._fed = self._interim = self._repeated = 0
        self._bodiless = head.startswith(b"HEAD ")
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

    async def _send(self, head: bytes, body: Data | Body, response: Response) -> None:
        self._sending = True
        self._transport.write(head)
        is_made = not isinstance(body, Data)
        unbroken = 0
        for piece in _pieces(body):
            if response.status or response.over:
                self._cut_off = True  # the server responded before it read the whole body
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
        """Resume receiving data if it was paused."""
        if not self._reading:
            self._reading = True
            self.touched = self.loop.time()
            self._transport.resume_reading()

    def is_fresh(self) -> bool:
        """Return whether the connection may be reused."""
        return self.loop.time() - self.touched < IDLE and not self._transport.is_closing()

    def is_silent(self, since: float) -> bool:
        """Return whether there has been no progress since the given time, although receiving was not paused."""
        return self._reading and self.touched <= since

    def abort(self) -> None:
        """Close the connection immediately. A request that is in progress fails."""
        self._pool.drop(self)
        self._transport.abort()

    def fail(self, error: Exception) -> None:
        """Close the connection, and raise an error in the task that waits for the response."""
        self._end(error)
        self.abort()

    def _settle(self) -> None:
        """Make the connection available for the next request, or close it."""
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

    # Called by asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._transport.set_write_buffer_limits(high=1)  # at zero, a TLS transport never resumes

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
        if response is None:  # data without a request must not become the next response
            self.abort()
            return
        before = (response.status, response.received) if self._fed else None
        try:
            self._parser.feed_data(self._pool.buffer[:nbytes])
        except Exception as error:  # from the parser, or from a callback inside it
            cause = error.__context__
            self.fail(cause if isinstance(cause, ConnectionError) else ConnectionError(NOT_HTTP))
            return
        if self._response is not response:
            return
        if self._bodiless and response.status:
            self._skip_body()
            return
        if before != (response.status, response.received):
            self.touched = self.loop.time()
        self._fed += nbytes
        if self._fed > MAX_HEAD + FRAMING * response.received:
            self.fail(ConnectionError(TOO_LONG))
        elif response.status and response.length - response.received > PIECE:
            self._left = response.length - response.received
            self._block, self._filled = self._pool.buffer[:0], 0

    def _skip_body(self) -> None:
        """End the response to a HEAD request, whose headers describe a body that is not sent."""
        self._parser = httptools.HttpResponseParser(self)  # the old parser still expects the body
        self.on_message_complete()

    def _fill(self, nbytes: int) -> None:
        """Receive more of a large body, in buffers that are passed on without copying."""
        self._filled += nbytes
        self._left -= nbytes
        if self._filled == len(self._block):
            self.on_body(self._block)
            if not self._left:
                self._parser = httptools.HttpResponseParser(self)  # the old parser still expects the body
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

    # Called by the parser, which stops at an exception.

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
        if status < 200:  # another response follows
            self._headers.clear()
            self._interim += 1
            if status == SWITCHING or self._interim > MAX_INTERIM:
                raise ConnectionError(NOT_HTTP)
        else:
            self._current.status = status
            self._headers = {}  # for trailers, which are ignored
            self._keep_alive = self._parser.should_keep_alive()
            self._pool.wake(self._current.begun)

    def on_body(self, body: Data) -> None:
        if self._bodiless:
            raise ConnectionError(UNASKED)
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


def _pieces(body: Data | Body) -> Iterable[Data]:
    if not isinstance(body, Data):
        return body
    view = memoryview(body)
    return (view[start : start + PIECE] for start in range(0, len(view), PIECE))
