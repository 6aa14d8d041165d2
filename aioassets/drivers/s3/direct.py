"""A short way to S3 for the requests that each file needs.

The SDK spends several times on a small request what its sending takes: on rules for endpoints,
events, and models of parameters and answers. Here it is asked once for what comes of all that (where
the bucket is, and how requests to it are signed), and then requests go to connections of our own.
Whatever isn't certain to come out the same is left to the SDK.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from time import gmtime, strftime, time
from typing import Any, Final, Self
from urllib.parse import urlsplit
from uuid import uuid4

from botocore.exceptions import BotoCoreError, ClientError, FlexibleChecksumError
from botocore.httpchecksum import _CHECKSUM_CLS as CHECKSUMS
from botocore.parsers import create_parser

from aioassets.drivers.bodies import being_sent, body_of, joined
from aioassets.drivers.http.client import Connections, head_of
from aioassets.drivers.http.connections import MAX_ERROR
from aioassets.drivers.http.parsing import http_time, number
from aioassets.drivers.http.response import Response, text_of
from aioassets.drivers.protocol import Data, StreamedDocument
from aioassets.drivers.s3.errors import service_error_of
from aioassets.drivers.s3.session import Session
from aioassets.drivers.s3.signing import DEFAULT_PORTS, Signer, encoded_key, encoded_query, host_of
from aioassets.drivers.service_errors import REDIRECTS, ForeignAnswer, ServiceErrorRaised

_HEADERS: Final[Mapping[str, str]] = {
    "CacheControl": "cache-control",
    "ChecksumCRC32": "x-amz-checksum-crc32",
    "ChecksumMode": "x-amz-checksum-mode",
    "ChecksumSHA256": "x-amz-checksum-sha256",
    "IfMatch": "if-match",
    "IfNoneMatch": "if-none-match",
    "Range": "range",
    "SSEKMSKeyId": "x-amz-server-side-encryption-aws-kms-key-id",
    "ServerSideEncryption": "x-amz-server-side-encryption",
}
"""How parameters of the SDK are sent."""
_QUERY: Final[Mapping[str, str]] = {"PartNumber": "partNumber", "UploadId": "uploadId"}
_COVERED: Final = {*_HEADERS, *_QUERY, "Bucket", "Key", "Body"}
_ANSWERED: Final[Mapping[str, tuple[bytes, Callable[[str], Any]]]] = {
    "ContentLength": (b"content-length", number),
    "ContentRange": (b"content-range", str),
    "ETag": (b"etag", str),
    "LastModified": (b"last-modified", lru_cache(maxsize=128)(http_time)),  # equal for many small files
}
"""What is read of an answer."""
_ELSEWHERE: Final = frozenset({"AuthorizationHeaderMalformed", "IllegalLocationConstraintException"})
"""What S3 says of a bucket in another region, besides a redirection."""
_REGIONAL: Final = frozenset({301, 302, 307})
"""The redirects that may be of a bucket in another region, which the SDK then looks for by the store's own words."""
_ROOT: Final = re.compile(rb"<(?:[\w.-]+:)?([A-Za-z][\w.-]*)")
_WITHOUT_DOCUMENT: Final = frozenset({"DeleteObject", "HeadBucket", "HeadObject", "PutObject", "UploadPart"})
"""The requests of a driver whose answer has no body."""
_BY_ROOT: Final = frozenset({"DeleteObjects", "ListMultipartUploads", "ListObjectsV2", "ListParts"})
"""The requests whose answer may be empty, and so is only known by its name; some stores name others differently."""
_PROBE: Final = f"aioassets-{uuid4().hex}"
"""A key that nobody has."""


class _Resolved(Exception):
    """Takes a request from the SDK before it is signed and sent."""

    def __init__(self, request: Any, region: str | None, version: Any) -> None:
        self.request = request
        self.region = region
        self.version = version


@dataclass(frozen=True, slots=True)
class Address:
    """Where a bucket is, and how requests to it are signed.

    Attributes:
        scheme: of the protocol.
        server: host and port to connect to.
        host: what the server is called in requests.
        path: what stands before keys, encoded.
        agent: how the SDK calls itself.
        signer: signs requests.
    """

    scheme: str
    server: tuple[str, int]
    host: str
    path: str
    agent: str
    signer: Signer

    @classmethod
    def of(cls, request: Any, region: str | None, version: Any) -> Self | None:
        """By a request for `_PROBE`; `None` where it isn't an ordinary one, as with S3 Express."""
        signing = request.context.get("signing", {})
        region = signing.get("region", region)
        url = urlsplit(request.url.removesuffix(_PROBE))
        if version != "s3v4" or signing.get("signing_name", "s3") != "s3" or region is None or not url.hostname:
            return None
        server = (url.hostname, url.port or DEFAULT_PORTS[url.scheme])
        return cls(url.scheme, server, host_of(url), url.path, request.headers["User-Agent"], Signer(region))


class DirectClient:
    """Has the place of the SDK's client, which it passes all other requests to.

    Args:
        client: the SDK's.
        bucket: the only bucket that it is used for.
        patience: seconds in which something of a body has to be taken.
    """

    def __init__(self, client: Any, bucket: str, patience: float) -> None:
        self._client = client
        self._bucket = bucket
        self._patience = patience
        self._address: Address | None = None
        self._connections: Connections | None = None
        self._credentials: Any = None
        self._parse = create_parser("rest-xml").parse
        self._adds_checksums = True
        # Don't wait for `100 Continue`: a round trip per part, and for ever where a store never sends it.
        client.meta.events.register_last("before-call.s3", _drop_expect, unique_id="aioassets-drop-expect")
        client.meta.events.register_first("before-parse.s3", _check_answer, unique_id="aioassets-check-answer")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    async def resolve(self, session: Session) -> None:
        """Ask the SDK where the bucket is; nothing is sent. Blocks.

        Args:
            session: what the SDK's client sends with.
        """
        self._credentials = self._client._get_credentials()  # noqa: SLF001 - it has no public name
        self._adds_checksums = self._client.meta.config.request_checksum_calculation == "when_supported"
        self._client.meta.events.register_first("before-sign.s3.GetObject", _take)
        address = await self._resolved()
        if self._credentials is None or address is None or not session.is_direct_to(address.scheme):
            return
        connect_timeout, read_timeout = session.timeouts
        tls = session.tls() if address.scheme == "https" else None
        self._address = address
        self._connections = Connections(tls=tls, connect_timeout=connect_timeout, read_timeout=read_timeout)

    async def close(self) -> None:
        """Close the connections, and the SDK's client."""
        if self._connections is not None:
            await self._connections.aclose()
        await self._client.close()

    async def put_object(self, **params: Any) -> Any:
        """As the SDK's."""
        return await self._send("PutObject", self._client.put_object, params)

    async def upload_part(self, **params: Any) -> Any:
        """As the SDK's."""
        return await self._send("UploadPart", self._client.upload_part, params)

    async def get_object(self, **params: Any) -> Any:
        """As the SDK's."""
        return await self._send("GetObject", self._client.get_object, params)

    async def _resolved(self) -> Address | None:
        with contextlib.suppress(BotoCoreError):  # which the SDK raises for every request
            try:
                await self._client.get_object(Bucket=self._bucket, Key=_PROBE)
            except _Resolved as found:
                return Address.of(found.request, found.region, found.version)
        return None

    def _covers(self, operation: str, params: Mapping[str, Any]) -> bool:
        """Whether a request comes out as the SDK's would."""
        if not params.keys() <= _COVERED:
            return False
        added = self._adds_checksums and operation != "GetObject"
        return not added or "ChecksumSHA256" in params or "ChecksumCRC32" in params

    async def _send(self, operation: str, by_sdk: Any, params: dict[str, Any]) -> Any:
        address, connections = self._address, self._connections
        if address is None or connections is None or not self._covers(operation, params):
            return await self._by_sdk(by_sdk, params)
        head, body = await self._request(address, "GET" if operation == "GetObject" else "PUT", params)
        response = await connections.request(address.server, head, body)
        if response.status < 300 and operation == "GetObject":
            return {**_answer(response), "Body": _Body(response, verify="ChecksumMode" in params)}
        async with response:
            told = await response.content(MAX_ERROR, self._patience)
        check_redirect(response.status, response.headers, told)
        error = self._error_of(response, told)
        if error is None:
            return _answer(response)
        if response.status in _REGIONAL or error["Error"].get("Code") in _ELSEWHERE:
            answer = await self._by_sdk(by_sdk, params)  # which looks for the bucket
            if self._address is address:
                self._address = await self._resolved()
            return answer
        raise ClientError(error, operation)

    async def _by_sdk(self, call: Any, params: Mapping[str, Any]) -> Any:
        if "Body" not in params:
            return await call(**params)
        with body_of(await joined(params["Body"])) as body, being_sent(body, self._patience):
            return await call(**{**params, "Body": body})

    async def _request(
        self, address: Address, method: str, params: Mapping[str, Any]
    ) -> tuple[bytes, Data | StreamedDocument]:
        headers = {_HEADERS[name]: value for name, value in params.items() if name in _HEADERS}
        query = encoded_query({_QUERY[name]: str(params[name]) for name in _QUERY if name in params})
        headers["accept-encoding"] = "identity"
        headers["user-agent"] = address.agent
        path = address.path + encoded_key(params["Key"])
        moment = _stamp(int(time()))
        credentials = await self._credentials.get_frozen_credentials()
        signed = address.signer.signed(credentials, method, address.host, path, query, headers, time=moment)
        body: Data | StreamedDocument = params.get("Body", b"")
        if method == "PUT":
            signed["content-length"] = str(len(body))
        return head_of(method, f"{path}?{query}" if query else path, signed), body

    def _error_of(self, response: Response, body: Data) -> Any:
        """What an answer refuses, as the SDK parses it; `None` where it is a success."""
        if response.status < 300 and not body:
            return None
        answer = {"status_code": response.status, "headers": response.headers, "body": bytes(body)}
        if response.status < 300:  # S3 may send the headers of a success before it fails
            answer["status_code"] = 500
        error = self._parse(answer, None)
        return error if response.status >= 300 or error["Error"].get("Code") else None


class _Body:
    """The body of an answer, verified by what the store tells of it where that was asked for."""

    def __init__(self, response: Response, *, verify: bool) -> None:
        self._response = response
        self._checksum: Any
        self._expected, self._checksum = _checksum_of(response) if verify else ("", None)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: Any) -> None:
        self._response.close()

    async def read(self, size: int) -> Data:
        data = await self._response.read(size)
        if self._checksum is not None:
            self._checksum.update(data)
            if not data and self._checksum.b64digest() != self._expected:
                raise FlexibleChecksumError(error_msg="its checksum isn't the one that the store tells")
        return data


@lru_cache(maxsize=1)
def _stamp(moment: int) -> str:
    """A second in the notation of signatures."""
    return strftime("%Y%m%dT%H%M%SZ", gmtime(moment))


def _take(request: Any, signature_version: Any, region_name: str | None, **_: Any) -> None:
    if request.url.endswith(_PROBE):
        raise _Resolved(request, region_name, signature_version)


def _checksum_of(response: Response) -> tuple[str, Any]:
    """What the store tells of the whole object, and what to compute; one over parts ends with their number."""
    headers = response.headers
    for algorithm, kind in CHECKSUMS.items():
        told = headers.get(f"x-amz-checksum-{algorithm}")
        if told is not None and "-" not in told:
            return told, kind()
    return "", None


def _answer(response: Response) -> dict[str, Any]:
    """What an answer's headers tell, by the SDK's names."""
    headers = response.raw_headers
    answer = {name: read(text_of(headers[header])) for name, (header, read) in _ANSWERED.items() if header in headers}
    if b"date" in headers:
        answer["ResponseMetadata"] = {"HTTPHeaders": {"date": text_of(headers[b"date"])}}
    return answer


def check_redirect(status: int, headers: Mapping[str, str], body: Data) -> None:
    """Raise `ServiceErrorRaised` for a redirect that isn't S3's own, of a bucket in another region.

    The SDK would ask for the bucket's region, be redirected again, and so on without end.
    """
    if status not in REDIRECTS or (status in _REGIONAL and "x-amz-bucket-region" in headers):
        return
    root = _ROOT.search(body)
    if status not in _REGIONAL or root is None or root[1] != b"Error":
        raise ServiceErrorRaised(service_error_of(f"{status}", "", status, location=headers.get("location", "")))


def _check_answer(response_dict: Mapping[str, Any], **_: Any) -> None:
    """Refuse an answer that the SDK would take for a success without anything in it."""
    status, body = response_dict["status_code"], response_dict.get("body")
    if isinstance(body, bytes):
        check_redirect(status, response_dict["headers"], body)
    if status >= 300 or not isinstance(body, bytes):
        return
    operation = response_dict.get("context", {}).get("operation_name")
    root = _ROOT.search(body)
    is_document = root is not None and (operation not in _BY_ROOT or root[1].endswith((b"Result", b"Error")))
    bodiless = operation in _WITHOUT_DOCUMENT or operation == "AbortMultipartUpload"
    if status < 200 or not (is_document or (bodiless and not body)):
        raise ForeignAnswer


def _drop_expect(params: dict[str, Any], **_: Any) -> None:
    params["headers"].pop("Expect", None)
