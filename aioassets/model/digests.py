"""Digest algorithms: SHA-256, which aioassets computes, and those that stores report."""

from __future__ import annotations

import hashlib
from collections.abc import Container
from importlib import import_module
from typing import Any, Final, Protocol

SHA256: Final = "sha256"
MD5: Final = "md5"
CRC32C: Final = "crc32c"

PREFERRED: Final = (SHA256, MD5, CRC32C)
"""Algorithms for verifying a file, in order of preference."""


class Hash(Protocol):
    """An incremental hash object, like those of `hashlib`."""

    def update(self, data: bytes | bytearray | memoryview, /) -> None:
        """Update the hash with more data."""

    def hexdigest(self) -> str:
        """Return the digest of all data added so far, in lowercase hexadecimal."""


def best_of(digests: Container[str]) -> str | None:
    """Return the preferred algorithm in `digests` that can be computed on this machine, or `None` if there is none."""
    return next((algorithm for algorithm in PREFERRED if algorithm in digests and _is_known(algorithm)), None)


def new_hash(algorithm: str) -> Hash:
    """Return a new hash object for an algorithm."""
    if algorithm == CRC32C:
        return _Crc32c()
    return hashlib.new(algorithm, usedforsecurity=False)


class _Crc32c:
    def __init__(self) -> None:
        # An optional dependency, only needed for objects that GCS copied on the server side.
        self._checksum: Any = import_module("google_crc32c").Checksum()

    def update(self, data: bytes | bytearray | memoryview, /) -> None:
        self._checksum.update(bytes(data))

    def hexdigest(self) -> str:
        return str(self._checksum.digest().hex())


def _is_known(algorithm: str) -> bool:
    if algorithm != CRC32C:
        return True
    try:
        _Crc32c()
    except ImportError:
        return False
    return True
