"""Multipart uploads and copies: parts in parallel, and no upload left open."""

from __future__ import annotations

import abc
import contextlib
from collections.abc import Mapping
from functools import partial
from typing import Any, Final

import anyio

from aioassets.drivers.protocol import OpenUpload, Source
from aioassets.drivers.s3.bucket import Bucket
from aioassets.drivers.s3.errors import code_of
from aioassets.drivers.s3.etags import Part, fitting_part_size, part_has_bytes
from aioassets.drivers.s3.uploads import abort, abort_all_of, abort_once, open_uploads_of
from aioassets.drivers.s3.values import crc32, given
from aioassets.errors import AccessDenied, AioAssetsError, StoreError
from aioassets.runtime.cancellation import StopSignal, cleanup_scope, stoppable
from aioassets.runtime.dispatch import Dispatcher
from aioassets.runtime.effects import Effects
from aioassets.runtime.tasks import for_each, unwrapped

COPIES_AT_ONCE: Final = 8
"""Parts that a store copies at once. The work is the store's."""


class UploadGone(Exception):
    """Raised where the store dropped an upload, so that it has to be started again."""


class Multipart(abc.ABC):
    """An object that is uploaded or copied in parts, once.

    Args:
        bucket: sends each request once.
        dispatcher: the budget and retries to use.
        key: the object's key.
        created_with: parameters of CreateMultipartUpload.
        completed_with: parameters of CompleteMultipartUpload: the condition.
    """

    def __init__(
        self,
        bucket: Bucket,
        dispatcher: Dispatcher,
        key: str,
        *,
        created_with: Mapping[str, str],
        completed_with: Mapping[str, str],
    ) -> None:
        self._bucket = bucket
        self._dispatcher = dispatcher
        self._key = key
        self._created_with = created_with
        self._completed_with = completed_with
        self._sent: dict[int, dict[str, Any]] = {}
        self._upload_id: str | None = None
        self._in_doubt = False
        self._completing = False
        self._effects: Effects | None = None

    async def run(self, effects: Effects | None = None) -> None:
        """Upload or copy all parts, and complete the object.

        Args:
            effects: record to note each request with an unknown effect in.

        Raises:
            UploadGone: the store dropped the upload when it was to be completed.
            AioAssetsError: with `uncertain` set only if the completion was requested, since parts
                alone never become an object.
        """
        self._effects = effects
        try:
            await self._open()
            await self._send_parts()
            await self._dispatcher.send(self._complete, urgent=True, effects=effects)
        except BaseException as error:
            await self._tidy_up()
            if isinstance(error, AioAssetsError) and not self._completing:
                error.uncertain = False
            raise
        self._upload_id = None
        await self._tidy_up()

    async def _open(self) -> None:
        await self._dispatcher.send(self._begin, effects=self._effects)

    async def _begin(self) -> None:
        async def ask(stop: StopSignal) -> None:
            with stop.bounded():
                answer = await self._bucket.call("create_multipart_upload", self._key, **self._created_with)
                self._upload_id = answer["UploadId"]

        # Wait for the response even when cancelled: an upload of an unknown id has to be looked for.
        try:
            await stoppable(ask)
        except BaseException as error:
            self._in_doubt |= self._upload_id is None and getattr(error, "uncertain", True)
            raise

    @property
    def _id(self) -> str:
        if self._upload_id is None:
            raise RuntimeError("the upload has not begun")
        return self._upload_id

    @abc.abstractmethod
    async def _send_parts(self) -> None:
        """Send all parts, and add them to `_sent`."""

    async def _complete(self) -> None:
        self._completing = True
        parts = [part for _, part in sorted(self._sent.items())]
        try:
            await self._bucket.call(
                "complete_multipart_upload",
                self._key,
                UploadId=self._id,
                MultipartUpload={"Parts": parts},
                **self._completed_with,
            )
        except StoreError as error:
            if code_of(error) in ("ConditionalRequestConflict", "NoSuchUpload"):
                raise UploadGone from error
            raise

    async def _tidy_up(self) -> None:
        """Abort this upload, and one that was begun by a request without a response."""
        with cleanup_scope():
            if self._upload_id is not None:
                with contextlib.suppress(AioAssetsError):
                    await self._dispatcher.send(
                        partial(abort_once, self._bucket, self._key, self._upload_id), urgent=True
                    )
            if self._in_doubt:
                await abort_all_of(self._bucket, self._dispatcher, self._key)


class MultipartUpload(Multipart):
    """An object uploaded in parts.

    Args:
        source: the content.
        part_size: bytes of a part; more where that would make too many parts.
        checksums: whether to send a CRC32 with each part.
        resume: whether to continue an open upload of the key, and to abort all others.
    """

    def __init__(
        self,
        bucket: Bucket,
        dispatcher: Dispatcher,
        key: str,
        source: Source,
        *,
        part_size: int,
        created_with: Mapping[str, str],
        completed_with: Mapping[str, str],
        checksums: bool,
        resume: bool = False,
    ) -> None:
        created_with = {**created_with, **({"ChecksumAlgorithm": "CRC32"} if checksums else {})}
        super().__init__(bucket, dispatcher, key, created_with=created_with, completed_with=completed_with)
        self._source = source
        self._part_size = fitting_part_size(source.size, part_size)
        self._checksums = checksums
        self._resume = resume
        self._kept: Mapping[int, Part] = {}

    async def run(self, effects: Effects | None = None) -> None:
        try:
            await super().run(effects)
        except StoreError as error:
            # For example, the earlier upload was begun with other checksums.
            if self._kept and type(error) is StoreError and not error.uncertain:
                raise UploadGone from error
            raise

    async def _open(self) -> None:
        if self._resume:
            with contextlib.suppress(AccessDenied, StoreError):  # without these rights nothing is resumed
                await self._take_up()
        if self._upload_id is None:
            await super()._open()

    async def _take_up(self) -> None:
        """Continue the open upload with the most parts, and abort the others."""
        found = [upload async for upload in open_uploads_of(self._bucket, self._dispatcher, self._key)]
        parts = [(await self._fitting_parts(upload), upload) for upload in found]
        kept, best = max(parts, key=lambda each: len(each[0]), default=({}, None))
        if best is not None and kept:
            self._kept, self._upload_id = kept, best.id
        for upload in found:
            if upload.id != self._upload_id:
                await abort(self._bucket, self._dispatcher, upload)

    async def _fitting_parts(self, upload: OpenUpload) -> Mapping[int, Part]:
        """Return the parts of an open upload that have the right sizes."""
        fitting: dict[int, Part] = {}
        marker: dict[str, int] = {}
        while True:
            ask = partial(self._bucket.call, "list_parts", self._key, UploadId=upload.id, **marker)
            page = await self._dispatcher.send(ask, urgent=True)
            for part in page.get("Parts", ()):
                number = part["PartNumber"]
                if part["Size"] == self._size_of_part(number):
                    fitting[number] = part
            before, marker = marker, {"PartNumberMarker": page.get("NextPartNumberMarker", 0)}
            if not page.get("IsTruncated") or marker == before:
                return fitting

    def _size_of_part(self, number: int) -> int:
        return min(self._part_size, self._source.size - (number - 1) * self._part_size)

    async def _send_parts(self) -> None:
        with unwrapped():
            async with anyio.create_task_group() as tasks:
                for number, offset in enumerate(range(0, self._source.size, self._part_size), 1):
                    # The next part waits for its share of the budget after this one was read. So the source
                    # is read in order, and memory stays within the budget.
                    has_read = anyio.Event()
                    tasks.start_soon(self._send_part, number, offset, has_read)
                    await has_read.wait()

    async def _send_part(self, number: int, offset: int, has_read: anyio.Event) -> None:
        size = self._size_of_part(number)

        async def put() -> None:
            body = await self._source.read(offset, size)
            has_read.set()
            crc = await crc32(body) if self._checksums else None
            part = self._kept.get(number)
            if part is not None and await part_has_bytes(part, body):
                etag = part["ETag"]
            else:
                etag = await self._bucket.request(
                    lambda client: client.hot.put_part(self._key, self._id, number, body, crc32=crc), "write", self._key
                )
            self._sent[number] = {"PartNumber": number, "ETag": etag, **given(ChecksumCRC32=crc)}

        await self._dispatcher.send(put, nbytes=size, effects=self._effects)


class MultipartCopy(Multipart):
    """An object that the store copies in parts.

    Args:
        size: bytes of the original.
        copied_from: parameters that name the original and pin its revision.
        part_size: bytes of a part.
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
    ) -> None:
        super().__init__(bucket, dispatcher, key, created_with=created_with, completed_with=completed_with)
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

        await self._dispatcher.send(copy, effects=self._effects)
