"""Between values of ours and those of Google's JSON API, without any I/O."""

from __future__ import annotations

import base64
import json
import re
import secrets
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import quote, urlencode

from aioassets.drivers.http.endpoints import server_url
from aioassets.drivers.http.parsing import entity_tag, http_time, iso_time, number
from aioassets.drivers.protocol import CommonPrefix, Data, Expect, ObjectInfo, Revision
from aioassets.model.digests import CRC32C, MD5, Hash, new_hash

GOOGLE: Final = "https://storage.googleapis.com"
SLICE: Final = 1024 * 1024
"""Bytes hashed at once: google-crc32c takes nothing but `bytes`, so they have to be copied."""

_FIELDS: Final = {CRC32C: "crc32c", MD5: "md5Hash"}
"""An object's digests in its resource."""
_RECEIVED: Final = re.compile(r"(?:bytes[= ])?0-([0-9]{1,18})")


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
    """Return the object that a resource describes.

    Implementations that follow protobuf's JSON omit values that are zero or empty, or set them to null: an object
    without a size has no bytes.

    Args:
        resource: the JSON value.
        key: the object's key; `None` to take the resource's name.

    Raises:
        ValueError: it is no resource of an object.
    """
    fields = resource if isinstance(resource, dict) else {}
    # `updated` also changes with the metadata; content is written when a generation is created.
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
    """Return objects and folded prefixes of one page, in ascending order, and the token of the next page.

    Args:
        page: the JSON value.
        token: the token by which this page was requested.

    Raises:
        ValueError: it is no page of a listing, or the listing has no end.
    """
    prefixes = map(_text, _list(page.get("prefixes")))
    rows: dict[str, ObjectInfo | CommonPrefix] = {prefix: CommonPrefix(prefix) for prefix in prefixes}
    rows |= {info.key: info for info in map(info_of, _list(page.get("items")))}
    following = token_of(page, "nextPageToken")
    if following is not None and following == token:
        raise ValueError("its nextPageToken leads to the same page")
    return [row for _, row in sorted(rows.items())], following


def token_of(answer: Mapping[str, Any], field: str) -> str | None:
    """Return the token by which to go on, or `None` at the end; raise `ValueError` where it is of another type."""
    return _text(answer[field]) if answer.get(field) else None


def _generation(value: Any) -> Revision:
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ValueError("a generation is of another type")  # noqa: TRY004 - the type of data, not of an argument
    return Revision(entity_tag(f"{value}"))


def _list(value: Any) -> list[Any]:
    if value is not None and not isinstance(value, list):
        raise ValueError("a list is of another type")
    return value or []


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError("a text is empty or of another type")
    value.encode()  # raises where half of a surrogate pair stands alone
    return value


def answered_at(headers: Mapping[str, str]) -> datetime:
    """When the store answered, by its clock (by ours where it doesn't say)."""
    try:
        return http_time(headers["Date"])
    except (KeyError, ValueError):
        return datetime.now(UTC)
