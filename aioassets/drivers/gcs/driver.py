"""The driver for Google Cloud Storage, by its JSON API, on gcloud-aio-storage."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Mapping
from datetime import datetime
from functools import partial
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from aioassets.drivers.bodies import CHUNK, MIB, Part, PastEnd, joined, read_range, read_whole, share_of
from aioassets.drivers.contents import copied_before, holds, upload_by
from aioassets.drivers.gcs.errors import TOO_MANY, translate
from aioassets.drivers.gcs.session import Connection
from aioassets.drivers.gcs.uploads import CHUNK_UNIT, ResumableUpload
from aioassets.drivers.gcs.values import (
    GOOGLE,
    Checksum,
    Multipart,
    address,
    answered_at,
    condition_for,
    info_of,
    normal_root,
    parse_page,
    token_of,
)
from aioassets.drivers.http.parsing import number
from aioassets.drivers.http.responses import AnyResponse, pieces_of
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
from aioassets.drivers.service_errors import ForeignAnswer, Request, status_of, translating
from aioassets.errors import (
    AccessDenied,
    AioAssetsError,
    IntegrityError,
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
from aioassets.runtime.tasks import for_each, gather2
from aioassets.runtime.threads import in_thread

__all__ = ["GCSDriver"]

T = TypeVar("T")

PART_SIZE: Final = 8 * MIB
"""Bytes, as in Google's own tools: the overhead of a request is small."""
DELETES: Final = 32
"""Concurrent deletions. Other implementations do not support the API's batches."""
READS: Final = 20
"""Attempts to read a document that other writers keep replacing."""

_AS_STORED: Final = {"accept-encoding": "gzip"}
"""Without this header, the store decompresses objects with gzip encoding, and ignores the range."""


class GCSDriver(NoLocalFiles, NoOpenUploads):
    """One bucket of Google Cloud Storage, or of another implementation of its JSON API.

    The first request opens the SDK's session, in a worker thread. Objects and chunks are read and
    written on the project's own connections, and everything else by the session. The driver
    honours `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY`. Without credentials, the SDK reads
    `GOOGLE_APPLICATION_CREDENTIALS`, `CLOUDSDK_CONFIG` and `GCE_METADATA_HOST`.

    Args:
        bucket: the bucket's name.
        dispatcher: the budget and retries to use; the SDK's own retries are off.
        api_root: the scheme and host of another implementation of the API. Over plain `http`, as with
            emulators, credentials are sent only if they are given here.
        service_file: a file of credentials (of a service account, a user, an external account);
            by default, application-default credentials.
        anonymous: send no credentials, for public buckets and emulators.
        verify: whether to verify the server's TLS certificate.
        ca_bundle: a file of certificate authorities to trust instead of those of the system.
        part_size: bytes, a multiple of 256 KiB; larger blobs are uploaded in chunks of this size.
        connect_timeout: seconds.
        read_timeout: seconds without a byte after which a request fails.
        client: a `gcloud.aio.storage.Storage` whose session sends all requests. It is not closed.

    Raises:
        InvalidSetting: a value is invalid.
    """

    def __init__(
        self,
        bucket: str,
        *,
        dispatcher: Dispatcher | None = None,
        api_root: str | None = None,
        service_file: str | os.PathLike[str] | None = None,
        anonymous: bool = False,
        verify: bool = True,
        ca_bundle: str | os.PathLike[str] | None = None,
        part_size: int = PART_SIZE,
        connect_timeout: float = 10.0,
        read_timeout: float = 60.0,
        client: Any = None,
    ) -> None:
        if not bucket:
            raise InvalidSetting("A bucket of Google Cloud Storage needs a name.")
        if part_size < CHUNK_UNIT or part_size % CHUNK_UNIT:
            raise InvalidSetting(f"part_size={part_size} is not a multiple of {CHUNK_UNIT} bytes, as the API requires.")
        self.url = f"gs://{bucket}"
        self._root = normal_root(api_root)
        self.identity = self.url if self._root == GOOGLE else f"{self.url}@{self._root}"
        self._bucket = bucket
        self._dispatcher = dispatcher or Dispatcher()
        self._part_size = part_size
        in_clear = self._root.startswith("http://")
        self._connection = Connection(
            self.url,
            self._root,
            service_file=service_file,
            anonymous=anonymous or (in_clear and service_file is None and client is None),
            verify=verify,
            ca_bundle=ca_bundle,
            connect_timeout=connect_timeout,
            read_timeout=read_timeout,
            max_connections=self._dispatcher.budget.max_requests,
            client=client,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def read(self, key: str, *, limit: int = MAX_DOCUMENT) -> Document:
        # The bytes of a generation and its time are in two responses, requested at the same time.
        for _ in range(READS):
            (data, generation), (info, answered) = await gather2(
                lambda: self._dispatcher.send(partial(self._content, key, limit), **share_of(limit)),
                partial(self._send, partial(self._describe, key)),
            )
            checksum = await self._checksum(data)
            told = info.checksums.get(checksum.algorithm, checksum.hex)
            if generation in (None, info.revision) and checksum.hex == told:
                return Document(data, info.revision, info.modified, answered)
        raise StoreUnavailable(self.url, f"{key!r} kept changing while it was read.", uncertain=False)

    async def write(
        self, key: str, data: bytes | StreamedDocument, *, expected: Revision | Expect, effects: Effects | None = None
    ) -> Revision:
        await self._connection.open()
        content = await joined(data)
        checksum = await self._checksum(content)

        async def put() -> ObjectInfo:
            try:
                return await self._insert(key, content, checksum, expected, cacheControl="no-store")
            except StoreUnavailable as error:
                if status_of(error) == TOO_MANY:
                    await self._check(key, expected)
                raise

        try:
            return (await self._send(put, effects)).revision
        except ObjectNotFound as error:  # some implementations check for the object before the condition
            raise PreconditionFailed(self._url(key)) from error

    async def stat(self, key: str) -> ObjectInfo:
        info, _ = await self._send(partial(self._describe, key))
        return info

    async def upload(
        self,
        key: str,
        source: Source,
        *,
        expected: Expect = Expect.ABSENT,
        resume: bool = False,
        effects: Effects | None = None,
    ) -> Uploaded:
        """Store a blob; see `Driver.upload`.

        Only whole objects are resumed: the session of a killed upload cannot be found, and expires by itself.

        Raises:
            IntegrityError: the store kept other bytes than were sent, which were deleted again.
        """
        await self._connection.open()
        in_chunks = source.size > self._part_size  # the API checks the condition after the last chunk
        send = self._upload_chunks if in_chunks else self._upload_whole
        return await upload_by(
            partial(send, effects=effects), self, key, source, expected, look_first=resume or in_chunks
        )

    def read_range(
        self, key: str, start: int, stop: int, *, revision: Revision | None = None
    ) -> AsyncGenerator[Data, None]:
        return read_range(self, self._dispatcher, self._open_range, key, start, stop, revision)

    async def copy(self, source: Driver, info: ObjectInfo, key: str, *, effects: Effects | None = None) -> ObjectInfo:
        """Copy between buckets of the same API; see `Driver.copy`."""
        original = f"{source.url}/{info.key}"
        if not isinstance(source, GCSDriver) or source._root != self._root:  # noqa: SLF001 - of the same class
            raise NotSameStore(original)
        try:
            return await self._rewrite(source, info, key, effects)
        except AccessDenied as error:  # perhaps only the other driver's credentials can read the source
            if source is self:
                raise
            raise NotSameStore(original) from error
        except (ObjectNotFound, PreconditionFailed):
            return await copied_before(source, info, self, partial(self.stat, key))

    async def list(self, prefix: str, *, delimiter: str | None = None) -> AsyncIterator[ObjectInfo | CommonPrefix]:
        token: str | None = None
        while True:
            url = self._address("o", prefix=prefix, delimiter=delimiter, pageToken=token)
            page = await self._send(
                partial(self._connection.ask, Request(self.url, "list", needs_only_bucket=True), "GET", url)
            )
            with translating(translate, Request(self.url, "list")):
                rows, token = parse_page(page, token)
            for row in rows:
                yield row
            if not token:
                return

    async def delete(self, keys: Iterable[str], *, effects: Effects | None = None) -> None:
        async def delete(key: str) -> None:
            with contextlib.suppress(ObjectNotFound):
                await self._send(partial(self._delete, key), effects)

        await for_each(keys, delete, limit=DELETES)

    async def aclose(self) -> None:
        await self._connection.aclose()

    # Single requests

    async def _content(self, key: str, limit: int) -> tuple[bytes, str | None]:
        """Return the bytes of a document, and its generation if the response has it."""
        async with self._media(key, None) as response:
            headers = response.headers
            data = await read_whole(pieces_of(response), _length(headers), limit, self._url(key))
            return data, headers.get("x-goog-generation")

    @contextlib.asynccontextmanager
    async def _media(self, key: str, revision: Revision | None, **headers: str) -> AsyncIterator[AnyResponse]:
        request = Request(self.url, "read", key)
        url = self._address("o", key, alt="media", ifGenerationMatch=revision)
        async with self._connection.exchange(
            request, "GET", url, headers={**_AS_STORED, **headers}, direct=True
        ) as response:
            if response.status >= 400 and response.status != 416:
                raise await self._connection.refusal(response)
            yield response

    @contextlib.asynccontextmanager
    async def _open_range(self, key: str, start: int, stop: int, revision: Revision | None) -> AsyncIterator[Part]:
        async with self._media(key, revision, range=f"bytes={start}-{stop - 1}") as response:
            if response.status == 416:
                raise PastEnd
            headers = response.headers
            found = headers.get("x-goog-generation")
            pinned = Revision(found) if found else None
            yield Part(pieces_of(response), pinned, response.status == 206, _length(headers))

    async def _describe(self, key: str) -> tuple[ObjectInfo, datetime]:
        request = Request(self.url, "read", key)
        answer = await self._connection.call(request, "GET", self._address("o", key))
        return _info(request, self._connection.parsed(request, answer)), answered_at(answer.headers)

    async def _insert(
        self,
        key: str,
        data: Data,
        checksum: Checksum,
        expected: Revision | Expect,
        **metadata: str,
    ) -> ObjectInfo:
        """Write an object in one request. The store verifies the content, and the driver the response."""
        condition = condition_for(expected)
        swapping = not isinstance(expected, Expect)
        request = Request(self.url, "write", key, conditional=bool(condition), needs_only_bucket=not swapping)
        url = self._address("o", upload=True, uploadType="multipart", **condition)
        body = Multipart({"name": key, **checksum.field, **metadata}, data)
        headers = {"content-type": body.content_type}
        answer = await self._connection.call(request, "POST", url, headers=headers, body=body, direct=True)
        resource = self._connection.parsed(request, answer)
        return await self._verified(key, resource, len(data), checksum)

    async def _delete(self, key: str, revision: Revision | None = None) -> None:
        url = self._address("o", key, ifGenerationMatch=revision)
        request = Request(self.url, "delete", key)
        answer = await self._connection.call(request, "DELETE", url)
        if answer.body:  # the response to a success is empty
            self._connection.parsed(request, answer)

    # Documents

    async def _check(self, key: str, expected: Revision | Expect) -> None:
        """Raise `PreconditionFailed` after a 429 if the condition cannot be met any more."""
        found: Revision | None = None
        try:
            info, _ = await self._describe(key)
            found = info.revision
        except ObjectNotFound:
            pass
        except AioAssetsError:
            return
        if expected is not Expect.ANYTHING and found != (None if expected is Expect.ABSENT else expected):
            raise PreconditionFailed(self._url(key))

    async def _checksum(self, data: Data) -> Checksum:
        return await in_thread(Checksum.of, data) if len(data) > CHUNK else Checksum.of(data)

    # Blobs

    async def _upload_whole(self, key: str, source: Source, expected: Expect, *, effects: Effects | None) -> None:
        async def put() -> None:
            data = await source.read(0, source.size)
            await self._insert(key, data, await self._checksum(data), expected)

        await self._dispatcher.send(put, nbytes=source.size, effects=effects)

    async def _upload_chunks(self, key: str, source: Source, expected: Expect, *, effects: Effects | None) -> None:
        condition = condition_for(expected)
        request = Request(self.url, "write", key, conditional=bool(condition), needs_only_bucket=True)
        url = self._address("o", upload=True, uploadType="resumable", **condition)

        def upload(_: int) -> ResumableUpload:
            return ResumableUpload(
                self._connection,
                self._dispatcher,
                request,
                url,
                source,
                part_size=self._part_size,
                effects=effects,
            )

        uploaded = await restarted(upload, partial(holds, self, key, source), self._url(key))
        if uploaded is not None:
            resource, checksum = uploaded
            await self._verified(key, resource, source.size, checksum)

    async def _verified(self, key: str, resource: Mapping[str, Any], size: int, checksum: Checksum) -> ObjectInfo:
        """Return the object that an upload created; delete it if it has other bytes than were sent.

        Raises:
            IntegrityError: it has other bytes.
        """
        request = Request(self.url, "write", key)
        # Some implementations do not describe a finished upload, and some omit the size of an empty object.
        if "generation" not in resource or ("size" not in resource and size):
            info = await self._made(request)
        else:
            info = _info(request, resource)
        found = info.checksums.get(checksum.algorithm, checksum.hex)
        if (info.size, found) == (size, checksum.hex):
            return info
        with cleanup_scope(), contextlib.suppress(AioAssetsError):
            await self._delete(key, info.revision)
        algorithm = checksum.algorithm
        raise IntegrityError(
            self._url(key), f"{size} bytes of {algorithm} {checksum.hex}", f"{info.size} bytes of {algorithm} {found}"
        )

    async def _made(self, request: Request) -> ObjectInfo:
        """Return the object that an upload created whose response does not describe it."""
        try:
            info, _ = await self._describe(request.key)
        except ObjectNotFound as error:
            raise translate(ForeignAnswer(), request) from error
        except StoreUnavailable as error:
            detail = f"it wrote {request.key!r}, but doesn't describe it: {error}"
            raise StoreUnavailable(self.url, detail, retry_after=error.retry_after) from error
        except AioAssetsError as error:
            raise StoreError(f"{request.url} was written, but can't be read: {error}", uncertain=True) from error
        return info

    async def _rewrite(self, source: GCSDriver, info: ObjectInfo, key: str, effects: Effects | None) -> ObjectInfo:
        """Copy a generation on the store's side, in as many requests as necessary."""
        request = Request(self.url, "copy", key, conditional=True)
        token: str | None = None
        while True:
            url = source._address(
                *("o", info.key, "rewriteTo", "b", self._bucket, "o", key),
                ifGenerationMatch="0",
                ifSourceGenerationMatch=info.revision or None,
                sourceGeneration=info.revision or None,
                rewriteToken=token,
            )
            step = await self._dispatcher.send(partial(self._connection.ask, request, "POST", url), effects=effects)
            if step.get("done"):
                return _info(request, step.get("resource") or {})
            with translating(translate, request):
                token = token_of(step, "rewriteToken")
            if not token:
                told = f"{self.url} did not finish copying {info.key!r}, and returned no token to continue."
                raise StoreError(told, uncertain=True)

    async def _send(self, request: Callable[[], Awaitable[T]], effects: Effects | None = None) -> T:
        return await self._dispatcher.send(request, urgent=True, effects=effects)

    def _address(self, *path: str, upload: bool = False, **params: str | None) -> str:
        service = ("upload", "storage") if upload else ("storage",)
        return address(self._root, *service, "v1", "b", self._bucket, *path, **params)

    def _url(self, key: str) -> str:
        return f"{self.url}/{key}"


def _length(headers: Mapping[str, str]) -> int | None:
    return number(headers["content-length"]) if "content-length" in headers else None


def _info(request: Request, resource: Mapping[str, Any]) -> ObjectInfo:
    with translating(translate, request):
        return info_of(resource, request.key)
