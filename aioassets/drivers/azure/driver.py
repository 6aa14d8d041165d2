"""The driver for Azure Blob Storage, on azure-storage-blob."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping
from functools import partial
from types import TracebackType
from typing import Any, Final, Self

from aioassets.drivers.azure.blocks import BlockUpload
from aioassets.drivers.azure.client import AzureClient, off_the_loop
from aioassets.drivers.azure.sdk import Connecting
from aioassets.drivers.azure.values import (
    Account,
    answered_at,
    condition_for,
    given,
    info_of,
    md5_of,
    parse_listing,
    quoted,
    revision_of,
)
from aioassets.drivers.bodies import MIB, Part, PastEnd, joined, read_range, read_whole, share_of
from aioassets.drivers.contents import copied_before, holds, upload_by
from aioassets.drivers.http.connections import MAX_ERROR
from aioassets.drivers.http.parsing import http_time, number, printable
from aioassets.drivers.http.responses import pieces_of
from aioassets.drivers.parts import restarted
from aioassets.drivers.protocol import (
    MAX_DOCUMENT,
    CommonPrefix,
    Data,
    Document,
    Driver,
    Expect,
    NoLocalFiles,
    NoOpenUploads,
    ObjectInfo,
    Revision,
    Source,
    StreamedDocument,
    Uploaded,
)
from aioassets.drivers.service_errors import ForeignAnswer, code_of
from aioassets.errors import (
    AccessDenied,
    AioAssetsError,
    InvalidSetting,
    NotSameStore,
    ObjectNotFound,
    PreconditionFailed,
    StoreError,
    StoreUnavailable,
)
from aioassets.runtime.cancellation import cleanup_scope
from aioassets.runtime.dispatch import Dispatcher
from aioassets.runtime.effects import Effects
from aioassets.runtime.tasks import for_each

__all__ = ["AzureDriver"]

PART_SIZE: Final = 8 * MIB
"""Bytes. Above 4 MiB Azure writes blocks at its full rate, and the overhead of a request is small."""
MAX_PART_SIZE: Final = 4000 * MIB
"""Bytes: the limit of Azure."""
DELETIONS: Final = 32
"""Concurrent deletions. Emulators and scoped signatures do not support Azure's request for 256 at once."""
FIRST_LOOK: Final = 0.1
"""Seconds before the first check of a copy; within an account, most finish at once."""
MAX_LOOK: Final = 5.0
"""The most seconds between two checks of a copy."""
PATIENCE: Final = 120.0
"""Seconds without progress after which a copy is abandoned."""


class AzureDriver(NoLocalFiles, NoOpenUploads):
    """One container of Azure Blob Storage.

    The first request opens the SDK's client, in a worker thread, because its import takes most
    of a second. Blobs and blocks are read and written on the project's own connections, and
    everything else by the SDK. The driver honours `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY`.
    Without a credential, it asks azure-identity, which reads variables of its own.

    Args:
        container: the container's name.
        dispatcher: the budget and retries to use; the SDK's own retries are off.
        connection_string: the account and a key or signature in one, as the portal shows it. Not
            used if `account_url` or `account_name` is given.
        account_url: the account's blob endpoint, perhaps with a signature after `?`.
        account_name: stands for `https://{account_name}.blob.core.windows.net`.
        account_key: the account's key.
        sas_token: a shared access signature, for this container or the account.
        credential: an asynchronous token credential, for example of azure-identity. It is not closed.
        anonymous: use no credential, for a public container.
        verify: whether to verify the server's TLS certificate.
        ca_bundle: a file of certificate authorities to trust instead of those of the system.
        part_size: bytes; larger blobs are uploaded in blocks of this size.
        connect_timeout: seconds.
        read_timeout: seconds without a byte after which a request fails.
        client: a `ContainerClient` of `azure.storage.blob.aio` that sends all requests, instead of
            all of the above. It is not closed. Create it with `retry_total=0`.

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
            raise InvalidSetting("An Azure container needs a name.")
        if not 0 < part_size <= MAX_PART_SIZE:
            raise InvalidSetting(f"part_size={part_size} is not between 1 and Azure's limit of {MAX_PART_SIZE} bytes.")
        self.url = f"az://{container}"
        self._dispatcher = dispatcher or Dispatcher()
        self._part_size = part_size
        if client is not None:
            self.identity = f"{self.url}@{client.url.partition('?')[0]}"
            self._client = AzureClient(self.url, container, None, client, read_timeout=read_timeout)
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

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def read(self, key: str, *, limit: int = MAX_DOCUMENT) -> Document:
        async def get() -> Document:
            async with self._client.stream("GET", key, direct=True) as response:
                headers = response.headers
                length = number(headers.get("content-length", 0))
                data = await read_whole(pieces_of(response), length, limit, self._url(key))
                if headers.get("content-md5", "") not in ("", await off_the_loop(md5_of, data)):
                    raise StoreUnavailable(self.url, f"{key!r} was damaged in transit.", uncertain=False)
                return Document(data, revision_of(headers), http_time(headers["last-modified"]), answered_at(headers))

        return await self._dispatcher.send(get, **share_of(limit))

    async def write(
        self, key: str, data: bytes | StreamedDocument, *, expected: Revision | Expect, effects: Effects | None = None
    ) -> Revision:
        headers = {"x-ms-blob-cache-control": "no-store", **condition_for(expected)}
        content = await joined(data)
        try:
            return await self._dispatcher.send(lambda: self._put(key, content, headers), urgent=True, effects=effects)
        except ObjectNotFound as error:  # the store looks for the object before it checks the condition
            raise PreconditionFailed(self._url(key)) from error

    async def stat(self, key: str) -> ObjectInfo:
        return self._info(key, await self._head(key))

    async def upload(
        self,
        key: str,
        source: Source,
        *,
        expected: Expect = Expect.ABSENT,
        resume: bool = False,
        effects: Effects | None = None,
    ) -> Uploaded:
        in_blocks = source.size > self._part_size
        send = partial(self._upload_blocks, resume=resume) if in_blocks else self._upload_whole
        send = partial(send, effects=effects)
        return await upload_by(send, self, key, source, expected, look_first=resume or in_blocks)

    def read_range(
        self, key: str, start: int, stop: int, *, revision: Revision | None = None
    ) -> AsyncGenerator[Data, None]:
        return read_range(self, self._dispatcher, self._open_range, key, start, stop, revision)

    async def copy(self, source: Driver, info: ObjectInfo, key: str, *, effects: Effects | None = None) -> ObjectInfo:
        """Copy between containers of one account, with the credentials of this driver; see `Driver.copy`."""
        if not isinstance(source, AzureDriver) or not await self._is_of_the_account_of(source):
            raise NotSameStore(f"{source.url}/{info.key}")
        url = await source._client.blob_url(info.key)  # noqa: SLF001 - of the same class
        try:
            await self._dispatcher.send(lambda: self._begin_copy(url, info, key), effects=effects)
        except PreconditionFailed:  # of the source or the target, or the response to a retry
            return await copied_before(source, info, self, partial(self._copied, key))
        except ObjectNotFound as error:
            raise ObjectNotFound(f"{source.url}/{info.key}") from error
        except (AccessDenied, StoreError) as error:
            await self._explain_refused_copy(source, info, error)
            raise
        try:
            return await self._finished_copy(key)
        except AioAssetsError:
            if effects is not None:
                effects.note_uncertain()  # the store accepted the copy, which may still appear
            raise

    async def list(self, prefix: str, *, delimiter: str | None = None) -> AsyncIterator[ObjectInfo | CommonPrefix]:
        query = {"restype": "container", "comp": "list", "include": "metadata", "prefix": prefix}
        query |= given(delimiter=delimiter)
        while True:
            rows, marker = await self._dispatcher.send(
                partial(self._client.ask, parse_listing, verb="list", query=dict(query)), urgent=True
            )
            for row in rows:
                yield row
            if not marker:
                return
            with self._client.reading("list", ""):
                if marker == query.get("marker"):
                    raise ForeignAnswer  # the listing has no end
            query["marker"] = marker

    async def delete(self, keys: Iterable[str], *, effects: Effects | None = None) -> None:
        await for_each(keys, partial(self._delete, effects=effects), limit=DELETIONS)

    async def aclose(self) -> None:
        await self._client.aclose()

    async def _head(self, key: str) -> Mapping[str, str]:
        return await self._dispatcher.send(partial(self._client.call, "HEAD", key, verb="read"), urgent=True)

    async def _put(self, key: str, data: Data, headers: Mapping[str, str]) -> Revision:
        """Write a blob in one request. The store verifies and keeps its MD5."""
        whole = {
            "content-md5": await off_the_loop(md5_of, data),
            "content-type": "application/octet-stream",
            "x-ms-blob-type": "BlockBlob",
            **headers,
        }
        async with self._client.stream("PUT", key, verb="write", headers=whole, body=data, direct=True) as response:
            await response.content(MAX_ERROR, None)
            return revision_of(response.headers)

    async def _upload_whole(self, key: str, source: Source, expected: Expect, *, effects: Effects | None) -> None:
        async def put() -> None:
            await self._put(key, await source.read(0, source.size), condition_for(expected))

        await self._dispatcher.send(put, nbytes=source.size, effects=effects)

    async def _upload_blocks(
        self, key: str, source: Source, expected: Expect, *, resume: bool, effects: Effects | None
    ) -> None:
        def upload(attempt: int) -> BlockUpload:
            return BlockUpload(
                self._client,
                self._dispatcher,
                key,
                source,
                block_size=self._part_size,
                headers=condition_for(expected),
                effects=effects,
                resume=resume and attempt == 0,
            )

        # Another writer that completes the blob discards all other blocks.
        await restarted(upload, partial(holds, self, key, source), self._url(key))

    @contextlib.asynccontextmanager
    async def _open_range(self, key: str, start: int, stop: int, revision: Revision | None) -> AsyncIterator[Part]:
        headers = {"x-ms-range": f"bytes={start}-{stop - 1}"}
        if revision is not None:
            headers["if-match"] = quoted(revision)
        try:
            async with self._client.stream("GET", key, headers=headers, direct=True) as response:
                told = response.headers
                length = number(told["content-length"]) if "content-length" in told else None
                yield Part(pieces_of(response), revision_of(told), "content-range" in told, length)
        except StoreError as error:
            if code_of(error) == "InvalidRange":
                raise PastEnd from error
            raise

    async def _delete(self, key: str, effects: Effects | None = None) -> None:
        # A blob with snapshots can only be deleted together with them.
        request = partial(self._client.call, "DELETE", key, verb="delete", headers={"x-ms-delete-snapshots": "include"})
        with contextlib.suppress(ObjectNotFound):
            await self._dispatcher.send(request, urgent=True, effects=effects)

    async def _is_of_the_account_of(self, other: AzureDriver) -> bool:
        return await self._client.account() == await other._client.account()

    async def _begin_copy(self, url: str, info: ObjectInfo, key: str) -> None:
        headers = {
            "x-ms-copy-source": url,
            "x-ms-source-if-match": quoted(info.revision),
            **condition_for(Expect.ABSENT),
        }
        await self._client.call("PUT", key, headers=headers, body=b"")

    async def _explain_refused_copy(self, source: AzureDriver, info: ObjectInfo, error: AioAssetsError) -> None:
        """Raise `ObjectNotFound` if the source is missing, or `NotSameStore` if the store may not read it."""
        if code_of(error) in ("CannotVerifyCopySource", "CopyAcrossAccountsNotSupported"):
            await source.stat(info.key)
            raise NotSameStore(f"{source.url}/{info.key}") from error

    async def _copied(self, key: str) -> ObjectInfo:
        """Wait for a copy that another process may have started, and so must not be aborted or deleted."""
        return self._info(key, await self._await_copy(key, await self._head(key)))

    async def _finished_copy(self, key: str) -> ObjectInfo:
        """Wait for the copy that this driver started; the store may finish it after its response."""
        headers = await self._head(key)
        if headers.get("x-ms-copy-status") == "pending":
            try:
                headers = await self._await_copy(key, headers)
            except BaseException:
                await self._abandon_copy(key, headers.get("x-ms-copy-id", ""))
                raise
        if headers.get("x-ms-copy-status") in ("failed", "aborted"):
            await self._delete(key)  # a failed copy leaves an empty blob
            what = headers.get("x-ms-copy-status-description") or "without a reason"
            raise StoreUnavailable(self.url, f"it abandoned the copy to {key!r}: {printable(what)}.")
        return self._info(key, headers)

    def _info(self, key: str, headers: Mapping[str, str]) -> ObjectInfo:
        with self._client.reading("read", key):
            return info_of(key, headers)

    async def _await_copy(self, key: str, headers: Mapping[str, str]) -> Mapping[str, str]:
        pause, waited = FIRST_LOOK, 0.0
        while headers.get("x-ms-copy-status") == "pending":
            if waited >= PATIENCE:
                raise StoreUnavailable(self.url, f"its copy to {key!r} made no progress for {PATIENCE:g} seconds.")
            await self._dispatcher.retry.sleep(pause)
            waited, pause, before = waited + pause, min(2 * pause, MAX_LOOK), headers
            headers = await self._head(key)
            if headers.get("x-ms-copy-progress") != before.get("x-ms-copy-progress"):
                waited = 0.0
        return headers

    async def _abandon_copy(self, key: str, copy_id: str) -> None:
        query, headers = {"comp": "copy", "copyid": copy_id}, {"x-ms-copy-action": "abort"}
        abort = partial(self._client.call, "PUT", key, query=query, headers=headers, body=b"")
        with cleanup_scope():
            with contextlib.suppress(AioAssetsError):  # the copy may have finished
                await self._dispatcher.send(abort, urgent=True)
            with contextlib.suppress(AioAssetsError):
                await self._delete(key)

    def _url(self, key: str) -> str:
        return f"{self.url}/{key}"
