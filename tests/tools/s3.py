"""Access to the requests of an S3 driver."""

from __future__ import annotations

from aioassets.drivers.s3.driver import S3Driver
from aioassets.drivers.s3.opening import Client


def bucket_of(driver: S3Driver) -> str:
    """Return the name of a driver's bucket."""
    return driver.url.removeprefix("s3://")


async def client_of(driver: S3Driver) -> Client:
    """Return a driver's client, so that a test can intercept its requests."""
    return await driver._bucket.client()  # noqa: SLF001 - its requests have no public hook
