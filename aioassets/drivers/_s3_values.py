"""Between values of ours and S3's parameters and answers, without any I/O."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from aioassets.drivers.protocol import CommonPrefix, Expect, ObjectInfo, Revision


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
    """The ETag without its quotes: all stores take it so in a condition, and one takes nothing else."""
    return Revision(answer["ETag"].strip('"'))


def in_utc(moment: datetime) -> datetime:
    """Without the SDK's own time zone class."""
    return moment.astimezone(UTC)


def answered_at(answer: Mapping[str, Any]) -> datetime:
    """When the store answered, by its clock (by ours where it doesn't say)."""
    try:
        return in_utc(parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"]))
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
        revision = Revision(row.get("ETag", "").strip('"'))
        info = ObjectInfo(row["Key"], row["Size"], revision, in_utc(row["LastModified"]))
        rows[info.key] = info
    return [row for _, row in sorted(rows.items())]


def next_token(page: Mapping[str, Any], token: str | None) -> str:
    """Return the token by which a listing goes on.

    Args:
        token: by which this page was asked for.

    Raises:
        ValueError: there is none, or it leads to the same page.
    """
    following: str = page.get("NextContinuationToken", "")
    if following in ("", token):
        raise ValueError("the listing has no end")
    return following
