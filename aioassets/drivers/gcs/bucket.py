"""Requests to a Google Cloud Storage bucket. Each request is sent only once."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, Final

from aioassets.drivers.bodies import CHUNK, Part, PastEnd, read_whole
from aioassets.drivers.gcs.errors import translate
from aioassets.drivers.gcs.session import Connection
from aioassets.drivers.gcs.values import (
    Checksum,
    Multipart,
    address,
    answered_at,
    condition_for,
    info_of,
    parse_page,
)
from aioassets.drivers.http.parsing import number
from aioassets.drivers.http.responses import AnyResponse, pieces_of
from aioassets.drivers.protocol import CommonPrefix, Data, Expect, ObjectInfo, Revision
from aioassets.drivers.service_errors import ForeignAnswer, Request, translating
from aioassets.errors import AioAssetsError, IntegrityError, ObjectNotFound, StoreError, StoreUnavailable
from aioassets.runtime.cancellation import cleanup_scope
from aioassets.runtime.threads import in_thread

_AS_STORED: Final = {"accept-encoding": "gzip"}
"""Without this header, the store decompresses gzip-encoded objects and ignores the requested range."""


class Bucket:
    """A Google Cloud Storage bucket.

    Args:
        name: the bucket's name.
        root: the URL of the API.
        connection: the connection that sends the requests.
    """

    def __init__(self, name: str, root: str, connection: Connection) -> None:
        self.name = name
        self.url = f"gs://{name}"
        self.connection = connection
        self._root = root

    async def open(self) -> None:
        """Import the SDK and find credentials, unless this has already been done."""
        await self.connection.open()

    async def aclose(self) -> None:
        """Close the connections."""
        await self.connection.aclose()

    async def content(self, key: str, limit: int) -> tuple[bytes, str | None]:
        """Return the contents of a document, and its generation if the response includes it."""
        async with self._media(key, None) as response:
            headers = response.headers
            data = await read_whole(pieces_of(response), _length(headers), limit, self.url_of(key))
            return data, headers.get("x-goog-generation")

    @contextlib.asynccontextmanager
    async def _media(self, key: str, revision: Revision | None, **headers: str) -> AsyncIterator[AnyResponse]:
        request = Request(self.url, "read", key)
        url = self.address("o", key, alt="media", ifGenerationMatch=revision)
        async with self.connection.exchange(
            request, "GET", url, headers={**_AS_STORED, **headers}, direct=True
        ) as response:
            if response.status >= 400 and response.status != 416:
                raise await self.connection.refusal(response)
            yield response

    @contextlib.asynccontextmanager
    async def open_range(self, key: str, start: int, stop: int, revision: Revision | None) -> AsyncIterator[Part]:
        """Request a range of an object. The body can be read until the `with` block ends.

        Raises:
            PastEnd: the object ends before the range begins.
        """
        async with self._media(key, revision, range=f"bytes={start}-{stop - 1}") as response:
            if response.status == 416:
                raise PastEnd
            headers = response.headers
            found = headers.get("x-goog-generation")
            pinned = Revision(found) if found else None
            yield Part(pieces_of(response), pinned, response.status == 206, _length(headers))

    async def describe(self, key: str) -> tuple[ObjectInfo, datetime]:
        """Return an object's metadata, and the time of the response."""
        request = Request(self.url, "read", key)
        answer = await self.connection.call(request, "GET", self.address("o", key))
        return described(request, self.connection.parsed(request, answer)), answered_at(answer.headers)

    async def list(
        self, prefix: str, delimiter: str | None, token: str | None
    ) -> tuple[Sequence[ObjectInfo | CommonPrefix], str | None]:
        """Return a page of a listing, and the token for the next page, or `None` if there are no more pages."""
        url = self.address("o", prefix=prefix, delimiter=delimiter, pageToken=token)
        page = await self.connection.ask(Request(self.url, "list", needs_only_bucket=True), "GET", url)
        with translating(translate, Request(self.url, "list")):
            return parse_page(page, token)

    async def insert(
        self,
        key: str,
        data: Data,
        checksum: Checksum,
        expected: Revision | Expect,
        **metadata: str,
    ) -> ObjectInfo:
        """Write an object in one request. The store verifies the contents, and the driver verifies the response."""
        condition = condition_for(expected)
        swapping = not isinstance(expected, Expect)
        request = Request(self.url, "write", key, conditional=bool(condition), needs_only_bucket=not swapping)
        url = _insert_address(self._root, self.name, condition.get("ifGenerationMatch"))
        body = Multipart({"name": key, **checksum.field, **metadata}, data)
        headers = {"content-type": body.content_type}
        answer = await self.connection.call(request, "POST", url, headers=headers, body=body, direct=True)
        resource = self.connection.parsed(request, answer)
        return await self.verified(key, resource, len(data), checksum)

    async def delete(self, key: str, revision: Revision | None = None) -> None:
        """Delete an object. If a revision is given, delete the object only if it has that revision."""
        url = self.address("o", key, ifGenerationMatch=revision)
        request = Request(self.url, "delete", key)
        answer = await self.connection.call(request, "DELETE", url)
        if answer.body:  # a successful response is empty
            self.connection.parsed(request, answer)

    def address(self, *path: str, upload: bool = False, **params: str | None) -> str:
        """Return the URL for a path in the bucket, with the parameters that are not `None`."""
        service = ("upload", "storage") if upload else ("storage",)
        return address(self._root, *service, "v1", "b", self.name, *path, **params)

    async def verified(self, key: str, resource: Mapping[str, Any], size: int, checksum: Checksum) -> ObjectInfo:
        """Return the metadata of an uploaded object, or delete it if its contents differ from what was sent.

        Raises:
            IntegrityError: the contents differ.
        """
        request = Request(self.url, "write", key)
        # Some implementations don't describe the object after an upload, and some omit the size of an empty one.
        if "generation" not in resource or ("size" not in resource and size):
            info = await self._made(request)
        else:
            info = described(request, resource)
        found = info.checksums.get(checksum.algorithm, checksum.hex)
        if (info.size, found) == (size, checksum.hex):
            return info
        with cleanup_scope(), contextlib.suppress(AioAssetsError):
            await self.delete(key, info.revision)
        algorithm = checksum.algorithm
        raise IntegrityError(
            self.url_of(key),
            f"{size} bytes with {algorithm} {checksum.hex}",
            f"{info.size} bytes with {algorithm} {found}",
        )

    async def _made(self, request: Request) -> ObjectInfo:
        """Request the metadata of a new object, because the response to its upload didn't include the metadata."""
        try:
            info, _ = await self.describe(request.key)
        except ObjectNotFound as error:
            raise translate(ForeignAnswer(), request) from error
        except StoreUnavailable as error:
            detail = f"it stored {request.key!r}, but its metadata can't be read: {error}"
            raise StoreUnavailable(self.url, detail, retry_after=error.retry_after) from error
        except AioAssetsError as error:
            raise StoreError(
                f"{request.url} was written, but its metadata can't be read: {error}", uncertain=True
            ) from error
        return info

    def url_of(self, key: str) -> str:
        """Return the URL of an object, for error messages."""
        return f"{self.url}/{key}"


@lru_cache(maxsize=8)
def _insert_address(root: str, bucket: str, generation: str | None) -> str:
    """Return the URL for inserting objects, which is the same for all files in a push."""
    path = ("upload", "storage", "v1", "b", bucket, "o")
    return address(root, *path, uploadType="multipart", ifGenerationMatch=generation)


async def checksum_of(data: Data) -> Checksum:
    """Return the checksum of data. It is computed in a thread if the data is long."""
    return await in_thread(Checksum.of, data) if len(data) > CHUNK else Checksum.of(data)


def _length(headers: Mapping[str, str]) -> int | None:
    return number(headers["content-length"]) if "content-length" in headers else None


def described(request: Request, resource: Mapping[str, Any]) -> ObjectInfo:
    """Return an object's metadata from a response. Raise an error if the response didn't come from Google."""
    with translating(translate, request):
        return info_of(resource, request.key)
