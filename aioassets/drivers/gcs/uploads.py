"""Resumable uploads to Google Cloud Storage, which never send a received byte again."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from typing import Any, Final

from aioassets.drivers.gcs.session import RESUME_INCOMPLETE, Answer, Connection
from aioassets.drivers.gcs.values import Checksum, received
from aioassets.drivers.protocol import Data, Source
from aioassets.drivers.service_errors import Request, status_of
from aioassets.errors import AioAssetsError, StoreError, StoreUnavailable
from aioassets.runtime.cancellation import StopSignal, cleanup_scope, stoppable
from aioassets.runtime.dispatch import Dispatcher
from aioassets.runtime.effects import Effects
from aioassets.runtime.threads import in_thread

CHUNK_UNIT: Final = 256 * 1024
"""Bytes. All chunks but the last are multiples of this."""
GONE: Final = (404, 410)
"""The statuses for an unknown session."""


class SessionGone(Exception):
    """Raised if the store discarded the session of the upload, which has to start again."""


class ResumableUpload:
    """One upload in consecutive chunks. Run it once.

    Chunks end at multiples of `part_size`, even after an incomplete one, so that the source is read
    in order the first time.

    Args:
        connection: sends requests.
        dispatcher: the budget and retries to use.
        request: the operation, for errors.
        url: the URL that begins the session, with the condition.
        key: the object's key.
        source: the content, which must not be empty.
        part_size: bytes of a chunk.
    """

    def __init__(
        self,
        connection: Connection,
        dispatcher: Dispatcher,
        request: Request,
        url: str,
        key: str,
        source: Source,
        *,
        part_size: int,
    ) -> None:
        self._connection = connection
        self._dispatcher = dispatcher
        self._request = request
        self._url = url
        self._key = key
        self._source = source
        self._part_size = part_size
        self.checksum = Checksum()
        self._session: str | None = None
        """The session's URL, which is a credential: it is never logged or shown."""
        self._offset = 0
        self._in_doubt = False
        self._finishing = False
        self._resource: Mapping[str, Any] | None = None

    async def run(self, effects: Effects | None = None) -> Mapping[str, Any]:
        """Upload everything.

        Args:
            effects: record to note each request with an unknown effect in.

        Returns:
            The new object's resource.

        Raises:
            SessionGone: the store discarded the session.
            AioAssetsError: with `uncertain` set only if the last chunk was sent. The others
                alone never become an object.
        """
        try:
            await self._dispatcher.send(self._begin, effects=effects)
            while self._resource is None:
                await self._dispatcher.send(self._advance, nbytes=self._stop - self._offset, effects=effects)
            return self._resource
        except BaseException as error:
            await self._cancel()
            if isinstance(error, AioAssetsError) and not self._finishing:
                error.uncertain = False
            raise

    @property
    def _stop(self) -> int:
        """Return the offset at which the next chunk ends."""
        return min((self._offset // self._part_size + 1) * self._part_size, self._source.size)

    async def _begin(self) -> None:
        async def ask(stop: StopSignal) -> None:
            with stop.bounded():
                answer = await self._connection.call(
                    self._request,
                    "POST",
                    self._url,
                    headers={
                        "content-type": "application/json; charset=UTF-8",
                        "x-upload-content-type": "application/octet-stream",
                        "x-upload-content-length": str(self._source.size),
                    },
                    body=json.dumps({"name": self._key}).encode(),
                )
                self._session = answer.headers.get("location")

        # Without its URL, a session cannot be ended, so even a cancelled task waits for the response.
        await stoppable(ask)
        if self._session is None:
            raise StoreError(f"{self._request.bucket} does not support resumable uploads. Check api_root.")

    async def _advance(self) -> None:
        """Send the next chunk; ask first how much the store has received if that is unknown."""
        if self._in_doubt:
            await self._look()
            if self._resource is not None:
                return
        start, stop = self._offset, self._stop
        data = await self._source.read(start, stop - start)
        await in_thread(self.checksum.take, start, data)
        last = stop == self._source.size
        self._in_doubt = True
        self._finishing = self._finishing or last
        content_range = f"bytes {start}-{stop - 1}/{self._source.size}"
        await self._put(content_range, data, self.checksum.header if last else {})
        if self._resource is None and self._offset <= start:
            raise self._stuck()

    async def _look(self) -> None:
        await self._put(f"bytes */{self._source.size}", b"", {})
        if self._resource is None and self._offset >= self._source.size:
            raise self._stuck()

    async def _put(self, content_range: str, body: Data, headers: Mapping[str, str]) -> None:
        try:
            answer = await self._in_session("PUT", {**headers, "content-range": content_range}, body)
        except AioAssetsError as error:
            if status_of(error) in GONE:
                raise SessionGone from error
            raise
        self._in_doubt = False
        if answer.status == RESUME_INCOMPLETE:
            self._offset = received(answer.headers)
        else:
            self._resource = self._connection.parsed(self._request, answer)

    async def _in_session(self, method: str, headers: Mapping[str, str], body: Data | None = None) -> Answer:
        assert self._session is not None  # noqa: S101 - it was begun
        return await self._connection.call(
            self._request, method, self._session, headers=headers, body=body, secret=True, direct=method == "PUT"
        )

    def _stuck(self) -> StoreUnavailable:
        self._in_doubt = True
        return StoreUnavailable(
            self._request.bucket, f"it keeps only {self._offset} of {self._source.size} bytes of {self._key!r}."
        )

    async def _cancel(self) -> None:
        if self._session is None or self._resource is not None:
            return
        with cleanup_scope(), contextlib.suppress(AioAssetsError):
            await self._dispatcher.send(self._end_session, urgent=True)

    async def _end_session(self) -> None:
        try:
            await self._in_session("DELETE", {})
        except AioAssetsError as error:  # 499 is the response to a success
            error.uncertain = False  # whether it ended or not, the session creates no object
            raise
