"""An HTTP transport for the SDK that uses aioassets' own connections.

aiobotocore accepts a custom session class (`AioConfig(http_session_cls=...)`). Its interface is not
documented, so `pyproject.toml` bounds the version of aiobotocore, and `TestTransport` in
`tests/drivers/test_s3_direct.py` fails if the interface changes.
"""

from __future__ import annotations

import inspect
import logging
import sys
from time import monotonic
from typing import Any, Final, Self
from urllib.parse import urlsplit

from aiobotocore.awsrequest import AioAWSResponse
from botocore.httpsession import get_cert_path

from aioassets.drivers.http.client import Connections, head_of
from aioassets.drivers.http.connections import MAX_ANSWER, MAX_ERROR
from aioassets.drivers.http.proxies import DEFAULT_PORTS, Proxy, tls_context
from aioassets.drivers.http.response import Response
from aioassets.drivers.protocol import Data
from aioassets.drivers.s3.signing import host_of

_DROPPED: Final = frozenset({"expect", "transfer-encoding"})
"""Headers that are never sent. Waiting for `100 Continue` costs a round trip per part, and the length is known."""

_log = logging.getLogger(__name__)


class Transport:
    """An HTTP session for the SDK that sends each request once and doesn't follow redirects.

    Args:
        timeout: how many seconds to wait for a connection, and for further data.
        verify: whether to verify certificates, or a file of certificate authorities to trust.
        proxies: proxy URLs by scheme.
        ignored: options for aiohttp sessions, which have no effect.
    """

    def __init__(
        self,
        *,
        timeout: tuple[float, float],
        verify: bool | str = True,
        proxies: dict[str, str] | None = None,
        **ignored: Any,
    ) -> None:
        self._timeouts = timeout
        self._verify = verify
        self._proxies = proxies or {}
        self._pools: dict[str, Connections] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections."""
        for pool in self._pools.values():
            await pool.aclose()

    def connections(self, scheme: str) -> Connections:
        """Return the connection pool for a scheme. The first call reads certificate files.

        Raises:
            InvalidSetting: certificate authorities cannot be read, or the URL of a proxy is invalid.
        """
        if scheme not in self._pools:
            authorities, verify = get_cert_path(self._verify) or None, bool(self._verify)
            proxy = self._proxies.get(scheme)
            self._pools[scheme] = Connections(
                tls=tls_context(authorities, verify=verify) if scheme == "https" else None,
                connect_timeout=self._timeouts[0],
                read_timeout=self._timeouts[1],
                proxy=Proxy.parse(proxy, authorities, verify=verify) if proxy else None,
            )
        return self._pools[scheme]

    async def send(self, request: Any) -> AioAWSResponse:
        """Send a request that the SDK has prepared, and return its response."""
        url = urlsplit(request.url)
        body = await _bytes(request.body)
        headers = {name.lower(): _text(value) for name, value in request.headers.items()}
        headers = {name: value for name, value in headers.items() if name not in _DROPPED}
        headers |= {"host": host_of(url), "accept-encoding": "identity"}
        if body or request.method not in ("GET", "HEAD"):
            headers["content-length"] = str(len(body))
        target = f"{url.path or '/'}?{url.query}" if url.query else url.path or "/"
        server = (url.hostname or "", url.port or DEFAULT_PORTS[url.scheme])
        began = monotonic()
        response = await self.connections(url.scheme).request(server, head_of(request.method, target, headers), body)
        if _log.isEnabledFor(logging.DEBUG):
            seconds = monotonic() - began
            _log.debug(
                "%s %r: %d, %d bytes sent, %.3f s", request.method, url.path, response.status, len(body), seconds
            )
        raw = _Raw(response, request.url, self._timeouts[1])
        if not request.stream_output:
            await raw.load()
        return AioAWSResponse(request.url, response.status, response.headers, raw)


class _Raw:
    """A raw response with the interface that the SDK expects. It limits the size of the body.

    Attributes:
        content: the stream of the body's bytes.
        url: the URL of the request.
    """

    def __init__(self, response: Response, url: str, patience: float) -> None:
        self._response = response
        self._patience = patience
        self._loaded: bytes | None = None
        self.url = url
        self.content = _Stream(response)

    async def load(self) -> bytes:
        """Return the whole body."""
        if self._loaded is None:
            failed = self._response.status >= 300
            limit, seconds = (MAX_ERROR, self._patience) if failed else (MAX_ANSWER, None)
            async with self._response:
                self._loaded = bytes(await self._response.content(limit, seconds))
        return self._loaded

    read = load

    def close(self) -> None:
        """Discard the rest of the body."""
        self._response.close()


class _Stream:
    """A stream of a response's bytes with the interface that the SDK expects."""

    def __init__(self, response: Response) -> None:
        self._response = response

    async def read(self, size: int = -1) -> Data:
        """Return up to `size` bytes, or all that remain."""
        return await self._response.read(sys.maxsize if size < 0 else size)

    def at_eof(self) -> bool:
        """Return whether the body has ended."""
        return self._response.over


async def _bytes(body: Any) -> Data:
    """Return a request body as bytes. The SDK passes a `str`, bytes, an in-memory file or a wrapper around one."""
    if body is None:
        return b""
    if isinstance(body, str):
        return body.encode()
    if hasattr(body, "read"):
        body = body.read()
        body = await body if inspect.isawaitable(body) else body
    data: Data = body
    return data


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else f"{value}"
