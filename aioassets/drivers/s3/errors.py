"""Errors from S3 and its SDK, and their translation."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from aioassets.drivers.http.connections import PRIVATE_CA, unavailable
from aioassets.drivers.http.parsing import UNREADABLE
from aioassets.drivers.protocol import Data
from aioassets.drivers.s3.hot import BucketMoved
from aioassets.drivers.service_errors import (
    SET_CLOCK,
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
    "AccountProblem": Kind.OTHER,  # a 403 that is not about credentials, like the next nine
    "AllAccessDisabled": Kind.OTHER,
    "InvalidObjectState": Kind.OTHER,
    "InvalidPayer": Kind.OTHER,
    "KMS.DisabledException": Kind.OTHER,
    "NotSignedUp": Kind.OTHER,
    "ObjectNotInActiveTierError": Kind.OTHER,
    "QuotaExceeded": Kind.OTHER,
    "RequestExpired": Kind.OTHER,
    "RequestTimeTooSkewed": Kind.OTHER,
    "PreconditionFailed": Kind.CONDITION,
    "AccessDenied": Kind.DENIED,
    "ExpiredToken": Kind.DENIED,
    "InvalidAccessKeyId": Kind.DENIED,
    "InvalidToken": Kind.DENIED,
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
    "IDPCommunicationError": Kind.FAILED,  # sent by STS
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
"""Kinds by status, for all other codes and for responses to HEAD, which have only a status."""
_RESTORE: Final = "The object is archived. Restore it (`aws s3api restore-object`), then try again."
_ACCOUNT: Final = "Check with the provider that the account is active and its billing is in order."
_ADVICE: Final[Mapping[str, str]] = {
    "AccountProblem": _ACCOUNT,
    "AllAccessDisabled": _ACCOUNT,
    "InvalidObjectState": _RESTORE,
    "InvalidPayer": _ACCOUNT,
    "KMS.DisabledException": "Enable the key that encrypts the objects, or choose a different one (sse_kms_key_id).",
    "NotSignedUp": _ACCOUNT,
    "ObjectNotInActiveTierError": _RESTORE,
    "QuotaExceeded": "Remove objects that are no longer needed, or raise the quota.",
    "RequestExpired": SET_CLOCK,
    "RequestTimeTooSkewed": SET_CLOCK,
}
"""Advice by error code, if the default advice for the kind would be wrong."""
_SET_CREDENTIALS: Final = (
    "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or set anonymous=true for a public bucket."
)
_SIGN_IN: Final = "Check the role and its trust policy, or sign in again (`aws sso login`)."
_OTHER_TIMES: Final = ("Signature expired", "Signature not yet current")
"""How STS's messages about a wrong clock begin. The error code is the same as for any invalid signature."""
_UNPERMITTED: Final = frozenset({"AccessDenied", "403"})
"""Error codes for a missing permission."""
_PERMISSIONS: Final[Mapping[str, str]] = {
    "list": "s3:ListBucket",
    "list open uploads": "s3:ListBucketMultipartUploads",
    "list the parts of": "s3:ListMultipartUploadParts",
    "abort an upload of": "s3:AbortMultipartUpload",
    "begin an upload of": "s3:PutObject",
    "delete": "s3:DeleteObject",
    "read": "s3:GetObject and s3:ListBucket. Without s3:ListBucket, S3 also denies access if the object does not exist",
    "write": "s3:PutObject",
}
"""Required permissions, by the verb of the request."""
OPEN: Final = "open"
"""The verb for opening a client, which only sends requests for credentials."""
ELSEWHERE: Final = frozenset({"AuthorizationHeaderMalformed", "IllegalLocationConstraintException"})
"""Error codes, besides redirects, for a bucket in another region."""
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
    """Return the service error for a response from S3.

    Args:
        code: S3's error code, or the status as a `str` if the response had no body.
        message: S3's error message. Only other fields may contain signatures and secrets.
        status: the HTTP status; 0 if unknown.
        wait: how many seconds the store asked clients to wait.
        location: the target of a redirect.
    """
    kind = _BY_CODE.get(code) or by_status(int(code) if _STATUS.fullmatch(code) else status, _BY_STATUS)
    return ServiceError(kind, code, message, status, wait, location, _ADVICE.get(code, ""))


def parse_error(status: int, headers: Mapping[str, str], body: Data) -> tuple[ServiceError, str]:
    """Parse an error response, whatever its status.

    Returns:
        The error, and the bucket's region, which is empty if the response doesn't name it.
    """
    found = {name: _unescaped(text) for name, text in _FIELD.findall(body)}
    fields = found if is_document(body, b"Error") else {}
    code = fields.get(b"Code", "") if fields else f"{status}"
    wait = retry_after(headers.get("retry-after"), headers.get("date"))
    failed = status if status >= 300 else 500  # S3 may send a success status before it fails
    error = service_error_of(code, fields.get(b"Message", ""), failed, wait, headers.get("location", ""))
    return error, region_in(headers) or _region(fields.get(b"Region", ""))


def region_in(headers: Mapping[str, str]) -> str:
    """Return the bucket's region from response headers, or an empty string if they don't name it."""
    return _region(headers.get("x-amz-bucket-region", ""))


def _unescaped(text: bytes) -> str:
    plain = text.decode("utf-8", "replace")
    for entity, character in _ENTITIES.items():
        plain = plain.replace(entity, character)
    return plain


def _region(text: str) -> str:
    return text if _REGION.fullmatch(text) else ""


def is_document(body: Data, *roots: bytes) -> bool:
    """Return whether a body is XML whose root element has a name that ends with one of `roots`."""
    root = _ROOT.search(body)
    return root is not None and root[1].endswith(roots)


def is_regional(status: int, headers: Mapping[str, str], body: Data) -> bool:
    """Return whether a response is the redirect that S3 sends for a bucket in another region."""
    return status in _REGIONAL and ("x-amz-bucket-region" in headers or is_document(body, b"Error"))


def read_service_error(response: Mapping[str, Any]) -> ServiceError:
    """Return the service error for the parsed response of a botocore `ClientError`."""
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
    """Return the S3 error code behind a translated error, or an empty string if there is none."""
    response = getattr(error.__cause__, "response", None)  # `None` in some errors of the SDK
    return read_service_error(response).code if response else service_code_of(error)


def _refused(error: ServiceError, request: Request) -> AioAssetsError:
    if error.code in _UNPERMITTED and (needed := _PERMISSIONS.get(request.verb)):
        error = replace(error, advice=f"Check that the credentials allow {needed}.")
    return error.translate(request)


def is_lasting(error: ServiceError) -> bool:
    """Return whether a credential service's refusal is permanent, so that a retry would fail again."""
    return error.kind not in (Kind.FAILED, Kind.THROTTLED, Kind.REFUSED)


def _without_credentials(error: ServiceError, request: Request) -> AioAssetsError:
    """Return the error for a credential service's response. Opening a client sends no other requests."""
    if not is_lasting(error):
        return error.translate(request)
    advice = SET_CLOCK if error.message.startswith(_OTHER_TIMES) else error.advice or _SIGN_IN
    detail = f"the credential service refused the request ({error.sentence.rstrip('.')}). {advice}"
    return MissingCredentials(request.bucket, detail)


def _misused(error: Exception, request: Request) -> AioAssetsError:
    """Return the exception for an error that the SDK itself raised. When opening a client, blame the settings."""
    from botocore import exceptions as sdk  # noqa: PLC0415 - optional, and already imported

    if request.verb == OPEN or isinstance(
        error, sdk.NoRegionError | sdk.ValidationError | sdk.ParamValidationError | sdk.InvalidConfigError
    ):
        return InvalidSetting(f"Cannot use {request.bucket}: {error}")
    return StoreError(f"Cannot {request.doing} in {request.bucket}: {error}", uncertain=request.changes)


def translate(error: Exception, request: Request) -> Exception:
    """Return aioassets' own exception for an SDK or connection error. Return any other exception unchanged."""
    import aiohttp  # noqa: PLC0415 - optional, and already imported where its errors are raised
    from botocore import exceptions as sdk  # noqa: PLC0415
    from botocore.parsers import ResponseParserError  # noqa: PLC0415

    match error:
        case AioAssetsError():
            return error
        case ServiceErrorRaised() | BucketMoved():
            return _refused(error.refusal, request)
        case sdk.ClientError():
            found = read_service_error(error.response)
            return (_without_credentials if request.verb == OPEN else _refused)(found, request)
        case sdk.NoCredentialsError():
            return MissingCredentials(request.bucket, f"the AWS SDK did not find any. {_SET_CREDENTIALS}")
        case (
            sdk.PartialCredentialsError()
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
            # The SDK's messages contain complete URLs.
            return unavailable(request, error.kwargs.get("error") or error, advice=PRIVATE_CA)
        case sdk.BotoCoreError():
            return _misused(error, request)
        case aiohttp.ClientError() | TimeoutError() | OSError():
            return unavailable(request, error, advice=PRIVATE_CA)
    is_foreign = isinstance(error, (ResponseParserError, ForeignAnswer, *UNREADABLE))
    return foreign_answer(request, "S3's", "Check the endpoint.") if is_foreign else error
