"""Between values of ours and those of Google's JSON API, without any I/O."""

from __future__ import annotations

import base64
import json
import re
import secrets
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final
from urllib.parse import quote, urlencode

from aioassets.digests import CRC32C, MD5, Hash, new_hash
from aioassets.drivers._endpoints import server_url
from aioassets.drivers.protocol import CommonPrefix, Data, Expect, ObjectInfo, Revision

GOOGLE: Final = "https://storage.googleapis.com"
SLICE: Final = 1024 * 1024
"""Bytes hashed at once: google-crc32c takes nothing but `bytes`, so they have to be copied."""

_FIELDS: Final = {CRC32C: "crc32c", MD5: "md5Hash"}
"""An object's digests in its resource."""
_INT64: Final = re.compile(r"[0-9]{1,19}")
_RECEIVED: Final = re.compile(rf"(?:bytes[= ])?0-({_INT64.pattern})")


class Checksum:
    """The CRC32C of what passes in order (or MD5, where `google-crc32c` isn't installed).

    Attributes:
        algorithm: which of the two.
        seen: how many bytes passed.
    """

    def __init__(self) -> None:
        self.algorithm, self._hash = _best_hash()
        self.seen = 0

    @classmethod
    def of(cls, data: Data) -> Checksum:
        """The checksum of all of it."""
        checksum = cls()
        checksum.take(0, data)
        return checksum

    @property
    def hex(self) -> str:
        """In lower-case hex."""
        return self._hash.hexdigest()

    @property
    def field(self) -> dict[str, str]:
        """As a field of an object's resource, by which the store verifies what it receives."""
        return {_FIELDS[self.algorithm]: self._encoded}

    @property
    def header(self) -> dict[str, str]:
        """As a header, for the last chunk of a resumable upload."""
        return {"X-Goog-Hash": f"{self.algorithm}={self._encoded}"}

    @property
    def _encoded(self) -> str:
        return base64.b64encode(bytes.fromhex(self.hex)).decode()

    def take(self, offset: int, data: Data) -> None:
        """Take in what stands at an offset, except for bytes that passed before."""
        for start in range(self.seen - offset, len(data), SLICE):
            self._hash.update(bytes(data[start : start + SLICE]))
        self.seen = max(self.seen, offset + len(data))


def _best_hash() -> tuple[str, Hash]:
    try:
        return CRC32C, new_hash(CRC32C)
    except ImportError:
        return MD5, new_hash(MD5)


def normal_root(api_root: str | None) -> str:
    """Where the API is: a scheme and a host, since the variable of emulators is often a bare host.

    Raises:
        InvalidSetting: it is no URL of a server, or holds credentials.
    """
    root = (api_root or GOOGLE).rstrip("/")
    root = root if "://" in root else f"http://{root}"
    server_url("api_root", root)
    return root


def address(root: str, *path: str, **params: str | None) -> str:
    """A URL, each segment of whose path is encoded by itself, as the API wants it for names."""
    query = urlencode({name: value for name, value in params.items() if value is not None}, quote_via=quote, safe="")
    url = "/".join([root, *(quote(segment, safe="") for segment in path)])
    return f"{url}?{query}" if query else url


def condition_for(expected: Revision | Expect) -> dict[str, str]:
    """The parameters that make a write conditional."""
    if expected is Expect.ABSENT:
        return {"ifGenerationMatch": "0"}
    return {} if isinstance(expected, Expect) else {"ifGenerationMatch": expected}


def multipart(resource: Mapping[str, str], data: Data) -> tuple[str, tuple[bytes, Data, bytes]]:
    """The content type and the pieces of an upload that carries metadata and content."""
    boundary = secrets.token_hex(16)
    head = (
        f"--{boundary}\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n{json.dumps(resource)}\r\n"
        f"--{boundary}\r\nContent-Type: application/octet-stream\r\n\r\n"
    )
    return f"multipart/related; boundary={boundary}", (head.encode(), data, f"\r\n--{boundary}--\r\n".encode())


def received(headers: Mapping[str, str]) -> int:
    """How many bytes of a resumable upload the store has: without the header, none."""
    found = _RECEIVED.fullmatch(headers.get("Range", "").strip())
    return int(found[1]) + 1 if found else 0


def info_of(resource: Any, key: str | None = None) -> ObjectInfo:
    """Return what an object's resource says.

    The API's int64 values are strings. Implementations that follow protobuf's JSON omit values that are
    zero or empty, or set them to null: such an object has no bytes.

    Raises:
        ValueError: it is no resource of an object.
    """
    fields = resource if isinstance(resource, dict) else {}
    # `updated` also changes with the metadata; content is written when a generation is created
    created = fields.get("timeCreated") or fields.get("updated")
    return ObjectInfo(
        _text(fields.get("name"), "name") if key is None else key,
        _int64(fields.get("size") or 0, "size"),
        Revision(str(_int64(fields.get("generation"), "generation"))),
        _moment(_text(created, "time")),
        {
            algorithm: base64.b64decode(_text(value, field), validate=True).hex()
            for algorithm, field in _FIELDS.items()
            if (value := fields.get(field))
        },
    )


def parse_page(
    page: Mapping[str, Any], token: str | None = None
) -> tuple[Sequence[ObjectInfo | CommonPrefix], str | None]:
    """Return objects and folded prefixes of one page, in one ascending order, and the token of the next page.

    Args:
        token: by which this page was asked for.

    Raises:
        ValueError: it is no page of a listing, or the listing has no end.
    """
    prefixes = [_text(prefix, "prefix") for prefix in _list(page.get("prefixes"))]
    rows: dict[str, ObjectInfo | CommonPrefix] = {prefix: CommonPrefix(prefix) for prefix in prefixes}
    rows |= {info.key: info for info in map(info_of, _list(page.get("items")))}
    following = token_of(page, "nextPageToken")
    if following is not None and following == token:
        raise ValueError("its nextPageToken leads to the same page")
    return [row for _, row in sorted(rows.items())], following


def token_of(answer: Mapping[str, Any], field: str) -> str | None:
    """Return the token by which to go on; `None` at the end. Raises `ValueError` where it is of another type."""
    return _text(answer[field], field) if answer.get(field) else None


def _list(value: Any) -> list[Any]:
    match value:
        case None:
            return []
        case list():
            return value
    raise ValueError("a list is of another type")


def _text(value: Any, what: str) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError(f"it has no {what}")
    value.encode()  # raises where half of a surrogate pair stands alone
    return value


def _int64(value: Any, what: str) -> int:
    if isinstance(value, bool) or not _INT64.fullmatch(f"{value}" if isinstance(value, int | str) else ""):
        raise ValueError(f"its {what} is no number")
    return int(value)


def answered_at(headers: Mapping[str, str]) -> datetime:
    """When the store answered, by its clock (by ours where it doesn't say)."""
    try:
        return parsedate_to_datetime(headers["Date"]).astimezone(UTC)
    except (KeyError, ValueError, OverflowError):
        return datetime.now(UTC)


def _moment(text: str) -> datetime:
    """Return a time in RFC 3339; raises `ValueError`."""
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except OverflowError as error:  # of the years 1 or 9999, in another time zone
        raise ValueError("its time is out of range") from error
