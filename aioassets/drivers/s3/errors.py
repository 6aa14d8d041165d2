"""Errors of S3 and its SDK, and the errors of this package for them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from aioassets.drivers.http.connections import PRIVATE_CA, unavailable
from aioassets.drivers.http.parsing import UNREADABLE
from aioassets.drivers.protocol import Data
from aioassets.drivers.s3.hot import BucketMoved
from aioassets.drivers.service_errors import (
    ForeignAnswer,
    Kind,
    Request,
    ServiceError,
    ServiceErrorRaised,
    by_status,
    foreign_answer,
    retry_after,
)
from aioassets.drivers.service_errors import code_of as service_code_of
from aioassets.errors import AioAssetsError, InvalidSetting, MissingCredentials, StoreError

_BY_CODE: Final[Mapping[str, Kind]] = {
    "NoSuchKey": Kind.MISSING,
    "NoSuchBucket": Kind.NO_BUCKET,
    "NoSuchUpload": Kind.OTHER,  # a 404 that is not about the object
    "PreconditionFailed": Kind.CONDITION,
    "AccessDenied": Kind.DENIED,
    "AccountProblem": Kind.DENIED,
    "AllAccessDisabled": Kind.DENIED,
    "ExpiredToken": Kind.DENIED,
    "InvalidAccessKeyId": Kind.DENIED,
    "InvalidToken": Kind.DENIED,
    "RequestTimeTooSkewed": Kind.DENIED,
    "SignatureDoesNotMatch": Kind.DENIED,
    "TokenRefreshRequired": Kind.DENIED,
    "BadDigest": Kind.REFUSED,  # damaged in transit, like the next four
    "ContentSHA256Mismatch": Kind.REFUSED,
    "IncompleteBody": Kind.REFUSED,
    "XAmzContentChecksumMismatch": Kind.REFUSED,
    "XAmzContentSHA256Mismatch": Kind.REFUSED,
    "ConditionalRequestConflict": Kind.REFUSED,
    "OperationAborted": Kind.REFUSED,
    "RequestLimitExceeded": Kind.THROTTLED,
    "SlowDown": Kind.THROTTLED,
    "SlowDownRead": Kind.THROTTLED,
    "SlowDownWrite": Kind.THROTTLED,
    "Throttling": Kind.THROTTLED,
    "TooManyRequests": Kind.THROTTLED,
    "InternalError": Kind.FAILED,
    "RequestTimeout": Kind.FAILED,
    "ServiceUnavailable": Kind.FAILED,
    "NotImplemented": Kind.UNSUPPORTED,
}
_BY_STATUS: Final[Mapping[int, Kind]] = {
    401: Kind.DENIED,
    403: Kind.DENIED,
    404: Kind.MISSING,
    408: Kind.FAILED,
    412: Kind.CONDITION,
    413: Kind.TOO_LARGE,
    429: Kind.THROTTLED,
    501: Kind.UNSUPPORTED,
}
"""Kinds of other codes, and of responses to HEAD, which have only a status."""
ELSEWHERE: Final = frozenset({"AuthorizationHeaderMalformed", "IllegalLocationConstraintException"})
"""Codes of a bucket in another region, besides redirects."""
_REGIONAL: Final = frozenset({301, 302, 307})
"""The redirects that S3 sends for a bucket in another region."""
_REGION: Final = re.compile("[a-z0-9-]{1,40}")
_STATUS: Final = re.compile("[1-9][0-9]{2}")
_ENTITIES: Final = {"&lt;": "<", "&gt;": ">", "&quot;": '"', "&apos;": "'", "&amp;": "&"}
_ROOT: Final = re.compile(rb"<(?:[\w.-]+:)?([A-Za-z][\w.-]*)")
_FIELD: Final = re.compile(rb"<(?:[\w.-]+:)?(Code|Message|Region)>([^<]*)</")


def service_error_of(
    code: str, message: str, status: int = 0, wait: float | None = None, location: str = ""
) -> ServiceError:
    """Return the service error for a response of S3.

    Args:
        code: S3's name of the error; the status, as text, where the response had no body.
        message: S3's sentence. Signatures and secrets are only in other fields.
        status: the HTTP status; 0 where it is unknown.
        wait: seconds that the store asked to wait.
        location: the target of a redirect.
    """
    kind = _BY_CODE.get(code) or by_status(int(code) if _STATUS.fullmatch(code) else status, _BY_STATUS)
    return ServiceError(kind, code, message, status, wait, location)


def parse_error(status: int, headers: Mapping[str, str], body: Data) -> tuple[ServiceError, str]:
    """Parse a response that is an error, whatever its status.

    Returns:
        The error, and the bucket's region where the response names it.
    """
    found = {name: _unescaped(text) for name, text in _FIELD.findall(body)}
    fields = found if is_document(body, b"Error") else {}
    code = fields.get(b"Code", "") if fields else f"{status}"
    wait = retry_after(headers.get("retry-after"), headers.get("date"))
    failed = status if status >= 300 else 500  # S3 may send a success before it fails
    error = service_error_of(code, fields.get(b"Message", ""), failed, wait, headers.get("location", ""))
    return error, region_in(headers) or _region(fields.get(b"Region", ""))


def region_in(headers: Mapping[str, str]) -> str:
    """Return the bucket's region that a response names in its headers; empty where it names none."""
    return _region(headers.get("x-amz-bucket-region", ""))


def _unescaped(text: bytes) -> str:
    plain = text.decode("utf-8", "replace")
    for entity, character in _ENTITIES.items():
        plain = plain.replace(entity, character)
    return plain


def _region(text: str) -> str:
    return text if _REGION.fullmatch(text) else ""


def is_document(body: Data, *roots: bytes) -> bool:
    """Return whether a body is XML with a root element whose name ends with one of these."""
    root = _ROOT.search(body)
    return root is not None and root[1].endswith(roots)


def is_regional(status: int, headers: Mapping[str, str], body: Data) -> bool:
    """Return whether a response is S3's own redirect, of a bucket in another region."""
    return status in _REGIONAL and ("x-amz-bucket-region" in headers or is_document(body, b"Error"))


def read_service_error(response: Mapping[str, Any]) -> ServiceError:
    """Return the service error of the parsed response in a botocore `ClientError`."""
    error, meta = response.get("Error", {}), response.get("ResponseMetadata", {})
    headers = meta.get("HTTPHeaders", {})
    return service_error_of(
        str(error.get("Code", "")),
        str(error.get("Message", "")),
        int(meta.get("HTTPStatusCode", 0)),
        retry_after(headers.get("retry-after"), headers.get("date")),
        headers.get("location", ""),
    )


def code_of(error: BaseException) -> str:
    """Return S3's code behind a translated error; empty where there is none."""
    response = getattr(error.__cause__, "response", None)  # `None` in some errors of the SDK
    return read_service_error(response).code if response else service_code_of(error)


def translate(error: Exception, request: Request) -> Exception:
    """Return the error of this package for one of S3's or the SDK's, or the same error where it is neither."""
    import aiohttp  # noqa: PLC0415 - optional, and already imported where its errors are raised
    from botocore import exceptions as sdk  # noqa: PLC0415
    from botocore.parsers import ResponseParserError  # noqa: PLC0415

    match error:
        case AioAssetsError():
            return error
        case ServiceErrorRaised() | BucketMoved():
            return error.refusal.translate(request)
        case sdk.ClientError():
            return read_service_error(error.response).translate(request)
        case (
            sdk.NoCredentialsError()
            | sdk.PartialCredentialsError()
            | sdk.CredentialRetrievalError()
            | sdk.MetadataRetrievalError()
            | sdk.NoAuthTokenError()
            | sdk.ProfileNotFound()
            | sdk.RefreshWithMFAUnsupportedError()
            | sdk.SSOError()
            | sdk.TokenRetrievalError()
        ):
            return MissingCredentials(request.bucket, f"{error}".rstrip(".") + ".")
        case sdk.ConnectionError() | sdk.HTTPClientError() | sdk.IncompleteReadError() | sdk.FlexibleChecksumError():
            # The messages of the SDK contain whole URLs.
            return unavailable(request, error.kwargs.get("error") or error, advice=PRIVATE_CA)
        case sdk.NoRegionError() | sdk.ValidationError() | sdk.ParamValidationError() | sdk.InvalidConfigError():
            return InvalidSetting(f"{request.bucket} can't be used: {error}")
        case sdk.BotoCoreError():
            return StoreError(f"{request.bucket} can't {request.doing}: {error}", uncertain=request.changes)
        case aiohttp.ClientError() | TimeoutError() | OSError():
            return unavailable(request, error, advice=PRIVATE_CA)
    is_foreign = isinstance(error, (ResponseParserError, ForeignAnswer, *UNREADABLE))
    return foreign_answer(request, "S3's", "Check the endpoint.") if is_foreign else error
