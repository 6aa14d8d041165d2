"""Amazon S3 and stores that speak its protocol, by aiobotocore."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from dataclasses import replace
from functools import partial
from itertools import islice
from types import TracebackType
from typing import Any, Final, Self

import anyio

from aioassets.drivers.bodies import CHUNK, MIB, Part, PastEnd, read_range, read_whole, share_of
from aioassets.drivers.contents import copied_before, has_bytes_of, holds, present, upload_by
from aioassets.drivers.http.endpoints import server_url
from aioassets.drivers.http.parsing import in_utc, number, printable
from aioassets.drivers.protocol import (
    MAX_DOCUMENT,
    CommonPrefix,
    Data,
    Document,
    Driver,
    Expect,
    NoLocalFiles,
    ObjectInfo,
    OpenUpload,
    Revision,
    Source,
    StreamedDocument,
    Uploaded,
)
from aioassets.drivers.s3.credentials import REFUSED, Credentials
from aioassets.drivers.s3.errors import code_of, service_error_of, translate
from aioassets.drivers.s3.multipart import (
    MultipartCopy,
    MultipartUpload,
    UploadGone,
    abort,
    abort_all_of,
    is_etag_of,
    open_uploads,
)
from aioassets.drivers.s3.values import (
    answered_at,
    base64_of,
    check_answer,
    condition_for,
    given,
    revision_of,
    rows_of,
    sha256_of,
    whole_checksums,
)
from aioassets.drivers.service_errors import ForeignAnswer, Kind, Request, translating
from aioassets.errors import (
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
from aioassets.runtime.threads import in_thread, run_async

__all__ = ["S3Driver"]

PART_SIZE: Final = 8 * MIB
"""What the AWS tools use: large enough that a request's overhead doesn't count."""
MIN_PART_SIZE: Final = 5 * MIB
"""S3's own limit, for all parts but the last."""
BATCH: Final = 1000
"""Keys that one DeleteObjects request may name."""
MAX_COPY: Final = 5 * 1024 * MIB
"""S3's limit for one CopyObject; larger objects are copied in parts."""
COPY_PART: Final = 256 * MIB
"""Bytes of a part that the store copies: large, since none of them pass through here."""
UPLOADS: Final = 3
"""How often a multipart upload is begun for one blob, where the store drops it."""

_QUIET: Final = logging.NullHandler()

_VERBS: Final = {
    "get_object": "read",
    "head_object": "read",
    "list_objects_v2": "list",
    "delete_objects": "delete",
    "list_multipart_uploads": "list open uploads",
    "list_parts": "list the parts of",
    "abort_multipart_upload": "abort an upload of",
}


class S3Driver(NoLocalFiles):
    """One bucket of S3 or of a store that speaks its protocol.

    The connection is made at the first request, in a worker thread, because the SDK's
    import and its client take most of a second. The driver reads no environment variables
    itself; the SDK does, for whatever isn't given here (credentials, region, profile,
    `AWS_ENDPOINT_URL_S3`, `AWS_CA_BUNDLE`, its configuration files).

    Args:
        bucket: the bucket's name.
        dispatcher: the budget and retries to use; the SDK's own retries are off.
        endpoint_url: where the store is, if it isn't AWS. `identity` can only show an endpoint
            that is given here, not one that the SDK finds in its configuration.
        region: the bucket's region.
        profile: a profile of the AWS configuration files.
        access_key_id: static credentials; without them the SDK's provider chain is asked, and once
            more before what it found expires or when the store refuses it from then on.
        secret_access_key: belongs to `access_key_id`.
        session_token: belongs to `access_key_id`, for temporary credentials.
        addressing_style: `path`, `virtual` or `auto`; `auto` unless given.
        sse: server-side encryption to ask for: `AES256`, `aws:kms` or `aws:kms:dsse`.
        sse_kms_key_id: the key for `aws:kms`.
        checksums: whether to send digests for the store to verify (SHA-256 of whole objects,
            CRC32 of parts). Switch it off for a store that refuses them.
        request_checksum_calculation: `when_required` or `when_supported`: whether the SDK adds
            checksums where this driver sends none. Many stores refuse those.
        verify: whether to verify the server's TLS certificate.
        ca_bundle: a file of certificate authorities to trust instead of the usual ones.
        part_size: bytes; larger blobs are uploaded in parts of this size.
        connect_timeout: seconds.
        read_timeout: seconds without a byte before a connection is given up.
        client: an aiobotocore S3 client to use in place of all of the above; it isn't closed. Make it with
            `retries={"total_max_attempts": 1}` and `s3={"payload_signing_enabled": False}`.

    Raises:
        InvalidSetting: a value can't be used.
    """

    def __init__(
        self,
        bucket: str,
        *,
        dispatcher: Dispatcher | None = None,
        endpoint_url: str | None = None,
        region: str | None = None,
        profile: str | None = None,
        access_key_id: str | None = None,
        secret_access_key: str | None = None,
        session_token: str | None = None,
        addressing_style: str | None = None,
        sse: str | None = None,
        sse_kms_key_id: str | None = None,
        checksums: bool = True,
        request_checksum_calculation: str = "when_required",
        verify: bool = True,
        ca_bundle: str | os.PathLike[str] | None = None,
        part_size: int = PART_SIZE,
        connect_timeout: float = 10.0,
        read_timeout: float = 60.0,
        client: Any = None,
    ) -> None:
        if not bucket:
            raise InvalidSetting("An S3 bucket needs a name.")
        if part_size < MIN_PART_SIZE:
            raise InvalidSetting(f"part_size={part_size} is below S3's limit of {MIN_PART_SIZE} bytes.")
        if endpoint_url is not None:
            server_url("endpoint_url", endpoint_url)
        self.url = f"s3://{bucket}"
        self.identity = f"{self.url}@{endpoint_url}" if endpoint_url else self.url
        self._endpoint = endpoint_url
        self._bucket = bucket
        self._dispatcher = dispatcher or Dispatcher()
        self._part_size = part_size
        self._read_timeout = read_timeout
        self._checksums = checksums
        self._encryption = given(ServerSideEncryption=sse, SSEKMSKeyId=sse_kms_key_id)
        self._profile = profile
        self._region = region
        self._credentials: Credentials | None = None
        self._client_options: dict[str, Any] = {
            "endpoint_url": endpoint_url,
            "region_name": region,
            "aws_access_key_id": access_key_id,
            "aws_secret_access_key": secret_access_key,
            "aws_session_token": session_token,
            "verify": (None if ca_bundle is None else os.fspath(ca_bundle)) if verify else False,
        }
        self._config: dict[str, Any] = {
            "connect_timeout": connect_timeout,
            "read_timeout": read_timeout,
            "max_pool_connections": self._dispatcher.budget.max_requests,
            "retries": {"total_max_attempts": 1, "mode": "standard"},
            "request_checksum_calculation": request_checksum_calculation,
            "response_checksum_validation": "when_required",
            # A signed payload would be hashed on the event loop.
            "s3": {"payload_signing_enabled": False, **given(addressing_style=addressing_style)},
        }
        self._opening = anyio.Lock()
        self._owned = client is None
        self._client = client if client is None else _wrapped(client, bucket, read_timeout)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def read(self, key: str, *, limit: int = MAX_DOCUMENT) -> Document:
        """See `Driver.read`."""

        async def get() -> Document:
            answer = await self._call("get_object", key, ChecksumMode="ENABLED")  # which the SDK verifies
            with self._translating("read", key):
                async with answer["Body"] as body, contextlib.aclosing(_pieces(body)) as pieces:
                    data = await read_whole(pieces, answer.get("ContentLength"), limit, self._url(key))
                return Document(data, revision_of(answer), in_utc(answer["LastModified"]), answered_at(answer))

        return await self._dispatcher.send(get, **share_of(limit))

    async def write(
        self, key: str, data: bytes | StreamedDocument, *, expected: Revision | Expect, effects: Effects | None = None
    ) -> Revision:
        """See `Driver.write`."""
        if isinstance(data, bytes):
            digest = await in_thread(sha256_of, data) if len(data) > CHUNK else sha256_of(data)
        else:
            digest = data.sha256

        async def put() -> Any:
            return await self._put(key, data, digest=digest, CacheControl="no-store", **condition_for(expected))

        try:
            answer = await self._dispatcher.send(put, urgent=True, effects=effects)
        except ObjectNotFound as error:  # AWS says so of a swap, where others say that the condition isn't met
            raise PreconditionFailed(self._url(key)) from error
        return revision_of(answer)

    async def stat(self, key: str) -> ObjectInfo:
        """See `Driver.stat`."""
        head = partial(self._call, "head_object", key, ChecksumMode="ENABLED")
        answer = await self._dispatcher.send(head, urgent=True)
        with self._translating("read", key):
            return ObjectInfo(
                key,
                number(answer["ContentLength"]),
                revision_of(answer),
                in_utc(answer["LastModified"]),
                whole_checksums(answer),
            )

    async def upload(
        self,
        key: str,
        source: Source,
        *,
        expected: Expect = Expect.ABSENT,
        resume: bool = False,
        effects: Effects | None = None,
    ) -> Uploaded:
        """See `Driver.upload`.

        An open upload that is resumed keeps the encryption that it was begun with.
        """
        compare = self._has_bytes_of
        if source.size <= self._part_size:
            whole = partial(self._upload_whole, effects=effects)
            return await upload_by(whole, self, key, source, expected, look_first=resume, compare=compare)
        send = partial(self._upload_parts, resume=resume, effects=effects)
        uploaded = await upload_by(send, self, key, source, expected, look_first=True, compare=compare)
        if resume and not uploaded.created:
            await abort_all_of(self._call, self._dispatcher, key)
        return uploaded

    def read_range(
        self, key: str, start: int, stop: int, *, revision: Revision | None = None
    ) -> AsyncGenerator[Data, None]:
        """See `Driver.read_range`."""
        return read_range(self, self._dispatcher, self._open_range, key, start, stop, revision)

    async def copy(self, source: Driver, info: ObjectInfo, key: str, *, effects: Effects | None = None) -> ObjectInfo:
        """See `Driver.copy`; between buckets of one endpoint, with this driver's credentials."""
        if not isinstance(source, S3Driver) or source._endpoint != self._endpoint:  # noqa: SLF001 - of the same class
            raise NotSameStore(f"{source.url}/{info.key}")
        vouched = (await source.stat(info.key)).checksums
        try:
            await self._copy(source._bucket, info, key, effects)  # noqa: SLF001
        except PreconditionFailed:  # of the source, of the target, or the answer to a request sent twice
            return await copied_before(source, info, self, partial(self.stat, key))
        copy = await self.stat(key)
        return replace(copy, checksums={**vouched, **copy.checksums})

    async def list(self, prefix: str, *, delimiter: str | None = None) -> AsyncIterator[ObjectInfo | CommonPrefix]:
        """See `Driver.list`.

        Each page is in ascending order, and so is the whole on S3. SeaweedFS sorts by path
        segments: `a/x` before `a-b`.
        """
        position: dict[str, str] = {}
        while True:
            page = await self._dispatcher.send(
                partial(self._call, "list_objects_v2", Prefix=prefix, **given(Delimiter=delimiter), **position),
                urgent=True,
            )
            with self._translating("list"):
                rows = rows_of(page)
                following = {"ContinuationToken": page["NextContinuationToken"]} if page.get("IsTruncated") else {}
                if following and following == position:
                    raise ForeignAnswer  # the listing has no end
                position = following
            for row in rows:
                yield row
            if not position:
                return

    async def delete(self, keys: Iterable[str], *, effects: Effects | None = None) -> None:
        """See `Driver.delete`."""
        remaining = iter(keys)
        while batch := tuple(islice(remaining, BATCH)):
            await self._dispatcher.send(partial(self._delete_batch, batch), urgent=True, effects=effects)

    def open_uploads(self, prefix: str) -> AsyncIterator[OpenUpload]:
        """See `Driver.open_uploads`.

        In no promised order. MinIO lists only the uploads of one key, where all of that is the prefix.
        """
        return open_uploads(self._call, self._dispatcher, prefix)

    async def abort(self, upload: OpenUpload) -> None:
        """See `Driver.abort`."""
        await abort(self._call, self._dispatcher, upload)

    async def aclose(self) -> None:
        """See `Driver.aclose`; the next request would connect again."""
        with cleanup_scope():
            async with self._opening:
                if self._owned and self._client is not None:
                    client, self._client = self._client, None
                    if self._credentials is not None:
                        await self._credentials.aclose()
                    await client.close()

    async def _put(self, key: str, body: Data | StreamedDocument, *, digest: str | None, **params: Any) -> Any:
        checksum = {"ChecksumSHA256": base64_of(digest)} if digest and self._checksums else {}
        return await self._call("put_object", key, Body=body, **checksum, **self._encryption, **params)

    async def _upload_whole(self, key: str, source: Source, expected: Expect, *, effects: Effects | None) -> None:
        async def put() -> None:
            body = await source.read(0, source.size)
            await self._put(key, body, digest=source.digests.get("sha256"), **condition_for(expected))

        await self._dispatcher.send(put, nbytes=source.size, effects=effects)

    async def _upload_parts(
        self, key: str, source: Source, expected: Expect, *, resume: bool, effects: Effects | None
    ) -> None:
        cause: Exception | None = None
        for attempt in range(UPLOADS):
            upload = MultipartUpload(
                self._call,
                self._dispatcher,
                key,
                source,
                part_size=self._part_size,
                created_with=self._encryption,
                completed_with=condition_for(expected),
                checksums=self._checksums,
                resume=resume and attempt == 0,
            )
            try:
                return await upload.run(effects)
            except UploadGone as gone:
                if await holds(self, key, source, self._has_bytes_of):  # it was completed, and the answer was lost
                    return None
                cause = gone
        raise StoreUnavailable(self.url, f"it dropped {UPLOADS} uploads of {key!r}.") from cause

    async def _has_bytes_of(self, found: ObjectInfo, source: Source) -> bool:
        """Whether it has, also by its ETag, which spares reading it."""
        vague = found.size == source.size and not found.checksums
        if vague and await is_etag_of(found.revision, source, self._part_size):
            return True
        return await has_bytes_of(self, found, source)

    async def _copy(self, bucket: str, info: ObjectInfo, key: str, effects: Effects | None) -> None:
        if await present(self, key) is not None:  # some stores ignore the condition on copies
            raise PreconditionFailed(self._url(key))
        pinned = {"CopySource": {"Bucket": bucket, "Key": info.key}, "CopySourceIfMatch": info.revision}
        absent = condition_for(Expect.ABSENT)
        if info.size > MAX_COPY:
            copy = MultipartCopy(
                self._call,
                self._dispatcher,
                key,
                info.size,
                pinned,
                part_size=COPY_PART,
                created_with=self._encryption,
                completed_with=absent,
            )
            return await copy.run(effects)
        checksum = {"ChecksumAlgorithm": "SHA256"} if self._checksums else {}
        call = partial(self._call, "copy_object", key, **pinned, **checksum, **self._encryption, **absent)
        await self._dispatcher.send(call, effects=effects)
        return None

    @contextlib.asynccontextmanager
    async def _open_range(self, key: str, start: int, stop: int, revision: Revision | None) -> AsyncIterator[Part]:
        try:
            answer = await self._call("get_object", key, Range=f"bytes={start}-{stop - 1}", **given(IfMatch=revision))
        except StoreError as error:
            if code_of(error) in ("InvalidRange", "416"):
                raise PastEnd from error
            raise
        with self._translating("read", key):
            async with answer["Body"] as body, contextlib.aclosing(_pieces(body)) as pieces:
                yield Part(pieces, revision_of(answer), "ContentRange" in answer, answer.get("ContentLength"))

    async def _delete_batch(self, keys: tuple[str, ...]) -> None:
        objects = [{"Key": key} for key in keys]
        answer = await self._call("delete_objects", Delete={"Objects": objects, "Quiet": True})
        for row in answer.get("Errors", ()):
            refusal = service_error_of(row.get("Code", ""), row.get("Message", ""))
            if refusal.kind is not Kind.MISSING:
                raise refusal.translate(Request(self.url, "delete", printable(row.get("Key", ""))))

    async def _call(self, operation: str, key: str = "", **params: Any) -> Any:
        """Send one request, once."""
        client = await self._connected()
        target = {"Bucket": self._bucket, "Key": key} if key else {"Bucket": self._bucket}
        conditional = "IfMatch" in params or "IfNoneMatch" in params
        credentials = self._credentials
        used = credentials.current if credentials is not None else None
        try:
            with self._translating(_VERBS.get(operation, "write"), key, conditional=conditional):
                answer = await getattr(client, operation)(**target, **params)
                check_answer(operation, answer)
        except AioAssetsError as error:
            if credentials is not None and code_of(error) in REFUSED and await credentials.replaced(used):
                detail = f"it refused credentials that are replaced by now: {error}"
                raise StoreUnavailable(self.url, detail, uncertain=False) from error
            raise
        if credentials is not None:
            credentials.work(used)
        return answer

    def _translating(
        self, verb: str, key: str = "", *, conditional: bool = False
    ) -> contextlib.AbstractContextManager[None]:
        server = self._endpoint or (self._client.meta.endpoint_url if self._client is not None else "")
        return translating(translate, Request(self.url, verb, key, conditional, server=server))

    async def _connected(self) -> Any:
        if self._client is None:
            async with self._opening:
                if self._client is None:
                    self._client = await in_thread(self._open_client)
        return self._client

    def _open_client(self) -> Any:
        """Import the SDK and make its client, which blocks: to be run in a worker thread.

        It runs on a loop of its own, for credentials that have to be fetched. The client
        can be used on another loop all the same: its connections, and the loop to which
        its locks belong, are made when they are first used.
        """
        try:
            from aiobotocore.config import AioConfig  # noqa: PLC0415 - optional, and slow
            from aiobotocore.session import AioSession  # noqa: PLC0415
            from botocore.exceptions import BotoCoreError  # noqa: PLC0415

            from aioassets.drivers.s3.direct import DirectClient  # noqa: PLC0415 - on top of the SDK
            from aioassets.drivers.s3.models import models  # noqa: PLC0415
            from aioassets.drivers.s3.session import Session  # noqa: PLC0415
        except ImportError as error:
            raise InvalidSetting("S3 needs the package aiobotocore: pip install 'aioassets[s3]'.") from error

        def new_session() -> Any:
            session = AioSession(profile=self._profile)
            session.register_component("data_loader", models(session.get_config_variable("data_path")))
            if self._region is not None:  # which services of credentials may need
                session.set_config_variable("region", self._region)
            return session

        async def enter() -> Any:
            session = new_session()
            if self._client_options["aws_access_key_id"] is None:
                self._credentials = Credentials(self.url, lambda: new_session().get_credentials())
                session.register_component("credential_provider", self._credentials)
            client = await session.create_client(
                "s3", config=AioConfig(http_session_cls=Session, **self._config), **self._client_options
            ).__aenter__()
            direct = DirectClient(client, self._bucket, self._read_timeout)
            await direct.resolve(client._endpoint.http_session)  # noqa: SLF001 - which is ours
            return direct

        # The SDK warns of what it raises, too; unless somebody set up logging, that would be on standard error.
        logging.getLogger("aiobotocore").addHandler(_QUIET)
        with self._translating("open"):
            try:
                return run_async(enter)
            except (BotoCoreError, AioAssetsError):
                raise
            except ValueError:  # the SDK's word for an endpoint that is no URL, which may hold a password
                raise InvalidSetting(
                    f"{self.url} can't be used: the SDK's configuration names an endpoint that is no URL of HTTP."
                ) from None

    def _url(self, key: str) -> str:
        return f"{self.url}/{key}"


async def _pieces(body: Any) -> AsyncGenerator[Data, None]:
    while piece := await body.read(CHUNK):
        yield piece


def _wrapped(client: Any, bucket: str, read_timeout: float) -> Any:
    """An SDK client of somebody else's, which all requests are left to."""
    from aioassets.drivers.s3.direct import DirectClient  # noqa: PLC0415 - on top of the SDK

    return DirectClient(client, bucket, read_timeout)
