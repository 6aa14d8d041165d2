"""Comparing sources with S3's ETags and checksums."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from functools import partial
from typing import Any, Final

from aioassets.drivers.bodies import CHUNK, MIB
from aioassets.drivers.http.parsing import entity_tag
from aioassets.drivers.protocol import Data, Source
from aioassets.drivers.s3.values import crc32
from aioassets.runtime.threads import in_thread

MAX_PARTS: Final = 10_000
"""S3's limit on the number of parts in an upload."""
Part = Mapping[str, Any]
"""A part, as listed by the store."""

_md5: Final = partial(hashlib.md5, usedforsecurity=False)


def fitting_part_size(size: int, part_size: int) -> int:
    """Return `part_size`, or a larger part size if the upload would otherwise need more than `MAX_PARTS` parts."""
    least = -(-size // MAX_PARTS)
    return part_size if least <= part_size else -(-least // MIB) * MIB


async def part_has_bytes(part: Part, body: Data) -> bool:
    """Return whether a listed part consists of the given bytes."""
    if crc := part.get("ChecksumCRC32"):
        return bool(crc == await crc32(body))
    return bool(entity_tag(part["ETag"]) == (await in_thread(_md5, body)).hexdigest())


async def is_etag_of(etag: str, source: Source, part_size: int) -> bool:
    """Return whether an ETag is the one that the source would have after an upload in parts of this size.

    An ETag is the MD5 of the content, or the MD5 of the parts' MD5s followed by the number of parts.
    For objects encrypted with KMS keys, it is computed differently, so `False` proves nothing.
    """
    part_size = fitting_part_size(source.size, part_size)
    starts = range(0, source.size, part_size) or (0,)
    ending = f"-{len(starts)}" if source.size > part_size else ""
    if not re.fullmatch(f"[0-9a-f]{{32}}{ending}", etag):
        return False
    digests = [await _md5_of_part(source, start, min(start + part_size, source.size)) for start in starts]
    whole = _md5(b"".join(digests)).digest() if ending else digests[0]
    return etag == whole.hex() + ending


async def _md5_of_part(source: Source, start: int, stop: int) -> bytes:
    digest = _md5()
    for offset in range(start, stop, CHUNK):
        await in_thread(digest.update, await source.read(offset, min(CHUNK, stop - offset)))
    return digest.digest()
