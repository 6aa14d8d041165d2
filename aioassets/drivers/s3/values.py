"""Between values of ours and S3's parameters and answers, without any I/O."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from aioassets.drivers.http.parsing import entity_tag, http_time, in_utc, number
from aioassets.drivers.protocol import CommonPrefix, Expect, ObjectInfo, Revision
from aioassets.drivers.service_errors import ForeignAnswer

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
"""What all answers of S3 have; others are of something else, and say nothing of what was done."""
_INSIDE: Final = {"copy_object": "CopyObjectResult", "upload_part_copy": "CopyPartResult"}
"""Where that is, if it isn't at the top."""
_ROWS: Final = {
    "list_multipart_uploads": ("Uploads", frozenset({"Key", "UploadId", "Initiated"})),
    "list_parts": ("Parts", frozenset({"PartNumber", "Size", "ETag"})),
}
"""What each row of a listing has."""


def check_answer(operation: str, answer: Mapping[str, Any]) -> None:
    """Raise `ForeignAnswer` unless an answer has what S3's always have, or `ValueError` where it can't be used."""
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
    """The parameters that have a value."""
    return {name: value for name, value in params.items() if value is not None}


def condition_for(expected: Revision | Expect) -> dict[str, str]:
    """The parameters that make a write conditional."""
    if expected is Expect.ABSENT:
        return {"IfNoneMatch": "*"}
    return {} if isinstance(expected, Expect) else {"IfMatch": expected}


def sha256_of(data: bytes) -> str:
    """In lower-case hex."""
    return hashlib.sha256(data).hexdigest()


def base64_of(digest: str) -> str:
    """A digest in hex, in S3's notation."""
    return base64.b64encode(bytes.fromhex(digest)).decode()


def revision_of(answer: Mapping[str, Any]) -> Revision:
    """The ETag without its quotes: all stores take it so in a condition, and one takes nothing else.

    Raises:
        ValueError: it is none, or can't be sent in a header.
    """
    return Revision(entity_tag(answer["ETag"]))


def answered_at(answer: Mapping[str, Any]) -> datetime:
    """When the store answered, by its clock (by ours where it doesn't say)."""
    try:
        return http_time(answer["ResponseMetadata"]["HTTPHeaders"]["date"])
    except (KeyError, ValueError):
        return datetime.now(UTC)


def whole_checksums(answer: Mapping[str, Any]) -> dict[str, str]:
    """The SHA-256 of the whole content; a composite one, of the parts' digests, ends with their number."""
    value = answer.get("ChecksumSHA256", "")
    if not value or "-" in value or answer.get("ChecksumType") == "COMPOSITE":
        return {}
    return {"sha256": base64.b64decode(value).hex()}


def rows_of(page: Mapping[str, Any]) -> Iterable[ObjectInfo | CommonPrefix]:
    """Objects and folded prefixes of one page, in one ascending order."""
    prefixes = (row.get("Prefix", "") for row in page.get("CommonPrefixes", ()))
    rows: dict[str, ObjectInfo | CommonPrefix] = {prefix: CommonPrefix(prefix) for prefix in prefixes if prefix}
    for row in page.get("Contents", ()):
        info = ObjectInfo(row["Key"], number(row["Size"]), revision_of(row), in_utc(row["LastModified"]))
        rows[info.key] = info
    return [row for _, row in sorted(rows.items())]
