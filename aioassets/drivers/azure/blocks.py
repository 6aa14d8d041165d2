"""Block uploads: blocks are read in order, sent in parallel, and committed with one conditional request."""

from __future__ import annotations

import base64
import contextlib
import hashlib
from collections.abc import Callable, Mapping, Sequence, Set
from typing import Any, Final

from aioassets.drivers.azure.client import AzureClient
from aioassets.drivers.azure.values import block_list, given, in_base64, md5_of, parse_block_list, revision_of
from aioassets.drivers.bodies import MIB
from aioassets.drivers.composition import Piece
from aioassets.drivers.parts import PartedUpload, UploadDropped, send_in_order
from aioassets.drivers.protocol import Data, Revision, Source
from aioassets.drivers.service_errors import code_of
from aioassets.drivers.streams import PartStream, send_as_read
from aioassets.errors import AccessDenied, ObjectNotFound, StoreError
from aioassets.runtime.dispatch import Dispatcher
from aioassets.runtime.effects import Effects
from aioassets.runtime.threads import in_thread

MAX_BLOCKS: Final = 50_000
"""Azure's limit on the number of blocks in a blob."""


class BlockUpload(PartedUpload[Revision]):
    """A block upload.

    There is nothing to abort. Uncommitted blocks are invisible, and the store discards them after
    a week, or when the blob is written.

    Args:
        client: the client that sends the requests.
        dispatcher: the dispatcher that limits and retries requests.
        key: the blob's key.
        source: the contents.
        pieces: the blocks.
        headers: the condition, as headers for the request that commits the blocks.
        effects: records a commit whose effect is unknown.
        resume: whether to skip blocks that an earlier upload has already sent.
    """

    def __init__(
        self,
        client: AzureClient,
        dispatcher: Dispatcher,
        key: str,
        source: Source,
        *,
        pieces: Sequence[Piece],
        headers: Mapping[str, str],
        effects: Effects | None,
        resume: bool = False,
    ) -> None:
        self._client = client
        self._dispatcher = dispatcher
        self._key = key
        self._source = source
        self._pieces = pieces
        self._headers = headers
        self._effects = effects
        self._resume = resume
        self._kept: Set[str] = frozenset()
        self._ids: dict[int, str] = {}
        self._whole: Any = hashlib.md5(usedforsecurity=False)
        self._hashed = 0

    async def _open(self) -> None:
        if self._resume:
            with contextlib.suppress(AccessDenied, ObjectNotFound, StoreError):  # then all blocks are sent
                self._kept = await self._dispatcher.send(self._list_blocks, urgent=True)

    async def _send_parts(self) -> None:
        uploaded = ((n, piece.offset) for n, piece in enumerate(self._pieces) if piece.run is None)
        await send_in_order(uploaded, self._send_block)

    async def _complete(self) -> Revision:
        return await self._dispatcher.send(self._commit, urgent=True, effects=self._effects)

    async def _list_blocks(self) -> Set[str]:
        """Return the IDs of all uncommitted blocks for this key."""
        query = {"comp": "blocklist", "blocklisttype": "uncommitted"}
        return await self._client.ask(parse_block_list, self._key, verb="read", query=query)

    async def _send_block(self, number: int, offset: int, has_read: Callable[[], None]) -> None:
        size = self._pieces[number].size

        async def put() -> None:
            data = await self._source.read(offset, size)
            md5 = await in_thread(self._hash, offset, data)
            has_read()
            block = self._ids[number] = block_id(md5, number)
            if block in self._kept:
                return
            query = {"comp": "block", "blockid": block}
            headers = {"content-md5": in_base64(md5), "content-type": "application/octet-stream"}
            await self._client.call(
                "PUT", self._key, verb="upload a part of", query=query, headers=headers, body=data, direct=True
            )

        await self._dispatcher.send(put, nbytes=size)

    def _hash(self, offset: int, data: Data) -> bytes:
        """Return a block's MD5. When the block is first read, also add it to the MD5 of the blob."""
        if offset == self._hashed:
            self._whole.update(data)
            self._hashed += len(data)
        return hashlib.md5(data, usedforsecurity=False).digest()

    async def _commit(self) -> Revision:
        body = block_list([block for _, block in sorted(self._ids.items())])
        headers = {
            "content-md5": md5_of(body),
            "content-type": "application/xml",
            "x-ms-blob-content-type": "application/octet-stream",
            **given(x_ms_blob_content_md5=self._whole_md5()),
            **self._headers,
        }
        try:
            answer = await self._client.call("PUT", self._key, query={"comp": "blocklist"}, headers=headers, body=body)
        except StoreError as error:
            if code_of(error) == "InvalidBlockList":
                raise UploadDropped from error
            raise
        with self._client.reading("write", self._key):
            return revision_of(answer)

    def _whole_md5(self) -> str | None:
        """Return the MD5 of the whole blob in base64, if it is known."""
        return in_base64(self._whole.digest())


class StreamedUpload(BlockUpload):
    """A block upload of a stream.

    Args:
        parts: the stream, of which the first block has been read.
    """

    def __init__(
        self,
        client: AzureClient,
        dispatcher: Dispatcher,
        key: str,
        parts: PartStream,
        *,
        headers: Mapping[str, str],
        effects: Effects | None,
    ) -> None:
        super().__init__(client, dispatcher, key, parts, pieces=parts.pieces, headers=headers, effects=effects)
        self._parts = parts

    async def _send_parts(self) -> None:
        await send_as_read(self._parts, self._send_block, first=0)


def block_id(md5: bytes, number: int) -> str:
    """Return the ID of a block. It depends on the contents, so that racing uploads never mix their blocks.

    A resumed upload also recognizes the blocks of an earlier one by their IDs. All block IDs for a key must
    have the same length, including those from earlier uploads, so the IDs are as long as those that the SDK
    currently creates.

    Args:
        md5: the MD5 of the block, which the store verifies.
        number: the zero-based position of the block in the blob.
    """
    return base64.b64encode(f"{md5.hex()}{number:016}".encode()).decode()


def fitting_block_size(size: int, block_size: int) -> int:
    """Return `block_size`, or a larger block size if the upload would otherwise need more than `MAX_BLOCKS` blocks."""
    least = -(-size // MAX_BLOCKS)
    return block_size if least <= block_size else -(-least // MIB) * MIB
