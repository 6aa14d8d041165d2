"""Comparing sources with S3's ETags and checksums."""

from __future__ import annotations

import hashlib
import re
import zlib
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final

from aioassets.drivers.bodies import CHUNK, MIB
from aioassets.drivers.composition import Piece
from aioassets.drivers.http.parsing import entity_tag
from aioassets.drivers.protocol import Data, Source
from aioassets.drivers.s3.values import crc32, in_base64
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


async def part_has_range(part: Part, source: Source, start: int, stop: int) -> bool:
    """Return whether a listed part consists of the bytes of a source from `start` up to `stop`."""
    if crc := part.get("ChecksumCRC32"):
        return bool(crc == await crc32_of_range(source, start, stop))
    return bool(entity_tag(part["ETag"]) == (await _md5_of_range(source, start, stop)).hex())


async def is_etag_of(etag: str, source: Source, parts: Sequence[Piece] | None) -> bool:
    """Return whether an ETag is the one that the source would have after an upload.

    An ETag is the MD5 of the content, or the MD5 of the parts' MD5s followed by the number of parts.
    For objects encrypted with KMS keys, it is computed differently, so `False` proves nothing.

    Args:
        etag: the ETag.
        source: the content.
        parts: the parts in which it is uploaded, or `None` if it is uploaded whole.
    """
    ending = "" if parts is None else f"-{len(parts)}"
    if not re.fullmatch(f"[0-9a-f]{{32}}{ending}", etag):
        return False
    if parts is None:
        return etag == (await _md5_of_range(source, 0, source.size)).hex()
    digests = [await _md5_of_range(source, part.offset, part.stop) for part in parts]
    return etag == _md5(b"".join(digests)).hexdigest() + ending


async def _md5_of_range(source: Source, start: int, stop: int) -> bytes:
    digest = _md5()
    for offset in range(start, stop, CHUNK):
        await in_thread(digest.update, await source.read(offset, min(CHUNK, stop - offset)))
    return digest.digest()


async def crc32_of_range(source: Source, start: int, stop: int) -> str:
    """Return the CRC32 of the bytes of a source from `start` up to `stop`, in base64."""
    crc = 0
    for offset in range(start, stop, CHUNK):
        crc = await in_thread(zlib.crc32, await source.read(offset, min(CHUNK, stop - offset)), crc)
    return in_base64(crc)
