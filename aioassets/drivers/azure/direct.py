"""Requests for single blobs over aioassets' own connections."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from aioassets.drivers.azure.signing import SharedKey, Tokens
from aioassets.drivers.azure.values import API_VERSION, date_now, encoded_key, with_query
from aioassets.drivers.http.host import Host
from aioassets.drivers.http.response import Response
from aioassets.drivers.protocol import Data

UNAUTHORIZED: Final = 401


class DirectClient:
    """A client for an Azure Blob Storage container that doesn't use the SDK.

    Args:
        host: the connections to the server.
        url: the container's URL, including the shared access signature if there is one.
        authorization: the account key or the tokens; `None` for a shared access signature or anonymous access.
    """

    def __init__(self, host: Host, url: str, authorization: SharedKey | Tokens | None) -> None:
        self._host = host
        self._path = urlsplit(url).path
        self._signature = urlsplit(url).query
        self._authorization = authorization

    async def send(
        self, method: str, key: str, query: Mapping[str, str], headers: Mapping[str, str], body: Data | None
    ) -> Response | None:
        """Send a request once.

        Returns:
            The response, or `None` if the service rejected the token. The SDK may be able to answer the challenge.
        """
        path = f"{self._path}/{encoded_key(key)}"
        sent = {"x-ms-version": API_VERSION, "x-ms-date": date_now(), **headers}
        if body is not None:
            sent["content-length"] = str(len(body))
        if self._authorization is not None:
            sent["authorization"] = await self._authorization.authorize(method, path, query, sent)
        response = await self._host.send(method, with_query(path, query, self._signature), sent, body)
        if response.status == UNAUTHORIZED and isinstance(self._authorization, Tokens):
            self._authorization.forget()
            response.close()
            return None
        return response

    async def as_source(self, url: str, container: str, key: str) -> Mapping[str, str]:
        """Return the headers that name a blob to copy from, and let the store read it.

        Args:
            url: the blob's URL, including the shared access signature if there is one.
            container: the container's name.
            key: the blob's key.
        """
        if self._authorization is None:
            return {"x-ms-copy-source": url}
        return await self._authorization.as_source(url, container, key)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._host.aclose()
