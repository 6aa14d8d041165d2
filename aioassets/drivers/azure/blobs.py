"""Requests for the blobs in a container. Each request is sent only once."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence

from aioassets.drivers.azure.client import AzureClient, off_the_loop
from aioassets.drivers.azure.values import answered_at, given, info_of, md5_of, parse_listing, quoted, revision_of
from aioassets.drivers.bodies import Part, PastEnd, read_whole
from aioassets.drivers.http.connections import MAX_ERROR
from aioassets.drivers.http.parsing import http_time, number
from aioassets.drivers.http.responses import pieces_of
from aioassets.drivers.protocol import CommonPrefix, Data, Document, ObjectInfo, Revision
from aioassets.drivers.service_errors import ForeignAnswer, code_of
from aioassets.errors import StoreError, StoreUnavailable


class Blobs:
    """The blobs in a container.

    Args:
        url: the container's URL, for error messages.
        client: the client that sends the requests.
    """

    def __init__(self, url: str, client: AzureClient) -> None:
        self._url = url
        self._client = client

    async def read(self, key: str, limit: int) -> Document:
        """Return a document of at most `limit` bytes. Verify its MD5 if the response includes one."""
        async with self._client.stream("GET", key, direct=True) as response:
            headers = response.headers
            length = number(headers.get("content-length", 0))
            data = await read_whole(pieces_of(response), length, limit, f"{self._url}/{key}")
            if headers.get("content-md5", "") not in ("", await off_the_loop(md5_of, data)):
                raise StoreUnavailable(self._url, f"{key!r} was damaged in transit.", uncertain=False)
            return Document(data, revision_of(headers), http_time(headers["last-modified"]), answered_at(headers))

    @contextlib.asynccontextmanager
    async def open_range(self, key: str, start: int, stop: int, revision: Revision | None) -> AsyncIterator[Part]:
        """Request a range of a blob. The body can be read until the `with` block ends.

        Raises:
            PastEnd: the blob ends before the range begins.
        """
        headers = {"x-ms-range": f"bytes={start}-{stop - 1}"}
        if revision is not None:
            headers["if-match"] = quoted(revision)
        try:
            async with self._client.stream("GET", key, headers=headers, direct=True) as response:
                told = response.headers
                length = number(told["content-length"]) if "content-length" in told else None
                yield Part(pieces_of(response), revision_of(told), "content-range" in told, length)
        except StoreError as error:
            if code_of(error) == "InvalidRange":
                raise PastEnd from error
            raise

    async def stat(self, key: str) -> ObjectInfo:
        """Return a blob's metadata."""
        return self.info_of(key, await self.head(key))

    async def head(self, key: str) -> Mapping[str, str]:
        """Return the response headers that describe a blob."""
        return await self._client.call("HEAD", key, verb="read")

    def info_of(self, key: str, headers: Mapping[str, str]) -> ObjectInfo:
        """Return a blob's metadata, given the response headers that describe it."""
        with self._client.reading("read", key):
            return info_of(key, headers)

    async def put(self, key: str, data: Data, headers: Mapping[str, str]) -> Revision:
        """Write a blob in one request. The store verifies its MD5 and keeps it as metadata."""
        whole = {
            "content-md5": await off_the_loop(md5_of, data),
            "content-type": "application/octet-stream",
            "x-ms-blob-type": "BlockBlob",
            **headers,
        }
        async with self._client.stream("PUT", key, verb="write", headers=whole, body=data, direct=True) as response:
            await response.content(MAX_ERROR, None)
            return revision_of(response.headers)

    async def delete(self, key: str) -> None:
        """Delete a blob together with its snapshots. A blob with snapshots can't be deleted on its own."""
        await self._client.call("DELETE", key, verb="delete", headers={"x-ms-delete-snapshots": "include"})

    async def list(
        self, prefix: str, delimiter: str | None, marker: str | None
    ) -> tuple[Sequence[ObjectInfo | CommonPrefix], str | None]:
        """Return a page of a listing, and the marker for the next page, which is empty if there are no more pages."""
        query = {"restype": "container", "comp": "list", "include": "metadata", "prefix": prefix}
        query |= given(delimiter=delimiter, marker=marker)
        rows, following = await self._client.ask(parse_listing, verb="list", query=query)
        if following and following == marker:
            with self._client.reading("list", ""):
                raise ForeignAnswer  # the listing never ends
        return rows, following
