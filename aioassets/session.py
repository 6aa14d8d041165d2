"""The objects that a manager creates from its settings."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from aioassets.cleanup.clean import Cleaning
from aioassets.cleanup.retention import Retention
from aioassets.cleanup.store import StoreCleaning
from aioassets.cleanup.withdrawal import Withdrawal
from aioassets.drivers import Location, make_driver
from aioassets.drivers.protocol import Driver
from aioassets.errors import InvalidSetting, UsageError
from aioassets.fetch.cache import Cache
from aioassets.fetch.delivery import Delivery, DeliveryOptions, Retrieve
from aioassets.fetch.destination import Reserved
from aioassets.fetch.directory import OWN_FOLDER
from aioassets.fetch.fetched import FetchedAsset
from aioassets.fetch.leftovers import CacheCleaning
from aioassets.fetch.locks import Locks
from aioassets.fetch.watch import Watch, WatchOptions
from aioassets.model.keys import Layout
from aioassets.model.leftovers import CleaningRules
from aioassets.model.names import AssetSpec
from aioassets.model.retention import RetentionRules
from aioassets.progress import Progress
from aioassets.push.copied import SourceVersion
from aioassets.push.copy import CopyOptions, CopyResult
from aioassets.push.locate import Sources
from aioassets.push.pushes import Pushes
from aioassets.read.opening import Reads
from aioassets.runtime.budget import Budget
from aioassets.runtime.descriptors import fitting
from aioassets.runtime.dispatch import Dispatcher
from aioassets.runtime.known_hashes import KnownHashes
from aioassets.runtime.lanes import FILES_AT_ONCE
from aioassets.runtime.lifecycle import Lifecycle
from aioassets.runtime.machine import Claimant, this_process
from aioassets.runtime.notices import NOTICE
from aioassets.runtime.retry import RetryPolicy
from aioassets.runtime.threads import in_thread
from aioassets.settings import Settings
from aioassets.store.aliases import Aliases
from aioassets.store.documents import AssetStore
from aioassets.store.probe import ProbeCache
from aioassets.store.resolve import find_version
from aioassets.store.single_writer import SingleWriter
from aioassets.store.suggestions import with_suggestions

T = TypeVar("T")

logger = logging.getLogger(__name__)


class Session:
    """The objects that all calls to a manager share: store, drivers, pushes, locks and lifecycle.

    Args:
        settings: the settings of the manager.
        driver: the driver to use instead of the configured bucket. The session never closes it.
        retry: the retry policy for the session's own drivers and pushes, instead of one based on the settings.

    Raises:
        InvalidSetting: if a setting is invalid.
    """

    def __init__(self, settings: Settings, driver: Driver | None, retry: RetryPolicy | None) -> None:
        self.settings = settings
        self.scheme = settings.scheme
        self.lifecycle = Lifecycle()
        self.locks = Locks()
        self._retry = retry or RetryPolicy(retry_for=settings.retry_for)
        self._location = settings.location if driver is None else None
        self._owned = None if self._location is None else self._open_driver(self._location)
        self._cache = _usable_cache(settings)
        self.known_hashes = _known_hashes(self._cache) if settings.remember_hashes else None
        self._sources = Sources(self._open_driver, self.known_hashes)
        self._probes = ProbeCache(None if self._cache is None else self._cache / OWN_FOLDER / "stores")
        self._claimant: Claimant | None = None
        self._bare = driver or self._owned
        self.store_if_any = self._open_store(self._bare)
        self.reads = Reads(settings.max_bytes, self.lifecycle.run)
        self._pushes = None if self.store_if_any is None else self._open_pushes(self.store_if_any)

    @property
    def cache_folder(self) -> Path:
        """The assets directory. Raises `InvalidSetting` if its path can't be used."""
        return self._cache or self.settings.cache_folder

    @property
    def cache(self) -> Cache:
        """The cached versions. Raises `InvalidSetting` if the path of the assets directory can't be used."""
        return Cache(self.cache_folder, self.settings.cache_limit_bytes, self.locks, self.lifecycle)

    @property
    def store(self) -> AssetStore:
        """The store. Raises `InvalidSetting` if there is none."""
        if self.store_if_any is None:
            raise _no_bucket()
        return self.store_if_any

    @property
    def pushes(self) -> Pushes:
        """The object that runs pushes to the store. Raises `InvalidSetting` if there is no store."""
        if self._pushes is None:
            raise _no_bucket()
        return self._pushes

    async def fetch(self, retrieve: Retrieve, options: DeliveryOptions | None) -> FetchedAsset:
        """Fetch to the cache and, if there are options, deliver to a path outside the cache."""
        if options is None:
            return await retrieve(False)
        return await Delivery(options, retrieve, self._identity, self._reserved, self.locks).run()

    def watch(
        self, spec: AssetSpec, options: WatchOptions, retrieve: Retrieve, delivery: DeliveryOptions | None
    ) -> Watch:
        """Return a watch of a spec. Raises `InvalidSetting` if there is no store, or it must not be used."""
        if self.settings.offline:
            raise InvalidSetting("watch needs the store. Turn offline mode off (AIOASSETS_OFFLINE, offline=False).")

        async def fetch() -> FetchedAsset:
            return await with_suggestions(self.store_if_any, lambda: self.fetch(retrieve, delivery))

        return Watch(self.store, self.scheme, spec, options, fetch, self.lifecycle, self._retry)

    def _identity(self) -> str:
        return "" if self.store_if_any is None else self.store_if_any.identity

    def _reserved(self) -> list[Reserved]:
        """Return the assets directory, and the folder of a local store. Blocking."""
        found = [Reserved(self.cache_folder, "the assets directory")]
        local = None if self.store_if_any is None else self.store_if_any.driver.local_path("any")
        return found if local is None else [*found, Reserved(Path(local).parent, "the store")]

    async def copied_from(self, spec: AssetSpec) -> SourceVersion:
        """Resolve a spec, and return the version as the source of a copy.

        Its content is read with a driver that isn't used for uploads, if the session can open one.
        """
        store, bare = self.store, self._bare
        if spec.part is not None:
            raise UsageError(f"Cannot copy a part of a version: write {replace(spec, part=None)}.")
        found = await find_version(store, self.scheme, spec)
        if found.manifest.is_yanked:
            logger.warning("%s:%s is yanked in %s", found.name, found.version, store.url, extra=NOTICE)
        assert bare is not None  # noqa: S101 - it is the driver of the store
        reader = (lambda: bare) if self._location is None else partial(self._sources.driver, self._location)
        return SourceVersion(store, bare, reader, found.name, found.version, found.manifest)

    async def copy(self, source: SourceVersion, options: CopyOptions, report: Progress) -> CopyResult:
        """Copy a version of any store to this session's store, and point an alias at it if one is requested."""
        if options.alias is None:
            return await self.pushes.copy(source, options, report)
        aliases = await self.aliases()
        aliases.check(options.name or source.name, options.alias, source.version)
        copied = await self.pushes.copy(source, options, report)
        if not options.dry_run:
            await aliases.move(copied.name, options.alias, copied.version)
        return replace(copied, alias=options.alias)

    async def aliases(self) -> Aliases:
        """Return the object that reads and moves the aliases of this session's store."""
        holder = (await self.claimant()).holder
        timeout = self.settings.cleanup_timeout
        return Aliases(self.store, self.scheme, self._retry, holder, self.require_suitable, timeout)

    async def cleaning(self, rules: CleaningRules, *, changing: bool = False) -> Cleaning:
        """Return an object that cleans up the store and the assets directory.

        Args:
            rules: the rules that determine what may be removed.
            changing: whether anything will be removed. If so, the store must honour conditional writes.
        """
        if changing:
            await self.require_suitable()
        stored = None
        if self.store_if_any is not None:
            claimant, withdrawal = await self.claimant(), await self.withdrawal()
            stored = StoreCleaning(self.store_if_any, self.scheme, rules, claimant, withdrawal)
        return Cleaning(stored, CacheCleaning(self.cache_folder, self.scheme.is_version), rules)

    async def withdrawal(self) -> Withdrawal:
        """Return an object that yanks and deletes versions. Raises `InvalidSetting` if there is no store."""
        holder = (await self.claimant()).holder
        timeout = self.settings.cleanup_timeout
        return Withdrawal(self.store, self.scheme, self._retry, holder, self.require_suitable, timeout)

    async def retention(self, rules: RetentionRules) -> Retention:
        """Return an object that deletes versions by rules. Raises `InvalidSetting` if there is no store."""
        return Retention(self.store, self.scheme, rules, await self.withdrawal())

    async def require_suitable(self) -> None:
        """Probe the store, unless this has been done recently or the user has declared a single writer.

        Raises:
            StoreUnsuitable: if the store doesn't honour conditional writes.
        """
        if self.store_if_any is not None and not self.settings.single_writer:
            await self._probes.require(self.store_if_any.driver, self.store_if_any.layout)

    async def claimant(self) -> Claimant:
        """Return the current process's identity, as recorded in claims."""
        if self._claimant is None:
            settings = self.settings
            self._claimant = await in_thread(
                partial(this_process, user=settings.record_user, host=settings.record_host)
            )
        return self._claimant

    async def run(self, work: Callable[[], Awaitable[T]]) -> T:
        """Run a call of the manager. If an asset doesn't exist, the error suggests similar names."""
        return await self.lifecycle.run(lambda: with_suggestions(self.store_if_any, work))

    async def aclose(self) -> None:
        """Wait for calls in progress, then close the drivers that this session created."""
        try:
            await self.lifecycle.close()
        finally:
            await self.reads.aclose()
            if self._owned is not None:
                await self._owned.aclose()
            await self._sources.aclose()

    def _open_driver(self, location: Location) -> Driver:
        settings = self.settings
        options = settings.storage_options
        if self._location is None or location.provider != self._location.provider:
            options = {name: value for name, value in options.items() if "." in name}
        requests = fitting(settings.max_requests)
        budget = Budget(requests, settings.max_bytes, min_requests=min(requests, settings.fewest_requests))
        return make_driver(
            location,
            dispatcher=Dispatcher(budget, self._retry),
            options=options,
            timeouts={"connect_timeout": settings.connect_timeout, "read_timeout": settings.read_timeout},
        )

    def _open_store(self, driver: Driver | None) -> AssetStore | None:
        if driver is None:
            return None
        settings = self.settings
        layout = Layout(settings.prefix)
        if self._cache is not None and self._cache.as_uri() in (driver.url, f"{driver.url}/{layout.prefix}"):
            raise InvalidSetting(
                f"The assets directory {str(self._cache)!r} is the store itself. "
                "Use a different folder for fetched assets (assets_dir, AIOASSETS_DIR)."
            )
        if settings.single_writer:
            driver = SingleWriter(driver)
        return AssetStore(driver, layout, self._retry.clock, max(FILES_AT_ONCE, settings.max_requests))

    def _open_pushes(self, store: AssetStore) -> Pushes:
        return Pushes(
            store=store,
            scheme=self.scheme,
            retry=self._retry,
            sources=self._sources,
            claimant=self.claimant,
            require_suitable=self.require_suitable,
            cleanup_timeout=self.settings.cleanup_timeout,
            reuses_bases=not self.settings.single_writer,
        )


def _usable_cache(settings: Settings) -> Path | None:
    """Return the assets directory, or `None` if its path can't be used. Pushes work without it."""
    try:
        return settings.cache_folder
    except InvalidSetting:
        return None


def _known_hashes(cache: Path | None) -> KnownHashes | None:
    return None if cache is None else KnownHashes(cache / OWN_FOLDER / "hashes.sqlite3")


def _no_bucket() -> InvalidSetting:
    return InvalidSetting(
        "No bucket is set. Name one with --bucket, AIOASSETS_BUCKET or AssetsManager(bucket=…). "
        "The easiest option is a local folder: --bucket ./store."
    )
