"""Composing blobs of blocks that the store copies from ranges of other blobs, and of uploaded blocks."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial

import anyio

from aioassets.drivers.azure.blocks import BlockUpload, block_id
from aioassets.drivers.azure.client import AzureClient
from aioassets.drivers.azure.values import in_base64, quoted
from aioassets.drivers.bodies import CHUNK
from aioassets.drivers.composition import COPIES_AT_ONCE, Piece
from aioassets.drivers.protocol import Revision, Source
from aioassets.drivers.service_errors import code_of
from aioassets.errors import AccessDenied, CannotCompose, ObjectError, StoreError, StoreUnavailable
from aioassets.runtime.dispatch import Dispatcher
from aioassets.runtime.effects import Effects
from aioassets.runtime.tasks import for_each, unwrapped
from aioassets.runtime.threads import in_thread


class Composition(BlockUpload):
    """A block upload, some of whose blocks are copied by the store. The store verifies the MD5 of each.

    Args:
        check: a function that checks the originals once more, before the blocks are committed.
    """

    def __init__(
        self,
        client: AzureClient,
        dispatcher: Dispatcher,
        key: str,
        source: Source,
        *,
        pieces: Sequence[Piece],
        check: Callable[[], Awaitable[None]],
        headers: Mapping[str, str],
        effects: Effects | None,
        resume: bool,
    ) -> None:
        super().__init__(
            client, dispatcher, key, source, pieces=pieces, headers=headers, effects=effects, resume=resume
        )
        self._check = check

    async def _send_parts(self) -> None:
        with unwrapped():
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._copy_blocks)
                await super()._send_parts()

    async def _complete(self) -> Revision:
        await self._check()
        return await super()._complete()

    async def _copy_blocks(self) -> None:
        copied = ((number, piece) for number, piece in enumerate(self._pieces) if piece.run is not None)
        await for_each(copied, self._copy_block, limit=COPIES_AT_ONCE)

    async def _copy_block(self, item: tuple[int, Piece]) -> None:
        number, piece = item
        md5 = await self._md5_of(piece)
        block = self._ids[number] = block_id(md5, number)
        if block not in self._kept:
            await self._dispatcher.send(partial(self._request_copy, block, md5, piece))

    async def _md5_of(self, piece: Piece) -> bytes:
        digest = hashlib.md5(usedforsecurity=False)
        async with self._dispatcher.budget.slot(CHUNK):
            for offset in range(piece.offset, piece.stop, CHUNK):
                data = await self._source.read(offset, min(CHUNK, piece.stop - offset))
                await in_thread(digest.update, data)
        return digest.digest()

    async def _request_copy(self, block: str, md5: bytes, piece: Piece) -> None:
        assert piece.run is not None  # noqa: S101 - only called for pieces that are copied
        start, stop = piece.span
        info = piece.run.info
        headers = {
            **await self._client.as_source(info.key),
            "x-ms-source-range": f"bytes={start}-{stop - 1}",
            "x-ms-source-if-match": quoted(info.revision),
            "x-ms-source-content-md5": in_base64(md5),
        }
        query = {"comp": "block", "blockid": block}
        try:
            await self._client.call("PUT", self._key, verb="copy a part of", query=query, headers=headers, body=b"")
        except (AccessDenied, ObjectError, StoreError) as error:
            # A wrong MD5 usually means that a request was damaged, but here the original may have other contents.
            if isinstance(error, StoreUnavailable) and code_of(error) != "Md5Mismatch":
                raise
            raise CannotCompose(f"{self._client.url}/{info.key}") from error

    def _whole_md5(self) -> str | None:
        md5 = self._source.digests.get("md5")
        return None if md5 is None else in_base64(bytes.fromhex(md5))
