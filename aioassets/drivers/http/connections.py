"""Limits and errors of connections, the own ones and those of aiohttp, which the SDKs use."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator, Iterator
from typing import Any, Final

import anyio

from aioassets.drivers.http.parsing import printable
from aioassets.drivers.service_errors import Request
from aioassets.errors import StoreUnavailable

PRIVATE_CA: Final = " (for a private certificate authority, set ca_bundle)"
"""Advice for certificate errors, of drivers with this option."""


MAX_ERROR: Final = 1024 * 1024
"""Limit of a response that only states success or failure, in bytes. A few hundred are usual."""
MAX_ANSWER: Final = 64 * 1024 * 1024
"""Limit of any other response that is read whole, in bytes. The longest listings have some MB."""


class NotConnected(ConnectionError):
    """Raised if no connection was made, so that nothing was sent.

    Attributes:
        certificate: whether TLS was the cause.
    """

    def __init__(self, words: str, certificate: bool = False) -> None:
        super().__init__(words)
        self.certificate = certificate


class Watch:
    """A limit of the time without progress while a body is sent. aiohttp limits only the wait for the response."""

    def __init__(self) -> None:
        self._patience = math.inf
        self._scope = anyio.CancelScope()

    @contextlib.contextmanager
    def patient_for(self, seconds: float) -> Iterator[None]:
        """Raise `TimeoutError` after so many seconds without progress."""
        self._patience = seconds
        with self._scope:
            yield
        if self._scope.cancelled_caught:
            raise TimeoutError

    def taken(self, *, last: bool) -> None:
        """Record that a piece of the body was read."""
        # After the last piece come its way to the socket, and the response, which aiohttp limits.
        self._scope.deadline = anyio.current_time() + self._patience * (2 if last else 1)


async def received(pieces: AsyncIterator[bytes], limit: int, seconds: float | None = None) -> bytes:
    """Read the body of a response.

    Args:
        pieces: the body.
        limit: maximum number of bytes.
        seconds: how long it may take. Without it, only the read timeout of the session applies.

    Raises:
        ConnectionError: the body is longer.
        TimeoutError: reading took longer.
    """
    kept = bytearray()
    async with asyncio.timeout(seconds):
        async for piece in pieces:
            kept += piece
            if len(kept) > limit:
                raise ConnectionError("the response is too long")
    return bytes(kept)


def unredirected() -> Any:
    """Return a trace configuration for an aiohttp session that raises an error at redirects."""
    import aiohttp  # noqa: PLC0415 - optional, and already imported where sessions are made

    async def refuse(_: object, __: object, redirect: Any) -> None:
        redirect.response.close()
        raise aiohttp.ClientResponseError(
            redirect.response.request_info, (), status=redirect.response.status, message=": it answered with a redirect"
        )

    config = aiohttp.TraceConfig()
    config.on_request_redirect.append(refuse)
    return config


def send_once(session: Any) -> None:
    """Switch off the silent retry of an aiohttp session after a kept connection broke.

    The first request may have taken effect, and callers would not learn of the second.
    """
    session._retry_connection = False  # noqa: SLF001 - aiohttp has no public option


def unavailable(request: Request, error: Exception, *, advice: str = "") -> StoreUnavailable:
    """Return the error of this package for an error of a connection.

    Args:
        request: the request.
        error: the error of aiohttp or the system.
        advice: appended to errors of certificates.
    """
    import aiohttp  # noqa: PLC0415 - optional, and already imported where its errors are raised

    never_sent = (
        NotConnected | aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError | aiohttp.ClientHttpProxyError
    )
    detail = trouble(error) + (advice if _is_of_certificates(error) else "")
    uncertain = request.changes and not isinstance(error, never_sent)
    retry_after = math.inf if "CERTIFICATE_VERIFY_FAILED" in detail else None
    return StoreUnavailable(request.bucket, f"{detail}.", uncertain=uncertain, retry_after=retry_after)


def _is_of_certificates(error: Exception) -> bool:
    import aiohttp  # noqa: PLC0415

    return isinstance(error, aiohttp.ClientSSLError) or (isinstance(error, NotConnected) and error.certificate)


def trouble(error: Exception) -> str:
    """Describe an error of a connection. URLs are left out, since they may hold credentials."""
    import aiohttp  # noqa: PLC0415

    match error:
        case aiohttp.ConnectionTimeoutError():
            return "connecting took too long"
        case TimeoutError():
            return "it was silent for too long"
        case aiohttp.InvalidURL():  # of a proxy
            return "the URL of a proxy can't be used"
        case aiohttp.ClientHttpProxyError():
            return f"the proxy refused: {printable(f'{error.status} {error.message}')}"
        case aiohttp.ClientConnectorError(os_error=ConnectionRefusedError()):
            return f"{error.host}:{error.port} refuses connections"
        case aiohttp.ClientConnectorError():
            return f"{error.host}:{error.port} can't be reached: {error.os_error}".rstrip(".")
    words = f"{error}".strip().partition("\n")[0].rstrip(".")
    return type(error).__name__ if not words or "://" in words else words
