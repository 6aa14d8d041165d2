"""Credentials of the SDK's provider chain, renewed while requests go on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

from aioassets.errors import MissingCredentials, OutOfThreads, StoreUnavailable
from aioassets.runtime.tasks import supervised
from aioassets.runtime.threads import in_thread, run_async

REFUSED: Final = frozenset({"400", "ExpiredToken", "InvalidAccessKeyId", "InvalidToken", "TokenRefreshRequired"})
"""What stores say of credentials that ended before their time; the first to HEAD, whose answer has no other words."""
MARGIN: Final = 60
"""Seconds before they expire from which requests wait for new ones, which are asked for a quarter of an hour before."""
PAUSE: Final = 5.0
"""Seconds between two renewals while the old ones hold."""
TIME_LIMIT: Final = 60.0
"""Seconds that a renewal may take."""


class Credentials:
    """What requests are signed with; has the place of the SDK's chain, which it asks.

    The SDK renews at the request that needs it, on the event loop: in part by blocking calls, since it
    makes clients and reads files for it. And it fails each request in the last ten minutes if that
    fails. Here requests go on with what holds, while a worker thread asks for new ones.

    Args:
        url: the bucket's URL, for errors.
        find: asks the SDK's chain, from the beginning.
    """

    def __init__(self, url: str, find: Callable[[], Awaitable[Any]]) -> None:
        self._url = url
        self._find = find
        self._source: Any = None
        self._proven: Any = None
        self._renewal: asyncio.Task[Exception | None] | None = None
        self._renewed_at = 0.0
        self.current: Any = None
        """What is signed with now."""

    async def load_credentials(self) -> Any:
        """Find them first; `None` where there are none. What the SDK calls."""
        from aiobotocore.credentials import AioCredentials  # noqa: PLC0415
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415 - optional, and loaded already

        try:
            await self._load()
        except (BotoCoreError, ClientError, OutOfThreads):
            raise
        except Exception as error:  # what the chain runs and reads may fail in any way
            raise MissingCredentials(self._url, f"they can't be read: {_words(error)}") from error
        if self.current is None:
            return None
        found = AioCredentials(self.current.access_key, self.current.secret_key, self.current.token)
        found.get_frozen_credentials = self.frozen  # which is all that requests are signed by
        return found

    async def frozen(self) -> Any:
        """What to sign a request with.

        Raises:
            StoreUnavailable: they have expired, and there are no new ones yet.
        """
        if self._expires() and (self._expires(MARGIN) or time.monotonic() - self._renewed_at >= PAUSE):
            renewal = self._renewing(self._renew)
            if self._expires(MARGIN) and (trouble := await asyncio.shield(renewal)) and self._expires(0):
                detail = f"its credentials have expired, and can't be renewed: {_words(trouble)}"
                raise StoreUnavailable(self._url, detail, uncertain=False) from trouble
        return self.current

    def work(self, used: Any) -> None:
        """Note that a store accepts them."""
        self._proven = used

    async def replaced(self, refused: Any) -> bool:
        """Whether there are others than those that a store refused; asks for them.

        Not where the store never accepted them: then there is nothing to wait for.
        """
        if self.current == refused == self._proven:
            if self._renewal is not None:
                await asyncio.shield(self._renewal)
            if self.current == refused:
                await asyncio.shield(self._renewing(self._load))
        return bool(refused == self._proven != self.current)

    async def aclose(self) -> None:
        """Ask for no more."""
        if self._renewal is not None:
            self._renewal.cancel()
            await asyncio.wait([self._renewal])

    def _expires(self, within: float | None = None) -> bool:
        """Whether they expire within some seconds; in the SDK's quarter of an hour where none are given."""
        needed = getattr(self._source, "refresh_needed", None)  # what is in a file or a variable has no time
        return needed is not None and bool(needed(within))

    def _renewing(self, work: Callable[[], Awaitable[None]]) -> asyncio.Task[Exception | None]:
        """One renewal for all who wait for it, which goes on when one of them is cancelled."""
        if self._renewal is None or self._renewal.done():
            self._renewal = asyncio.ensure_future(self._attempt(work))
        return self._renewal

    async def _attempt(self, work: Callable[[], Awaitable[None]]) -> Exception | None:
        try:
            await supervised(lambda: in_thread(_run, work))
        except Exception as error:
            return error
        finally:
            self._renewed_at = time.monotonic()
        return None

    async def _renew(self) -> None:
        self.current = await self._source.get_frozen_credentials()

    async def _load(self) -> None:
        source = await self._find()
        if source is not None:
            self.current, self._source = await source.get_frozen_credentials(), source


def _run(work: Callable[[], Awaitable[None]]) -> None:
    """Run what may block on a loop of its own: in a worker thread."""
    run_async(lambda: asyncio.wait_for(work(), TIME_LIMIT))


def _words(error: Exception) -> str:
    """What went wrong, in one line."""
    first = (f"{error}".strip().splitlines() or [""])[0].rstrip(".")
    return f"{first or type(error).__name__}."
