"""Pure conversions (no I/O) between the driver's own types and Azure Blob Storage's headers, URLs and XML."""

from __future__ import annotations

import base64
import hashlib
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import formatdate
from functools import lru_cache
from typing import Final
from urllib.parse import parse_qs, quote, unquote, urlencode, urlsplit

from aioassets.drivers.http.endpoints import server_url
from aioassets.drivers.http.parsing import entity_tag, http_time, number
from aioassets.drivers.protocol import CommonPrefix, Data, Expect, ObjectInfo, Revision
from aioassets.errors import InvalidSetting

API_VERSION: Final = "2021-12-02"
"""The REST API version that all requests use. It is old enough to be supported by common emulators."""
DELEGATION_FIELDS: Final = (
    "SignedOid",
    "SignedTid",
    "SignedStart",
    "SignedExpiry",
    "SignedService",
    "SignedVersion",
    "Value",
)
"""The fields of a user delegation key."""
_EMULATOR: Final = "http://127.0.0.1:10000/devstoreaccount1"
_EMULATOR_KEY: Final = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""Azurite's documented key, for `UseDevelopmentStorage=true`."""


@dataclass(frozen=True, slots=True)
class Account:
    """A storage account and its credentials.

    Attributes:
        url: the account's blob endpoint, without a query.
        name: the account's name, which is needed to sign requests with the key.
        key: the account's key, if any.
        sas: a shared access signature, if any.
    """

    url: str
    name: str | None = None
    key: str | None = field(default=None, repr=False)
    sas: str | None = field(default=None, repr=False)

    @classmethod
    def from_options(
        cls,
        *,
        connection_string: str | None = None,
        account_url: str | None = None,
        account_name: str | None = None,
        account_key: str | None = None,
        sas_token: str | None = None,
    ) -> Account:
        """Return the account that the driver's options specify. Error messages never contain secrets.

        Raises:
            InvalidSetting: no account is specified, or a value is invalid.
        """
        given = cls("")
        if connection_string and not (account_url or account_name):
            given = cls._from_connection_string(connection_string)
        url = account_url or given.url or (f"https://{account_name}.blob.core.windows.net" if account_name else "")
        if not url:
            raise InvalidSetting(
                "Azure requires an account: set connection_string (AZURE_STORAGE_CONNECTION_STRING), account_url or "
                "account_name."
            )
        parts = server_url("account_url", url, query=True)
        sas = (sas_token or parts.query or given.sas or "").strip().lstrip("?")
        if not sas.isprintable() or " " in sas:
            raise InvalidSetting("The shared access signature (sas_token) contains a line break or a space.")
        name = account_name or given.name or _name_in(parts.netloc, parts.path)
        return cls(
            f"{parts.scheme}://{parts.netloc}{parts.path}".rstrip("/"), name, account_key or given.key, sas or None
        )

    @classmethod
    def _from_connection_string(cls, text: str) -> Account:
        fields = dict(part.split("=", 1) for part in text.split(";") if "=" in part)
        said = {name.strip().upper(): value.strip() for name, value in fields.items()}
        if said.get("USEDEVELOPMENTSTORAGE", "").lower() == "true":
            return cls(_EMULATOR, "devstoreaccount1", _EMULATOR_KEY)
        name = said.get("ACCOUNTNAME")
        url = said.get("BLOBENDPOINT")
        if not url and name:
            protocol = said.get("DEFAULTENDPOINTSPROTOCOL", "https")
            url = f"{protocol}://{name}.blob.{said.get('ENDPOINTSUFFIX', 'core.windows.net')}"
        if not url:
            raise InvalidSetting("The Azure connection string must contain AccountName or BlobEndpoint.")
        return cls(url, name, said.get("ACCOUNTKEY"), said.get("SHAREDACCESSSIGNATURE"))


def _name_in(host: str, path: str) -> str:
    """Return the account name: the first segment of an emulator's path, or else the first label of the host name."""
    return path.strip("/").partition("/")[0] or host.partition(".")[0]


def encoded_key(key: str) -> str:
    """Percent-encode a key for use in a URL's path."""
    return quote(key, safe="~/")


def with_query(url: str, query: Mapping[str, str], signature: str) -> str:
    """Append query parameters and a signature to a URL. The signature must already be encoded."""
    if not query:
        return f"{url}?{signature}" if signature else url
    fields = urlencode(query, quote_via=quote)
    return f"{url}?{fields}&{signature}" if signature else f"{url}?{fields}"


def target(url: str, key: str, query: Mapping[str, str]) -> str:
    """Return the URL of a blob, or of the container if the key is empty.

    Args:
        url: the container's URL, optionally followed by `?` and a signature.
        key: the blob's key.
        query: the query parameters, not encoded.
    """
    base, _, signature = url.partition("?")
    return with_query(f"{base}/{encoded_key(key)}" if key else base, query, signature)


def parent_of(url: str) -> str:
    """Return the URL of the account of a container, with a trailing slash, and with the signature if there is one."""
    base, mark, signature = url.partition("?")
    return f"{base.rpartition('/')[0]}/{mark}{signature}"


def given(**headers: str | None) -> dict[str, str]:
    """Return the arguments that are not `None`, with underscores in their names replaced by hyphens."""
    return {name.replace("_", "-"): value for name, value in headers.items() if value is not None}


def quoted(revision: Revision) -> str:
    """Return a revision as an ETag in quotes, as used in headers."""
    return f'"{revision}"'


def condition_for(expected: Revision | Expect) -> dict[str, str]:
    """Return the headers that make a write conditional on the expected state."""
    if expected is Expect.ABSENT:
        return {"if-none-match": "*"}
    return {} if isinstance(expected, Expect) else {"if-match": quoted(expected)}


def md5_of(data: Data) -> str:
    """Return the MD5 of data, encoded in base64 as used in headers."""
    return in_base64(hashlib.md5(data, usedforsecurity=False).digest())


def in_base64(digest: bytes) -> str:
    """Return a digest, encoded in base64 as used in headers."""
    return base64.b64encode(digest).decode()


def revision_of(headers: Mapping[str, str]) -> Revision:
    """Return the ETag from response headers, without its quotes.

    Raises:
        KeyError, ValueError: there is no ETag, or it is invalid.
    """
    return Revision(entity_tag(headers["etag"]))


def date_now() -> str:
    """Return the current time as an HTTP date."""
    return _http_date(int(time.time()))


@lru_cache(maxsize=1)
def _http_date(second: int) -> str:
    return formatdate(second, usegmt=True)


def seconds_left(expires_on: float) -> float:
    """Return the number of seconds until a Unix timestamp."""
    return expires_on - time.time()


def time_after(duration: timedelta) -> datetime:
    """Return the time when a duration that begins now will have passed."""
    return datetime.now(UTC) + duration


def answered_at(headers: Mapping[str, str]) -> datetime:
    """Return when the store sent a response, or the local time if the response has no valid date."""
    try:
        return http_time(headers["date"])
    except (KeyError, ValueError):
        return datetime.now(UTC)


def expiry(url: str, now: datetime) -> str:
    """Return when a URL's shared access signature expired, or an empty string if it isn't known to have expired."""
    (expires, *_) = parse_qs(urlsplit(url).query).get("se", [""])
    try:
        then = datetime.fromisoformat(expires)
    except ValueError:
        return ""
    return expires if (then if then.tzinfo else then.replace(tzinfo=UTC)) <= now else ""


def info_of(key: str, headers: Mapping[str, str]) -> ObjectInfo:
    """Return the metadata of a blob, given response headers or the properties in a listing.

    If a blob was uploaded in one request, the store has computed its MD5. If it was uploaded in blocks,
    the store has verified each block, but the MD5 of the whole blob is the value that the writer sent.
    """
    md5 = headers.get("content-md5")
    checksums = {"md5": base64.b64decode(md5).hex()} if md5 else {}
    return ObjectInfo(
        key, number(headers["content-length"]), revision_of(headers), http_time(headers["last-modified"]), checksums
    )


def block_list(ids: Sequence[str]) -> bytes:
    """Return the document that commits blocks. It lists them as uncommitted, so that no other blocks are used."""
    rows = "".join(f"<Uncommitted>{block}</Uncommitted>" for block in ids)
    return f'<?xml version="1.0" encoding="utf-8"?><BlockList>{rows}</BlockList>'.encode()


def parse_block_list(body: Data) -> Set[str]:
    """Return the IDs of the uncommitted blocks in a block list."""
    return {row.text or "" for row in ET.fromstring(body).iterfind("UncommittedBlocks/Block/Name")}  # noqa: S314


def delegation_request(start: datetime, expiry: datetime) -> bytes:
    """Return the document that asks for a user delegation key."""
    times = (f"<Start>{start:%Y-%m-%dT%H:%M:%SZ}</Start>", f"<Expiry>{expiry:%Y-%m-%dT%H:%M:%SZ}</Expiry>")
    return f'<?xml version="1.0" encoding="utf-8"?><KeyInfo>{"".join(times)}</KeyInfo>'.encode()


def parse_delegation_key(body: Data) -> Mapping[str, str]:
    """Return the fields of a user delegation key.

    Raises:
        KeyError, ET.ParseError: the document isn't one.
    """
    fields = {field.tag: field.text or "" for field in ET.fromstring(body)}  # noqa: S314 - comes from the store
    return {name: fields[name] for name in DELEGATION_FIELDS}


def parse_listing(body: Data) -> tuple[Sequence[ObjectInfo | CommonPrefix], str]:
    """Return a page's objects and common prefixes in ascending order, and the marker for the next page."""
    page = ET.fromstring(body)  # noqa: S314 - the document comes from the store itself
    rows = {row.prefix if isinstance(row, CommonPrefix) else row.key: row for row in _rows(page)}
    return [row for _, row in sorted(rows.items())], page.findtext("NextMarker") or ""


def _rows(page: ET.Element) -> Iterable[ObjectInfo | CommonPrefix]:
    for row in page.iterfind("Blobs/BlobPrefix"):
        yield CommonPrefix(_name(row))
    for row in page.iterfind("Blobs/Blob"):
        # Hadoop's connectors and accounts with a hierarchical namespace list folders as empty blobs.
        if (row.findtext("Metadata/hdi_isfolder") or "").lower() != "true":
            yield info_of(_name(row), {field.tag.lower(): field.text or "" for field in row.iterfind("Properties/*")})


def _name(row: ET.Element) -> str:
    """Return the name of a row. Names that XML can't represent are percent-encoded."""
    name = row.find("Name")
    if name is None or not name.text:
        raise ValueError("an entry in the listing has no name")
    return unquote(name.text) if name.get("Encoded") == "true" else name.text
