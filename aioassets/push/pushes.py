"""The pushes of one manager: single pushes, bulk updates and plans."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from aioassets._version import __version__
from aioassets.errors import (
    AssetExists,
    BulkUpdateError,
    ObjectNotFound,
    VersionNotFound,
    VersionYanked,
)
from aioassets.model.arguments import check_labels, check_note
from aioassets.model.claim import Claim
from aioassets.model.manifest import Manifest
from aioassets.model.names import parse_name
from aioassets.model.tombstone import Tombstone
from aioassets.model.versioning import VersioningScheme, check_complete
from aioassets.progress import Progress
from aioassets.push.context import Lister, PushContext, Reservations
from aioassets.push.copied import SourceVersion
from aioassets.push.copy import CopyOptions, CopyResult, VersionCopy, plan_copy
from aioassets.push.locate import Sources
from aioassets.push.plan import PushPlan, PushRequest, PushResult
from aioassets.push.planning import plan_push
from aioassets.push.publish import Publication
from aioassets.runtime.machine import Claimant
from aioassets.runtime.retry import RetryPolicy
from aioassets.runtime.tasks import for_each
from aioassets.store.documents import AssetStore
from aioassets.store.settling import deletion_error, settle

ASSETS_AT_ONCE: Final = 64
"""Maximum number of assets to push concurrently: enough for single-file assets to use the whole budget."""


@dataclass(slots=True, eq=False)
class Pushes:
    """A runner for one manager's pushes to one store.

    Attributes:
        store: the store to push to.
        scheme: the versioning scheme.
        retry: the retry policy, which determines the delays between attempts to change an index.
        sources: the object that scans the sources.
        claimant: a function that returns the identity of the current process, as recorded in claims.
        require_suitable: a function that raises `StoreUnsuitable` if the store doesn't honour conditional writes.
        cleanup_timeout: how many seconds a cancelled push may take to clean up.
        reuses_bases: whether the store may copy files from bases. It must honour the conditions of copies.
        lister: the writer that adds published versions to indexes.
        reservations: the version numbers in use by concurrent pushes.
    """

    store: AssetStore
    scheme: VersioningScheme
    retry: RetryPolicy
    sources: Sources
    claimant: Callable[[], Awaitable[Claimant]]
    require_suitable: Callable[[], Awaitable[None]]
    cleanup_timeout: float
    reuses_bases: bool = True
    lister: Lister = field(init=False)
    reservations: Reservations = field(init=False, default_factory=Reservations)

    def __post_init__(self) -> None:
        self.lister = Lister(self.scheme, self.retry)

    async def plan(self, request: PushRequest) -> PushPlan:
        """Plan a push without writing anything, and compare the source with the base."""
        return await self._plan(request, is_forecast=True)

    async def _plan(self, request: PushRequest, *, is_forecast: bool) -> PushPlan:
        plan = await plan_push(
            request, self.store, self.scheme, self.sources, is_forecast=is_forecast and self.reuses_bases
        )
        return self._allowed(plan)

    def _allowed(self, plan: PushPlan) -> PushPlan:
        return plan if self.reuses_bases else replace(plan, reuse=None)

    async def push(self, plan: PushPlan, report: Progress) -> PushResult:
        """Carry out a plan. Write nothing if the plan says that the latest version has the same content."""
        if plan.unchanged:
            return plan.forecast(dry_run=False)
        check_note(plan.message, "message")
        check_labels(plan.labels)
        await self.require_suitable()
        return await Publication(await self._context(), plan, report).run()

    async def run(self, request: PushRequest, report: Progress, *, dry_run: bool = False) -> PushResult:
        """Plan a push, and carry it out unless `dry_run` is set."""
        if dry_run:
            return (await self.plan(request)).forecast()
        return await self.push(await self._plan(request, is_forecast=False), report)

    async def run_all(self, requests: Sequence[PushRequest], report: Progress) -> dict[str, PushResult]:
        """Push many assets concurrently, and return the results by name.

        Raises:
            BulkUpdateError: if any push failed.
        """
        published: dict[str, PushResult] = {}
        failed: dict[str, Exception] = {}

        async def push_one(request: PushRequest) -> None:
            try:
                published[request.name] = await self._create_or_update(request, report)
            except Exception as error:
                failed[request.name] = error

        await for_each(requests, push_one, limit=ASSETS_AT_ONCE)
        published = {request.name: published[request.name] for request in requests if request.name in published}
        if failed:
            raise BulkUpdateError(published, failed)
        return published

    async def copy(self, source: SourceVersion, options: CopyOptions, report: Progress) -> CopyResult:
        """Copy a version of any store to this one, or return the expected result of a dry run."""
        plan = self._allowed(await plan_copy(source, options.name or source.name, self.store, self.scheme))
        if not options.dry_run:
            await self.require_suitable()
        copying = VersionCopy(await self._context(), plan, report, source, renumber=options.renumber)
        return await (copying.forecast() if options.dry_run else copying.copy())

    async def publish_version(self, name: str, version: str) -> None:
        """Add a complete version to the index.

        Raises:
            VersionNotFound: if the version doesn't exist or isn't complete.
            VersionYanked: if the version is yanked.
            VersionDeleted: if the version was deleted.
            InvalidVersion: if the version is partial or the scheme doesn't allow it.
        """
        parse_name(name)
        check_complete(self.scheme, version)
        await self._require_sealed(name, version)
        await self.require_suitable()
        settled = await settle(self.store, self.scheme, name, version, retry=self.retry)
        self._check_sealed(name, version, settled.content)

    async def _require_sealed(self, name: str, version: str) -> None:
        try:
            content = (await self.store.read_meta(name, version)).content
        except ObjectNotFound:
            content = None
        if content is None or isinstance(content, Claim):
            listed = (await self.store.read_index(name)).index.versions
            raise VersionNotFound(name, version, self.store.url, listed)
        self._check_sealed(name, version, content)

    def _check_sealed(self, name: str, version: str, content: Manifest | Claim | Tombstone) -> None:
        if isinstance(content, Tombstone):
            raise deletion_error(self.store, name, version, content)
        if isinstance(content, Manifest) and content.is_yanked:
            reason = content.mark.reason if content.mark is not None else None
            advice = f"Restore it with `aioassets unyank {name}:{version}`."
            raise VersionYanked(name, version, reason, f"it can't be listed. {advice}")

    async def _create_or_update(self, request: PushRequest, report: Progress) -> PushResult:
        """Push an asset. If the operation is left open and another push creates the asset first, update it."""
        try:
            return await self.run(request, report)
        except AssetExists:
            if request.operation is not None or not (await self.store.read_index(request.name)).exists:
                raise
        return await self.run(replace(request, operation=request.operation_for(exists=True)), report)

    async def _context(self) -> PushContext:
        return PushContext(
            store=self.store,
            scheme=self.scheme,
            claimant=await self.claimant(),
            tool=f"aioassets/{__version__}",
            cleanup_timeout=self.cleanup_timeout,
            lister=self.lister,
            reservations=self.reservations,
        )
