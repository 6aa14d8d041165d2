"""Composing objects of parts that S3 copies from ranges of other objects, and of uploaded parts."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial

import anyio

from aioassets.drivers.bodies import CHUNK
from aioassets.drivers.composition import COPIES_AT_ONCE, Piece
from aioassets.drivers.parts import UploadDropped
from aioassets.drivers.protocol import Revision, Source
from aioassets.drivers.s3.bucket import Bucket
from aioassets.drivers.s3.errors import code_of
from aioassets.drivers.s3.etags import Part, crc32_of_range, part_has_range
from aioassets.drivers.s3.multipart import MultipartUpload
from aioassets.drivers.s3.values import given
from aioassets.errors import AccessDenied, CannotCompose, ObjectError, StoreError, StoreUnavailable
from aioassets.runtime.dispatch import Dispatcher
from aioassets.runtime.effects import Effects
from aioassets.runtime.tasks import for_each, unwrapped


class Composition(MultipartUpload):
    """A multipart upload, some of whose parts are copied by the store.

    Args:
        check: a function that checks the originals once more, before the upload is completed.
    """

    def __init__(
        self,
        bucket: Bucket,
        dispatcher: Dispatcher,
        key: str,
        source: Source,
        *,
        pieces: Sequence[Piece],
        check: Callable[[], Awaitable[None]],
        created_with: Mapping[str, str],
        completed_with: Mapping[str, str],
        effects: Effects | None,
        checksums: bool,
        resume: bool,
    ) -> None:
        super().__init__(
            bucket,
            dispatcher,
            key,
            source,
            pieces=pieces,
            created_with=created_with,
            completed_with=completed_with,
            effects=effects,
            checksums=checksums,
            resume=resume,
        )
        self._check = check

    async def _send_parts(self) -> None:
        with unwrapped():
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._copy_parts)
                await super()._send_parts()

    async def _complete(self) -> Revision:
        await self._check()
        return await super()._complete()

    async def _copy_parts(self) -> None:
        copied = ((n, piece) for n, piece in enumerate(self._pieces, 1) if piece.run is not None)
        await for_each(copied, self._copy_part, limit=COPIES_AT_ONCE)

    async def _copy_part(self, item: tuple[int, Piece]) -> None:
        number, piece = item
        part = self._kept.get(number)
        if part is not None and await self._is_copy(part, piece):
            crc = await self._crc32_of(piece) if self._checksums else None  # not every store lists it
        else:
            part = await self._dispatcher.send(partial(self._request_copy, number, piece))
            crc = part.get("ChecksumCRC32")
            if not await self._is_copy(part, piece):  # it contains something else, or nothing tells
                raise CannotCompose(self._original(piece))
        self._sent[number] = {"PartNumber": number, "ETag": part["ETag"], **given(ChecksumCRC32=crc)}

    async def _is_copy(self, part: Part, piece: Piece) -> bool:
        async with self._dispatcher.budget.slot(CHUNK):
            return await part_has_range(part, self._source, piece.offset, piece.stop)

    async def _crc32_of(self, piece: Piece) -> str:
        async with self._dispatcher.budget.slot(CHUNK):
            return await crc32_of_range(self._source, piece.offset, piece.stop)

    def _original(self, piece: Piece) -> str:
        return f"{self._bucket.url}/{'' if piece.run is None else piece.run.info.key}"

    async def _request_copy(self, number: int, piece: Piece) -> Part:
        assert piece.run is not None  # noqa: S101 - only called for pieces that are copied
        start, stop = piece.span
        info = piece.run.info
        try:
            answer = await self._bucket.call(
                "upload_part_copy",
                self._key,
                UploadId=self._id,
                PartNumber=number,
                CopySource={"Bucket": self._bucket.name, "Key": info.key},
                CopySourceIfMatch=info.revision,
                CopySourceRange=f"bytes={start}-{stop - 1}",
            )
        except StoreUnavailable:
            raise
        except (AccessDenied, ObjectError, StoreError) as error:
            if code_of(error) == "NoSuchUpload":
                raise UploadDropped from error
            raise CannotCompose(self._original(piece)) from error
        copied: Part = answer["CopyPartResult"]
        return copied
