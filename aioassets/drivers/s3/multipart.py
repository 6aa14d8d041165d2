"""Multipart uploads to S3: parts read in order, sent in parallel, and never left open."""

from __future__ import annotations

import abc
import base64
import contextlib
import hashlib
import re
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from functools import partial
from typing import Any, Final

import anyio

from aioassets.drivers.bodies import CHUNK, MIB
from aioassets.drivers.http.parsing import in_utc
from aioassets.drivers.protocol import Data, OpenUpload, Source
from aioassets.drivers.s3.errors import code_of
from aioassets.errors import AccessDenied, AioAssetsError, StoreError
from aioassets.runtime.cancellation import StopSignal, cleanup_scope, stoppable
from aioassets.runtime.dispatch import Dispatcher
from aioassets.runtime.effects import Effects
from aioassets.runtime.tasks import for_each, unwrapped
from aioassets.runtime.threads import in_thread

MAX_PARTS: Final = 10_000
"""S3's limit for one upload."""
COPIES_AT_ONCE: Final = 8
"""Parts that a store copies at once: it is the store that works."""

Call = Callable[..., Awaitable[Any]]
Part = Mapping[str, Any]
"""As the store lists it."""


_md5: Final = partial(hashlib.md5, usedforsecurity=False)


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
        self._in_doubt = False
        self._completing = False

    async def run(self, effects: Effects | None = None) -> None:
        """Upload everything.

        Args:
            effects: record to note a completion with an unknown effect in.

        Raises:
            UploadGone: the store dropped the upload when it was to be completed.
            AioAssetsError: with `uncertain` set only if it was to be completed already,
                since parts alone never become an object.
        """
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
        await self._dispatcher.send(self._begin)

    async def _begin(self) -> None:
        async def ask(stop: StopSignal) -> None:
            with stop.bounded():
                answer = await self._call("create_multipart_upload", self._key, **self._created_with)
                self._upload_id = answer["UploadId"]

        # An upload whose id we never learn has to be looked for: wait for the answer even when cancelled.
        try:
            await stoppable(ask)
        except BaseException as error:
            self._in_doubt |= self._upload_id is None and getattr(error, "uncertain", True)
            raise

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

    async def _tidy_up(self) -> None:
        """Leave nothing open: neither this upload, nor one that was begun by a request without an answer."""
        with cleanup_scope():
            if self._upload_id is not None:
                with contextlib.suppress(AioAssetsError):
                    await self._dispatcher.send(partial(_abort, self._call, self._key, self._upload_id), urgent=True)
            if self._in_doubt:
                await abort_all_of(self._call, self._dispatcher, self._key)


class MultipartUpload(Multipart):
    """Parts that are read here.

    Args:
        source: what to upload.
        part_size: bytes of a part; more where that would make too many parts.
        checksums: whether to send a CRC32 with each part.
        resume: whether to go on with an open upload of the key, and abort all others.
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
        resume: bool = False,
    ) -> None:
        created_with = {**created_with, **({"ChecksumAlgorithm": "CRC32"} if checksums else {})}
        super().__init__(call, dispatcher, key, created_with=created_with, completed_with=completed_with)
        self._source = source
        self._part_size = fitting_part_size(source.size, part_size)
        self._checksums = checksums
        self._resume = resume
        self._kept: Mapping[int, Part] = {}

    async def run(self, effects: Effects | None = None) -> None:
        """See `Multipart.run`."""
        try:
            await super().run(effects)
        except StoreError as error:
            # For example, the store wants checksums that the parts of the earlier upload don't have.
            if self._kept and type(error) is StoreError and not error.uncertain:
                raise UploadGone from error
            raise

    async def _open(self) -> None:
        if self._resume:
            with contextlib.suppress(AccessDenied, StoreError):  # then nothing can be resumed
                await self._take_up()
        if self._upload_id is None:
            await super()._open()

    async def _take_up(self) -> None:
        """Go on with the open upload that has most of the parts; abort the others."""
        found = [upload async for upload in open_uploads_of(self._call, self._dispatcher, self._key)]
        parts = [(await self._fitting_parts(upload), upload) for upload in found]
        kept, best = max(parts, key=lambda each: len(each[0]), default=({}, None))
        if best is not None and kept:
            self._kept, self._upload_id = kept, best.id
        for upload in found:
            if upload.id != self._upload_id:
                await abort(self._call, self._dispatcher, upload)

    async def _fitting_parts(self, upload: OpenUpload) -> Mapping[int, Part]:
        """The parts of an open upload that are as long as ours."""
        fitting: dict[int, Part] = {}
        marker: dict[str, int] = {}
        while True:
            ask = partial(self._call, "list_parts", self._key, UploadId=upload.id, **marker)
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
                    # The next part asks for its share of the budget when this one was read: so the source
                    # is read in order, and no more parts are in memory than the budget allows.
                    has_read = anyio.Event()
                    tasks.start_soon(self._send_part, number, offset, has_read)
                    await has_read.wait()

    async def _send_part(self, number: int, offset: int, has_read: anyio.Event) -> None:
        size = self._size_of_part(number)

        async def put() -> None:
            body = await self._source.read(offset, size)
            has_read.set()
            checksum = {"ChecksumCRC32": await crc32(body)} if self._checksums else {}
            part = self._kept.get(number)
            if part is None or not await _is_of(part, body):
                part = await self._call(
                    "upload_part", self._key, UploadId=self._upload_id, PartNumber=number, Body=body, **checksum
                )
            self._sent[number] = {"PartNumber": number, "ETag": part["ETag"], **checksum}

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


async def open_uploads(call: Call, dispatcher: Dispatcher, prefix: str) -> AsyncIterator[OpenUpload]:
    """List the open uploads of keys that begin with `prefix`."""
    position: dict[str, str] = {}
    while True:
        page = await dispatcher.send(partial(call, "list_multipart_uploads", Prefix=prefix, **position), urgent=True)
        for row in page.get("Uploads", ()):
            if row["Key"].startswith(prefix):  # what is listed may be aborted, so no store's word is taken for it
                yield OpenUpload(row["Key"], row["UploadId"], in_utc(row["Initiated"]))
        # SeaweedFS lists by upload ids, and gives no marker of keys.
        markers = {"KeyMarker": page.get("NextKeyMarker"), "UploadIdMarker": page.get("NextUploadIdMarker")}
        before, position = position, {name: marker for name, marker in markers.items() if marker}
        if not page.get("IsTruncated") or position == before:
            return


async def open_uploads_of(call: Call, dispatcher: Dispatcher, key: str) -> AsyncIterator[OpenUpload]:
    """List the open uploads of one key."""
    async for upload in open_uploads(call, dispatcher, key):
        if upload.key == key:
            yield upload


async def abort(call: Call, dispatcher: Dispatcher, upload: OpenUpload) -> None:
    """Abort an open upload; one that is gone is no error."""
    await dispatcher.send(partial(_abort, call, upload.key, upload.id), urgent=True)


async def abort_all_of(call: Call, dispatcher: Dispatcher, key: str) -> None:
    """Abort all open uploads of one key, as far as that is allowed."""
    with contextlib.suppress(AccessDenied, StoreError):
        async for upload in open_uploads_of(call, dispatcher, key):
            await abort(call, dispatcher, upload)


async def _abort(call: Call, key: str, upload_id: str) -> None:
    try:
        await call("abort_multipart_upload", key, UploadId=upload_id)
    except StoreError as error:
        if code_of(error) != "NoSuchUpload":
            raise


async def _is_of(part: Part, body: Data) -> bool:
    """Whether a part that the store lists has these bytes."""
    if crc := part.get("ChecksumCRC32"):
        return bool(crc == await crc32(body))
    return bool(part["ETag"].strip('"') == (await in_thread(_md5, body)).hexdigest())


async def is_etag_of(etag: str, source: Source, part_size: int) -> bool:
    """Whether an object of this ETag has the source's bytes, uploaded in parts of this size.

    An ETag is the MD5 of what was uploaded, or that of the parts' MD5s with their number behind it, unless
    the store encrypts with a key of somebody's or makes it otherwise. So `False` may mean nothing.
    """
    part_size = fitting_part_size(source.size, part_size)
    starts = range(0, source.size, part_size) or (0,)
    ending = f"-{len(starts)}" if source.size > part_size else ""
    if not re.fullmatch(f"[0-9a-f]{{32}}{ending}", etag):
        return False
    digests = [await _md5_of_part(source, start, min(start + part_size, source.size)) for start in starts]
    whole = _md5(b"".join(digests)).digest() if ending else digests[0]
    return etag == whole.hex() + ending


async def _md5_of_part(source: Source, start: int, stop: int) -> bytes:
    digest = _md5()
    for offset in range(start, stop, CHUNK):
        await in_thread(digest.update, await source.read(offset, min(CHUNK, stop - offset)))
    return digest.digest()


def fitting_part_size(size: int, part_size: int) -> int:
    """The size of all parts but the last, so that there are not too many."""
    least = -(-size // MAX_PARTS)
    return part_size if least <= part_size else -(-least // MIB) * MIB


async def crc32(body: Data) -> str:
    """CRC32 in S3's notation."""
    return base64.b64encode((await in_thread(zlib.crc32, body)).to_bytes(4, "big")).decode()
