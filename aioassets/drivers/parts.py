"""Skeleton of uploads in parts: open, send the parts, complete, tidy up."""

from __future__ import annotations

import abc
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Generic, TypeVar

import anyio

from aioassets.drivers.service_errors import RequestTooLarge
from aioassets.errors import AioAssetsError, StoreUnavailable
from aioassets.runtime.cancellation import cleanup_scope
from aioassets.runtime.notices import NOTICE
from aioassets.runtime.tasks import unwrapped

T = TypeVar("T")

logger = logging.getLogger(__name__)

UPLOADS: Final = 3
"""Attempts to upload one object in parts, if the store drops the upload."""


class UploadDropped(Exception):
    """Raised if the store dropped an upload, which must be restarted."""


class PartSize:
    """Bytes of a part, which become less when requests are refused because of their size.

    Args:
        size: the bytes at first.
        least: the store's minimum.
    """

    def __init__(self, size: int, least: int) -> None:
        self.size = size
        self._least = least

    async def fit(self, nbytes: int, upload: Callable[[], Awaitable[T]]) -> T:
        """Run an upload, and again with smaller parts as long as its requests are too large.

        Args:
            nbytes: bytes of the source.
            upload: uploads in parts of the present size, or in one request if there are no more bytes.

        Raises:
            RequestTooLarge: smaller parts are not possible.
        """
        while True:
            used = min(self.size, nbytes)
            try:
                return await upload()
            except RequestTooLarge as error:
                smaller = max(self._least, used // 2 // self._least * self._least)
                if smaller >= used:
                    raise self._hopeless(error, used) from error
                if smaller < self.size:  # another upload may have reduced it further
                    logger.warning("Sending files in parts of %s bytes from now on: %s", f"{smaller:,}", error)
                    self.size = smaller

    def _hopeless(self, error: RequestTooLarge, used: int) -> RequestTooLarge:
        option = f"; {used:,} bytes were refused, and part_size can't be less than {self._least:,} here."
        return RequestTooLarge(error.reason, uncertain=error.uncertain, option=option)


class PartedUpload(abc.ABC, Generic[T]):
    """Upload of one object in parts, which the last request completes. Run it once.

    Only that request can create the object. So only its errors can be uncertain, and only it needs the
    record of effects.
    """

    @property
    def is_resumable(self) -> bool:
        """Whether a later upload can continue with the parts in the store, so that an outage doesn't remove them."""
        return False

    async def run(self) -> T:
        """Upload everything.

        Returns:
            The result of the completion.

        Raises:
            UploadDropped: the store dropped the upload, or completed it in an attempt without a response.
        """
        try:
            await self._open()
            await self._send_parts()
            result = await self._complete()
        except BaseException as error:
            if not (self.is_resumable and isinstance(error, StoreUnavailable)):
                await self._tidy_up(completed=False)
            raise
        await self._tidy_up(completed=True)
        return result

    @abc.abstractmethod
    async def _open(self) -> None:
        """Begin the upload, or find an open one to continue."""

    @abc.abstractmethod
    async def _send_parts(self) -> None:
        """Send all parts but those that the completion sends."""

    @abc.abstractmethod
    async def _complete(self) -> T:
        """Create the object."""

    async def _tidy_up(self, *, completed: bool) -> None:
        problem: object = "it took too long."
        extra: Mapping[str, Any] | None = None  # without time or a store, the push tells itself what it leaves
        with cleanup_scope():
            try:
                await self._remove_rest(completed=completed)
            except StoreUnavailable as error:
                problem = error
            except AioAssetsError as error:
                problem, extra = error, NOTICE
            else:
                return
        logger.warning("Could not remove the parts of an upload (see `aioassets clean`): %s", problem, extra=extra)

    async def _remove_rest(self, *, completed: bool) -> None:
        """Remove what the upload leaves in the store. By default, nothing is left, or it can't be removed."""


async def restarted(
    upload: Callable[[int], PartedUpload[T]], is_stored: Callable[[], Awaitable[bool]], url: str
) -> T | None:
    """Run an upload, and start it again each time the store drops it.

    Args:
        upload: returns the upload for an attempt, counted from 0.
        is_stored: returns whether the object exists with the right content: the response to a completion may be lost.
        url: the URL of the object, for the error.

    Returns:
        The result, or `None` if the object was there.
    """
    cause: UploadDropped | None = None
    for attempt in range(UPLOADS):
        try:
            return await upload(attempt).run()
        except UploadDropped as dropped:
            if await is_stored():
                return None
            cause = dropped
    raise StoreUnavailable(url, f"it dropped the upload {UPLOADS} times.") from cause


async def send_in_order(
    size: int, part_size: int, send: Callable[[int, int, Callable[[], None]], Awaitable[None]]
) -> None:
    """Send parts in parallel. Each is read after the one before.

    So the source is read in order, and the budget bounds the parts in memory.

    Args:
        size: bytes of the source.
        part_size: bytes of each part but the last.
        send: sends the part of a number (from 0) at an offset, and calls the function when it has been read.
    """

    async def sent(number: int, offset: int, has_read: anyio.Event) -> None:
        await send(number, offset, has_read.set)

    with unwrapped():
        async with anyio.create_task_group() as tasks:
            for number, offset in enumerate(range(0, size, part_size)):
                has_read = anyio.Event()
                tasks.start_soon(sent, number, offset, has_read)
                await has_read.wait()
