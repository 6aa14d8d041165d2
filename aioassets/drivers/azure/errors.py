"""Errors from Azure Blob Storage and its SDK, and their translation."""

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
    "InvalidBlobOrBlock": Kind.CONDITION,  # another client has sent blocks for this key with IDs of a different length
    "SourceConditionNotMet": Kind.CONDITION,
    "TargetConditionNotMet": Kind.CONDITION,
    "LeaseIdMissing": Kind.DENIED,  # like the next one, a 412 because of a lease, not because of the contents
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
"""Kinds by status, for all other codes. A 404 or 412 is ambiguous without a code."""
_LEASED: Final = "Another client holds a lease on the blob. Break the lease, or try again when it has ended."
_ADVICE: Final[Mapping[str, str]] = {
    "BlobArchived": "Move the blob to an online tier (`az storage blob set-tier`), and then try again.",
    "BlobBeingRehydrated": "The blob is being restored from the archive, which may take hours. Try again later.",
    "BlobImmutableDueToLegalHold": RETAINED,
    "BlobImmutableDueToPolicy": RETAINED,
    "LeaseIdMissing": _LEASED,
    "LeaseIdMismatchWithBlobOperation": _LEASED,
}
"""Advice by code, if the default advice for the kind would be wrong."""
_SKEWED: Final = re.compile(rb"<AuthenticationErrorDetail>[^<:]*\bdate header\b")
_EXPIRED: Final = re.compile(rb"<AuthenticationErrorDetail>[^<:]*\bnot valid in the specified (key )?time frame\b")
_RENEW: Final = "The signature (SAS) has expired, or is not valid yet. Create a new one, or check this machine's clock."

_ENTITIES: Final = {"&lt;": "<", "&gt;": ">", "&quot;": '"', "&apos;": "'", "&amp;": "&"}
_MESSAGE: Final = re.compile(rb"<Message>([^<\r\n]*)")
"""The message in an error document, without the lines that follow it, which contain IDs."""


def service_error_of(
    code: str, message: str, status: int, wait: float | None = None, location: str = ""
) -> ServiceError:
    """Return the service error for a code, which Azure sends in a header of every error response."""
    kind = _BY_CODE.get(code) or by_status(status, _BY_STATUS)
    return ServiceError(kind, code, message, status, wait, location, _ADVICE.get(code, ""))


def read_service_error(status: int, headers: Mapping[str, str], body: bytes) -> ServiceError:
    """Parse an error response. Only the message is kept, because other elements may repeat the signed text."""
    wait = retry_after(headers.get("retry-after"), headers.get("date"))
    stated = _MESSAGE.search(body)
    message = _unescaped(stated[1].decode("utf-8", "replace")) if stated else ""
    code, location = headers.get("x-ms-error-code", ""), headers.get("location", "")
    error = service_error_of(code, message, status, wait, location)
    if _SKEWED.search(body):
        return replace(error, kind=Kind.OTHER, advice=SET_CLOCK)
    return replace(error, advice=_RENEW) if _EXPIRED.search(body) else error


def _unescaped(text: str) -> str:
    """Decode XML's predefined entities, with `&amp;` last."""
    for entity, character in _ENTITIES.items():
        text = text.replace(entity, character)
    return text


def translate(error: Exception, request: Request) -> Exception:
    """Return aioassets' own exception for an SDK or connection error. Return any other exception unchanged."""
    import aiohttp  # noqa: PLC0415 - optional, and already imported if its errors are raised
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
        case sdk.ClientAuthenticationError():  # a credential could not get a token, or cannot sign
            return MissingCredentials(
                request.bucket, f"{_first_line(error)}. Check the key or signature, or sign in to Azure."
            )
        case sdk.AzureError():
            return StoreError(
                f"Cannot {request.doing} in {request.bucket}: {_first_line(error)}.", uncertain=request.changes
            )
        case aiohttp.ClientError() | TimeoutError() | OSError():
            return _unavailable(error, request)
        case _ if isinstance(error, UNREADABLE):
            return foreign_answer(request, "Azure's", "Check the account's URL.")
    return error


def _unavailable(error: Exception, request: Request) -> StoreUnavailable:
    # The SDK reports a broken connection as if the request had not been sent, so use the inner exception.
    return unavailable(request, getattr(error, "inner_exception", None) or error, advice=PRIVATE_CA)


def _first_line(error: Exception) -> str:
    """Return the first line of an error message. The SDK adds lines with request IDs and the signed text."""
    return printable((f"{error}".strip().splitlines() or [type(error).__name__])[0]).rstrip(".")
