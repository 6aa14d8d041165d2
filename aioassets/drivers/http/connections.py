"""Limits and errors for aioassets' own connections, and for those of aiohttp, which the SDKs use."""

from __future__ import annotations

import asyncio
import contextlib
import math
import re
from collections.abc import AsyncIterator, Iterator
from typing import Any, Final

import anyio

from aioassets.drivers.http.parsing import printable
from aioassets.drivers.service_errors import Request
from aioassets.errors import StoreUnavailable

PRIVATE_CA: Final = " (for a private certificate authority, set ca_bundle)"
"""Advice for certificate errors, for drivers that have this option."""

_LOGIN: Final = re.compile(r"\bproxy .*: 407\b")
"""Matches the error if a proxy rejects the user name and password in its URL."""
_LASTING: Final = re.compile(f"CERTIFICATE_VERIFY_FAILED|{_LOGIN.pattern}")
"""Matches errors that a retry can't resolve."""
MAX_ERROR: Final = 1024 * 1024
"""Maximum size in bytes of a response that only reports success or failure. Most are a few hundred bytes long."""
MAX_ANSWER: Final = 64 * 1024 * 1024
"""Maximum size in bytes of any other response that is read as a whole. The longest listings are a few MB."""


class NotConnected(ConnectionError):
    """Raised if no connection could be established, so that nothing was sent.

    Attributes:
        certificate: whether a TLS error was the cause.
    """

    def __init__(self, words: str, certificate: bool = False) -> None:
        super().__init__(words)
        self.certificate = certificate


class Watch:
    """A timeout for sending a request body, which restarts with each piece. aiohttp has only a response timeout."""

    def __init__(self) -> None:
        self._patience = math.inf
        self._scope = anyio.CancelScope()

    @contextlib.contextmanager
    def patient_for(self, seconds: float) -> Iterator[None]:
        """Raise `TimeoutError` if the block makes no progress for the given number of seconds."""
        self._patience = seconds
        with self._scope:
            yield
        if self._scope.cancelled_caught:
            raise TimeoutError

    def taken(self, *, last: bool) -> None:
        """Record that a piece of the body has been read."""
        # Allow twice the time after the last piece: it must still be sent, and aiohttp limits the wait for a response.
        self._scope.deadline = anyio.current_time() + self._patience * (2 if last else 1)


async def received(pieces: AsyncIterator[bytes], limit: int, seconds: float | None = None) -> bytes:
    """Read the whole body of a response.

    Args:
        pieces: the body.
        limit: the maximum size in bytes.
        seconds: the maximum duration. If `None`, only the session's read timeout applies.

    Raises:
        ConnectionError: the body exceeds the limit.
        TimeoutError: reading took too long.
    """
    kept = bytearray()
    async with asyncio.timeout(seconds):
        async for piece in pieces:
            kept += piece
            if len(kept) > limit:
                raise ConnectionError("the response is too long")
    return bytes(kept)


def unredirected() -> Any:
    """Return a trace configuration that makes an aiohttp session raise an error instead of following redirects."""
    import aiohttp  # noqa: PLC0415 - optional, and already imported if there is a session

    async def refuse(_: object, __: object, redirect: Any) -> None:
        redirect.response.close()
        raise aiohttp.ClientResponseError(
            redirect.response.request_info,
            (),
            status=redirect.response.status,
            message=": it responded with a redirect",
        )

    config = aiohttp.TraceConfig()
    config.on_request_redirect.append(refuse)
    return config


def send_once(session: Any) -> None:
    """Disable an aiohttp session's silent retries, which happen if a reused connection breaks.

    The first request may have taken effect, and callers would not know that there was a second one.
    """
    session._retry_connection = False  # noqa: SLF001 - aiohttp has no public option


def unavailable(request: Request, error: Exception, *, advice: str = "") -> StoreUnavailable:
    """Return aioassets' own exception for a connection error.

    Args:
        request: the request.
        error: the exception raised by aiohttp or the operating system.
        advice: advice to append to certificate errors.
    """
    import aiohttp  # noqa: PLC0415 - optional, and already imported if its errors are raised

    never_sent = (
        NotConnected | aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError | aiohttp.ClientHttpProxyError
    )
    detail = trouble(error) + (advice if _is_of_certificates(error) else "")
    if _LOGIN.search(detail):
        detail += " (check the user name and password in HTTPS_PROXY or HTTP_PROXY)"
    uncertain = request.changes and not isinstance(error, never_sent)
    retry_after = math.inf if _LASTING.search(detail) else None
    return StoreUnavailable(request.bucket, f"{detail}.", uncertain=uncertain, retry_after=retry_after)


def _is_of_certificates(error: Exception) -> bool:
    import aiohttp  # noqa: PLC0415

    return isinstance(error, aiohttp.ClientSSLError) or (isinstance(error, NotConnected) and error.certificate)


def trouble(error: Exception) -> str:
    """Return a description of a connection error. It contains no URLs, since they may contain credentials."""
    import aiohttp  # noqa: PLC0415

    match error:
        case aiohttp.ConnectionTimeoutError():
            return "the connection attempt timed out"
        case TimeoutError():
            return "the request timed out"
        case aiohttp.InvalidURL():  # a proxy's URL
            return "the proxy URL is invalid"
        case aiohttp.ClientHttpProxyError():
            return f"the proxy refused the request: {printable(f'{error.status} {error.message}')}"
        case aiohttp.ClientConnectorError(os_error=ConnectionRefusedError()):
            return f"{error.host}:{error.port} refused the connection"
        case aiohttp.ClientConnectorError():
            return f"{error.host}:{error.port} can't be reached: {error.os_error}".rstrip(".")
    words = f"{error}".strip().partition("\n")[0].rstrip(".")
    return type(error).__name__ if not words or "://" in words else words
