"""Bucket addresses: the server to send requests to, and the region to sign them for."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Self
from urllib.parse import parse_qs, urlsplit

from aioassets.drivers.http.exchange import Server
from aioassets.drivers.http.proxies import DEFAULT_PORTS
from aioassets.drivers.s3.signing import encoded_key, host_of

PROBE: Final = "key"
"""The key in the presigned URL from which an address is parsed."""

_ALGORITHM: Final = "AWS4-HMAC-SHA256"
_SCOPE: Final = re.compile(r".*/[0-9]{8}/(?P<region>[^/]+)/s3/aws4_request", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Address:
    """The address of a bucket.

    Attributes:
        scheme: `http` or `https`.
        server: the host and port to connect to.
        host: the value of the `Host` header.
        path: the encoded path that precedes each key, with a trailing slash.
        region: the region to sign requests for.
    """

    scheme: str
    server: Server
    host: str
    path: str
    region: str

    @classmethod
    def parse(cls, presigned: str) -> Self | None:
        """Parse the address of a bucket from a presigned URL for the key `PROBE`.

        Args:
            presigned: the presigned URL.

        Returns:
            The address, or `None` if requests need a different kind of signature (S3 Express,
            multi-region access points, signature version 2).
        """
        url = urlsplit(presigned)
        query = parse_qs(url.query)
        scope = _SCOPE.fullmatch(query.get("X-Amz-Credential", [""])[0])
        if query.get("X-Amz-Algorithm") != [_ALGORITHM] or scope is None:
            return None
        server = (url.hostname or "", url.port or DEFAULT_PORTS[url.scheme])
        return cls(url.scheme, server, host_of(url), url.path.removesuffix(PROBE), scope["region"])

    def path_of(self, key: str) -> str:
        """Return the encoded URL path for a key."""
        return self.path + encoded_key(key)
