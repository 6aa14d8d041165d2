"""The skeleton of a multipart upload: open, send the parts, complete, tidy up."""

from __future__ import annotations

import abc
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from typing import Any, Final, Generic, TypeVar

import anyio
from anyio.abc import TaskGroup

from aioassets.drivers.service_errors import RequestTooLarge
from aioassets.errors import AioAssetsError, StoreUnavailable
from aioassets.runtime.cancellation import cleanup_scope
from aioassets.runtime.notices import NOTICE
from aioassets.runtime.tasks import unwrapped

T = TypeVar("T")
SendPart = Callable[[int, int, Callable[[], None]], Coroutine[Any, Any, None]]
"""A function that sends the part with a number and offset, and calls its last argument when it has read the part."""

logger = logging.getLogger(__name__)

UPLOADS: Final = 3
"""Maximum number of attempts at a multipart upload that the store keeps dropping."""


class UploadDropped(Exception):
    """Raised if the store has dropped an upload, which must then be restarted."""


class PartSize:
    """The size of upload parts, which is reduced when requests are rejected because of their size.

    Args:
        size: the initial size in bytes.
        least: the minimum size in bytes.
    """

    def __init__(self, size: int, least: int) -> None:
        self.size = size
        self._least = least

    async def fit(self, nbytes: int, upload: Callable[[], Awaitable[T]]) -> T:
        """Run an upload, and repeat it with smaller parts as long as its requests are too large.

        Args:
            nbytes: the size of the source in bytes.
            upload: a function that uploads the source in parts of the current size, or in one request if it is small.

        Raises:
            RequestTooLarge: the parts can't be made any smaller.
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
        option = f"; a request of {used:,} bytes was rejected, and part_size can't be less than {self._least:,}."
        return RequestTooLarge(error.reason, uncertain=error.uncertain, option=option)


class PartedUpload(abc.ABC, Generic[T]):
    """A multipart upload of one object, which the last request completes. Run it only once.

    Only the last request can create the object. Therefore, only its errors can be uncertain, and only its
    effect needs to be recorded.
    """

    @property
    def is_resumable(self) -> bool:
        """Whether a later upload can reuse the stored parts. If so, they are kept when the store is unavailable."""
        return False

    async def run(self) -> T:
        """Upload the whole object.

        Returns:
            The result of completing the upload.

        Raises:
            UploadDropped: the store has dropped the upload, or has completed it although the response was lost.
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
        """Send all parts except those that `_complete` sends."""

    @abc.abstractmethod
    async def _complete(self) -> T:
        """Complete the upload, which creates the object."""

    async def _tidy_up(self, *, completed: bool) -> None:
        problem: object = "it took too long."
        extra: Mapping[str, Any] | None = (
            None  # after a timeout or an outage, the push itself reports what it leaves behind
        )
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
        """Remove anything that the upload left behind in the store. By default, do nothing."""


async def restarted(upload: Callable[[int], Awaitable[T]], find: Callable[[], Awaitable[T | None]], url: str) -> T:
    """Run an upload, and restart it if the store drops it, up to `UPLOADS` attempts.

    Args:
        upload: a function that runs one attempt of the upload. It receives the attempt's number, counted from 0.
        find: a function that returns the result if the object exists with the same contents, or else `None`. It is
            called after an upload has been dropped, which may have been completed although the response was lost.
        url: the URL of the object, for error messages.

    Returns:
        The result of the upload, or of `find`.

    Raises:
        StoreUnavailable: the store dropped the upload in every attempt.
    """
    cause: UploadDropped | None = None
    for attempt in range(UPLOADS):
        try:
            return await upload(attempt)
        except UploadDropped as dropped:
            if (found := await find()) is not None:
                return found
            cause = dropped
    raise StoreUnavailable(url, f"it dropped the upload {UPLOADS} times.") from cause


async def send_in_order(offsets: Iterable[tuple[int, int]], send: SendPart) -> None:
    """Send parts in parallel, but read them one after another.

    This way, the source is read in order, and the budget limits how many parts are held in memory.

    Args:
        offsets: the number of each part to send, and its offset in the source.
        send: a function that sends the part with the given number and offset. It calls its last argument
            when it has read the part.
    """
    with unwrapped():
        async with anyio.create_task_group() as tasks:
            for number, offset in offsets:
                await start_part(tasks, send, number, offset)


async def start_part(tasks: TaskGroup, send: SendPart, number: int, offset: int) -> None:
    """Start sending a part in a task group, and return when the part has been read. See `send_in_order`."""
    has_read = anyio.Event()
    tasks.start_soon(send, number, offset, has_read.set)
    await has_read.wait()
