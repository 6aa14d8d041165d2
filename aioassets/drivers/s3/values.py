"""Pure conversions (no I/O) between the driver's own types and the SDK's parameters and responses."""

from __future__ import annotations

import base64
import hashlib
import zlib
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final

from aioassets.drivers.http.parsing import entity_tag, http_time, in_utc, number
from aioassets.drivers.protocol import CommonPrefix, Data, Expect, ObjectInfo, Revision
from aioassets.drivers.service_errors import ForeignAnswer
from aioassets.runtime.threads import in_thread

_ALWAYS_THERE: Final[Mapping[str, frozenset[str]]] = {
    "get_object": frozenset({"ETag", "LastModified"}),
    "head_object": frozenset({"ETag", "LastModified", "ContentLength"}),
    "put_object": frozenset({"ETag"}),
    "upload_part": frozenset({"ETag"}),
    "create_multipart_upload": frozenset({"UploadId"}),
    "complete_multipart_upload": frozenset({"ETag"}),
    "copy_object": frozenset({"ETag"}),
    "upload_part_copy": frozenset({"ETag"}),
}
"""Fields that every S3 response to an operation has. A response without them doesn't come from S3."""
_INSIDE: Final = {"copy_object": "CopyObjectResult", "upload_part_copy": "CopyPartResult"}
"""The field of a response that contains the required fields, if they are not at the top level."""
_ROWS: Final = {
    "list_multipart_uploads": ("Uploads", frozenset({"Key", "UploadId", "Initiated"})),
    "list_parts": ("Parts", frozenset({"PartNumber", "Size", "ETag"})),
}
"""The field that contains the rows of a listing, and the fields that every row has."""


response_time: Final = lru_cache(maxsize=128)(http_time)
"""Parse a date from a header. The cache helps because many responses have the same date."""


def check_answer(operation: str, answer: Mapping[str, Any]) -> None:
    """Check that a response has the fields that every S3 response to this operation has.

    Raises:
        ForeignAnswer: a field is missing.
        ValueError: a field is invalid.
    """
    found = answer.get(_INSIDE.get(operation, ""), answer)
    if not _ALWAYS_THERE.get(operation, frozenset()) <= found.keys():
        raise ForeignAnswer
    if "ETag" in found:
        revision_of(found)
    rows, fields = _ROWS.get(operation, ("", frozenset()))
    for row in answer.get(rows, ()):
        if not fields <= row.keys():
            raise ForeignAnswer
        if "Initiated" in fields:
            in_utc(row["Initiated"])


def given(**params: str | None) -> dict[str, str]:
    """Return the parameters that are not `None`."""
    return {name: value for name, value in params.items() if value is not None}


def condition_for(expected: Revision | Expect) -> dict[str, str]:
    """Return the parameters that make a write conditional on the expected state."""
    if expected is Expect.ABSENT:
        return {"IfNoneMatch": "*"}
    return {} if isinstance(expected, Expect) else {"IfMatch": expected}


def sha256_of(data: bytes) -> str:
    """Return the SHA-256 digest of data in hex."""
    return hashlib.sha256(data).hexdigest()


def base64_of(digest: str) -> str:
    """Convert a digest from hex to base64."""
    return base64.b64encode(bytes.fromhex(digest)).decode()


def revision_of(answer: Mapping[str, Any]) -> Revision:
    """Return the ETag of a response without its quotes.

    All stores accept this form in a condition, and Ceph accepts no other.

    Raises:
        ValueError: the ETag is invalid.
    """
    return Revision(entity_tag(answer["ETag"]))


def answered_at(date: str | None) -> datetime:
    """Return the `Date` of a response, or the local time if the store sent none."""
    try:
        return response_time(date or "")
    except ValueError:
        return datetime.now(UTC)


def whole_checksums(answer: Mapping[str, Any]) -> dict[str, str]:
    """Return the whole object's SHA-256, if the response has it. Ignore composite digests, which cover parts."""
    value = answer.get("ChecksumSHA256", "")
    if not value or "-" in value or answer.get("ChecksumType") == "COMPOSITE":
        return {}
    return {"sha256": base64.b64decode(value).hex()}


def rows_of(page: Mapping[str, Any]) -> Iterable[ObjectInfo | CommonPrefix]:
    """Return the objects and common prefixes on a page of a listing, in ascending order."""
    prefixes = (row.get("Prefix", "") for row in page.get("CommonPrefixes", ()))
    rows: dict[str, ObjectInfo | CommonPrefix] = {prefix: CommonPrefix(prefix) for prefix in prefixes if prefix}
    for row in page.get("Contents", ()):
        # SeaweedFS lists the folders of open uploads without an ETag.
        revision = revision_of(row) if row.get("ETag", "").strip('"') else Revision("")
        info = ObjectInfo(row["Key"], number(row["Size"]), revision, in_utc(row["LastModified"]))
        rows[info.key] = info
    return [row for _, row in sorted(rows.items())]


async def crc32(body: Data) -> str:
    """Return the CRC32 of a body in base64, as S3 expects it."""
    return in_base64(await in_thread(zlib.crc32, body))


def in_base64(crc: int) -> str:
    """Return a CRC32 in base64, as S3 expects it."""
    return base64.b64encode(crc.to_bytes(4, "big")).decode()
