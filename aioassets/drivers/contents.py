"""Whether a store holds the bytes of a source already."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

from aioassets.drivers.bodies import CHUNK, MIB
from aioassets.drivers.protocol import Driver, Expect, ObjectInfo, Source, Uploaded
from aioassets.errors import BucketNotFound, ObjectNotFound, PreconditionFailed
from aioassets.model.digests import SHA256, best_of, new_hash
from aioassets.runtime.threads import in_thread

STEP: Final = 8 * MIB
"""Bytes of an object that are asked for at once when all of it is hashed, so that others have their turn."""

Send = Callable[[str, Source, Expect], Awaitable[None]]
Compare = Callable[[ObjectInfo, Source], Awaitable[bool]]
"""Whether an object that was found has the bytes of a source."""
Look = Callable[[], Awaitable[ObjectInfo]]


async def upload_by(
    send: Send,
    driver: Driver,
    key: str,
    source: Source,
    expected: Expect,
    *,
    look_first: bool,
    compare: Compare | None = None,
) -> Uploaded:
    """Do what `Driver.upload` promises where the same bytes are there already.

    Args:
        send: writes the object, or raises `PreconditionFailed`.
        look_first: spare sending where something is there. That also covers stores that ignore a condition at
            the end of an upload in parts.
        compare: how to compare, where the driver knows a better way than `has_bytes_of`.
    """
    found = await present(driver, key) if look_first and expected is Expect.ABSENT else None
    try:
        if found is not None:
            raise PreconditionFailed(f"{driver.url}/{key}")
        await send(key, source, expected)
    except PreconditionFailed:  # perhaps the answer to a request of ours that was sent twice
        if expected is not Expect.ABSENT or not await holds(driver, key, source, compare, found=found):
            raise
        return Uploaded(created=False)
    return Uploaded(created=True)


async def present(driver: Driver, key: str) -> ObjectInfo | None:
    """What is there, if anything."""
    try:
        return await driver.stat(key)
    except ObjectNotFound:
        return None
    except BucketNotFound as error:
        if error.creatable:  # by the first write
            return None
        raise


async def holds(
    driver: Driver, key: str, source: Source, compare: Compare | None = None, *, found: ObjectInfo | None = None
) -> bool:
    """Whether an object is there and has the source's bytes.

    Args:
        compare: how to compare, if not by `has_bytes_of`.
        found: what is there, where that is known.
    """
    found = found or await present(driver, key)
    try:
        return found is not None and await (compare or partial(has_bytes_of, driver))(found, source)
    except (ObjectNotFound, PreconditionFailed):
        return False


async def has_bytes_of(driver: Driver, found: ObjectInfo, source: Source) -> bool:
    """Whether an object that is there has the source's bytes.

    By the best digest that the store vouches for; where it has none, the object is read.

    Raises:
        ObjectNotFound, PreconditionFailed: it isn't there any more.
    """
    if found.size != source.size:
        return False
    algorithm = best_of(found.checksums) or SHA256
    return await _digest_stored(driver, found, algorithm) == await _digest_of(source, algorithm)


async def copied_before(source: Driver, info: ObjectInfo, target: Driver, look: Look) -> ObjectInfo:
    """What stands where a copy was refused, if it has the bytes of what was to be copied.

    By the best digest that the stores vouch for; where there is none, both are read.

    Args:
        look: describes what stands there.

    Raises:
        PreconditionFailed: it hasn't, or the original is at another revision.
        ObjectNotFound: one of them isn't there any more.
    """
    original = await source.stat(info.key)
    if original.revision != info.revision:
        raise PreconditionFailed(f"{source.url}/{info.key}")
    found = await look()
    shared = {name: digest for name, digest in original.checksums.items() if name in found.checksums}
    algorithm = best_of(shared) or best_of({**original.checksums, **found.checksums}) or SHA256
    if original.size != found.size or (
        await _digest_stored(source, original, algorithm) != await _digest_stored(target, found, algorithm)
    ):
        raise PreconditionFailed(f"{target.url}/{found.key}")
    return found


async def _digest_stored(driver: Driver, found: ObjectInfo, algorithm: str) -> str:
    if algorithm in found.checksums:
        return found.checksums[algorithm]
    digest = await in_thread(new_hash, algorithm)
    for start in range(0, found.size, STEP):
        chunks = driver.read_range(found.key, start, min(start + STEP, found.size), revision=found.revision)
        async with contextlib.aclosing(chunks):
            async for chunk in chunks:
                await in_thread(digest.update, chunk)
    return digest.hexdigest()


async def _digest_of(source: Source, algorithm: str) -> str | None:
    if algorithm in source.digests:
        return source.digests[algorithm]
    digest = None if algorithm == SHA256 else await in_thread(new_hash, algorithm)  # sources have that one themselves
    for offset in range(0, source.size, CHUNK):
        data = await source.read(offset, min(CHUNK, source.size - offset))
        if digest is not None:
            await in_thread(digest.update, data)
    return source.digests.get(algorithm) if digest is None else digest.hexdigest()
