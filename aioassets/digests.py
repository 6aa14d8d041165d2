"""Digests that content can be verified by: ours, and those that stores vouch for."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Container
from importlib import import_module
from typing import Any, Final, Protocol

from aioassets.disk import BUFFER
from aioassets.threads import check_cancelled

SHA256: Final = "sha256"
MD5: Final = "md5"
CRC32C: Final = "crc32c"

KEPT: Final = 2047
"""The most bytes that `hashlib` takes in without letting other threads run."""
SHORT: Final = 16 * 1024
"""Bytes that are taken in so: some ten microseconds."""

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


def hash_range(digest: Hash, descriptor: int, start: int, stop: int) -> None:
    """Take in the bytes of an open file from `start` up to `stop`. Blocking.

    Raises:
        OSError: it can't be read, or ends before.
    """
    buffer = memoryview(bytearray(min(BUFFER, stop - start)))
    while start < stop:
        check_cancelled()
        count = os.preadv(descriptor, [buffer[: stop - start]], start)
        if not count:
            raise OSError(f"the file shrank to {start} bytes while it was hashed")
        digest.update(buffer[:count])
        start += count


def feed(digest: Hash, data: bytes | bytearray | memoryview) -> None:
    """Take in content, of a small file without letting other threads run.

    From 2,048 bytes on, `hashlib` lets them; to be let run again takes longer than the hashing of a few KiB.
    """
    if len(data) > SHORT:
        digest.update(data)
        return
    view = memoryview(data)
    for start in range(0, len(view), KEPT):
        digest.update(view[start : start + KEPT])


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
