"""Retrieving one version: resolving, looking up, downloading, verifying, placing and recording it."""

from __future__ import annotations

import errno
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

import anyio

from aioassets.errors import CacheError, IntegrityError, InvalidSetting, VersionDeleted, VersionYanked
from aioassets.fetch.adoption import adopt
from aioassets.fetch.context import FetchContext
from aioassets.fetch.entry import CacheEntry
from aioassets.fetch.eviction import undo_evictions
from aioassets.fetch.fetched import FetchedAsset
from aioassets.fetch.filling import Filling
from aioassets.fetch.leases import Lease, hold, settle
from aioassets.fetch.lookup import CachedFiles, Lookup
from aioassets.fetch.owners import remove
from aioassets.fetch.placement import Placement
from aioassets.fetch.plan import DownloadPlan
from aioassets.fetch.record import Record
from aioassets.fetch.remote import RemoteVersion
from aioassets.fetch.reporting import Reporter
from aioassets.fetch.resolve import Resolver
from aioassets.fetch.selection import Selection, select
from aioassets.fetch.staging import Staging
from aioassets.fetch.usage import retire, usage_of
from aioassets.fetch.verify import Verification, check_cached, check_stored
from aioassets.model.manifest import Manifest
from aioassets.model.names import AssetSpec
from aioassets.progress import Progress
from aioassets.runtime.notices import NOTICE
from aioassets.runtime.tasks import T
from aioassets.runtime.threads import in_thread
from aioassets.store.documents import AssetStore
from aioassets.store.resolve import yanked_error

logger = logging.getLogger(__name__)

READ_ONLY: Final = (errno.EROFS, errno.EACCES, errno.EPERM)
"""Error numbers with which writing fails if the assets directory isn't writable."""


class Retrieval:
    """A single fetch or check.

    Args:
        context: the context that all fetches share.
        spec: the version, or part of a version, to retrieve.
        report: the callback that receives events.
        force_download: whether to download cached files again and replace those that differ.
        verify: whether to hash all cached files.
        accept: a function that raises an exception if a manifest isn't the expected one. Blocking.
    """

    def __init__(
        self,
        context: FetchContext,
        spec: AssetSpec,
        report: Progress,
        *,
        force_download: bool,
        verify: bool,
        accept: Callable[[Manifest], None] | None = None,
    ) -> None:
        self._context = context
        self._spec = spec
        self._report = Reporter(report, context.assets_dir)
        self._lookup = Lookup(context.assets_dir, spec, context.origin)
        self._resolver = Resolver(context.store, self._lookup, context.scheme)
        self._force = force_download
        self._verify = verify
        self._leases: dict[CacheEntry, Lease | None] = {}
        self._accept = accept
        self._damaged: CachedFiles | None = None
        self._problem: IntegrityError | None = None
        self._repaired: tuple[str, ...] = ()
        self._reused_bytes = 0

    async def run(self) -> FetchedAsset:
        """Fetch the version. See `AssetsManager.fetch_asset`."""
        try:
            return await self._run_twice()
        except BaseException:
            await self._release()
            raise

    async def _run_twice(self) -> FetchedAsset:
        try:
            return await self._skipping_withdrawn(self._run)
        except CacheError as error:  # a network file system's server has replaced a file since it was found
            if not (isinstance(error.__cause__, OSError) and error.__cause__.errno == errno.ESTALE):
                raise
        return await self._skipping_withdrawn(self._run)

    async def locate(
        self, known: Callable[[str], Manifest | None], *, is_read: bool = True
    ) -> tuple[CachedFiles, Lease | None] | RemoteVersion:
        """Find the version in the cache or, if it isn't there, in the store. Nothing is downloaded.

        Args:
            known: a function that returns the manifest of a version whose manifest needn't be read.
            is_read: whether the cached files will be read. Otherwise, only their manifest counts.

        Returns:
            The cached files with a lease on them, or the version in the store.
        """
        try:
            return await self._skipping_withdrawn(partial(self._locate, known, is_read))
        except BaseException:
            await self._release()
            raise

    async def _locate(
        self, known: Callable[[str], Manifest | None], is_read: bool
    ) -> tuple[CachedFiles, Lease | None] | RemoteVersion:
        store = self._context.store
        with self._report.disk_errors():
            version = await self._resolver.resolve()
            self._damaged = self._problem = None
            found = await in_thread(self._intact if is_read else self._find_cached, version)
            if found is not None:
                return found, self._leases.get(found.entry)
            if store is None:
                raise await self._resolver.not_cached(version)
            if self._resolver.names(version) and (manifest := known(version)) is not None:
                self._warn_if_yanked(version, manifest)
                return RemoteVersion(store, self._spec.name, version, manifest)
            return await self._find(store, version)

    async def _release(self) -> None:
        """Remove the leases of a fetch that failed."""
        if any(self._leases.values()):
            self._leases.clear()
            with anyio.CancelScope(shield=True):
                await in_thread(settle)

    async def _run(self) -> FetchedAsset:
        store = self._context.store
        if self._force and store is None:
            raise InvalidSetting(
                "force_download needs a store. Set a bucket (AIOASSETS_BUCKET), and turn offline mode off."
            )
        with self._report.disk_errors():
            version = await self._resolver.resolve()
            if (found := await self._look_up(version)) is not None:
                return found
            if store is None:
                raise await self._resolver.not_cached(version)
            try:
                entry = await in_thread(self._lookup.entry, store, version)
                return await self._look_up_or_download(store, entry)
            except OSError as error:
                if self._problem is None or error.errno not in READ_ONLY:
                    raise
                raise self._problem from error  # report the damage, which can't be repaired in a read-only directory

    async def check(self, *, cached: bool) -> Verification:
        """Check every file without saving any. See `AssetsManager.verify_asset`."""
        return await self._skipping_withdrawn(lambda: self._check(cached=cached))

    async def _check(self, *, cached: bool) -> Verification:
        store = self._context.store
        with self._report.disk_errors():
            version = await self._resolver.resolve()
            if cached or store is None:
                return await self._check_cached(version)
            return await self._check_stored(store, version)

    # Fetch

    async def _look_up_or_download(self, store: AssetStore, entry: CacheEntry) -> FetchedAsset:
        async with self._context.locks.holding(entry, sleep=self._context.sleep):
            if (found := await self._look_up(entry.version)) is not None:
                return found
            return await self._download(store, entry)

    async def _look_up(self, version: str) -> FetchedAsset | None:
        self._damaged = self._problem = None
        return None if self._force else await in_thread(self._look_up_blocking, version)

    def _look_up_blocking(self, version: str) -> FetchedAsset | None:
        found = self._intact(version)
        if found is None:
            return None
        return found.as_fetched(self._spec.part, self._leases.get(found.entry), from_cache=True)

    def _intact(self, version: str) -> CachedFiles | None:
        found = self._find_cached(version)
        if found is None:
            return None
        if self._accept is not None:
            self._accept(found.manifest)
        problem = found.first_problem(verify=self._verify)
        if problem is None:
            self._warn_if_known_yanked(version, found.manifest)
            return found
        if self._context.store is None:
            raise problem
        self._damaged, self._problem = found, problem
        return None

    def _find_cached(self, version: str) -> CachedFiles | None:
        """Look up the version. From before that, it isn't evicted. Blocking."""
        entries = self._lookup.entries(version)
        for entry in entries:
            self._leases[entry] = hold(entry)
        if (found := self._lookup.find(version)) is not None:
            return found
        for entry in entries:
            if self._leases[entry] is not None:
                undo_evictions(entry)
        return self._lookup.find(version)

    def _secure(self, entry: CacheEntry) -> None:
        """Keep the files that will be placed from being evicted. Blocking."""
        self._leases[entry] = hold(entry)
        undo_evictions(entry)
        retire(usage_of(entry).dead)

    async def _download(self, store: AssetStore, entry: CacheEntry) -> FetchedAsset:
        """Download the version, or adopt an existing payload. Other processes may do the same concurrently."""
        await in_thread(self._secure, entry)
        remote = await self._find(store, entry.version)
        if self._accept is not None:
            await in_thread(self._accept, remote.manifest)
        selection = await select(remote.manifest, self._spec, entry.version)
        is_whole = self._spec.part is None or (self._damaged is not None and self._damaged.is_whole)
        downloaded = (
            Selection.of(remote.manifest, replace(self._spec, part=None), entry.version) if is_whole else selection
        )
        record = Record(await in_thread(lambda: store.identity), remote.manifest, entry.label)
        staging = Staging.of(entry, record, downloaded)
        try:
            await in_thread(staging.create)
            if not (self._force or self._damaged) and await in_thread(adopt, entry, record):
                found = CachedFiles(entry, entry.payload, record, selection)
                return await in_thread(
                    partial(found.as_fetched, self._spec.part, self._leases.get(entry), from_cache=True)
                )
            await self._fill_unless_deleted(remote, staging)
            root = await in_thread(self._place, staging, is_whole)
            placed = CachedFiles(entry, root, record, selection, is_whole)
            return await in_thread(
                partial(
                    placed.as_fetched,
                    self._spec.part,
                    self._leases.get(entry),
                    from_cache=False,
                    repaired=self._repaired,
                    downloaded=self._report.downloaded,
                    reused=self._reused_bytes,
                )
            )
        except (FileExistsError, IsADirectoryError, NotADirectoryError) as error:
            if (folding_error := staging.folding_error(error)) is None:
                raise
            raise folding_error from error
        finally:
            with anyio.CancelScope(shield=True):
                await in_thread(remove, staging.folder)

    async def _fill_unless_deleted(self, remote: RemoteVersion, staging: Staging) -> None:
        """Download all missing files. Raises `VersionDeleted` if the version was deleted at the same time."""
        try:
            await self._fill(remote, staging)
        except IntegrityError:
            await remote.check_undeleted()
            raise

    async def _fill(self, remote: RemoteVersion, staging: Staging) -> None:
        """Stage all files."""
        plan = await in_thread(self._prepare, staging)
        filling = Filling(self._context, staging, remote, self._report)
        downloaded = await filling.run(plan, may_reuse=not self._force)
        self._reused_bytes = (staging.selection.files.total or 0) - (downloaded or 0)

    def _prepare(self, staging: Staging) -> DownloadPlan:
        staging.prepare()
        staged = self._reused(staging)
        return DownloadPlan.of(staging.selection.files, staged)

    def _reused(self, staging: Staging) -> set[str]:
        """Stage files that are already in the assets directory, and return their paths."""
        if self._force:
            return set()
        if self._damaged is None:
            return staging.reuse_parts()
        if self._damaged.manifest != staging.record.manifest:
            return set()
        intact = staging.reuse_intact(self._damaged)
        self._repaired = tuple(path for path in staging.selection.files.paths if path not in intact)
        return intact

    def _place(self, staging: Staging, is_whole: bool) -> Path:
        placement = Placement(staging)
        return placement.place_version() if is_whole else placement.place_parts()

    # Check

    async def _check_cached(self, version: str) -> Verification:
        found = await in_thread(self._find_cached, version)
        if found is None:
            raise await self._resolver.not_cached(version)
        self._warn_if_known_yanked(version, found.manifest)
        return await in_thread(check_cached, found, self._spec.part)

    async def _check_stored(self, store: AssetStore, version: str) -> Verification:
        remote = await self._find(store, version)
        selection = await select(remote.manifest, self._spec, version)
        found = await check_stored(remote, selection.files, self._spec.part, self._report)
        if not found.ok:
            await remote.check_undeleted()
        return found

    # Withdrawn versions

    async def _skipping_withdrawn(self, work: Callable[[], Awaitable[T]]) -> T:
        """Run `work` again for as long as the version that it resolves to is yanked or deleted.

        An index may still list such a version for a moment.
        """
        while True:
            try:
                return await work()
            except (VersionYanked, VersionDeleted) as error:
                if not self._resolver.skip(error):
                    raise
                self._damaged = self._problem = None  # of the version that is skipped

    async def _find(self, store: AssetStore, version: str) -> RemoteVersion:
        """Read the manifest. Raises `VersionYanked` if the version is yanked and the spec doesn't name it."""
        remote = await RemoteVersion.find(store, self._spec.name, version)
        if remote.manifest.is_yanked and not self._resolver.names(version):
            raise yanked_error(self._spec.name, version, remote.manifest, self._spec.alias)
        self._warn_if_yanked(version, remote.manifest)
        return remote

    def _warn_if_known_yanked(self, version: str, cached: Manifest) -> None:
        """Warn about a cached version whose record says that it is yanked, unless the store has listed it since.

        Raises:
            VersionYanked: offline, if the spec doesn't name the version. It is skipped then, unless no other is cached.
        """
        is_named = self._resolver.names(version)
        if self._context.store is not None and not is_named:
            return
        if cached.is_yanked and not is_named and self._spec.alias is None and version not in self._resolver.skipped:
            raise yanked_error(self._spec.name, version, cached)
        self._warn_if_yanked(version, cached)

    def _warn_if_yanked(self, version: str, manifest: Manifest) -> None:
        if manifest.is_yanked:
            logger.warning("%s", yanked_error(self._spec.name, version, manifest), extra=NOTICE)
