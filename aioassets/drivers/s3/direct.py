"""Hot requests over aioassets' own HTTP connections.

For a small request, the SDK's endpoint rules, events and models of parameters and responses cost
several times as much as sending it.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from functools import lru_cache
from time import gmtime, monotonic, strftime, time
from typing import Final

from aioassets._version import __version__
from aioassets.drivers.bodies import joined
from aioassets.drivers.http.client import Connections, head_of
from aioassets.drivers.http.connections import MAX_ERROR
from aioassets.drivers.http.parsing import WEAK, entity_tag
from aioassets.drivers.http.response import Response, text_of
from aioassets.drivers.protocol import Data, Expect, Revision
from aioassets.drivers.s3.address import Address
from aioassets.drivers.s3.errors import ELSEWHERE, is_document, is_regional, parse_error
from aioassets.drivers.s3.hot import BucketMoved, Content, Payload, is_whole
from aioassets.drivers.s3.signing import Credentials, Signer, encoded_query
from aioassets.drivers.s3.values import answered_at, base64_of, crc32, response_time
from aioassets.drivers.service_errors import ForeignAnswer, ServiceErrorRaised

AGENT: Final = f"aioassets/{__version__}"
_CHECKSUM: Final = b"x-amz-checksum-"
_NOTHING: Final[Mapping[str, str]] = {}

_log = logging.getLogger(__name__)


class DirectRequests:
    """Hot requests that are signed and sent without the SDK.

    Args:
        address: the bucket's address.
        connections: the connections to send requests over. This object never closes them.
        credentials: a function that returns the credentials for the next request.
        patience: how many seconds reading the body of an error response may take.
        encryption: the headers that request server-side encryption.
        headers: headers to send with every request.
        adds_checksums: whether every upload carries a checksum.
    """

    def __init__(
        self,
        address: Address,
        connections: Connections,
        credentials: Callable[[], Awaitable[Credentials]],
        *,
        patience: float,
        encryption: Mapping[str, str] = _NOTHING,
        headers: Mapping[str, str] = _NOTHING,
        adds_checksums: bool = False,
    ) -> None:
        self.address = address
        self._connections = connections
        self._credentials = credentials
        self._patience = patience
        self._encryption = encryption
        self._headers = {**headers, "accept-encoding": "identity", "user-agent": AGENT}
        self._adds_checksums = adds_checksums
        self._signer = Signer(address.region)

    async def get(self, key: str, *, span: tuple[int, int] | None = None, revision: Revision | None = None) -> Content:
        headers = {"x-amz-checksum-mode": "ENABLED"} if span is None else {"range": f"bytes={span[0]}-{span[1] - 1}"}
        if revision is not None:
            headers["if-match"] = revision
        response = await self._send("GET", key, "", headers)
        try:
            if response.status >= 300:
                await self._refuse(response)
            return _content(response)
        except BaseException:
            response.close()
            raise

    async def put(
        self, key: str, body: Payload, *, expected: Revision | Expect, sha256: str | None, is_document: bool
    ) -> Revision:
        headers = {**self._encryption}
        if sha256 is not None:
            headers["x-amz-checksum-sha256"] = base64_of(sha256)
        if is_document:
            headers["cache-control"] = "no-store"
        if expected is Expect.ABSENT:
            headers["if-none-match"] = "*"
        elif not isinstance(expected, Expect):
            headers["if-match"] = expected
        if self._adds_checksums:
            body = await _with_checksum(headers, body)
        return Revision(entity_tag(await self._etag_of(await self._send("PUT", key, "", headers, body))))

    async def put_part(self, key: str, upload: str, number: int, body: Data, *, crc32: str | None) -> str:
        headers = {} if crc32 is None else {"x-amz-checksum-crc32": crc32}
        payload = await _with_checksum(headers, body) if self._adds_checksums else body
        query = encoded_query({"partNumber": f"{number}", "uploadId": upload})
        etag = await self._etag_of(await self._send("PUT", key, query, headers, payload))
        entity_tag(etag)
        return etag.removeprefix(WEAK)

    async def _etag_of(self, response: Response) -> str:
        """Return the ETag from the response to an upload."""
        if response.status >= 300 or not response.complete or response.received:
            async with response:
                await self._refuse(response)
        try:
            return text_of(response.raw_headers[b"etag"])
        except KeyError:
            raise ForeignAnswer from None

    async def _send(self, method: str, key: str, query: str, headers: dict[str, str], body: Payload = b"") -> Response:
        address = self.address
        path = address.path_of(key)
        headers.update(self._headers)
        moment = _stamp(int(time()))
        signed = self._signer.signed(await self._credentials(), method, address.host, path, query, headers, time=moment)
        if method == "PUT":
            signed["content-length"] = str(len(body))
        head = head_of(method, f"{path}?{query}" if query else path, signed)
        began = monotonic()
        response = await self._connections.request(address.server, head, body)
        if _log.isEnabledFor(logging.DEBUG):
            seconds = monotonic() - began
            _log.debug("%s %r: %d, %d bytes sent, %.3f s", method, key, response.status, len(body), seconds)
        return response

    async def _refuse(self, response: Response) -> None:
        """Raise the error that a response describes. Return if the response is an empty success."""
        status, headers = response.status, response.headers
        body = await response.content(MAX_ERROR, self._patience)
        if status < 300 and not bytes(body).strip():
            return
        if status < 300 and not is_document(body, b"Error"):
            raise ForeignAnswer
        error, region = parse_error(status, headers, body)
        if is_regional(status, headers, body) or error.code in ELSEWHERE:
            raise BucketMoved(region, error)
        raise ServiceErrorRaised(error)


def _content(response: Response) -> Content:
    headers = response.raw_headers
    try:
        etag, modified = headers[b"etag"], headers[b"last-modified"]
    except KeyError:
        raise ForeignAnswer from None
    length = headers.get(b"content-length")
    checksums = {
        name.removeprefix(_CHECKSUM).decode("latin-1"): text
        for name, value in headers.items()
        if name.startswith(_CHECKSUM) and is_whole(text := text_of(value))
    }
    return Content(
        response,
        Revision(entity_tag(text_of(etag))),
        response_time(text_of(modified)),
        answered_at(text_of(headers.get(b"date", b""))),
        int(length) if length is not None else None,
        b"content-range" in headers,
        checksums,
    )


async def _with_checksum(headers: dict[str, str], body: Payload) -> Data:
    """Add a checksum to the headers if they have none, and return the body in memory."""
    data = await joined(body)
    if not any(name.startswith("x-amz-checksum-") for name in headers):
        headers["x-amz-checksum-crc32"] = await crc32(data)
    return data


@lru_cache(maxsize=1)
def _stamp(moment: int) -> str:
    """Format a Unix timestamp as signatures require."""
    return strftime("%Y%m%dT%H%M%SZ", gmtime(moment))
