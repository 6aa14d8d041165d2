"""Connections, our own and those of aiohttp, which the SDKs stand on: their limits, and what goes wrong on them."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator, Iterator
from typing import Any, Final

import anyio

from aioassets.drivers.service_errors import Request
from aioassets.errors import StoreUnavailable

PRIVATE_CA: Final = " (for a private certificate authority, set ca_bundle)"
"""Advice of drivers that have this option."""


MAX_ERROR: Final = 1024 * 1024
"""Bytes of an answer that says that something failed, or that all went well; documented ones have some hundred."""
MAX_ANSWER: Final = 64 * 1024 * 1024
"""Bytes of any other answer that is read whole; the longest, of 1,000 to 100,000 rows, have some MB."""


class NotConnected(ConnectionError):
    """Raised where there is no connection, so that nothing was sent.

    Attributes:
        certificate: whether it is about certificates.
    """

    def __init__(self, words: str, certificate: bool = False) -> None:
        super().__init__(words)
        self.certificate = certificate


class Watch:
    """Ends a request whose body isn't taken any more: aiohttp limits only how long it waits for an answer."""

    def __init__(self) -> None:
        self._patience = math.inf
        self._scope = anyio.CancelScope()

    @contextlib.contextmanager
    def patient_for(self, seconds: float) -> Iterator[None]:
        """Raise `TimeoutError` where nothing is taken for so long."""
        self._patience = seconds
        with self._scope:
            yield
        if self._scope.cancelled_caught:
            raise TimeoutError

    def taken(self, *, last: bool) -> None:
        """Note that a piece of the body was taken."""
        # Behind the last one there is its way to the socket, and then the answer, whose limit is aiohttp's.
        self._scope.deadline = anyio.current_time() + self._patience * (2 if last else 1)


async def received(pieces: AsyncIterator[bytes], limit: int, seconds: float | None = None) -> bytes:
    """Gather the body of an answer.

    Args:
        limit: bytes that it may have.
        seconds: how long it may take; without it, the session's own limits hold, which are of silence.

    Raises:
        ConnectionError: it has more.
        TimeoutError: it took longer.
    """
    kept = bytearray()
    async with asyncio.timeout(seconds):
        async for piece in pieces:
            kept += piece
            if len(kept) > limit:
                raise ConnectionError("the response is too long")
    return bytes(kept)


def unredirected() -> Any:
    """Make the setting of a session of aiohttp with which no request is redirected, whoever sends it."""
    import aiohttp  # noqa: PLC0415 - optional, and loaded already where sessions are made

    async def refuse(_: object, __: object, redirect: Any) -> None:
        redirect.response.close()
        raise aiohttp.ClientResponseError(
            redirect.response.request_info, (), status=redirect.response.status, message=": it answered with a redirect"
        )

    config = aiohttp.TraceConfig()
    config.on_request_redirect.append(refuse)
    return config


def send_once(session: Any) -> None:
    """Keep a session from sending a request again by itself, where a connection breaks that it kept.

    The first one may have taken effect, and nobody would know that there were two.
    """
    session._retry_connection = False  # noqa: SLF001 - it has no public name


def unavailable(request: Request, error: Exception, *, advice: str = "") -> StoreUnavailable:
    """What trouble on a connection is to our callers.

    Args:
        request: what was asked.
        error: of aiohttp or the system.
        advice: what else to say where it is about certificates.
    """
    import aiohttp  # noqa: PLC0415 - optional, and loaded already where its errors are raised

    never_sent = (
        NotConnected | aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError | aiohttp.ClientHttpProxyError
    )
    detail = trouble(error) + (advice if _is_of_certificates(error) else "")
    uncertain = request.changes and not isinstance(error, never_sent)
    return StoreUnavailable(request.bucket, f"{detail}.", uncertain=uncertain)


def _is_of_certificates(error: Exception) -> bool:
    import aiohttp  # noqa: PLC0415

    return isinstance(error, aiohttp.ClientSSLError) or (isinstance(error, NotConnected) and error.certificate)


def trouble(error: Exception) -> str:
    """What went wrong, without URLs: they may hold credentials."""
    import aiohttp  # noqa: PLC0415

    match error:
        case aiohttp.ConnectionTimeoutError():
            return "connecting took too long"
        case TimeoutError():
            return "it was silent for too long"
        case aiohttp.ClientConnectorError(os_error=ConnectionRefusedError()):
            return f"{error.host}:{error.port} refuses connections"
        case aiohttp.ClientConnectorError():
            return f"{error.host}:{error.port} can't be reached: {error.os_error}".rstrip(".")
    words = f"{error}".strip().partition("\n")[0].rstrip(".")
    return type(error).__name__ if not words or "://" in words else words
