"""Locating the source of a push: a local path, or objects in a store."""

from __future__ import annotations

import os
from collections.abc import Callable
from urllib.parse import unquote, urlsplit

from aioassets.drivers import Location, split_url
from aioassets.drivers.protocol import Driver
from aioassets.errors import UsageError
from aioassets.push.plan import PushRequest
from aioassets.push.scan import Tree, scan
from aioassets.push.stored import scan_store
from aioassets.runtime.known_hashes import KnownHashes


class Sources:
    """The sources of one manager's pushes, with a driver for each bucket that they are read from.

    Each driver has its own budget. An upload waits for its source while holding a share of the store's
    budget, so reading the source must not wait for the same budget.

    Args:
        open_driver: a function that creates the driver for a bucket.
        known: the digests of local files from earlier calls; `None` to use none.
    """

    def __init__(self, open_driver: Callable[[Location], Driver], known: KnownHashes | None = None) -> None:
        self.known = known
        self._open_driver = open_driver
        self._drivers: dict[Location, Driver] = {}

    async def scan(self, request: PushRequest, store_url: str) -> Tree:
        """Scan a local path, or the URL of an object or prefix.

        Args:
            request: the push whose source to scan.
            store_url: the URL of the store to push to, which must not be inside the source.

        Raises:
            UsageError: if the source isn't a `str` or path-like object.
            SourceNotFound: if the source doesn't exist.
            SourceError: if the source can't be pushed.
        """
        text = _text_of(request.source)
        include, exclude = request.include, request.exclude
        located = split_url(text)
        if located is None:
            return await scan(_local_path(text) or text, include=include, exclude=exclude, store=_local_path(store_url))
        location, key = located
        return await scan_store(self.driver(location), key, include=include, exclude=exclude)

    async def aclose(self) -> None:
        """Close all drivers."""
        for driver in self._drivers.values():
            await driver.aclose()

    def driver(self, location: Location) -> Driver:
        """Return the driver for a bucket, which is opened on the first call."""
        if location not in self._drivers:
            self._drivers[location] = self._open_driver(location)
        return self._drivers[location]


def _text_of(source: object) -> str:
    text = os.fspath(source) if isinstance(source, os.PathLike) else source
    if isinstance(text, str):
        return text
    raise UsageError(
        f"Cannot push a value of type {type(text).__name__}: pass the path of a file or directory, or a URL. "
        "Write content to a file first, and decode a bytes path with os.fsdecode."
    )


def _local_path(url: str) -> str | None:
    parts = urlsplit(url)
    return unquote(parts.path) if parts.scheme == "file" else None
