"""Uploads in blocks: read in order, sent in parallel, and committed by one conditional request."""

from __future__ import annotations

import base64
import contextlib
import hashlib
from collections.abc import Callable, Mapping, Set
from typing import Any, Final

from aioassets.drivers.azure.client import AzureClient
from aioassets.drivers.azure.values import block_list, in_base64, md5_of, parse_block_list
from aioassets.drivers.bodies import MIB
from aioassets.drivers.parts import PartedUpload, UploadDropped, send_in_order
from aioassets.drivers.protocol import Data, Source
from aioassets.drivers.service_errors import code_of
from aioassets.errors import AccessDenied, ObjectNotFound, StoreError
from aioassets.runtime.dispatch import Dispatcher
from aioassets.runtime.effects import Effects
from aioassets.runtime.threads import in_thread

MAX_BLOCKS: Final = 50_000
"""The limit of Azure for one blob."""


class BlockUpload(PartedUpload[None]):
    """One upload in blocks.

    There is nothing to abort. Uncommitted blocks are invisible, and the store discards them after
    a week, or when the blob is written.

    Args:
        client: sends requests.
        dispatcher: the budget and retries to use.
        block_size: bytes of a block; more where that would make too many.
        headers: the condition, for the request that commits the blocks.
        effects: record to note a commit with an unknown effect in.
        resume: whether to skip blocks that an earlier attempt has sent.
    """

    def __init__(
        self,
        client: AzureClient,
        dispatcher: Dispatcher,
        key: str,
        source: Source,
        *,
        block_size: int,
        headers: Mapping[str, str],
        effects: Effects | None,
        resume: bool = False,
    ) -> None:
        self._client = client
        self._dispatcher = dispatcher
        self._key = key
        self._source = source
        self._block_size = fitting_block_size(source.size, block_size)
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
        await send_in_order(self._source.size, self._block_size, self._send_block)

    async def _complete(self) -> None:
        await self._dispatcher.send(self._commit, urgent=True, effects=self._effects)

    async def _list_blocks(self) -> Set[str]:
        """Return the ids of all uncommitted blocks of this key."""
        query = {"comp": "blocklist", "blocklisttype": "uncommitted"}
        return await self._client.ask(parse_block_list, self._key, verb="read", query=query)

    async def _send_block(self, number: int, offset: int, has_read: Callable[[], None]) -> None:
        size = min(self._block_size, self._source.size - offset)

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
        """Return the MD5 of a block, and add the block to the MD5 of the blob unless it is read again."""
        if offset == self._hashed:
            self._whole.update(data)
            self._hashed += len(data)
        return hashlib.md5(data, usedforsecurity=False).digest()

    async def _commit(self) -> None:
        body = block_list([block for _, block in sorted(self._ids.items())])
        headers = {
            "content-md5": md5_of(body),
            "content-type": "application/xml",
            "x-ms-blob-content-md5": in_base64(self._whole.digest()),
            "x-ms-blob-content-type": "application/octet-stream",
            **self._headers,
        }
        try:
            await self._client.call("PUT", self._key, query={"comp": "blocklist"}, headers=headers, body=body)
        except StoreError as error:
            if code_of(error) == "InvalidBlockList":
                raise UploadDropped from error
            raise


def block_id(md5: bytes, number: int) -> str:
    """Return the id of a block, which depends on its content, so that racing uploads never mix their blocks.

    And so that an upload knows the blocks again that one before it has sent. All blocks of a key must have
    ids of one length, including those of earlier uploads. This is the length of the ids that the SDK makes
    at present.

    Args:
        md5: of its bytes, which the store has checked.
        number: its place in the blob, from 0.
    """
    return base64.b64encode(f"{md5.hex()}{number:016}".encode()).decode()


def fitting_block_size(size: int, block_size: int) -> int:
    """Return the size of all blocks but the last, so that there are at most `MAX_BLOCKS`."""
    least = -(-size // MAX_BLOCKS)
    return block_size if least <= block_size else -(-least // MIB) * MIB
