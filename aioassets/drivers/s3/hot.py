"""The three requests that every file needs: GetObject, PutObject and UploadPart."""

from __future__ import annotations

import hashlib
import zlib
from base64 import b64decode
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Final, Protocol

from aioassets.drivers.bodies import CHUNK
from aioassets.drivers.protocol import Data, Expect, Revision, StreamedDocument
from aioassets.drivers.service_errors import ServiceError
from aioassets.runtime.threads import in_thread

Payload = Data | StreamedDocument


class Body(Protocol):
    """A response body that is read piece by piece."""

    async def read(self, size: int) -> Data:
        """Return up to `size` bytes. Return no bytes only at the end."""

    def close(self) -> None:
        """Discard the rest of the body."""


@dataclass(frozen=True, slots=True)
class Content:
    """An object, or a range of one, whose body has yet to be read and closed.

    Attributes:
        body: the response body.
        revision: the revision of the object.
        modified: when the object was written, according to the store's clock.
        answered: when the store responded, according to the same clock.
        length: the length of the body in bytes, or `None` if the store doesn't report it.
        ranged: whether the body is the requested range rather than the whole object.
        checksums: base64 digests of the whole object, by algorithm.
    """

    body: Body
    revision: Revision
    modified: datetime
    answered: datetime
    length: int | None = None
    ranged: bool = False
    checksums: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    async def pieces(self) -> AsyncGenerator[Data, None]:
        """Iterate over the body."""
        while piece := await self.body.read(CHUNK):
            yield piece

    async def verify(self, data: bytes) -> None:
        """Compare the whole object with a checksum from the store, if it sent one.

        Raises:
            ConnectionError: the checksums differ.
        """
        algorithm = next((name for name in _DIGESTS if name in self.checksums), None)
        if algorithm is None:
            return
        digest = _DIGESTS[algorithm]
        found = digest(data) if len(data) <= CHUNK else await in_thread(digest, data)
        if found != b64decode(self.checksums[algorithm]):
            raise ConnectionError(f"the content does not match its {algorithm} checksum")


class HotRequests(Protocol):
    """Sends hot requests to a single bucket, each of them once.

    Methods raise `ServiceErrorRaised`, `BucketMoved`, an error of the SDK or an `OSError`.
    """

    async def get(self, key: str, *, span: tuple[int, int] | None = None, revision: Revision | None = None) -> Content:
        """Read an object.

        Args:
            key: the object's key.
            span: the start and the exclusive end of a byte range. `None` reads the whole object, with its checksums.
            revision: the revision to read; `None` reads any revision.
        """

    async def put(
        self, key: str, body: Payload, *, expected: Revision | Expect, sha256: str | None, is_document: bool
    ) -> Revision:
        """Write an object and return its revision.

        Args:
            key: the object's key.
            body: the content.
            expected: the revision to replace, or another expected state.
            sha256: the digest for the store to verify, in hex; `None` sends none.
            is_document: whether to forbid caching of the object.
        """

    async def put_part(self, key: str, upload: str, number: int, body: Data, *, crc32: str | None) -> str:
        """Upload a part, and return its ETag as sent by the store, without the weak prefix that a proxy may add.

        Args:
            key: the object's key.
            upload: the ID of the multipart upload.
            number: the part number, starting at 1.
            body: the content of the part.
            crc32: the checksum for the store to verify, in base64; `None` sends none.
        """


class BucketMoved(Exception):
    """Raised when the bucket is in another region.

    Attributes:
        region: the region that the store named, or an empty string if it named none.
        refusal: the store's error response.
    """

    def __init__(self, region: str, refusal: ServiceError) -> None:
        self.region = region
        self.refusal = refusal
        super().__init__(f"the bucket is in the region {region or 'unknown'}")


def is_whole(checksum: str) -> bool:
    """Return whether a checksum covers the whole object. Checksums of parts end with the number of parts."""
    return "-" not in checksum


_DIGESTS: Final[Mapping[str, Callable[[bytes], bytes]]] = {
    "sha256": lambda data: hashlib.sha256(data).digest(),
    "sha1": lambda data: hashlib.sha1(data, usedforsecurity=False).digest(),
    "crc32": lambda data: zlib.crc32(data).to_bytes(4, "big"),
}
