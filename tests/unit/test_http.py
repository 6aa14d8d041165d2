"""Requests on connections of our own, against a server that says what each test has it say."""

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
from factories import Streamed
from relay import Clock, settled

from aioassets.concurrency import AT_ONCE
from aioassets.drivers._connections import NotConnected
from aioassets.drivers._http import AHEAD, IDLE, PIECE, Connections, Server, head_of
from aioassets.drivers.protocol import Data, Text

PATIENCE = 100.0
HEAD = b"GET / HTTP/1.1\r\nhost: store\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndata"
LARGE = bytes(range(256)) * (16 * PIECE // 256)

Script = Callable[["Peer"], Awaitable[None]]


class Peer:
    """The server's end of a connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def asked(self, body: int = 0) -> bytes:
        """A request: its head; raises `IncompleteReadError` where none comes."""
        head = await self._reader.readuntil(b"\r\n\r\n")
        await self._reader.readexactly(body)
        return head

    async def say(self, *pieces: bytes) -> None:
        for piece in pieces:
            self._writer.write(piece)
            await self._writer.drain()
            await settled()

    async def closed(self) -> None:
        """Wait until the client closes."""
        with contextlib.suppress(ConnectionError):
            while await self._reader.read(PIECE):
                pass

    async def close(self) -> None:
        try:
            self._writer.close()
            await self._writer.wait_closed()
        finally:
            self._writer.transport.abort()


class Store:
    """A server whose connections follow scripts, each the next one.

    Attributes:
        connections: how many were made.
    """

    def __init__(self, *scripts: Script) -> None:
        self._scripts = list(scripts)
        self._following: set[asyncio.Task[None]] = set()
        self.connections = 0
        self.address: Server = ("", 0)

    @contextlib.asynccontextmanager
    async def serving(self, tls: ssl.SSLContext | None = None) -> AsyncIterator[None]:
        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self._following.add(asyncio.ensure_future(self._follow(reader, writer)))

        server = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=tls)
        self.address = ("localhost" if tls else "127.0.0.1", server.sockets[0].getsockname()[1])
        try:
            yield
        finally:
            server.close()
            for task in self._following:
                task.cancel()
            await asyncio.gather(*self._following, return_exceptions=True)
            await server.wait_closed()

    async def _follow(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        script = self._scripts[min(self.connections, len(self._scripts) - 1)]
        self.connections += 1
        peer = Peer(reader, writer)
        with contextlib.suppress(asyncio.IncompleteReadError, OSError):
            try:
                await script(peer)
            finally:
                await peer.close()


async def always_ok(peer: Peer) -> None:
    while True:
        await peer.asked()
        await peer.say(OK)


async def take(received: list[bytes], size: int, peer: Peer) -> None:
    """Note a body of this many bytes."""
    await peer.asked()
    received.append(await peer._reader.readexactly(size))
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


async def get(connections: Connections, store: Store, head: bytes = HEAD, body: Data | Text = b"") -> tuple[int, bytes]:
    async with await connections.request(store.address, head, body) as response:
        return response.status, await response.read()


async def test_a_connection_is_used_again() -> None:
    async with connected(always_ok) as (connections, store):
        for _ in range(3):
            assert await get(connections, store) == (200, b"data")
    assert store.connections == 1


async def test_requests_at_once_have_a_connection_each() -> None:
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
async def test_one_that_the_server_closes_is_not(answer: tuple[bytes, ...]) -> None:
    async def once(peer: Peer) -> None:
        await peer.asked()
        await peer.say(*answer)

    async with connected(once) as (connections, store):
        for _ in range(2):
            assert await get(connections, store) == (200, b"data")
    assert store.connections == 2


async def test_one_that_was_closed_meanwhile_is_not() -> None:
    async def once(peer: Peer) -> None:
        await peer.asked()
        await peer.say(OK)

    async with connected(once) as (connections, store):
        for _ in range(2):
            assert await get(connections, store) == (200, b"data")
            while connections._idle:
                await checkpoint()
    assert store.connections == 2


async def test_one_that_was_idle_for_long_is_not() -> None:
    clock = Clock()
    async with connected(always_ok) as (connections, store):
        for _ in range(2):
            await get(connections, store)
            clock.skip(IDLE)
    assert store.connections == 2


async def test_one_on_which_something_comes_unasked_is_not() -> None:
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
async def test_answers_come_in_many_ways(answer: list[bytes], body: bytes) -> None:
    async def say(peer: Peer) -> None:
        while True:
            await peer.asked()
            await peer.say(*answer)

    async with connected(say) as (connections, store):
        for _ in range(2):
            assert (await get(connections, store))[1] == body
    assert store.connections == 1


async def test_headers_are_told_by_lower_case_names() -> None:
    async def say(peer: Peer) -> None:
        await peer.asked()
        await peer.say(
            b"HTTP/1.1 100 Continue\r\nX: y\r\n\r\nHTTP/1.1 404 No\r\nETag: \xc3\xa9\r\nA: 1\r\na: 2\r\n\r\n"
        )

    async with connected(say) as (connections, store), await connections.request(store.address, HEAD) as response:
        assert response.status == 404
        assert response.headers == {"etag": "é", "a": "1, 2"}


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 200 OK\r\nContent-", b"HTTP/1.1 100 Continue\r\n\r\n"])
async def test_an_answer_that_does_not_come_is_an_error(said: bytes) -> None:
    async def break_off(peer: Peer) -> None:
        await peer.asked()
        await peer.say(said)

    async with connected(break_off) as (connections, store):
        with pytest.raises(ConnectionError) as caught:
            await get(connections, store)
    assert not isinstance(caught.value, NotConnected)


@pytest.mark.parametrize("framing", [b"Content-Length: 9", b"Transfer-Encoding: chunked"])
async def test_one_that_breaks_off_gives_what_came_before(framing: bytes) -> None:
    async def break_off(peer: Peer) -> None:
        await peer.asked()
        await peer.say(
            b"HTTP/1.1 200 OK\r\n%b\r\n\r\n" % framing, b"4\r\ndata\r\n" if b"chunked" in framing else b"data"
        )

    async with connected(break_off) as (connections, store), await connections.request(store.address, HEAD) as response:
        assert await response.read(PIECE) == b"data"
        with pytest.raises(ConnectionError, match="before all of the answer"):
            await response.read(PIECE)


async def test_what_is_not_http_is_an_error() -> None:
    async def talk(peer: Peer) -> None:
        await peer.asked()
        await peer.say(b"220 mail.example ESMTP\r\n")
        await peer.closed()

    async with connected(talk) as (connections, store):
        with pytest.raises(ConnectionError, match="isn't HTTP"):
            await get(connections, store)


async def test_nobody_listens() -> None:
    async with connected(always_ok) as (connections, store):
        pass
    with pytest.raises(NotConnected, match=f"127.0.0.1:{store.address[1]} refuses connections"):
        await connections.request(store.address, HEAD)


async def test_no_such_host() -> None:
    connections = Connections(tls=None, connect_timeout=PATIENCE, read_timeout=PATIENCE)
    with pytest.raises(NotConnected, match=r"store\.invalid:80 can't be reached"):
        await connections.request(("store.invalid", 80), HEAD)


class TestBodies:
    async def test_large_ones_arrive(self) -> None:
        received: list[bytes] = []
        async with connected(partial(take, received, len(LARGE))) as (connections, store):
            assert await get(connections, store, HEAD, LARGE) == (200, b"data")
        assert received == [LARGE]

    async def test_one_that_is_refused_early_is_not_sent_to_its_end(self) -> None:
        sent = 0

        async def refuse(peer: Peer) -> None:
            nonlocal sent
            await peer.asked()
            await peer.say(b"HTTP/1.1 412 No\r\nContent-Length: 4\r\n\r\n", b"data")
            while piece := await peer._reader.read(PIECE):
                sent += len(piece)

        body = bytes(64 * 1024 * 1024)  # more than sockets hold
        async with connected(refuse, always_ok) as (connections, store):
            assert await get(connections, store, HEAD, body) == (412, b"data")
            assert await get(connections, store) == (200, b"data")
        assert sent < len(body)
        assert store.connections == 2

    async def test_what_nobody_takes_is_left_with_the_server(self) -> None:
        length = 64 * 1024 * 1024

        async def give(peer: Peer) -> None:
            await peer.asked()
            peer._writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % length)
            for _ in range(length // len(LARGE)):
                await peer.say(LARGE)
            await always_ok(peer)

        async with connected(give) as (connections, store):
            async with await connections.request(store.address, HEAD) as response:
                for _ in range(50):
                    await settled()
                assert AHEAD <= response._size < AHEAD + 2 * PIECE
                data = bytearray()
                while piece := await response.read(PIECE):
                    assert len(piece) <= PIECE
                    data += piece
                assert data == LARGE * (length // len(LARGE))
            assert await get(connections, store) == (200, b"data")
        assert store.connections == 1

    async def test_a_large_one_that_breaks_off_gives_what_came_before(self) -> None:
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
            with pytest.raises(ConnectionError, match="before all of the answer"):
                await response.read(PIECE)

    async def test_of_one_that_is_not_wanted_the_rest_is_not_waited_for(self) -> None:
        async def give(peer: Peer) -> None:
            await peer.asked()
            await peer.say(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\ndata")
            await peer.closed()

        async with connected(give, always_ok) as (connections, store):
            async with await connections.request(store.address, HEAD) as response:
                assert await response.read(4) == b"data"
            assert await get(connections, store) == (200, b"data")
        assert store.connections == 2


class TestSilence:
    async def test_a_server_that_does_not_answer_is_given_up(self) -> None:
        clock = Clock()

        async def skip(peer: Peer) -> None:
            await peer.asked()
            clock.skip(PATIENCE + 1)
            await peer.closed()

        async with connected(skip) as (connections, store):
            with pytest.raises(TimeoutError):
                await get(connections, store)

    async def test_nor_one_that_stops_in_the_middle(self) -> None:
        clock = Clock()

        async def skip(peer: Peer) -> None:
            await peer.asked()
            await peer.say(OK[:-2])
            clock.skip(PATIENCE + 1)
            await peer.closed()

        async with connected(skip) as (connections, store), await connections.request(store.address, HEAD) as response:
            with pytest.raises(TimeoutError):
                await response.read()

    async def test_one_that_takes_its_time_is_waited_for(self) -> None:
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

    async def test_who_takes_their_time_is_waited_for(self) -> None:
        clock = Clock()

        async def give(peer: Peer) -> None:
            await peer.asked()
            await peer.say(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(LARGE), LARGE)

        async with connected(give) as (connections, store), await connections.request(store.address, HEAD) as response:
            for _ in range(10):
                await settled()
                clock.skip(PATIENCE + 1)
            assert await response.read() == LARGE


async def test_a_request_that_is_cancelled_takes_its_connection_with_it() -> None:
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


async def test_closing_ends_what_is_under_way() -> None:
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


async def test_many_answers_at_once_leave_others_their_turns() -> None:
    """Each is some work for who waits for it."""
    count = 8 * AT_ONCE
    together = asyncio.Barrier(count)
    turn = 0
    answered: Counter[int] = Counter()

    async def answer_together(peer: Peer) -> None:
        await peer.asked()
        await together.wait()
        peer._writer.write(OK)
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
    assert max(answered.values()) <= AT_ONCE


async def test_while_a_long_text_is_made_others_have_their_turns() -> None:
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
                body = await peer._reader.readexactly(len(LARGE))
                await peer.say(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body), body)

        store = Store(echo)
        async with store.serving(context):
            yield store

    async def test_all_is_as_in_clear(self, authority: trustme.CA, store: Store) -> None:
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

    async def test_so_is_the_name(self, authority: trustme.CA, store: Store) -> None:
        context = ssl.create_default_context()
        authority.configure_trust(context)
        connections = Connections(tls=context, connect_timeout=PATIENCE, read_timeout=PATIENCE)
        with pytest.raises(NotConnected, match="certificate"):
            await connections.request(("127.0.0.1", store.address[1]), HEAD)


class TestHeads:
    def test_they_are_lines(self) -> None:
        head = head_of("PUT", "/key?part=1", {"host": "store", "content-length": "4"})
        assert head == b"PUT /key?part=1 HTTP/1.1\r\nhost: store\r\ncontent-length: 4\r\n\r\n"

    @pytest.mark.parametrize("value", ["a\r\nb: c", "a\nb", "a\rb", "a\0b", "\r\n", "\n"])
    def test_values_with_line_breaks_are_refused(self, value: str) -> None:
        with pytest.raises(ValueError, match="line break"):
            head_of("PUT", "/", {"host": value})
