"""Digest algorithms: SHA-256, which aioassets computes, and those that stores vouch for."""

from __future__ import annotations

import hashlib
from collections.abc import Container
from importlib import import_module
from typing import Any, Final, Protocol

SHA256: Final = "sha256"
MD5: Final = "md5"
CRC32C: Final = "crc32c"

PREFERRED: Final = (SHA256, MD5, CRC32C)
"""The first that a file has is the one that it is verified by."""


class Hash(Protocol):
    """A digest in the making."""

    def update(self, data: bytes | bytearray | memoryview, /) -> None:
        """Take in more content."""

    def hexdigest(self) -> str:
        """The digest so far, in lower-case hex."""


def best_of(digests: Container[str]) -> str | None:
    """The strongest algorithm that a file has a digest of and that can be computed here."""
    return next((algorithm for algorithm in PREFERRED if algorithm in digests and _is_known(algorithm)), None)


def new_hash(algorithm: str) -> Hash:
    """Begin a digest."""
    if algorithm == CRC32C:
        return _Crc32c()
    return hashlib.new(algorithm, usedforsecurity=False)


class _Crc32c:
    def __init__(self) -> None:
        # Optional: only what Google's store copied by itself is verified by it.
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
