"""What Azure Blob Storage and its SDK raise, as errors of ours."""

from __future__ import annotations

import re
from collections.abc import Mapping
from html import unescape
from typing import Final

from aioassets.drivers.http.connections import PRIVATE_CA, unavailable
from aioassets.drivers.http.parsing import UNREADABLE, printable
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
from aioassets.errors import AioAssetsError, MissingCredentials, StoreError, StoreUnavailable

_BY_CODE: Final[Mapping[str, Kind]] = {
    "BlobNotFound": Kind.MISSING,
    "ContainerBeingDeleted": Kind.NO_BUCKET,
    "ContainerNotFound": Kind.NO_BUCKET,
    "ResourceNotFound": Kind.NO_BUCKET,  # also the answer to a stranger who asks for a private container
    "BlobAlreadyExists": Kind.CONDITION,
    "ConditionNotMet": Kind.CONDITION,
    "InvalidBlobOrBlock": Kind.CONDITION,  # somebody else has sent blocks for the key, with ids of another length
    "SourceConditionNotMet": Kind.CONDITION,
    "TargetConditionNotMet": Kind.CONDITION,
    "LeaseIdMissing": Kind.DENIED,  # a 412, as the next, that says nothing of the content: somebody holds a lease
    "LeaseIdMismatchWithBlobOperation": Kind.DENIED,
    "BlobImmutableDueToPolicy": Kind.DENIED,
    "InvalidAuthenticationInfo": Kind.DENIED,
    "PublicAccessNotPermitted": Kind.DENIED,
    "AccountBeingCreated": Kind.REFUSED,
    "Crc64Mismatch": Kind.REFUSED,  # damaged on the way
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
    429: Kind.THROTTLED,
    501: Kind.UNSUPPORTED,
}
"""For codes that aren't listed; a 404 and a 412 mean too many things to be told without their code."""

_MESSAGE: Final = re.compile(rb"<Message>([^<\r\n]*)")
"""The sentence of an error document; lines with ids follow it."""


def service_error_of(
    code: str, message: str, status: int, wait: float | None = None, location: str = ""
) -> ServiceError:
    """A refusal by what Azure states: its code is a header, also where the answer has no body."""
    return ServiceError(_BY_CODE.get(code) or by_status(status, _BY_STATUS), code, message, status, wait, location)


def read_service_error(status: int, headers: Mapping[str, str], body: bytes) -> ServiceError:
    """Read an error response, but for what else its body may say: other elements repeat what was signed."""
    wait = retry_after(headers.get("retry-after"), headers.get("date"))
    stated = _MESSAGE.search(body)
    message = unescape(stated[1].decode("utf-8", "replace")) if stated else ""
    return service_error_of(headers.get("x-ms-error-code", ""), message, status, wait, headers.get("location", ""))


def translate(error: Exception, request: Request) -> Exception:
    """The error of ours for one of the SDK's; the very same error where it isn't the SDK's."""
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
        case sdk.ClientAuthenticationError():  # of a credential that got no token, or can't sign
            return MissingCredentials(
                request.bucket, f"{_first_line(error)}. Check the key or signature, or sign in with Azure."
            )
        case sdk.AzureError():
            return in_doubt(StoreError(f"{request.bucket} can't {request.doing}: {_first_line(error)}."), request)
        case aiohttp.ClientError() | TimeoutError() | OSError():
            return _unavailable(error, request)
        case _ if isinstance(error, UNREADABLE):
            return foreign_answer(request, "Azure's", "Check the account's URL.")
    return error


def _unavailable(error: Exception, request: Request) -> StoreUnavailable:
    # The SDK calls a connection that broke under a request a request that couldn't be sent: its own words don't count.
    return unavailable(request, getattr(error, "inner_exception", None) or error, advice=PRIVATE_CA)


def _first_line(error: Exception) -> str:
    """The SDK adds request ids, and what was to be signed, on further lines."""
    return printable((f"{error}".strip().splitlines() or [type(error).__name__])[0]).rstrip(".")
