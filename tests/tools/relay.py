"""A relay between a client and a real HTTP server, which breaks what a test tells it to break.

It knows just enough of HTTP/1.1 to tell one request from another: heads are passed on as they are,
bodies by their `Content-Length`, in chunks, or until the end. It runs in the loop of its test.
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
"""Small, so that who sends to a relay that takes nothing soon notices."""
TRICKLES = 8
"""Pieces that each piece of a trickling answer is broken into."""
TURNS = 20
"""Of the loop, in which everybody has run who can."""
FRAMED = "transfer-encoding"
"""The header of a body in chunks."""
END_OF_HEAD = b"\r\n\r\n"

Headers = dict[str, str]
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Action = Callable[[], object]


@dataclass(eq=False)
class Exchange:
    """One request, and what came of it.

    Attributes:
        method: of HTTP.
        target: path and query, as the client sent them.
        headers: of the request, by lower-case name.
        sent: bytes of its body that the client has sent.
        forwarded: bytes of its body that the server was sent.
        status: of the answer; 0 before there is one.
        received: bytes of the answer's body that the client was sent.
        fault: what was done to it, if anything.
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
        """Take the request's whole body from the client."""
        if self._body is None:
            self._body = b"".join([piece async for piece in self._taken()])
        return self._body

    async def forward(self, *, limit: int | None = None, flip: int | None = None) -> None:
        """Send the request to the server.

        Args:
            limit: bytes of the body after which to stop.
            flip: the byte of the body in which one bit is changed.
        """
        self._server = await asyncio.open_connection(*self._address)
        writer = self._server[1]
        with contextlib.suppress(ConnectionError):  # it may have heard enough, and have answered
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
        """Pass the server's answer on.

        Args:
            limit: bytes of the body after which to stop.
            flip: the byte of the body in which one bit is changed.
            trickling: pass the body on in small pieces, and call this after each.
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
        """Wait for the server's whole answer, and keep it but for some bytes of its head."""
        head, headers = await self._answered()
        async for _ in self._answer_pieces(headers):
            pass
        self._client[1].write(head[:but])

    async def reply(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        """Answer in the server's place."""
        self.status = status
        fields = {**headers, "Content-Length": str(len(body))}
        lines = [f"HTTP/1.1 {status} Fault", *(f"{name}: {value}" for name, value in fields.items())]
        writer = self._client[1]
        writer.write("\r\n".join([*lines, "", ""]).encode() + (b"" if self.method == "HEAD" else body))
        await writer.drain()

    def close(self) -> None:
        """Close the client's connection after what was sent."""
        self._over = True
        self._client[1].close()

    def reset(self) -> None:
        """Break both connections off."""
        self._over = True
        for _, writer in filter(None, (self._client, self._server)):
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()

    def end(self) -> bool:
        """Let the server go; returns whether the client may send another request."""
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
        """The request's body, as the client sends it."""
        async with contextlib.aclosing(_body_of(self._client[0], self.headers, limit)) as pieces:
            async for piece in pieces:
                self.sent += len(piece)
                yield piece
        self._heard_out = limit is None

    async def dealt_with(self) -> None:
        """Wait until the server begins to answer."""
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
    """Reaction to a request that isn't passed on."""

    async def __call__(self, exchange: Exchange) -> None:
        """Do it; the exchange is over when this returns."""


@dataclass(frozen=True)
class ResetRequest:
    """The connections are reset after `at` bytes of the request's body, before the server has all of it."""

    at: int = 0

    async def __call__(self, exchange: Exchange) -> None:
        if self.at < int(exchange.headers.get("content-length", 0)):
            await exchange.forward(limit=self.at)
        exchange.reset()


@dataclass(frozen=True)
class ResetAnswer:
    """The server acts; the connections are reset after `at` bytes of its answer's body."""

    at: int = 0

    async def __call__(self, exchange: Exchange) -> None:
        await exchange.forward()
        await exchange.answer(limit=self.at)
        exchange.reset()


@dataclass(frozen=True)
class LoseAnswer:
    """The server acts and answers; the client's connection is reset after `at` bytes of the answer, or just closed."""

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
    """The connection is closed after `at` bytes of the answer's body, though its head promises more."""

    at: int = 0

    async def __call__(self, exchange: Exchange) -> None:
        await exchange.forward()
        await exchange.answer(limit=self.at)
        exchange.close()


@dataclass(frozen=True)
class Stall:
    """The request is taken, and nobody answers; `then` is called when the client waits."""

    then: Action = bool

    async def __call__(self, exchange: Exchange) -> None:
        await exchange.body()
        await _stall(self.then)


@dataclass(frozen=True)
class StallRequest:
    """No more than `at` bytes of the request's body are taken; `then` is called when that many are."""

    at: int = 0
    then: Action = bool

    async def __call__(self, exchange: Exchange) -> None:
        await exchange.forward(limit=self.at)
        await _stall(self.then)


@dataclass(frozen=True)
class StallAnswer:
    """The answer stops after `at` bytes of its body; `then` is called when it does."""

    at: int = 0
    then: Action = bool

    async def __call__(self, exchange: Exchange) -> None:
        await exchange.forward()
        await exchange.answer(limit=self.at)
        await _stall(self.then)


@dataclass(frozen=True)
class Trickle:
    """The answer's body comes in small pieces; `between` is called after each."""

    between: Action = bool

    async def __call__(self, exchange: Exchange) -> None:
        await exchange.forward()
        await exchange.answer(trickling=self.between)


@dataclass(frozen=True)
class Reply:
    """The relay answers the request, and the server never hears of it."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    async def __call__(self, exchange: Exchange) -> None:
        await exchange.body()
        await exchange.reply(self.status, self.headers, self.body)


@dataclass(frozen=True)
class FlipInAnswer:
    """One bit of byte `at` of the answer's body arrives changed."""

    at: int = 0

    async def __call__(self, exchange: Exchange) -> None:
        await exchange.forward()
        await exchange.answer(flip=self.at)


@dataclass(frozen=True)
class FlipInRequest:
    """One bit of byte `at` of the request's body arrives changed; a negative one counts from the end."""

    at: int = 0

    async def __call__(self, exchange: Exchange) -> None:
        size = int(exchange.headers["content-length"])
        await exchange.forward(flip=self.at % size)
        await exchange.answer()


@dataclass(eq=False)
class Rule:
    """A fault, and the requests that it is for.

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
        """Whether it is this request's turn."""
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
    """Passes requests on to a server; an async context manager.

    Attributes:
        exchanges: the requests, in the order in which they began.

    Args:
        server: the server's URL.
    """

    def __init__(self, server: str) -> None:
        parts = urlsplit(server)
        assert parts.hostname is not None
        assert parts.port is not None
        self._origin = f"{parts.scheme}://{parts.netloc}"
        self._address = (parts.hostname, parts.port)
        self._rules: list[Rule] = []
        self._handlers: dict[asyncio.Task[Any], asyncio.StreamWriter] = {}
        self._socket = _bound(0)
        self._listener: asyncio.Server | None = None
        self.exchanges: list[Exchange] = []
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"

    async def __aenter__(self) -> Self:
        await self.accept()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.refuse()
        self._socket.close()

    def through(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """The options of a driver, with the relay in the server's place."""
        return {
            name: value.replace(self._origin, self.url) if isinstance(value, str) else value
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
    ) -> Rule:
        """Apply a fault to coming requests; of several rules, the first that takes a request has it.

        Args:
            method: an expression that the whole method matches.
            target: an expression that is found in path and query.
            headers: what they must be like.
            body: what the request's body must be like; it is then read before it is passed on.
            skip: how many such requests are passed on before.
            times: how many are broken.
        """
        rule = Rule(fault, method, re.compile(target), headers, body, skip, times)
        self._rules.append(rule)
        return rule

    def sent(self, method: str = ".*", target: str = "") -> int:
        """Bytes of bodies that clients have sent in such requests."""
        return sum(
            each.sent for each in self.exchanges if re.fullmatch(method, each.method) and re.search(target, each.target)
        )

    def heal(self) -> None:
        """Break nothing any more."""
        self._rules.clear()

    async def refuse(self) -> None:
        """Break all connections off, and refuse new ones. The port stays ours."""
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
        """Take connections."""
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
            pass  # one end went away, or all is over: a cancelled handler would be reported as a failed one
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


class Clock:
    """The clock of the running loop, which a test can put forward: what waits for a time is woken, and nobody waits.

    Attributes:
        skipped: seconds by which it was put forward.
    """

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self._time = loop.time
        self.skipped = 0.0
        loop.time = self._now  # type: ignore[method-assign]

    def skip(self, seconds: float) -> None:
        """Let time pass."""
        self.skipped += seconds

    def _now(self) -> float:
        return self._time() + self.skipped


async def settled() -> None:
    """Let everybody run who can."""
    for _ in range(TURNS):
        await checkpoint()


async def _delivered(writer: asyncio.StreamWriter) -> None:
    """Wait until the other end has what was sent, and has had its turn."""
    unacknowledged = array.array("i", [1])
    while unacknowledged[0]:
        await checkpoint()
        fcntl.ioctl(writer.get_extra_info("socket"), termios.TIOCOUTQ, unacknowledged)
    await settled()


async def _stall(then: Action) -> None:
    for _ in range(TURNS):  # the sender fills buffers of some MB first
        await settled()
    then()
    await anyio.sleep_forever()


def _bound(port: int) -> socket.socket:
    """Socket that refuses connections until it is listened on."""
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
    """The body behind a head, no more than `limit` bytes of it."""
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
    """One chunk, where the body comes in chunks; the last one has no data."""
    return b"%x\r\n%b\r\n" % (len(data), data) if FRAMED in headers else data


def _flipped(data: bytes, at: int | None, start: int) -> bytes:
    """A piece that begins at `start` of a body, with one bit of byte `at` changed if that is in it."""
    if at is None or not start <= at < start + len(data):
        return data
    changed = bytearray(data)
    changed[at - start] ^= 1
    return bytes(changed)


def _in_parts(data: bytes) -> list[bytes]:
    size = -(-len(data) // TRICKLES) or 1
    return [data[start : start + size] for start in range(0, len(data), size)]
