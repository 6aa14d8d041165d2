"""AWS Signature Version 4 for S3, without I/O.

The signature covers the method, the path and query as sent, and all headers except those that a proxy may change.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from hashlib import sha256
from typing import Final, NamedTuple, Protocol
from urllib.parse import SplitResult, quote

from aioassets.drivers.http.proxies import DEFAULT_PORTS

UNSIGNED_PAYLOAD: Final = "UNSIGNED-PAYLOAD"
"""The value sent instead of the SHA-256 of the body. A checksum header protects the body instead."""
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
"""Headers that are not signed. The SDK excludes the same ones."""
_ALGORITHM: Final = "AWS4-HMAC-SHA256"


class Credentials(Protocol):
    """A snapshot of credentials, as returned by the SDK."""

    @property
    def access_key(self) -> str:
        """The access key ID."""

    @property
    def secret_key(self) -> str:
        """The secret access key."""

    @property
    def token(self) -> str | None:
        """The session token, or `None` for long-lived keys."""


class _Key(NamedTuple):
    """The signing key for one day. Deriving it takes as long as all other steps of signing a request."""

    secret: str
    day: str
    value: bytes


class Signer:
    """Signs requests to S3.

    Args:
        region: the bucket's region.
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
        """Return all headers of a request, including the signature.

        Args:
            credentials: the credentials to sign with.
            method: the HTTP method.
            host: the host, from `host_of`.
            path: the encoded path.
            query: the encoded query, without the question mark.
            headers: the headers to sign, with names in lower case.
            time: the time in UTC, as in `20240229T235959Z`.
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
    """Return the host of a URL, followed by the port unless it is the default."""
    host = f"[{url.hostname}]" if ":" in (url.hostname or "") else f"{url.hostname}"
    return host if url.port in (None, DEFAULT_PORTS.get(url.scheme)) else f"{host}:{url.port}"


def encoded_key(key: str) -> str:
    """Percent-encode a key for use in a URL's path."""
    return quote(key, safe="/~")


def encoded_query(parameters: Mapping[str, str]) -> str:
    """Encode parameters as the query of a URL."""
    return "&".join(f"{quote(name, safe='~')}={quote(value, safe='~')}" for name, value in parameters.items())


def _canonical_query(query: str) -> str:
    if not query:
        return ""
    pairs = sorted(pair.partition("=")[::2] for pair in query.split("&"))
    return "&".join(f"{name}={value}" for name, value in pairs)


def _canonical_value(value: str) -> str:
    if " " not in value and value.isascii() and value.isprintable():  # nearly always
        return value
    return " ".join(value.split())


def _hmac(key: bytes, text: str) -> bytes:
    return hmac.digest(key, text.encode(), "sha256")
