"""Hashing files and buffers without starving the event loop."""

from __future__ import annotations

import os
from typing import Final

from aioassets.model.digests import Hash
from aioassets.runtime.disk import BUFFER
from aioassets.runtime.threads import check_cancelled

GIL_HELD_BYTES: Final = 2047
"""The most bytes that `hashlib` takes in without letting other threads run."""
SMALL_CONTENT: Final = 16 * 1024
"""Bytes that are taken in so: some ten microseconds."""


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


def update_digest(digest: Hash, data: bytes | bytearray | memoryview) -> None:
    """Take in content, of a small file without letting other threads run.

    From 2,048 bytes on, `hashlib` lets them; to be let run again takes longer than the hashing of a few KiB.
    """
    if len(data) > SMALL_CONTENT:
        digest.update(data)
        return
    view = memoryview(data)
    for start in range(0, len(view), GIL_HELD_BYTES):
        digest.update(view[start : start + GIL_HELD_BYTES])
