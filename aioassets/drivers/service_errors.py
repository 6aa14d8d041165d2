"""Error responses from stores, and their translation into aioassets' own exceptions."""

from __future__ import annotations

import contextlib
import enum
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from aioassets.drivers.http.parsing import http_time, number, printable
from aioassets.errors import (
    AccessDenied,
    AioAssetsError,
    BucketNotFound,
    ObjectNotFound,
    OutOfThreads,
    PreconditionFailed,
    StoreError,
    StoreUnavailable,
    StoreUnsuitable,
)
from aioassets.runtime.threads import is_out_of_threads

REDIRECTS: Final = frozenset({300, 301, 302, 303, 305, 307, 308})
"""Redirect statuses. Redirects are never followed, since that could send credentials and content to another host."""
UNAVAILABLE: Final = 503
"""The status of an overloaded server, whatever the error code."""
SET_CLOCK: Final = "This machine's clock is wrong. Set it (for example with NTP), and try again."
RETAINED: Final = "A retention policy or a hold protects the object. Wait until the protection has ended, or remove it."

CHANGING: Final = frozenset({"write", "copy", "delete"})
"""Verbs of the requests that can change objects."""


class Kind(enum.Enum):
    """The meaning of an error response from a store."""

    MISSING = enum.auto()
    NO_BUCKET = enum.auto()
    CONDITION = enum.auto()
    DENIED = enum.auto()
    REFUSED = enum.auto()
    """Temporary. The request had no effect."""
    THROTTLED = enum.auto()
    """Temporary: there were too many requests. The request had no effect."""
    FAILED = enum.auto()
    """Temporary. The request may have had an effect."""
    TOO_LARGE = enum.auto()
    """The request was too large, usually for a proxy or gateway in front of the store."""
    UNSUPPORTED = enum.auto()
    REDIRECTED = enum.auto()
    """A redirect, which is not followed. The request may have had an effect."""
    OTHER = enum.auto()


@dataclass(frozen=True, slots=True)
class Request:
    """A request to a store, as described in error messages.

    Attributes:
        bucket: the bucket's URL.
        verb: the operation: one of `CHANGING`, or an operation that changes no objects, such as `read`.
        key: the object's key; empty if the request doesn't concern a single object.
        conditional: whether the write is conditional.
        needs_only_bucket: whether "not found" can only refer to the bucket.
        server: the server's URL; empty if the SDK chooses it.
    """

    bucket: str
    verb: str
    key: str = ""
    conditional: bool = False
    needs_only_bucket: bool = False
    server: str = ""

    @property
    def url(self) -> str:
        """The object's URL."""
        return f"{self.bucket}/{self.key}"

    @property
    def changes(self) -> bool:
        """Whether the request can change objects. A request that uploads a part can't."""
        return self.verb in CHANGING

    @property
    def doing(self) -> str:
        """A description of the request, such as `read 'key'`."""
        return f"{self.verb} {self.key!r}" if self.key else self.verb


@dataclass(frozen=True, slots=True)
class ServiceError:
    """An error response from a store.

    Attributes:
        kind: the meaning of the error.
        code: the store's error code; empty if the response has none.
        message: the store's error message. It never contains a signature or a secret.
        status: the HTTP status; 0 if it is unknown.
        retry_after: how many seconds the store asked clients to wait, or `None`.
        location: the target of a redirect.
        advice: a sentence that tells the user what to do; empty to use the default for this kind of error.
    """

    kind: Kind
    code: str
    message: str
    status: int = 0
    retry_after: float | None = None
    location: str = ""
    advice: str = ""

    @property
    def sentence(self) -> str:
        """The error as a sentence."""
        return printable(f"{self.code or self.status}: {self.message or 'no details'}").rstrip(".") + "."

    @property
    def is_the_stores(self) -> bool:
        """Whether the error has a code from the store, rather than only a status, which a proxy could have sent."""
        return bool(self.code) and not self.code.isdecimal()

    def translate(self, request: Request) -> AioAssetsError:
        """Return the aioassets exception that corresponds to this service error."""
        match self.kind:
            case Kind.MISSING:
                return BucketNotFound(request.bucket) if request.needs_only_bucket else ObjectNotFound(request.url)
            case Kind.NO_BUCKET:
                return BucketNotFound(request.bucket)
            case Kind.CONDITION:
                return PreconditionFailed(request.url)
            case Kind.DENIED:
                advice = (self.advice,) if self.advice else ()
                return AccessDenied(request.bucket, request.doing, self.sentence, *advice)
            case Kind.REFUSED | Kind.THROTTLED:
                return self._unavailable(request, uncertain=False)
            case Kind.FAILED:
                return self._unavailable(request, uncertain=request.changes)
            case Kind.TOO_LARGE:
                return self._too_large(request)
            case Kind.UNSUPPORTED if request.conditional:
                return StoreUnsuitable(request.bucket, f"it refuses conditional writes ({self.sentence[:-1]})")
            case Kind.REDIRECTED:
                return StoreError(self._redirected(request), uncertain=request.changes)
        uncertain = request.changes and not self.is_the_stores
        told = f"Cannot {request.doing} in {request.bucket}: {self.sentence} {self.advice}".rstrip()
        return StoreError(told, uncertain=uncertain)

    def _too_large(self, request: Request) -> RequestTooLarge:
        reason = (
            f"Cannot {request.doing} in {request.bucket}: the request is too large for a proxy or gateway in front of "
            f"the store, or for the store itself ({self.sentence[:-1]}). Raise the limit (for example, "
            f"client_max_body_size in nginx)"
        )
        return RequestTooLarge(reason, uncertain=request.changes and not self.is_the_stores)

    def _redirected(self, request: Request) -> str:
        server = origin(request.server) or "the store's server"
        target = origin(self.location) or "another address"
        return (
            f"Cannot {request.doing} in {request.bucket}: {server} responded with a redirect to {target} "
            f"({self.status}). "
            f"Redirects are not followed, because that would send credentials there. Check the URL of the store, and "
            f"whether a proxy or a sign-in page responds instead of the store."
        )

    def _unavailable(self, request: Request, *, uncertain: bool) -> StoreUnavailable:
        return StoreUnavailable(
            request.bucket,
            self.sentence,
            uncertain=uncertain,
            retry_after=self.retry_after,
            throttled=self.kind is Kind.THROTTLED or self.status == UNAVAILABLE,
        )


class RequestTooLarge(StoreError):
    """Raised when a proxy or the store rejects a request because of its size.

    Args:
        reason: the message, without its ending.
        uncertain: whether the request may have taken effect.
        option: the ending of the message, which names the option to change.
    """

    def __init__(
        self, reason: str, *, uncertain: bool = False, option: str = "; for files, a smaller part_size also helps."
    ) -> None:
        self.reason = reason
        super().__init__(f"{reason}{option}", uncertain=uncertain)


class ServiceErrorRaised(Exception):
    """Raised for an error response that was not received through an SDK operation.

    Attributes:
        refusal: the error response.
    """

    def __init__(self, refusal: ServiceError) -> None:
        self.refusal = refusal
        super().__init__(f"{refusal.status} {refusal.sentence}" if refusal.code else refusal.sentence)


class ForeignAnswer(Exception):
    """Raised for a successful response that doesn't match the store's API and must come from something else."""


def foreign_answer(request: Request, whose: str, advice: str) -> StoreError:
    """Return the error for a response that wasn't recognized. The request may have taken effect.

    Args:
        request: the request.
        whose: the name of the store or API as a possessive, such as "S3's".
        advice: a sentence that tells the user what to check.
    """
    told = f"Cannot {request.doing} in {request.bucket}: the response is not in {whose} format. {advice}"
    return StoreError(told, uncertain=request.changes)


def origin(url: str) -> str:
    """Return the scheme, host and port of a URL, without secrets, or an empty string if it isn't a valid URL."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return ""
    if not host or not parts.scheme:
        return ""
    return printable(f"{parts.scheme}://{host}" + (f":{port}" if port else ""))


def code_of(error: BaseException) -> str:
    """Return the store's error code from the cause of a translated error, or an empty string if there is none."""
    return error.__cause__.refusal.code if isinstance(error.__cause__, ServiceErrorRaised) else ""


def status_of(error: BaseException) -> int:
    """Return the HTTP status from the cause of a translated error, or 0 if there was no response."""
    return error.__cause__.refusal.status if isinstance(error.__cause__, ServiceErrorRaised) else 0


def by_status(status: int, kinds: Mapping[int, Kind]) -> Kind:
    """Return the kind of an error that has only a status. By default, a status of 500 or above is a failure."""
    if status in REDIRECTS:
        return Kind.REDIRECTED
    return kinds.get(status) or (Kind.FAILED if status >= 500 else Kind.OTHER)


def retry_after(value: str | None, date: str | None) -> float | None:
    """Parse a `Retry-After` header into seconds. A date is compared with the response's own `Date` header."""
    if value is None:
        return None
    with contextlib.suppress(ValueError):
        return float(number(value))
    with contextlib.suppress(ValueError):
        return max(0.0, (http_time(value) - http_time(date or "")).total_seconds())
    return None


@contextlib.contextmanager
def translating(
    translate: Callable[[Exception, Request], Exception], request: Request, *, secret: bool = False
) -> Iterator[None]:
    """Translate exceptions that are raised inside the block into aioassets' own.

    Args:
        translate: a function that returns the translated exception, or the original one if it needs no translation.
        request: the request.
        secret: whether the original exceptions may contain a credential. If so, they are not kept as causes.
    """
    try:
        yield
    except Exception as error:
        translated = OutOfThreads() if is_out_of_threads(error) else translate(error, request)
        if translated is error:
            raise
        raise translated from (None if secret and not isinstance(error, ServiceErrorRaised) else error)
