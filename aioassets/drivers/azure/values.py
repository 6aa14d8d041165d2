"""Between values of ours and the headers and XML of Azure Blob Storage, without any I/O."""

from __future__ import annotations

import base64
import hashlib
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final
from urllib.parse import parse_qs, unquote, urlsplit

from aioassets.drivers.http.endpoints import server_url
from aioassets.drivers.http.parsing import entity_tag, http_time, number
from aioassets.drivers.protocol import CommonPrefix, Data, Expect, ObjectInfo, Revision
from aioassets.errors import InvalidSetting

_EMULATOR: Final = "http://127.0.0.1:10000/devstoreaccount1"
_EMULATOR_KEY: Final = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""Azurite's, published in its documentation; what `UseDevelopmentStorage=true` stands for."""


@dataclass(frozen=True, slots=True)
class Account:
    """A storage account, and how to get in.

    Attributes:
        url: its blob endpoint, without a query.
        name: its name, for the key.
        key: its key.
        sas: a shared access signature.
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
        """Settle what a driver was given; never echoes a secret.

        Raises:
            InvalidSetting: no account is named, or a value can't be used.
        """
        given = cls("")
        if connection_string and not (account_url or account_name):
            given = cls._from_connection_string(connection_string)
        url = account_url or given.url or (f"https://{account_name}.blob.core.windows.net" if account_name else "")
        if not url:
            raise InvalidSetting(
                "Azure needs an account: set connection_string (AZURE_STORAGE_CONNECTION_STRING), account_url or "
                "account_name."
            )
        parts = server_url("account_url", url, query=True)
        sas = (sas_token or parts.query or given.sas or "").lstrip("?")
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
            raise InvalidSetting("The Azure connection string names no account: it needs AccountName or BlobEndpoint.")
        return cls(url, name, said.get("ACCOUNTKEY"), said.get("SHAREDACCESSSIGNATURE"))


def _name_in(host: str, path: str) -> str:
    """The account's name: the host's first label, or, on an emulator, the first segment of the path."""
    return path.strip("/").partition("/")[0] or host.partition(".")[0]


def given(**headers: str | None) -> dict[str, str]:
    """The headers that have a value, with dashes for underscores."""
    return {name.replace("_", "-"): value for name, value in headers.items() if value is not None}


def quoted(revision: Revision) -> str:
    """A revision as the ETag that headers hold."""
    return f'"{revision}"'


def condition_for(expected: Revision | Expect) -> dict[str, str]:
    """The headers that make a write conditional."""
    if expected is Expect.ABSENT:
        return {"If-None-Match": "*"}
    return {} if isinstance(expected, Expect) else {"If-Match": quoted(expected)}


def md5_of(data: Data) -> str:
    """In the notation of headers."""
    return in_base64(hashlib.md5(data, usedforsecurity=False).digest())


def in_base64(digest: bytes) -> str:
    """A digest in the notation of headers."""
    return base64.b64encode(digest).decode()


def revision_of(headers: Mapping[str, str]) -> Revision:
    """The ETag, which listings write without its quotes.

    Raises:
        KeyError, ValueError: there is none.
    """
    return Revision(entity_tag(headers["Etag"]))


def answered_at(headers: Mapping[str, str]) -> datetime:
    """When the store answered, by its clock (by ours where something on the way took that away)."""
    try:
        return http_time(headers["Date"])
    except (KeyError, ValueError):
        return datetime.now(UTC)


def expiry(url: str, now: datetime) -> str:
    """When the shared access signature in a URL expired; empty where it didn't, or where there is none that tells."""
    (expires, *_) = parse_qs(urlsplit(url).query).get("se", [""])
    try:
        then = datetime.fromisoformat(expires)
    except ValueError:
        return ""
    return expires if (then if then.tzinfo else then.replace(tzinfo=UTC)) <= now else ""


def info_of(key: str, headers: Mapping[str, str]) -> ObjectInfo:
    """An object as its headers (or the properties in a listing, which bear the same names) describe it.

    The MD5 is the store's own where it received the blob in one piece. Of a blob in blocks, whose
    bytes it checked block by block, it is what the writer stated; there is no other digest of the
    whole. A SHA-256 in the metadata would be the writer's word alone, and isn't kept.
    """
    md5 = headers.get("Content-MD5")
    checksums = {"md5": base64.b64decode(md5).hex()} if md5 else {}
    return ObjectInfo(
        key, number(headers["Content-Length"]), revision_of(headers), http_time(headers["Last-Modified"]), checksums
    )


def block_list(ids: Sequence[str]) -> bytes:
    """The document that makes a blob of blocks; only of those that no blob has yet, which are ours."""
    rows = "".join(f"<Uncommitted>{block}</Uncommitted>" for block in ids)
    return f'<?xml version="1.0" encoding="utf-8"?><BlockList>{rows}</BlockList>'.encode()


def parse_block_list(body: bytes) -> Set[str]:
    """The ids of the blocks that no blob is made of."""
    return {row.text or "" for row in ET.fromstring(body).iterfind("UncommittedBlocks/Block/Name")}  # noqa: S314


def parse_listing(body: bytes) -> tuple[Sequence[ObjectInfo | CommonPrefix], str]:
    """Objects and folded prefixes of one page in one ascending order, and where the next page begins."""
    page = ET.fromstring(body)  # noqa: S314 - of the store itself
    rows = {row.prefix if isinstance(row, CommonPrefix) else row.key: row for row in _rows(page)}
    return [row for _, row in sorted(rows.items())], page.findtext("NextMarker") or ""


def _rows(page: ET.Element) -> Iterable[ObjectInfo | CommonPrefix]:
    for row in page.iterfind("Blobs/BlobPrefix"):
        yield CommonPrefix(_name(row))
    for row in page.iterfind("Blobs/Blob"):
        # Hadoop's connectors, and accounts with a hierarchical namespace, list folders as empty blobs.
        if (row.findtext("Metadata/hdi_isfolder") or "").lower() != "true":
            yield info_of(_name(row), {field.tag: field.text or "" for field in row.iterfind("Properties/*")})


def _name(row: ET.Element) -> str:
    """The row's name, which is encoded where XML couldn't hold it."""
    name = row.find("Name")
    if name is None or not name.text:
        raise ValueError("a row has no name")
    return unquote(name.text) if name.get("Encoded") == "true" else name.text
