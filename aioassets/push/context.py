"""What the pushes of one manager share, so that they help each other instead of racing."""

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
    """The numbers that pushes of one manager try for or hold, so that they don't meet each other in the store.

    A courtesy that saves requests: among N pushes of one asset, each would otherwise be refused up to N times.
    """

    def __init__(self) -> None:
        self._versions: dict[str, set[str]] = {}

    def of(self, name: str) -> frozenset[str]:
        """The numbers of an asset that are reserved now."""
        return frozenset(self._versions.get(name, ()))

    def add(self, name: str, version: str) -> None:
        """Reserve a number."""
        self._versions.setdefault(name, set()).add(version)

    def remove(self, name: str, version: str) -> None:
        """Leave a number to others."""
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
    """Adds versions to indexes for all pushes of a manager, which would only get in each other's way.

    While one swap is under way, further versions of the asset gather, and the next one lists them together.

    Args:
        scheme: how versions are numbered.
        retry: how to pause between attempts.
    """

    def __init__(self, scheme: VersioningScheme, retry: RetryPolicy) -> None:
        self._scheme = scheme
        self._retry = retry
        self._locks = KeyedLock()
        self._gathering: dict[str, _Batch] = {}
        self._listed: dict[str, float] = {}

    def is_news(self, name: str, state: IndexState) -> bool:
        """Whether an index was asked for after a push of this manager last listed something there, of late."""
        return state.asked > self._listed.get(name, -math.inf)

    async def add(self, store: AssetStore, name: str, versions: set[str], *, known: IndexState | None = None) -> None:
        """List complete versions of an asset, as `add_to_index` does.

        Where that fails, it fails for all that were to be listed together. They are left to the next push.
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
            state = await add_to_index(store, self._scheme, name, batch.versions, retry=self._retry, known=batch.known)
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
        """Remember that something was listed, for as long as a state from before may be counted on."""
        self._listed.pop(name, None)
        self._listed[name] = now
        while (oldest := next(iter(self._listed))) != name and now - self._listed[oldest] > INDEX_LIFETIME:
            del self._listed[oldest]


@dataclass(frozen=True, slots=True)
class PushContext:
    """What all pushes of a manager share.

    Attributes:
        store: where to.
        scheme: how versions are numbered.
        claimant: who pushes, as far as it may be recorded.
        tool: which program pushes, for the manifest.
        cleanup_timeout: seconds that a cancelled push may take to clean up.
        lister: lists what they published.
        reservations: keeps the pushes of a manager apart.
        sleep: how to pause between renewals.
        now: the time, for the manifest.
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
