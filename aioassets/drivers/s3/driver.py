"""The driver for Amazon S3 and compatible stores."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import partial
from types import TracebackType
from typing import Any, Final, Self

from aioassets.drivers.bodies import CHUNK, MIB, read_range, read_whole, share_of
from aioassets.drivers.composition import COPIED_PART, Limits, Piece, check_originals, compose_by, copied_runs, in_parts
from aioassets.drivers.contents import copied_before, has_bytes_of, present, revision_of_same, upload_by
from aioassets.drivers.http.endpoints import server_url
from aioassets.drivers.http.parsing import in_utc, number
from aioassets.drivers.parts import PartSize, restarted
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
    Run,
    Source,
    Stream,
    StreamedDocument,
    Uploaded,
)
from aioassets.drivers.s3.bucket import Bucket
from aioassets.drivers.s3.composing import Composition
from aioassets.drivers.s3.copying import Copier
from aioassets.drivers.s3.deletion import Deletion
from aioassets.drivers.s3.etags import MAX_PARTS, fitting_part_size, is_etag_of
from aioassets.drivers.s3.listing import list_objects
from aioassets.drivers.s3.multipart import MultipartUpload, StreamedUpload
from aioassets.drivers.s3.options import Options
from aioassets.drivers.s3.place import AWS
from aioassets.drivers.s3.uploads import abort, abort_all_of, open_uploads
from aioassets.drivers.s3.values import condition_for, revision_of, sha256_of, whole_checksums
from aioassets.drivers.streams import PartStream, upload_stream_by
from aioassets.errors import (
    AioAssetsError,
    InvalidSetting,
    NotSameStore,
    ObjectNotFound,
    PreconditionFailed,
)
from aioassets.runtime.cancellation import cleanup_scope
from aioassets.runtime.dispatch import Dispatcher
from aioassets.runtime.effects import Effects
from aioassets.runtime.threads import in_thread

__all__ = ["S3Driver"]

PART_SIZE: Final = 8 * MIB
"""Default part size in bytes, as in the AWS tools."""
MIN_PART_SIZE: Final = 5 * MIB
"""S3's minimum size for all parts but the last, in bytes."""


class S3Driver(NoLocalFiles):
    """The driver for a bucket on S3 or a compatible store.

    For options that are not given, the SDK reads its environment variables (credentials, region,
    profile, `AWS_ENDPOINT_URL_S3`, `AWS_CA_BUNDLE`, `HTTPS_PROXY`, `HTTP_PROXY`, `NO_PROXY`) and its
    configuration files. `identity` depends on the resulting endpoint. Accessing it imports the SDK only
    if the files mention an endpoint or a region outside the `aws` partition.

    Args:
        bucket: the bucket's name.
        dispatcher: the dispatcher that limits and retries requests. The SDK's own retries are disabled.
        endpoint_url: the URL of the store, if it is not AWS.
        region: the bucket's region.
        profile: a profile in the AWS configuration files.
        access_key_id: the access key ID of static credentials. If not given, the SDK's provider chain
            finds credentials, which are renewed before they expire and when the store no longer
            accepts them.
        secret_access_key: the secret access key that belongs to `access_key_id`.
        session_token: the session token that belongs to `access_key_id`, for temporary credentials.
        addressing_style: `path`, `virtual` or `auto`; the default is `auto`.
        sse: server-side encryption: `AES256`, `aws:kms` or `aws:kms:dsse`.
        sse_kms_key_id: the KMS key ID, for `aws:kms` and `aws:kms:dsse`.
        checksums: whether to send digests for the store to verify (SHA-256 of whole objects,
            CRC32 of parts). Disable this for stores that reject them.
        request_checksum_calculation: `when_required` or `when_supported`. With `when_supported`, uploads
            without any other checksum include a CRC32, which many stores reject.
        verify: whether to verify the server's TLS certificate.
        ca_bundle: the path of a file of certificate authorities to trust instead of the default ones.
        anonymous: whether to send unsigned requests (for public buckets), even if credentials exist.
        requester_pays: whether to agree to pay for requests and transfers, as requester-pays buckets
            require.
        part_size: the part size in bytes. Larger blobs are uploaded in parts of this size.
        connect_timeout: how many seconds to wait for a connection.
        read_timeout: how many seconds a request may go without receiving data before it fails.
        client: an aiobotocore S3 client to use for all requests. The driver never closes it. Configure
            it with `retries={"total_max_attempts": 1}` and `s3={"payload_signing_enabled": False}`.

    Raises:
        InvalidSetting: an option is invalid.
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
        anonymous: bool = False,
        requester_pays: bool = False,
        part_size: int = PART_SIZE,
        connect_timeout: float = 10.0,
        read_timeout: float = 60.0,
        client: Any = None,
    ) -> None:
        if not bucket:
            raise InvalidSetting("The S3 bucket name must not be empty.")
        if part_size < MIN_PART_SIZE:
            raise InvalidSetting(f"part_size must be at least {MIN_PART_SIZE} bytes, but it is {part_size}.")
        if endpoint_url is not None:
            server_url("endpoint_url", endpoint_url)
        self.url = f"s3://{bucket}"
        self._dispatcher = dispatcher or Dispatcher()
        self._parts = PartSize(part_size, MIN_PART_SIZE)
        self._checksums = checksums
        options = Options(
            bucket=bucket,
            endpoint_url=endpoint_url,
            region=region,
            profile=profile,
            access_key_id=access_key_id,
            secret_access_key=secret_access_key,
            session_token=session_token,
            addressing_style=addressing_style,
            sse=sse,
            sse_kms_key_id=sse_kms_key_id,
            request_checksum_calculation=request_checksum_calculation,
            verify=(None if ca_bundle is None else os.fspath(ca_bundle)) if verify else False,
            connect_timeout=connect_timeout,
            read_timeout=read_timeout,
            anonymous=anonymous,
            requester_pays=requester_pays,
        )
        self._encryption = options.encryption_params
        self._bucket = Bucket(options, client)
        self._deletion = Deletion(self._bucket, self._dispatcher)
        self._copier = Copier(
            self._bucket,
            self._dispatcher,
            created_with=self._encryption,
            checksums=checksums,
            stat=partial(present, self),
        )

    @property
    def identity(self) -> str:
        """The URL, followed by the endpoint or the AWS partition, except for `aws`. The first access may read files."""
        place = self._bucket.place()
        return self.url if place == AWS else f"{self.url}@{place}"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def read(self, key: str, *, limit: int = MAX_DOCUMENT) -> Document:
        async def get() -> Document:
            async with self._bucket.get(key) as content, contextlib.aclosing(content.pieces()) as pieces:
                data = await read_whole(pieces, content.length, limit, self._url(key))
                await content.verify(data)
            return Document(data, content.revision, content.modified, content.answered)

        return await self._dispatcher.send(get, **share_of(limit))

    async def write(
        self, key: str, data: bytes | StreamedDocument, *, expected: Revision | Expect, effects: Effects | None = None
    ) -> Revision:
        if isinstance(data, bytes):
            digest = await in_thread(sha256_of, data) if len(data) > CHUNK else sha256_of(data)
        else:
            digest = data.sha256
        sha256 = digest if self._checksums else None
        put = partial(self._bucket.put, key, data, expected, sha256, is_document=True)
        try:
            return await self._dispatcher.send(put, urgent=True, effects=effects)
        except ObjectNotFound as error:  # AWS's response if the object to replace is missing
            raise PreconditionFailed(self._url(key)) from error

    async def stat(self, key: str) -> ObjectInfo:
        head = partial(self._bucket.call, "head_object", key, ChecksumMode="ENABLED")
        answer = await self._dispatcher.send(head, urgent=True)
        with self._bucket.translating("read", key):
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
        """Upload a blob. A resumed upload keeps the encryption settings that it was started with."""
        upload = partial(self._upload, key, source, expected, resume=resume, effects=effects)
        return await self._parts.fit(source.size, upload)

    async def _upload(
        self, key: str, source: Source, expected: Expect, *, resume: bool, effects: Effects | None
    ) -> Uploaded:
        compare = self._has_bytes_of
        if source.size <= self._parts.size:
            whole = partial(self._upload_whole, effects=effects)
            return await upload_by(whole, self, key, source, expected, look_first=resume, compare=compare)
        send = partial(self._upload_parts, resume=resume, effects=effects)
        uploaded = await upload_by(send, self, key, source, expected, look_first=True, compare=compare)
        if resume and not uploaded.created:
            await abort_all_of(self._bucket, self._dispatcher, key)
        return uploaded

    async def upload_stream(
        self, key: str, stream: Stream, *, expected: Expect = Expect.ABSENT, effects: Effects | None = None
    ) -> Uploaded:
        memory = self._dispatcher.stream_memory
        async with PartStream(stream, memory, self._parts.size, MAX_PARTS) as parts:
            upload = StreamedUpload(
                self._bucket,
                self._dispatcher,
                key,
                parts,
                created_with=self._encryption,
                completed_with=condition_for(expected),
                effects=effects,
                checksums=self._checksums,
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
        """Compose an object of parts, some of which S3 copies; see `Driver.compose`."""
        send = partial(self._compose, resume=resume, effects=effects)
        made = await compose_by(
            send, self, key, source, runs, expected, limits=self._limits, compare=self._has_bytes_of
        )
        if resume and not made.created:
            await abort_all_of(self._bucket, self._dispatcher, key)
        return made

    def composable(self, size: int, runs: Sequence[Run]) -> Sequence[Run]:
        return copied_runs(size, runs, self._limits)

    @property
    def _limits(self) -> Limits:
        return Limits(least=MIN_PART_SIZE, most_sent=self._parts.size, most_copied=COPIED_PART, parts=MAX_PARTS)

    def read_range(
        self, key: str, start: int, stop: int, *, revision: Revision | None = None
    ) -> AsyncGenerator[Data, None]:
        return read_range(self, self._dispatcher, self._bucket.open_range, key, start, stop, revision)

    async def copy(self, source: Driver, info: ObjectInfo, key: str, *, effects: Effects | None = None) -> ObjectInfo:
        """Copy an object between buckets on the same endpoint, using this driver's credentials."""
        if not isinstance(source, S3Driver) or not await in_thread(self._is_beside, source):
            raise NotSameStore(f"{source.url}/{info.key}")
        vouched = info.checksums or (await source.stat(info.key)).checksums
        try:
            made = await self._copied(source, info, key, effects)
        except PreconditionFailed:  # on the original or the target, or because an earlier attempt succeeded
            return await copied_before(source, info, self, partial(self.stat, key))
        with self._bucket.translating("copy", key):
            checksums = {**vouched, **whole_checksums(made)}
            if checksums and "LastModified" in made:
                return ObjectInfo(key, info.size, revision_of(made), in_utc(made["LastModified"]), checksums)
        copy = await self.stat(key)
        return replace(copy, revision=revision_of(made), checksums={**copy.checksums, **checksums})

    async def _copied(self, source: S3Driver, info: ObjectInfo, key: str, effects: Effects | None) -> Mapping[str, Any]:
        is_current = partial(source._has_revision, info)
        return await self._copier.copy(source._bucket.name, info, key, effects, is_current=is_current)

    async def _has_revision(self, info: ObjectInfo) -> bool:
        found = await present(self, info.key)
        return found is not None and found.revision == info.revision

    def _is_beside(self, other: S3Driver) -> bool:
        """Return whether both buckets are in the same place, so that the store can copy between them. Blocking."""
        return self._bucket.place() == other._bucket.place()

    async def list(self, prefix: str, *, delimiter: str | None = None) -> AsyncIterator[ObjectInfo | CommonPrefix]:
        """List objects. S3 sorts them by key, but SeaweedFS sorts by path segment: `a/x` before `a-b`."""
        async for row in list_objects(self._bucket, self._dispatcher, prefix, delimiter):
            yield row

    async def delete(self, keys: Iterable[str], *, effects: Effects | None = None) -> None:
        await self._deletion.run(keys, effects)

    def open_uploads(self, prefix: str) -> AsyncIterator[OpenUpload]:
        """List open uploads in any order. MinIO lists only uploads whose key equals the prefix."""
        return open_uploads(self._bucket, self._dispatcher, prefix)

    async def abort(self, upload: OpenUpload) -> None:
        await abort(self._bucket, self._dispatcher, upload)

    async def presign(self, key: str, expires: timedelta) -> str:
        """Return a signed URL; see `Driver.presign`. It expires with temporary credentials, if they expire before."""
        sign = partial(self._bucket.presign, key, int(expires.total_seconds()))
        return await self._dispatcher.send(sign, urgent=True)

    async def keeps_deleted(self) -> bool | None:
        try:
            answer = await self._dispatcher.send(partial(self._bucket.call, "get_bucket_versioning"))
        except AioAssetsError:  # most credentials for objects don't allow this request, and not every store has it
            return None
        return {"Enabled": True, None: False}.get(answer.get("Status"))

    async def aclose(self) -> None:
        with cleanup_scope():
            await self._bucket.aclose()

    async def _upload_whole(self, key: str, source: Source, expected: Expect, *, effects: Effects | None) -> Revision:
        async def put() -> Revision:
            body = await source.read(0, source.size)
            sha256 = source.digests.get("sha256") if self._checksums else None
            return await self._bucket.put(key, body, expected, sha256)

        return await self._dispatcher.send(put, nbytes=source.size, effects=effects)

    async def _upload_parts(
        self, key: str, source: Source, expected: Expect, *, resume: bool, effects: Effects | None
    ) -> Revision:
        pieces = self._pieces_of(source)

        async def upload(attempt: int) -> Revision:
            parted = MultipartUpload(
                self._bucket,
                self._dispatcher,
                key,
                source,
                pieces=pieces,
                created_with=self._encryption,
                completed_with=condition_for(expected),
                effects=effects,
                checksums=self._checksums,
                resume=resume and attempt == 0,
            )
            return await parted.run()

        find = partial(revision_of_same, self, key, source, self._has_bytes_of)
        return await restarted(upload, find, self._url(key))

    def _pieces_of(self, source: Source) -> Sequence[Piece]:
        """Return the parts in which a source is uploaded, if it is larger than one."""
        return in_parts(source.size, fitting_part_size(source.size, self._parts.size))

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
                self._bucket,
                self._dispatcher,
                key,
                source,
                pieces=pieces,
                check=partial(check_originals, self, pieces),
                created_with=self._encryption,
                completed_with=condition_for(expected),
                effects=effects,
                checksums=self._checksums,
                resume=resume and attempt == 0,
            )
            return await parted.run()

        find = partial(revision_of_same, self, key, source, partial(self._has_bytes_of, pieces=pieces))
        return await restarted(compose, find, self._url(key))

    async def _has_bytes_of(self, found: ObjectInfo, source: Source, pieces: Sequence[Piece] | None = None) -> bool:
        """Compare an object with a source, using its ETag if possible to avoid reading the object.

        Args:
            found: the object.
            source: the content to compare it with.
            pieces: the parts of the object if it was composed.
        """
        if pieces is None and source.size > self._parts.size:
            pieces = self._pieces_of(source)
        vague = found.size == source.size and not found.checksums
        if vague and await is_etag_of(found.revision, source, pieces):
            return True
        return await has_bytes_of(self, found, source)

    def _url(self, key: str) -> str:
        return f"{self.url}/{key}"
