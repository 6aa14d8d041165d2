"""Watching the version that a spec refers to.

See `docs/adr/0044-watching.md`.
"""

from __future__ import annotations

import logging
import math
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from aioassets.drivers.protocol import Revision
from aioassets.errors import (
    AioAssetsError,
    AliasNotFound,
    AssetNotFound,
    BucketNotFound,
    ManagerStateError,
    NotFound,
    ObjectNotFound,
    OutOfThreads,
    PartNotFound,
    StoreUnavailable,
    UsageError,
    VersionDeleted,
    VersionNotFound,
)
from aioassets.fetch.fetched import FetchedAsset
from aioassets.model.names import AssetSpec
from aioassets.model.versioning import VersioningScheme
from aioassets.runtime.lifecycle import Lifecycle
from aioassets.runtime.retry import RetryPolicy
from aioassets.store.documents import AssetStore
from aioassets.store.resolve import exact_version

logger = logging.getLogger(__name__)

INTERVAL: Final = 30.0
"""Default number of seconds between two looks at the store."""
JITTER: Final = 0.1
"""Default fraction of the interval by which a pause may be shorter."""
LONGEST_BACKOFF: Final = 16
"""Maximum number of intervals between two attempts to fetch a version that can't be fetched."""

_SETTLED: Final = (AssetNotFound, AliasNotFound, VersionNotFound, PartNotFound)
"""Errors that last until the watched document changes."""


@dataclass(frozen=True, slots=True)
class WatchOptions:
    """Options of a watch.

    Attributes:
        interval: the number of seconds between two looks at the store.
        jitter: the fraction of the interval by which a pause may be shorter.
        wait: whether to wait if the spec doesn't refer to any version yet.
        on_error: a function that receives the errors that the watch survives.

    Raises:
        UsageError: if the interval or the jitter is out of range.
    """

    interval: float
    jitter: float
    wait: bool
    on_error: Callable[[Exception], None]

    def __post_init__(self) -> None:
        if not (_is_number(self.interval) and 0 < self.interval < math.inf):
            raise UsageError(f"interval must be a positive number of seconds, not {self.interval!r}.")
        if not (_is_number(self.jitter) and 0 <= self.jitter <= 1):
            raise UsageError(f"jitter must be a number from 0 to 1, not {self.jitter!r}.")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


class Watch:
    """A watch of the version that a spec refers to.

    Args:
        store: the store.
        scheme: the versioning scheme.
        spec: the spec.
        options: the options.
        retrieve: a function that fetches the spec.
        lifecycle: the lifecycle of the manager.
        retry: the policy with the clock, the sleep function and the source of jitter.
    """

    def __init__(
        self,
        store: AssetStore,
        scheme: VersioningScheme,
        spec: AssetSpec,
        options: WatchOptions,
        retrieve: Callable[[], Awaitable[FetchedAsset]],
        lifecycle: Lifecycle,
        retry: RetryPolicy,
    ) -> None:
        self._store = store
        self._spec = spec
        self._is_exact = exact_version(spec, scheme) is not None
        self._options = options
        self._retrieve = retrieve
        self._lifecycle = lifecycle
        self._retry = retry
        self._version: str | None = None
        self._seen: Revision | None = None
        self._has_looked = False
        self._again_at = 0.0
        self._failures = 0

    async def versions(self) -> AsyncGenerator[FetchedAsset, None]:
        """Yield the present version, and each one that the spec refers to later. See `AssetsManager.watch`."""
        held: list[FetchedAsset] = []  # their objects keep the versions from being evicted
        while True:
            due = self._retry.clock() + self._pause()
            found = await self._lifecycle.run(self._look_safely)
            if found is not None:
                held.append(found)
                yield found
                del held[:-1]
            await self._lifecycle.pause(self._retry.sleep, max(0.0, due - self._retry.clock()))

    def _pause(self) -> float:
        if self._is_exact and self._version is not None:
            return math.inf
        return self._options.interval * (1.0 - self._options.jitter * self._retry.jitter())

    async def _look_safely(self) -> FetchedAsset | None:
        try:
            return await self._look()
        except AioAssetsError as error:
            if self._is_fatal(error):
                raise
            self._report(error)
            return None

    async def _look(self) -> FetchedAsset | None:
        """Return the present version if it isn't the one that was returned last."""
        revision = None if self._is_exact else await self._revision()
        if self._has_looked and revision == self._seen and self._retry.clock() < self._again_at:
            return None
        if revision != self._seen:
            self._failures = 0
        self._has_looked, self._seen, self._again_at = True, revision, 0.0
        try:
            found = await self._retrieve()
        except AioAssetsError as error:
            self._again_at = self._time_of_next_attempt(error)
            raise
        if self._failures:
            logger.info("Watching %s: it is available again", self._spec)
        self._again_at, self._failures = math.inf, 0
        if found.version == self._version:
            return None
        logger.info("Watching %s: the version is %s (before: %s)", self._spec, found.version, self._version or "none")
        self._version = found.version
        return found

    async def _revision(self) -> Revision | None:
        """Return the revision of the document that the spec is resolved by; `None` if it doesn't exist."""
        layout = self._store.layout
        key = layout.versions(self._spec.name) if self._spec.alias is None else layout.aliases(self._spec.name)
        try:
            return (await self._store.driver.stat(key)).revision
        except (ObjectNotFound, BucketNotFound):
            return None

    def _time_of_next_attempt(self, error: AioAssetsError) -> float:
        if isinstance(error, StoreUnavailable):
            return 0.0
        if isinstance(error, _SETTLED) and not isinstance(error, VersionDeleted):
            return math.inf
        pause = self._options.interval * min(2.0**self._failures, LONGEST_BACKOFF)
        return self._retry.clock() + pause

    def _is_fatal(self, error: AioAssetsError) -> bool:
        """Return whether an error ends the watch. Before the first version, most do."""
        if isinstance(error, UsageError | ManagerStateError):
            return True
        if self._version is not None or isinstance(error, StoreUnavailable | OutOfThreads):
            return False
        return not (self._options.wait and isinstance(error, NotFound | BucketNotFound))

    def _report(self, error: AioAssetsError) -> None:
        level = logging.INFO if self._failures else logging.WARNING
        self._failures += 1
        logger.log(level, "Watching %s: %s", self._spec, error)
        self._options.on_error(error)
