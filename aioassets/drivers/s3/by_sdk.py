"""Hot requests sent through the SDK client, for cases in which they can't be sent directly.

S3 Express and multi-region access points need special signatures, and a client passed by the user is
used for all requests.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import partial
from typing import Any, Final

from aioassets.drivers.bodies import being_sent, body_of, joined
from aioassets.drivers.http.parsing import WEAK, in_utc
from aioassets.drivers.protocol import Data, Expect, Revision
from aioassets.drivers.s3.errors import is_document, is_regional, service_error_of
from aioassets.drivers.s3.hot import Content, Payload
from aioassets.drivers.s3.values import answered_at, base64_of, check_answer, condition_for, given, revision_of
from aioassets.drivers.service_errors import REDIRECTS, ForeignAnswer, ServiceErrorRaised

_BODILESS: Final = frozenset(
    {"AbortMultipartUpload", "DeleteObject", "HeadBucket", "HeadObject", "PutObject", "UploadPart"}
)
"""Operations whose responses have no body."""
_RESULT: Final = (b"Result", b"Error")
_ROOTS: Final[Mapping[Any, tuple[bytes, ...]]] = {
    **dict.fromkeys(("DeleteObjects", "ListMultipartUploads", "ListObjectsV2", "ListParts"), _RESULT),
    "DeleteObject": (b"Error",),
}
"""Endings of the root element's name, for operations whose responses may have no fields or no body, so that only the
root distinguishes them from another server's document. Some stores name the roots of other responses differently."""


class SDKRequests:
    """Hot requests sent through the SDK.

    Args:
        client: an aiobotocore client for S3. This object never closes it.
        bucket: the bucket's name.
        patience: how many seconds sending a request body may stall before the request fails; `None` if the
            client has its own limit.
        encryption: the parameters that request server-side encryption.
    """

    def __init__(self, client: Any, bucket: str, *, patience: float | None, encryption: Mapping[str, str]) -> None:
        self._client = client
        self._bucket = bucket
        self._patience = patience
        self._encryption = encryption

    async def get(self, key: str, *, span: tuple[int, int] | None = None, revision: Revision | None = None) -> Content:
        params = {"ChecksumMode": "ENABLED"} if span is None else {"Range": f"bytes={span[0]}-{span[1] - 1}"}
        answer = await self._client.get_object(Bucket=self._bucket, Key=key, **params, **given(IfMatch=revision))
        body = answer["Body"]  # verified by the SDK
        try:
            check_answer("get_object", answer)
            return Content(
                body,
                revision_of(answer),
                in_utc(answer["LastModified"]),
                answered_at(answer["ResponseMetadata"]["HTTPHeaders"].get("date")),
                answer.get("ContentLength"),
                "ContentRange" in answer,
            )
        except BaseException:
            body.close()
            raise

    async def put(
        self, key: str, body: Payload, *, expected: Revision | Expect, sha256: str | None, is_document: bool
    ) -> Revision:
        params = {
            **self._encryption,
            **condition_for(expected),
            **given(
                ChecksumSHA256=None if sha256 is None else base64_of(sha256),
                CacheControl="no-store" if is_document else None,
            ),
        }
        return revision_of(await self._upload("put_object", key, body, params))

    async def put_part(self, key: str, upload: str, number: int, body: Data, *, crc32: str | None) -> str:
        params = {"UploadId": upload, "PartNumber": number, **given(ChecksumCRC32=crc32)}
        answer = await self._upload("upload_part", key, body, params)
        return str(answer["ETag"]).removeprefix(WEAK)

    async def _upload(self, operation: str, key: str, body: Payload, params: Mapping[str, Any]) -> Any:
        send = partial(getattr(self._client, operation), Bucket=self._bucket, Key=key, **params)
        data = await joined(body)
        if self._patience is None:
            answer = await send(Body=bytes(data))
        else:
            with body_of(data) as stream, being_sent(stream, self._patience):
                answer = await send(Body=stream)
        check_answer(operation, answer)
        return answer


def guard(client: Any) -> None:
    """Make an SDK client reject responses that don't come from S3, and keep it from waiting for `100 Continue`.

    Waiting costs a round trip for each part, and some stores never send that response. DeleteObjects requests
    get a `Content-MD5`, which some stores require in addition to, or instead of, the CRC32 that the SDK sends.
    """
    client.meta.events.register_last("before-call.s3", _drop_expect, unique_id="aioassets-drop-expect")
    client.meta.events.register_last("before-call.s3.DeleteObjects", _add_md5, unique_id="aioassets-add-md5")
    client.meta.events.register_first("before-parse.s3", _check_response, unique_id="aioassets-check-response")


def _check_response(response_dict: Mapping[str, Any], **_: Any) -> None:
    """Check a response before the SDK parses it.

    The SDK would treat any document as an empty success, and follow redirects in a loop.

    Raises:
        ServiceErrorRaised: the response is a redirect that S3 would not send.
        ForeignAnswer: the response is a success that S3 would not send.
    """
    status, body = response_dict["status_code"], response_dict.get("body")
    if not isinstance(body, bytes):
        return
    headers = response_dict["headers"]
    if status in REDIRECTS and not is_regional(status, headers, body):
        raise ServiceErrorRaised(service_error_of(f"{status}", "", status, location=headers.get("location", "")))
    operation = response_dict.get("context", {}).get("operation_name")
    roots = _ROOTS.get(operation, (b"",))
    is_complete = is_document(body, *roots) or (operation in _BODILESS and not body)
    if status < 200 or (status < 300 and not is_complete):
        raise ForeignAnswer


def _add_md5(params: dict[str, Any], **_: Any) -> None:
    body = params["body"]
    digest = hashlib.md5(body.encode() if isinstance(body, str) else body, usedforsecurity=False)
    params["headers"]["Content-MD5"] = base64_of(digest.hexdigest())


def _drop_expect(params: dict[str, Any], **_: Any) -> None:
    params["headers"].pop("Expect", None)
