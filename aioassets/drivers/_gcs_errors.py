"""What Google Cloud Storage and its SDK raise, as errors of ours."""

from __future__ import annotations

import enum
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, Final, Self
from urllib.parse import parse_qsl, urlsplit

from aioassets.errors import (
    AccessDenied,
    AioAssetsError,
    BucketNotFound,
    ObjectNotFound,
    PreconditionFailed,
    StoreError,
    StoreUnavailable,
    StoreUnsuitable,
)

TOO_MANY: Final = 429
"""The status for more than about one write a second to one object, among other limits."""
LONGEST_MESSAGE: Final = 500


class Kind(enum.Enum):
    """What an answer of the store means to us."""

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


_BY_REASON: Final[Mapping[str, Kind]] = {
    "conditionNotMet": Kind.CONDITION,
    "orgPolicyConstraintFailed": Kind.DENIED,  # a 412, as unmet conditions are
    "dailyLimitExceeded": Kind.REFUSED,  # these four may come with a 403
    "quotaExceeded": Kind.REFUSED,
    "rateLimitExceeded": Kind.REFUSED,
    "userRateLimitExceeded": Kind.REFUSED,
    "backendError": Kind.FAILED,
    "internalError": Kind.FAILED,
    "notImplemented": Kind.UNSUPPORTED,
}
_BY_STATUS: Final[Mapping[int, Kind]] = {
    401: Kind.DENIED,
    403: Kind.DENIED,
    404: Kind.MISSING,
    408: Kind.FAILED,
    409: Kind.REFUSED,  # "edited during the operation, please try again"
    412: Kind.CONDITION,
    TOO_MANY: Kind.REFUSED,
    501: Kind.UNSUPPORTED,
}
"""For reasons that aren't listed, and for implementations that name none."""

# "No such object: bucket/key" names a bucket too, so only a sentence about the bucket counts.
_NO_BUCKET: Final = re.compile(r"(the |specified )*bucket\b.*(not exist|not found)", re.IGNORECASE | re.DOTALL)
_DAMAGED: Final = re.compile(r"\b(md5|crc32c|hash|checksum).*(match|mismatch|calculated)", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked when an error occurred.

    Attributes:
        bucket: the bucket's URL.
        verb: `read`, `write`, `copy`, `list` or `delete`.
        key: the object's key; empty where the request is about many.
        conditional: whether the request carried a condition.
        needs_only_bucket: whether a 404 can be about the bucket alone, not about an object.
    """

    bucket: str
    verb: str
    key: str = ""
    conditional: bool = False
    needs_only_bucket: bool = False

    @property
    def url(self) -> str:
        """The object's URL."""
        return f"{self.bucket}/{self.key}"

    @property
    def doing(self) -> str:
        """The request in words."""
        return f"{self.verb} {self.key!r}" if self.key else self.verb


class Refusal(Exception):
    """An answer that isn't success, as the store states it.

    Attributes:
        status: of the HTTP answer.
        reason: the API's name for it; empty where the answer has none.
        message: the store's sentence.
        retry_after: seconds that the store asked to wait.
    """

    def __init__(self, status: int, reason: str = "", message: str = "", retry_after: float | None = None) -> None:
        self.status = status
        self.reason = reason
        self.message = message
        self.retry_after = retry_after
        super().__init__(self.sentence)

    @classmethod
    def from_answer(cls, status: int, headers: Mapping[str, str], body: bytes, *, secret: str | None = None) -> Self:
        """Read an error as the API documents it, and whatever else is sent in its place.

        Args:
            secret: the URL of an upload's session, which must not appear in the message.
        """
        reason, message = _stated(body.decode("utf-8", "replace"))
        if secret:
            message = message.replace(secret, "(the upload)").replace(
                secret.partition("?")[2] or secret, "(the upload)"
            )
        return cls(status, reason, message, _retry_after(headers.get("Retry-After"), headers.get("Date")))

    @property
    def kind(self) -> Kind:
        """What it means."""
        if self.status == 404 and _NO_BUCKET.match(self.message):
            return Kind.NO_BUCKET
        if self.status == 400 and _DAMAGED.search(self.message):
            return Kind.REFUSED  # damaged on the way
        known = _BY_REASON.get(self.reason) or _BY_STATUS.get(self.status)
        return known or (Kind.FAILED if self.status >= 500 else Kind.OTHER)

    @property
    def sentence(self) -> str:
        """The refusal in words."""
        return f"{self.reason or self.status}: {self.message or 'no details'}".rstrip(".") + "."

    def translate(self, request: Request) -> AioAssetsError:
        """The error of ours that says the same."""
        match self.kind:
            case Kind.MISSING:
                return BucketNotFound(request.bucket) if request.needs_only_bucket else ObjectNotFound(request.url)
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


def status_of(error: BaseException) -> int:
    """The HTTP status behind a translated error; 0 where there was no answer."""
    return error.__cause__.status if isinstance(error.__cause__, Refusal) else 0


def translate(error: Exception, request: Request) -> Exception:
    """The error of ours for one of the SDK's; the very same error where it isn't the SDK's."""
    import aiohttp  # noqa: PLC0415 - optional, and loaded already where its errors are raised

    match error:
        case AioAssetsError():
            return error
        case Refusal():
            return error.translate(request)
        case aiohttp.InvalidURL() | aiohttp.NonHttpUrlClientError():
            return StoreError(f"{request.bucket} can't {request.doing}: the address of the store is no URL of HTTP.")
        case aiohttp.ClientConnectorError() | aiohttp.ConnectionTimeoutError():
            return StoreUnavailable(request.bucket, connection_trouble(error), uncertain=False)
        case aiohttp.ClientError() | TimeoutError() | OSError():
            return StoreUnavailable(request.bucket, connection_trouble(error))
    return error


def connection_trouble(error: Exception) -> str:
    """What went wrong on the way, without URLs: that of an upload's session is a credential."""
    import aiohttp  # noqa: PLC0415

    match error:
        case aiohttp.ConnectionTimeoutError():
            return "connecting took too long."
        case aiohttp.ServerTimeoutError() | TimeoutError():
            return "it was silent for too long."
        case aiohttp.ClientConnectorError():
            words = f"{error.os_error}"
        case _:
            words = f"{error}"
    return f"{type(error).__name__}." if not words or "://" in words else words.rstrip(".") + "."


def _stated(text: str) -> tuple[str, str]:
    """Reason and message of an error's body."""
    try:
        error = json.loads(text)
    except ValueError:
        return "", "" if text.lstrip().startswith("<") else text.strip()[:LONGEST_MESSAGE]
    error = error.get("error", error) if isinstance(error, dict) else error
    if not isinstance(error, dict):
        return "", f"{error}"
    details: Any = next(iter(error.get("errors") or ()), {})
    message = f"{error.get('message') or details.get('message') or ''}"
    if message.startswith("{"):  # Google's own test bench puts the documented error inside another one
        return _stated(message)
    return f"{details.get('reason') or ''}", message[:LONGEST_MESSAGE]


def _parts_of(url: str) -> list[str]:
    """A URL, and what in it tells its upload."""
    return [part for part in (url, *(value for _, value in parse_qsl(urlsplit(url).query))) if len(part) > 20]


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
