"""Helpers for sending requests, which the conformance tests share."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import timedelta
from typing import Any

import pytest

from aioassets.drivers.protocol import CommonPrefix, Driver, Expect, ObjectInfo, OpenUpload, Revision
from aioassets.errors import AioAssetsError, ObjectNotFound, PreconditionFailed
from aioassets.runtime.tasks import for_each
from aioassets.testing.sources import BytesSource

RACERS = 20
MANY = 1100
"""More keys than fit in one page of a listing or one batch of deletions."""
CLOCK_TOLERANCE = timedelta(seconds=5)


class PartSized:
    """Base class for tests that upload content in several parts.

    Attributes:
        part_size: the size in bytes above which the driver uploads a blob in several parts.
    """

    part_size = 5 * 1024 * 1024

    def _content(self, parts: float, *, salt: int = 0) -> bytes:
        """Return content that differs from part to part, so that parts in the wrong order are detected."""
        size = int(parts * self.part_size)
        block = b"".join((n + salt).to_bytes(4, "big") for n in range(16 * 1024))
        blocks = (n.to_bytes(4, "big") + block for n in range(-(-size // len(block))))
        return b"".join(blocks)[:size]


async def race(attempt: Callable[[int], Awaitable[Any]], racers: int = RACERS) -> Sequence[Any]:
    """Run all racers concurrently. Return the result of each one, or the `PreconditionFailed` that it raised."""
    results: list[Any] = [None] * racers

    async def run(number: int) -> None:
        try:
            results[number] = await attempt(number)
        except PreconditionFailed as refused:
            results[number] = refused

    await for_each(range(racers), run, limit=racers)
    return results


def winners_of(results: Sequence[Any]) -> list[int]:
    """Return the numbers of the racers that succeeded."""
    return [number for number, result in enumerate(results) if not isinstance(result, PreconditionFailed)]


async def read_all(driver: Driver, key: str, start: int, stop: int, *, revision: Revision | None = None) -> bytes:
    """Return all bytes in a range."""
    async with contextlib.aclosing(driver.read_range(key, start, stop, revision=revision)) as chunks:
        return b"".join([chunk async for chunk in chunks])


async def open_uploads(driver: Driver, prefix: str) -> list[OpenUpload]:
    """Return the open uploads whose keys begin with a prefix, or are unknown."""
    return [upload async for upload in driver.open_uploads(prefix)]


async def upload_until_aborted(driver: Driver, key: str, source: BytesSource) -> None:
    """Upload a blob, ignoring the errors that occur when another task aborts the upload."""
    with contextlib.suppress(AioAssetsError):  # a part may be sent after the upload has been aborted
        await driver.upload(key, source)


async def list_keys(driver: Driver, prefix: str) -> list[str]:
    """Return the keys that begin with a prefix."""
    return [row.key async for row in driver.list(prefix) if isinstance(row, ObjectInfo)]


async def list_rows(driver: Driver, prefix: str, delimiter: str) -> list[str]:
    """Return the keys and the common prefixes in a listing. Each common prefix is followed by an ellipsis."""
    return [
        row.prefix + "..." if isinstance(row, CommonPrefix) else row.key
        async for row in driver.list(prefix, delimiter=delimiter)
    ]


async def listed_revision(driver: Driver, key: str) -> Revision:
    """Return the revision of an object in a listing, which is empty if listings don't include it."""
    (info,) = [row async for row in driver.list(key) if isinstance(row, ObjectInfo) and row.key == key]
    return info.revision


async def write_all(driver: Driver, keys: Iterable[str]) -> None:
    """Write a document to each key, using the key as its content."""

    async def write(key: str) -> None:
        await driver.write(key, key.encode(), expected=Expect.ABSENT)

    await for_each(keys, write, limit=RACERS)


async def assert_absent(driver: Driver, key: str) -> None:
    """Assert that there is no object with this key, and no open upload for it."""
    with pytest.raises(ObjectNotFound):
        await driver.stat(key)
    assert await open_uploads(driver, key) == []


async def assert_empty(driver: Driver, key: str) -> None:
    """Assert that the store contains no objects, and no open uploads for the key."""
    with pytest.raises(ObjectNotFound):
        await driver.stat(key)
    with pytest.raises(ObjectNotFound):
        await read_all(driver, key, 0, 10)
    assert await list_keys(driver, "") == []
    assert await open_uploads(driver, key) == []
