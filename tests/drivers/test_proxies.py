"""Connections through HTTP proxies."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from base64 import b64encode
from collections.abc import AsyncIterator

import pytest
import trustme

from aioassets.drivers.http.client import Connections
from aioassets.drivers.http.connections import NotConnected
from aioassets.drivers.http.proxies import Proxy, environment_proxy
from aioassets.errors import InvalidSetting

HEAD = b"GET /key HTTP/1.1\r\nhost: store\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndata"
AUTHORIZATION = "Basic " + b64encode(b"user:p@ss").decode()


class Forwarder:
    """A proxy that opens tunnels, and answers plain requests by itself.

    Attributes:
        heads: the heads of the requests that it received.
    """

    def __init__(self, answer: bytes = b"HTTP/1.1 200 Connection established\r\n\r\n") -> None:
        self.answer = answer
        self.heads: list[bytes] = []
        self.port = 0
        self._tasks: set[asyncio.Task[None]] = set()

    @contextlib.asynccontextmanager
    async def running(self, tls: ssl.SSLContext | None = None) -> AsyncIterator[Forwarder]:
        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self._tasks.add(asyncio.ensure_future(self._serve(reader, writer)))

        server = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=tls)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            await asyncio.gather(*self._tasks)
            await server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                self.heads.append(head)
                if head.startswith(b"CONNECT "):
                    writer.write(self.answer)
                    await self._tunnel(head, reader, writer)
                    break
                writer.write(OK)
        writer.close()

    async def _tunnel(self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if b" 200 " not in self.answer:
            return
        host, _, port = head.split()[1].decode().rpartition(":")
        there = await asyncio.open_connection(host, int(port))
        await asyncio.gather(_copy(reader, there[1]), _copy(there[0], writer))


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def server_context(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    return context


def client_context(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


@contextlib.asynccontextmanager
async def store(tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """Serve the same object to every request; yield the port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                await reader.readuntil(b"\r\n\r\n")
                writer.write(OK)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    async with server:
        yield server.sockets[0].getsockname()[1]


@contextlib.asynccontextmanager
async def connections(proxy: Proxy, tls: ssl.SSLContext | None) -> AsyncIterator[Connections]:
    pool = Connections(tls=tls, connect_timeout=10, read_timeout=10, proxy=proxy)
    try:
        yield pool
    finally:
        await pool.aclose()


async def get(pool: Connections, port: int) -> bytes:
    async with await pool.request(("localhost", port), HEAD) as response:
        return bytes(await response.read())


async def test_plain_requests_name_the_server_and_carry_credentials() -> None:
    async with Forwarder().running() as forwarder:
        proxy = Proxy.parse(f"http://user:p%40ss@127.0.0.1:{forwarder.port}")
        async with connections(proxy, None) as pool:
            for _ in range(2):
                async with await pool.request(("store.invalid", 80), HEAD) as response:
                    assert await response.read() == b"data"
    expected = f"GET http://store.invalid/key HTTP/1.1\r\nproxy-authorization: {AUTHORIZATION}\r\nhost: store\r\n\r\n"
    assert forwarder.heads == [expected.encode()] * 2


@pytest.mark.parametrize("encrypted", [False, True], ids=["http", "https"])
async def test_tls_goes_through_one_tunnel_that_is_kept(authority: trustme.CA, encrypted: bool) -> None:
    """Also where the connection to the proxy is encrypted itself."""
    tls = client_context(authority)
    async with (
        store(server_context(authority)) as port,
        Forwarder().running(server_context(authority) if encrypted else None) as forwarder,
    ):
        proxy = Proxy(("localhost", forwarder.port), tls if encrypted else None, AUTHORIZATION)
        async with connections(proxy, tls) as pool:
            for _ in range(2):
                assert await get(pool, port) == b"data"
    head = (
        f"CONNECT localhost:{port} HTTP/1.1\r\nhost: localhost:{port}\r\nproxy-authorization: {AUTHORIZATION}\r\n\r\n"
    )
    assert forwarder.heads == [head.encode()]


async def test_the_certificate_behind_a_tunnel_is_verified(authority: trustme.CA) -> None:
    async with (
        store(server_context(authority)) as port,
        Forwarder().running() as forwarder,
        connections(Proxy(("127.0.0.1", forwarder.port)), ssl.create_default_context()) as pool,
    ):
        with pytest.raises(NotConnected, match="certificate verify failed") as caught:
            await get(pool, port)
    assert caught.value.certificate


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (b"HTTP/1.1 407 Authentication Required\r\n\r\n", "refused a tunnel .*: 407 Authentication Required"),
        (b"SSH-2.0-server\r\n\r\n", "refused a tunnel"),
        (b"", "closed the connection instead of opening a tunnel"),
    ],
)
async def test_a_refused_tunnel_means_that_nothing_was_sent(authority: trustme.CA, answer: bytes, problem: str) -> None:
    async with Forwarder(answer).running() as forwarder:
        proxy = Proxy(("127.0.0.1", forwarder.port))
        async with connections(proxy, client_context(authority)) as pool:
            with pytest.raises(NotConnected, match=f"the proxy 127.0.0.1:{forwarder.port} {problem}"):
                await get(pool, 443)


async def test_a_proxy_that_is_not_there_is_named() -> None:
    async with Forwarder().running() as forwarder:
        pass
    async with connections(Proxy(("127.0.0.1", forwarder.port)), None) as pool:
        with pytest.raises(NotConnected, match=f"the proxy 127.0.0.1:{forwarder.port} refuses connections"):
            await get(pool, 80)


class TestParsing:
    @pytest.mark.parametrize(
        ("url", "expected"),
        [
            ("http://proxy:3128", Proxy(("proxy", 3128))),
            ("proxy:3128", Proxy(("proxy", 3128))),
            ("//proxy", Proxy(("proxy", 80))),
            ("http://user:p%40ss@[::1]:3128/", Proxy(("::1", 3128), None, AUTHORIZATION)),
        ],
    )
    def test_urls_are_parsed_as_the_sdks_parse_them(self, url: str, expected: Proxy) -> None:
        assert Proxy.parse(url) == expected

    def test_an_encrypted_proxy_is_verified(self) -> None:
        proxy = Proxy.parse("https://proxy")
        assert proxy.server == ("proxy", 443)
        assert proxy.tls is not None
        assert proxy.tls.verify_mode is ssl.CERT_REQUIRED

    @pytest.mark.parametrize("url", ["socks5://secret@proxy", "http://", "http://secret@host:port", "http://[secret"])
    def test_errors_do_not_show_the_url(self, url: str) -> None:
        with pytest.raises(InvalidSetting, match="Check HTTPS_PROXY") as caught:
            Proxy.parse(url)
        assert "secret" not in str(caught.value)

    def test_the_environment_names_proxies_and_exceptions(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("https_proxy", "http://proxy:3128")
        monkeypatch.setenv("no_proxy", "internal.example")
        monkeypatch.delenv("http_proxy", raising=False)
        assert environment_proxy("https://store.example/key") == Proxy(("proxy", 3128))
        assert environment_proxy("https://store.internal.example/key") is None
        assert environment_proxy("http://store.example/key") is None
