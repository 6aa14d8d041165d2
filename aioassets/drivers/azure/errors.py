"""Errors of Azure Blob Storage and its SDK, and their translation."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from aioassets.drivers.http.connections import PRIVATE_CA, unavailable
from aioassets.drivers.http.parsing import UNREADABLE, printable
from aioassets.drivers.service_errors import (
    RETAINED,
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
from aioassets.errors import AioAssetsError, MissingCredentials, StoreError, StoreUnavailable

_BY_CODE: Final[Mapping[str, Kind]] = {
    "BlobNotFound": Kind.MISSING,
    "ContainerBeingDeleted": Kind.NO_BUCKET,
    "ContainerNotFound": Kind.NO_BUCKET,
    "ResourceNotFound": Kind.NO_BUCKET,  # also for anonymous requests to a private container
    "BlobAlreadyExists": Kind.CONDITION,
    "ConditionNotMet": Kind.CONDITION,
    "InvalidBlobOrBlock": Kind.CONDITION,  # another client sent blocks for the key, with ids of another length
    "SourceConditionNotMet": Kind.CONDITION,
    "TargetConditionNotMet": Kind.CONDITION,
    "LeaseIdMissing": Kind.DENIED,  # like the next, a 412 because of a lease, not of the content
    "LeaseIdMismatchWithBlobOperation": Kind.DENIED,
    "BlobImmutableDueToLegalHold": Kind.DENIED,
    "BlobImmutableDueToPolicy": Kind.DENIED,
    "InvalidAuthenticationInfo": Kind.DENIED,
    "PublicAccessNotPermitted": Kind.DENIED,
    "AccountBeingCreated": Kind.REFUSED,
    "Crc64Mismatch": Kind.REFUSED,  # damaged in transit
    "Md5Mismatch": Kind.REFUSED,
    "PendingCopyOperation": Kind.REFUSED,
    "ServerBusy": Kind.THROTTLED,
    "InternalError": Kind.FAILED,
    "OperationTimedOut": Kind.FAILED,
    "ConditionHeadersNotSupported": Kind.UNSUPPORTED,
    "MultipleConditionHeadersNotSupported": Kind.UNSUPPORTED,
}
_BY_STATUS: Final[Mapping[int, Kind]] = {
    401: Kind.DENIED,
    403: Kind.DENIED,
    408: Kind.FAILED,
    413: Kind.TOO_LARGE,
    429: Kind.THROTTLED,
    501: Kind.UNSUPPORTED,
}
"""Kinds by status, for other codes. A 404 or a 412 is ambiguous without its code."""
_LEASED: Final = "Another client holds a lease on the blob. Break the lease, or try again after its end."
_ADVICE: Final[Mapping[str, str]] = {
    "BlobArchived": "Move the blob to an online tier (`az storage blob set-tier`), and try again then.",
    "BlobBeingRehydrated": "The blob is being restored from the archive, which may take hours. Try again then.",
    "BlobImmutableDueToLegalHold": RETAINED,
    "BlobImmutableDueToPolicy": RETAINED,
    "LeaseIdMissing": _LEASED,
    "LeaseIdMismatchWithBlobOperation": _LEASED,
}
"""Advice by code, where the advice of the kind is wrong."""
_SKEWED: Final = re.compile(rb"<AuthenticationErrorDetail>[^<:]*\bdate header\b")
_EXPIRED: Final = re.compile(rb"<AuthenticationErrorDetail>[^<:]*\bnot valid in the specified (key )?time frame\b")
_RENEW: Final = "The signature (SAS) has expired, or is not valid yet. Create another one, or check the clock."

_ENTITIES: Final = {"&lt;": "<", "&gt;": ">", "&quot;": '"', "&apos;": "'", "&amp;": "&"}
_MESSAGE: Final = re.compile(rb"<Message>([^<\r\n]*)")
"""The message of an error document, without the lines with ids that follow it."""


def service_error_of(
    code: str, message: str, status: int, wait: float | None = None, location: str = ""
) -> ServiceError:
    """Return an error by its code, which Azure also sends as a header where a response has no body."""
    kind = _BY_CODE.get(code) or by_status(status, _BY_STATUS)
    return ServiceError(kind, code, message, status, wait, location, _ADVICE.get(code, ""))


def read_service_error(status: int, headers: Mapping[str, str], body: bytes) -> ServiceError:
    """Read an error response. Other elements of its body than the message may repeat the signed text."""
    wait = retry_after(headers.get("retry-after"), headers.get("date"))
    stated = _MESSAGE.search(body)
    message = _unescaped(stated[1].decode("utf-8", "replace")) if stated else ""
    code, location = headers.get("x-ms-error-code", ""), headers.get("location", "")
    error = service_error_of(code, message, status, wait, location)
    if _SKEWED.search(body):
        return replace(error, kind=Kind.OTHER, advice=SET_CLOCK)
    return replace(error, advice=_RENEW) if _EXPIRED.search(body) else error


def _unescaped(text: str) -> str:
    """Replace the predefined entities of XML, the ampersand last."""
    for entity, character in _ENTITIES.items():
        text = text.replace(entity, character)
    return text


def translate(error: Exception, request: Request) -> Exception:
    """Return the error of this package for one of the SDK or the connection; any other error as it is."""
    import aiohttp  # noqa: PLC0415 - optional, and loaded already where its errors are raised
    from azure.core import exceptions as sdk  # noqa: PLC0415

    match error:
        case AioAssetsError():
            return error
        case ServiceErrorRaised():
            return error.refusal.translate(request)
        case ForeignAnswer():
            return foreign_answer(request, "Azure's", "Check the account's URL.")
        case sdk.ServiceRequestError() | sdk.ServiceResponseError() | sdk.IncompleteReadError():
            return _unavailable(error, request)
        case sdk.ClientAuthenticationError():  # a credential got no token, or cannot sign
            return MissingCredentials(
                request.bucket, f"{_first_line(error)}. Check the key or signature, or sign in with Azure."
            )
        case sdk.AzureError():
            return StoreError(
                f"{request.bucket} can't {request.doing}: {_first_line(error)}.", uncertain=request.changes
            )
        case aiohttp.ClientError() | TimeoutError() | OSError():
            return _unavailable(error, request)
        case _ if isinstance(error, UNREADABLE):
            return foreign_answer(request, "Azure's", "Check the account's URL.")
    return error


def _unavailable(error: Exception, request: Request) -> StoreUnavailable:
    # The SDK reports a broken connection as a request that was not sent, so only the inner exception counts.
    return unavailable(request, getattr(error, "inner_exception", None) or error, advice=PRIVATE_CA)


def _first_line(error: Exception) -> str:
    """Return the message without further lines, on which the SDK adds request ids and the signed text."""
    return printable((f"{error}".strip().splitlines() or [type(error).__name__])[0]).rstrip(".")
