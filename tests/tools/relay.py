"""Relay between a client and a real HTTP server, with faults that tests inject.

It knows just enough of HTTP/1.1 to separate requests. It forwards heads unchanged, and bodies by their
`Content-Length`, in chunks, or until the end of the stream. It runs in the event loop of its test.
"""

from __future__ import annotations

import array
import asyncio
import contextlib
import fcntl
import re
import socket
import struct
import termios
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Protocol, Self
from urllib.parse import urlsplit

import anyio
from anyio.lowlevel import checkpoint

PIECE = 64 * 1024
RECEIVE_BUFFER = 256 * 1024
"""Bytes. It is small, so that clients soon notice a relay that stops reading."""
TRICKLES = 8
"""Pieces into which a trickling response splits each piece."""
TURNS = 20
"""Turns of the event loop after which all ready tasks have run."""
FRAMED = "transfer-encoding"
"""The header of a chunked body."""
_SERVER = re.compile(r"http://[\w.:]+")
END_OF_HEAD = b"\r\n\r\n"

Headers = dict[str, str]
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Action = Callable[[], object]


@dataclass(eq=False)
class Exchange:
    """One request and its response.

    Attributes:
        method: the HTTP method.
        target: path and query, as the client sent them.
        headers: of the request, by lower-case name.
        sent: bytes of the request body that the client has sent.
        forwarded: bytes of the request body that were sent to the server.
        status: of the response; 0 before there is one.
        received: bytes of the response body that were sent to the client.
        fault: the injected fault, if any.
    """

    method: str
    target: str
    headers: Headers
    sent: int = 0
    forwarded: int = 0
    status: int = 0
    received: int = 0
    fault: Fault | None = None
    _head: bytes = field(default=b"", repr=False)
    _client: Streams = field(kw_only=True, repr=False)
    _address: tuple[str, int] = field(kw_only=True, repr=False)
    _server: Streams | None = field(default=None, repr=False)
    _body: bytes | None = field(default=None, repr=False)
    _answer: tuple[bytes, Headers] | None = field(default=None, repr=False)
    _heard_out: bool = field(default=False, repr=False)
    _over: bool = field(default=False, repr=False)

    async def body(self) -> bytes:
        """Read the whole request body from the client."""
        if self._body is None:
            self._body = b"".join([piece async for piece in self._taken()])
        return self._body

    async def forward(self, *, limit: int | None = None, flip: int | None = None) -> None:
        """Send the request to the server.

        Args:
            limit: stop after this many bytes of the body.
            flip: change one bit in this byte of the body.
        """
        self._server = await asyncio.open_connection(*self._address)
        writer = self._server[1]
        with contextlib.suppress(ConnectionError):  # the server may have responded early, and stopped reading
            writer.write(self._head)
            async with contextlib.aclosing(self._body_pieces(limit)) as pieces:
                async for piece in pieces:
                    writer.write(_framed(_flipped(piece, flip, self.forwarded), self.headers))
                    self.forwarded += len(piece)
                    await writer.drain()
            if FRAMED in self.headers and limit is None:
                writer.write(_framed(b"", self.headers))
            await writer.drain()

    async def answer(
        self, *, limit: int | None = None, flip: int | None = None, trickling: Action | None = None
    ) -> None:
        """Forward the server's response.

        Args:
            limit: stop after this many bytes of the body.
            flip: change one bit in this byte of the body.
            trickling: forward the body in small pieces, and call this after each.
        """
        head, headers = await self._answered()
        writer = self._client[1]
        writer.write(head)
        async with contextlib.aclosing(self._answer_pieces(headers)) as pieces:
            async for piece in pieces:
                if limit == self.received:
                    break
                kept = piece if limit is None else piece[: limit - self.received]
                for part in (kept,) if trickling is None else _in_parts(kept):
                    writer.write(_framed(_flipped(part, flip, self.received), headers))
                    self.received += len(part)
                    await writer.drain()
                    if trickling is not None:
                        await _delivered(writer)
                        trickling()
        await writer.drain()
        if limit is not None:
            return
        if FRAMED in headers:
            writer.write(_framed(b"", headers))
            await writer.drain()
        if not self._has_end(headers):
            self.close()

    async def swallow(self, but: int = 0) -> None:
        """Read the server's whole response, and forward only the first bytes of its head."""
        head, headers = await self._answered()
        async for _ in self._answer_pieces(headers):
            pass
        self._client[1].write(head[:but])

    async def reply(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        """Respond in the server's place."""
        self.status = status
        fields = {**headers, "Content-Length": str(len(body))}
        lines = [f"HTTP/1.1 {status} Fault", *(f"{name}: {value}" for name, value in fields.items())]
        writer = self._client[1]
        writer.write("\r\n".join([*lines, "", ""]).encode() + (b"" if self.method == "HEAD" else body))
        await writer.drain()

    def close(self) -> None:
        """Close the client's connection after all pending bytes."""
        self._over = True
        self._client[1].close()

    def reset(self) -> None:
        """Reset both connections."""
        self._over = True
        for _, writer in filter(None, (self._client, self._server)):
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()

    def end(self) -> bool:
        """Disconnect from the server. Return whether the client may send another request."""
        if self._server is not None:
            self._server[1].close()
        return self._heard_out and not self._over and self.headers.get("connection", "").lower() != "close"

    async def _body_pieces(self, limit: int | None) -> AsyncGenerator[bytes, None]:
        if self._body is None:
            async with contextlib.aclosing(self._taken(limit)) as pieces:
                async for piece in pieces:
                    yield piece
        elif kept := self._body[:limit]:
            yield kept

    async def _taken(self, limit: int | None = None) -> AsyncGenerator[bytes, None]:
        """Iterate over the request body as the client sends it."""
        async with contextlib.aclosing(_body_of(self._client[0], self.headers, limit)) as pieces:
            async for piece in pieces:
                self.sent += len(piece)
                yield piece
        self._heard_out = limit is None

    async def dealt_with(self) -> None:
        """Wait until the server begins to respond."""
        await self._answered()

    async def _answered(self) -> tuple[bytes, Headers]:
        assert self._server is not None, "the request wasn't forwarded"
        while self._answer is None:
            head = await self._server[0].readuntil(END_OF_HEAD)
            (_, status, *_), headers = _parsed(head)
            if int(status) >= 200:
                self.status = int(status)
                self._answer = head, headers
        return self._answer

    async def _answer_pieces(self, headers: Headers) -> AsyncGenerator[bytes, None]:
        assert self._server is not None
        reader = self._server[0]
        if self.method == "HEAD" or self.status in (204, 304):
            return
        async with contextlib.aclosing(_body_of(reader, headers) if self._has_end(headers) else _rest(reader)) as rest:
            async for piece in rest:
                yield piece

    def _has_end(self, headers: Headers) -> bool:
        return bool({"content-length", FRAMED} & headers.keys()) or self.method == "HEAD" or self.status in (204, 304)


class Fault(Protocol):
    """Handling of a request in place of forwarding it."""

    async def __call__(self, exchange: Exchange) -> None:
        """Handle the exchange, which is complete when this returns."""


@dataclass(frozen=True)
class ResetRequest:
    """Reset the connections after `at` bytes of the request body, before the server has all of it."""

    at: int = 0

    async def __call__(self, exchange: Exchange) -> None:
        if self.at < int(exchange.headers.get("content-length", 0)):
            await exchange.forward(limit=self.at)
        exchange.reset()


@dataclass(frozen=True)
class ResetAnswer:
    """Forward the request, and reset the connections after `at` bytes of the response body."""

    at: int = 0

    async def __call__(self, exchange: Exchange) -> None:
        await exchange.forward()
        await exchange.answer(limit=self.at)
        exchange.reset()


@dataclass(frozen=True)
class LoseAnswer:
    """Forward the request, and reset or close the client's connection after `at` bytes of the response."""

    at: int | None = None

    async def __call__(self, exchange: Exchange) -> None:
        await exchange.forward()
        await exchange.swallow(self.at or 0)
        if self.at is None:
            exchange.close()
        else:
            exchange.reset()


@dataclass(frozen=True)
class Truncate:
    """Close the connection after `at` bytes of the response body, although its head announces more."""

    at: int = 0

    async def __call__(self, exchange: Exchange) -> None:
        await exchange.forward()
        await exchange.answer(limit=self.at)
        exchange.close()


@dataclass(frozen=True)
class Stall:
    """Read the request and never respond. Call `then` when the client waits."""

    then: Action = bool

    async def __call__(self, exchange: Exchange) -> None:
        await exchange.body()
        await _stall(self.then)


@dataclass(frozen=True)
class StallRequest:
    """Stop reading after `at` bytes of the request body. Call `then` at that point."""

    at: int = 0
    then: Action = bool

    async def __call__(self, exchange: Exchange) -> None:
        await exchange.forward(limit=self.at)
        await _stall(self.then)


@dataclass(frozen=True)
class StallAnswer:
    """Stop after `at` bytes of the response body. Call `then` at that point."""

    at: int = 0
    then: Action = bool

    async def __call__(self, exchange: Exchange) -> None:
        await exchange.forward()
        await exchange.answer(limit=self.at)
        await _stall(self.then)


@dataclass(frozen=True)
class Trickle:
    """Forward the response body in small pieces. Call `between` after each."""

    between: Action = bool

    async def __call__(self, exchange: Exchange) -> None:
        await exchange.forward()
        await exchange.answer(trickling=self.between)


@dataclass(frozen=True)
class Reply:
    """Respond to the request without the server."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    async def __call__(self, exchange: Exchange) -> None:
        await exchange.body()
        await exchange.reply(self.status, self.headers, self.body)


@dataclass(frozen=True)
class FlipInAnswer:
    """Change one bit in byte `at` of the response body."""

    at: int = 0

    async def __call__(self, exchange: Exchange) -> None:
        await exchange.forward()
        await exchange.answer(flip=self.at)


@dataclass(frozen=True)
class FlipInRequest:
    """Change one bit in byte `at` of the request body. A negative number counts from the end."""

    at: int = 0

    async def __call__(self, exchange: Exchange) -> None:
        size = int(exchange.headers["content-length"])
        await exchange.forward(flip=self.at % size)
        await exchange.answer()


@dataclass(eq=False)
class Rule:
    """Fault with the requests that it applies to.

    Attributes:
        hits: the requests that it was applied to.
        reached: set at the first of them.
    """

    fault: Fault
    method: str
    target: re.Pattern[str]
    headers: Callable[[Headers], bool]
    body: Callable[[bytes], bool] | None
    skip: int
    times: float
    hits: list[Exchange] = field(default_factory=list)
    reached: anyio.Event = field(default_factory=anyio.Event)

    async def takes(self, exchange: Exchange) -> bool:
        """Return whether the fault applies to this request."""
        if len(self.hits) >= self.times or not re.fullmatch(self.method, exchange.method):
            return False
        if not self.target.search(exchange.target) or not self.headers(exchange.headers):
            return False
        if self.body is not None and not self.body(await exchange.body()):
            return False
        if self.skip > 0:
            self.skip -= 1
            return False
        self.hits.append(exchange)
        self.reached.set()
        return True


class Relay:
    """Relay in front of a server; an async context manager.

    Attributes:
        exchanges: the requests, in the order in which they began.
        origin: the server's URL, without a path.
        url: the relay's URL.

    Args:
        server: the server's URL.
    """

    def __init__(self, server: str) -> None:
        parts = urlsplit(server)
        assert parts.hostname is not None
        assert parts.port is not None
        self.origin = f"{parts.scheme}://{parts.netloc}"
        self._address = (parts.hostname, parts.port)
        self._rules: list[Rule] = []
        self._handlers: dict[asyncio.Task[Any], asyncio.StreamWriter] = {}
        self._socket = _bound(0)
        self._listener: asyncio.Server | None = None
        self.exchanges: list[Exchange] = []
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"

    @property
    def handlers(self) -> frozenset[asyncio.Task[Any]]:
        """The tasks that serve the open connections."""
        return frozenset(self._handlers)

    async def __aenter__(self) -> Self:
        await self.accept()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.refuse()
        self._socket.close()

    def through(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return the options of a driver with the relay's URL in place of the server's."""
        return {
            name: value.replace(self.origin, self.url) if isinstance(value, str) else value
            for name, value in options.items()
        }

    def inject(
        self,
        fault: Fault,
        *,
        method: str = ".*",
        target: str = "",
        headers: Callable[[Headers], bool] = bool,
        body: Callable[[bytes], bool] | None = None,
        skip: int = 0,
        times: float = 1,
        first: bool = False,
    ) -> Rule:
        """Apply a fault to coming requests. The first rule that applies to a request handles it.

        Args:
            method: an expression that matches the whole method.
            target: an expression that matches within path and query.
            headers: a condition on the request headers.
            body: a condition on the request body, which is then read before it is forwarded.
            skip: how many such requests to forward first.
            times: how many requests to break.
            first: whether this rule comes before the earlier ones.
        """
        rule = Rule(fault, method, re.compile(target), headers, body, skip, times)
        self._rules.insert(0 if first else len(self._rules), rule)
        return rule

    def sent(self, method: str = ".*", target: str = "") -> int:
        """Return the bytes of bodies that clients have sent in such requests."""
        return sum(
            each.sent for each in self.exchanges if re.fullmatch(method, each.method) and re.search(target, each.target)
        )

    def heal(self) -> None:
        """Remove all faults."""
        self._rules.clear()

    def forget(self) -> None:
        """Remove past exchanges, and faults that will not occur again."""
        self._rules[:] = [rule for rule in self._rules if len(rule.hits) < rule.times]
        self.exchanges.clear()

    async def refuse(self) -> None:
        """Reset all connections, and refuse new ones. The port stays reserved."""
        if self._listener is None:
            return
        listener, self._listener = self._listener, None
        listener.close()
        handlers = list(self._handlers.items())
        for handler, writer in handlers:
            writer.transport.abort()
            handler.cancel()
        await asyncio.gather(*(handler for handler, _ in handlers), return_exceptions=True)
        await listener.wait_closed()
        self._socket = _bound(int(self.url.rpartition(":")[2]))

    async def accept(self) -> None:
        """Accept connections."""
        if self._listener is None:
            self._listener = await asyncio.start_server(self._serve, sock=self._socket)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._handlers[task] = writer
        try:
            while await self._exchange((reader, writer)):
                pass
        except (EOFError, ConnectionError, asyncio.CancelledError):
            pass  # a connection was closed, or the relay was; asyncio would report a cancelled handler as failed
        finally:
            writer.close()
            del self._handlers[task]

    async def _exchange(self, client: Streams) -> bool:
        head = await client[0].readuntil(END_OF_HEAD)
        (method, target, *_), headers = _parsed(head)
        exchange = Exchange(method, target, headers, _head=head, _client=client, _address=self._address)
        self.exchanges.append(exchange)
        try:
            for rule in self._rules:
                if await rule.takes(exchange):
                    exchange.fault = rule.fault
                    await rule.fault(exchange)
                    break
            else:
                await exchange.forward()
                await exchange.answer()
        finally:
            goes_on = exchange.end()
        return goes_on


def server_of(place: Mapping[str, Any]) -> str | None:
    """Return the URL of the server of a place, which the fixture `place` describes, or `None` if it has none."""
    return next((found[0] for value in place.values() if (found := _SERVER.search(str(value)))), None)


class Clock:
    """Clock of the running loop that a test can advance: timers expire early, and no test waits.

    Attributes:
        skipped: seconds by which it was advanced.
    """

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self._time = loop.time
        self.skipped = 0.0
        loop.time = self._now  # type: ignore[method-assign]

    def skip(self, seconds: float) -> None:
        """Advance the clock."""
        self.skipped += seconds

    def _now(self) -> float:
        return self._time() + self.skipped


async def settled() -> None:
    """Let all ready tasks run."""
    for _ in range(TURNS):
        await checkpoint()


async def _delivered(writer: asyncio.StreamWriter) -> None:
    """Wait until the other end has received all bytes and handled them."""
    unacknowledged = array.array("i", [1])
    while unacknowledged[0]:
        await checkpoint()
        fcntl.ioctl(writer.get_extra_info("socket"), termios.TIOCOUTQ, unacknowledged)
    await settled()


async def _stall(then: Action) -> None:
    for _ in range(TURNS):  # a client first fills buffers of some MB
        await settled()
    then()
    await anyio.sleep_forever()


def _bound(port: int) -> socket.socket:
    """Return a bound socket that refuses connections until it listens."""
    bound = socket.socket()
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
    bound.bind(("127.0.0.1", port))
    return bound


def _parsed(head: bytes) -> tuple[list[str], Headers]:
    first, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
    fields = (line.partition(":") for line in lines)
    return first.split(" ", 2), {name.lower(): value.strip() for name, _, value in fields}


async def _body_of(
    reader: asyncio.StreamReader, headers: Headers, limit: int | None = None
) -> AsyncGenerator[bytes, None]:
    """Iterate over the body after a head, up to `limit` bytes."""
    allowed = float("inf") if limit is None else limit
    if FRAMED not in headers:
        allowed = min(allowed, int(headers.get("content-length", 0)))
    elif limit is not None:
        raise NotImplementedError("a body in chunks is passed on whole")
    else:
        while size := int((await reader.readuntil(b"\r\n")).partition(b";")[0], 16):
            yield (await reader.readexactly(size + 2))[:-2]
        while await reader.readuntil(b"\r\n") != b"\r\n":
            pass
        return
    while allowed > 0:
        piece = await reader.read(int(min(PIECE, allowed)))
        if not piece:
            raise EOFError
        allowed -= len(piece)
        yield piece


async def _rest(reader: asyncio.StreamReader) -> AsyncGenerator[bytes, None]:
    while piece := await reader.read(PIECE):
        yield piece


def _framed(data: bytes, headers: Headers) -> bytes:
    """Return data as one chunk if the body is chunked. The last chunk is empty."""
    return b"%x\r\n%b\r\n" % (len(data), data) if FRAMED in headers else data


def _flipped(data: bytes, at: int | None, start: int) -> bytes:
    """Return a piece of a body that begins at `start`. If it contains byte `at`, one bit of that byte is changed."""
    if at is None or not start <= at < start + len(data):
        return data
    changed = bytearray(data)
    changed[at - start] ^= 1
    return bytes(changed)


def _in_parts(data: bytes) -> list[bytes]:
    size = -(-len(data) // TRICKLES) or 1
    return [data[start : start + size] for start in range(0, len(data), size)]
