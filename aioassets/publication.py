"""Publishing one version: claim, upload, seal, list."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

import anyio

from aioassets.claim import ClaimLost, Contest, HeldClaim, contest, give_up, is_dead, new_claim, renewing
from aioassets.concurrency import Stop, Stopped, for_each, stoppable, unwrapped
from aioassets.dispatch import Doubt, RetryPolicy, watching_for_doubt
from aioassets.drivers.protocol import ObjectInfo
from aioassets.errors import (
    AioAssetsError,
    AssetExists,
    AssetNotFound,
    InvalidVersion,
    ObjectNotFound,
    PreconditionFailed,
    PublicationUncertain,
    PushContended,
    StoreCorrupt,
    StoreUnsuitable,
    VersionNotFound,
)
from aioassets.manifest import Claim, ClaimState, Manifest, Pusher
from aioassets.progress import Progress, TransferFinished, TransferStarted
from aioassets.store import AssetStore, IndexState, MetaState
from aioassets.threads import in_thread
from aioassets.transfer import Upload, Uploader, UploadLedger
from aioassets.tree import Tree, check_unchanged
from aioassets.versioning import Bump, VersioningScheme

ATTEMPTS: Final = 3
"""How many numbers a push may lose to others after it claimed them."""
READ_AT_ONCE: Final = 16
TRUE_REFUSALS: Final = 5
"""How often in a row an index may refuse its own revision before the store is called unsuitable."""

CREATE: Final = "create"
UPDATE: Final = "update"
BUMP_MAJOR: Final = "bump_major"


@dataclass(frozen=True, slots=True)
class PushPlan:
    """What a push would do: a forecast, since others may push meanwhile.

    Attributes:
        name: the asset.
        version: the number that it would get now.
        operation: `create`, `update` or `bump_major`.
        versions: what is listed now, latest first.
        url: where the version's content would be.
        files: how many files would be uploaded.
        size: how many bytes they hold.
        tree: the scanned source.
        bump: what is asked of the versioning scheme.
        message: free text for the manifest.
        labels: key-value pairs for the manifest.
        new_store: whether the store's folder doesn't exist yet, and the push would make it.
    """

    name: str
    version: str
    operation: str
    versions: tuple[str, ...]
    url: str
    files: int
    size: int
    tree: Tree = field(repr=False)
    bump: Bump = field(default_factory=Bump)
    message: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    new_store: bool = False


@dataclass(frozen=True, slots=True)
class PushResult:
    """What a push did.

    Attributes:
        name: the asset.
        version: the number that it got.
        url: where the version's content is.
        files: how many files it has.
        size: how many bytes they hold.
        dry_run: whether nothing was written, and this only says what would have been.
    """

    name: str
    version: str
    url: str
    files: int
    size: int
    dry_run: bool = False


def check_index(state: IndexState, scheme: VersioningScheme, name: str) -> None:
    """Raise `InvalidVersion` where an index holds versions of another scheme."""
    for version in state.index.versions:
        if not scheme.is_version(version):
            raise InvalidVersion(
                version,
                f"{name!r} is not versioned by the scheme {scheme.name}; "
                "choose its own scheme (versioning=…, --versioning, AIOASSETS_VERSIONING)",
            )


def next_version(state: IndexState, scheme: VersioningScheme, name: str, plan_bump: Bump, where: str) -> str:
    """The number that a push would get now, from what the index lists.

    Raises:
        InvalidVersion: the index is of another scheme.
        VersionNotFound: no version of the major is listed.
    """
    check_index(state, scheme, name)
    version = scheme.following(plan_bump, state.index.versions)
    if version is None:
        raise VersionNotFound(name, str(plan_bump.major), where, state.index.versions)
    return version


def check_exists(state: IndexState, operation: str, name: str, where: str) -> None:
    """Raise unless an asset is absent for `create` and present for the others."""
    if operation == CREATE and state.exists:
        latest = f" (its latest version is {state.index.versions[0]})" if state.index.versions else ""
        raise AssetExists(name, f"it exists in {where}{latest}. Use update to push a new version.")
    if operation != CREATE and not state.exists:
        raise AssetNotFound(name, where, "Use new (create_asset) to push its first version.")


@dataclass(frozen=True, slots=True)
class PushContext:
    """What all pushes of a manager share.

    Attributes:
        store: where to.
        scheme: how versions are numbered.
        pusher: who pushes, as far as it may be recorded.
        tool: which program pushes, for the manifest.
        cleanup_timeout: seconds that a cancelled push may take to clean up.
        retry: how to pause between attempts to list.
        sleep: how to pause between renewals.
        now: the time, for the manifest.
    """

    store: AssetStore
    scheme: VersioningScheme
    pusher: Pusher
    tool: str
    cleanup_timeout: float
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    sleep: Callable[[float], Awaitable[None]] = anyio.sleep
    now: Callable[[], datetime] = lambda: datetime.now(UTC)


class Publication:
    """One push, from the claim to the listed version.

    Args:
        context: what it shares with other pushes.
        plan: what to push.
        report: receives events.
    """

    def __init__(self, context: PushContext, plan: PushPlan, report: Progress) -> None:
        self._context = context
        self._store = context.store
        self._scheme = context.scheme
        self._plan = plan
        self._report = report
        self._fingerprint = ""
        self._doubt = Doubt()
        self._ledger = UploadLedger()
        self._tokens: set[str] = set()
        self._unlisted: set[str] = set()
        self._taken: set[str] = set()
        self._trying: tuple[str, Claim] | None = None

    async def run(self) -> PushResult:
        """Publish, and clean up where that fails or is cancelled before it is sealed.

        Raises:
            PublicationUncertain: the version is complete, but perhaps not listed.
            PushContended: the number was lost to others too often.
        """
        return await stoppable(self._run, grace=self._context.cleanup_timeout)

    async def _run(self, stop: Stop) -> PushResult:
        with watching_for_doubt() as self._doubt:
            try:
                return await self._publish(stop)
            except BaseException:
                for token in self._tokens:
                    give_up(token)
                raise

    async def _publish(self, stop: Stop) -> PushResult:
        self._fingerprint = await in_thread(self._plan.tree.fingerprint)
        for _ in range(ATTEMPTS):
            stop.check()
            held = await self._claim(stop)
            try:
                manifest = await self._upload(held, stop)
                await self._seal(held, manifest, stop)
            except ClaimLost:
                self._taken.add(held.version)
                continue
            await self._list(held.version, stop)
            self._report(TransferFinished(self._plan.name, held.version))
            return self._result(held.version)
        raise PushContended(self._plan.name, ATTEMPTS)

    def _result(self, version: str) -> PushResult:
        plan = self._plan
        return PushResult(plan.name, version, self._store.url_of(plan.name, version), plan.files, plan.size)

    # Claim

    async def _claim(self, stop: Stop) -> HeldClaim:
        try:
            with stop.bounded(0.5):
                return await self._claim_some_number()
            raise Stopped
        except BaseException:
            await self._take_back(stop)
            raise

    async def _take_back(self, stop: Stop) -> None:
        """Abandon a claim that was made, though its answer never came."""
        if self._trying is None:
            return
        version, claim = self._trying
        with stop.bounded(), contextlib.suppress(AioAssetsError):
            meta = await self._store.read_meta(self._plan.name, version)
            if meta.content == claim:
                held = HeldClaim(self._store, self._plan.name, version, claim, meta.revision, resumed=True)
                await self._give_up(held, None, stop)

    async def _claim_some_number(self) -> HeldClaim:
        state = await self._store.read_index(self._plan.name, creating=self._plan.operation == CREATE)
        check_exists(state, self._plan.operation, self._plan.name, self._store.url)
        version = next_version(state, self._scheme, self._plan.name, self._plan.bump, self._store.url)
        series = self._scheme.series(version)
        listed = state.index.versions
        free: list[str] = []
        surveyed = False
        while True:
            if version not in self._taken:
                outcome = await self._try(version)
                if outcome.held is not None:
                    return outcome.held
            self._taken.add(version)
            if not surveyed:
                free = await self._survey(listed, series)
                surveyed = True
            version = free.pop(0) if free else self._following(listed, series)

    async def _try(self, version: str) -> Contest:
        claim = await in_thread(new_claim, self._plan.operation, self._fingerprint, self._context.pusher)
        self._tokens.add(claim.token)
        self._trying = (version, claim)
        outcome = await contest(self._store, self._plan.name, version, claim)
        self._trying = None
        if outcome.sealed:
            self._unlisted.add(version)
            if self._plan.operation == CREATE:
                await self._exists_already(version)
        if outcome.live is not None and self._plan.operation == CREATE:
            raise AssetExists(self._plan.name, f"another create is under way, by {outcome.live.holder}.")
        return outcome

    async def _exists_already(self, version: str) -> None:
        """A create met a complete version: list it, since its pusher may have died before that, and give way."""
        await self._add_to_index({version})
        raise AssetExists(self._plan.name, f"its version {version} was just published. Use update to push a new one.")

    def _following(self, listed: Sequence[str], series: str) -> str:
        """The next number after all that are known to be taken."""
        if self._plan.bump.bump_major:
            taken = [*listed, *self._taken]
        else:
            taken = [*listed, *(v for v in self._taken if self._scheme.series(v) == series)]
        version = self._scheme.following(self._plan.bump, taken)
        if version is None:  # the major is listed, so something follows it
            raise VersionNotFound(self._plan.name, str(self._plan.bump.major), self._store.url, tuple(listed))
        return version

    async def _survey(self, listed: Sequence[str], series: str) -> list[str]:
        """Find all numbers in use at once, instead of bumping into one after the other.

        Returns:
            Those that may be claimed all the same, lowest first.
        """
        numbers = await self._store.numbers(self._plan.name)
        candidates = [v for v in numbers if self._scheme.is_version(v) and v not in listed and v not in self._taken]
        if not self._plan.bump.bump_major:
            candidates = [v for v in candidates if self._scheme.series(v) == series]
        above = self._above(listed, candidates)
        free: list[str] = []

        async def look(version: str) -> None:
            if not numbers[version] or not await self._may_claim(version):
                self._taken.add(version)
            elif not self._plan.bump.bump_major:  # whose next number is counted from all majors that are taken
                free.append(version)

        await for_each(above, look, limit=READ_AT_ONCE)
        return sorted(free, key=self._scheme.sort_key)

    def _above(self, listed: Sequence[str], candidates: Iterable[str]) -> list[str]:
        """The candidates above the latest listed version of their series."""
        latest: dict[str, object] = {}
        for version in reversed(self._scheme.select(None, listed)):
            latest[self._scheme.series(version)] = self._scheme.sort_key(version)
        return [
            version
            for version in candidates
            if (top := latest.get(self._scheme.series(version))) is None or self._scheme.sort_key(version) > top
        ]

    async def _may_claim(self, version: str) -> bool:
        """Whether a number that is in use is worth a try."""
        try:
            meta = await self._store.read_meta(self._plan.name, version)
        except ObjectNotFound:
            return True
        except StoreCorrupt:
            return False
        if isinstance(meta.content, Manifest):
            self._unlisted.add(version)
            return False
        return True

    # Upload

    async def _upload(self, held: HeldClaim, stop: Stop) -> Manifest:
        """Upload everything under a claim; on any failure give the claim up."""
        ledger = self._ledger = UploadLedger()
        try:
            with stop.bounded(0.5), unwrapped():
                async with renewing(held, sleep=self._context.sleep):
                    await self._transfer(held, ledger, stop)
                    await self._check_before_sealing(held)
                stop.check()
                return self._manifest(held, ledger)
            raise Stopped  # the phase was cut off
        except ClaimLost:
            raise
        except PreconditionFailed:
            await self._give_up(held, None, stop)
            raise ClaimLost from None  # foreign bytes under our number
        except BaseException:
            await self._give_up(held, self._ledger, stop)
            raise

    async def _transfer(self, held: HeldClaim, ledger: UploadLedger, stop: Stop) -> None:
        plan = self._plan
        self._report(TransferStarted(plan.name, held.version, plan.files, plan.size))
        uploader = Uploader(
            self._store.driver,
            plan.name,
            ledger,
            stop,
            self._report,
            await self._present(held.version) if held.resumed else {},
        )
        key = self._store.layout.content
        await uploader.run(Upload(file, key(plan.name, held.version, file.path)) for file in plan.tree.files)

    async def _present(self, version: str) -> dict[str, ObjectInfo]:
        """What the push that died has left, by key."""
        driver, content = self._store.driver, self._store.layout.content(self._plan.name, version)
        if self._plan.tree.is_directory:
            return {item.key: item async for item in driver.list(f"{content}/") if isinstance(item, ObjectInfo)}
        try:
            return {content: await driver.stat(content)}
        except ObjectNotFound:
            return {}

    async def _check_before_sealing(self, held: HeldClaim) -> None:
        await check_unchanged(self._plan.tree)
        if self._plan.operation == CREATE:
            state = await self._store.read_index(self._plan.name)
            check_exists(state, CREATE, self._plan.name, self._store.url)
            if held.version != self._scheme.first():
                await self._check_other_creates(held.version)

    async def _check_other_creates(self, version: str) -> None:
        """Where first versions differ, as dates do, creates don't meet at one number: the lower one goes on."""
        for other, has_meta in (await self._store.numbers(self._plan.name)).items():
            if other == version or not has_meta or not self._scheme.is_version(other):
                continue
            try:
                meta = await self._store.read_meta(self._plan.name, other)
            except (ObjectNotFound, StoreCorrupt):
                continue
            if isinstance(meta.content, Manifest):
                await self._exists_already(other)
            elif self._scheme.sort_key(other) < self._scheme.sort_key(version) and await self._is_live(meta):
                raise AssetExists(self._plan.name, f"another create is under way, by {meta.content.holder}.")

    async def _is_live(self, meta: MetaState) -> bool:
        content = meta.content
        if not isinstance(content, Claim) or content.state is not ClaimState.CLAIMED:
            return False
        return not await in_thread(is_dead, meta, content)

    def _manifest(self, held: HeldClaim, ledger: UploadLedger) -> Manifest:
        plan = self._plan
        return Manifest(
            push_date=self._context.now(),
            is_directory=plan.tree.is_directory,
            files=tuple(ledger.entries[file.path] for file in plan.tree.files),
            empty_directories=plan.tree.empty_directories,
            pushed_by=self._context.pusher,
            tool=self._context.tool,
            message=plan.message,
            labels=plan.labels,
            token=held.claim.token,
        )

    async def _give_up(self, held: HeldClaim, ledger: UploadLedger | None, stop: Stop) -> None:
        """Abandon the claim, then delete what this push created; what fails here is left for later.

        Args:
            ledger: what to delete; `None` to delete nothing.
        """
        with stop.bounded():
            try:
                await held.abandon()
                if ledger is None:
                    return
                await self._store.driver.delete(ledger.created)
                if not (ledger.uncertain or self._doubt.arisen or held.resumed):
                    await held.release()
            except (ClaimLost, AioAssetsError):
                return  # refused or unknown: nothing more may be deleted

    # Seal and list

    async def _seal(self, held: HeldClaim, manifest: Manifest, stop: Stop) -> None:
        uncertain = PublicationUncertain(held.name, held.version, "the store didn't confirm its manifest.")
        with stop.bounded():
            try:
                await held.seal(manifest)
            except AioAssetsError as error:
                if error.uncertain:
                    raise uncertain from error
                await self._give_up(held, self._ledger, stop)
                raise
            return
        raise uncertain

    async def _list(self, version: str, stop: Stop) -> None:
        """Add the version, and sealed ones that were stepped over, to the index."""
        name = self._plan.name
        with stop.bounded():
            try:
                await self._add_to_index({version, *self._unlisted})
            except AioAssetsError as error:
                raise PublicationUncertain(name, version, f"it couldn't be added to the index ({error})") from error
            return
        raise PublicationUncertain(name, version, "there was no time left to add it to the index.")

    async def _add_to_index(self, versions: set[str]) -> None:
        key = self._store.layout.versions(self._plan.name)
        attempt = 0
        true_refusals = 0
        refused: object = None
        while True:
            state = await self._store.read_index(self._plan.name)
            if versions <= set(state.index.versions):
                return
            true_refusals = true_refusals + 1 if state.revision == refused else 0
            if true_refusals >= TRUE_REFUSALS:
                raise StoreUnsuitable(
                    self._store.driver.url, "it refuses to replace an object at the very revision it shows"
                )
            check_index(state, self._scheme, self._plan.name)
            merged = self._scheme.select(None, {*state.index.versions, *versions})
            data = state.index.with_versions(merged).to_json()
            try:
                await self._store.driver.write(key, data, expected=state.revision)
            except PreconditionFailed:
                refused = state.revision
                attempt += 1
                await self._context.retry.sleep(self._context.retry.pause(min(attempt, 5)))
            else:
                return
