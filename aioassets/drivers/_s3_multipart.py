"""Multipart uploads to S3: parts read in order, sent in parallel, and never left open."""

from __future__ import annotations

import abc
import base64
import contextlib
import io
import zlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import anyio

from aioassets.concurrency import Stop, for_each, stoppable, unwrapped
from aioassets.dispatch import Dispatcher
from aioassets.drivers._bodies import MIB, body_of
from aioassets.drivers._s3_errors import code_of
from aioassets.drivers.protocol import Source
from aioassets.errors import AioAssetsError, StoreError, StoreUnavailable
from aioassets.threads import in_thread

MAX_PARTS: Final = 10_000
"""S3's limit for one upload."""
COPIES_AT_ONCE: Final = 8
"""Parts that a store copies at once: it is the store that works."""
GRACE: Final = 5.0
"""Seconds that a failed or cancelled upload may take to tidy up behind itself."""

Call = Callable[..., Awaitable[Any]]


class UploadGone(Exception):
    """The store knows the upload no more: start it anew."""


class Multipart(abc.ABC):
    """One object made of parts; to be run once.

    Args:
        call: sends one request, as `call(operation, key, **parameters)`, and translates errors.
        dispatcher: the budget and retries to use.
        created_with: parameters of the request that begins the upload.
        completed_with: parameters of the request that ends it: the condition.
    """

    def __init__(
        self,
        call: Call,
        dispatcher: Dispatcher,
        key: str,
        *,
        created_with: Mapping[str, str],
        completed_with: Mapping[str, str],
    ) -> None:
        self._call = call
        self._dispatcher = dispatcher
        self._key = key
        self._created_with = created_with
        self._completed_with = completed_with
        self._sent: dict[int, dict[str, Any]] = {}
        self._upload_id: str | None = None
        self._completing = False

    async def run(self) -> None:
        """Upload everything.

        Raises:
            UploadGone: the store dropped the upload when it was to be completed.
            StoreUnavailable: with `uncertain` set only if it was to be completed already,
                since parts alone never become an object.
        """
        try:
            await self._dispatcher.send(self._begin)
            await self._send_parts()
            await self._dispatcher.send(self._complete, urgent=True)
        except BaseException as error:
            await self._abort()
            if isinstance(error, StoreUnavailable) and not self._completing:
                error.uncertain = False
            raise

    async def _begin(self) -> None:
        async def ask(stop: Stop) -> None:
            with stop.bounded():
                answer = await self._call("create_multipart_upload", self._key, **self._created_with)
                self._upload_id = answer["UploadId"]

        # An upload whose id we never learn can't be aborted: wait for the answer even when cancelled.
        await stoppable(ask, grace=GRACE)

    @abc.abstractmethod
    async def _send_parts(self) -> None:
        """Send them all, and note them in `_sent`."""

    async def _complete(self) -> None:
        self._completing = True
        parts = [part for _, part in sorted(self._sent.items())]
        try:
            await self._call(
                "complete_multipart_upload",
                self._key,
                UploadId=self._upload_id,
                MultipartUpload={"Parts": parts},
                **self._completed_with,
            )
        except StoreError as error:
            if code_of(error) in ("ConditionalRequestConflict", "NoSuchUpload"):
                raise UploadGone from error
            raise

    async def _abort(self) -> None:
        if self._upload_id is None:
            return
        with anyio.move_on_after(GRACE, shield=True), contextlib.suppress(AioAssetsError):
            await self._dispatcher.send(
                lambda: self._call("abort_multipart_upload", self._key, UploadId=self._upload_id), urgent=True
            )


class MultipartUpload(Multipart):
    """Parts that are read here.

    Args:
        source: what to upload.
        part_size: bytes of a part; more where that would make too many parts.
        checksums: whether to send a CRC32 with each part.
    """

    def __init__(
        self,
        call: Call,
        dispatcher: Dispatcher,
        key: str,
        source: Source,
        *,
        part_size: int,
        created_with: Mapping[str, str],
        completed_with: Mapping[str, str],
        checksums: bool,
    ) -> None:
        created_with = {**created_with, **({"ChecksumAlgorithm": "CRC32"} if checksums else {})}
        super().__init__(call, dispatcher, key, created_with=created_with, completed_with=completed_with)
        self._source = source
        self._part_size = fitting_part_size(source.size, part_size)
        self._checksums = checksums

    async def _send_parts(self) -> None:
        with unwrapped():
            async with anyio.create_task_group() as tasks:
                for number, offset in enumerate(range(0, self._source.size, self._part_size), 1):
                    # The next part asks for its share of the budget when this one was read: so the source
                    # is read in order, and no more parts are in memory than the budget allows.
                    has_read = anyio.Event()
                    tasks.start_soon(self._send_part, number, offset, has_read)
                    await has_read.wait()

    async def _send_part(self, number: int, offset: int, has_read: anyio.Event) -> None:
        size = min(self._part_size, self._source.size - offset)

        async def put() -> None:
            with body_of(await self._source.read(offset, size)) as body:
                has_read.set()
                checksum = {"ChecksumCRC32": await crc32(body)} if self._checksums else {}
                answer = await self._call(
                    "upload_part", self._key, UploadId=self._upload_id, PartNumber=number, Body=body, **checksum
                )
            self._sent[number] = {"PartNumber": number, "ETag": answer["ETag"], **checksum}

        await self._dispatcher.send(put, nbytes=size)


class MultipartCopy(Multipart):
    """Parts that the store copies by itself.

    Args:
        size: bytes of the object that is copied.
        copied_from: parameters that name it and pin its revision.
        part_size: bytes of a part.
    """

    def __init__(
        self,
        call: Call,
        dispatcher: Dispatcher,
        key: str,
        size: int,
        copied_from: Mapping[str, Any],
        *,
        part_size: int,
        created_with: Mapping[str, str],
        completed_with: Mapping[str, str],
    ) -> None:
        super().__init__(call, dispatcher, key, created_with=created_with, completed_with=completed_with)
        self._size = size
        self._copied_from = copied_from
        self._part_size = fitting_part_size(size, part_size)

    async def _send_parts(self) -> None:
        await for_each(enumerate(range(0, self._size, self._part_size), 1), self._copy_part, limit=COPIES_AT_ONCE)

    async def _copy_part(self, part: tuple[int, int]) -> None:
        number, start = part
        stop = min(start + self._part_size, self._size)

        async def copy() -> None:
            answer = await self._call(
                "upload_part_copy",
                self._key,
                UploadId=self._upload_id,
                PartNumber=number,
                CopySourceRange=f"bytes={start}-{stop - 1}",
                **self._copied_from,
            )
            self._sent[number] = {"PartNumber": number, "ETag": answer["CopyPartResult"]["ETag"]}

        await self._dispatcher.send(copy)


def fitting_part_size(size: int, part_size: int) -> int:
    """The size of all parts but the last, so that there are not too many."""
    least = -(-size // MAX_PARTS)
    return part_size if least <= part_size else -(-least // MIB) * MIB


async def crc32(body: bytes | io.BytesIO) -> str:
    """CRC32 in S3's notation."""
    with memoryview(body) if isinstance(body, bytes) else body.getbuffer() as view:
        return base64.b64encode((await in_thread(zlib.crc32, view)).to_bytes(4, "big")).decode()
