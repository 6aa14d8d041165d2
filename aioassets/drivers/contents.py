"""Comparing objects in a store with sources, and with each other."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

from aioassets.drivers.bodies import CHUNK, MIB
from aioassets.drivers.protocol import Driver, Expect, ObjectInfo, Revision, Source, Uploaded
from aioassets.errors import BucketNotFound, ObjectNotFound, PreconditionFailed
from aioassets.model.digests import SHA256, best_of, new_hash
from aioassets.runtime.threads import in_thread

STEP: Final = 8 * MIB
"""Number of bytes per request when an object is read for hashing. Larger requests could delay other ones."""

Send = Callable[[str, Source, Expect], Awaitable[Revision | None]]
"""A function that writes an object, and returns its revision if known."""
Compare = Callable[[ObjectInfo, Source], Awaitable[bool]]
"""A function that returns whether an object and a source have the same contents."""
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
    """Upload a source. It is not an error if the object already exists with the same contents.

    Args:
        send: a function that writes the object, or raises `PreconditionFailed`.
        driver: the store.
        key: the object's key.
        source: the content to upload.
        expected: the expected current state of the object.
        look_first: whether to check for an existing object before sending. Some stores ignore the condition
            when a multipart upload is completed.
        compare: a function that compares an object with the source; `has_bytes_of` by default.
    """
    found = await present(driver, key) if look_first and expected is Expect.ABSENT else None
    try:
        if found is not None:
            raise PreconditionFailed(f"{driver.url}/{key}")
        revision = await send(key, source, expected)
    except PreconditionFailed:  # an earlier attempt of this request may have created the object
        same = None
        if expected is Expect.ABSENT:
            same = await find_same(driver, key, source, compare, found=found)
        if same is None:
            raise
        return Uploaded(created=False, revision=same.revision)
    return Uploaded(created=True, revision=revision)


async def present(driver: Driver, key: str) -> ObjectInfo | None:
    """Return an object's metadata, or `None` if there is no object with this key."""
    try:
        return await driver.stat(key)
    except ObjectNotFound:
        return None
    except BucketNotFound as error:
        if error.creatable:  # the first write creates it
            return None
        raise


async def find_same(
    driver: Driver, key: str, source: Source, compare: Compare | None = None, *, found: ObjectInfo | None = None
) -> ObjectInfo | None:
    """Return the object with this key if it has the same contents as the source, or else `None`.

    Args:
        driver: the store.
        key: the object's key.
        source: the content to compare with.
        compare: a function that compares an object with the source; `has_bytes_of` by default.
        found: the object's metadata, if already known.
    """
    found = found or await present(driver, key)
    try:
        is_same = found is not None and await (compare or partial(has_bytes_of, driver))(found, source)
    except (ObjectNotFound, PreconditionFailed):
        return None
    return found if is_same else None


async def revision_of_same(driver: Driver, key: str, source: Source, compare: Compare | None = None) -> Revision | None:
    """Return the revision of the object with this key if it has the same contents as the source, or else `None`."""
    found = await find_same(driver, key, source, compare)
    return None if found is None else found.revision


async def has_bytes_of(driver: Driver, found: ObjectInfo, source: Source) -> bool:
    """Return whether an object and a source have the same contents.

    Compare the best digest that the store vouches for. If there is none, read the object.

    Raises:
        ObjectNotFound, PreconditionFailed: the object has been deleted or replaced in the meantime.
    """
    if found.size != source.size:
        return False
    algorithm = best_of(found.checksums) or SHA256
    return await _digest_stored(driver, found, algorithm) == await _digest_of(source, algorithm)


async def has_sha256_of(driver: Driver, found: ObjectInfo, source: Source) -> bool:
    """Return whether an object has the size and the SHA-256 of a source, which is not read again.

    Raises:
        ObjectNotFound, PreconditionFailed: the object has been deleted or replaced in the meantime.
    """
    if found.size != source.size:
        return False
    return await _digest_stored(driver, found, SHA256) == source.digests.get(SHA256)


async def copied_before(source: Driver, info: ObjectInfo, target: Driver, look: Look) -> ObjectInfo:
    """After a copy has been refused, return the existing object if it has the same contents as the original.

    Compare the best digest that both stores vouch for. If an object has no such digest, read the object.

    Args:
        source: the store that contains the original.
        info: the metadata of the original.
        target: the store that contains the copy.
        look: a function that returns the metadata of the existing object.

    Raises:
        PreconditionFailed: the contents differ, or the original has a different revision.
        ObjectNotFound: one of the objects has been deleted.
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
    digest = None if algorithm == SHA256 else await in_thread(new_hash, algorithm)  # sources compute it themselves
    for offset in range(0, source.size, CHUNK):
        data = await source.read(offset, min(CHUNK, source.size - offset))
        if digest is not None:
            await in_thread(digest.update, data)
    return source.digests.get(algorithm) if digest is None else digest.hexdigest()
