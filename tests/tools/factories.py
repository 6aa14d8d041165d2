"""Factories of drivers, and types of fixtures that are factories."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from aioassets import AssetsManager, AzureDriver, Dispatcher, Driver, GCSDriver, LocalDriver, MemoryDriver
from aioassets.drivers.s3.driver import MIN_PART_SIZE, S3Driver

ManagerFactory = Callable[..., AssetsManager]
"""Function that makes a manager with a driver and settings."""
Files = Callable[[str], Path]
"""Function that makes a file with this content."""

PART_SIZE = MIN_PART_SIZE
"""Bytes of a part in all drivers that upload in parts."""


class Streamed:
    """Streamed document that can't be read as a whole."""

    def __init__(self, *pieces: bytes) -> None:
        self.pieces = pieces
        self.sha256 = hashlib.sha256(b"".join(pieces)).hexdigest()

    def __len__(self) -> int:
        return sum(map(len, self.pieces))

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.pieces)

    def __bytes__(self) -> bytes:
        raise AssertionError("all of it was asked for")


def long_text() -> Streamed:
    """Return a streamed document of 3.2 MB."""
    return Streamed(*[bytes([number]) * 400_000 for number in range(8)])


def driver_at(place: dict[str, Any], dispatcher: Dispatcher | None = None) -> Driver:
    """Return the driver of a place, which the caller closes. The fixture `place` describes places."""
    match {"part_size": PART_SIZE, **place}:
        case {"kind": "s3", **options}:
            return S3Driver(dispatcher=dispatcher, **options)
        case {"kind": "azure", **options}:
            return AzureDriver(dispatcher=dispatcher, **options)
        case {"kind": "gcs", **options}:
            return GCSDriver(dispatcher=dispatcher, **options)
        case {"kind": "local", "path": path}:
            return LocalDriver(path, dispatcher=dispatcher)
    return MemoryDriver(dispatcher=dispatcher)
