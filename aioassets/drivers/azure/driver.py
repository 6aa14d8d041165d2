"""The driver for Azure Blob Storage, which uses azure-storage-blob."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Sequence
from datetime import timedelta
from functools import partial
from types import TracebackType
from typing import Any, Final, Self

from aioassets.drivers.azure.blobs import Blobs
from aioassets.drivers.azure.blocks import MAX_BLOCKS, BlockUpload, StreamedUpload, fitting_block_size
from aioassets.drivers.azure.client import AzureClient
from aioassets.drivers.azure.composing import Composition
from aioassets.drivers.azure.copying import Copy
from aioassets.drivers.azure.presigning import presigned
from aioassets.drivers.azure.sdk import Connecting
from aioassets.drivers.azure.values import (
    Account,
    condition_for,
)
from aioassets.drivers.bodies import MIB, joined, read_range, share_of
from aioassets.drivers.composition import COPIED_PART, Limits, Piece, check_originals, compose_by, copied_runs, in_parts
from aioassets.drivers.contents import copied_before, revision_of_same, upload_by
from aioassets.drivers.deletion import delete_each
from aioassets.drivers.parts import PartSize, restarted
from aioassets.drivers.protocol import (
    MAX_DOCUMENT,
    CommonPrefix,
    Data,
    Document,
    Driver,
    Expect,
    NoLocalFiles,
    NoObjectVersions,
    NoOpenUploads,
    ObjectInfo,
    Revision,
    Run,
    Source,
    Stream,
    StreamedDocument,
    Uploaded,
)
from aioassets.drivers.service_errors import code_of
from aioassets.drivers.streams import PartStream, upload_stream_by
from aioassets.errors import (
    AccessDenied,
    AioAssetsError,
    InvalidSetting,
    NotSameStore,
    ObjectNotFound,
    PreconditionFailed,
    StoreError,
)
from aioassets.runtime.dispatch import Dispatcher
from aioassets.runtime.effects import Effects

__all__ = ["AzureDriver"]

PART_SIZE: Final = 8 * MIB
"""Default block size in bytes. Azure reaches its full rate with blocks above 4 MiB, and requests cost little."""
SMALLEST_PART: Final = 64 * 1024
"""Minimum block size in bytes to try if requests are rejected because of their size."""
MAX_PART_SIZE: Final = 4000 * MIB
"""Azure's limit on the size of a block, in bytes."""
LEAST_COPIED: Final = 256 * 1024
"""Minimum size in bytes of a range that the store copies. Sending fewer bytes is faster."""
DELETIONS: Final = 32
"""Maximum number of concurrent deletions. Emulators and scoped signatures don't support Azure's batch deletions."""


class AzureDriver(NoLocalFiles, NoOpenUploads, NoObjectVersions):
    """An Azure Blob Storage container.

    The first request creates the SDK client, in a worker thread, because importing the SDK takes most
    of a second. Blobs and blocks are transferred over aioassets' own connections; everything else goes
    through the SDK. The driver honours `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY`. If no credential is
    given, azure-identity is used, which reads its own environment variables.

    Args:
        container: the container's name.
        dispatcher: the dispatcher that limits and retries requests. The SDK's own retries are disabled.
        connection_string: the connection string that the Azure portal shows, which contains the account
            and a key or signature. Ignored if `account_url` or `account_name` is given.
        account_url: the account's blob endpoint, optionally followed by `?` and a signature.
        account_name: short for the account URL `https://{account_name}.blob.core.windows.net`.
        account_key: the account's key.
        sas_token: a shared access signature for this container or the account.
        credential: an asynchronous token credential, for example from azure-identity. The driver never
            closes it.
        anonymous: whether to use no credentials, for a public container.
        verify: whether to verify the server's TLS certificate.
        ca_bundle: a file of certificate authorities to trust instead of the system's.
        part_size: the size of a block in bytes. Larger blobs are uploaded in blocks.
        connect_timeout: the connection timeout in seconds.
        read_timeout: how many seconds a request may go without receiving data before it fails.
        client: an `azure.storage.blob.aio.ContainerClient` that sends all requests. The options for the
            account and the connection are then ignored. Create it with `retry_total=0`. The driver never
            closes it.

    Raises:
        InvalidSetting: a value is invalid.
    """

    def __init__(
        self,
        container: str,
        *,
        dispatcher: Dispatcher | None = None,
        connection_string: str | None = None,
        account_url: str | None = None,
        account_name: str | None = None,
        account_key: str | None = None,
        sas_token: str | None = None,
        credential: Any = None,
        anonymous: bool = False,
        verify: bool = True,
        ca_bundle: str | os.PathLike[str] | None = None,
        part_size: int = PART_SIZE,
        connect_timeout: float = 10.0,
        read_timeout: float = 60.0,
        client: Any = None,
    ) -> None:
        if not container:
            raise InvalidSetting("The Azure container name must not be empty.")
        if not 0 < part_size <= MAX_PART_SIZE:
            raise InvalidSetting(f"part_size must be between 1 and {MAX_PART_SIZE} bytes, but it is {part_size}.")
        self.url = f"az://{container}"
        self._dispatcher = dispatcher or Dispatcher()
        self._parts = PartSize(part_size, min(part_size, SMALLEST_PART))
        if client is not None:
            self.identity = f"{self.url}@{client.url.partition('?')[0]}"
            self._client = AzureClient(self.url, container, None, client, read_timeout=read_timeout)
            self._blobs = Blobs(self.url, self._client)
            return
        account = Account.from_options(
            connection_string=connection_string,
            account_url=account_url,
            account_name=account_name,
            account_key=account_key,
            sas_token=sas_token,
        )
        self.identity = f"{self.url}@{account.url}"
        connecting = Connecting(
            account=account,
            credential=credential,
            anonymous=anonymous,
            verify=verify,
            ca_bundle=ca_bundle,
            connect_timeout=connect_timeout,
            read_timeout=read_timeout,
            connections=self._dispatcher.budget.max_requests,
        )
        self._client = AzureClient(self.url, container, connecting, read_timeout=read_timeout)
        self._blobs = Blobs(self.url, self._client)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def read(self, key: str, *, limit: int = MAX_DOCUMENT) -> Document:
        return await self._dispatcher.send(partial(self._blobs.read, key, limit), **share_of(limit))

    async def write(
        self, key: str, data: bytes | StreamedDocument, *, expected: Revision | Expect, effects: Effects | None = None
    ) -> Revision:
        headers = {"x-ms-blob-cache-control": "no-store", **condition_for(expected)}
        content = await joined(data)
        try:
            return await self._dispatcher.send(
                lambda: self._blobs.put(key, content, headers), urgent=True, effects=effects
            )
        except ObjectNotFound as error:  # the store checks that the object exists before it checks the condition
            raise PreconditionFailed(self._url(key)) from error

    async def stat(self, key: str) -> ObjectInfo:
        return await self._dispatcher.send(partial(self._blobs.stat, key), urgent=True)

    async def upload(
        self,
        key: str,
        source: Source,
        *,
        expected: Expect = Expect.ABSENT,
        resume: bool = False,
        effects: Effects | None = None,
    ) -> Uploaded:
        return await self._parts.fit(
            source.size, partial(self._upload, key, source, expected, resume=resume, effects=effects)
        )

    async def _upload(
        self, key: str, source: Source, expected: Expect, *, resume: bool, effects: Effects | None
    ) -> Uploaded:
        in_blocks = source.size > self._parts.size
        send = partial(self._upload_blocks, resume=resume) if in_blocks else self._upload_whole
        send = partial(send, effects=effects)
        return await upload_by(send, self, key, source, expected, look_first=resume or in_blocks)

    async def upload_stream(
        self, key: str, stream: Stream, *, expected: Expect = Expect.ABSENT, effects: Effects | None = None
    ) -> Uploaded:
        memory = self._dispatcher.stream_memory
        async with PartStream(stream, memory, self._parts.size, MAX_BLOCKS) as parts:
            upload = StreamedUpload(
                self._client, self._dispatcher, key, parts, headers=condition_for(expected), effects=effects
            )
            return await upload_stream_by(upload.run, self, key, parts, expected, effects)

    async def compose(
        self,
        key: str,
        source: Source,
        runs: Sequence[Run],
        *,
        expected: Expect = Expect.ABSENT,
        resume: bool = False,
        effects: Effects | None = None,
    ) -> Uploaded:
        """Compose a blob of blocks, some of which the store copies; see `Driver.compose`."""
        send = partial(self._compose, resume=resume, effects=effects)
        return await compose_by(send, self, key, source, runs, expected, limits=self._limits)

    def composable(self, size: int, runs: Sequence[Run]) -> Sequence[Run]:
        return copied_runs(size, runs, self._limits)

    @property
    def _limits(self) -> Limits:
        return Limits(least=LEAST_COPIED, most_sent=self._parts.size, most_copied=COPIED_PART, parts=MAX_BLOCKS)

    def read_range(
        self, key: str, start: int, stop: int, *, revision: Revision | None = None
    ) -> AsyncGenerator[Data, None]:
        return read_range(self, self._dispatcher, self._blobs.open_range, key, start, stop, revision)

    async def copy(self, source: Driver, info: ObjectInfo, key: str, *, effects: Effects | None = None) -> ObjectInfo:
        """Copy an object within an account, using this driver's credentials; see `Driver.copy`."""
        if not isinstance(source, AzureDriver) or not await self._is_of_the_account_of(source):
            raise NotSameStore(f"{source.url}/{info.key}")
        url = await source._client.blob_url(info.key)  # noqa: SLF001 - an instance of the same class
        copy = Copy(self._client, self._blobs, self._dispatcher, key)
        try:
            begun = await copy.begin(url, info, effects)
        except PreconditionFailed:  # on the source or the target, or an earlier attempt succeeded
            return await copied_before(source, info, self, copy.waited_for)
        except ObjectNotFound as error:
            raise ObjectNotFound(f"{source.url}/{info.key}") from error
        except (AccessDenied, StoreError) as error:
            await self._explain_refused_copy(source, info, error)
            raise
        return await copy.finish(begun, info, effects)

    async def list(self, prefix: str, *, delimiter: str | None = None) -> AsyncIterator[ObjectInfo | CommonPrefix]:
        marker: str | None = None
        while True:
            page = partial(self._blobs.list, prefix, delimiter, marker)
            rows, marker = await self._dispatcher.send(page, urgent=True)
            for row in rows:
                yield row
            if not marker:
                return

    async def delete(self, keys: Iterable[str], *, effects: Effects | None = None) -> None:
        async def delete(key: str) -> None:
            with contextlib.suppress(ObjectNotFound):
                await self._dispatcher.send(partial(self._blobs.delete, key), urgent=True, effects=effects)

        await delete_each(keys, delete, limit=DELETIONS)

    async def presign(self, key: str, expires: timedelta) -> str:
        """Return a URL with a shared access signature; see `Driver.presign`.

        The account's key signs it here. With a token credential, the store is asked for a key first.
        """
        return await self._dispatcher.send(partial(presigned, self._client, key, expires), urgent=True)

    async def aclose(self) -> None:
        await self._client.aclose()

    async def _upload_whole(self, key: str, source: Source, expected: Expect, *, effects: Effects | None) -> Revision:
        async def put() -> Revision:
            return await self._blobs.put(key, await source.read(0, source.size), condition_for(expected))

        return await self._dispatcher.send(put, nbytes=source.size, effects=effects)

    async def _upload_blocks(
        self, key: str, source: Source, expected: Expect, *, resume: bool, effects: Effects | None
    ) -> Revision:
        pieces = in_parts(source.size, fitting_block_size(source.size, self._parts.size))

        async def upload(attempt: int) -> Revision:
            parted = BlockUpload(
                self._client,
                self._dispatcher,
                key,
                source,
                pieces=pieces,
                headers=condition_for(expected),
                effects=effects,
                resume=resume and attempt == 0,
            )
            return await parted.run()

        # If another writer completes the blob, the store discards all other blocks.
        return await restarted(upload, partial(revision_of_same, self, key, source), self._url(key))

    async def _compose(
        self,
        pieces: Sequence[Piece],
        key: str,
        source: Source,
        expected: Expect,
        *,
        resume: bool,
        effects: Effects | None,
    ) -> Revision:
        async def compose(attempt: int) -> Revision:
            parted = Composition(
                self._client,
                self._dispatcher,
                key,
                source,
                pieces=pieces,
                check=partial(check_originals, self, pieces),
                headers=condition_for(expected),
                effects=effects,
                resume=resume and attempt == 0,
            )
            return await parted.run()

        return await restarted(compose, partial(revision_of_same, self, key, source), self._url(key))

    async def _is_of_the_account_of(self, other: AzureDriver) -> bool:
        return await self._client.account() == await other._client.account()

    async def _explain_refused_copy(self, source: AzureDriver, info: ObjectInfo, error: AioAssetsError) -> None:
        """Raise `ObjectNotFound` if the source is missing, or `NotSameStore` if the store can't read it."""
        if code_of(error) in ("CannotVerifyCopySource", "CopyAcrossAccountsNotSupported"):
            await source.stat(info.key)
            raise NotSameStore(f"{source.url}/{info.key}") from error

    def _url(self, key: str) -> str:
        return f"{self.url}/{key}"
