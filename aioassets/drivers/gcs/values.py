"""Conversion between values and the JSON, headers and URLs of Google's API, without any I/O."""

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
"""Bytes to hash in one call. google-crc32c accepts only `bytes`, so each slice is copied."""
PIECE: Final = 256 * 1024
"""Bytes per piece of a request body."""

_FIELDS: Final = {CRC32C: "crc32c", MD5: "md5Hash"}
"""The fields of digests in an object's resource."""
_RECEIVED: Final = re.compile(r"(?:bytes[= ])?0-([0-9]{1,18})")


class Checksum:
    """The CRC32C of data in order, or its MD5 if `google-crc32c` is not installed.

    Attributes:
        algorithm: the name of the algorithm.
        seen: the number of bytes added.
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
        """Return the digest in lower-case hex."""
        return self._hash.hexdigest()

    @property
    def field(self) -> dict[str, str]:
        """Return the field of an object's resource that lets the store verify the content."""
        return {_FIELDS[self.algorithm]: self._encoded}

    @property
    def header(self) -> dict[str, str]:
        """Return a header for the last chunk of a resumable upload."""
        return {"x-goog-hash": f"{self.algorithm}={self._encoded}"}

    @property
    def _encoded(self) -> str:
        return base64.b64encode(bytes.fromhex(self.hex)).decode()

    def take(self, offset: int, data: Data) -> None:
        """Add the data at an offset, without bytes that were already added."""
        for start in range(self.seen - offset, len(data), SLICE):
            self._hash.update(bytes(data[start : start + SLICE]))
        self.seen = max(self.seen, offset + len(data))


def _best_hash() -> tuple[str, Hash]:
    try:
        return CRC32C, new_hash(CRC32C)
    except ImportError:
        return MD5, new_hash(MD5)


def normal_root(api_root: str | None) -> str:
    """Return the URL of the API. If the scheme is missing, as often in `STORAGE_EMULATOR_HOST`, add `http://`.

    Raises:
        InvalidSetting: the URL is not that of a server, or contains credentials.
    """
    root = (api_root or GOOGLE).rstrip("/")
    root = root if "://" in root else f"http://{root}"
    server_url("api_root", root)
    return root


def address(root: str, *path: str, **params: str | None) -> str:
    """Return a URL. Each path segment is encoded separately, as the API requires for names."""
    query = urlencode({name: value for name, value in params.items() if value is not None}, quote_via=quote, safe="")
    url = "/".join([root, *(quote(segment, safe="") for segment in path)])
    return f"{url}?{query}" if query else url


def condition_for(expected: Revision | Expect) -> dict[str, str]:
    """Return the parameters of a conditional write."""
    if expected is Expect.ABSENT:
        return {"ifGenerationMatch": "0"}
    return {} if isinstance(expected, Expect) else {"ifGenerationMatch": expected}


class Multipart:
    """An upload body that contains metadata and content. They are sent without being copied into one buffer.

    Args:
        resource: the object's metadata.
        data: its content.
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
    """Return the number of bytes of a resumable upload that the store has received, or 0 without the header."""
    found = _RECEIVED.fullmatch(headers.get("range", "").strip())
    return int(found[1]) + 1 if found else 0


def info_of(resource: Any, key: str | None = None) -> ObjectInfo:
    """Return the object that a resource describes.

    Implementations that follow protobuf's JSON omit values that are zero or empty, or set them to null: an object
    without a size has no bytes.

    Args:
        resource: the JSON value.
        key: the object's key; `None` means the resource's name.

    Raises:
        ValueError: the value is not an object's resource.
    """
    fields = resource if isinstance(resource, dict) else {}
    # `updated` also changes with the metadata; the content is as old as the generation.
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
    """Return the objects and common prefixes of one page in ascending order, and the token of the next page.

    Args:
        page: the JSON value.
        token: the token that this page was requested with.

    Raises:
        ValueError: the value is not a page of a listing, or the listing never ends.
    """
    prefixes = map(_text, _list(page.get("prefixes")))
    rows: dict[str, ObjectInfo | CommonPrefix] = {prefix: CommonPrefix(prefix) for prefix in prefixes}
    rows |= {info.key: info for info in map(info_of, _list(page.get("items")))}
    following = token_of(page, "nextPageToken")
    if following is not None and following == token:
        raise ValueError("the nextPageToken leads to the same page")
    return [row for _, row in sorted(rows.items())], following


def token_of(answer: Mapping[str, Any], field: str) -> str | None:
    """Return the token of the next page or step, or `None` at the end; raise `ValueError` if it has another type."""
    return _text(answer[field]) if answer.get(field) else None


def _generation(value: Any) -> Revision:
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ValueError("a generation has another type")  # noqa: TRY004 - the type of data, not of an argument
    return Revision(entity_tag(f"{value}"))


def _list(value: Any) -> list[Any]:
    if value is not None and not isinstance(value, list):
        raise ValueError("a list has another type")
    return value or []


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError("a text is empty or has another type")
    value.encode()  # raises for a lone surrogate
    return value


def answered_at(headers: Mapping[str, str]) -> datetime:
    """Return the time of a response by the store's clock, or the local time if the response has no date."""
    try:
        return http_time(headers["date"])
    except (KeyError, ValueError):
        return datetime.now(UTC)
