"""Pure conversions (no I/O) between the driver's own types and the JSON, headers and URLs of Google's API."""

from __future__ import annotations

import base64
import json
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import quote, urlencode

from aioassets.drivers.http.endpoints import server_url
from aioassets.drivers.http.parsing import entity_tag, http_time, iso_time, number
from aioassets.drivers.protocol import CommonPrefix, Data, Expect, ObjectInfo, Revision
from aioassets.model.digests import CRC32C, MD5, Hash, new_hash

GOOGLE: Final = "https://storage.googleapis.com"
SLICE: Final = 1024 * 1024
"""Maximum number of bytes to hash in one call. google-crc32c accepts only `bytes`, so each slice is copied."""
PIECE: Final = 256 * 1024
"""Maximum size in bytes of the pieces of a request body."""

_FIELDS: Final = {CRC32C: "crc32c", MD5: "md5Hash"}
"""The fields of an object's resource that contain digests."""
_RECEIVED: Final = re.compile(r"(?:bytes[= ])?0-([0-9]{1,18})")


class Checksum:
    """A running CRC32C, or MD5 if `google-crc32c` is not installed.

    Attributes:
        algorithm: the name of the algorithm.
        seen: the number of bytes added so far.
    """

    def __init__(self) -> None:
        self.algorithm, self._hash = _best_hash()
        self.seen = 0

    @classmethod
    def of(cls, data: Data) -> Checksum:
        """Return the checksum of data."""
        checksum = cls()
        checksum.take(0, data)
        return checksum

    @property
    def hex(self) -> str:
        """The digest in lower-case hex."""
        return self._hash.hexdigest()

    @property
    def field(self) -> dict[str, str]:
        """The field of an object's resource that lets the store verify the contents."""
        return {_FIELDS[self.algorithm]: self._encoded}

    @property
    def header(self) -> dict[str, str]:
        """The header for the last chunk of a resumable upload that lets the store verify the contents."""
        return {"x-goog-hash": f"{self.algorithm}={self._encoded}"}

    @property
    def _encoded(self) -> str:
        return base64.b64encode(bytes.fromhex(self.hex)).decode()

    def take(self, offset: int, data: Data) -> None:
        """Add the data at an offset, ignoring bytes that have already been added."""
        for start in range(self.seen - offset, len(data), SLICE):
            self._hash.update(bytes(data[start : start + SLICE]))
        self.seen = max(self.seen, offset + len(data))


def _best_hash() -> tuple[str, Hash]:
    try:
        return CRC32C, new_hash(CRC32C)
    except ImportError:
        return MD5, new_hash(MD5)


def normal_root(api_root: str | None) -> str:
    """Return the URL of the API. If the scheme is missing, as is common in `STORAGE_EMULATOR_HOST`, add `http://`.

    Raises:
        InvalidSetting: the URL is not a valid HTTP URL, or contains credentials.
    """
    root = (api_root or GOOGLE).rstrip("/")
    root = root if "://" in root else f"http://{root}"
    server_url("api_root", root)
    return root


def now() -> datetime:
    """Return the local time in UTC."""
    return datetime.now(UTC)


def address(root: str, *path: str, **params: str | None) -> str:
    """Return a URL. Each path segment is encoded separately, as the API requires for names."""
    query = urlencode({name: value for name, value in params.items() if value is not None}, quote_via=quote, safe="")
    url = "/".join([root, *(quote(segment, safe="") for segment in path)])
    return f"{url}?{query}" if query else url


def condition_for(expected: Revision | Expect) -> dict[str, str]:
    """Return the query parameters that make a write conditional on the expected state."""
    if expected is Expect.ABSENT:
        return {"ifGenerationMatch": "0"}
    return {} if isinstance(expected, Expect) else {"ifGenerationMatch": expected}


class Multipart:
    """A multipart request body with an object's metadata and contents. The contents are not copied.

    Args:
        resource: the object's metadata.
        data: the object's contents.
    """

    def __init__(self, resource: Mapping[str, str], data: Data) -> None:
        boundary = secrets.token_hex(16)
        self.content_type = f"multipart/related; boundary={boundary}"
        self._head = (
            f"--{boundary}\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n{json.dumps(resource)}\r\n"
            f"--{boundary}\r\nContent-Type: application/octet-stream\r\n\r\n"
        ).encode()
        self._data = data
        self._tail = f"\r\n--{boundary}--\r\n".encode()

    def __len__(self) -> int:
        return len(self._head) + len(self._data) + len(self._tail)

    def __iter__(self) -> Iterator[Data]:
        view = memoryview(self._data)
        yield self._head
        yield from (view[start : start + PIECE] for start in range(0, len(view), PIECE))
        yield self._tail

    def __bytes__(self) -> bytes:
        return b"".join((self._head, self._data, self._tail))


def received(headers: Mapping[str, str]) -> int:
    """Return how many bytes of a resumable upload the store has received: 0 if the `Range` header is missing."""
    found = _RECEIVED.fullmatch(headers.get("range", "").strip())
    return int(found[1]) + 1 if found else 0


def info_of(resource: Any, key: str | None = None) -> ObjectInfo:
    """Return the metadata of the object that a resource describes.

    Implementations that follow protobuf's JSON mapping omit values that are zero or empty, or set them to null.
    Therefore, a resource without a size describes an empty object.

    Args:
        resource: the JSON value.
        key: the object's key; `None` to use the name in the resource.

    Raises:
        ValueError: the value is not a valid object resource.
    """
    fields = resource if isinstance(resource, dict) else {}
    # `updated` also changes with the metadata, so prefer the time at which the generation was created.
    created = fields.get("timeCreated") or fields.get("updated")
    return ObjectInfo(
        _text(fields.get("name")) if key is None else key,
        number(fields.get("size") or 0),
        _generation(fields.get("generation")),
        iso_time(_text(created)),
        {
            algorithm: base64.b64decode(_text(value), validate=True).hex()
            for algorithm, field in _FIELDS.items()
            if (value := fields.get(field))
        },
    )


def parse_page(
    page: Mapping[str, Any], token: str | None = None
) -> tuple[Sequence[ObjectInfo | CommonPrefix], str | None]:
    """Return a page's objects and common prefixes in ascending order, and the token for the next page.

    Args:
        page: the JSON object.
        token: the token with which this page was requested.

    Raises:
        ValueError: the JSON object is not a page of a listing, or the next page would be the same one.
    """
    prefixes = map(_text, _list(page.get("prefixes")))
    rows: dict[str, ObjectInfo | CommonPrefix] = {prefix: CommonPrefix(prefix) for prefix in prefixes}
    rows |= {info.key: info for info in map(info_of, _list(page.get("items")))}
    following = token_of(page, "nextPageToken")
    if following is not None and following == token:
        raise ValueError("the nextPageToken refers to the same page")
    return [row for _, row in sorted(rows.items())], following


def token_of(answer: Mapping[str, Any], field: str) -> str | None:
    """Return the token for the next page or step, or `None` at the end. Raise `ValueError` if it isn't a string."""
    return _text(answer[field]) if answer.get(field) else None


def _generation(value: Any) -> Revision:
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ValueError("the generation has the wrong type")  # noqa: TRY004 - the type of data, not of an argument
    return Revision(entity_tag(f"{value}"))


def _list(value: Any) -> list[Any]:
    if value is not None and not isinstance(value, list):
        raise ValueError("a field that should be a list has the wrong type")
    return value or []


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError("a field that should be a string is empty or has the wrong type")
    value.encode()  # raises for a lone surrogate
    return value


def answered_at(headers: Mapping[str, str]) -> datetime:
    """Return when the store sent a response, or the local time if the response has no valid date."""
    try:
        return http_time(headers["date"])
    except (KeyError, ValueError):
        return now()
