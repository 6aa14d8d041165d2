"""Resumable uploads to Google Cloud Storage, chunk by chunk, that never send again what has arrived."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from typing import Any, Final

from aioassets.drivers.gcs.session import RESUME_INCOMPLETE, Answer, Body, Connection
from aioassets.drivers.gcs.values import Checksum, received
from aioassets.drivers.protocol import Source
from aioassets.drivers.service_errors import Request, status_of
from aioassets.errors import AioAssetsError, StoreError, StoreUnavailable
from aioassets.runtime.cancellation import StopSignal, cleanup_scope, stoppable
from aioassets.runtime.dispatch import Dispatcher
from aioassets.runtime.effects import Effects
from aioassets.runtime.threads import in_thread

CHUNK_UNIT: Final = 256 * 1024
"""All chunks but the last are multiples of this."""
GONE: Final = (404, 410)
"""What the store says of a session that it knows no more."""


class SessionGone(Exception):
    """The store knows the upload's session no more: start it anew."""


class ResumableUpload:
    """One upload in chunks, one after the other; to be run once.

    Chunks end at multiples of `part_size`, wherever one of them has to begin, so that the
    source is read in order the first time.

    Args:
        connection: sends requests.
        dispatcher: the budget and retries to use.
        request: what this is, for errors.
        url: where the session is begun, with the condition.
        key: the object's key.
        source: what to upload; more than nothing.
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
        """Whoever has this URL can write to the upload: it is neither logged, kept nor shown."""
        self._offset = 0
        self._in_doubt = False
        self._finishing = False
        self._resource: Mapping[str, Any] | None = None

    async def run(self, effects: Effects | None = None) -> Mapping[str, Any]:
        """Upload everything.

        Args:
            effects: record to note a chunk with an unknown effect in.

        Returns:
            The new object's resource.

        Raises:
            SessionGone: the store dropped the upload.
            AioAssetsError: with `uncertain` set only if the last chunk was sent,
                since the others alone never become an object.
        """
        try:
            await self._dispatcher.send(self._begin)
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
        """Where the next chunk ends."""
        return min((self._offset // self._part_size + 1) * self._part_size, self._source.size)

    async def _begin(self) -> None:
        async def ask(stop: StopSignal) -> None:
            with stop.bounded():
                answer = await self._connection.call(
                    self._request,
                    "POST",
                    self._url,
                    headers={
                        "Content-Type": "application/json; charset=UTF-8",
                        "X-Upload-Content-Type": "application/octet-stream",
                        "X-Upload-Content-Length": str(self._source.size),
                    },
                    body=Body(json.dumps({"name": self._key}).encode()),
                )
                self._session = answer.headers.get("Location")

        # A session whose URL we never learn can't be cancelled: wait for the answer even when cancelled.
        await stoppable(ask)
        if self._session is None:
            raise StoreError(f"{self._request.bucket} begins no resumable uploads. Check api_root.")

    async def _advance(self) -> None:
        """Send the next chunk, after asking how far the store got if that isn't known."""
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
        body = Body(data)
        del data
        content_range = f"bytes {start}-{stop - 1}/{self._source.size}"
        await self._put(content_range, body, self.checksum.header if last else {})
        if self._resource is None and self._offset <= start:
            raise self._stuck()

    async def _look(self) -> None:
        await self._put(f"bytes */{self._source.size}", Body(), {})
        if self._resource is None and self._offset >= self._source.size:
            raise self._stuck()

    async def _put(self, content_range: str, body: Body, headers: Mapping[str, str]) -> None:
        try:
            answer = await self._in_session("PUT", {**headers, "Content-Range": content_range}, body)
        except AioAssetsError as error:
            if status_of(error) in GONE:
                raise SessionGone from error
            raise
        self._in_doubt = False
        if answer.status == RESUME_INCOMPLETE:
            self._offset = received(answer.headers)
        else:
            self._resource = self._connection.parsed(self._request, answer)

    async def _in_session(self, method: str, headers: Mapping[str, str], body: Body | None = None) -> Answer:
        assert self._session is not None  # noqa: S101 - it was begun
        return await self._connection.call(
            self._request, method, self._session, headers=headers, body=body, secret=True
        )

    def _stuck(self) -> StoreUnavailable:
        self._in_doubt = True
        return StoreUnavailable(
            self._request.bucket, f"it keeps {self._offset} of {self._source.size} bytes of {self._key!r}."
        )

    async def _cancel(self) -> None:
        if self._session is None or self._resource is not None:
            return
        with cleanup_scope(), contextlib.suppress(AioAssetsError):
            await self._dispatcher.send(self._end_session, urgent=True)

    async def _end_session(self) -> None:
        try:
            await self._in_session("DELETE", {})
        except AioAssetsError as error:  # the store answers 499, which is success here
            error.uncertain = False  # a session that is ended, or isn't, makes no object
            raise
