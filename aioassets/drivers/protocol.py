"""What a driver is: one bucket, container or folder that keeps objects by key.

*Documents* are small and written conditionally; *blobs* are large and streamed.
A driver knows keys, bytes and its SDK, and nothing of assets.
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
"""Bytes of the largest document that is read: several times a manifest of a million files."""
SMALL_DOCUMENT: Final = 1024 * 1024
"""Bytes of a document that needs no share of the budget but its request: a manifest of some 4,000 files."""

Revision = NewType("Revision", str)
"""A driver's opaque token for one state of one object (an ETag, a generation).

What `read` and `write` return is for swaps. What `stat` and listings return pins `read_range` and
`copy`, and need not be the same text for the same state.
"""

Data = bytes | bytearray | memoryview
"""Bytes in memory; a view may be of pages that go back to the system with it."""


class Expect(enum.Enum):
    """What a write expects to find, where that isn't a `Revision`."""

    ABSENT = "absent"
    """Nothing: the write creates the object, or is refused."""
    ANYTHING = "anything"
    """Whatever there is: the write is not conditional."""


@dataclass(frozen=True, slots=True)
class Document:
    """A small object, read whole.

    Attributes:
        data: its bytes.
        revision: the state that was read.
        modified: when it was written, by the store's clock.
        answered: when the store answered, by the same clock.
    """

    data: bytes
    revision: Revision
    modified: datetime
    answered: datetime


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """What a store says of an object.

    Attributes:
        key: its full key.
        size: in bytes.
        revision: its present state (in a listing, empty where the store's listing doesn't tell).
        modified: when it was written, by the store's clock.
        checksums: digests of the whole content that the store vouches for, algorithm to lower-case hex.
    """

    key: str
    size: int
    revision: Revision
    modified: datetime
    checksums: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CommonPrefix:
    """Keys that a listing with a delimiter folded into one row; ends with the delimiter."""

    prefix: str


class Source(Protocol):
    """Bytes to upload, readable again from any offset.

    A driver reads each part at least once, and for the first time in ascending
    order without gaps, so that the source can hash what passes.
    """

    @property
    def size(self) -> int:
        """Bytes in all."""

    @property
    def digests(self) -> Mapping[str, str]:
        """The `sha256` of the whole content, and perhaps more (algorithm to lower-case hex).

        Empty until all of it was read or copied once.
        """

    async def read(self, offset: int, size: int) -> Data:
        """Exactly `size` bytes from `offset`.

        Raises:
            SourceChanged: the bytes are no longer those that were scanned.
        """

    async def copy_to(self, descriptor: int, offset: int, size: int) -> bool:
        """Let the system copy `size` bytes from `offset` to the same place of an open file.

        What is hashed is what is in that file then, so it must be open for reading as well.

        Returns:
            `False` where they have to be read instead, which also tells why.

        Raises:
            SourceChanged: the bytes are no longer those that were scanned.
            OSError: the file can't be read.
        """


@dataclass(frozen=True, slots=True)
class OpenUpload:
    """An upload in parts that was begun, and neither completed nor aborted.

    Attributes:
        key: the object that it would make; empty where the store doesn't tell.
        id: the store's own name for it.
        active: when something was last known to happen to it, by the store's clock. S3 tells only
            when it was begun.
    """

    key: str
    id: str
    active: datetime


@dataclass(frozen=True, slots=True)
class Uploaded:
    """How an upload ended.

    Attributes:
        created: `False` where the same bytes were there already, so that nothing was written.
    """

    created: bool


class StreamedDocument(Protocol):
    """A long document that isn't in memory whole: made piece by piece whenever it is read, the same each time."""

    @property
    def sha256(self) -> str:
        """Of all of it, in lower-case hex."""

    def __len__(self) -> int:
        """Bytes in all."""

    def __iter__(self) -> Iterator[bytes]:
        """Its pieces, some ten KiB each, which take a millisecond or so to make."""

    def __bytes__(self) -> bytes:
        """All of it."""


class Driver(Protocol):
    """One bucket, container or folder.

    Every method raises `AccessDenied`, `BucketNotFound` or `StoreUnavailable` where
    that is what happened; a 403 or a 503 is never `ObjectNotFound`. Requests that are
    safe to repeat are repeated before `StoreUnavailable` is raised.

    Methods that change objects take `effects`, a record to note requests with an unknown effect in.
    Pass it to `Dispatcher.send` with each request that creates, replaces or deletes an object, or
    call its `note_uncertain` where an object may change later although the call succeeds.
    """

    @property
    def url(self) -> str:
        """Where this is, for people: `s3://models`. Without a trailing slash."""

    @property
    def identity(self) -> str:
        """`url` plus what tells two stores of that name apart (an endpoint)."""

    async def read(self, key: str, *, limit: int = MAX_DOCUMENT) -> Document:
        """Read a document.

        Args:
            limit: the most bytes that it may have; of a larger one, no more than that is kept. They
                come out of the budget where they are more than `SMALL_DOCUMENT`.

        Raises:
            ObjectNotFound: there is none.
            DocumentTooLarge: it is larger.
        """

    async def write(
        self, key: str, data: bytes | StreamedDocument, *, expected: Revision | Expect, effects: Effects | None = None
    ) -> Revision:
        """Write a document if its present state is the expected one, atomically.

        Documents are written so that no cache on the way keeps them.

        Args:
            data: its bytes, or, where they are more than a MiB, perhaps what makes them. A driver that
                can't send them piece by piece begins with `await in_thread(bytes, data)`.
            expected: the state to replace, by a revision that `read` or `write` returned.

        Returns:
            The revision that this write made.

        Raises:
            PreconditionFailed: its state is another one (also where it is gone). After a
                lost answer this may be the answer to our own write: compare the content.
        """

    async def stat(self, key: str) -> ObjectInfo:
        """Describe an object without reading it.

        Raises:
            ObjectNotFound: there is none.
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
        """Store a blob if nothing is there; the same bytes already there count as success.

        A blob that is sent in parts is refused where other bytes are there before; among uploads
        that race, the store may let more than one pass, never a mixture.

        When this raises or is cancelled, it leaves no open multipart upload behind as
        far as the store answers.

        Args:
            resume: an upload of the same source may have been killed here: look first, and send
                only what isn't there, as far as the store tells (also parts of an open upload).

        Raises:
            PreconditionFailed: other bytes are there.
            StoreUnavailable: with `uncertain` set where the object may appear later.
        """

    def read_range(
        self, key: str, start: int, stop: int, *, revision: Revision | None = None
    ) -> AsyncGenerator[Data, None]:
        """Stream the bytes from `start` up to `stop`, fewer where the object is shorter.

        Close the iterator (`contextlib.aclosing`) if it isn't exhausted. A connection that
        breaks is resumed where it broke.

        Args:
            revision: read only this state.

        Raises:
            ObjectNotFound: there is no such object.
            PreconditionFailed: it is at another revision.
        """

    def local_path(self, key: str) -> str | None:
        """The local file that an object is, so that the system can copy it; it need not be there.

        `None` where objects are no local files.
        """

    async def copy(self, source: Driver, info: ObjectInfo, key: str, *, effects: Effects | None = None) -> ObjectInfo:
        """Copy an object on the store's side, without its bytes passing through here.

        Written create-only where the store can; an object of the same size and digest that is
        there already counts as success.

        Args:
            source: the driver of the bucket to copy from, perhaps this one.
            info: the object to copy; only this revision of it is.
            key: where to.

        Returns:
            The new object, with the checksums that the store vouches for.

        Raises:
            NotSameStore: this store can't reach that one; stream the bytes instead.
            ObjectNotFound: there is no such object any more.
            PreconditionFailed: it is at another revision, or other bytes are at `key`.
        """

    def list(self, prefix: str, *, delimiter: str | None = None) -> AsyncIterator[ObjectInfo | CommonPrefix]:
        """List the keys that begin with `prefix`, in the store's order.

        Args:
            delimiter: fold keys that hold it behind the prefix into one `CommonPrefix` each.
        """

    async def delete(self, keys: Iterable[str], *, effects: Effects | None = None) -> None:
        """Delete objects, in batches where the store can; a key that isn't there is no error."""

    def open_uploads(self, prefix: str) -> AsyncIterator[OpenUpload]:
        """List uploads in parts that are open, of keys that begin with `prefix` or aren't known.

        A store that can't list them yields none.
        """

    async def abort(self, upload: OpenUpload) -> None:
        """Drop an open upload and its parts; one that is gone is no error."""

    async def aclose(self) -> None:
        """Release connections. Safe to call twice."""


class NoLocalFiles:
    """What drivers inherit whose objects are no local files."""

    def local_path(self, key: str) -> str | None:
        """See `Driver.local_path`: there is none."""


class NoOpenUploads:
    """What drivers inherit whose store can't list open uploads."""

    async def open_uploads(self, prefix: str) -> AsyncIterator[OpenUpload]:
        """See `Driver.open_uploads`: none can be listed."""
        uploads: tuple[OpenUpload, ...] = ()
        for upload in uploads:
            yield upload

    async def abort(self, upload: OpenUpload) -> None:
        """See `Driver.abort`."""
