"""State shared by the pushes of one manager, so that they cooperate instead of racing."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

import anyio

from aioassets.errors import AioAssetsError
from aioassets.model.versioning import VersioningScheme
from aioassets.runtime.locks import KeyedLock
from aioassets.runtime.machine import Claimant
from aioassets.runtime.retry import RetryPolicy
from aioassets.store.documents import INDEX_LIFETIME, AssetStore, IndexState
from aioassets.store.index import add_to_index


class Reservations:
    """Version numbers that the pushes of one manager hold or are trying to claim.

    Reservations save requests: without them, the store would refuse each of N concurrent pushes up to N times.
    """

    def __init__(self) -> None:
        self._versions: dict[str, set[str]] = {}

    def of(self, name: str) -> frozenset[str]:
        """Return the reserved version numbers of an asset."""
        return frozenset(self._versions.get(name, ()))

    def add(self, name: str, version: str) -> None:
        """Reserve a version number."""
        self._versions.setdefault(name, set()).add(version)

    def remove(self, name: str, version: str) -> None:
        """Remove a reservation."""
        versions = self._versions[name]
        versions.remove(version)
        if not versions:
            del self._versions[name]


@dataclass(slots=True, eq=False)
class _Batch:
    versions: set[str] = field(default_factory=set)
    known: IndexState | None = None
    done: bool = False
    error: AioAssetsError | None = None


class Lister:
    """A writer that adds versions to indexes for all pushes of a manager.

    While an index is being written, further versions of the asset are collected for the next write.

    Args:
        scheme: the versioning scheme.
        retry: the retry policy, which determines the delays between attempts.
    """

    def __init__(self, scheme: VersioningScheme, retry: RetryPolicy) -> None:
        self._scheme = scheme
        self.retry = retry
        self._locks = KeyedLock()
        self._gathering: dict[str, _Batch] = {}
        self._listed: dict[str, float] = {}

    def is_news(self, name: str, state: IndexState) -> bool:
        """Return whether an index was read after this manager last added a version to it.

        Additions that are more than a minute old may have been forgotten.
        """
        return state.asked > self._listed.get(name, -math.inf)

    async def add(self, store: AssetStore, name: str, versions: set[str], *, known: IndexState | None = None) -> None:
        """Add complete versions of an asset to its index, as `add_to_index` does.

        If a write fails, all pushes in its batch fail. The next push to the asset adds their versions.
        """
        batch = self._gathering.setdefault(name, _Batch())
        batch.versions |= versions
        batch.known = known or batch.known
        async with self._locks.holding(name):
            if not batch.done:
                await self._list(store, name, batch)
        if batch.error is not None:
            raise batch.error

    async def _list(self, store: AssetStore, name: str, batch: _Batch) -> None:
        if self._gathering.get(name) is batch:
            del self._gathering[name]
        try:
            state = await add_to_index(store, self._scheme, name, batch.versions, retry=self.retry, known=batch.known)
        except BaseException as error:
            self._gathering.setdefault(name, _Batch()).versions |= batch.versions
            if not isinstance(error, AioAssetsError):
                raise
            batch.error = error
        else:
            if (following := self._gathering.get(name)) is not None:
                following.known = state
            self._note(name, store.clock())
        batch.done = True

    def _note(self, name: str, now: float) -> None:
        """Remember an addition until every index that was read before it is too old to be considered fresh."""
        self._listed.pop(name, None)
        self._listed[name] = now
        while (oldest := next(iter(self._listed))) != name and now - self._listed[oldest] > INDEX_LIFETIME:
            del self._listed[oldest]


@dataclass(frozen=True, slots=True)
class PushContext:
    """State shared by all pushes of a manager.

    Attributes:
        store: the store to push to.
        scheme: the versioning scheme.
        claimant: the identity of the current process, as recorded in claims.
        tool: the name and version of this program, for the manifest.
        cleanup_timeout: how many seconds a cancelled push may take to clean up.
        lister: the writer that adds published versions to indexes.
        reservations: the version numbers in use by concurrent pushes of the manager.
        sleep: the function that waits between renewals.
        now: the function that returns the current time, for the manifest.
    """

    store: AssetStore
    scheme: VersioningScheme
    claimant: Claimant
    tool: str
    cleanup_timeout: float
    lister: Lister
    reservations: Reservations
    sleep: Callable[[float], Awaitable[None]] = anyio.sleep
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
