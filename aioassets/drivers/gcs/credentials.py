"""Tokens for Google Cloud Storage, obtained through gcloud-aio."""

from __future__ import annotations

import asyncio
import inspect
import io
import json
import os
from pathlib import Path
from typing import Any, Final

from aioassets.drivers.gcs.errors import read_service_error
from aioassets.drivers.http.connections import trouble
from aioassets.drivers.service_errors import SET_CLOCK
from aioassets.errors import MissingCredentials, OutOfThreads, StoreUnavailable
from aioassets.runtime.threads import is_out_of_threads

SCOPE: Final = "https://www.googleapis.com/auth/devstorage.read_write"
TOKEN_SERVICES: Final = ("https://oauth2.googleapis.com", "http://metadata.google.internal")
"""The services that issue tokens."""
UNAUTHORIZED: Final = 401
NO_REFUSALS: Final = (407, 429)
"""Statuses that don't mean that the credentials were rejected: proxy authentication, and too many requests."""
ADVICE: Final = (
    "Specify a service account file (GOOGLE_APPLICATION_CREDENTIALS), log in with "
    "`gcloud auth application-default login`, or enable anonymous access."
)


class Tokens:
    """The access tokens for a credential.

    Args:
        url: the bucket's URL, for error messages.
        token: a `gcloud.aio.auth.Token`.
    """

    def __init__(self, url: str, token: Any) -> None:
        self._url = url
        self._token = token
        self._proven: str | None = None
        """The last token that the store accepted."""

    async def current(self) -> str:
        """Return a valid token.

        Raises:
            MissingCredentials: the credentials are missing or were rejected.
            StoreUnavailable: the token service can't be reached.
        """
        try:
            # Several tasks may be waiting for the same token. Cancelling one of them must not cancel the renewal.
            token: str = await asyncio.shield(asyncio.ensure_future(self._token.get()))
        except Exception as error:
            raise self._without_token(error) from error
        return token

    def judge(self, token: str, status: int) -> None:
        """Record how the store responded to a token. Discard a token that was accepted before but is now rejected.

        Args:
            token: the token.
            status: the status of the response.

        Raises:
            StoreUnavailable: the token has been rejected and will be replaced, so a retry may succeed.
        """
        if status != UNAUTHORIZED:
            self._proven = token
            return
        if token == self._proven == getattr(self._token, "access_token", None):
            self._proven = self._token.access_token = None  # makes the SDK request a new one
        if getattr(self._token, "access_token", token) != token:
            raise StoreUnavailable(self._url, "it rejected a token that it had accepted before.", uncertain=False)

    def stop(self) -> None:
        """Cancel the SDK's background renewal of the token, if one is in progress."""
        if (renewal := getattr(self._token, "acquiring", None)) is not None:
            renewal.cancel()

    def _without_token(self, error: Exception) -> Exception:
        import aiohttp  # noqa: PLC0415

        if is_out_of_threads(error):
            return OutOfThreads()
        if isinstance(error, aiohttp.ClientResponseError) and error.status < 500 and error.status not in NO_REFUSALS:
            stated = read_service_error(error.status, {}, error.message.partition(": ")[2].encode()).sentence
            advice = SET_CLOCK if "reasonable timeframe" in error.message else ADVICE
            return MissingCredentials(self._url, f"they were rejected ({stated.rstrip('.')}). {advice}")
        if not isinstance(error, aiohttp.ClientError | TimeoutError | OSError):
            return MissingCredentials(self._url, f"they can't be used ({type(error).__name__}: {error}). {ADVICE}")
        if "metadata" in str(getattr(self._token, "token_type", "")).lower():
            return MissingCredentials(
                self._url, f"none are set up, and this machine is not running on Google Cloud. {ADVICE}"
            )
        detail = f"the token service can't be reached: {trouble(error)}."
        return StoreUnavailable(self._url, detail, uncertain=False)


def make_token(url: str, service_file: str | os.PathLike[str] | None, session: Any, scope: str = SCOPE) -> Any:
    """Create the SDK's `Token` object for the credentials. Blocking.

    Args:
        url: the bucket's URL, for error messages.
        service_file: a credentials file; `None` for application-default credentials.
        session: the aiohttp session that requests tokens.
        scope: what the tokens are for.

    Raises:
        MissingCredentials: the credentials are invalid.
    """
    from gcloud.aio.auth import Token  # noqa: PLC0415

    try:
        token: Any = Token(service_file=_content_of(service_file), session=session, scopes=[scope])
    except OSError as error:
        if "{" in f"{error.filename}":  # the credentials themselves, which must not be shown
            raise MissingCredentials(
                url, f"the contents of a credentials file were given instead of the path of a file. {ADVICE}"
            ) from None
        detail = f"the file {error.filename!r} can't be read ({error.strerror}). {ADVICE}"
        raise MissingCredentials(url, detail) from error
    except Exception as error:  # the SDK has no class for invalid credentials
        detail = f"the credentials file has an unknown format ({type(error).__name__}: {error}). {ADVICE}"
        raise MissingCredentials(url, detail) from error
    # The dispatcher already retries. The SDK's own retries would multiply the number of attempts.
    acquire = inspect.unwrap(type(token).acquire_access_token)

    async def acquire_once() -> None:
        if (task := asyncio.current_task()) is not None:
            task.add_done_callback(_retrieved)
        await acquire(token)

    token.acquire_access_token = acquire_once
    return token


def _content_of(service_file: str | os.PathLike[str] | None) -> io.StringIO | None:
    """Return the content of a credentials file. Unlike the SDK, raise an error if it isn't valid JSON."""
    if service_file is None:
        return None
    text = Path(service_file).expanduser().read_text(encoding="utf-8")
    json.loads(text)["type"]
    return io.StringIO(text)


def _retrieved(task: asyncio.Task[None]) -> None:
    """Keep asyncio from logging the error of a background renewal. The next request renews the token again."""
    if not task.cancelled():
        task.exception()
