"""Hashing files and buffers without starving the event loop."""

from __future__ import annotations

import os
from typing import Final

from aioassets.model.digests import Hash
from aioassets.runtime.disk import BUFFER
from aioassets.runtime.threads import check_cancelled

GIL_HELD_BYTES: Final = 2047
"""Maximum number of bytes that `hashlib` hashes without releasing the GIL."""
SMALL_CONTENT: Final = 16 * 1024
"""Maximum number of bytes to hash without releasing the GIL. Hashing them takes about ten microseconds."""


def hash_range(digest: Hash, descriptor: int, start: int, stop: int) -> None:
    """Hash the bytes of an open file from `start` up to `stop`. Blocking.

    Raises:
        OSError: if the file can't be read or ends before `stop`.
    """
    buffer = memoryview(bytearray(min(BUFFER, stop - start)))
    while start < stop:
        check_cancelled()
        count = os.preadv(descriptor, [buffer[: stop - start]], start)
        if not count:
            raise OSError(f"the file shrank to {start} bytes while it was being hashed")
        digest.update(buffer[:count])
        start += count


def update_digest(digest: Hash, data: bytes | bytearray | memoryview) -> None:
    """Hash data. Small data is hashed in pieces, without releasing the GIL.

    `hashlib` releases the GIL for 2,048 bytes or more. Reacquiring it takes longer than hashing a few KiB.
    """
    if len(data) > SMALL_CONTENT:
        digest.update(data)
        return
    view = memoryview(data)
    for start in range(0, len(view), GIL_HELD_BYTES):
        digest.update(view[start : start + GIL_HELD_BYTES])
