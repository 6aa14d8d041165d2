"""Allocating one exact version number, for the copy of a version."""

from __future__ import annotations

from aioassets.errors import (
    AioAssetsError,
    ObjectNotFound,
    StoreCorrupt,
    VersionClaimed,
    VersionDiffers,
)
from aioassets.model.claim import Claim, ClaimState
from aioassets.model.content import same_content
from aioassets.model.manifest import Manifest
from aioassets.model.operations import COPY
from aioassets.model.tombstone import Tombstone
from aioassets.push.allocate import READ_AT_ONCE, VersionAllocation
from aioassets.push.claim import MAX_ATTEMPTS, ClaimAttempt, HeldClaim
from aioassets.push.context import PushContext
from aioassets.push.copied import SourceVersion
from aioassets.push.plan import PushPlan
from aioassets.runtime.effects import Effects
from aioassets.runtime.tasks import for_each
from aioassets.runtime.threads import in_thread
from aioassets.store.claims import is_dead, may_take_over
from aioassets.store.documents import IndexState, MetaState
from aioassets.store.index import check_index
from aioassets.store.settling import deletion_error


class AlreadyCopied(Exception):
    """Raised when the target has the version to copy already. Never leaves the package.

    Attributes:
        version: the version there.
        is_yanked: whether it is yanked there.
    """

    def __init__(self, version: str, *, is_yanked: bool) -> None:
        self.version = version
        self.is_yanked = is_yanked
        super().__init__(version)


class ExactAllocation(VersionAllocation):
    """Allocation of the version number of a plan, or if `renumber` is set, of a free one that follows it.

    Args:
        context: the state shared by the pushes of one manager.
        plan: the plan of the copy.
        effects: where to record requests with an unknown effect.
        source: the version to copy.
        renumber: whether to take the next free number of the series if the exact one is taken.
    """

    def __init__(
        self, context: PushContext, plan: PushPlan, effects: Effects, source: SourceVersion, *, renumber: bool
    ) -> None:
        super().__init__(context, plan, effects)
        self._source = source
        self._renumber = renumber

    async def claim(self) -> HeldClaim:
        """Claim the number.

        Raises:
            AlreadyCopied: if the target has the version already, or with `renumber`, an earlier copy of it.
            VersionDiffers: if the target has the version with different content.
            VersionDeleted: if the version was deleted in the target.
            VersionClaimed: if another push holds the number, or has left it unusable.
        """
        version = self._plan.version
        state = await self._checked_index()
        if version not in state.index.numbers:
            outcome = await super()._try(version)
            if outcome.held is not None:
                return outcome.held
        await self._require_renumber(state)
        return await self._claim_from(self._renumbered(state), state.index.numbers)

    async def forecast(self) -> str:
        """Return the number that `claim` would currently claim, without writing anything.

        Raises:
            AlreadyCopied, VersionDiffers, VersionDeleted, VersionClaimed: as in `claim`.
        """
        state = await self._checked_index()
        if state.new_store or (self._plan.version not in state.index.numbers and await self._problem() is None):
            return self._plan.version
        await self._require_renumber(state)
        return self._renumbered(state)

    def _unavailable(self) -> set[str]:
        """Return the numbers to step over. Reserved ones aren't, because equal copies must meet at the same number."""
        return self._taken

    def _reserve(self, version: str) -> bool:
        return version not in self._taken

    async def _try(self, version: str) -> ClaimAttempt:
        """Try to claim another number than the exact one, unless an equal copy has it.

        If the process that held the number seems to have died since, it may have sealed its version before. Try again,
        because stepping over the number could publish the content twice.
        """
        outcome = await super()._try(version)
        for _ in range(MAX_ATTEMPTS):
            if outcome.held is not None or not await self._check_copy(version):
                break
            outcome = await super()._try(version)
        return outcome

    async def _checked_index(self) -> IndexState:
        state = await self._present_index()
        check_index(state, self._scheme, self._plan.name)
        return state

    async def _require_renumber(self, state: IndexState) -> None:
        """Raise the reason why the exact number can't be claimed, unless another one may be claimed instead."""
        problem = await self._problem()
        if not self._renumber:
            raise problem or VersionClaimed(self._plan.name, self._plan.version, self._store.url, None)
        await self._check_earlier_copies()

    def _renumbered(self, state: IndexState) -> str:
        self._taken.add(self._plan.version)
        return self._following(state.index.numbers, self._scheme.series(self._plan.version))

    async def _problem(self) -> AioAssetsError | None:
        """Return why the exact number can't be claimed, or `None` if it can."""
        name, version, where = self._plan.name, self._plan.version, self._store.url
        try:
            meta = await self._store.read_meta(name, version)
        except ObjectNotFound:
            return VersionDiffers(name, version, where) if self._is_named(version) else None
        match meta.content:
            case Manifest() as manifest:
                await self._check_same(version, manifest)
                return VersionDiffers(name, version, where)
            case Tombstone() as tombstone:
                return deletion_error(self._store, name, version, tombstone)
            case Claim() as claim:
                return await self._problem_of(meta, claim)

    async def _problem_of(self, meta: MetaState, claim: Claim) -> VersionClaimed | None:
        fingerprint = self._plan.tree.fingerprint
        # A dead holder stays dead. So in this order, a holder that ends meanwhile can't make the two looks disagree.
        is_live = claim.state is ClaimState.CLAIMED and not await in_thread(is_dead, meta, claim)
        if not is_live and await in_thread(may_take_over, meta, claim, self._plan.operation, fingerprint):
            return None
        holder = claim.holder if is_live else None
        problem = VersionClaimed(self._plan.name, self._plan.version, self._store.url, holder)
        if is_live and claim.fingerprint == fingerprint:  # it is being copied, so another copy would be one too many
            raise problem
        return problem

    def _is_named(self, version: str) -> bool:
        return self.index is not None and version in self.index.index.numbers

    async def _check_same(self, version: str, found: Manifest) -> None:
        """Raise `AlreadyCopied` if a version of the target has the content of the source."""
        if await in_thread(same_content, self._source.manifest, found):
            raise AlreadyCopied(version, is_yanked=found.is_yanked)

    async def _check_earlier_copies(self) -> None:
        """Raise an error if a later number of the series, listed or not, is a copy of the source or becomes one."""
        scheme, exact = self._scheme, self._plan.version
        numbers = await self._store.numbers(self._plan.name)
        series = [v for v in numbers if scheme.is_version(v) and scheme.series(v) == scheme.series(exact)]
        later = [v for v in series if numbers[v] and scheme.sort_key(v) > scheme.sort_key(exact)]
        await for_each(later, self._check_later, limit=READ_AT_ONCE)

    async def _check_later(self, version: str) -> None:
        await self._check_copy(version)

    async def _check_copy(self, version: str) -> bool:
        """Raise an error if a version of the target is an earlier copy of the source, or an equal copy in progress.

        Returns:
            Whether the version has the claim of a copy that may be taken over.

        Raises:
            AlreadyCopied: if it is a copy of the source, even if it isn't listed or is yanked.
            VersionClaimed: if another process is copying the same content.
        """
        try:
            meta = await self._store.read_meta(self._plan.name, version)
        except (ObjectNotFound, StoreCorrupt):
            return False
        if isinstance(meta.content, Manifest) and self._is_from_source(meta.content):
            await self._check_same(version, meta.content)
        elif isinstance(meta.content, Claim) and meta.content.operation == COPY:
            return await self._problem_of(meta, meta.content) is None
        return False

    def _is_from_source(self, manifest: Manifest) -> bool:
        source, origin = self._source, manifest.origin
        return origin is not None and (origin.store, origin.name, origin.version) == (
            source.store.url,
            source.name,
            source.version,
        )
