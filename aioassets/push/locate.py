"""Locating the source of a push: a local path, objects in a store, or content in memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from urllib.parse import unquote, urlsplit

from aioassets.drivers import Location, split_url
from aioassets.drivers.protocol import Driver
from aioassets.push.mapping import VALUE, scan_mapping, scan_value, text_of
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
        """Scan a local path, the URL of an object or prefix, or content that was passed as a value.

        Args:
            request: the push whose source to scan.
            store_url: the URL of the store to push to, which must not be inside the source.

        Raises:
            UsageError: if the source has a type that can't be pushed.
            SourceNotFound: if the source doesn't exist.
            SourceError: if the source can't be pushed.
        """
        source, include, exclude = request.source, request.include, request.exclude
        locate = partial(self._locate, store_url=store_url)
        if isinstance(source, Mapping):
            return await scan_mapping(source, locate, include=include, exclude=exclude)
        text = text_of(source, VALUE)
        if text is None:
            return await scan_value(source)
        return await locate(text, include=include, exclude=exclude)

    async def _locate(
        self, text: str, *, store_url: str, include: Sequence[str] = (), exclude: Sequence[str] = ()
    ) -> Tree:
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


def _local_path(url: str) -> str | None:
    parts = urlsplit(url)
    return unquote(parts.path) if parts.scheme == "file" else None
