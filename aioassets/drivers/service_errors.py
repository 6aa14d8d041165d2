"""What stores refuse, and as which errors of ours that is raised."""

from __future__ import annotations

import contextlib
import enum
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, TypeVar
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

E = TypeVar("E", bound=AioAssetsError)

REDIRECTS: Final = frozenset({300, 301, 302, 303, 305, 307, 308})
"""The statuses of answers that name another address; none is followed, since credentials and content would go there."""
UNAVAILABLE: Final = 503
"""The status of a server that can't keep up, by whatever code it says so."""


class Kind(enum.Enum):
    """What an answer of a store means to us."""

    MISSING = enum.auto()
    NO_BUCKET = enum.auto()
    CONDITION = enum.auto()
    DENIED = enum.auto()
    REFUSED = enum.auto()
    """For now; certainly not done."""
    THROTTLED = enum.auto()
    """For now, since too much is asked; certainly not done."""
    FAILED = enum.auto()
    """Perhaps done all the same."""
    UNSUPPORTED = enum.auto()
    REDIRECTED = enum.auto()
    """To another address; perhaps done all the same."""
    OTHER = enum.auto()


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked when an error occurred.

    Attributes:
        bucket: the bucket's URL.
        verb: `read`, `write`, `copy`, `list` or `delete`.
        key: the object's key; empty where the request is about many.
        conditional: whether the request carried a condition.
        needs_only_bucket: whether what is missing can be the bucket alone, not an object.
        server: the URL that requests go to; empty where the SDK decides that.
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
        """Whether it may take effect; what doesn't leaves no doubt."""
        return not self.verb.startswith(("read", "list"))

    @property
    def doing(self) -> str:
        """The request in words."""
        return f"{self.verb} {self.key!r}" if self.key else self.verb


@dataclass(frozen=True, slots=True)
class ServiceError:
    """An answer that isn't success, as a store states it.

    Attributes:
        kind: what it means.
        code: the store's name for it; empty where the answer has none.
        message: the store's sentence. It never holds a signature or a secret.
        status: of the HTTP answer; 0 where it isn't known.
        retry_after: seconds that the store asked to wait.
        location: the address that a redirect names.
    """

    kind: Kind
    code: str
    message: str
    status: int = 0
    retry_after: float | None = None
    location: str = ""

    @property
    def sentence(self) -> str:
        """The refusal in words."""
        return printable(f"{self.code or self.status}: {self.message or 'no details'}").rstrip(".") + "."

    @property
    def is_the_stores(self) -> bool:
        """Whether it is in the store's words, not just a status, which whatever is on the way may send."""
        return bool(self.code) and not self.code.isdecimal()

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
            case Kind.REFUSED | Kind.THROTTLED:
                return self._unavailable(request, uncertain=False)
            case Kind.FAILED:
                return self._unavailable(request, uncertain=request.changes)
            case Kind.UNSUPPORTED if request.conditional:
                return StoreUnsuitable(request.bucket, f"it refuses conditional writes ({self.sentence[:-1]})")
            case Kind.REDIRECTED:
                return in_doubt(StoreError(self._redirected(request)), request)
        refused = StoreError(f"{request.bucket} can't {request.doing}: {self.sentence}")
        return refused if self.is_the_stores else in_doubt(refused, request)

    def _redirected(self, request: Request) -> str:
        server = origin(request.server) or "the store's server"
        target = origin(self.location) or "another address"
        return (
            f"{request.bucket} can't {request.doing}: {server} answered with a redirect to {target} ({self.status}). "
            f"Redirects aren't followed, because credentials would go there. Check the address of the store, and "
            f"whether a proxy or a sign-in page answers in its place."
        )

    def _unavailable(self, request: Request, *, uncertain: bool) -> StoreUnavailable:
        return StoreUnavailable(
            request.bucket,
            self.sentence,
            uncertain=uncertain,
            retry_after=self.retry_after,
            throttled=self.kind is Kind.THROTTLED or self.status == UNAVAILABLE,
        )


class ServiceErrorRaised(Exception):
    """Raised where no SDK raises for a refusal, and so the cause of the error of ours.

    Attributes:
        refusal: what the store answered.
    """

    def __init__(self, refusal: ServiceError) -> None:
        self.refusal = refusal
        super().__init__(f"{refusal.status} {refusal.sentence}" if refusal.code else refusal.sentence)


class ForeignAnswer(Exception):
    """Raised where an answer says success, but isn't one that the store's API gives: something else answers there."""


def in_doubt(error: E, request: Request) -> E:
    """Mark an error as uncertain where the request may have changed something."""
    error.uncertain = error.uncertain or request.changes
    return error


def foreign_answer(request: Request, whose: str, advice: str) -> StoreError:
    """Make the error for an answer that can't be read, which leaves open whether a change took effect.

    Args:
        whose: whose answer it should be, in the possessive.
        advice: what to check.
    """
    told = f"{request.bucket} gave an answer that isn't {whose} to: {request.doing}. {advice}"
    return in_doubt(StoreError(told), request)


def origin(url: str) -> str:
    """Return the scheme and host of a URL without what may be secret in it; empty where it has none."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return ""
    if not host or not parts.scheme:
        return ""
    return printable(f"{parts.scheme}://{host}" + (f":{port}" if port else ""))


def code_of(error: BaseException) -> str:
    """The store's own code behind a translated `ServiceErrorRaised`; empty where there is none."""
    return error.__cause__.refusal.code if isinstance(error.__cause__, ServiceErrorRaised) else ""


def status_of(error: BaseException) -> int:
    """The HTTP status behind a translated `ServiceErrorRaised`; 0 where there was no answer."""
    return error.__cause__.refusal.status if isinstance(error.__cause__, ServiceErrorRaised) else 0


def by_status(status: int, kinds: Mapping[int, Kind]) -> Kind:
    """What a status means where nothing else tells; from 500 on, all are failures that aren't listed."""
    if status in REDIRECTS:
        return Kind.REDIRECTED
    return kinds.get(status) or (Kind.FAILED if status >= 500 else Kind.OTHER)


def retry_after(value: str | None, date: str | None) -> float | None:
    """Seconds, from a header that holds seconds or a date (which is measured against the store's own clock)."""
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
    """Raise a driver's errors as ours.

    Args:
        translate: the error of ours for one of the SDK's, or the very same error.
        secret: whether the SDK's errors may show a credential, and so aren't kept as causes.
    """
    try:
        yield
    except Exception as error:
        translated = OutOfThreads() if is_out_of_threads(error) else translate(error, request)
        if translated is error:
            raise
        raise translated from (None if secret and not isinstance(error, ServiceErrorRaised) else error)
