"""What S3 and its SDK raise, as errors of ours."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from aioassets.drivers.http.connections import PRIVATE_CA, unavailable
from aioassets.drivers.http.parsing import UNREADABLE
from aioassets.drivers.service_errors import (
    ForeignAnswer,
    Kind,
    Request,
    ServiceError,
    ServiceErrorRaised,
    by_status,
    foreign_answer,
    in_doubt,
    retry_after,
)
from aioassets.errors import AioAssetsError, InvalidSetting, MissingCredentials, StoreError

_BY_CODE: Final[Mapping[str, Kind]] = {
    "NoSuchKey": Kind.MISSING,
    "NoSuchBucket": Kind.NO_BUCKET,
    "NoSuchUpload": Kind.OTHER,  # a 404 that says nothing of the object
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
    "BadDigest": Kind.REFUSED,  # damaged on the way, as the four that follow
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
    429: Kind.THROTTLED,
    501: Kind.UNSUPPORTED,
}
"""For codes that aren't listed, and for answers to HEAD, which have a status alone."""


_STATUS: Final = re.compile("[1-9][0-9]{2}")


def service_error_of(
    code: str, message: str, status: int = 0, wait: float | None = None, location: str = ""
) -> ServiceError:
    """A refusal by what S3 states.

    Args:
        code: S3's name for it (a status, as text, where the answer had no body).
        message: S3's sentence; a signature or a secret is in other fields, if anywhere.
        status: of the HTTP answer; 0 where it isn't known.
        wait: seconds that the store asked to wait.
        location: the address that a redirect names.
    """
    kind = _BY_CODE.get(code) or by_status(int(code) if _STATUS.fullmatch(code) else status, _BY_STATUS)
    return ServiceError(kind, code, message, status, wait, location)


def read_service_error(response: Mapping[str, Any]) -> ServiceError:
    """Read the parsed answer that a botocore `ClientError` carries."""
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
    """S3's own code of a translated error; empty where there is none."""
    response = getattr(error.__cause__, "response", None)  # some errors of the SDK have one that is None
    return read_service_error(response or {}).code


def translate(error: Exception, request: Request) -> Exception:
    """The error of ours for one of the SDK's; the very same error where it isn't the SDK's."""
    import aiohttp  # noqa: PLC0415 - optional, and loaded already where its errors are raised
    from botocore import exceptions as sdk  # noqa: PLC0415
    from botocore.parsers import ResponseParserError  # noqa: PLC0415

    match error:
        case AioAssetsError():
            return error
        case ServiceErrorRaised():
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
            # The SDK's own words around what went wrong hold whole URLs.
            return unavailable(request, error.kwargs.get("error") or error, advice=PRIVATE_CA)
        case sdk.NoRegionError() | sdk.ValidationError() | sdk.ParamValidationError() | sdk.InvalidConfigError():
            return InvalidSetting(f"{request.bucket} can't be used: {error}")
        case sdk.BotoCoreError():
            return in_doubt(StoreError(f"{request.bucket} can't {request.doing}: {error}"), request)
        case aiohttp.ClientError() | TimeoutError() | OSError():
            return unavailable(request, error, advice=PRIVATE_CA)
    is_foreign = isinstance(error, (ResponseParserError, ForeignAnswer, *UNREADABLE))
    return foreign_answer(request, "S3's", "Check the endpoint.") if is_foreign else error
