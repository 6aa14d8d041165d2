"""The HTTP client, against a scripted server."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import partial

import anyio
import pytest
import trustme
from anyio.lowlevel import checkpoint
from hypothesis import given
from hypothesis import strategies as st
from tools.factories import Streamed
from tools.relay import Clock, settled
from tools.tcp import listening

from aioassets.drivers.http.client import Connections, head_of
from aioassets.drivers.http.connections import NotConnected
from aioassets.drivers.http.exchange import IDLE, PIECE, Server
from aioassets.drivers.http.response import AHEAD
from aioassets.drivers.protocol import Data, StreamedDocument
from aioassets.runtime.tasks import TASKS_PER_TICK

PATIENCE = 100.0
HEAD = b"GET / HTTP/1.1\r\nhost: store\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndata"
LARGE = bytes(range(256)) * (16 * PIECE // 256)

Script = Callable[["Peer"], Awaitable[None]]


class Peer:
    """The server's end of a connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def asked(self, body: int = 0) -> bytes:
        """Return the head of the next request. Raise `IncompleteReadError` if there is none."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        await self.reader.readexactly(body)
        return head

    async def say(self, *pieces: bytes) -> None:
        for piece in pieces:
            self.writer.write(piece)
            await self.writer.drain()
            await settled()

    async def closed(self) -> None:
        """Wait until the client closes."""
        with contextlib.suppress(ConnectionError):
            while await self.reader.read(PIECE):
                pass

    async def close(self) -> None:
        try:
            self.writer.close()
            await self.writer.wait_closed()
        finally:
            self.writer.transport.abort()


class Store:
    """Server whose connections each follow the next script.

    Attributes:
        connections: the number of connections.
        closed: how many of them the server has closed.
    """

    def __init__(self, *scripts: Script) -> None:
        self._scripts = list(scripts)
        self.connections = self.closed = 0
        self.address: Server = ("", 0)

    @contextlib.asynccontextmanager
    async def serving(self, tls: ssl.SSLContext | None = None) -> AsyncIterator[None]:
        async with listening(self._follow, tls=tls) as port:
            self.address = ("localhost" if tls else "127.0.0.1", port)
            yield

    async def _follow(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        script = self._scripts[min(self.connections, len(self._scripts) - 1)]
        self.connections += 1
        peer = Peer(reader, writer)
        try:
            await script(peer)
        finally:
            await peer.close()
            self.closed += 1


async def always_ok(peer: Peer) -> None:
    while True:
        await peer.asked()
        await peer.say(OK)


async def take(received: list[bytes], size: int, peer: Peer) -> None:
    """Receive a body of this many bytes."""
    await peer.asked()
    received.append(await peer.reader.readexactly(size))
    await peer.say(OK)


@contextlib.asynccontextmanager
async def connected(*scripts: Script) -> AsyncIterator[tuple[Connections, Store]]:
    store = Store(*scripts)
    async with store.serving():
        connections = Connections(tls=None, connect_timeout=PATIENCE, read_timeout=PATIENCE)
        try:
            yield connections, store
        finally:
            await connections.aclose()


async def get(
    connections: Connections, store: Store, head: bytes = HEAD, body: Data | StreamedDocument = b""
) -> tuple[int, bytes]:
    async with await connections.request(store.address, head, body) as response:
        return response.status, bytes(await response.read())


async def test_a_connection_is_used_again() -> None:
    async with connected(always_ok) as (connections, store):
        for _ in range(3):
            assert await get(connections, store) == (200, b"data")
    assert store.connections == 1


async def test_concurrent_requests_have_a_connection_each() -> None:
    together = asyncio.Barrier(3)

    async def wait(peer: Peer) -> None:
        await peer.asked()
        await together.wait()
        await peer.say(OK)
        await always_ok(peer)

    async with connected(wait) as (connections, store):
        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(get, connections, store)
        await get(connections, store)
    assert store.connections == 3


@pytest.mark.parametrize(
    "answer",
    [
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 4\r\n\r\ndata",),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 4\r\n\r\ndata",),
        (b"HTTP/1.1 200 OK\r\n\r\n", b"da", b"ta"),
    ],
    ids=["told", "old", "until its end"],
)
async def test_a_connection_that_the_server_closes_is_not_used_again(answer: tuple[bytes, ...]) -> None:
    async def once(peer: Peer) -> None:
        await peer.asked()
        await peer.say(*answer)

    async with connected(once) as (connections, store):
        for _ in range(2):
            assert await get(connections, store) == (200, b"data")
    assert store.connections == 2


async def test_a_connection_closed_while_idle_is_not_used_again() -> None:
    async def once(peer: Peer) -> None:
        await peer.asked()
        await peer.say(OK)

    async with connected(once) as (connections, store):
        for number in (1, 2):
            assert await get(connections, store) == (200, b"data")
            while store.closed < number:
                await checkpoint()
            await settled()
    assert store.connections == 2


async def test_a_connection_that_was_idle_for_long_is_not_used_again() -> None:
    clock = Clock()
    async with connected(always_ok) as (connections, store):
        for _ in range(2):
            await get(connections, store)
            clock.skip(IDLE)
    assert store.connections == 2


async def test_a_connection_with_unrequested_data_is_not_used_again() -> None:
    async def talk(peer: Peer) -> None:
        await peer.asked()
        await peer.say(OK + OK)
        await peer.closed()

    async with connected(talk) as (connections, store):
        for _ in range(2):
            assert await get(connections, store) == (200, b"data")
    assert store.connections == 2


async def test_connections_to_another_server_are_new() -> None:
    async with connected(always_ok) as (connections, store), connected(always_ok) as (_, other):
        for each in (store, store, other, other, store):
            await get(connections, each)
    assert (store.connections, other.connections) == (2, 1)


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        ([b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"2\r\nda\r\n2\r\nta\r\n", b"0\r\n\r\n"], b"data"),
        ([b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n", OK], b"data"),
        ([bytes([byte]) for byte in OK], b"data"),
        ([b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"], b""),
        ([b"HTTP/1.1 204 No Content\r\n\r\n"], b""),
    ],
    ids=["in chunks", "after others", "byte by byte", "empty", "none"],
)
async def test_responses_of_every_framing_are_read(answer: list[bytes], body: bytes) -> None:
    async def say(peer: Peer) -> None:
        while True:
            await peer.asked()
            await peer.say(*answer)

    async with connected(say) as (connections, store):
        for _ in range(2):
            assert (await get(connections, store))[1] == body
    assert store.connections == 1


async def test_header_names_are_in_lower_case() -> None:
    async def say(peer: Peer) -> None:
        await peer.asked()
        await peer.say(
            b"HTTP/1.1 100 Continue\r\nX: y\r\n\r\nHTTP/1.1 404 No\r\nETag: \xc3\xa9\r\nA: 1\r\na: 2\r\n\r\n"
        )

    async with connected(say) as (connections, store), await connections.request(store.address, HEAD) as response:
        assert response.status == 404
        assert response.headers == {"etag": "é", "a": "1, 2"}


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 200 OK\r\nContent-", b"HTTP/1.1 100 Continue\r\n\r\n"])
async def test_a_missing_response_is_an_error(said: bytes) -> None:
    async def break_off(peer: Peer) -> None:
        await peer.asked()
        await peer.say(said)

    async with connected(break_off) as (connections, store):
        with pytest.raises(ConnectionError) as caught:
            await get(connections, store)
    assert not isinstance(caught.value, NotConnected)


@pytest.mark.parametrize("framing", [b"Content-Length: 9", b"Transfer-Encoding: chunked"])
async def test_a_truncated_body_yields_the_received_bytes_first(framing: bytes) -> None:
    async def break_off(peer: Peer) -> None:
        await peer.asked()
        await peer.say(
            b"HTTP/1.1 200 OK\r\n%b\r\n\r\n" % framing, b"4\r\ndata\r\n" if b"chunked" in framing else b"data"
        )

    async with connected(break_off) as (connections, store), await connections.request(store.address, HEAD) as response:
        assert await response.read(PIECE) == b"data"
        with pytest.raises(ConnectionError, match="before the response was complete"):
            await response.read(PIECE)


async def test_a_response_that_is_not_http_is_an_error() -> None:
    async def talk(peer: Peer) -> None:
        await peer.asked()
        await peer.say(b"220 mail.example ESMTP\r\n")
        await peer.closed()

    async with connected(talk) as (connections, store):
        with pytest.raises(ConnectionError, match="is not HTTP"):
            await get(connections, store)


async def test_a_refused_connection_is_named() -> None:
    async with connected(always_ok) as (connections, store):
        pass
    with pytest.raises(NotConnected, match=f"127.0.0.1:{store.address[1]} refused the connection"):
        await connections.request(store.address, HEAD)


async def test_an_unknown_host_is_named() -> None:
    connections = Connections(tls=None, connect_timeout=PATIENCE, read_timeout=PATIENCE)
    with pytest.raises(NotConnected, match=r"store\.invalid:80 can't be reached"):
        await connections.request(("store.invalid", 80), HEAD)


class TestBodies:
    async def test_large_bodies_arrive(self) -> None:
        received: list[bytes] = []
        async with connected(partial(take, received, len(LARGE))) as (connections, store):
            assert await get(connections, store, HEAD, LARGE) == (200, b"data")
        assert received == [LARGE]

    async def test_the_rest_of_a_body_that_was_refused_is_not_sent(self) -> None:
        sent = 0

        async def refuse(peer: Peer) -> None:
            nonlocal sent
            await peer.asked()
            await peer.say(b"HTTP/1.1 412 No\r\nContent-Length: 4\r\n\r\n", b"data")
            while piece := await peer.reader.read(PIECE):
                sent += len(piece)

        body = bytes(64 * 1024 * 1024)  # more than sockets hold
        async with connected(refuse, always_ok) as (connections, store):
            assert await get(connections, store, HEAD, body) == (412, b"data")
            assert await get(connections, store) == (200, b"data")
        assert sent < len(body)
        assert store.connections == 2

    async def test_a_body_that_is_not_read_stays_with_the_server(self) -> None:
        length = 64 * 1024 * 1024

        async def give(peer: Peer) -> None:
            await peer.asked()
            peer.writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % length)
            for _ in range(length // len(LARGE)):
                await peer.say(LARGE)
            await always_ok(peer)

        async with connected(give) as (connections, store):
            async with await connections.request(store.address, HEAD) as response:
                for _ in range(50):
                    await settled()
                assert AHEAD <= response._size < AHEAD + 2 * PIECE  # noqa: SLF001 - no call shows this memory
                data = bytearray()
                while piece := await response.read(PIECE):
                    assert len(piece) <= PIECE
                    data += piece
                assert data == LARGE * (length // len(LARGE))
            assert await get(connections, store) == (200, b"data")
        assert store.connections == 1

    async def test_a_truncated_large_body_yields_the_received_bytes_first(self) -> None:
        sent = LARGE[: 5 * PIECE + 1]

        async def break_off(peer: Peer) -> None:
            await peer.asked()
            await peer.say(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(LARGE), sent)

        async with (
            connected(break_off) as (connections, store),
            await connections.request(store.address, HEAD) as response,
        ):
            data = b""
            while len(data) < len(sent):
                data += await response.read(PIECE)
            assert data == sent
            with pytest.raises(ConnectionError, match="before the response was complete"):
                await response.read(PIECE)

    async def test_closing_a_response_does_not_wait_for_its_rest(self) -> None:
        async def give(peer: Peer) -> None:
            await peer.asked()
            await peer.say(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\ndata")
            await peer.closed()

        async with connected(give, always_ok) as (connections, store):
            async with await connections.request(store.address, HEAD) as response:
                assert await response.read(4) == b"data"
            assert await get(connections, store) == (200, b"data")
        assert store.connections == 2


class TestTimeouts:
    async def test_a_silent_server_times_out(self) -> None:
        clock = Clock()

        async def skip(peer: Peer) -> None:
            await peer.asked()
            clock.skip(PATIENCE + 1)
            await peer.closed()

        async with connected(skip) as (connections, store):
            with pytest.raises(TimeoutError):
                await get(connections, store)

    async def test_a_server_that_stops_in_a_body_times_out(self) -> None:
        clock = Clock()

        async def skip(peer: Peer) -> None:
            await peer.asked()
            await peer.say(OK[:-2])
            clock.skip(PATIENCE + 1)
            await peer.closed()

        async with connected(skip) as (connections, store), await connections.request(store.address, HEAD) as response:
            with pytest.raises(TimeoutError):
                await response.read()

    async def test_a_slow_server_does_not_time_out(self) -> None:
        clock = Clock()

        async def trickle(peer: Peer) -> None:
            await peer.asked()
            clock.skip(0.9 * PATIENCE)
            await peer.say(OK[:-4])
            for byte in OK[-4:]:
                clock.skip(0.9 * PATIENCE)
                await peer.say(bytes([byte]))

        async with connected(trickle) as (connections, store):
            assert await get(connections, store) == (200, b"data")

    async def test_a_slow_reader_does_not_time_out(self) -> None:
        clock = Clock()

        async def give(peer: Peer) -> None:
            await peer.asked()
            await peer.say(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(LARGE), LARGE)

        async with connected(give) as (connections, store), await connections.request(store.address, HEAD) as response:
            for _ in range(10):
                await settled()
                clock.skip(PATIENCE + 1)
            assert await response.read() == LARGE


async def test_cancelling_a_request_closes_its_connection() -> None:
    asked = anyio.Event()

    async def wait(peer: Peer) -> None:
        await peer.asked()
        asked.set()
        await peer.closed()

    async with connected(wait, always_ok) as (connections, store):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(get, connections, store)
            await asked.wait()
            tasks.cancel_scope.cancel()
        assert await get(connections, store) == (200, b"data")
    assert store.connections == 2


async def test_closing_the_pool_fails_requests_in_progress() -> None:
    asked = anyio.Event()

    async def wait(peer: Peer) -> None:
        await peer.asked()
        asked.set()
        await peer.closed()

    async with connected(wait) as (connections, store):
        request = asyncio.ensure_future(get(connections, store))
        await asked.wait()
        await connections.aclose()
        with pytest.raises(ConnectionError):
            await request


async def test_many_concurrent_responses_do_not_block_the_loop() -> None:
    count = 8 * TASKS_PER_TICK
    together = asyncio.Barrier(count)
    turn = 0
    answered: Counter[int] = Counter()

    async def answer_together(peer: Peer) -> None:
        await peer.asked()
        await together.wait()
        peer.writer.write(OK)
        await peer.closed()

    async def ask() -> None:
        await get(connections, store)
        answered[turn] += 1

    async with connected(answer_together) as (connections, store), anyio.create_task_group() as tasks:
        for _ in range(count):
            tasks.start_soon(ask)
        while answered.total() < count:
            await checkpoint()
            turn += 1
    assert max(answered.values()) <= TASKS_PER_TICK


async def test_sending_a_streamed_document_does_not_block_the_loop() -> None:
    turn = 0
    made_in: list[int] = []

    class Made(Streamed):
        def __iter__(self) -> Iterator[bytes]:
            for piece in self.pieces:
                made_in.append(turn)
                yield piece

    text = Made(*[bytes([number]) * 4096 for number in range(20)])
    received: list[bytes] = []
    async with connected(partial(take, received, len(text))) as (connections, store):
        request = asyncio.ensure_future(get(connections, store, HEAD, text))
        while not request.done():
            await checkpoint()
            turn += 1
    assert request.result() == (200, b"data")
    assert received == [b"".join(text.pieces)]
    assert len({*made_in}) == len(made_in) == 20


class TestLimits:
    """Limits of time and memory for any response."""

    @pytest.mark.parametrize(
        "said",
        [
            b"HTTP/1.1 200 OK\r\n" + b"A: bcdefgh\r\n" * (8 * 1024 * 1024 // 12),
            b"HTTP/1.1 200 OK\r\n" + b"".join(b"A%d: b\r\n" % number for number in range(1000)) + b"\r\n",
            b"HTTP/1.1 200 OK\r\nA: " + b"b" * (8 * 1024 * 1024),
            b"HTTP/1.1 200 " + b"b" * (8 * 1024 * 1024),
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nA: " + b"b" * (8 * 1024 * 1024),
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" + b"A: b\r\n" * (1024 * 1024),
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;" + b"b" * (8 * 1024 * 1024),
            b"HTTP/1.1 103 Early Hints\r\n\r\n" * 100_000,
            b"HTTP/1.1 103 Early Hints\r\nA: " + b"b" * (8 * 1024 * 1024),
        ],
        ids=[
            "one header again and again",
            "many headers",
            "a long one",
            "a long reason",
            "a long trailer",
            "many trailers",
            "a long extension of a chunk",
            "interim answers",
            "a long one before the answer",
        ],
    )
    async def test_the_length_of_a_head_is_limited(self, said: bytes) -> None:
        async def talk(peer: Peer) -> None:
            await peer.asked()
            await peer.say(said)
            await peer.closed()

        async with connected(talk, always_ok) as (connections, store):
            with pytest.raises(ConnectionError):
                await get(connections, store)
            assert await get(connections, store) == (200, b"data")

    async def test_a_hundred_headers_are_read(self) -> None:
        lines = b"".join(b"x-amz-meta-%d: %b\r\n" % (number, b"v" * 80) for number in range(100))

        async def talk(peer: Peer) -> None:
            await peer.asked()
            await peer.say(b"HTTP/1.1 100 Continue\r\n\r\n" * 2 + OK.replace(b"Content", lines + b"Content"))

        async with connected(talk) as (connections, store), await connections.request(store.address, HEAD) as response:
            assert len(response.headers) == 101
            assert await response.read() == b"data"

    @pytest.mark.parametrize(
        "said",
        [
            b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 10,
            b"HTTP/1.1 103 Early Hints\r\n\r\n" * 10,
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" + b"A: b\r\n" * 10,
        ],
        ids=["a head", "interim answers", "trailers"],
    )
    async def test_a_head_that_trickles_in_times_out(self, said: bytes) -> None:
        clock = Clock()
        dripped = 0

        async def drip(peer: Peer) -> None:
            nonlocal dripped
            await peer.asked()
            for byte in said:
                clock.skip(PATIENCE / 10)
                await peer.say(bytes([byte]))
                dripped += 1

        async with connected(drip) as (connections, store):
            with pytest.raises(TimeoutError):
                await get(connections, store)
        assert dripped < len(said)

    async def test_the_length_of_a_short_body_is_limited(self) -> None:
        async def give(peer: Peer) -> None:
            await peer.asked()
            await peer.say(b"HTTP/1.1 500 No\r\nContent-Length: %d\r\n\r\n" % 2**40, LARGE)
            await peer.closed()

        async with connected(give, always_ok) as (connections, store):
            async with await connections.request(store.address, HEAD) as response:
                with pytest.raises(ConnectionError, match="response is too long"):
                    await response.content(1000, PATIENCE)
                assert response.received <= AHEAD + 2 * PIECE
            async with await connections.request(store.address, HEAD) as response:
                assert await response.content(4, PATIENCE) == b"data"

    async def test_a_short_body_that_trickles_in_times_out(self) -> None:
        clock = Clock()

        async def drip(peer: Peer) -> None:
            await peer.asked()
            await peer.say(b"HTTP/1.1 500 No\r\nContent-Length: 100\r\n\r\n")
            for _ in range(100):
                clock.skip(PATIENCE / 10)
                await peer.say(b"x")

        async with connected(drip) as (connections, store), await connections.request(store.address, HEAD) as response:
            with pytest.raises(TimeoutError):
                await response.content(1000, PATIENCE)


class TestHead:
    async def test_the_response_to_head_has_no_body_whatever_its_headers_say(self) -> None:
        async def describe(peer: Peer) -> None:
            for line in (b"Content-Length: 9", b"Transfer-Encoding: chunked", b"Content-Length: 0"):
                assert (await peer.asked()).startswith(b"HEAD ")
                await peer.say(b"HTTP/1.1 200 OK\r\nETag: 1\r\n%b\r\n\r\n" % line)
            await peer.asked()
            await peer.say(OK)

        async with connected(describe) as (connections, store):
            for _ in range(3):
                async with await connections.request(store.address, HEAD.replace(b"GET", b"HEAD")) as response:
                    assert response.headers["etag"] == "1"
                    assert await response.read() == b""
            assert await get(connections, store) == (200, b"data")
        assert store.connections == 1

    async def test_a_body_sent_in_spite_of_head_belongs_to_no_response(self) -> None:
        async def talk(peer: Peer) -> None:
            await peer.asked()
            await peer.say(OK)
            await peer.closed()

        async with connected(talk, always_ok) as (connections, store):
            async with await connections.request(store.address, HEAD.replace(b"GET", b"HEAD")) as response:
                with pytest.raises(ConnectionError, match="without a request"):
                    await response.read()
            assert await get(connections, store) == (200, b"data")
        assert store.connections == 2


class TestDataBehindResponses:
    async def test_trailers_are_not_headers(self) -> None:
        async def talk(peer: Peer) -> None:
            while True:
                await peer.asked()
                await peer.say(
                    b"HTTP/1.1 200 OK\r\nETag: 1\r\nTransfer-Encoding: chunked\r\n\r\n4\r\ndata\r\n0\r\n",
                    b"ETag: 2\r\nx-other: 3\r\n\r\n",
                )

        async with connected(talk) as (connections, store):
            for _ in range(2):
                async with await connections.request(store.address, HEAD) as response:
                    assert await response.read() == b"data"
                    assert response.headers == {"etag": "1", "transfer-encoding": "chunked"}
        assert store.connections == 1

    @pytest.mark.parametrize(
        "surplus", [b"x", b"HTTP/1.1 ", b"HTTP/1.1 404 No\r\nContent-Length: 9\r\nETag: 2\r\n", OK, b"\0" * 1000]
    )
    @pytest.mark.parametrize("later", [False, True], ids=["at once", "later"])
    async def test_data_behind_a_response_belongs_to_no_response(self, surplus: bytes, later: bool) -> None:
        """Neither to the one before it nor to the next."""

        async def talk(peer: Peer) -> None:
            await peer.asked()
            await peer.say(*((OK, surplus) if later else (OK + surplus,)))
            await peer.closed()

        async with connected(talk) as (connections, store):
            for _ in range(2):
                async with await connections.request(store.address, HEAD) as response:
                    assert await response.read() == b"data"
                    for _ in range(5):
                        await settled()
                    assert response.headers == {"content-length": "4"}
        assert store.connections == 2

    async def test_switching_protocols_is_an_error(self) -> None:
        async def switch(peer: Peer) -> None:
            await peer.asked()
            await peer.say(b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n" + bytes(100))
            await peer.closed()

        async with connected(switch) as (connections, store):
            with pytest.raises(ConnectionError, match="is not HTTP"):
                await get(connections, store)


LINES = st.sampled_from(
    [
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 100 \r\n\r\n",
        b"HTTP/1.1 101 \r\n\r\n",
        b"HTTP/1.0 204\r\n",
        b"HTTP/9.9 999 \r\n",
        b"Content-Length: 4\r\n",
        b"Content-Length: 4, 4\r\n",
        b"Content-Length: -1\r\n",
        b"Content-Length: 99999999999999999999999\r\n",
        b"Content-Length: 9999999999\r\n",
        b"Content-Length: \xb2\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: gzip\r\n",
        b"Connection: upgrade\r\nUpgrade: h2c\r\n",
        b"Connection: close\r\n",
        b"ETag: \xff\r\n",
        b" folded\r\n",
        b"\r\n",
        b"\n",
        b"data",
        b"4\r\ndata\r\n",
        b"0\r\n",
        b"ffffffffffffffff\r\n",
    ]
)
SAID = st.lists(LINES | st.binary(max_size=8), max_size=12)


def test_any_data_results_in_a_response_or_an_os_error() -> None:
    """For more examples: `pytest --hypothesis-profile=thorough`."""
    said: list[list[bytes]] = []

    async def talk(peer: Peer) -> None:
        await peer.asked()
        for piece in said[-1]:
            await peer.say(piece)

    async def ask(connections: Connections, store: Store) -> None:
        with contextlib.suppress(OSError):
            async with await connections.request(store.address, HEAD) as response:
                assert 200 <= response.status <= 999
                assert response.length >= 0
                await response.content(1000, PATIENCE)

    with asyncio.Runner() as runner:
        stack = contextlib.AsyncExitStack()
        connections, store = runner.run(stack.enter_async_context(connected(talk)))

        @given(SAID, st.booleans())
        def check(pieces: list[bytes], together: bool) -> None:
            said.append([b"".join(pieces)] if together else pieces)
            runner.run(asyncio.wait_for(ask(connections, store), 30))

        try:
            check()
        finally:
            runner.run(stack.aclose())


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


class TestTLS:
    @pytest.fixture
    async def store(self, authority: trustme.CA) -> AsyncIterator[Store]:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("localhost").configure_cert(context)

        async def echo(peer: Peer) -> None:
            while True:
                await peer.asked()
                body = await peer.reader.readexactly(len(LARGE))
                await peer.say(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body), body)

        store = Store(echo)
        async with store.serving(context):
            yield store

    async def test_requests_work_as_in_plain_http(self, authority: trustme.CA, store: Store) -> None:
        context = ssl.create_default_context()
        authority.configure_trust(context)
        connections = Connections(tls=context, connect_timeout=PATIENCE, read_timeout=PATIENCE)
        for _ in range(3):
            assert await get(connections, store, HEAD, LARGE) == (200, LARGE)
        await connections.aclose()
        assert store.connections == 1

    async def test_a_certificate_is_verified(self, store: Store) -> None:
        connections = Connections(tls=ssl.create_default_context(), connect_timeout=PATIENCE, read_timeout=PATIENCE)
        with pytest.raises(NotConnected, match="certificate verify failed") as caught:
            await connections.request(store.address, HEAD)
        assert caught.value.certificate

    async def test_the_host_name_is_verified(self, authority: trustme.CA, store: Store) -> None:
        context = ssl.create_default_context()
        authority.configure_trust(context)
        connections = Connections(tls=context, connect_timeout=PATIENCE, read_timeout=PATIENCE)
        with pytest.raises(NotConnected, match="certificate"):
            await connections.request(("127.0.0.1", store.address[1]), HEAD)


class TestHeads:
    def test_a_head_consists_of_lines(self) -> None:
        head = head_of("PUT", "/key?part=1", {"host": "store", "content-length": "4"})
        assert head == b"PUT /key?part=1 HTTP/1.1\r\nhost: store\r\ncontent-length: 4\r\n\r\n"

    @pytest.mark.parametrize("value", ["a\r\nb: c", "a\nb", "a\rb", "a\0b", "\r\n", "\n"])
    def test_values_with_line_breaks_are_refused(self, value: str) -> None:
        with pytest.raises(ValueError, match="line break"):
            head_of("PUT", "/", {"host": value})
