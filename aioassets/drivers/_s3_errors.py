"""What S3 and its SDK raise, as errors of ours."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, Final

from aioassets.errors import (
    AccessDenied,
    AioAssetsError,
    BucketNotFound,
    InvalidSetting,
    MissingCredentials,
    ObjectNotFound,
    PreconditionFailed,
    StoreError,
    StoreUnavailable,
    StoreUnsuitable,
)


class Kind(enum.Enum):
    """What an answer of S3 means to us."""

    MISSING = enum.auto()
    NO_BUCKET = enum.auto()
    CONDITION = enum.auto()
    DENIED = enum.auto()
    REFUSED = enum.auto()
    """For now; certainly not done."""
    FAILED = enum.auto()
    """Perhaps done all the same."""
    UNSUPPORTED = enum.auto()
    OTHER = enum.auto()


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
    "RequestLimitExceeded": Kind.REFUSED,
    "SlowDown": Kind.REFUSED,
    "SlowDownRead": Kind.REFUSED,
    "SlowDownWrite": Kind.REFUSED,
    "Throttling": Kind.REFUSED,
    "TooManyRequests": Kind.REFUSED,
    "InternalError": Kind.FAILED,
    "RequestTimeout": Kind.FAILED,
    "ServiceUnavailable": Kind.FAILED,
    "NotImplemented": Kind.UNSUPPORTED,
}
_BY_STATUS: Final[Mapping[int, Kind]] = {
    401: Kind.DENIED,
    403: Kind.DENIED,
    404: Kind.MISSING,
    412: Kind.CONDITION,
    429: Kind.REFUSED,
    501: Kind.UNSUPPORTED,
}
"""For codes that aren't listed, and for answers to HEAD, which have a status alone."""


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked when an error occurred.

    Attributes:
        bucket: the bucket's URL.
        verb: `read`, `write`, `list` or `delete`.
        key: the object's key; empty where the request is about many.
        conditional: whether the request carried a condition.
    """

    bucket: str
    verb: str
    key: str = ""
    conditional: bool = False

    @property
    def url(self) -> str:
        """The object's URL."""
        return f"{self.bucket}/{self.key}"

    @property
    def doing(self) -> str:
        """The request in words."""
        return f"{self.verb} {self.key!r}" if self.key else self.verb


@dataclass(frozen=True, slots=True)
class Refusal:
    """An error as S3 states it.

    Attributes:
        code: S3's name for it (a status, as text, where the answer had no body).
        message: S3's sentence. It never holds a signature or a secret: those are in other fields.
        status: of the HTTP answer; 0 where it isn't known.
        retry_after: seconds that the store asked to wait.
    """

    code: str
    message: str
    status: int = 0
    retry_after: float | None = None

    @classmethod
    def from_response(cls, response: Mapping[str, Any]) -> Refusal:
        """Read the parsed answer that a botocore `ClientError` carries."""
        error, meta = response.get("Error", {}), response.get("ResponseMetadata", {})
        headers = meta.get("HTTPHeaders", {})
        return cls(
            str(error.get("Code", "")),
            str(error.get("Message", "")),
            int(meta.get("HTTPStatusCode", 0)),
            _retry_after(headers.get("retry-after"), headers.get("date")),
        )

    @property
    def kind(self) -> Kind:
        """What it means."""
        status = int(self.code) if self.code.isdigit() else self.status
        return _BY_CODE.get(self.code) or _BY_STATUS.get(status) or (Kind.FAILED if status >= 500 else Kind.OTHER)

    @property
    def sentence(self) -> str:
        """The refusal in words."""
        return f"{self.code or self.status}: {self.message or 'no details'}".rstrip(".") + "."

    def translate(self, request: Request) -> AioAssetsError:
        """The error of ours that says the same."""
        match self.kind:
            case Kind.MISSING:
                return ObjectNotFound(request.url)
            case Kind.NO_BUCKET:
                return BucketNotFound(request.bucket)
            case Kind.CONDITION:
                return PreconditionFailed(request.url)
            case Kind.DENIED:
                return AccessDenied(request.bucket, request.doing, self.sentence)
            case Kind.REFUSED:
                return self._unavailable(request, uncertain=False)
            case Kind.FAILED:
                return self._unavailable(request, uncertain=True)
            case Kind.UNSUPPORTED if request.conditional:
                return StoreUnsuitable(request.bucket, f"it refuses conditional writes ({self.sentence[:-1]})")
        return StoreError(f"{request.bucket} can't {request.doing}: {self.sentence}")

    def _unavailable(self, request: Request, *, uncertain: bool) -> StoreUnavailable:
        return StoreUnavailable(request.bucket, self.sentence, uncertain=uncertain, retry_after=self.retry_after)


def code_of(error: BaseException) -> str:
    """S3's own code of a translated error; empty where there is none."""
    response = getattr(error.__cause__, "response", None)  # some errors of the SDK have one that is None
    return Refusal.from_response(response or {}).code


def translate(error: Exception, request: Request) -> Exception:
    """The error of ours for one of the SDK's; the very same error where it isn't the SDK's."""
    import aiohttp  # noqa: PLC0415 - optional, and loaded already where its errors are raised
    from botocore import exceptions as sdk  # noqa: PLC0415
    from botocore.parsers import ResponseParserError  # noqa: PLC0415

    match error:
        case AioAssetsError():
            return error
        case sdk.ClientError():
            return Refusal.from_response(error.response).translate(request)
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
        case sdk.ConnectionError() | sdk.HTTPClientError() | sdk.IncompleteReadError():
            return StoreUnavailable(request.bucket, _connection_trouble(error), uncertain=not _never_sent(error))
        case sdk.NoRegionError() | sdk.ValidationError() | sdk.ParamValidationError() | sdk.InvalidConfigError():
            return InvalidSetting(f"{request.bucket} can't be used: {error}")
        case sdk.BotoCoreError():
            return StoreError(f"{request.bucket} can't {request.doing}: {error}")
        case ResponseParserError():
            return StoreError(
                f"{request.bucket} gave an answer that isn't S3's to: {request.doing}. Check the endpoint."
            )
        case aiohttp.ClientError() | TimeoutError() | OSError():
            return StoreUnavailable(request.bucket, _connection_trouble(error))
    return error


def _connection_trouble(error: Exception) -> str:
    """What went wrong, without the SDK's words around it (they hold whole URLs)."""
    inner = getattr(error, "kwargs", {}).get("error") or error
    advice = " (for a private certificate authority, set ca_bundle)" if "SSL" in type(error).__name__ else ""
    return f"{inner}".rstrip(".") + advice + "." if f"{inner}" else f"{type(inner).__name__}{advice}."


def _never_sent(error: Exception) -> bool:
    """Whether there was no connection to send the request on."""
    import aiohttp  # noqa: PLC0415
    from botocore import exceptions as sdk  # noqa: PLC0415

    if isinstance(error, sdk.ConnectTimeoutError | sdk.SSLError | sdk.ProxyConnectionError):
        return True
    return isinstance(getattr(error, "kwargs", {}).get("error"), aiohttp.ClientConnectorError)


def _retry_after(value: str | None, date: str | None) -> float | None:
    """Seconds, from a header that holds seconds or a date (which is measured against the store's own clock)."""
    if value is None:
        return None
    if value.strip().isdigit():
        return float(value)
    try:
        return max(0.0, (parsedate_to_datetime(value) - parsedate_to_datetime(date or "")).total_seconds())
    except ValueError:
        return None
