"""The manager: each public coroutine reads as prose."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any, Final, Self, TypeVar
from urllib.parse import unquote, urlsplit

import anyio

from aioassets._version import __version__
from aioassets.cleanup.clean import Cleaning
from aioassets.cleanup.store import StoreCleaning
from aioassets.drivers import Location, make_driver, split_url
from aioassets.drivers.protocol import Driver
from aioassets.errors import (
    AssetExists,
    AssetNotFound,
    BulkUpdateError,
    InvalidName,
    InvalidSetting,
    InvalidVersion,
    ManagerStateError,
    ObjectNotFound,
    SourceError,
    StoreCorrupt,
    VersionNotFound,
)
from aioassets.fetch.context import FetchContext
from aioassets.fetch.directory import OWN_FOLDER
from aioassets.fetch.fetched import FetchedAsset
from aioassets.fetch.leftovers import CacheCleaning
from aioassets.fetch.locks import Locks
from aioassets.fetch.retrieval import Retrieval
from aioassets.fetch.verify import Verification
from aioassets.model.keys import MAX_KEY_BYTES, Layout
from aioassets.model.leftovers import CleaningPlan, CleaningResult, CleaningRules
from aioassets.model.manifest import Manifest
from aioassets.model.names import AssetSpec, parse_name, parse_new_name
from aioassets.model.operations import BUMP_MAJOR, CREATE, UPDATE
from aioassets.model.versioning import Bump, VersioningScheme, scheme_named
from aioassets.progress import Progress, ignore
from aioassets.push.context import Lister, PushContext, Reservations
from aioassets.push.plan import PushPlan, PushResult
from aioassets.push.publish import Publication
from aioassets.push.scan import Tree, scan
from aioassets.push.stored import scan_store
from aioassets.runtime.budget import Budget
from aioassets.runtime.dispatch import Dispatcher
from aioassets.runtime.lanes import FILES_AT_ONCE
from aioassets.runtime.machine import Claimant, this_process
from aioassets.runtime.retry import RetryPolicy
from aioassets.runtime.tasks import for_each, gather2, supervised
from aioassets.runtime.threads import in_thread
from aioassets.settings import Settings
from aioassets.store.documents import AssetStore
from aioassets.store.index import add_to_index, check_exists, next_version
from aioassets.store.probe import ProbeCache
from aioassets.store.single_writer import SingleWriter

__all__ = ["AssetVersions", "AssetsManager"]

with contextlib.suppress(ImportError):  # a private module, which anyio would import on the loop, in 15 ms
    importlib.import_module("anyio._backends._asyncio")

T = TypeVar("T")

ASSETS_AT_ONCE: Final = 64
"""Assets that `update_assets` pushes at once: so many that those of one file each fill the budget."""
INDEXES_AT_ONCE: Final = 64
"""Indexes that a listing reads at once."""


@dataclass(frozen=True, slots=True)
class AssetVersions:
    """An asset in a listing.

    Attributes:
        name: the asset.
        versions: as its index lists them, latest first; none where that can't be read.
        error: what is wrong with its index, if something is.
    """

    name: str
    versions: tuple[str, ...]
    error: StoreCorrupt | None = None


@dataclass(frozen=True, slots=True)
class _Details:
    message: str | None
    labels: Mapping[str, str]
    include: Sequence[str]
    exclude: Sequence[str]


class AssetsManager:
    """Versions assets on one store, and fetches them to one local directory.

    Works as an async context manager, or without: then it opens at first use, and is closed by
    `aclose`. It belongs to the event loop that first uses it, and serves any number of concurrent
    calls there. What isn't given comes from the environment: each argument names its variable.

    Args:
        bucket: a URL (`s3://name`, `file:///path`), a path, or a bare name together with
            `storage_provider` (`AIOASSETS_BUCKET`). Without one, only what is cached can be fetched.
        assetsmanager_prefix: what keys begin with (`AIOASSETS_PREFIX`; default `assets`).
        storage_provider: `local`, `s3`, `gcs` or `azure` (`AIOASSETS_STORAGE_PROVIDER`).
        assets_dir: where fetched assets are kept (`AIOASSETS_DIR`; default the platform's cache folder).
        versioning: `major_minor`, `simple_date`, or a scheme of your own (`AIOASSETS_VERSIONING`).
        driver: use this driver instead of a bucket; it isn't closed with the manager. Its own
            dispatcher then says how many requests and bytes are in flight, and when they are retried.
        storage_options: options of the driver, such as `endpoint_url` or `region` for S3
            (`AIOASSETS_S3_ENDPOINT_URL` and so on).
        max_requests: requests in flight (`AIOASSETS_MAX_REQUESTS`; default 256).
        min_requests: requests in flight where the store throttles (`AIOASSETS_MIN_REQUESTS`; default 4).
        max_bytes: bytes in flight (`AIOASSETS_MAX_BYTES`; default 32 MiB).
        connect_timeout: seconds to wait for a connection (`AIOASSETS_CONNECT_TIMEOUT`; default 10).
        read_timeout: seconds to wait for the next bytes of an answer (`AIOASSETS_READ_TIMEOUT`; default 60).
        cleanup_timeout: seconds that a cancelled push may take to clean up
            (`AIOASSETS_CLEANUP_TIMEOUT`; default 5).
        offline: resolve among what is cached, without the network (`AIOASSETS_OFFLINE`).
        single_writer: declare that only one writer pushes at a time, for stores without conditional
            writes (`AIOASSETS_SINGLE_WRITER`).
        record_user: name the user in manifests and claims (`AIOASSETS_RECORD_USER`; default true).
        record_host: name the machine in manifests and claims (`AIOASSETS_RECORD_HOST`; default true).
        retry: when requests are tried again.

    Raises:
        InvalidSetting: an argument or variable can't be used.
    """

    def __init__(
        self,
        bucket: str | os.PathLike[str] | None = None,
        *,
        assetsmanager_prefix: str | None = None,
        storage_provider: str | None = None,
        assets_dir: str | os.PathLike[str] | None = None,
        versioning: str | VersioningScheme | None = None,
        driver: Driver | None = None,
        storage_options: Mapping[str, Any] | None = None,
        max_requests: int | None = None,
        min_requests: int | None = None,
        max_bytes: int | None = None,
        connect_timeout: float | None = None,
        read_timeout: float | None = None,
        cleanup_timeout: float | None = None,
        offline: bool | None = None,
        single_writer: bool | None = None,
        record_user: bool | None = None,
        record_host: bool | None = None,
        retry: RetryPolicy | None = None,
    ) -> None:
        if driver is not None and bucket is not None:
            raise InvalidSetting("Give either a bucket or a driver, not both.")
        self._settings = Settings.resolve(
            bucket=bucket,
            prefix=assetsmanager_prefix,
            storage_provider=storage_provider,
            assets_dir=assets_dir,
            versioning=versioning if isinstance(versioning, str) else None,
            max_requests=max_requests,
            min_requests=min_requests,
            max_bytes=max_bytes,
            connect_timeout=connect_timeout,
            read_timeout=read_timeout,
            cleanup_timeout=cleanup_timeout,
            offline=offline,
            single_writer=single_writer,
            record_user=record_user,
            record_host=record_host,
            storage_options=storage_options,
        )
        if versioning is None or isinstance(versioning, str):
            versioning = scheme_named(self._settings.versioning)
        self._scheme = versioning
        self._retry = retry or RetryPolicy()
        self._location: Location | None = None
        if driver is None and self._settings.bucket is not None:
            self._location = Location.parse(self._settings.bucket, self._settings.storage_provider)
        self._owned = self._make_driver()
        self._sources: dict[Location, Driver] = {}
        self._store = self._make_store(driver or self._owned)
        self._probes = ProbeCache(self._settings.assets_dir / OWN_FOLDER / "stores")
        self._locks = Locks()
        self._lister = Lister(self._scheme, self._retry)
        self._reservations = Reservations()
        self._claimant: Claimant | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._under_way: set[anyio.Event] = set()
        self._closed = False

    async def __aenter__(self) -> Self:
        self._check_usable()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Take no more calls, wait for those under way to end, and close the connections that were opened.

        Cancel what should not be waited for. Safe to call twice.
        """
        self._closed = True
        try:
            await self._until_idle()
        finally:
            owned = [self._owned] if self._owned is not None else []
            for driver in (*owned, *self._sources.values()):
                await driver.aclose()

    @property
    def url(self) -> str | None:
        """Where assets are pushed to and fetched from; `None` without a bucket."""
        return self._store.url if self._store is not None else None

    # Push

    async def create_asset(
        self,
        asset_path: str | os.PathLike[str],
        name: str,
        *,
        message: str | None = None,
        labels: Mapping[str, str] | None = None,
        include: Sequence[str] = (),
        exclude: Sequence[str] = (),
        dry_run: bool = False,
        progress: Progress | None = None,
    ) -> PushResult:
        """Push the first version of a new asset.

        Args:
            asset_path: a file or a directory, or the URL (`s3://…`) of an object or of a prefix.
            name: the new asset's name.
            message: free text for the manifest.
            labels: key-value pairs for the manifest.
            include: gitignore-style patterns of what to push; all where none are given.
            exclude: gitignore-style patterns of what to leave out.
            dry_run: do everything but write, and return what would be pushed.
            progress: receives events while the push runs.

        Raises:
            AssetExists: there is an asset of this name, or it is just being created.
            InvalidName: the name can't be used.
            SourceNotFound: there is nothing at `asset_path`.
            SourceError: the files can't be pushed as they are, or changed meanwhile.
            PublicationUncertain: the version is complete, but perhaps not listed.
            StoreError: the store can't do its part.
            AccessDenied: the store refuses these credentials.
        """
        details = _Details(message, labels or {}, include, exclude)
        return await self._run(
            lambda: self._plan_and_push(asset_path, name, CREATE, Bump(), details, progress, dry_run=dry_run)
        )

    async def update_asset(
        self,
        asset_path: str | os.PathLike[str],
        name: str,
        bump_major: bool = False,
        major: int | str | None = None,
        *,
        message: str | None = None,
        labels: Mapping[str, str] | None = None,
        include: Sequence[str] = (),
        exclude: Sequence[str] = (),
        dry_run: bool = False,
        progress: Progress | None = None,
    ) -> PushResult:
        """Push another version of an asset: `V.v` becomes `V.(v+1)`.

        Args:
            asset_path: a file or a directory, or the URL (`s3://…`) of an object or of a prefix.
            name: the asset's name.
            bump_major: begin the next major instead: `(V+1).0`.
            major: bump the latest version of this major; `None` for the latest of all.
            message: free text for the manifest.
            labels: key-value pairs for the manifest.
            include: gitignore-style patterns of what to push; all where none are given.
            exclude: gitignore-style patterns of what to leave out.
            dry_run: do everything but write, and return what would be pushed.
            progress: receives events while the push runs.

        Raises:
            AssetNotFound: there is no asset of this name.
            VersionNotFound: it has no such major.
            UsageError: both `bump_major` and `major` are given.
            SourceNotFound: there is nothing at `asset_path`.
            SourceError: the files can't be pushed as they are, or changed meanwhile.
            PublicationUncertain: the version is complete, but perhaps not listed.
            StoreError: the store can't do its part.
            AccessDenied: the store refuses these credentials.
        """
        bump = Bump(None if major is None else str(major), bump_major)
        details = _Details(message, labels or {}, include, exclude)
        return await self._run(
            lambda: self._plan_and_push(asset_path, name, _operation(bump), bump, details, progress, dry_run=dry_run)
        )

    async def update_assets(
        self,
        assets: Mapping[str, str | os.PathLike[str]],
        *,
        create_missing: bool = False,
        bump_major: bool = False,
        message: str | None = None,
        labels: Mapping[str, str] | None = None,
        include: Sequence[str] = (),
        exclude: Sequence[str] = (),
        progress: Progress | None = None,
    ) -> dict[str, PushResult]:
        """Push many assets in parallel, within the one budget. One failure doesn't stop the others.

        Args:
            assets: what to push, by asset name.
            create_missing: create those that don't exist, instead of failing.
            bump_major: begin the next major of those that exist.
            message: as for `update_asset`, for each.
            labels: as for `update_asset`, for each.
            include: as for `update_asset`, for each.
            exclude: as for `update_asset`, for each.
            progress: receives the events of all.

        Returns:
            What was published, by asset name, in the order of `assets`.

        Raises:
            BulkUpdateError: some failed; it carries what was published and why the others weren't.
        """
        published: dict[str, PushResult] = {}
        failed: dict[str, Exception] = {}
        bump = Bump(None, bump_major)
        operation = None if create_missing else _operation(bump)
        details = _Details(message, labels or {}, include, exclude)

        async def push_one(name: str) -> None:
            try:
                published[name] = await self._push_either(assets[name], name, operation, bump, details, progress)
            except Exception as error:
                failed[name] = error

        await self._run(lambda: for_each(assets, push_one, limit=ASSETS_AT_ONCE))
        published = {name: published[name] for name in assets if name in published}
        if failed:
            raise BulkUpdateError(published, failed)
        return published

    async def plan_create(
        self,
        asset_path: str | os.PathLike[str],
        name: str,
        *,
        message: str | None = None,
        labels: Mapping[str, str] | None = None,
        include: Sequence[str] = (),
        exclude: Sequence[str] = (),
    ) -> PushPlan:
        """Find out what `create_asset` would do, and write nothing; `push` does it.

        Arguments and errors are those of `create_asset`.
        """
        details = _Details(message, labels or {}, include, exclude)
        return await self._run(lambda: self._plan(asset_path, name, CREATE, Bump(), details))

    async def plan_update(
        self,
        asset_path: str | os.PathLike[str],
        name: str,
        bump_major: bool = False,
        major: int | str | None = None,
        *,
        message: str | None = None,
        labels: Mapping[str, str] | None = None,
        include: Sequence[str] = (),
        exclude: Sequence[str] = (),
    ) -> PushPlan:
        """Find out what `update_asset` would do, and write nothing; `push` does it.

        Arguments and errors are those of `update_asset`.
        """
        bump = Bump(None if major is None else str(major), bump_major)
        details = _Details(message, labels or {}, include, exclude)
        return await self._run(lambda: self._plan(asset_path, name, _operation(bump), bump, details))

    async def push(self, plan: PushPlan, *, progress: Progress | None = None) -> PushResult:
        """Do what was planned. The version may be a later one than planned, where others pushed meanwhile.

        Raises:
            AioAssetsError: as `create_asset` and `update_asset`.
        """
        return await self._run(lambda: self._push(plan, progress or ignore))

    # Fetch and list

    async def fetch_asset(
        self,
        spec: str | AssetSpec,
        *,
        force_download: bool = False,
        verify: bool = False,
        offline: bool | None = None,
        progress: Progress | None = None,
    ) -> FetchedAsset:
        """Bring a version, or a part of one, to the local disk.

        What is cached complete is served without the network where the spec names it exactly.

        Args:
            spec: `name`, `name:1` or `name:1.2`, each with an optional `[sub/part]`.
            force_download: fetch anew, and replace what differs.
            verify: hash what is cached instead of trusting its record.
            offline: resolve among what is cached; `None` as the manager was set.
            progress: receives events while bytes move.

        Raises:
            AssetNotFound: there is no such asset (offline: in the cache).
            VersionNotFound: it has no such version.
            PartNotFound: nothing in it is called like the sub-part.
            IntegrityError: a file isn't the one that was pushed; nothing was placed.
            StoreUnavailable: the store can't be reached; names what is cached.
            CacheError: the local assets directory can't be used, or has no room for it.
            AccessDenied: the store or the assets directory refuses what is needed.
        """
        offline = self._settings.offline if offline is None else offline
        retrieval = self._retrieval(spec, progress, offline=offline, force_download=force_download, verify=verify)
        return await self._run(retrieval.run)

    async def verify_asset(
        self, spec: str | AssetSpec, *, cached: bool = False, progress: Progress | None = None
    ) -> Verification:
        """Check a version, or a part of one, against its manifest: read every file, and keep none.

        What isn't as it was pushed is told in the result, all of it, and isn't raised.

        Args:
            spec: `name`, `name:1` or `name:1.2`, each with an optional `[sub/part]`.
            cached: check what is in the assets directory, without the network.
            progress: receives events while bytes move.

        Raises:
            AssetNotFound: there is no such asset (`cached`: in the assets directory).
            VersionNotFound: it has no such version.
            PartNotFound: nothing in it is called like the sub-part.
            StoreUnavailable: the store can't be reached.
        """
        cached = cached or self._settings.offline
        retrieval = self._retrieval(spec, progress, offline=cached)
        return await self._run(partial(retrieval.check, cached=cached))

    async def list_versions(self, name: str) -> list[str]:
        """The versions of an asset, latest first, as its index lists them.

        Raises:
            AssetNotFound: there is no such asset.
        """
        parse_name(name)
        store = self._required_store()
        state = await self._run(lambda: store.read_index(name))
        if not state.exists:
            raise AssetNotFound(name, store.url)
        return list(state.index.versions)

    async def list_assets(self, prefix: str = "") -> AsyncIterator[AssetVersions]:
        """All assets whose names begin with `prefix`, sorted by name, with their versions.

        An asset whose index can't be made sense of is listed with what is wrong with it, and
        the others all the same. The cost grows with the number of assets and versions, not of files.
        """
        store = self._required_store()
        if ".." in prefix.split("/"):
            raise InvalidName(prefix, "a prefix of names has no '..' segments")
        names = await self._run(lambda: store.asset_names(prefix))
        for start in range(0, len(names), INDEXES_AT_ONCE):
            for found in await self._read_indexes(store, names[start : start + INDEXES_AT_ONCE]):
                yield found

    async def _read_indexes(self, store: AssetStore, names: Sequence[str]) -> list[AssetVersions]:
        found: dict[str, AssetVersions] = {}

        async def read(name: str) -> None:
            try:
                state = await store.read_index(name)
            except StoreCorrupt as error:
                found[name] = AssetVersions(name, (), error)
                return
            if state.exists:
                found[name] = AssetVersions(name, state.index.versions)

        await self._run(lambda: for_each(names, read, limit=INDEXES_AT_ONCE))
        return [found[name] for name in names if name in found]

    # Clean

    async def plan_clean(
        self, name: str | None = None, *, older_than: timedelta | None = None, legacy: bool = False
    ) -> CleaningPlan:
        """Find what dead pushes left in the store, and dead fetches in the assets directory.

        It is found by looking at all indexes, and at what isn't listed by them. Nothing is written,
        but for a scratch object where `legacy` has to learn the store's time.

        Args:
            name: look at this asset alone.
            older_than: since the last sign of life. `None` takes what is dead as far as can be told: a
                push whose process is gone from this machine, or that gave no sign for 15 minutes. What
                is given counts instead of that, so that a short time stops pushes that are under way.
            legacy: remove content without a manifest as well, if it is a day old. Nobody else, such as
                modelkit, may be pushing it.

        Raises:
            AssetNotFound: nothing is there of the asset.
            StoreError: the store can't do its part.
            AccessDenied: the store refuses these credentials.
        """
        if name is not None:
            parse_name(name)

        async def plan() -> CleaningPlan:
            return await (await self._cleaning(CleaningRules(older_than, legacy))).plan(name)

        return await self._run(plan)

    async def clean(self, plan: CleaningPlan) -> CleaningResult:
        """Remove what was planned, as far as it still may be removed: each thing is looked at anew.

        Nothing of a published version is ever removed, listed or not. A push that is stopped by this
        fails or starts again under another number.

        Raises:
            StoreUnsuitable: it doesn't honour conditional writes.
            StoreError: the store can't do its part.
            AccessDenied: the store refuses these credentials.
        """

        async def clean() -> CleaningResult:
            if self._store is not None:
                await self._require_suitable(self._store)
            return await (await self._cleaning(plan.rules)).run(plan)

        return await self._run(clean)

    async def publish_version(self, name: str, version: str) -> None:
        """List a complete version that its index doesn't list, since its push died just before that.

        One that is listed already is no error.

        Raises:
            VersionNotFound: there is no complete version of this number.
            InvalidVersion: the asset, or the manager, has another versioning scheme.
        """
        parse_name(name)
        self._scheme.check(version)
        if not self._scheme.is_version(version):
            raise InvalidVersion(version, "it is only a part of one; name the version exactly")
        store = self._required_store()
        await self._run(lambda: self._publish_version(store, name, version))

    # Beneath

    async def _cleaning(self, rules: CleaningRules) -> Cleaning:
        store = None
        if self._store is not None:
            store = StoreCleaning(self._store, self._scheme, rules, await self._this_process())
        return Cleaning(store, CacheCleaning(self._settings.assets_dir, self._scheme.is_version), rules)

    async def _publish_version(self, store: AssetStore, name: str, version: str) -> None:
        try:
            sealed = isinstance((await store.read_meta(name, version)).content, Manifest)
        except ObjectNotFound:
            sealed = False
        if not sealed:
            raise VersionNotFound(name, version, store.url, (await store.read_index(name)).index.versions)
        await self._require_suitable(store)
        await add_to_index(store, self._scheme, name, {version}, retry=self._retry)

    async def _require_suitable(self, store: AssetStore) -> None:
        if not self._settings.single_writer:
            await self._probes.require(store.driver, store.layout)

    def _retrieval(
        self,
        spec: str | AssetSpec,
        progress: Progress | None,
        *,
        offline: bool,
        force_download: bool = False,
        verify: bool = False,
    ) -> Retrieval:
        parsed = spec if isinstance(spec, AssetSpec) else AssetSpec.parse(spec)
        context = FetchContext(None if offline else self._store, self._settings.assets_dir, self._scheme, self._locks)
        return Retrieval(context, parsed, progress or ignore, force_download=force_download, verify=verify)

    async def _plan(
        self,
        asset_path: str | os.PathLike[str],
        name: str,
        operation: str | None,
        bump: Bump,
        details: _Details,
    ) -> PushPlan:
        """Look at the source and the index at once; an operation of `None` is whichever fits."""
        parse_new_name(name)
        store = self._required_store()
        tree, state = await gather2(
            lambda: self._scan(asset_path, details, store),
            lambda: store.read_index(name, creating=operation in (CREATE, None)),
        )
        if operation is None:
            operation = _operation(bump) if state.exists else CREATE
        if operation == CREATE:
            bump = Bump()
        check_exists(state, operation, name, store.url)
        version = next_version(state, self._scheme, name, bump, store.url)
        _check_keys(tree, store.layout, name, version)
        return PushPlan(
            name=name,
            version=version,
            operation=operation,
            versions=state.index.versions,
            url=store.url_of(name, version),
            files=len(tree.files),
            size=tree.size,
            tree=tree,
            bump=bump,
            message=details.message,
            labels=dict(details.labels),
            new_store=state.new_store,
            index=state,
        )

    async def _push_either(
        self,
        asset_path: str | os.PathLike[str],
        name: str,
        operation: str | None,
        bump: Bump,
        details: _Details,
        progress: Progress | None,
    ) -> PushResult:
        """Push; where nobody says whether to create or to update, a creation that comes too late is an update."""
        try:
            return await self._plan_and_push(asset_path, name, operation, bump, details, progress)
        except AssetExists:
            if operation is not None or not (await self._required_store().read_index(name)).exists:
                raise
        return await self._plan_and_push(asset_path, name, _operation(bump), bump, details, progress)

    async def _plan_and_push(
        self,
        asset_path: str | os.PathLike[str],
        name: str,
        operation: str | None,
        bump: Bump,
        details: _Details,
        progress: Progress | None,
        *,
        dry_run: bool = False,
    ) -> PushResult:
        plan = await self._plan(asset_path, name, operation, bump, details)
        return _forecast(plan) if dry_run else await self._push(plan, progress or ignore)

    async def _scan(self, asset_path: str | os.PathLike[str], details: _Details, store: AssetStore) -> Tree:
        """Scan a path on this machine, or an object or prefix by its URL."""
        text = os.fspath(asset_path)
        located = split_url(text)
        if located is None:
            path = _local_path(text) or text
            return await scan(
                path, include=details.include, exclude=details.exclude, store=_local_path(store.driver.url)
            )
        location, key = located
        driver = self._source_driver(location)
        return await scan_store(driver, key, include=details.include, exclude=details.exclude)

    def _source_driver(self, location: Location) -> Driver:
        """The driver to read sources by: one for each bucket, with a budget of its own.

        An upload that holds its share of the budget waits for its source, which must not have to
        wait for that same budget.
        """
        if location not in self._sources:
            settings = self._settings
            same_provider = self._location is not None and self._location.provider == location.provider
            options = {key: value for key, value in settings.storage_options.items() if same_provider or "." in key}
            self._sources[location] = self._drive(location, options)
        return self._sources[location]

    async def _push(self, plan: PushPlan, report: Progress) -> PushResult:
        store = self._required_store()
        await self._require_suitable(store)
        context = PushContext(
            store=store,
            scheme=self._scheme,
            claimant=await self._this_process(),
            tool=f"aioassets/{__version__}",
            cleanup_timeout=self._settings.cleanup_timeout,
            lister=self._lister,
            reservations=self._reservations,
        )
        return await Publication(context, plan, report).run()

    async def _this_process(self) -> Claimant:
        if self._claimant is None:
            settings = self._settings
            self._claimant = await in_thread(
                partial(this_process, user=settings.record_user, host=settings.record_host)
            )
        return self._claimant

    def _make_driver(self) -> Driver | None:
        if self._location is None:
            return None
        return self._drive(self._location, self._settings.storage_options)

    def _drive(self, location: Location, options: Mapping[str, Any]) -> Driver:
        settings = self._settings
        budget = Budget(settings.max_requests, settings.max_bytes, min_requests=settings.min_requests)
        return make_driver(
            location,
            dispatcher=Dispatcher(budget, self._retry),
            options=options,
            timeouts={"connect_timeout": settings.connect_timeout, "read_timeout": settings.read_timeout},
        )

    def _make_store(self, driver: Driver | None) -> AssetStore | None:
        if driver is None:
            return None
        settings = self._settings
        layout = Layout(settings.prefix)
        local = settings.assets_dir.absolute().as_uri()
        if local in (driver.url, f"{driver.url}/{layout.prefix}"):
            raise InvalidSetting(
                f"The assets directory {str(settings.assets_dir)!r} is the store itself: "
                "fetched assets need a folder of their own (assets_dir, AIOASSETS_DIR)."
            )
        if settings.single_writer:
            driver = SingleWriter(driver)
        return AssetStore(driver, layout, self._retry.clock, max(FILES_AT_ONCE, settings.max_requests))

    def _required_store(self) -> AssetStore:
        if self._store is None:
            raise InvalidSetting(
                "There is no bucket to use: name one with --bucket, AIOASSETS_BUCKET or AssetsManager(bucket=…); "
                "the quickest is a folder, --bucket ./store."
            )
        return self._store

    async def _run(self, work: Callable[[], Awaitable[T]]) -> T:
        self._check_usable()
        ended = anyio.Event()
        self._under_way.add(ended)
        try:
            return await supervised(work)
        finally:
            self._under_way.remove(ended)
            ended.set()

    async def _until_idle(self) -> None:
        if self._loop is asyncio.get_running_loop():  # what belongs to another one may never end
            for ended in tuple(self._under_way):
                await ended.wait()

    def _check_usable(self) -> None:
        if self._closed:
            raise ManagerStateError("This manager is closed: make a new one.")
        loop = asyncio.get_running_loop()
        if self._loop is None:
            self._loop = loop
        elif self._loop is not loop:
            raise ManagerStateError("This manager belongs to another event loop: make one for each loop.")


def _operation(bump: Bump) -> str:
    return BUMP_MAJOR if bump.bump_major else UPDATE


def _forecast(plan: PushPlan) -> PushResult:
    return PushResult(plan.name, plan.version, plan.url, plan.files, plan.size, dry_run=True)


def _local_path(url: str) -> str | None:
    parts = urlsplit(url)
    return unquote(parts.path) if parts.scheme == "file" else None


def _check_keys(tree: Tree, layout: Layout, name: str, version: str) -> None:
    if len(layout.meta(name, version).encode()) > MAX_KEY_BYTES:
        raise InvalidName(name, f"with the prefix, it makes a key of more than {MAX_KEY_BYTES} bytes; shorten them")
    room = MAX_KEY_BYTES - len(layout.content(name, version, "-").encode()) + 1
    if tree.longest_path > room:
        file = next(file for file in tree.files if len(file.path.encode()) > room)
        raise SourceError(
            file.source, f"its path makes a key of more than {MAX_KEY_BYTES} bytes; shorten, exclude or pack it"
        )
