"""AWS Signature Version 4 as S3 wants it, without any I/O.

What is signed is the URL's path as it goes over the wire, and all headers of a request but those
that the SDK leaves out as well, since a proxy may change them.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from hashlib import sha256
from typing import Final, NamedTuple, Protocol
from urllib.parse import SplitResult, quote

UNSIGNED_PAYLOAD: Final = "UNSIGNED-PAYLOAD"
"""In place of the body's SHA-256: the store verifies the body by its checksum."""
DEFAULT_PORTS: Final = {"http": 80, "https": 443}
UNSIGNED: Final = frozenset(
    {
        "baggage",
        "connection",
        "expect",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "te",
        "traceparent",
        "tracestate",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "user-agent",
        "x-amzn-trace-id",
    }
)
"""Headers that aren't signed."""
_ALGORITHM: Final = "AWS4-HMAC-SHA256"


class Credentials(Protocol):
    """What is signed with, as the SDK freezes it."""

    @property
    def access_key(self) -> str:
        """The access key id."""

    @property
    def secret_key(self) -> str:
        """The secret access key."""

    @property
    def token(self) -> str | None:
        """The session token; `None` for long-lived keys."""


class _Key(NamedTuple):
    """A key of one day; deriving it costs as much as all the rest of a signature."""

    secret: str
    day: str
    value: bytes


class Signer:
    """Signs requests to S3.

    Args:
        region: the bucket's.
    """

    def __init__(self, region: str) -> None:
        self._region = region
        self._key = _Key("", "", b"")

    def signed(
        self,
        credentials: Credentials,
        method: str,
        host: str,
        path: str,
        query: str,
        headers: Mapping[str, str],
        *,
        time: str,
        payload: str = UNSIGNED_PAYLOAD,
    ) -> dict[str, str]:
        """The headers that a request is to be sent with.

        Args:
            host: as `host_of` gives it.
            path: encoded, as it is sent.
            query: encoded, as it is sent, without the question mark.
            headers: those that it has already, with names in lower case.
            time: now, in UTC, like `20240229T235959Z`.
            payload: the SHA-256 of the body, in hex.
        """
        headers = {**headers, "host": host, "x-amz-content-sha256": payload, "x-amz-date": time}
        if credentials.token:
            headers["x-amz-security-token"] = credentials.token
        names = sorted(headers.keys() - UNSIGNED)
        lines = "".join([f"{name}:{_canonical_value(headers[name])}\n" for name in names])
        signed = ";".join(names)
        request = f"{method}\n{path}\n{_canonical_query(query)}\n{lines}\n{signed}\n{payload}"
        scope = f"{time[:8]}/{self._region}/s3/aws4_request"
        text = f"{_ALGORITHM}\n{time}\n{scope}\n{sha256(request.encode()).hexdigest()}"
        signature = _hmac(self._key_of(credentials.secret_key, time[:8]), text).hex()
        headers["authorization"] = (
            f"{_ALGORITHM} Credential={credentials.access_key}/{scope}, SignedHeaders={signed}, Signature={signature}"
        )
        return headers

    def _key_of(self, secret: str, day: str) -> bytes:
        if self._key[:2] != (secret, day):
            value = f"AWS4{secret}".encode()
            for part in (day, self._region, "s3", "aws4_request"):
                value = _hmac(value, part)
            self._key = _Key(secret, day, value)
        return self._key.value


def host_of(url: SplitResult) -> str:
    """The host and, unless it is the usual one, the port."""
    host = f"[{url.hostname}]" if ":" in (url.hostname or "") else f"{url.hostname}"
    return host if url.port in (None, DEFAULT_PORTS.get(url.scheme)) else f"{host}:{url.port}"


def encoded_key(key: str) -> str:
    """A key as it stands in a URL's path."""
    return quote(key, safe="/~")


def encoded_query(parameters: Mapping[str, str]) -> str:
    """Parameters as they stand in a URL."""
    return "&".join(f"{quote(name, safe='~')}={quote(value, safe='~')}" for name, value in parameters.items())


def _canonical_query(query: str) -> str:
    if not query:
        return ""
    pairs = sorted(pair.partition("=")[::2] for pair in query.split("&"))
    return "&".join(f"{name}={value}" for name, value in pairs)


def _canonical_value(value: str) -> str:
    if " " not in value and value.isascii() and value.isprintable():  # as almost always
        return value
    return " ".join(value.split())


def _hmac(key: bytes, text: str) -> bytes:
    return hmac.digest(key, text.encode(), "sha256")
