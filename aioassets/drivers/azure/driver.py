"""Azure Blob Storage, by azure-storage-blob."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping
from functools import partial
from types import TracebackType
from typing import Any, Final, Self

from aioassets.drivers.azure.blocks import BlocksGone, BlockUpload
from aioassets.drivers.azure.client import AzureClient, Connecting, off_the_loop
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
from aioassets.drivers.bodies import MIB, Part, PastEnd, body_of, joined, read_range, read_whole, share_of
from aioassets.drivers.contents import copied_before, holds, upload_by
from aioassets.drivers.http.parsing import http_time, number, printable
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
"""Large enough that a request's overhead doesn't count; above 4 MiB Azure writes blocks at its full rate."""
MAX_PART_SIZE: Final = 4000 * MIB
"""Azure's own limit."""
DELETIONS: Final = 32
"""Deletions at once. Azure has a request for 256 of them, which emulators and scoped signatures don't know."""
UPLOADS: Final = 3
"""How often one blob's blocks are sent, where the store drops them."""
FIRST_LOOK: Final = 0.1
"""Seconds after which a copy is looked at first; within an account most are done at once."""
MAX_LOOK: Final = 5.0
"""Seconds between two looks at the most."""
PATIENCE: Final = 120.0
"""Seconds that a copy may stand still before it is given up."""


class AzureDriver(NoLocalFiles, NoOpenUploads):
    """One container of Azure Blob Storage.

    The connection is made at the first request, in a worker thread, because the SDK's import
    takes most of a second. The driver reads no environment variables itself; azure-identity,
    which is asked for a credential where none is given here, does.

    Args:
        container: the container's name.
        dispatcher: the budget and retries to use; the SDK's own retries are off.
        connection_string: the account and a key or signature in one, as the portal shows it. Not
            used where `account_url` or `account_name` is given.
        account_url: the account's blob endpoint; with a signature behind `?`, if need be.
        account_name: stands for `https://{account_name}.blob.core.windows.net`.
        account_key: the account's key.
        sas_token: a shared access signature, for this container or the account.
        credential: an asynchronous token credential (of azure-identity, for example); isn't closed.
        anonymous: use no credential, for a container that all may read.
        verify: whether to verify the server's TLS certificate.
        ca_bundle: a file of certificate authorities to trust instead of the usual ones.
        part_size: bytes; larger blobs are uploaded in blocks of this size.
        connect_timeout: seconds.
        read_timeout: seconds without a byte before a connection is given up.
        client: a `ContainerClient` of `azure.storage.blob.aio` to use in place of all of the above;
            it isn't closed. Make it with `retry_total=0`.

    Raises:
        InvalidSetting: a value can't be used.
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
        """See `Driver.read`."""

        async def get() -> Document:
            async with self._client.stream("GET", key) as (answer, pieces):
                headers = answer.headers
                with self._client.reading("read", key):
                    length = number(headers.get("Content-Length", 0))
                data = await read_whole(pieces, length, limit, self._url(key))
            if headers.get("Content-MD5", "") not in ("", await off_the_loop(md5_of, data)):
                raise StoreUnavailable(self.url, f"{key!r} arrived damaged.", uncertain=False)
            with self._client.reading("read", key):
                return Document(data, revision_of(headers), http_time(headers["Last-Modified"]), answered_at(headers))

        return await self._dispatcher.send(get, **share_of(limit))

    async def write(
        self, key: str, data: bytes | StreamedDocument, *, expected: Revision | Expect, effects: Effects | None = None
    ) -> Revision:
        """See `Driver.write`."""
        headers = {"x-ms-blob-cache-control": "no-store", **condition_for(expected)}
        content = await joined(data)
        try:
            return await self._dispatcher.send(lambda: self._put(key, content, headers), urgent=True, effects=effects)
        except ObjectNotFound as error:  # said of a swap by whoever looks for the object first
            raise PreconditionFailed(self._url(key)) from error

    async def stat(self, key: str) -> ObjectInfo:
        """See `Driver.stat`."""
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
        """See `Driver.upload`."""
        in_blocks = source.size > self._part_size
        send = partial(self._upload_blocks, resume=resume) if in_blocks else self._upload_whole
        send = partial(send, effects=effects)
        return await upload_by(send, self, key, source, expected, look_first=resume or in_blocks)

    def read_range(
        self, key: str, start: int, stop: int, *, revision: Revision | None = None
    ) -> AsyncGenerator[Data, None]:
        """See `Driver.read_range`."""
        return read_range(self, self._dispatcher, self._open_range, key, start, stop, revision)

    async def copy(self, source: Driver, info: ObjectInfo, key: str, *, effects: Effects | None = None) -> ObjectInfo:
        """See `Driver.copy`; between containers of one account, with this driver's credentials."""
        if not isinstance(source, AzureDriver) or not await self._is_of_the_account_of(source):
            raise NotSameStore(f"{source.url}/{info.key}")
        url = await source._client.blob_url(info.key)  # noqa: SLF001 - of the same class
        try:
            await self._dispatcher.send(lambda: self._begin_copy(url, info, key), effects=effects)
        except PreconditionFailed:  # of the source, of the target, or the answer to a request sent twice
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
        """See `Driver.list`."""
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
        """See `Driver.delete`."""
        await for_each(keys, partial(self._delete, effects=effects), limit=DELETIONS)

    async def aclose(self) -> None:
        """See `Driver.aclose`; the next request would connect again."""
        await self._client.aclose()

    async def _head(self, key: str) -> Mapping[str, str]:
        answer = await self._dispatcher.send(partial(self._client.call, "HEAD", key, verb="read"), urgent=True)
        return answer.headers

    async def _put(self, key: str, data: Data, headers: Mapping[str, str]) -> Revision:
        """Write a blob in one request; the store verifies the MD5, and keeps it."""
        whole = {
            "Content-Length": str(len(data)),
            "Content-MD5": await off_the_loop(md5_of, data),
            "Content-Type": "application/octet-stream",
            "x-ms-blob-type": "BlockBlob",
            **headers,
        }
        with body_of(data) as body:
            del data  # the body is a copy of it
            answer = await self._client.call("PUT", key, headers=whole, body=body)
        with self._client.reading("write", key):
            return revision_of(answer.headers)

    async def _upload_whole(self, key: str, source: Source, expected: Expect, *, effects: Effects | None) -> None:
        async def put() -> None:
            await self._put(key, await source.read(0, source.size), condition_for(expected))

        await self._dispatcher.send(put, nbytes=source.size, effects=effects)

    async def _upload_blocks(
        self, key: str, source: Source, expected: Expect, *, resume: bool, effects: Effects | None
    ) -> None:
        cause: Exception | None = None
        for attempt in range(UPLOADS):
            upload = BlockUpload(
                self._client,
                self._dispatcher,
                key,
                source,
                block_size=self._part_size,
                headers=condition_for(expected),
                resume=resume and attempt == 0,
            )
            try:
                return await upload.run(effects)
            except BlocksGone as gone:  # whoever writes a blob discards the blocks that others have sent for it
                if await holds(self, key, source):
                    return None
                cause = gone
        raise StoreUnavailable(self.url, f"it dropped the blocks of {key!r} {UPLOADS} times.") from cause

    @contextlib.asynccontextmanager
    async def _open_range(self, key: str, start: int, stop: int, revision: Revision | None) -> AsyncIterator[Part]:
        headers = {"x-ms-range": f"bytes={start}-{stop - 1}"}
        if revision is not None:
            headers["If-Match"] = quoted(revision)
        try:
            async with self._client.stream("GET", key, headers=headers) as (answer, pieces):
                with self._client.reading("read", key):
                    length = answer.headers.get("Content-Length")
                    part = Part(
                        pieces,
                        revision_of(answer.headers),
                        "Content-Range" in answer.headers,
                        None if length is None else number(length),
                    )
                yield part
        except StoreError as error:
            if code_of(error) == "InvalidRange":
                raise PastEnd from error
            raise

    async def _delete(self, key: str, effects: Effects | None = None) -> None:
        # A blob with snapshots can't be deleted without them.
        request = partial(self._client.call, "DELETE", key, verb="delete", headers={"x-ms-delete-snapshots": "include"})
        with contextlib.suppress(ObjectNotFound):
            await self._dispatcher.send(request, urgent=True, effects=effects)

    async def _is_of_the_account_of(self, other: AzureDriver) -> bool:
        return await self._client.account() == await other._client.account()

    async def _begin_copy(self, url: str, info: ObjectInfo, key: str) -> None:
        headers = {
            "Content-Length": "0",
            "x-ms-copy-source": url,
            "x-ms-source-if-match": quoted(info.revision),
            **condition_for(Expect.ABSENT),
        }
        await self._client.call("PUT", key, headers=headers)

    async def _explain_refused_copy(self, source: AzureDriver, info: ObjectInfo, error: AioAssetsError) -> None:
        """Tell a source that isn't there from one that the store may not read for us."""
        if code_of(error) in ("CannotVerifyCopySource", "CopyAcrossAccountsNotSupported"):
            await source.stat(info.key)
            raise NotSameStore(f"{source.url}/{info.key}") from error

    async def _copied(self, key: str) -> ObjectInfo:
        """A copy that is perhaps not ours: it may be waited for, but neither ended nor removed."""
        return self._info(key, await self._await_copy(key, await self._head(key)))

    async def _finished_copy(self, key: str) -> ObjectInfo:
        """Wait until the store has done the copy that we began; it may do so after its answer."""
        headers = await self._head(key)
        if headers.get("x-ms-copy-status") == "pending":
            try:
                headers = await self._await_copy(key, headers)
            except BaseException:
                await self._abandon_copy(key, headers.get("x-ms-copy-id", ""))
                raise
        if headers.get("x-ms-copy-status") in ("failed", "aborted"):
            await self._delete(key)  # it leaves an empty blob
            what = headers.get("x-ms-copy-status-description") or "without a reason"
            raise StoreUnavailable(self.url, f"it gave up copying to {key!r}: {printable(what)}.")
        return self._info(key, headers)

    def _info(self, key: str, headers: Mapping[str, str]) -> ObjectInfo:
        with self._client.reading("read", key):
            return info_of(key, headers)

    async def _await_copy(self, key: str, headers: Mapping[str, str]) -> Mapping[str, str]:
        pause, waited = FIRST_LOOK, 0.0
        while headers.get("x-ms-copy-status") == "pending":
            if waited >= PATIENCE:
                raise StoreUnavailable(self.url, f"its copy to {key!r} stands still.")
            await self._dispatcher.retry.sleep(pause)
            waited, pause, before = waited + pause, min(2 * pause, MAX_LOOK), headers
            headers = await self._head(key)
            if headers.get("x-ms-copy-progress") != before.get("x-ms-copy-progress"):
                waited = 0.0
        return headers

    async def _abandon_copy(self, key: str, copy_id: str) -> None:
        headers = {"Content-Length": "0", "x-ms-copy-action": "abort"}
        abort = partial(self._client.call, "PUT", key, query={"comp": "copy", "copyid": copy_id}, headers=headers)
        with cleanup_scope():
            with contextlib.suppress(AioAssetsError):  # it may have ended meanwhile
                await self._dispatcher.send(abort, urgent=True)
            with contextlib.suppress(AioAssetsError):
                await self._delete(key)

    def _url(self, key: str) -> str:
        return f"{self.url}/{key}"
