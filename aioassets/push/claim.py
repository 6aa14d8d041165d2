"""Holding a version number: the life of a `.meta` from a claim to its end.

absent → claimed → sealed | abandoned; abandoned → released → claimed. The first step is
create-only, each other one a compare-and-swap, so safety never rests on anybody being alive.
"""

from __future__ import annotations

import hashlib
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
from aioassets.runtime.effects import Effects
from aioassets.runtime.threads import in_thread
from aioassets.store.claims import is_dead, may_take_over
from aioassets.store.documents import AssetStore

RENEW_EVERY: Final = 60.0
"""Seconds between renewals of a claim."""
TRUE_REFUSALS: Final = 3
"""How often a swap of the true revision may be refused before the store is called unsuitable."""
MAX_ATTEMPTS: Final = 20
"""How often a `.meta` may change under our hands while we try to claim it."""


class ClaimLost(Exception):
    """The number is no longer ours; never leaves this package."""


@dataclass(slots=True, eq=False)
class HeldClaim:
    """A version number that this push holds.

    Attributes:
        store: where.
        name: the asset.
        version: the number.
        claim: what the `.meta` holds, as far as we know.
        revision: its state, as far as we know.
        effects: record to note requests with an unknown effect in.
        resumed: whether it was taken over from a push that died, so that content may be there.
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
        """Show that the holder lives.

        Raises:
            ClaimLost: somebody else decided otherwise.
        """
        async with self._swapping:
            await self._become(self.claim.renewed())

    async def seal(self, manifest: bytes | StreamedDocument, effects: Effects) -> None:
        """Publish the manifest, as it is stored, in the claim's place: from here the version is complete.

        Args:
            effects: record to note a swap with an unknown effect in.

        Raises:
            ClaimLost: the number is no longer ours.
        """
        async with self._swapping:
            await self._swap(manifest, effects)

    async def abandon(self) -> None:
        """Give the number up; only after this may content be deleted.

        Raises:
            ClaimLost: the number is no longer ours.
            StoreUnavailable: whether it is abandoned isn't known.
        """
        async with self._swapping:
            await self._become(self.claim.in_state(ClaimState.ABANDONED))

    async def release(self) -> None:
        """Let others claim the number again, since nothing is left under it and nothing will appear."""
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
                        self.store.driver.url, "it refuses to replace an object at the very revision it shows"
                    ) from None
                self.revision = found
            else:
                return

    async def _present(self, content: bytes | StreamedDocument) -> Revision | None:
        """The revision to try next, or `None` where an earlier try of ours was the one that won."""
        key = self.store.layout.meta(self.name, self.version)
        try:
            found = await self.store.read_document(key)
            if await _is(found.data, content):
                self.revision = found.revision
                return None
            there = (await self.store.read_meta(self.name, self.version)).content
        except (ObjectNotFound, StoreCorrupt):
            raise ClaimLost from None
        # A renewal of ours whose answer was lost shows as our claim in the same state.
        ours = isinstance(there, Claim) and (there.token, there.state) == (self.claim.token, self.claim.state)
        if not ours:
            raise ClaimLost
        return found.revision


async def _is(found: bytes, content: bytes | StreamedDocument) -> bool:
    """Whether that was written."""
    if isinstance(content, bytes):
        return found == content
    return len(found) == len(content) and (await in_thread(hashlib.sha256, found)).hexdigest() == content.sha256


@asynccontextmanager
async def renewing(held: HeldClaim, *, sleep: Callable[[float], Awaitable[None]]) -> AsyncIterator[None]:
    """Renew a claim every minute while the block runs.

    Raises:
        ClaimLost: the claim was lost; the block is cancelled.
    """
    lost = False

    async def keep(scope: anyio.CancelScope) -> None:
        nonlocal lost
        while True:
            await sleep(RENEW_EVERY)
            try:
                await held.renew()
            except StoreUnavailable:
                continue  # a claim outlives fourteen missed renewals
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
    """How trying for one number ended.

    Attributes:
        held: the number is ours.
        sealed: it is a complete version of somebody else.
        live: it is the claim of a push that is under way.
    """

    held: HeldClaim | None = None
    sealed: bool = False
    live: Claim | None = None


async def attempt_claim(store: AssetStore, name: str, version: str, claim: Claim, effects: Effects) -> ClaimAttempt:
    """Try to claim a number, taking over what a push of the same source left behind.

    Each write has bytes of its own: where revisions are digests, a state that came back would let
    another push's stale swap pass.

    Raises:
        StoreUnavailable: whether it is claimed isn't known.
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
            continue  # removed between the two
        except StoreCorrupt:
            return ClaimAttempt()
        content = meta.content
        if isinstance(content, Manifest):
            return ClaimAttempt(sealed=True)
        if (content.token, content.state) == (claim.token, claim.state):  # our own write, whose answer was lost
            return ClaimAttempt(HeldClaim(store, name, version, content, meta.revision, effects, took_over))
        if await in_thread(may_take_over, meta, content, claim.operation, claim.fingerprint):
            took_over = content.state is ClaimState.CLAIMED
            claim = claim.renewed()
            try:
                revision = await store.driver.write(key, claim.to_json(), expected=meta.revision, effects=effects)
            except PreconditionFailed:
                continue  # somebody else was faster, perhaps ourselves with a lost answer
            return ClaimAttempt(HeldClaim(store, name, version, claim, revision, effects, took_over))
        dead = content.state is not ClaimState.CLAIMED or await in_thread(is_dead, meta, content)
        return ClaimAttempt(live=None if dead else content)
    raise StoreUnsuitable(store.driver.url, f"{key} could neither be created nor read or replaced {MAX_ATTEMPTS} times")
