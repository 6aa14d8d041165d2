"""The driver for Google Cloud Storage, which uses its JSON API through gcloud-aio-storage."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable
from datetime import timedelta
from functools import partial
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from aioassets.drivers.bodies import MIB, joined, read_range, share_of
from aioassets.drivers.contents import copied_before, revision_of_same, upload_by
from aioassets.drivers.deletion import delete_each
from aioassets.drivers.gcs.bucket import Bucket, checksum_of
from aioassets.drivers.gcs.copying import rewrite
from aioassets.drivers.gcs.errors import TOO_MANY
from aioassets.drivers.gcs.presigning import Presigner
from aioassets.drivers.gcs.session import Connection
from aioassets.drivers.gcs.uploads import CHUNK_UNIT, ResumableUpload, StreamedUpload
from aioassets.drivers.gcs.values import (
    GOOGLE,
    condition_for,
    normal_root,
    now,
)
from aioassets.drivers.parts import PartSize, restarted
from aioassets.drivers.protocol import (
    MAX_DOCUMENT,
    CommonPrefix,
    Data,
    Document,
    Driver,
    Expect,
    NoComposition,
    NoLocalFiles,
    NoObjectVersions,
    NoOpenUploads,
    ObjectInfo,
    Revision,
    Source,
    Stream,
    StreamedDocument,
    Uploaded,
)
from aioassets.drivers.service_errors import Request, status_of
from aioassets.drivers.streams import PartStream, upload_stream_by
from aioassets.errors import (
    AccessDenied,
    AioAssetsError,
    InvalidSetting,
    NotSameStore,
    ObjectNotFound,
    PreconditionFailed,
    StoreUnavailable,
)
from aioassets.runtime.dispatch import Dispatcher
from aioassets.runtime.effects import Effects
from aioassets.runtime.tasks import gather2

__all__ = ["GCSDriver"]

T = TypeVar("T")

PART_SIZE: Final = 8 * MIB
"""Default chunk size in bytes, as in Google's own tools. Requests of this size have little overhead."""
DELETES: Final = 32
"""Maximum number of concurrent deletions. Other implementations of the API don't support batch requests."""
READS: Final = 20
"""Maximum number of attempts to read a document that other writers keep replacing."""


class GCSDriver(NoLocalFiles, NoOpenUploads, NoObjectVersions, NoComposition):
    """A Google Cloud Storage bucket, or a bucket in another implementation of its JSON API.

    The API composes objects only of whole ones, so large files are always uploaded whole.

    The first request imports the SDK and finds credentials, in a worker thread. Objects and chunks are
    transferred over aioassets' own connections; everything else goes through the SDK's session. The
    driver honours `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY`. If no credentials are given, the SDK reads
    `GOOGLE_APPLICATION_CREDENTIALS`, `CLOUDSDK_CONFIG` and `GCE_METADATA_HOST`.

    Args:
        bucket: the bucket's name.
        dispatcher: the dispatcher that limits and retries requests. The SDK's own retries are disabled.
        api_root: the scheme and host of another implementation of the API. Over plain `http`, which
            emulators use, credentials are sent only if `service_file` or `client` is given.
        service_file: a credentials file for a service account, a user or an external account. The default
            is application-default credentials.
        anonymous: whether to send no credentials, for public buckets and emulators.
        verify: whether to verify the server's TLS certificate.
        ca_bundle: a file of certificate authorities to trust instead of the system's.
        part_size: the size of a chunk in bytes, a multiple of 256 KiB. Larger blobs are uploaded in chunks.
        connect_timeout: the connection timeout in seconds.
        read_timeout: how many seconds a request may go without receiving data before it fails.
        client: a `gcloud.aio.storage.Storage` whose session sends all requests. The driver never closes it.

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
            raise InvalidSetting("The Google Cloud Storage bucket name must not be empty.")
        if part_size < CHUNK_UNIT or part_size % CHUNK_UNIT:
            raise InvalidSetting(f"part_size must be a multiple of {CHUNK_UNIT} bytes, but it is {part_size}.")
        self.url = f"gs://{bucket}"
        self._root = normal_root(api_root)
        self.identity = self.url if self._root == GOOGLE else f"{self.url}@{self._root}"
        self._dispatcher = dispatcher or Dispatcher()
        self._parts = PartSize(part_size, CHUNK_UNIT)
        in_clear = self._root.startswith("http://")
        connection = Connection(
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
        self._bucket = Bucket(bucket, self._root, connection)
        self._presigner = Presigner(bucket, self._root, connection)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def read(self, key: str, *, limit: int = MAX_DOCUMENT) -> Document:
        # No single response has both the contents and the times, so send two requests concurrently.
        for _ in range(READS):
            (data, generation), (info, answered) = await gather2(
                lambda: self._dispatcher.send(partial(self._bucket.content, key, limit), **share_of(limit)),
                partial(self._send, partial(self._bucket.describe, key)),
            )
            checksum = await checksum_of(data)
            told = info.checksums.get(checksum.algorithm, checksum.hex)
            if generation in (None, info.revision) and checksum.hex == told:
                return Document(data, info.revision, info.modified, answered)
        raise StoreUnavailable(self.url, f"{key!r} kept changing while it was being read.", uncertain=False)

    async def write(
        self, key: str, data: bytes | StreamedDocument, *, expected: Revision | Expect, effects: Effects | None = None
    ) -> Revision:
        await self._bucket.open()
        content = await joined(data)
        checksum = await checksum_of(content)

        async def put() -> ObjectInfo:
            try:
                return await self._bucket.insert(key, content, checksum, expected, cacheControl="no-store")
            except StoreUnavailable as error:
                if status_of(error) == TOO_MANY:
                    await self._check(key, expected)
                raise

        try:
            return (await self._send(put, effects)).revision
        except ObjectNotFound as error:  # some implementations check for the object before the condition
            raise PreconditionFailed(self._url(key)) from error

    async def stat(self, key: str) -> ObjectInfo:
        info, _ = await self._send(partial(self._bucket.describe, key))
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
        """Upload a blob; see `Driver.upload`.

        A partial upload can't be resumed, because its session can't be found again. The session eventually expires.

        Raises:
            IntegrityError: the stored contents differed from what was sent, so the object was deleted.
        """
        await self._bucket.open()
        return await self._parts.fit(
            source.size, partial(self._upload, key, source, expected, resume=resume, effects=effects)
        )

    async def _upload(
        self, key: str, source: Source, expected: Expect, *, resume: bool, effects: Effects | None
    ) -> Uploaded:
        in_chunks = source.size > self._parts.size  # the API checks the condition after the last chunk
        send = self._upload_chunks if in_chunks else self._upload_whole
        return await upload_by(
            partial(send, effects=effects), self, key, source, expected, look_first=resume or in_chunks
        )

    async def upload_stream(
        self, key: str, stream: Stream, *, expected: Expect = Expect.ABSENT, effects: Effects | None = None
    ) -> Uploaded:
        await self._bucket.open()
        part_size = self._parts.size
        async with PartStream(stream, self._dispatcher.stream_memory, part_size) as parts:
            send = partial(self._upload_stream, key, parts, expected, part_size=part_size, effects=effects)
            return await upload_stream_by(send, self, key, parts, expected, effects)

    async def _upload_stream(
        self, key: str, parts: PartStream, expected: Expect, *, part_size: int, effects: Effects | None
    ) -> Revision:
        request, url = self._creation(key, expected)
        connection = self._bucket.connection
        upload = StreamedUpload(connection, self._dispatcher, request, url, parts, part_size=part_size, effects=effects)
        resource, checksum = await upload.run()
        return (await self._bucket.verified(key, resource, parts.size, checksum)).revision

    def read_range(
        self, key: str, start: int, stop: int, *, revision: Revision | None = None
    ) -> AsyncGenerator[Data, None]:
        return read_range(self, self._dispatcher, self._bucket.open_range, key, start, stop, revision)

    async def copy(self, source: Driver, info: ObjectInfo, key: str, *, effects: Effects | None = None) -> ObjectInfo:
        """Copy an object between buckets with the same API root; see `Driver.copy`."""
        original = f"{source.url}/{info.key}"
        if not isinstance(source, GCSDriver) or source._root != self._root:  # noqa: SLF001 - of the same class
            raise NotSameStore(original)
        try:
            return await rewrite(source._bucket, info, self._bucket, key, self._dispatcher, effects)  # noqa: SLF001
        except AccessDenied as error:  # the source may need its driver's credentials
            if source is self:
                raise
            raise NotSameStore(original) from error
        except (ObjectNotFound, PreconditionFailed):
            return await copied_before(source, info, self, partial(self.stat, key))

    async def list(self, prefix: str, *, delimiter: str | None = None) -> AsyncIterator[ObjectInfo | CommonPrefix]:
        token: str | None = None
        while True:
            rows, token = await self._send(partial(self._bucket.list, prefix, delimiter, token))
            for row in rows:
                yield row
            if not token:
                return

    async def delete(self, keys: Iterable[str], *, effects: Effects | None = None) -> None:
        async def delete(key: str) -> None:
            with contextlib.suppress(ObjectNotFound):
                await self._send(partial(self._bucket.delete, key), effects)

        await delete_each(keys, delete, limit=DELETES)

    async def presign(self, key: str, expires: timedelta) -> str:
        """Return a signed URL; see `Driver.presign`.

        A service account's key signs it here. Otherwise, the IAM service signs it, if the credentials impersonate a
        service account or are those of a machine on Google Cloud.
        """
        sign = partial(self._presigner.presign, key, int(expires.total_seconds()), now())
        return await self._send(sign)

    async def aclose(self) -> None:
        await self._bucket.aclose()

    async def _check(self, key: str, expected: Revision | Expect) -> None:
        """Raise `PreconditionFailed` if the condition is no longer met. Called after a 429 response."""
        found: Revision | None = None
        try:
            info, _ = await self._bucket.describe(key)
            found = info.revision
        except ObjectNotFound:
            pass
        except AioAssetsError:
            return
        if expected is not Expect.ANYTHING and found != (None if expected is Expect.ABSENT else expected):
            raise PreconditionFailed(self._url(key))

    async def _upload_whole(self, key: str, source: Source, expected: Expect, *, effects: Effects | None) -> Revision:
        async def put() -> Revision:
            data = await source.read(0, source.size)
            return (await self._bucket.insert(key, data, await checksum_of(data), expected)).revision

        return await self._dispatcher.send(put, nbytes=source.size, effects=effects)

    async def _upload_chunks(self, key: str, source: Source, expected: Expect, *, effects: Effects | None) -> Revision:
        request, url = self._creation(key, expected)

        async def upload(_: int) -> Revision:
            parted = ResumableUpload(
                self._bucket.connection,
                self._dispatcher,
                request,
                url,
                source,
                part_size=self._parts.size,
                effects=effects,
            )
            resource, checksum = await parted.run()
            return (await self._bucket.verified(key, resource, source.size, checksum)).revision

        return await restarted(upload, partial(revision_of_same, self, key, source), self._url(key))

    def _creation(self, key: str, expected: Expect) -> tuple[Request, str]:
        """Return the description of the request that creates an object in chunks, and the URL that begins it."""
        condition = condition_for(expected)
        request = Request(self.url, "write", key, conditional=bool(condition), needs_only_bucket=True)
        return request, self._bucket.address("o", upload=True, uploadType="resumable", **condition)

    async def _send(self, request: Callable[[], Awaitable[T]], effects: Effects | None = None) -> T:
        return await self._dispatcher.send(request, urgent=True, effects=effects)

    def _url(self, key: str) -> str:
        return f"{self.url}/{key}"
