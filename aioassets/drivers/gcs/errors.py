"""Errors from Google Cloud Storage and its SDK, and their translation."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final

from aioassets.drivers.http.connections import PRIVATE_CA, unavailable
from aioassets.drivers.http.parsing import UNREADABLE
from aioassets.drivers.service_errors import (
    RETAINED,
    ForeignAnswer,
    Kind,
    Request,
    ServiceError,
    ServiceErrorRaised,
    by_status,
    foreign_answer,
    retry_after,
)
from aioassets.errors import AioAssetsError, StoreError

TOO_MANY: Final = 429
"""The status when a rate limit is exceeded, such as one write per second to the same object."""
LONGEST_MESSAGE: Final = 500


_BY_REASON: Final[Mapping[str, Kind]] = {
    "conditionNotMet": Kind.CONDITION,
    "orgPolicyConstraintFailed": Kind.DENIED,  # a 412, like a condition that is not met
    "accountDisabled": Kind.OTHER,  # a 403 that is not about credentials
    "dailyLimitExceeded": Kind.REFUSED,  # this and the next three may have status 403
    "quotaExceeded": Kind.REFUSED,
    "rateLimitExceeded": Kind.THROTTLED,
    "userRateLimitExceeded": Kind.THROTTLED,
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
    413: Kind.TOO_LARGE,
    TOO_MANY: Kind.THROTTLED,
    501: Kind.UNSUPPORTED,
}
"""Kinds by status, for all other reasons and for implementations that don't give reasons."""
_ADVICE: Final[Mapping[str, str]] = {
    "accountDisabled": "Check the billing account of the bucket's project.",
    "objectUnderActiveHold": RETAINED,
    "retentionPolicyNotMet": RETAINED,
}
"""Advice by reason, if the default advice for the kind would be wrong."""

# "No such object: bucket/key" may contain the word too, so match only a sentence about the bucket.
_NO_BUCKET: Final = re.compile(r"(the |specified )*bucket\b.*(not exist|not found)", re.IGNORECASE | re.DOTALL)
_DAMAGED: Final = re.compile(r"\b(md5|crc32c|hash|checksum).*(match|mismatch|calculated)", re.IGNORECASE | re.DOTALL)


def service_error_of(
    reason: str, message: str, status: int, wait: float | None = None, location: str = ""
) -> ServiceError:
    """Return the service error for a reason, a message and a status.

    Args:
        reason: the API's name for the error; empty if the response has none.
        message: the store's error message.
        status: the HTTP status.
        wait: how many seconds the store asked clients to wait.
        location: the target of a redirect.
    """
    if status == 404 and _NO_BUCKET.match(message):
        kind = Kind.NO_BUCKET
    elif status == 400 and _DAMAGED.search(message):
        kind = Kind.REFUSED  # damaged in transit
    else:
        kind = _BY_REASON.get(reason) or by_status(status, _BY_STATUS)
    return ServiceError(kind, reason, message, status, wait, location, _ADVICE.get(reason, ""))


def read_service_error(
    status: int, headers: Mapping[str, str], body: bytes, *, secret: str | None = None
) -> ServiceError:
    """Parse an error response, whether or not it has the documented format.

    Args:
        status: the HTTP status.
        headers: the headers, with lower-case names.
        body: the response body.
        secret: the URL of an upload session, which must not appear in the message.
    """
    reason, message = _stated(body.decode("utf-8", "replace"))
    if secret:
        message = message.replace(secret, "(the upload)").replace(secret.partition("?")[2] or secret, "(the upload)")
    wait = retry_after(headers.get("retry-after"), headers.get("date"))
    return service_error_of(reason, message, status, wait, headers.get("location", ""))


def translate(error: Exception, request: Request) -> Exception:
    """Return aioassets' own exception for an SDK or connection error. Return any other exception unchanged."""
    import aiohttp  # noqa: PLC0415 - optional, and already imported if its errors are raised

    match error:
        case AioAssetsError():
            return error
        case ServiceErrorRaised():
            return error.refusal.translate(request)
        case aiohttp.InvalidURL() | aiohttp.NonHttpUrlClientError():
            told = (
                f"Cannot {request.doing} in {request.bucket}: the store's URL is not a valid HTTP URL. Check api_root."
            )
            return StoreError(told, uncertain=request.changes)
        case ForeignAnswer():
            return foreign_answer(request, "Google Cloud Storage's", "Check api_root.")
        case aiohttp.ClientError() | TimeoutError() | OSError():
            return unavailable(request, error, advice=PRIVATE_CA)
        case _ if isinstance(error, UNREADABLE):
            return foreign_answer(request, "Google Cloud Storage's", "Check api_root.")
    return error


def _stated(text: str) -> tuple[str, str]:
    """Return the reason and the message from an error document."""
    try:
        error = json.loads(text)
    except (ValueError, RecursionError):
        return "", "" if text.lstrip().startswith("<") else text.strip()[:LONGEST_MESSAGE]
    error = error.get("error", error) if isinstance(error, dict) else error
    if not isinstance(error, dict):
        return "", f"{error}"
    listed = error.get("errors")
    first = listed[0] if isinstance(listed, list) and listed else {}
    details: dict[str, Any] = first if isinstance(first, dict) else {}
    message = f"{error.get('message') or details.get('message') or ''}"
    if message.startswith("{"):  # Google's test bench nests the documented error inside another one
        return _stated(message)
    return f"{details.get('reason') or ''}", message[:LONGEST_MESSAGE]
