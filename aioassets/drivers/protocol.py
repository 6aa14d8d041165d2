"""The driver protocol. A driver stores objects by key in a single bucket, container or folder.

*Documents* are small and written conditionally. *Blobs* are large and streamed.
A driver deals with keys, bytes and its SDK. It knows nothing about assets.
"""

from __future__ import annotations

import enum
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, NewType, Protocol

from aioassets.errors import CannotCompose, CannotPresign
from aioassets.runtime.effects import Effects

__all__ = ["Driver"]

MAX_DOCUMENT: Final = 512 * 1024 * 1024
"""Default limit on the size in bytes of a document to read. A manifest of a million files is much smaller."""
SMALL_DOCUMENT: Final = 1024 * 1024
"""Largest `limit`, in bytes, with which reading a document doesn't count against the budget.

This is enough for a manifest of about 4,000 files.
"""

Revision = NewType("Revision", str)
"""A driver's opaque token for a particular state of an object, such as an ETag or a generation.

Pass revisions from `read` and `write` to `write`. Pass revisions from `stat` and listings to
`read_range` and `copy`. The two may differ for the same state.
"""

Data = bytes | bytearray | memoryview
"""Bytes in memory. A `memoryview` may refer to memory-mapped pages, which are released with it."""


class Expect(enum.Enum):
    """The expected state of an object in a request, if it isn't a particular `Revision`."""

    ABSENT = "absent"
    """The object doesn't exist. If it does, a write is refused."""
    ANYTHING = "anything"
    """The object may be in any state. A write is unconditional."""


@dataclass(frozen=True, slots=True)
class Document:
    """A small object in memory.

    Attributes:
        data: the contents.
        revision: the revision that was read.
        modified: when the object was last written, according to the store's clock.
        answered: when the store sent its response, according to the same clock.
    """

    data: bytes
    revision: Revision
    modified: datetime
    answered: datetime


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """The metadata of an object.

    Attributes:
        key: the full key.
        size: the size in bytes.
        revision: the current revision; empty in a listing that does not include it.
        modified: when the object was last written, according to the store's clock.
        checksums: digests of the whole content that the store vouches for, by algorithm, in lower-case hex.
    """

    key: str
    size: int
    revision: Revision
    modified: datetime
    checksums: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CommonPrefix:
    """All keys that share a prefix, as a single row of a listing. The prefix ends with the delimiter."""

    prefix: str


@dataclass(frozen=True, slots=True)
class Run:
    """Consecutive bytes of an object to compose that an existing object also contains.

    Attributes:
        offset: the offset in the new object.
        size: the size in bytes.
        info: the existing object, called the original. Only this revision is copied from.
        start: the offset in the original.
    """

    offset: int
    size: int
    info: ObjectInfo
    start: int


class Source(Protocol):
    """The contents to upload.

    The driver reads every byte at least once. The first time, it reads in ascending order without
    gaps, so that the source can hash the bytes. It may then read again from any offset.
    """

    @property
    def size(self) -> int:
        """The size in bytes."""

    @property
    def digests(self) -> Mapping[str, str]:
        """The `sha256` and possibly other digests of the whole content, by algorithm, in lower-case hex.

        Empty until all bytes have been read or copied once.
        """

    async def read(self, offset: int, size: int) -> Data:
        """Read exactly `size` bytes from `offset`.

        Raises:
            SourceChanged: the file has changed since it was scanned.
        """

    async def copy_to(self, descriptor: int, offset: int, size: int) -> bool:
        """Let the operating system copy `size` bytes from `offset` to the same offset in an open file.

        The bytes are then hashed from the target, so the descriptor must also be open for reading.

        Returns:
            `False` if the system can't copy them. In that case, call `read`, which may raise an error with the reason.

        Raises:
            SourceChanged: the file has changed since it was scanned.
            OSError: the file can't be read.
        """


class Stream(Protocol):
    """Contents of unknown size to upload, which can be read only once, in ascending order."""

    @property
    def size(self) -> int:
        """The number of bytes that have been read so far. After the end, this is the size of the whole content."""

    @property
    def digests(self) -> Mapping[str, str]:
        """The `sha256` and possibly other digests of the content, as in `Source`. Empty until the end was read."""

    async def readinto(self, buffer: memoryview) -> int:
        """Read the next bytes into a buffer, which isn't empty.

        This may wait for as long as the producer of the bytes takes, so don't call it while holding a share of the
        budget. Don't call it again after it has failed.

        Returns:
            The number of bytes, which may be fewer than fit; 0 at the end.

        Raises:
            SourceError: the bytes can't be read.
        """


@dataclass(frozen=True, slots=True)
class OpenUpload:
    """A multipart upload that has been neither completed nor aborted.

    Attributes:
        key: the key of the object to create; empty if the store does not list it.
        id: the store's identifier for the upload.
        active: the time of the last known activity, according to the store's clock. S3 lists
            only the start time.
    """

    key: str
    id: str
    active: datetime


@dataclass(frozen=True, slots=True)
class Uploaded:
    """The result of an upload or a composition.

    Attributes:
        created: `False` if the object already existed with the same contents.
        revision: the object's revision, as `stat` returns it. If the object was created, it comes from the
            store's response, so that it can't belong to a later state. `None` if no response contained it.
        copied: the number of bytes that the store copied from other objects instead of receiving them.
    """

    created: bool
    revision: Revision | None = None
    copied: int = 0


class StreamedDocument(Protocol):
    """A long document that is generated in pieces.

    It can be iterated over more than once, and produces the same bytes each time.
    """

    @property
    def sha256(self) -> str:
        """The SHA-256 digest of the whole document, in lower-case hex."""

    def __len__(self) -> int:
        """Return the size in bytes."""

    def __iter__(self) -> Iterator[bytes]:
        """Iterate over the pieces. Each is a few tens of KiB long, and takes about a millisecond to generate."""

    def __bytes__(self) -> bytes:
        """Return the whole document."""


class Driver(Protocol):
    """Access to a single bucket, container or folder.

    Every method may raise `AccessDenied`, `BucketNotFound` or `StoreUnavailable`. A 403 or a 503
    response is never reported as `ObjectNotFound`. Requests that are safe to repeat are retried
    before `StoreUnavailable` is raised.

    Methods that change objects take `effects`, which records requests whose effect is unknown. Pass it
    to `Dispatcher.send` with each request that creates, replaces or deletes an object. Call its
    `note_uncertain` if an object may still change later even though the call succeeds.
    """

    @property
    def url(self) -> str:
        """The URL to show to users, without a trailing slash, such as `s3://models`."""

    @property
    def identity(self) -> str:
        """The URL, followed by whatever distinguishes stores with the same URL, such as the endpoint.

        It is the same in every process. Accessing it sends no request, but may block, for example to read
        the SDK's configuration.
        """

    async def read(self, key: str, *, limit: int = MAX_DOCUMENT) -> Document:
        """Read a document.

        Args:
            key: the document's key.
            limit: the maximum size in bytes. No more than this is held in memory, even if the document
                is larger. A limit above `SMALL_DOCUMENT` counts against the budget.

        Raises:
            ObjectNotFound: the document does not exist.
            DocumentTooLarge: the document is larger than `limit`.
        """

    async def write(
        self, key: str, data: bytes | StreamedDocument, *, expected: Revision | Expect, effects: Effects | None = None
    ) -> Revision:
        """Write a document atomically, if its current state is the expected one.

        Documents are written with headers that forbid caching.

        Args:
            key: the document's key.
            data: the contents, or a streamed document if they are larger than 1 MiB. A driver that can't
                send a document in pieces converts it first, with `await in_thread(bytes, data)`.
            expected: the expected current state: a revision from `read` or `write`, or an `Expect`.
            effects: records requests whose effect is unknown.

        Returns:
            The new revision.

        Raises:
            PreconditionFailed: the document is in a different state or does not exist. If a response was
                lost, an earlier attempt within the same call may have caused this, so compare the contents.
        """

    async def stat(self, key: str) -> ObjectInfo:
        """Return the metadata of an object.

        Raises:
            ObjectNotFound: the object does not exist.
        """

    async def upload(
        self,
        key: str,
        source: Source,
        *,
        expected: Expect = Expect.ABSENT,
        resume: bool = False,
        effects: Effects | None = None,
    ) -> Uploaded:
        """Upload a blob. Succeed without writing if the object already exists with the same contents.

        A multipart upload is refused if the object already exists with different contents. If multipart
        uploads race, the store may accept more than one of them, but it never mixes their bytes.

        If the call fails or is cancelled, its multipart upload is aborted, provided that the store responds.

        Args:
            key: the object's key.
            source: the contents.
            expected: `Expect.ABSENT` to create the object, or `Expect.ANYTHING` to overwrite it.
            resume: whether an earlier upload of the same source may have been interrupted. If so, first
                check what is stored, and send only what is missing. Parts of an open upload are reused if
                the store lists them.
            effects: records requests whose effect is unknown.

        Raises:
            PreconditionFailed: the object already exists with different contents.
            StoreUnavailable: the store is unavailable. `uncertain` is set if the object may still appear later.
        """

    async def upload_stream(
        self, key: str, stream: Stream, *, expected: Expect = Expect.ABSENT, effects: Effects | None = None
    ) -> Uploaded:
        """Upload a blob of unknown size, as it is read.

        The guarantees are those of `upload`, but an upload that the store drops can't be restarted. Of the stream, no
        more is kept in memory than the parts that the store hasn't acknowledged.

        Args:
            key: the object's key.
            stream: the contents. It is read up to its end.
            expected: `Expect.ABSENT` to create the object, or `Expect.ANYTHING` to overwrite it.
            effects: records requests whose effect is unknown.

        Raises:
            PreconditionFailed: the object already exists with different contents.
            StoreUnavailable: the store is unavailable. `uncertain` is set if the object may still appear later.
        """

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
        """Create a large object of ranges that the store copies from its existing objects, and of uploaded ones.

        The guarantees are those of `upload`. In addition, only the given revisions are copied from. Short runs are
        uploaded if the store has a minimum size for copied ranges.

        Args:
            key: the object's key.
            source: the contents of the whole object, which must have been read or copied once, so that its digests
                are known. Only the bytes that aren't copied are sent.
            runs: the runs that the store can copy, in ascending order of their offsets and without overlaps. Their
                originals are in this store.
            expected: `Expect.ABSENT` to create the object, or `Expect.ANYTHING` to overwrite it.
            resume: whether an earlier composition with the same arguments may have been interrupted.
            effects: records requests whose effect is unknown.

        Raises:
            CannotCompose: the store can't compose this object. For example, an original has been deleted or
                replaced, or doesn't contain a run. Nothing was created; upload the whole source instead.
            PreconditionFailed: the object already exists with different contents.
            StoreUnavailable: the store is unavailable. `uncertain` is set if the object may still appear later.
            ValueError: the runs overlap, or extend beyond the source.
        """

    def composable(self, size: int, runs: Sequence[Run]) -> Sequence[Run]:
        """Return the ranges that `compose` would have the store copy, given the same runs. Sends no request.

        Args:
            size: the size of the object in bytes.
            runs: the runs that the store can copy, in ascending order of their offsets and without overlaps.

        Returns:
            The ranges, in ascending order. If there are none, `compose` raises `CannotCompose`.

        Raises:
            ValueError: the runs overlap, or extend beyond the object.
        """

    def read_range(
        self, key: str, start: int, stop: int, *, revision: Revision | None = None
    ) -> AsyncGenerator[Data, None]:
        """Stream the bytes from `start` up to `stop`, or up to the end if the object is shorter.

        Close the iterator with `contextlib.aclosing` unless it is exhausted. If the connection breaks,
        reading resumes at the same offset.

        Args:
            key: the object's key.
            start: the offset of the first byte.
            stop: the offset after the last byte.
            revision: the required revision, or `None` to read any revision.

        Raises:
            ObjectNotFound: the object does not exist.
            PreconditionFailed: the object has a different revision.
        """

    def local_path(self, key: str) -> str | None:
        """Return the path of the local file that stores an object, or `None` if objects are not local files.

        The file doesn't have to exist.
        """

    async def copy(self, source: Driver, info: ObjectInfo, key: str, *, effects: Effects | None = None) -> ObjectInfo:
        """Copy an object within the store, without transferring its bytes.

        If the store supports it, the copy never overwrites an object. Succeed without writing if the
        target already exists with the same size and digest.

        Args:
            source: the driver for the bucket to copy from, which may be this driver itself.
            info: the object to copy. Only this revision is copied.
            key: the key of the copy.
            effects: records requests whose effect is unknown.

        Returns:
            The metadata of the copy, with the checksums that the store vouches for. The revision is that of the
            copy itself, even if the object has been replaced since.

        Raises:
            NotSameStore: this store can't copy from the source's store. Stream the bytes instead.
            ObjectNotFound: the source object does not exist.
            PreconditionFailed: the source has a different revision, or the target has different contents.
        """

    def list(self, prefix: str, *, delimiter: str | None = None) -> AsyncIterator[ObjectInfo | CommonPrefix]:
        """List the objects whose keys begin with `prefix`, in the store's order.

        Args:
            prefix: the prefix of the keys.
            delimiter: if given, keys that contain it after the prefix are grouped into `CommonPrefix` rows.
        """

    async def delete(self, keys: Iterable[str], *, effects: Effects | None = None) -> None:
        """Delete objects, in batches if the store supports that. Ignore missing keys.

        If an object can't be deleted, raise the error only after trying the others, unless the store is unreachable.
        """

    def open_uploads(self, prefix: str) -> AsyncIterator[OpenUpload]:
        """List open multipart uploads whose keys begin with `prefix` or are unknown.

        Yield nothing if the store can't list them.
        """

    async def abort(self, upload: OpenUpload) -> None:
        """Abort an open upload and delete its parts. Ignore an upload that no longer exists."""

    async def presign(self, key: str, expires: timedelta) -> str:
        """Return a URL from which anyone can read an object over HTTP, without credentials.

        The object doesn't have to exist. The URL is a secret: don't log it.

        Args:
            key: the object's key.
            expires: the lifetime of the URL: whole seconds, at least one and at most seven days.

        Raises:
            CannotPresign: the store has no signed URLs, or the credentials can't sign them.
            MissingCredentials: there are no credentials.
        """

    async def keeps_deleted(self) -> bool | None:
        """Return whether the store keeps the bytes of deleted objects, or `None` if it doesn't say."""

    async def aclose(self) -> None:
        """Close the connections. It is safe to call this more than once."""


class HasURL(Protocol):
    """The attribute of drivers that the base classes below use."""

    @property
    def url(self) -> str:
        """The URL of the store; see `Driver.url`."""


class NoLocalFiles:
    """Base class for drivers whose objects are not local files."""

    def local_path(self, key: str) -> str | None:
        """Return `None`, because objects are not local files."""


class NoOpenUploads:
    """Base class for drivers for stores that can't list open uploads."""

    async def open_uploads(self, prefix: str) -> AsyncIterator[OpenUpload]:
        """Yield nothing."""
        uploads: tuple[OpenUpload, ...] = ()
        for upload in uploads:
            yield upload

    async def abort(self, upload: OpenUpload) -> None:
        """Do nothing."""


class NoComposition:
    """Base class for drivers for stores that can't compose objects of ranges of others."""

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
        """Raise `CannotCompose`, so that the whole source is uploaded."""
        raise CannotCompose(key)

    def composable(self, size: int, runs: Sequence[Run]) -> Sequence[Run]:
        """Return no ranges."""
        return ()


class NoPresigning:
    """Base class for drivers for stores that have no signed URLs."""

    async def presign(self: HasURL, key: str, expires: timedelta) -> str:
        """Raise `CannotPresign`."""
        raise CannotPresign(
            self.url,
            "this kind of store has no signed URLs. S3, Google Cloud Storage and Azure Blob Storage have them.",
        )


class NoObjectVersions:
    """Base class for drivers for stores that don't say whether they keep the bytes of deleted objects."""

    async def keeps_deleted(self) -> bool | None:
        """Return `None`."""
        return None
