"""Multipart uploads and copies. Parts are sent in parallel, and failed uploads are aborted."""

from __future__ import annotations

import abc
import contextlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from aioassets.drivers.composition import COPIES_AT_ONCE, Piece
from aioassets.drivers.parts import PartedUpload, UploadDropped, send_in_order
from aioassets.drivers.protocol import OpenUpload, Revision, Source
from aioassets.drivers.s3.bucket import Bucket
from aioassets.drivers.s3.errors import code_of
from aioassets.drivers.s3.etags import Part, fitting_part_size, part_has_bytes
from aioassets.drivers.s3.uploads import abort, abort_all_of, abort_once, open_uploads_of
from aioassets.drivers.s3.values import crc32, given, revision_of
from aioassets.drivers.streams import PartStream, send_as_read
from aioassets.errors import AccessDenied, StoreError, StoreUnavailable
from aioassets.runtime.cancellation import StopSignal, stoppable
from aioassets.runtime.dispatch import Dispatcher
from aioassets.runtime.effects import Effects
from aioassets.runtime.tasks import for_each


class Multipart(PartedUpload[Revision]):
    """A single attempt to upload or copy an object in parts.

    Args:
        bucket: the bucket to send requests to.
        dispatcher: the dispatcher that limits and retries the requests.
        key: the object's key.
        created_with: parameters for CreateMultipartUpload.
        completed_with: parameters for CompleteMultipartUpload, which make it conditional.
        effects: records a completion whose outcome is unknown.
    """

    def __init__(
        self,
        bucket: Bucket,
        dispatcher: Dispatcher,
        key: str,
        *,
        created_with: Mapping[str, str],
        completed_with: Mapping[str, str],
        effects: Effects | None,
    ) -> None:
        self._bucket = bucket
        self._dispatcher = dispatcher
        self._key = key
        self._created_with = created_with
        self._completed_with = completed_with
        self._effects = effects
        self._sent: dict[int, dict[str, Any]] = {}
        self._upload_id: str | None = None
        self._has_lost_one = False

    async def _open(self) -> None:
        await self._dispatcher.send(self._begin)

    async def _begin(self) -> None:
        async def ask(stop: StopSignal) -> None:
            with stop.bounded():
                answer = await self._bucket.call("create_multipart_upload", self._key, **self._created_with)
                self._upload_id = answer["UploadId"]

        # Wait for the response even when cancelled. Otherwise, the upload would have to be found by listing.
        try:
            await stoppable(ask)
        except BaseException as error:
            throttled = isinstance(error, StoreUnavailable) and error.throttled
            self._has_lost_one |= self._upload_id is None and not throttled
            raise

    @property
    def _id(self) -> str:
        if self._upload_id is None:
            raise RuntimeError("the upload has not begun")
        return self._upload_id

    @abc.abstractmethod
    async def _send_parts(self) -> None:
        """Send all parts and add them to `_sent`."""

    async def _complete(self) -> Revision:
        return await self._dispatcher.send(self._request_completion, urgent=True, effects=self._effects)

    async def _request_completion(self) -> Revision:
        parts = [part for _, part in sorted(self._sent.items())]
        try:
            answer = await self._bucket.call(
                "complete_multipart_upload",
                self._key,
                UploadId=self._id,
                MultipartUpload={"Parts": parts},
                **self._completed_with,
            )
        except StoreError as error:
            if code_of(error) in ("ConditionalRequestConflict", "NoSuchUpload"):
                raise UploadDropped from error
            raise
        return revision_of(answer)

    async def _remove_rest(self, *, completed: bool) -> None:
        """Abort this upload unless it was completed, and any upload created by a request whose response was lost."""
        try:
            if self._upload_id is not None and not completed:
                await self._dispatcher.send(partial(abort_once, self._bucket, self._key, self._upload_id), urgent=True)
        finally:
            if self._has_lost_one:
                await abort_all_of(self._bucket, self._dispatcher, self._key)


class MultipartUpload(Multipart):
    """An upload of an object in parts.

    Args:
        source: the content to upload.
        pieces: the parts.
        checksums: whether to send a CRC32 with each part.
        resume: whether to continue an open upload for the key and abort all others.
    """

    def __init__(
        self,
        bucket: Bucket,
        dispatcher: Dispatcher,
        key: str,
        source: Source,
        *,
        pieces: Sequence[Piece],
        created_with: Mapping[str, str],
        completed_with: Mapping[str, str],
        effects: Effects | None,
        checksums: bool,
        resume: bool = False,
    ) -> None:
        created_with = {**created_with, **({"ChecksumAlgorithm": "CRC32"} if checksums else {})}
        super().__init__(
            bucket, dispatcher, key, created_with=created_with, completed_with=completed_with, effects=effects
        )
        self._source = source
        self._pieces = pieces
        self._checksums = checksums
        self._resume = resume
        self._kept: Mapping[int, Part] = {}

    @property
    def is_resumable(self) -> bool:
        return bool(self._sent)

    async def run(self) -> Revision:
        try:
            return await super().run()
        except StoreError as error:
            # For example, the earlier upload was created with different checksums.
            if self._kept and type(error) is StoreError and not error.uncertain:
                raise UploadDropped from error
            raise

    async def _open(self) -> None:
        if self._resume:
            with contextlib.suppress(AccessDenied, StoreError):  # without the required permissions, nothing is resumed
                await self._take_up()
        if self._upload_id is None:
            await super()._open()

    async def _take_up(self) -> None:
        """Resume the open upload with the most parts, and abort the others."""
        found = [upload async for upload in open_uploads_of(self._bucket, self._dispatcher, self._key)]
        parts = [(await self._fitting_parts(upload), upload) for upload in found]
        kept, best = max(parts, key=lambda each: len(each[0]), default=({}, None))
        if best is not None and kept:
            self._kept, self._upload_id = kept, best.id
        for upload in found:
            if upload.id != self._upload_id:
                await abort(self._bucket, self._dispatcher, upload)

    async def _fitting_parts(self, upload: OpenUpload) -> Mapping[int, Part]:
        """Return the parts of an open upload that have the expected sizes, by part number."""
        fitting: dict[int, Part] = {}
        marker: dict[str, int] = {}
        while True:
            ask = partial(self._bucket.call, "list_parts", self._key, UploadId=upload.id, **marker)
            page = await self._dispatcher.send(ask, urgent=True)
            for part in page.get("Parts", ()):
                number = part["PartNumber"]
                if number <= len(self._pieces) and part["Size"] == self._pieces[number - 1].size:
                    fitting[number] = part
            before, marker = marker, {"PartNumberMarker": page.get("NextPartNumberMarker", 0)}
            if not page.get("IsTruncated") or marker == before:
                return fitting

    async def _send_parts(self) -> None:
        uploaded = ((n, piece.offset) for n, piece in enumerate(self._pieces, 1) if piece.run is None)
        await send_in_order(uploaded, self._send_part)

    async def _send_part(self, number: int, offset: int, has_read: Callable[[], None]) -> None:
        size = self._pieces[number - 1].size

        async def put() -> None:
            body = await self._source.read(offset, size)
            has_read()
            crc = await crc32(body) if self._checksums else None
            part = self._kept.get(number)
            if part is not None and await part_has_bytes(part, body):
                etag = part["ETag"]
            else:
                etag = await self._bucket.request(
                    lambda client: client.hot.put_part(self._key, self._id, number, body, crc32=crc),
                    "upload a part of",
                    self._key,
                )
            self._sent[number] = {"PartNumber": number, "ETag": etag, **given(ChecksumCRC32=crc)}

        await self._dispatcher.send(put, nbytes=size)


class StreamedUpload(MultipartUpload):
    """An upload of a stream in parts.

    Args:
        parts: the stream, of which the first part has been read.
    """

    def __init__(
        self,
        bucket: Bucket,
        dispatcher: Dispatcher,
        key: str,
        parts: PartStream,
        *,
        created_with: Mapping[str, str],
        completed_with: Mapping[str, str],
        effects: Effects | None,
        checksums: bool,
    ) -> None:
        super().__init__(
            bucket,
            dispatcher,
            key,
            parts,
            pieces=parts.pieces,
            created_with=created_with,
            completed_with=completed_with,
            effects=effects,
            checksums=checksums,
        )
        self._parts = parts

    @property
    def is_resumable(self) -> bool:
        return False

    async def _send_parts(self) -> None:
        await send_as_read(self._parts, self._send_part, first=1)


class MultipartCopy(Multipart):
    """A server-side copy of an object in parts.

    Args:
        size: the size of the original in bytes.
        copied_from: parameters that name the original and pin its revision.
        part_size: the part size in bytes; increased if there would otherwise be too many parts.
    """

    def __init__(
        self,
        bucket: Bucket,
        dispatcher: Dispatcher,
        key: str,
        size: int,
        copied_from: Mapping[str, Any],
        *,
        part_size: int,
        created_with: Mapping[str, str],
        completed_with: Mapping[str, str],
        effects: Effects | None,
    ) -> None:
        super().__init__(
            bucket, dispatcher, key, created_with=created_with, completed_with=completed_with, effects=effects
        )
        self._size = size
        self._copied_from = copied_from
        self._part_size = fitting_part_size(size, part_size)

    async def _send_parts(self) -> None:
        await for_each(enumerate(range(0, self._size, self._part_size), 1), self._copy_part, limit=COPIES_AT_ONCE)

    async def _copy_part(self, part: tuple[int, int]) -> None:
        number, start = part
        stop = min(start + self._part_size, self._size)

        async def copy() -> None:
            answer = await self._bucket.call(
                "upload_part_copy",
                self._key,
                UploadId=self._id,
                PartNumber=number,
                CopySourceRange=f"bytes={start}-{stop - 1}",
                **self._copied_from,
            )
            self._sent[number] = {"PartNumber": number, "ETag": answer["CopyPartResult"]["ETag"]}

        await self._dispatcher.send(copy)
