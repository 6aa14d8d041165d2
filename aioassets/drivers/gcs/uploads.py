"""Resumable uploads to Google Cloud Storage. Bytes that the store has already received are never resent."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from aioassets.drivers.gcs.session import RESUME_INCOMPLETE, Answer, Connection
from aioassets.drivers.gcs.values import Checksum, received
from aioassets.drivers.parts import PartedUpload, UploadDropped
from aioassets.drivers.protocol import Data, Source
from aioassets.drivers.service_errors import Request, status_of
from aioassets.drivers.streams import PartStream
from aioassets.errors import AioAssetsError, StoreError, StoreUnavailable
from aioassets.runtime.cancellation import StopSignal, stoppable
from aioassets.runtime.dispatch import Dispatcher
from aioassets.runtime.effects import Effects
from aioassets.runtime.threads import in_thread

CHUNK_UNIT: Final = 256 * 1024
"""The size in bytes of every chunk except the last must be a multiple of this."""
GONE: Final = (404, 410)
"""Response statuses that mean that the store doesn't know the session."""


class ResumableUpload(PartedUpload[tuple[Mapping[str, Any], Checksum]]):
    """An upload in consecutive chunks. `run` returns the new object's resource and the source's checksum.

    Chunks end at multiples of `part_size`, even if the store kept only part of a chunk, so that the source is
    read in order the first time. The last chunk completes the upload.

    Args:
        connection: the connection that sends the requests.
        dispatcher: the dispatcher that limits and retries requests.
        request: the request that creates the object, as described in error messages.
        url: the URL for starting a session, including the condition.
        source: the contents, which must not be empty.
        part_size: the size of a chunk in bytes.
        effects: records a last chunk whose effect is unknown.
    """

    def __init__(
        self,
        connection: Connection,
        dispatcher: Dispatcher,
        request: Request,
        url: str,
        source: Source,
        *,
        part_size: int,
        effects: Effects | None,
    ) -> None:
        self._connection = connection
        self._dispatcher = dispatcher
        self._request = request
        self._url = url
        self._source = source
        self._part_size = part_size
        self._effects = effects
        self._checksum = Checksum()
        self._session: str | None = None
        """The session's URL. It is a credential, so it is never logged or shown."""
        self._offset = 0
        self._must_look = False
        self._resource: Mapping[str, Any] | None = None

    @property
    def _stop(self) -> int:
        """The offset at which the next chunk ends."""
        return min((self._offset // self._part_size + 1) * self._part_size, self._source.size)

    @property
    def _announced(self) -> Mapping[str, str]:
        """The header that tells the size when the upload begins, if it is known."""
        return {"x-upload-content-length": str(self._source.size)}

    @property
    def _is_ended(self) -> bool:
        """Whether `_source.size` is the size of the whole content."""
        return True

    @property
    def _total(self) -> str:
        return str(self._source.size) if self._is_ended else "*"

    async def _open(self) -> None:
        await self._dispatcher.send(self._begin)

    async def _send_parts(self) -> None:
        while self._resource is None and self._stop < self._source.size:
            await self._dispatcher.send(self._advance, nbytes=self._stop - self._offset)

    async def _complete(self) -> tuple[Mapping[str, Any], Checksum]:
        while self._resource is None:
            nbytes = self._stop - self._offset
            await self._dispatcher.send(self._advance, nbytes=nbytes, effects=self._effects)
        return self._resource, self._checksum

    async def _remove_rest(self, *, completed: bool) -> None:
        if self._session is not None and not completed:
            await self._dispatcher.send(self._end_session, urgent=True)

    async def _begin(self) -> None:
        async def ask(stop: StopSignal) -> None:
            with stop.bounded():
                answer = await self._connection.call(
                    self._step("begin an upload of"),
                    "POST",
                    self._url,
                    headers={
                        "content-type": "application/json; charset=UTF-8",
                        "x-upload-content-type": "application/octet-stream",
                        **self._announced,
                    },
                    body=json.dumps({"name": self._request.key}).encode(),
                )
                self._session = answer.headers.get("location")

        # A session can't be aborted without its URL, so even a cancelled task waits for the response.
        await stoppable(ask)
        if self._session is None:
            raise StoreError(f"{self._request.bucket} does not support resumable uploads. Check api_root.")

    async def _advance(self) -> None:
        """Send the next chunk. If it isn't known how much the store has received, ask the store first."""
        if self._must_look:
            await self._look()
            if self._resource is not None or self._offset == self._source.size:
                return
        start, stop = self._offset, self._stop
        data = await self._source.read(start, stop - start)
        await in_thread(self._checksum.take, start, data)
        last = self._is_ended and stop == self._source.size
        self._must_look = True
        request = self._request if last else self._step("upload a part of")
        content_range = f"bytes {start}-{stop - 1}/{self._total}"
        await self._put(request, content_range, data, self._checksum.header if last else {})
        if self._resource is None and self._offset <= start:
            raise self._stuck()

    async def _look(self) -> None:
        await self._put(self._step("read the state of an upload of"), f"bytes */{self._total}", b"", {})
        if self._resource is None and self._is_ended and self._offset >= self._source.size:
            raise self._stuck()

    async def _put(self, request: Request, content_range: str, body: Data, headers: Mapping[str, str]) -> None:
        try:
            answer = await self._in_session(request, "PUT", {**headers, "content-range": content_range}, body)
        except AioAssetsError as error:
            if status_of(error) in GONE:
                raise UploadDropped from error
            raise
        self._must_look = False
        if answer.status == RESUME_INCOMPLETE:
            self._offset = received(answer.headers)
        else:
            self._resource = self._connection.parsed(request, answer)

    async def _end_session(self) -> None:
        await self._in_session(self._step("abort an upload of"), "DELETE", {})  # a 499 means success

    async def _in_session(
        self, request: Request, method: str, headers: Mapping[str, str], body: Data | None = None
    ) -> Answer:
        assert self._session is not None  # noqa: S101 - set by `_begin`
        return await self._connection.call(
            request, method, self._session, headers=headers, body=body, secret=True, direct=method == "PUT"
        )

    def _step(self, verb: str) -> Request:
        """Return the description of a request that is part of the upload but can't create the object."""
        return replace(self._request, verb=verb)

    def _stuck(self) -> StoreUnavailable:
        self._must_look = True
        return StoreUnavailable(
            self._request.bucket,
            f"it has stored only {self._offset} of {self._source.size} bytes of {self._request.key!r}.",
        )


class StreamedUpload(ResumableUpload):
    """An upload of a stream in consecutive chunks, of which only the last one tells the size of the object.

    Args:
        parts: the stream, of which the first part has been read. All parts but the last have `part_size` bytes.
    """

    def __init__(
        self,
        connection: Connection,
        dispatcher: Dispatcher,
        request: Request,
        url: str,
        parts: PartStream,
        *,
        part_size: int,
        effects: Effects | None,
    ) -> None:
        super().__init__(connection, dispatcher, request, url, parts, part_size=part_size, effects=effects)
        self._parts = parts

    @property
    def _announced(self) -> Mapping[str, str]:
        return {}

    @property
    def _is_ended(self) -> bool:
        return self._parts.has_ended

    async def _send_parts(self) -> None:
        while not self._parts.has_ended:
            part = self._parts.pieces[-1]
            while self._offset < part.stop:
                await self._dispatcher.send(self._advance, nbytes=self._stop - self._offset)
            self._parts.acknowledge(part.offset)
            await self._parts.advance()
