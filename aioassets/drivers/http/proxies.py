"""HTTP proxies in front of a store."""

from __future__ import annotations

import asyncio
import ssl
from base64 import b64encode
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import SplitResult, unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

from aioassets.drivers.http.connections import NotConnected
from aioassets.drivers.http.exchange import MAX_HEAD, Server
from aioassets.drivers.http.parsing import printable
from aioassets.errors import InvalidSetting

DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_NEVER_IN_A_PROXY: Final = frozenset(" \\#?")


@dataclass(frozen=True, slots=True)
class Proxy:
    """An HTTP proxy.

    Attributes:
        server: the proxy's host and port.
        tls: the TLS context for the connection to the proxy itself; `None` for plain HTTP.
        authorization: the value of the `Proxy-Authorization` header; empty if there are no credentials.
    """

    server: Server
    tls: ssl.SSLContext | None = None
    authorization: str = ""

    @classmethod
    def parse(cls, url: str, ca_bundle: str | None = None, *, verify: bool = True) -> Self:
        """Parse a proxy URL, such as the value of `HTTPS_PROXY`. The default scheme is `http`.

        If the proxy uses TLS, this method reads certificate files.

        Args:
            url: the URL.
            ca_bundle: a file of certificate authorities for a proxy that uses TLS.
            verify: whether to verify the certificate of a proxy that uses TLS.

        Raises:
            InvalidSetting: the URL is invalid. The message doesn't include it, since it may contain a password.
        """
        parts = _split(url)
        if parts.scheme not in DEFAULT_PORTS:
            raise _unusable()
        server = (parts.hostname or "", parts.port or DEFAULT_PORTS[parts.scheme])
        user = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"
        authorization = f"Basic {b64encode(user.encode()).decode()}" if parts.username else ""
        tls = tls_context(ca_bundle, verify=verify) if parts.scheme == "https" else None
        return cls(server, tls, authorization)

    @property
    def name(self) -> str:
        """The proxy's host and port."""
        return f"{self.server[0]}:{self.server[1]}"

    def forwarded(self, head: bytes, origin: Server) -> bytes:
        """Return the head of a plain HTTP request, rewritten so that the proxy forwards it to the server."""
        method, _, rest = head.partition(b" ")
        line, _, headers = rest.partition(b"\r\n")
        lines = [method + b" http://" + _host_and_port(origin, 80).encode() + line]
        if self.authorization:
            lines.append(f"proxy-authorization: {self.authorization}".encode())
        return b"\r\n".join([*lines, headers])

    def connect_head(self, origin: Server) -> bytes:
        """Return the head of the request that opens a tunnel to a server."""
        host = _host_and_port(origin)
        lines = [f"CONNECT {host} HTTP/1.1", f"host: {host}"]
        if self.authorization:
            lines.append(f"proxy-authorization: {self.authorization}")
        return "\r\n".join([*lines, "", ""]).encode()


class Tunnel(asyncio.Protocol):
    """A protocol that opens a tunnel through a proxy.

    Args:
        proxy: the proxy.
        origin: the server at the other end of the tunnel.
    """

    def __init__(self, proxy: Proxy, origin: Server) -> None:
        self._proxy = proxy
        self._origin = origin
        self._received = b""
        self._opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def open(self, transport: Any) -> None:
        """Ask the proxy to open the tunnel.

        Raises:
            NotConnected: the proxy refused, or closed the connection.
        """
        transport.write(self._proxy.connect_head(self._origin))
        await self._opened

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, end, rest = self._received.partition(b"\r\n\r\n")
        if end or len(head) > MAX_HEAD:
            line = head.partition(b"\r\n")[0].decode("latin-1")
            version, _, status = line.partition(" ")
            accepted = version.startswith("HTTP/1.") and status.startswith("2") and not rest
            self._end(
                None if accepted else f"refused to open a tunnel to {_host_and_port(self._origin)}: {printable(status)}"
            )

    def connection_lost(self, error: Exception | None) -> None:
        self._end("closed the connection instead of opening a tunnel")

    def _end(self, problem: str | None) -> None:
        if self._opened.done():
            return
        if problem is None:
            self._opened.set_result(None)
        else:
            self._opened.set_exception(NotConnected(f"the proxy {self._proxy.name} {problem}"))


def environment_proxy(url: str) -> Proxy | None:
    """Return the proxy that `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY` specify for a URL, or `None`. May block.

    Raises:
        InvalidSetting: a proxy URL is invalid.
    """
    found = _environment_url(url)
    return Proxy.parse(found) if found else None


def check_session_proxies(*urls: str) -> None:
    """Check the proxies from the environment that an aiohttp session would use for the given URLs. May block.

    Raises:
        InvalidSetting: a proxy URL is invalid or has no scheme. aiohttp's own errors would reveal the password.
    """
    if any("://" not in (_environment_url(url) or "://") for url in urls):
        raise InvalidSetting(
            "The proxy URL has no scheme. Use a URL like http://host:3128. Check HTTPS_PROXY and HTTP_PROXY."
        )


def check_proxies() -> dict[str, str]:
    """Return the proxy URLs from the environment, by the scheme of the requests that use them. May block.

    Raises:
        InvalidSetting: a proxy URL is invalid, even if no request to the store would use it. Requests for
            credentials may use it, and the SDKs' errors would reveal the password.
    """
    proxies = {scheme: proxy for scheme, proxy in getproxies().items() if scheme in DEFAULT_PORTS}
    for proxy in proxies.values():
        _split(proxy)
    return proxies


def _environment_url(url: str) -> str | None:
    proxies = check_proxies()
    parts = urlsplit(url)
    return None if proxy_bypass(parts.netloc.rpartition("@")[2]) else proxies.get(parts.scheme)


def tls_context(ca_bundle: str | None, *, verify: bool = True) -> ssl.SSLContext:
    """Create a TLS context for clients. This reads certificate files.

    Args:
        ca_bundle: a file of certificate authorities; `None` to use the system's.
        verify: whether to verify server certificates.

    Raises:
        InvalidSetting: the file cannot be read.
    """
    try:
        context = ssl.create_default_context(cafile=ca_bundle if verify else None)
    except OSError as error:
        raise _unreadable(ca_bundle, error.strerror or error) from error
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def check_authorities(ca_bundle: str) -> None:
    """Raise `InvalidSetting` if a file contains no certificates. This is faster than loading them."""
    try:
        text = Path(ca_bundle).read_bytes()
    except OSError as error:
        raise _unreadable(ca_bundle, error.strerror) from error
    if b"-----BEGIN " not in text:
        raise _unreadable(ca_bundle, "it contains no certificates")


def _unreadable(ca_bundle: str | None, reason: object) -> InvalidSetting:
    return InvalidSetting(f"Cannot read the certificate authorities in {ca_bundle!r}: {reason}.")


def _split(url: str) -> SplitResult:
    """Split a proxy URL. The default scheme is `http`.

    Raises:
        InvalidSetting: the URL is malformed, for example because the password contains an unescaped `#` or `/`.
    """
    try:
        parts = urlsplit(url if "://" in url else f"http://{url.removeprefix('//')}")
        sound = bool(parts.hostname) and parts.port != 0 and parts.path in ("", "/")
    except ValueError:
        sound = False
    if not sound or not url.isprintable() or not _NEVER_IN_A_PROXY.isdisjoint(url):
        raise _unusable()
    return parts


def _unusable() -> InvalidSetting:
    return InvalidSetting(
        "The proxy URL is invalid. Use a URL like http://host:3128, with user:password@ before the host if the proxy "
        "requires it, and with %23 for # and %2F for / in the password. Check HTTPS_PROXY and HTTP_PROXY."
    )


def _host_and_port(server: Server, default: int = 0) -> str:
    host = f"[{server[0]}]" if ":" in server[0] else server[0]
    return host if server[1] == default else f"{host}:{server[1]}"
