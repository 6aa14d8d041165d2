"""An HTTP server, accessed over aioassets' own connections."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from aioassets._version import __version__
from aioassets.drivers.http.client import Connections, head_of
from aioassets.drivers.http.exchange import Body
from aioassets.drivers.http.proxies import DEFAULT_PORTS, Proxy
from aioassets.drivers.http.response import Response
from aioassets.drivers.protocol import Data

_AGENT: Final = f"aioassets/{__version__}"


class Host:
    """An HTTP server and the connections to it.

    Args:
        url: any URL on the server.
        tls: the TLS context; unused for plain HTTP.
        connect_timeout: the connection timeout in seconds.
        read_timeout: how many seconds a request may go without receiving data before it fails.
        proxy: the proxy that all requests go through, if any.
    """

    def __init__(
        self, url: str, *, tls: ssl.SSLContext, connect_timeout: float, read_timeout: float, proxy: Proxy | None
    ) -> None:
        parts = urlsplit(url)
        self.origin = f"{parts.scheme}://{parts.netloc}"
        self._server = (parts.hostname or "", parts.port or DEFAULT_PORTS[parts.scheme])
        self._headers = {"host": parts.netloc, "user-agent": _AGENT}
        self._connections = Connections(
            tls=tls if parts.scheme == "https" else None,
            connect_timeout=connect_timeout,
            read_timeout=read_timeout,
            proxy=proxy,
        )

    async def send(
        self, method: str, target: str, headers: Mapping[str, str], body: Data | Body | None = None
    ) -> Response:
        """Send a request once, and wait for the head of its response.

        Args:
            method: the HTTP method.
            target: the encoded path and query.
            headers: the headers, with lower-case names.
            body: the request body, or `None` if there is none. Its length is sent as a header.

        Raises:
            NotConnected: no connection could be established, so nothing was sent.
            OSError: the connection broke, or the read timeout expired.
        """
        sent = {**self._headers, **headers}
        if body is not None:
            sent["content-length"] = str(len(body))
        return await self._connections.request(self._server, head_of(method, target, sent), body or b"")

    async def aclose(self) -> None:
        """Close the connections."""
        await self._connections.aclose()
