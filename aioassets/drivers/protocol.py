"""The protocol of drivers. A driver keeps objects by key in one bucket, container or folder.

*Documents* are small and written conditionally. *Blobs* are large and streamed.
A driver knows keys, bytes and its SDK. It knows nothing of assets.
"""

from __future__ import annotations

import enum
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, NewType, Protocol

from aioassets.runtime.effects import Effects

__all__ = ["Driver"]

MAX_DOCUMENT: Final = 512 * 1024 * 1024
"""Bytes of the largest document that is read. The manifest of a million files takes a fraction of it."""
SMALL_DOCUMENT: Final = 1024 * 1024
"""Bytes of a document up to which reading takes no bytes of the budget: a manifest of some 4,000 files."""

Revision = NewType("Revision", str)
"""A driver's opaque token for one state of one object, such as an ETag or a generation.

Pass revisions from `read` and `write` to `write`. Pass revisions from `stat` and listings to
`read_range` and `copy`. The two may differ for the same state.
"""

Data = bytes | bytearray | memoryview
"""Bytes in memory. A view may be of mapped pages, which are released with it."""


class Expect(enum.Enum):
    """The expected state of an object that is not a `Revision`."""

    ABSENT = "absent"
    """There is no object. The write creates it, or is refused."""
    ANYTHING = "anything"
    """Any state. The write is unconditional."""


@dataclass(frozen=True, slots=True)
class Document:
    """A small object in memory.

    Attributes:
        data: the bytes.
        revision: the state that was read.
        modified: the time of the write, by the store's clock.
        answered: the time of the response, by the same clock.
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
        size: bytes.
        revision: the current state; empty in a listing that does not include it.
        modified: the time of the write, by the store's clock.
        checksums: digests of the whole content that the store vouches for, from algorithm to lower-case hex.
    """

    key: str
    size: int
    revision: Revision
    modified: datetime
    checksums: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CommonPrefix:
    """All keys with one prefix, as one row of a listing. The prefix ends with the delimiter."""

    prefix: str


class Source(Protocol):
    """Bytes to upload.

    The driver reads every byte at least once. It reads them in ascending order without gaps the
    first time, so that the source can hash them, and may then read again from any offset.
    """

    @property
    def size(self) -> int:
        """The number of bytes."""

    @property
    def digests(self) -> Mapping[str, str]:
        """The `sha256` of the whole content, and perhaps other digests, from algorithm to lower-case hex.

        Empty until all bytes were read or copied once.
        """

    async def read(self, offset: int, size: int) -> Data:
        """Read exactly `size` bytes from `offset`.

        Raises:
            SourceChanged: the file changed since it was scanned.
        """

    async def copy_to(self, descriptor: int, offset: int, size: int) -> bool:
        """Let the system copy `size` bytes from `offset` to the same offset of an open file.

        The bytes are hashed from the target, so the descriptor must be open for reading, too.

        Returns:
            `False` if the system can't copy them. Call `read` instead, which may raise the reason.

        Raises:
            SourceChanged: the file changed since it was scanned.
            OSError: the file can't be read.
        """


@dataclass(frozen=True, slots=True)
class OpenUpload:
    """A multipart upload that was neither completed nor aborted.

    Attributes:
        key: the key of the object to create; empty if the store does not list it.
        id: the store's identifier.
        active: the time of the last known activity, by the store's clock. S3 lists only the
            time of the start.
    """

    key: str
    id: str
    active: datetime


@dataclass(frozen=True, slots=True)
class Uploaded:
    """The result of an upload.

    Attributes:
        created: `False` if the object existed already with the same bytes.
    """

    created: bool


class StreamedDocument(Protocol):
    """A long document that is generated in pieces. Each iteration gives the same bytes."""

    @property
    def sha256(self) -> str:
        """The digest of the whole document, in lower-case hex."""

    def __len__(self) -> int:
        """Return the number of bytes."""

    def __iter__(self) -> Iterator[bytes]:
        """Iterate over the pieces. Each has some tens of KiB, and takes about a millisecond to generate."""

    def __bytes__(self) -> bytes:
        """Return the whole document."""


class Driver(Protocol):
    """One bucket, container or folder.

    Every method may raise `AccessDenied`, `BucketNotFound` or `StoreUnavailable`. A 403 or a 503
    is never `ObjectNotFound`. Requests that are safe to repeat are retried before
    `StoreUnavailable` is raised.

    Methods that change objects take `effects`, which records requests with an unknown effect. Pass it
    to `Dispatcher.send` with each request that creates, replaces or deletes an object. Call its
    `note_uncertain` if an object may change later although the call succeeds.
    """

    @property
    def url(self) -> str:
        """The URL for people, without a trailing slash: `s3://models`."""

    @property
    def identity(self) -> str:
        """The URL, followed by what distinguishes stores with the same URL, such as the endpoint.

        It is the same in every process. Reading it sends no request, but may block, for example to read the
        SDK's configuration.
        """

    async def read(self, key: str, *, limit: int = MAX_DOCUMENT) -> Document:
        """Read a document.

        Args:
            limit: the maximum size in bytes. Of a larger document, no more is kept in memory. A limit
                above `SMALL_DOCUMENT` is taken from the budget.

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
            data: the bytes, or a streamed document, which has more than a MiB. A driver that can't
                send it in pieces begins with `await in_thread(bytes, data)`.
            expected: the state to replace, as a revision from `read` or `write`.

        Returns:
            The new revision.

        Raises:
            PreconditionFailed: the document is in another state or does not exist. After a lost
                response, an earlier attempt may have caused this: compare the content.
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
        """Upload a blob. Succeed without writing if the object exists with the same bytes.

        A multipart upload is refused if the object exists with other bytes. Of racing multipart
        uploads, the store may accept more than one, but never mixes their bytes.

        If this raises or is cancelled, it aborts its multipart upload, as long as the store
        responds.

        Args:
            resume: an upload of the same source may have been killed. Check first, and send only
                what is missing, including parts of an open upload if the store lists them.

        Raises:
            PreconditionFailed: the object exists with other bytes.
            StoreUnavailable: `uncertain` is set if the object may appear later.
        """

    def read_range(
        self, key: str, start: int, stop: int, *, revision: Revision | None = None
    ) -> AsyncGenerator[Data, None]:
        """Stream the bytes from `start` up to `stop`, or up to the end of a shorter object.

        Close the iterator with `contextlib.aclosing` unless it is exhausted. A broken connection
        is resumed at the same offset.

        Args:
            revision: the only state to read.

        Raises:
            ObjectNotFound: the object does not exist.
            PreconditionFailed: the object is at another revision.
        """

    def local_path(self, key: str) -> str | None:
        """Return the path of the local file that stores an object, or `None` if objects are not local files.

        The file need not exist.
        """

    async def copy(self, source: Driver, info: ObjectInfo, key: str, *, effects: Effects | None = None) -> ObjectInfo:
        """Copy an object inside the store, without transferring its bytes.

        The copy is create-only if the store supports that. Succeed without writing if the target
        exists with the same size and digest.

        Args:
            source: the driver of the bucket to copy from; may be this driver.
            info: the object to copy, at this revision only.
            key: the key of the copy.

        Returns:
            The metadata of the copy, with the checksums that the store vouches for.

        Raises:
            NotSameStore: this store can't copy from that store. Stream the bytes instead.
            ObjectNotFound: the source object does not exist.
            PreconditionFailed: the source is at another revision, or the target has other bytes.
        """

    def list(self, prefix: str, *, delimiter: str | None = None) -> AsyncIterator[ObjectInfo | CommonPrefix]:
        """List the objects whose keys begin with `prefix`, in the store's order.

        Args:
            delimiter: group keys that contain it after the prefix into one `CommonPrefix` per group.
        """

    async def delete(self, keys: Iterable[str], *, effects: Effects | None = None) -> None:
        """Delete objects, in batches if the store supports them. Ignore missing keys.

        Unless the store is out of reach, try all of them before raising the error of one.
        """

    def open_uploads(self, prefix: str) -> AsyncIterator[OpenUpload]:
        """List open multipart uploads whose keys begin with `prefix` or are unknown.

        Yield nothing if the store can't list them.
        """

    async def abort(self, upload: OpenUpload) -> None:
        """Abort an open upload and delete its parts. Ignore an upload that no longer exists."""

    async def aclose(self) -> None:
        """Close connections. May be called twice."""


class NoLocalFiles:
    """Base class of drivers whose objects are not local files."""

    def local_path(self, key: str) -> str | None:
        """Return `None`."""


class NoOpenUploads:
    """Base class of drivers whose store can't list open uploads."""

    async def open_uploads(self, prefix: str) -> AsyncIterator[OpenUpload]:
        """Yield nothing."""
        uploads: tuple[OpenUpload, ...] = ()
        for upload in uploads:
            yield upload

    async def abort(self, upload: OpenUpload) -> None:
        """Do nothing."""
