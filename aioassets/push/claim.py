"""Claims on version numbers, and the states of a `.meta`.

absent → claimed → sealed | abandoned; abandoned → released → claimed. The first step is a create-only
write and all the others are compare-and-swaps, so safety doesn't depend on whether a holder is still alive.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

import anyio

from aioassets.drivers.protocol import Expect, Revision, StreamedDocument
from aioassets.errors import (
    ObjectNotFound,
    PreconditionFailed,
    StoreCorrupt,
    StoreUnavailable,
    StoreUnsuitable,
)
from aioassets.model.claim import Claim, ClaimState
from aioassets.model.manifest import Manifest
from aioassets.model.tombstone import Tombstone
from aioassets.runtime.effects import Effects
from aioassets.runtime.threads import in_thread
from aioassets.store.claims import is_dead, may_take_over
from aioassets.store.documents import AssetStore
from aioassets.store.settling import is_withdrawn

logger = logging.getLogger(__name__)

RENEW_EVERY: Final = 60.0
"""Number of seconds between renewals of a claim."""
TRUE_REFUSALS: Final = 3
"""Number of writes that are refused, despite the correct revision, before a store counts as unsuitable."""
MAX_ATTEMPTS: Final = 20
"""Maximum number of attempts to claim a version number whose `.meta` keeps changing."""


class ClaimLost(Exception):
    """Raised when another process has taken over or abandoned this push's claim. It is internal to this package."""


@dataclass(slots=True, eq=False)
class HeldClaim:
    """A version number that this push has claimed.

    Attributes:
        store: the store.
        name: the asset's name.
        version: the version number.
        claim: the last known content of the `.meta`.
        revision: the last known revision of the `.meta`.
        effects: the record of requests whose effect is unknown.
        resumed: whether the claim was taken over from an interrupted push, which may have left content behind.
    """

    store: AssetStore
    name: str
    version: str
    claim: Claim
    revision: Revision
    effects: Effects
    resumed: bool = False
    _swapping: anyio.Lock = field(default_factory=anyio.Lock)

    async def renew(self) -> None:
        """Rewrite the claim to show that its holder is alive.

        Raises:
            ClaimLost: if another process has taken over or abandoned the claim.
        """
        async with self._swapping:
            await self._become(self.claim.renewed())

    async def seal(self, manifest: bytes | StreamedDocument, effects: Effects) -> None:
        """Replace the claim with the manifest, which makes the version complete.

        Args:
            manifest: the encoded manifest.
            effects: the record of requests whose effect is unknown, for this write only.

        Raises:
            ClaimLost: if another process has taken over or abandoned the claim.
        """
        async with self._swapping:
            await self._swap(manifest, effects)

    async def abandon(self) -> None:
        """Give up the version number. The version's content must not be deleted before this has succeeded.

        Raises:
            ClaimLost: if another process has taken over or abandoned the claim.
            StoreUnavailable: if it is unknown whether the claim was abandoned.
        """
        async with self._swapping:
            await self._become(self.claim.in_state(ClaimState.ABANDONED))

    async def release(self) -> None:
        """Allow other pushes to claim the version number.

        The version must have no content, and no request that could write any may still be in flight.

        Raises:
            ClaimLost: if another process has taken over or abandoned the claim.
        """
        async with self._swapping:
            await self._become(self.claim.in_state(ClaimState.RELEASED))

    async def _become(self, claim: Claim) -> None:
        await self._swap(claim.to_json(), self.effects)
        self.claim = claim

    async def _swap(self, content: bytes | StreamedDocument, effects: Effects) -> None:
        key, write = self.store.layout.meta(self.name, self.version), self.store.driver.write
        true_refusals = 0
        while True:
            try:
                self.revision = await write(key, content, expected=self.revision, effects=effects)
            except PreconditionFailed:
                found = await self._present(content)
                if found is None:
                    return
                true_refusals += found == self.revision
                if true_refusals >= TRUE_REFUSALS:
                    raise StoreUnsuitable(
                        self.store.driver.url,
                        "it refuses a conditional write even with the revision that it has just reported",
                    ) from None
                self.revision = found
            else:
                return

    async def _present(self, content: bytes | StreamedDocument) -> Revision | None:
        """Return the current revision, for the next attempt, or `None` if an earlier attempt has succeeded."""
        key = self.store.layout.meta(self.name, self.version)
        try:
            found = await self.store.read_document(key)
            if await _is(found.data, content):
                self.revision = found.revision
                return None
            there = (await self.store.read_meta(self.name, self.version)).content
        except (ObjectNotFound, StoreCorrupt):
            raise ClaimLost from None
        if self._is_sealed(there):  # the response was lost, and the version was yanked or deleted since
            return None
        # A renewal whose response was lost has the same token and state.
        own = isinstance(there, Claim) and there.is_of(self.claim)
        if not own:
            raise ClaimLost
        return found.revision

    def _is_sealed(self, there: Manifest | Claim | Tombstone) -> bool:
        """Return whether a `.meta` is the manifest of this push, or the tombstone of its version."""
        token = there.token if isinstance(there, Manifest) else None
        return self.claim.token == (there.push_token if isinstance(there, Tombstone) else token)


async def _is(found: bytes, content: bytes | StreamedDocument) -> bool:
    """Return whether a document has the given content."""
    if isinstance(content, bytes):
        return found == content
    return len(found) == len(content) and (await in_thread(hashlib.sha256, found)).hexdigest() == content.sha256


@asynccontextmanager
async def renewing(held: HeldClaim, *, sleep: Callable[[float], Awaitable[None]]) -> AsyncIterator[None]:
    """Renew a claim every minute while a `with` block runs.

    Raises:
        ClaimLost: if the claim is lost. In that case, the block is cancelled first.
    """
    lost = False

    async def keep(scope: anyio.CancelScope) -> None:
        nonlocal lost
        while True:
            await sleep(RENEW_EVERY)
            try:
                await held.renew()
            except StoreUnavailable as error:  # a claim survives fourteen missed renewals
                logger.warning("Could not renew the claim on %s:%s: %s", held.name, held.version, error)
            except ClaimLost:
                lost = True
                scope.cancel()
                return

    async with anyio.create_task_group() as tasks:
        with anyio.CancelScope() as block:
            tasks.start_soon(keep, block)
            yield
        tasks.cancel_scope.cancel()
    if lost:
        raise ClaimLost


@dataclass(frozen=True, slots=True)
class ClaimAttempt:
    """The result of an attempt to claim a version number.

    Attributes:
        held: the claimed number; `None` if the attempt failed.
        sealed: whether another push has completed this version, and it isn't yanked.
        withdrawn: whether this version is yanked or deleted.
        live: the claim of another push that may still be running; `None` if there is none.
    """

    held: HeldClaim | None = None
    sealed: bool = False
    withdrawn: bool = False
    live: Claim | None = None


async def attempt_claim(store: AssetStore, name: str, version: str, claim: Claim, effects: Effects) -> ClaimAttempt:
    """Try to claim a version number, or to take it over from an interrupted push of the same source.

    Every write has unique content. Some stores use a digest of the content as the revision, so repeated
    content would let an outdated write by another push succeed.

    Raises:
        StoreUnavailable: if it is unknown whether the number was claimed.
    """
    key = store.layout.meta(name, version)
    took_over = False
    for _ in range(MAX_ATTEMPTS):
        claim = claim.renewed()
        try:
            revision = await store.driver.write(key, claim.to_json(), expected=Expect.ABSENT, effects=effects)
            return ClaimAttempt(HeldClaim(store, name, version, claim, revision, effects))
        except PreconditionFailed:
            pass
        try:
            meta = await store.read_meta(name, version)
        except ObjectNotFound:
            continue  # removed after the write
        except StoreCorrupt:
            return ClaimAttempt()
        content = meta.content
        if not isinstance(content, Claim):
            return ClaimAttempt(sealed=not is_withdrawn(content), withdrawn=is_withdrawn(content))
        if content.is_of(claim):  # the response to this write was lost
            return ClaimAttempt(HeldClaim(store, name, version, content, meta.revision, effects, took_over))
        if await in_thread(may_take_over, meta, content, claim.operation, claim.fingerprint):
            took_over = content.state is ClaimState.CLAIMED
            claim = claim.renewed()
            try:
                revision = await store.driver.write(key, claim.to_json(), expected=meta.revision, effects=effects)
            except PreconditionFailed:
                continue  # another push was faster, or the response was lost
            if took_over:
                logger.info("Took over %s:%s from an interrupted push by %s", name, version, content.holder)
            return ClaimAttempt(HeldClaim(store, name, version, claim, revision, effects, took_over))
        dead = content.state is not ClaimState.CLAIMED or await in_thread(is_dead, meta, content)
        return ClaimAttempt(live=None if dead else content)
    raise StoreUnsuitable(store.driver.url, f"it refused {MAX_ATTEMPTS} attempts to create or replace {key!r}")
