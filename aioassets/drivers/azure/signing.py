"""Authorizing requests to Azure Blob Storage with account keys or tokens."""

from __future__ import annotations

import base64
import hmac
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

import anyio

from aioassets.drivers.azure.values import seconds_left, time_after

SCOPE: Final = "https://storage.azure.com/.default"
"""The token scope that covers all storage accounts."""
MARGIN: Final = 300.0
"""Number of seconds before expiry at which a token is renewed, as in the SDK."""
LIFETIME: Final = timedelta(hours=1)
"""The time for which the store may read a blob to copy from. Copying a block takes seconds."""
_SIGNED: Final = (
    "content-encoding",
    "content-language",
    "content-length",
    "content-md5",
    "content-type",
    "date",
    "if-modified-since",
    "if-match",
    "if-none-match",
    "if-unmodified-since",
    "range",
)
"""The headers in the string to sign, in this order:
https://learn.microsoft.com/rest/api/storageservices/authorize-with-shared-key"""


class SharedKey:
    """Signs requests with a storage account's key.

    Args:
        account: the account's name.
        key: the key, encoded in base64.

    Raises:
        ValueError: the key is not valid base64.
    """

    def __init__(self, account: str, key: str) -> None:
        self._account = account
        self._key = base64.b64decode(key, validate=True)

    async def authorize(self, method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str]) -> str:
        """Return the `Authorization` header for a request.

        Args:
            method: the HTTP method.
            path: the encoded path, as sent.
            query: the query parameters, not encoded, with lower-case names.
            headers: all headers, with lower-case names. A `content-length` of 0 is signed as an empty string.
        """
        listed = [headers.get(name, "") for name in _SIGNED]
        if headers.get("content-length") == "0":
            listed[2] = ""
        own = [f"{name}:{headers[name]}" for name in sorted(headers) if name.startswith("x-ms-")]
        resource = f"/{self._account}{path}"
        parameters = [f"{name}:{query[name]}" for name in sorted(query)]
        text = "\n".join((method, *listed, *own, resource, *parameters))
        signature = base64.b64encode(hmac.digest(self._key, text.encode(), "sha256")).decode()
        return f"SharedKey {self._account}:{signature}"

    async def as_source(self, url: str, container: str, key: str) -> Mapping[str, str]:
        """Return the headers that name a blob to copy from. The URL gets a signature that lets the store read it."""
        from azure.storage.blob import BlobSasPermissions, generate_blob_sas  # noqa: PLC0415 - loaded with the client

        signature = generate_blob_sas(
            self._account,
            container,
            key,
            account_key=base64.b64encode(self._key).decode(),
            permission=BlobSasPermissions(read=True),
            expiry=time_after(LIFETIME),
        )
        return {"x-ms-copy-source": f"{url}?{signature}"}


class Tokens:
    """Tokens from an SDK credential, which are renewed before they expire.

    Args:
        credential: an `AsyncTokenCredential`.
    """

    def __init__(self, credential: Any) -> None:
        self._credential = credential
        self._token: Any = None
        self._renewing = anyio.Lock()

    async def authorize(self, method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str]) -> str:
        """Return the `Authorization` header, which is the same for all requests."""
        if not self._is_fresh():
            async with self._renewing:
                if not self._is_fresh():
                    self._token = await self._credential.get_token(SCOPE)
        return f"Bearer {self._token.token}"

    async def as_source(self, url: str, container: str, key: str) -> Mapping[str, str]:
        """Return the headers that name a blob to copy from, and authorize the store to read it."""
        token = await self.authorize("", "", {}, {})
        return {"x-ms-copy-source": url, "x-ms-copy-source-authorization": token}

    def forget(self) -> None:
        """Discard the token, because the service rejected it."""
        self._token = None

    def _is_fresh(self) -> bool:
        return self._token is not None and seconds_left(self._token.expires_on) > MARGIN
