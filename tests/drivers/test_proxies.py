"""Connections through HTTP proxies."""

from __future__ import annotations

import asyncio
import contextlib
import math
import re
import ssl
import traceback
from base64 import b64encode
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trustme
from tools.servers import free_ports
from tools.tcp import listening, tunnel

from aioassets import AioAssetsError, AzureDriver, Dispatcher, GCSDriver, S3Driver
from aioassets.drivers.http.client import Connections
from aioassets.drivers.http.connections import NotConnected
from aioassets.drivers.http.proxies import Proxy, check_session_proxies, environment_proxy
from aioassets.errors import InvalidSetting, StoreUnavailable
from aioassets.runtime.retry import NO_RETRY

HEAD = b"GET /key HTTP/1.1\r\nhost: store\r\n\r\n"
UNUSABLE = [
    "http://user:s3cr3t#more@host:9",
    "http://user:s3cr3t/more@host:9",
    "http://user:12#s3cr3t@host:9",
    "http://user:12/s3cr3t@host:9",
    "http://user:12?s3cr3t@host:9",
    "http://user:12\\s3cr3t@host:9",
    "http://user:s3cr3t more@host:9",
    "user:s3cr3t/more@host:9",
    "user:s3cr3t#more@host:9",
]
"""URLs of proxies whose passwords are not escaped."""
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

    @contextlib.asynccontextmanager
    async def running(self, tls: ssl.SSLContext | None = None) -> AsyncIterator[Forwarder]:
        async with listening(self._serve, tls=tls) as self.port:
            yield self

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while not (head := await reader.readuntil(b"\r\n\r\n")).startswith(b"CONNECT "):
            self.heads.append(head)
            writer.write(OK)
        self.heads.append(head)
        writer.write(self.answer)
        if b" 200 " in self.answer:
            host, _, port = head.split()[1].decode().rpartition(":")
            await tunnel((reader, writer), host, int(port))


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
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            writer.write(OK.removesuffix(b"data") if head.startswith(b"HEAD ") else OK)

    async with listening(serve, tls=tls) as port:
        yield port


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
        (b"HTTP/1.1 407 Authentication Required\r\n\r\n", "refused to open a tunnel .*: 407 Authentication Required"),
        (b"SSH-2.0-server\r\n\r\n", "refused to open a tunnel"),
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
        with pytest.raises(NotConnected, match=f"the proxy 127.0.0.1:{forwarder.port} refused the connection"):
            await get(pool, 80)


class TestParsing:
    @pytest.mark.parametrize(
        ("url", "expected"),
        [
            ("http://proxy:3128", Proxy(("proxy", 3128))),
            ("proxy:3128", Proxy(("proxy", 3128))),
            ("//proxy", Proxy(("proxy", 80))),
            ("user:p%40ss@proxy:9", Proxy(("proxy", 9), None, AUTHORIZATION)),
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

    @pytest.mark.parametrize(
        "url", ["socks5://secret@proxy", "http://", "http://secret@host:port", "http://[secret", *UNUSABLE]
    )
    def test_errors_do_not_show_the_url(self, url: str) -> None:
        with pytest.raises(InvalidSetting, match="Check HTTPS_PROXY") as caught:
            Proxy.parse(url)
        assert not re.search("secret|s3cr3t", str(caught.value))
        assert caught.value.__context__ is None

    def test_the_environment_names_proxies_and_exceptions(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("https_proxy", "http://proxy:3128")
        monkeypatch.setenv("no_proxy", "internal.example")
        monkeypatch.delenv("http_proxy", raising=False)
        assert environment_proxy("https://store.example/key") == Proxy(("proxy", 3128))
        assert environment_proxy("https://store.internal.example/key") is None
        assert environment_proxy("http://store.example/key") is None


def driver_of(kind: str, port: int, ca_bundle: str | None = None) -> S3Driver | GCSDriver | AzureDriver:
    """Return a driver of a store that is encrypted with a certificate of a private authority."""
    dispatcher, root = Dispatcher(retry=NO_RETRY), f"https://localhost:{port}"
    match kind:
        case "s3":
            return S3Driver(
                "bucket",
                dispatcher=dispatcher,
                endpoint_url=root,
                region="us-east-1",
                access_key_id="AKIDEXAMPLE",
                secret_access_key="key",
                ca_bundle=ca_bundle,
            )
        case "gcs":
            return GCSDriver("bucket", dispatcher=dispatcher, api_root=root, anonymous=True, ca_bundle=ca_bundle)
    return AzureDriver("bucket", dispatcher=dispatcher, account_url=f"{root}/a", anonymous=True, ca_bundle=ca_bundle)


async def failures(driver: S3Driver | GCSDriver | AzureDriver) -> list[AioAssetsError]:
    """Return the errors of a request on the project's own connections, and of one by the SDK."""
    found = []
    async with driver:
        for request in (driver.read("key"), driver.stat("key")):
            with pytest.raises(AioAssetsError) as caught:
                await request
            found.append(caught.value)
    return found


@pytest.mark.parametrize("kind", ["s3", "gcs", "azure"])
class TestDrivers:
    async def test_all_requests_go_through_the_proxy(
        self, authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
    ) -> None:
        """Those of the SDK as well as the project's own, with credentials and a private authority."""
        authority.cert_pem.write_to_path(tmp_path / "ca.pem")
        async with store(server_context(authority)) as port, Forwarder().running() as forwarder:
            for name in ("HTTPS_PROXY", "https_proxy"):
                monkeypatch.setenv(name, f"http://user:p%40ss@127.0.0.1:{forwarder.port}")
            for name in ("NO_PROXY", "no_proxy"):
                monkeypatch.setenv(name, "elsewhere.example")
            for error in await failures(driver_of(kind, port, f"{tmp_path / 'ca.pem'}")):
                assert not isinstance(error, StoreUnavailable)
        assert forwarder.heads
        assert all(f"CONNECT localhost:{port} ".encode() in head for head in forwarder.heads)
        assert all(AUTHORIZATION.encode() in head for head in forwarder.heads)

    async def test_exceptions_are_reached_directly(
        self, authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
    ) -> None:
        authority.cert_pem.write_to_path(tmp_path / "ca.pem")
        monkeypatch.setenv("https_proxy", "http://127.0.0.1:1")
        monkeypatch.setenv("no_proxy", "localhost")
        async with store(server_context(authority)) as port:
            for error in await failures(driver_of(kind, port, f"{tmp_path / 'ca.pem'}")):
                assert not isinstance(error, StoreUnavailable)

    @pytest.mark.parametrize("url", UNUSABLE)
    async def test_an_unusable_proxy_is_one_error_without_its_password(
        self, authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, url: str
    ) -> None:
        authority.cert_pem.write_to_path(tmp_path / "ca.pem")
        for name in ("HTTPS_PROXY", "https_proxy"):
            monkeypatch.setenv(name, url)
        for error in await failures(driver_of(kind, 9, f"{tmp_path / 'ca.pem'}")):
            assert isinstance(error, InvalidSetting)
            assert "s3cr3t" not in "".join(traceback.format_exception(error))

    async def test_a_proxy_that_refuses_is_named_without_its_password(
        self, authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
    ) -> None:
        authority.cert_pem.write_to_path(tmp_path / "ca.pem")
        async with Forwarder(b"HTTP/1.1 407 Who are you\r\nContent-Length: 0\r\n\r\n").running() as forwarder:
            for name in ("HTTPS_PROXY", "https_proxy"):
                monkeypatch.setenv(name, f"http://user:s3@cr3t@127.0.0.1:{forwarder.port}")
            for name in ("NO_PROXY", "no_proxy"):
                monkeypatch.setenv(name, "elsewhere.example")
            found = await failures(driver_of(kind, 9, f"{tmp_path / 'ca.pem'}"))
        for error in found:
            assert isinstance(error, StoreUnavailable)
            assert re.search("the proxy .*refused.*: 407 Who are you .check the user name and password", str(error))
            assert error.retry_after == math.inf
            assert "cr3t" not in "".join(traceback.format_exception(error))


@pytest.mark.parametrize(
    ("kind", "expected"), [("s3", StoreUnavailable), ("gcs", InvalidSetting), ("azure", InvalidSetting)]
)
async def test_a_proxy_without_a_scheme_shows_no_password(
    monkeypatch: pytest.MonkeyPatch, kind: str, expected: type[AioAssetsError]
) -> None:
    """Only S3 can use it, since the other SDKs send requests by aiohttp."""
    (port,) = free_ports(1)
    for name in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(name, f"user:s3cr3t@127.0.0.1:{port}")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "elsewhere.example")
    for error in await failures(driver_of(kind, 9)):
        assert isinstance(error, expected)
        assert "s3cr3t" not in "".join(traceback.format_exception(error))


@pytest.mark.parametrize(
    ("urls", "refused"),
    [
        (["http://store.example"], False),
        (["https://store.internal.example"], False),
        (["https://store.internal.example", "https://tokens.example"], True),
    ],
)
def test_only_proxies_that_a_session_uses_need_a_scheme(
    monkeypatch: pytest.MonkeyPatch, urls: list[str], refused: bool
) -> None:
    monkeypatch.setenv("https_proxy", "proxy:3128")
    monkeypatch.setenv("no_proxy", "internal.example")
    monkeypatch.delenv("http_proxy", raising=False)
    monkeypatch.delenv("HTTP_PROXY", raising=False)
    with pytest.raises(InvalidSetting, match="no scheme") if refused else contextlib.nullcontext():
        check_session_proxies(*urls)
