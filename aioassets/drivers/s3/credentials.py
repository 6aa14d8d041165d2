"""Credentials from the SDK's provider chain, renewed in a worker thread."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

from aioassets.drivers.s3.errors import is_lasting, read_service_error
from aioassets.drivers.s3.options import problem_of
from aioassets.errors import AioAssetsError, MissingCredentials, StoreUnavailable
from aioassets.runtime.tasks import supervised
from aioassets.runtime.threads import in_thread, run_async

REFUSED: Final = frozenset({"400", "ExpiredToken", "InvalidAccessKeyId", "InvalidToken", "TokenRefreshRequired"})
"""Error codes for credentials that are rejected before they expire. Responses to HEAD have only a status, 400."""
MARGIN: Final = 60
"""Number of seconds before expiry at which requests begin to wait for new credentials.

Renewal begins 15 minutes before expiry.
"""
PAUSE: Final = 5.0
"""Minimum number of seconds between renewals while the old credentials are still valid."""
TIME_LIMIT: Final = 60.0
"""Time limit for a renewal, in seconds."""
_NAMES: Final = {"access_key": "access key ID", "secret_key": "secret access key", "token": "session token"}
"""Names of the credentials in error messages, by attribute."""

_log = logging.getLogger(__name__)

Find = Callable[[], Awaitable[Any]]
"""A function that queries the SDK's provider chain from the beginning."""


class Credentials:
    """Credentials that are renewed while requests continue to use the old ones.

    The SDK would renew credentials on the event loop, partly with blocking calls, when a request needs
    them. If the renewal failed, every request in the last ten minutes before expiry would fail.

    Attributes:
        current: the credentials to sign with; `None` if there are none.

    Args:
        url: the bucket's URL, for error messages.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._find: Find | None = None
        self._source: Any = None
        self._accepted: Any = None
        self._renewal: asyncio.Task[Exception | None] | None = None
        self._renewed_at = 0.0
        self.current: Any = None

    async def load(self, find: Find) -> Any:
        """Find the initial credentials and return them.

        Args:
            find: a function that queries the SDK's provider chain, now and when credentials are replaced.

        Raises:
            MissingCredentials: the chain failed in an unexpected way.
        """
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415 - optional, and already imported

        self._find = find
        try:
            if self.current is None:
                await self._load()
        except (AioAssetsError, BotoCoreError, ClientError):
            raise
        except Exception as error:  # the programs and files that the chain uses may fail in any way
            raise MissingCredentials(self._url, f"reading them failed: {_summary(error)}") from error
        return self.current

    async def frozen(self) -> Any:
        """Return the credentials to sign a request with.

        Raises:
            MissingCredentials: they have expired, and can't be renewed.
            StoreUnavailable: they have expired, and renewing them failed, but a retry may succeed.
        """
        if self._expires() and (self._expires(MARGIN) or time.monotonic() - self._renewed_at >= PAUSE):
            renewal = self._renewing(self._renew)
            if self._expires(MARGIN) and (problem := await asyncio.shield(renewal)) and self._expires(0):
                detail = f"have expired, and can't be renewed: {_summary(problem)}"
                if _is_refusal(problem):
                    raise MissingCredentials(self._url, f"they {detail}") from problem
                raise StoreUnavailable(self._url, f"its credentials {detail}", uncertain=False) from problem
        return self.current

    def accept(self, used: Any) -> None:
        """Record that the store has accepted these credentials."""
        self._accepted = used

    async def replaced(self, refused: Any) -> bool:
        """Look for new credentials after the store has rejected a request, and return whether there are any.

        Credentials that the store has never accepted are not replaced.
        """
        if self.current == refused == self._accepted:
            if self._renewal is not None:
                await asyncio.shield(self._renewal)
            if self.current == refused:
                _log.info("%s rejected the credentials before they expired", self._url)
                await asyncio.shield(self._renewing(self._load))
        return bool(refused == self._accepted != self.current)

    async def aclose(self) -> None:
        """Cancel any renewal in progress."""
        if self._renewal is not None:
            self._renewal.cancel()
            await asyncio.wait([self._renewal])

    def _expires(self, within: float | None = None) -> bool:
        """Return whether the credentials expire within this many seconds, by default the SDK's 15 minutes."""
        needed = getattr(self._source, "refresh_needed", None)  # missing if the credentials do not expire
        return needed is not None and bool(needed(within))

    def _renewing(self, work: Callable[[], Awaitable[None]]) -> asyncio.Task[Exception | None]:
        """Return the renewal that all requests wait for. It continues even if one of the requests is cancelled."""
        if self._renewal is None or self._renewal.done():
            self._renewal = asyncio.ensure_future(self._attempt(work))
        return self._renewal

    async def _attempt(self, work: Callable[[], Awaitable[None]]) -> Exception | None:
        try:
            await supervised(lambda: in_thread(_run, work))
        except Exception as error:
            _log.info("Could not renew the credentials for %s: %s", self._url, _summary(error))
            return error
        finally:
            self._renewed_at = time.monotonic()
        _log.info("Renewed the credentials for %s", self._url)
        return None

    async def _renew(self) -> None:
        self.current = self._checked(await self._source.get_frozen_credentials())

    async def _load(self) -> None:
        source = await self._find() if self._find is not None else None
        if source is not None:
            self.current, self._source = self._checked(await source.get_frozen_credentials()), source

    def _checked(self, found: Any) -> Any:
        for attribute, name in _NAMES.items():
            if problem := problem_of(getattr(found, attribute)):
                detail = f"the {name} {problem}. Check the AWS environment variables and configuration files."
                raise MissingCredentials(self._url, detail)
        return found


def _run(work: Callable[[], Awaitable[None]]) -> None:
    """Run a coroutine function that may block, on a new event loop. Called in a worker thread."""
    run_async(lambda: asyncio.wait_for(work(), TIME_LIMIT))


def _is_refusal(error: Exception) -> bool:
    """Return whether renewing the credentials failed in a way that a retry would not fix."""
    from botocore.exceptions import ClientError, SSOError, TokenRetrievalError  # noqa: PLC0415 - already imported

    if isinstance(error, ClientError):
        return is_lasting(read_service_error(error.response))
    return isinstance(error, MissingCredentials | SSOError | TokenRetrievalError)


def _summary(error: Exception) -> str:
    """Return the first line of an error's message."""
    first = (f"{error}".strip().splitlines() or [""])[0].rstrip(".")
    return f"{first or type(error).__name__}."
