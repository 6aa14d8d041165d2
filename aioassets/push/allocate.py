"""Allocating version numbers: finding a free one and claiming it."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterable, Sequence
from typing import Final, NoReturn

from aioassets.errors import (
    AssetExists,
    ObjectNotFound,
    PreconditionFailed,
    StoreCorrupt,
    VersionNotFound,
)
from aioassets.model.claim import Claim, ClaimState
from aioassets.model.operations import COPY, CREATE
from aioassets.model.versioning import MajorMinor
from aioassets.push.claim import MAX_ATTEMPTS, ClaimAttempt, HeldClaim, attempt_claim
from aioassets.push.context import PushContext
from aioassets.push.plan import PushPlan
from aioassets.runtime.effects import Effects
from aioassets.runtime.tasks import for_each
from aioassets.runtime.threads import in_thread
from aioassets.store.claims import drop_claim, is_dead, keep_claim, may_take_over, new_claim
from aioassets.store.documents import IndexState
from aioassets.store.index import check_exists, next_version
from aioassets.store.settling import is_withdrawn, recovered, settle

logger = logging.getLogger(__name__)

READ_AT_ONCE: Final = 16
"""Maximum number of documents to read concurrently when looking for a free version number."""


class VersionAllocation:
    """The allocation of a version number to one push.

    Args:
        context: the state shared by the pushes of one manager.
        plan: the plan of the push.
        effects: the record of requests whose effect is unknown.

    Attributes:
        index: the index as it was last read; `None` if it hasn't been read yet.
        unlisted: complete versions from other pushes that may be missing from the index.
    """

    def __init__(self, context: PushContext, plan: PushPlan, effects: Effects) -> None:
        self._context = context
        self._store = context.store
        self._scheme = context.scheme
        self._plan = plan
        self._effects = effects
        self._tokens: set[str] = set()
        self._taken: set[str] = set()
        self._trying: tuple[str, Claim] | None = None
        self._reserved: str | None = None
        self._planned = plan.index
        self.index: IndexState | None = None
        self.unlisted: set[str] = set()

    def lose(self, version: str) -> None:
        """Record that another process has taken a version number that this push had claimed."""
        self._taken.add(version)

    def end(self) -> None:
        """End the allocation: release the reservation, and treat the claims of the push as dead."""
        self.leave()
        for token in self._tokens:
            drop_claim(token)

    def leave(self) -> None:
        """Release the reservation, so that other pushes by this manager can try to claim the version number."""
        if self._reserved is not None:
            self._context.reservations.remove(self._plan.name, self._reserved)
            self._reserved = None

    async def take_back(self) -> None:
        """If a claim was sent but not confirmed, abandon it in case the store received it."""
        if self._trying is None:
            return
        version, claim = self._trying
        with contextlib.suppress(Exception):  # a claim that remains counts as dead
            meta = await self._store.read_meta(self._plan.name, version)
            found = meta.content
            if isinstance(found, Claim) and found.is_of(claim):
                held = HeldClaim(
                    self._store, self._plan.name, version, found, meta.revision, self._effects, resumed=True
                )
                await held.abandon()

    async def claim(self) -> HeldClaim:
        """Claim the next version number, or a later one if the next is taken.

        Raises:
            AssetExists: if the asset to create exists, or another process is creating it.
            AssetNotFound: if the asset to update doesn't exist.
            VersionNotFound: if the index has no version with the requested major version.
        """
        self.leave()
        # Before the index is read, because a push may list its version and release the reservation after that.
        self._taken |= self._context.reservations.of(self._plan.name)
        state = await self._present_index()
        version = next_version(state, self._scheme, self._plan.name, self._plan.bump, self._store.url)
        return await self._claim_from(version, state.index.numbers)

    async def _claim_from(self, version: str, listed: Sequence[str]) -> HeldClaim:
        """Claim a version number, or a later one of its series if that is taken.

        Args:
            version: the first number to try.
            listed: the numbers in the index, listed or fenced, which later ones must follow.
        """
        series = self._scheme.series(version)
        free: list[str] = []
        surveyed = False
        while True:
            if self._reserve(version):
                outcome = await self._try(version)
                if outcome.held is not None:
                    return outcome.held
                self._taken.add(version)
                self.leave()
                if not surveyed:
                    free = await self._survey(listed, series)
                    surveyed = True
            version = free.pop(0) if free else self._following(listed, series)

    async def _present_index(self) -> IndexState:
        """Return the index. On the first call, use the plan's copy if it is fresh; otherwise, read the index.

        A copy is fresh if it was read recently, and after this manager last added a version of the asset.
        """
        state, self._planned = self._planned, None
        if state is None or not (self._store.is_fresh(state) and self._context.lister.is_news(self._plan.name, state)):
            state = await self._store.read_index(self._plan.name, creating=self._plan.operation in (CREATE, COPY))
            state = await recovered(self._store, self._scheme, self._plan.name, state)
        check_exists(state, self._plan.operation, self._plan.name, self._store.url)
        self.index = state
        return state

    async def look_again(self) -> None:
        """Check that the asset to create still doesn't exist, now that other processes can see the claim.

        Raises:
            AssetExists: if the asset exists.
        """
        self.index = await self._store.read_index(self._plan.name)
        check_exists(self.index, CREATE, self._plan.name, self._store.url)

    def _reserve(self, version: str) -> bool:
        """Reserve a version number so that no other push by this manager can use it. Return whether it was free."""
        if version in self._unavailable():
            return False
        if self._plan.operation != CREATE:  # creates must compete for the same number, because only one may succeed
            self._context.reservations.add(self._plan.name, version)
            self._reserved = version
        return True

    def _unavailable(self) -> set[str]:
        return self._taken | self._context.reservations.of(self._plan.name)

    async def _try(self, version: str) -> ClaimAttempt:
        claim = new_claim(self._plan.operation, self._plan.tree.fingerprint, self._context.claimant)
        self._tokens.add(claim.token)
        keep_claim(claim.token)
        self._trying = (version, claim)
        outcome = await attempt_claim(self._store, self._plan.name, version, claim, self._effects)
        self._trying = None
        if outcome.sealed:
            self.unlisted.add(version)
        if self._plan.operation == CREATE and (outcome.sealed or outcome.withdrawn):
            await self._exists_already(version, withdrawn=outcome.withdrawn)
        if outcome.live is not None and self._plan.operation == CREATE:
            raise self._under_way(outcome.live)
        return outcome

    async def _exists_already(self, version: str, *, withdrawn: bool) -> NoReturn:
        """Raise `AssetExists` for a version. List or fence it first, because another process may have died before that.

        Without an index, it would be impossible to create the asset, and to update it.
        """
        if withdrawn:
            context, name = self._context, self._plan.name
            await settle(self._store, self._scheme, name, version, retry=context.lister.retry)
            raise AssetExists(
                name, f"its version {version} was yanked or deleted. Push a new version with `update` (update_asset)."
            )
        await self._context.lister.add(self._store, self._plan.name, {version})
        logger.info("Added %s:%s to the index on behalf of another push", self._plan.name, version)
        raise AssetExists(
            self._plan.name,
            f"its version {version} has just been published. Push a new version with `update` (update_asset).",
        )

    def _following(self, listed: Sequence[str], series: str) -> str:
        """Return the version number that follows all numbers that are known to be taken."""
        taken = [*listed, *self._unavailable()]
        if not self._plan.bump.bump_major:
            taken = [v for v in taken if self._scheme.series(v) == series]
        version = self._scheme.following(self._plan.bump, taken)
        if version is None:  # unreachable: the index has a version with this major
            raise VersionNotFound(self._plan.name, str(self._plan.bump.major), self._store.url, tuple(listed))
        return version

    async def _survey(self, listed: Sequence[str], series: str) -> list[str]:
        """Find all version numbers in use with a single listing, instead of trying one number after another.

        Returns:
            The numbers that are in use but may still be claimed, lowest first.
        """
        numbers = await self._store.numbers(self._plan.name)
        known = {*listed, *self._unavailable()}
        candidates = [v for v in numbers if self._scheme.is_version(v) and v not in known]
        if not self._plan.bump.bump_major:
            candidates = [v for v in candidates if self._scheme.series(v) == series]
        above = self._above(listed, candidates)
        free: list[str] = []

        async def look(version: str) -> None:
            if not numbers[version] or not await self._may_claim(version):
                self._taken.add(version)
            elif not self._plan.bump.bump_major:  # a new major follows all majors in use
                free.append(version)

        await for_each(above, look, limit=READ_AT_ONCE)
        return sorted(free, key=self._scheme.sort_key)

    def _above(self, listed: Sequence[str], candidates: Iterable[str]) -> list[str]:
        """Return the candidates that are higher than the latest listed version in their series."""
        latest: dict[str, object] = {}
        for version in reversed(self._scheme.select(None, listed)):
            latest[self._scheme.series(version)] = self._scheme.sort_key(version)
        return [
            version
            for version in candidates
            if (top := latest.get(self._scheme.series(version))) is None or self._scheme.sort_key(version) > top
        ]

    async def _may_claim(self, version: str) -> bool:
        """Return whether a version number that is in use may still be claimed."""
        try:
            meta = await self._store.read_meta(self._plan.name, version)
        except ObjectNotFound:
            return True
        except StoreCorrupt:
            return False
        if not isinstance(meta.content, Claim):
            if not is_withdrawn(meta.content):
                self.unlisted.add(version)
            return False
        return await in_thread(may_take_over, meta, meta.content, self._plan.operation, self._plan.tree.fingerprint)

    # Concurrent creates with different first versions

    async def check_other_creates(self, version: str) -> None:
        """Ensure that only one push creates the asset, even if several claim different numbers, as with `simple_date`.

        This push gives way to a live claim on a lower number. It marks all other claims as abandoned, so that
        none of them can be sealed. On lower numbers, this includes the claims of pushes that gave up, so that these
        numbers can't be claimed again. On higher numbers, it includes live claims, whose holders may have made
        this check before this push wrote its claim. Copies on higher numbers are spared, because they may
        succeed beside a create.

        Raises:
            AssetExists: if another push has created the asset, or has a live claim on a lower number.
        """
        if isinstance(self._scheme, MajorMinor) and version == self._scheme.first():  # all creates compete for this one
            return
        numbers = await self._store.numbers(self._plan.name)
        others = [other for other in numbers if numbers[other] and other != version and self._scheme.is_version(other)]
        for other in sorted(others, key=self._scheme.sort_key):  # a sealed number is lower than later ones
            await self._settle(other, lower=self._scheme.sort_key(other) < self._scheme.sort_key(version))

    async def _settle(self, other: str, *, lower: bool) -> None:
        """Give way to another push, or replace its claim with an abandoned one that has a new token."""
        key = self._store.layout.meta(self._plan.name, other)
        ended = new_claim(CREATE, "", self._context.claimant).in_state(ClaimState.ABANDONED)
        for _ in range(MAX_ATTEMPTS):
            try:
                meta = await self._store.read_meta(self._plan.name, other)
            except (ObjectNotFound, StoreCorrupt):
                return
            if not isinstance(meta.content, Claim):
                await self._exists_already(other, withdrawn=is_withdrawn(meta.content))
            claim = meta.content
            if claim.operation == COPY and not lower:
                return
            is_claimed = claim.state is ClaimState.CLAIMED
            if claim == ended or not (lower or is_claimed):
                return
            if lower and is_claimed and not await in_thread(is_dead, meta, claim):
                raise self._under_way(claim)
            with contextlib.suppress(PreconditionFailed):  # it was renewed, or another push abandoned it
                await self._store.driver.write(key, ended.to_json(), expected=meta.revision, effects=self._effects)
                return
        raise self._under_way(claim)

    def _under_way(self, other: Claim) -> AssetExists:
        return AssetExists(self._plan.name, f"{other.holder} is already creating it.")
