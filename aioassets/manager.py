"""The manager, through which applications push, fetch and clean up assets."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from functools import partial
from types import EllipsisType
from typing import Any, Self

from aioassets.drivers.protocol import Driver
from aioassets.errors import InvalidSetting, UsageError
from aioassets.fetch.cache import Cache
from aioassets.fetch.context import FetchContext
from aioassets.fetch.delivery import DeliveryOptions
from aioassets.fetch.fetched import FetchedAsset
from aioassets.fetch.many import Spec, fetch_many
from aioassets.fetch.pinning import fetch_locked, lock_specs, read_lock
from aioassets.fetch.retrieval import Retrieval
from aioassets.fetch.verify import Verification
from aioassets.fetch.watch import INTERVAL, JITTER, WatchOptions
from aioassets.model.aliases import AliasMove
from aioassets.model.arguments import check_mapping
from aioassets.model.description import VersionDescription
from aioassets.model.diff import VersionDiff
from aioassets.model.durations import parse_lifetime
from aioassets.model.leftovers import CleaningPlan, CleaningResult, CleaningRules
from aioassets.model.lockfile import LockedAsset
from aioassets.model.manifest import Manifest
from aioassets.model.marks import Mark
from aioassets.model.names import AssetSpec, parse_name
from aioassets.model.operations import BUMP_MAJOR, CREATE, UPDATE
from aioassets.model.retention import PrunePlan, PruneResult, RetentionRules
from aioassets.model.versioning import Bump, VersioningScheme
from aioassets.model.withdrawals import DeletionPlan, DeletionResult
from aioassets.progress import Progress
from aioassets.push.accepted import AssetSource
from aioassets.push.copy import CopyOptions, CopyResult
from aioassets.push.plan import PushPlan, PushRequest, PushResult
from aioassets.read.listing import VersionFiles
from aioassets.read.opening import OpeningFile
from aioassets.runtime.callbacks import checked, checked_handler
from aioassets.runtime.retry import RetryPolicy
from aioassets.runtime.tasks import T
from aioassets.session import Session
from aioassets.settings import Settings
from aioassets.store.aliases import Aliases
from aioassets.store.listing import AssetVersions, ListingRequest, list_assets, list_versions
from aioassets.views.compare import compare
from aioassets.views.describe import describe, log_versions
from aioassets.views.urls import presign, url_of

__all__ = ["AssetVersions", "AssetsManager"]


class AssetsManager:
    """A manager for the versioned assets in one store. It fetches them to one local directory.

    Use a manager as an async context manager, or close it with `aclose`. It connects to the store on the
    first request. A manager belongs to the event loop of its first call, and supports any number of
    concurrent calls on that loop.

    Arguments override `settings`. Without `settings`, arguments that are omitted are read from the
    environment variables in parentheses.

    Args:
        bucket: a URL (`s3://name`, `file:///path`), a path such as `./store`, or a bare name together with
            `storage_provider` (`AIOASSETS_BUCKET`). Without a bucket, only cached assets can be fetched.
        settings: all settings in a single value. If given, no environment variables are read.
        assetsmanager_prefix: the prefix of all keys (`AIOASSETS_PREFIX`; default `assets`).
        storage_provider: `local`, `s3`, `gcs` or `azure` (`AIOASSETS_STORAGE_PROVIDER`).
        assets_dir: the folder for fetched assets (`AIOASSETS_DIR`; default: the user's cache directory).
        cache_limit: the maximum size of the cache in bytes, or as a text such as `20GB` or `500MiB`
            (`AIOASSETS_CACHE_LIMIT`; default: no limit). Before a download that would exceed it, the least recently
            used versions are evicted.
        versioning: `major_minor`, `simple_date`, or a custom versioning scheme (`AIOASSETS_VERSIONING`;
            default `major_minor`).
        driver: a driver to use instead of a bucket. The manager never closes it. The driver's own
            dispatcher limits and retries its requests.
        storage_options: options for the driver, such as `endpoint_url` or `region` for S3
            (`AIOASSETS_S3_ENDPOINT_URL` etc.).
        max_requests: the maximum number of requests in flight (`AIOASSETS_MAX_REQUESTS`; default 256).
        min_requests: the number of requests in flight that are always allowed, even if the store throttles
            them (`AIOASSETS_MIN_REQUESTS`; default 4).
        max_bytes: the maximum number of bytes in flight (`AIOASSETS_MAX_BYTES`; default 32 MiB).
        connect_timeout: how many seconds to wait for a connection (`AIOASSETS_CONNECT_TIMEOUT`; default 10).
        read_timeout: how many seconds a response may go without receiving data before the request fails
            (`AIOASSETS_READ_TIMEOUT`; default 60).
        cleanup_timeout: how many seconds a cancelled push may take to clean up
            (`AIOASSETS_CLEANUP_TIMEOUT`; default 5).
        retry_for: for how many seconds to keep retrying a request if the store fails (`AIOASSETS_RETRY_FOR`;
            default 60). 0 disables retries.
        offline: whether to use only cached versions, without the network (`AIOASSETS_OFFLINE`; default false).
        single_writer: whether only one writer pushes at a time, which makes stores without conditional
            writes safe to use (`AIOASSETS_SINGLE_WRITER`; default false).
        record_user: whether to record the user name in manifests and claims (`AIOASSETS_RECORD_USER`; default true).
        record_host: whether to record the host name in manifests and claims (`AIOASSETS_RECORD_HOST`; default true).
        remember_hashes: whether to remember digests of local files in the assets directory, so that unchanged files
            aren't read again (`AIOASSETS_REMEMBER_HASHES`; default true).
        retry: a complete retry policy, instead of `retry_for`.

    Raises:
        InvalidSetting: if an argument or environment variable is invalid.
    """

    def __init__(
        self,
        bucket: str | os.PathLike[str] | None = None,
        *,
        settings: Settings | None = None,
        assetsmanager_prefix: str | None = None,
        storage_provider: str | None = None,
        assets_dir: str | os.PathLike[str] | None = None,
        cache_limit: int | str | None = None,
        versioning: str | VersioningScheme | None = None,
        driver: Driver | None = None,
        storage_options: Mapping[str, Any] | None = None,
        max_requests: int | None = None,
        min_requests: int | None = None,
        max_bytes: int | None = None,
        connect_timeout: float | None = None,
        read_timeout: float | None = None,
        cleanup_timeout: float | None = None,
        retry_for: float | None = None,
        offline: bool | None = None,
        single_writer: bool | None = None,
        record_user: bool | None = None,
        record_host: bool | None = None,
        remember_hashes: bool | None = None,
        retry: RetryPolicy | None = None,
    ) -> None:
        if driver is not None and bucket is not None:
            raise InvalidSetting("Pass either a bucket or a driver, not both.")
        resolve = Settings.resolve if settings is None else settings.override
        resolved = resolve(
            bucket=bucket,
            prefix=assetsmanager_prefix,
            storage_provider=storage_provider,
            assets_dir=assets_dir,
            cache_limit=cache_limit,
            versioning=versioning,
            max_requests=max_requests,
            min_requests=min_requests,
            max_bytes=max_bytes,
            connect_timeout=connect_timeout,
            read_timeout=read_timeout,
            cleanup_timeout=cleanup_timeout,
            retry_for=retry_for,
            offline=offline,
            single_writer=single_writer,
            record_user=record_user,
            record_host=record_host,
            remember_hashes=remember_hashes,
            storage_options=storage_options,
        )
        self._session = Session(resolved, driver, retry)
        self._run = self._session.run

    async def __aenter__(self) -> Self:
        self._session.lifecycle.check()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Reject further calls, wait for those in progress, and close the manager's connections.

        To avoid waiting for calls, cancel them first. This method can safely be called more than once.
        """
        await self._session.aclose()

    @property
    def url(self) -> str | None:
        """The URL under which the store keeps its assets; `None` if there is no bucket."""
        store = self._session.store_if_any
        return None if store is None else store.url

    @property
    def cache(self) -> Cache:
        """The cached versions of all stores in the assets directory, to list and prune them.

        Raises:
            InvalidSetting: if the path of the assets directory can't be used.
        """
        return self._session.cache

    # Push

    async def create_asset(
        self,
        asset_path: AssetSource,
        name: str,
        *,
        message: str | None = None,
        labels: Mapping[str, str] | None = None,
        include: Sequence[str] = (),
        exclude: Sequence[str] = (),
        allow_empty: bool = False,
        base: str | AssetSpec | None = None,
        dry_run: bool = False,
        progress: Progress | None = None,
    ) -> PushResult:
        """Push the first version of a new asset.

        Args:
            asset_path: a file, a directory, or the URL of an object or prefix (`s3://…`). It may also be the content of
                a file: a bytes-like object, an async iterable of bytes, or a binary file object, which is read from
                its current position. A mapping of paths to any of these is a directory; a directory in it is pushed
                below its path. Iterators and file objects are uploaded while they are read. They can be pushed only
                once, and such a push can't be resumed. Mutable buffers are copied first.
            name: the new asset's name.
            message: text for the manifest, of at most 10,000 characters.
            labels: key-value pairs for the manifest, of at most 10,000 characters in total.
            include: gitignore-style patterns for files to push; empty for all files.
            exclude: gitignore-style patterns for files to leave out.
            allow_empty: whether to publish a version even if it has no files.
            base: a version of any asset of this store, such as `team/base-model:1.2`. Files of the source that it has,
                too, are copied by the store instead of uploaded. `None` uploads all files.
            dry_run: whether to return the expected result without writing anything.
            progress: a function that receives events during the push.

        Raises:
            AssetExists: if the asset exists, or another process is creating it.
            NotFound: if the base doesn't exist, or was deleted.
            InvalidName: if the name is invalid.
            UsageError: if the source has a type that can't be pushed, the message isn't a string, the labels don't map
                non-empty strings to strings, or the base isn't the spec of a version.
            SourceNotFound: if `asset_path` doesn't exist.
            SourceError: if there are no files to push, if they changed during the push, or if they can't be pushed.
            PublicationUncertain: if the version was uploaded, but may not have been published.
            StoreError: if the store failed.
            AccessDenied: if the store denied access.
        """
        request = PushRequest(
            source=asset_path,
            name=name,
            operation=CREATE,
            message=message,
            labels=labels,
            include=include,
            exclude=exclude,
            allow_empty=allow_empty,
            base=base,
        )
        return await self._run(lambda: self._session.pushes.run(request, checked(progress), dry_run=dry_run))

    async def update_asset(
        self,
        asset_path: AssetSource,
        name: str,
        bump_major: bool = False,
        major: int | str | None = None,
        *,
        message: str | None = None,
        labels: Mapping[str, str] | None = None,
        include: Sequence[str] = (),
        exclude: Sequence[str] = (),
        allow_empty: bool = False,
        if_changed: bool = False,
        base: str | AssetSpec | EllipsisType | None = ...,
        dry_run: bool = False,
        progress: Progress | None = None,
    ) -> PushResult:
        """Push the next version of an asset, such as `1.3` after `1.2`.

        Args:
            asset_path: a file, a directory, the URL of an object or prefix (`s3://…`), or contents, as in
                `create_asset`.
            name: the asset's name.
            bump_major: whether to start the next major version instead, such as `2.0` after `1.2`.
            major: the major version to continue; `None` to continue that of the latest version.
            message: text for the manifest, of at most 10,000 characters.
            labels: key-value pairs for the manifest, of at most 10,000 characters in total.
            include: gitignore-style patterns for files to push; empty for all files.
            exclude: gitignore-style patterns for files to leave out.
            allow_empty: whether to publish a version even if it has no files.
            if_changed: whether to publish nothing if the version that the push would follow has the same content.
                The result then has `unchanged` set and names that version. A file whose digest is unknown counts
                as changed, such as an async iterator, a file object, or an object of another store that reports no
                SHA-256. The comparison holds for the version in the result: another push may publish a later one in the
                meantime.
            base: a version of any asset of this store, such as `team/base-model:1.2`. Files of the source that it has,
                too, under any path, are copied by the store instead of uploaded. By default, it is the version that
                the push follows. `None` uploads all files.
            dry_run: whether to return the expected result without writing anything.
            progress: a function that receives events during the push.

        Raises:
            AssetNotFound: if the asset doesn't exist.
            VersionNotFound: if the asset doesn't have this major version.
            NotFound: if a base that was named doesn't exist, or was deleted.
            UsageError: if both `bump_major` and `major` are given, if the source has a type that can't be pushed, if
                the message isn't a string, if the labels don't map non-empty strings to strings, or if the base isn't
                the spec of a version.
            SourceNotFound: if `asset_path` doesn't exist.
            SourceError: if there are no files to push, if they changed during the push, or if they can't be pushed.
            PublicationUncertain: if the version was uploaded, but may not have been published.
            StoreError: if the store failed.
            AccessDenied: if the store denied access.
        """
        request = PushRequest(
            source=asset_path,
            name=name,
            operation=BUMP_MAJOR if bump_major else UPDATE,
            bump=Bump(None if major is None else str(major), bump_major),
            message=message,
            labels=labels,
            include=include,
            exclude=exclude,
            allow_empty=allow_empty,
            if_changed=if_changed,
            base=base,
        )
        return await self._run(lambda: self._session.pushes.run(request, checked(progress), dry_run=dry_run))

    async def update_assets(
        self,
        assets: Mapping[str, AssetSource],
        *,
        create_missing: bool = False,
        bump_major: bool = False,
        message: str | None = None,
        labels: Mapping[str, str] | None = None,
        include: Sequence[str] = (),
        exclude: Sequence[str] = (),
        allow_empty: bool = False,
        if_changed: bool = False,
        base: str | AssetSpec | EllipsisType | None = ...,
        progress: Progress | None = None,
    ) -> dict[str, PushResult]:
        """Push many assets concurrently, within one budget. If one push fails, the others continue.

        Args:
            assets: the sources, by asset name. Each is a path, a URL or contents, as in `create_asset`.
            create_missing: whether to create assets that don't exist. Otherwise, pushing them fails.
            bump_major: whether to start the next major version of assets that exist.
            message: free text for each manifest.
            labels: key-value pairs for each manifest.
            include: gitignore-style patterns for files to push; empty for all files.
            exclude: gitignore-style patterns for files to leave out.
            allow_empty: whether to publish versions even if they have no files.
            if_changed: whether to publish nothing for assets whose latest version has the same content, as in
                `update_asset`.
            base: a version whose files the store copies instead of receiving them, as in `update_asset`.
            progress: a function that receives the events of all pushes.

        Returns:
            The results by asset name, in the order of `assets`.

        Raises:
            BulkUpdateError: if any push failed. It contains the results and the errors.
            UsageError: if `assets` isn't a mapping, if the message isn't a string, or if the labels don't map non-empty
                strings to strings.
        """
        check_mapping(assets, "assets", "names to sources")
        requests = [
            PushRequest(
                source=source,
                name=name,
                operation=None if create_missing else BUMP_MAJOR if bump_major else UPDATE,
                bump=Bump(None, bump_major),
                message=message,
                labels=labels,
                include=include,
                exclude=exclude,
                allow_empty=allow_empty,
                if_changed=if_changed,
                base=base,
            )
            for name, source in assets.items()
        ]
        return await self._run(lambda: self._session.pushes.run_all(requests, checked(progress)))

    async def plan_create(
        self,
        asset_path: AssetSource,
        name: str,
        *,
        message: str | None = None,
        labels: Mapping[str, str] | None = None,
        include: Sequence[str] = (),
        exclude: Sequence[str] = (),
        allow_empty: bool = False,
        base: str | AssetSpec | None = None,
    ) -> PushPlan:
        """Plan the creation of an asset without writing anything. `push` carries out the plan.

        The arguments and exceptions are the same as for `create_asset`.
        """
        request = PushRequest(
            source=asset_path,
            name=name,
            operation=CREATE,
            message=message,
            labels=labels,
            include=include,
            exclude=exclude,
            allow_empty=allow_empty,
            base=base,
        )
        return await self._run(lambda: self._session.pushes.plan(request))

    async def plan_update(
        self,
        asset_path: AssetSource,
        name: str,
        bump_major: bool = False,
        major: int | str | None = None,
        *,
        message: str | None = None,
        labels: Mapping[str, str] | None = None,
        include: Sequence[str] = (),
        exclude: Sequence[str] = (),
        allow_empty: bool = False,
        if_changed: bool = False,
        base: str | AssetSpec | EllipsisType | None = ...,
    ) -> PushPlan:
        """Plan an update of an asset without writing anything. `push` carries out the plan.

        The arguments and exceptions are the same as for `update_asset`.
        """
        request = PushRequest(
            source=asset_path,
            name=name,
            operation=BUMP_MAJOR if bump_major else UPDATE,
            bump=Bump(None if major is None else str(major), bump_major),
            message=message,
            labels=labels,
            include=include,
            exclude=exclude,
            allow_empty=allow_empty,
            if_changed=if_changed,
            base=base,
        )
        return await self._run(lambda: self._session.pushes.plan(request))

    async def push(self, plan: PushPlan, *, progress: Progress | None = None) -> PushResult:
        """Carry out a plan. If the asset has been pushed in the meantime, the version may be later than planned.

        Args:
            plan: a plan from `plan_create` or `plan_update`.
            progress: a function that receives events during the push.

        Raises:
            AioAssetsError: as for `create_asset` and `update_asset`.
        """
        return await self._run(lambda: self._session.pushes.push(plan, checked(progress)))

    # Fetch and list

    async def fetch_asset(
        self,
        spec: str | AssetSpec,
        *,
        to: str | os.PathLike[str] | None = None,
        link: bool = False,
        discard_changes: bool = False,
        force_download: bool = False,
        verify: bool = False,
        offline: bool | None = None,
        progress: Progress | None = None,
    ) -> FetchedAsset:
        """Download a version, or a part of it, to the local cache unless it is already there.

        No network access is needed if the spec gives an exact version that is cached completely. Files that another
        cached version of the asset contains are copied from there and verified, instead of being downloaded.

        With `to`, the file or folder is then put at that path, replacing only what aioassets put there before. The
        path changes in one step, except for folders on file systems that can't exchange two paths, such as NFS. If the
        same content is there already, nothing changes. A folder `.NAME.aioassets` beside it identifies it.

        Args:
            spec: `name`, `name:1`, `name:1.2` or `name@alias`, optionally followed by `[sub/part]`.
            to: a path outside the cache at which to put a copy. Missing parent folders are created. The `path` of the
                result is this path.
            link: whether to put a symbolic link to the cached files there, instead of a copy. The cache may evict
                these files as soon as the result isn't used any more.
            discard_changes: whether to replace what aioassets put there even if it was changed since.
            force_download: whether to download all files, and replace cached ones that differ.
            verify: whether to hash cached files instead of relying on their sizes and modification times.
                Damaged files are downloaded again.
            offline: whether to use only cached versions; `None` to use the manager's setting.
            progress: a function that receives events during the download.

        Raises:
            AssetNotFound: if the asset doesn't exist (in the cache, when offline).
            VersionNotFound: if the asset has no such version, or only yanked and deleted ones.
            VersionDeleted: if the version was deleted.
            VersionYanked: if the alias points at a version that is yanked.
            AliasNotFound: if the asset has no such alias.
            PartNotFound: if no file or folder of the version matches the part.
            IntegrityError: if a downloaded file differs from what was pushed. Nothing is added to the cache.
            StoreUnavailable: if the store can't be reached. The message lists the cached versions.
            CacheError: if the assets directory can't be used or is full.
            AccessDenied: if the store or the file system denied access.
            DestinationOccupied: if something else is at the path `to`, or what aioassets put there was changed since.
            DestinationError: if the path `to` can't be used, or its disk is full.
            UsageError: if the path `to` is a mount point, or inside the assets directory or the store.
        """
        offline = self._session.settings.offline if offline is None else offline

        def retrieve(check: bool) -> Awaitable[FetchedAsset]:
            return self._retrieval(
                spec, progress, offline=offline, force_download=force_download and not check, verify=verify or check
            ).run()

        delivery = DeliveryOptions.of(to, link=link, discard_changes=discard_changes)
        return await self._run(lambda: self._session.fetch(retrieve, delivery))

    async def fetch_assets(
        self,
        specs: Iterable[Spec],
        *,
        force_download: bool = False,
        verify: bool = False,
        offline: bool | None = None,
        progress: Progress | None = None,
    ) -> dict[Spec, FetchedAsset]:
        """Fetch many assets concurrently, within one budget. If one fetch fails, the others continue.

        Args:
            specs: specs as for `fetch_asset`. A spec that is given more than once is fetched once.
            force_download: whether to download again, and replace cached files that differ.
            verify: whether to hash cached files instead of relying on their sizes and modification times.
                Damaged files are downloaded again.
            offline: whether to use only cached versions; `None` for the manager's setting.
            progress: a function that receives the events of all downloads.

        Returns:
            The results by spec, in the order of `specs`.

        Raises:
            BulkFetchError: if any spec is invalid or can't be fetched. It contains the results and the errors.
        """
        offline = self._session.settings.offline if offline is None else offline

        async def fetch(spec: AssetSpec) -> FetchedAsset:
            return await self._retrieval(
                spec, progress, offline=offline, force_download=force_download, verify=verify
            ).run()

        return await self._run(lambda: fetch_many(specs, fetch))

    async def watch(
        self,
        spec: str | AssetSpec,
        *,
        to: str | os.PathLike[str] | None = None,
        link: bool = False,
        discard_changes: bool = False,
        interval: float = INTERVAL,
        jitter: float = JITTER,
        wait: bool = False,
        on_error: Callable[[Exception], object] | None = None,
        progress: Progress | None = None,
    ) -> AsyncGenerator[FetchedAsset, None]:
        """Fetch a version, and yield it; do so again whenever the spec refers to another version.

        The first version is yielded at once, and a later one at most an interval after it was published, plus the
        time to fetch it. A version is yielded once it is complete in the cache. While nothing changes, the watch sends
        one request per interval, which transfers no content. For an exact version, it sends none.

        When a version is yielded, the previous one isn't evicted from the cache until the iterator is asked for the
        next one, nor as long as its object exists. To stop the watch, close the iterator, cancel the task or close the
        manager.

        Once a version was yielded, no failure of the store or the disk ends the watch. Before that, only an unreachable
        store doesn't. A version that can't be fetched is tried again after one interval, then two, up to 16.

        Args:
            spec: `name`, `name:1`, `name:1.2` or `name@alias`, optionally followed by `[sub/part]`.
            to: a path outside the cache at which to put a copy of each version, as in `fetch_asset`.
            link: whether to put a symbolic link there instead of a copy.
            discard_changes: whether to replace what aioassets put there even if it was changed since.
            interval: the number of seconds between two looks at the store.
            jitter: the fraction of the interval, from 0 to 1, by which a pause may be shorter, so that many processes
                don't look at the same time.
            wait: whether to wait if the spec doesn't refer to any version yet. By default, that is an error.
            on_error: a function that receives each error that the watch survives. It must not block. If it raises an
                exception, the watch ends with that.
            progress: a function that receives the events of all downloads.

        Raises:
            UsageError: if an argument is invalid.
            InvalidSetting: if there is no bucket, or the manager is offline.
            ManagerStateError: if the manager is closed.
            AioAssetsError: as for `fetch_asset`, before the first version.
        """
        parsed = spec if isinstance(spec, AssetSpec) else AssetSpec.parse(spec)
        options = WatchOptions(interval, jitter, wait, checked_handler(on_error))
        delivery = DeliveryOptions.of(to, link=link, discard_changes=discard_changes)

        def retrieve(check: bool) -> Awaitable[FetchedAsset]:
            return self._retrieval(parsed, progress, offline=False, verify=check).run()

        watch = self._session.watch(parsed, options, retrieve, delivery)
        async with contextlib.aclosing(watch.versions()) as versions:
            async for fetched in versions:
                yield fetched

    async def verify_asset(
        self, spec: str | AssetSpec, *, cached: bool = False, progress: Progress | None = None
    ) -> Verification:
        """Read every file of a version, or of a part of it, and compare it with the manifest.

        Files that differ from what was pushed are listed in the result. They don't cause an exception.

        Args:
            spec: `name`, `name:1`, `name:1.2` or `name@alias`, optionally followed by `[sub/part]`.
            cached: whether to check the cached files instead of those in the store, without using the network.
            progress: a function that receives events during the check.

        Raises:
            AssetNotFound: if the asset doesn't exist (in the cache, with `cached`).
            VersionNotFound: if the asset has no such version, or only yanked and deleted ones.
            VersionDeleted: if the version was deleted.
            VersionYanked: if the alias points at a version that is yanked.
            AliasNotFound: if the asset has no such alias.
            PartNotFound: if no file or folder of the version matches the part.
            StoreUnavailable: if the store can't be reached.
        """
        cached = cached or self._session.settings.offline
        retrieval = self._retrieval(spec, progress, offline=cached)
        return await self._run(partial(retrieval.check, cached=cached))

    # Read

    def open(self, spec: str | AssetSpec, *, verify: bool = True, offline: bool | None = None) -> OpeningFile:
        """Open one file of a version for reading, without downloading it.

        Use the result in `async with`, or await it and close the file yourself:

            async with manager.open("team/model:1.2[weights.safetensors]") as file:
                header = await file.read(8)

        A file that is cached is read from the cache. Otherwise, its bytes come from the store, and nothing is added to
        the cache. If the spec names the version exactly, a manifest that this manager read up to five minutes ago isn't
        read again.

        Args:
            spec: `name`, `name:1`, `name:1.2` or `name@alias`, followed by `[sub/file]` unless the asset is a file.
            verify: whether to verify what is read, as far as the version allows that. `AssetFile.verified` says how.
                Otherwise, no digests are read, and `read_ranges` reads only the bytes that are asked for.
            offline: whether to use only cached versions; `None` to use the manager's setting.

        Raises:
            AssetNotFound: if the asset doesn't exist (in the cache, when offline).
            VersionNotFound: if the asset has no such version, or only yanked and deleted ones.
            VersionDeleted: if the version was deleted.
            VersionYanked: if the alias points at a version that is yanked.
            AliasNotFound: if the asset has no such alias.
            PartNotFound: if the version has no such file.
            UsageError: if the spec names a directory.
            IntegrityError: if the cached file is damaged, and the store isn't used.
            StoreUnavailable: if the store can't be reached.
            AccessDenied: if the store or the file system denied access.
        """
        context, parsed = self._context(offline), spec if isinstance(spec, AssetSpec) else AssetSpec.parse(spec)
        open_file = self._session.reads.open
        return OpeningFile(lambda keep: self._run(lambda: open_file(context, parsed, keep, verify=verify)))

    async def read(self, spec: str | AssetSpec, *, offline: bool | None = None) -> bytes:
        """Return the content of one file of a version. All of it is kept in memory.

        It is verified, unless modelkit pushed the version, which records no digests.

        Use `open` for a file that is too large for that, and `fetch_asset` for one that is read again and again.

        Args:
            spec: `name`, `name:1`, `name:1.2` or `name@alias`, followed by `[sub/file]` unless the asset is a file.
            offline: whether to use only cached versions; `None` to use the manager's setting.

        Raises:
            IntegrityError: if the file isn't what was pushed.
            AioAssetsError: as for `open`.
        """
        async with self.open(spec, offline=offline) as file:
            return await file.read()

    async def list_files(self, spec: str | AssetSpec, *, offline: bool | None = None) -> VersionFiles:
        """List the files of a version, or of a part of it, with their sizes and digests.

        Args:
            spec: `name`, `name:1`, `name:1.2` or `name@alias`, optionally followed by `[sub/part]`.
            offline: whether to use only cached versions; `None` to use the manager's setting.

        Raises:
            AssetNotFound: if the asset doesn't exist (in the cache, when offline).
            VersionNotFound: if the asset has no such version, or only yanked and deleted ones.
            VersionDeleted: if the version was deleted.
            VersionYanked: if the alias points at a version that is yanked.
            AliasNotFound: if the asset has no such alias.
            PartNotFound: if no file or folder of the version matches the part.
            StoreUnavailable: if the store can't be reached.
        """
        context, parsed = self._context(offline), spec if isinstance(spec, AssetSpec) else AssetSpec.parse(spec)
        return await self._run(lambda: self._session.reads.list(context, parsed))

    async def list_versions(self, name: str | AssetSpec) -> list[str]:
        """Return the versions in an asset's index, latest first.

        Args:
            name: the asset's name, or `name:1` for the 1.x versions.

        Raises:
            AssetNotFound: if the asset doesn't exist.
            VersionNotFound: if a version is given, and no listed one matches.
            UsageError: if an alias or a part is given.
        """
        return await self._run(lambda: list_versions(self._session.store, self._session.scheme, name))

    async def list_assets(
        self,
        prefix: str = "",
        *,
        labels: Mapping[str, str] | None = None,
        alias: str | None = None,
        describe: bool = False,
    ) -> AsyncIterator[AssetVersions]:
        """Iterate over the assets whose names start with `prefix` and their versions, sorted by name.

        An asset with an invalid index, list of aliases or manifest is listed with the error. Without further
        arguments, the cost grows with the number of assets and versions, but not with the number of files. With
        any of them, the aliases and one manifest of each asset are read as well.

        Args:
            prefix: the prefix of the names to list.
            labels: list only assets whose described version has these labels.
            alias: list only assets with this alias, and describe the version that it points at.
            describe: whether to describe the latest version of each asset, even without `labels` and `alias`.

        Raises:
            InvalidName: if the prefix contains `..` segments.
            InvalidAlias: if the alias is invalid.
        """
        request = ListingRequest(prefix, labels or {}, alias, describe)
        async for found in self._session.lifecycle.each(list_assets(self._session.store, request)):
            yield found

    # Look

    async def describe_asset(self, spec: str | AssetSpec) -> VersionDescription:
        """Describe a version, or a part of it, without reading its content.

        A version that is yanked is described only if the spec gives its exact version.

        Args:
            spec: `name`, `name:1`, `name:1.2` or `name@alias`, optionally followed by `[sub/part]`. With a part, the
                files, their number and their size are those of the part.

        Raises:
            AssetNotFound: if the asset doesn't exist.
            VersionNotFound: if the asset has no such version, or only yanked and deleted ones.
            VersionDeleted: if the version was deleted.
            VersionYanked: if the alias points at a version that is yanked.
            AliasNotFound: if the asset has no such alias.
            PartNotFound: if no file or folder of the version matches the part.
            StoreUnavailable: if the store can't be reached.
        """
        parsed = spec if isinstance(spec, AssetSpec) else AssetSpec.parse(spec)
        return await self._run(lambda: describe(self._session.store, self._session.scheme, parsed))

    async def url_of(self, spec: str | AssetSpec) -> str:
        """Return the URL of a version, or of a part of it, for tools that read the store themselves.

        That of a directory is a prefix, and ends with a slash. Keys in `s3://`, `gs://` and `az://` URLs are not
        encoded; `file://` URLs are.

        Args:
            spec: `name`, `name:1`, `name:1.2` or `name@alias`, optionally followed by `[sub/part]`.

        Raises:
            AssetNotFound: if the asset doesn't exist.
            VersionNotFound: if the asset has no such version.
            VersionDeleted: if the version was deleted.
            VersionYanked: if the alias points at a version that is yanked.
            PartNotFound: if no file or folder of the version matches the part.
        """
        parsed = spec if isinstance(spec, AssetSpec) else AssetSpec.parse(spec)
        return await self._run(lambda: url_of(self._session.store, self._session.scheme, parsed))

    async def presign(self, spec: str | AssetSpec, *, expires: timedelta | str) -> str:
        """Return an HTTP URL from which anyone who has it can read a file, without credentials, until it expires.

        If the credentials that sign the URL are temporary, it may expire with them.

        Args:
            spec: a version that is a file, or a file of a version, such as `team/model:1.2[config.json]`.
            expires: the lifetime of the URL, from one second to seven days: a `timedelta`, or a string such as `1h`,
                `90s` or `1d12h`.

        Raises:
            UsageError: if the lifetime is invalid, or the spec refers to a directory.
            CannotPresign: if the store has no signed URLs, or the credentials can't sign them.
            MissingCredentials: if there are no credentials.
            NotFound: if the version or the file doesn't exist.
        """
        parsed = spec if isinstance(spec, AssetSpec) else AssetSpec.parse(spec)
        lifetime = parse_lifetime(expires)
        return await self._run(lambda: presign(self._session.store, self._session.scheme, parsed, lifetime))

    async def log_versions(
        self, name: str | AssetSpec, limit: int | None = 20, *, deleted: bool = False
    ) -> list[VersionDescription]:
        """Describe the latest versions of an asset, latest first, without their files.

        Yanked versions are included. A version whose manifest is invalid or missing is described with the error, and
        doesn't prevent the description of the others. The call reads the index, the aliases, and one document for each
        version.

        Args:
            name: the asset's name, `name:1` for the 1.x versions, or `name:1.2` for one version.
            limit: the maximum number of versions; `None` for all.
            deleted: whether to include deleted versions, described by who deleted them, when and why.

        Raises:
            AssetNotFound: if the asset doesn't exist.
            VersionNotFound: if a version is given, and none matches.
            VersionDeleted: if an exact version is given that was deleted, unless `deleted` is true.
            UsageError: if the limit isn't a positive integer, or an alias or a part is given.
            StoreUnavailable: if the store can't be reached.
        """
        return await self._run(
            lambda: log_versions(self._session.store, self._session.scheme, name, limit, deleted=deleted)
        )

    async def diff_versions(
        self, a: str | os.PathLike[str] | AssetSpec, b: str | os.PathLike[str] | AssetSpec
    ) -> VersionDiff:
        """Compare two versions, or a version and a local path, without reading the content of versions.

        A local path is scanned as for a push. Its files are hashed if their sizes don't tell them apart. Files of
        versions that modelkit pushed have no digests: they are compared by the sizes, and digests, that the store
        reports.

        Args:
            a: a spec (`name`, `name:1`, `name:1.2` or `name@alias`, optionally followed by `[sub/part]`), or a local
                path. A string is a path if it is `.` or `..`, begins with `/`, `./` or `../`, ends with `/`, or names
                an existing file or folder but no asset. A `Path` is always a path.
            b: a spec or a local path. At least one of both must be a spec.

        Raises:
            UsageError: if both are local paths, or one is neither a valid spec nor an existing path.
            AssetNotFound: if an asset doesn't exist.
            VersionNotFound: if an asset has no such version.
            VersionYanked: if an alias points at a version that is yanked.
            AliasNotFound: if an asset has no such alias.
            PartNotFound: if no file or folder of a version matches the part.
            SourceNotFound: if the local path doesn't exist.
            SourceError: if the local path can't be read, or changes during the comparison.
            StoreUnavailable: if the store can't be reached.
        """
        session = self._session
        return await self._run(lambda: compare(session.store, session.scheme, a, b, session.known_hashes))

    # Aliases

    async def set_alias(
        self,
        name: str,
        alias: str,
        version: str,
        *,
        expect: str | EllipsisType | None = ...,
        reason: str | None = None,
    ) -> AliasMove:
        """Point an alias, such as `prod`, at a version.

        Of any number of concurrent calls with the same expectation, at most one moves the alias.

        Args:
            name: the asset's name.
            alias: the alias. It consists of letters, digits, `.`, `_` and `-`, and begins with a letter.
            version: the complete version number, such as `1.2`.
            expect: the version that the alias must point at for the move to take place, or `None` if the alias must
                not exist. By default, it may point anywhere.
            reason: free text for the history.

        Returns:
            The move, or the last move of the alias if it points at the version already.

        Raises:
            AliasMoved: if the alias doesn't point at the expected version.
            AssetNotFound: if the asset doesn't exist.
            VersionNotFound: if the version doesn't exist or isn't complete.
            VersionDeleted: if the version was deleted.
            VersionYanked: if the version is yanked.
            InvalidAlias: if the alias is invalid.
            InvalidVersion: if the version is partial, or doesn't fit the versioning scheme.
            StoreUnavailable: if the store failed. If `uncertain` is set, the alias may have been moved.
            StoreUnsuitable: if the store doesn't honour conditional writes.
        """
        return await self._with_aliases(
            lambda aliases: aliases.move(name, alias, version, expected=expect, reason=reason)
        )

    async def remove_alias(
        self, name: str, alias: str, *, expect: str | EllipsisType = ..., reason: str | None = None
    ) -> AliasMove:
        """Remove an alias. Its moves stay in the history.

        Args:
            name: the asset's name.
            alias: the alias.
            expect: the version that the alias must point at to be removed. By default, it may point anywhere.
            reason: free text for the history.

        Returns:
            The removal, whose `previous` is the version that the alias pointed at.

        Raises:
            AliasNotFound: if the alias doesn't exist.
            AliasMoved: if it doesn't point at the expected version.
            AssetNotFound: if the asset doesn't exist.
            StoreUnavailable: if the store failed. If `uncertain` is set, the alias may have been removed.
            StoreUnsuitable: if the store doesn't honour conditional writes.
        """
        return await self._with_aliases(lambda aliases: aliases.remove(name, alias, expected=expect, reason=reason))

    async def rollback_alias(self, name: str, alias: str, *, reason: str | None = None) -> AliasMove:
        """Point an alias at the version that it pointed at before its last move. Restore an alias that was removed.

        A second rollback undoes the first one.

        Args:
            name: the asset's name.
            alias: the alias.
            reason: free text for the history.

        Raises:
            AliasNotFound: if the alias has never existed, or has pointed at one version only.
            VersionNotFound: if the previous version doesn't exist.
            VersionDeleted: if the previous version was deleted.
            VersionYanked: if the previous version is yanked.
            AliasMoved: if another process moved the alias at the same time.
            AssetNotFound: if the asset doesn't exist.
            StoreUnavailable: if the store failed. If `uncertain` is set, the alias may have been moved.
            StoreUnsuitable: if the store doesn't honour conditional writes.
        """
        return await self._with_aliases(lambda aliases: aliases.roll_back(name, alias, reason=reason))

    async def list_aliases(self, name: str) -> dict[str, AliasMove]:
        """Return the latest move of each alias of an asset, sorted by alias. Its `version` is the target.

        Raises:
            AssetNotFound: if the asset doesn't exist.
        """
        return await self._with_aliases(lambda aliases: aliases.targets(name))

    async def alias_history(self, name: str, alias: str | None = None) -> list[AliasMove]:
        """Return the moves of an alias, latest first. The history of an asset keeps the last 100 moves.

        Args:
            name: the asset's name.
            alias: the alias; `None` for the moves of all aliases.

        Raises:
            AssetNotFound: if the asset doesn't exist.
            AliasNotFound: if the alias doesn't exist, and its history has no moves.
        """
        return await self._with_aliases(lambda aliases: aliases.history(name, alias))

    async def _with_aliases(self, work: Callable[[Aliases], Awaitable[T]]) -> T:
        async def run() -> T:
            return await work(await self._session.aliases())

        return await self._run(run)

    # Clean

    async def plan_clean(
        self, name: str | None = None, *, older_than: timedelta | None = None, legacy: bool = False
    ) -> CleaningPlan:
        """Find leftovers of interrupted pushes in the store, and of interrupted fetches in the assets directory.

        Nothing is written, except a temporary scratch object if `legacy` requires the store's time.

        Args:
            name: the asset to search; `None` for all assets. If one is named, interrupted yanks of listed
                versions are found, too.
            older_than: the minimum time since the last activity. By default, leftovers are removed if they
                have been inactive for 15 minutes, or if their push or fetch is known to have ended. A short time
                can break pushes that are in progress.
            legacy: whether to also remove content that has no `.meta` and is at least one day old. Make sure
                that no other program, such as modelkit, is still pushing it.

        Raises:
            AssetNotFound: if nothing in the store or the assets directory belongs to the asset.
            StoreError: if the store failed.
            AccessDenied: if the store denied access.
        """
        if name is not None:
            parse_name(name)

        async def plan() -> CleaningPlan:
            return await (await self._session.cleaning(CleaningRules(older_than, legacy))).plan(name)

        return await self._run(plan)

    async def clean(self, plan: CleaningPlan) -> CleaningResult:
        """Remove the leftovers in a plan, after checking that each may still be removed.

        No file of a complete version is ever removed, even if the version isn't listed. If a push is still
        running when its leftovers are removed, the push fails or starts again with another version number.

        If some leftovers can't be removed, the others are still removed. The result lists both.

        Args:
            plan: a plan from `plan_clean`.

        Raises:
            StoreUnsuitable: if the store doesn't honour conditional writes.
            StoreUnavailable: if the store can't be reached.
        """

        async def clean() -> CleaningResult:
            return await (await self._session.cleaning(plan.rules, changing=True)).run(plan)

        return await self._run(clean)

    async def publish_version(self, name: str, version: str) -> None:
        """Add a complete version to the index, for example because its push died just before doing so.

        If the version is already listed, nothing changes.

        Args:
            name: the asset's name.
            version: the complete version number, such as `1.2`.

        Raises:
            VersionNotFound: if the version doesn't exist or isn't complete.
            InvalidVersion: if the version is partial, if it doesn't belong to the manager's versioning scheme, or if
                the asset uses a different scheme.
        """
        await self._run(lambda: self._session.pushes.publish_version(name, version))

    # Withdraw

    async def yank_version(self, name: str, version: str, reason: str) -> Mark:
        """Withdraw a version: it is no longer listed, nor fetched as the latest version.

        It can still be fetched if it is named exactly, with a warning. `unyank_version` restores it. If the
        version is already yanked, that is a success, and an interrupted yank is finished.

        Args:
            name: the asset's name.
            version: the complete version number, such as `1.2`.
            reason: free text that tells users why. It must not be empty.

        Returns:
            Who yanked the version, when and why. This may have been an earlier call.

        Raises:
            VersionInUse: if an alias points at the version.
            VersionNotFound: if the version doesn't exist or isn't complete.
            VersionDeleted: if the version was deleted.
            AssetNotFound: if the asset doesn't exist.
            VersionContended: if other processes keep changing the version.
            StoreUnsuitable: if the store doesn't honour conditional writes.
            UsageError: if the reason is empty or isn't a string.
        """

        async def yank() -> Mark:
            return await (await self._session.withdrawal()).yank(name, version, reason)

        return await self._run(yank)

    async def unyank_version(self, name: str, version: str) -> None:
        """Restore a yanked version: it is listed again. If the version isn't yanked, that is a success.

        Args:
            name: the asset's name.
            version: the complete version number, such as `1.2`.

        Raises:
            VersionNotFound: if the version doesn't exist or isn't complete.
            VersionDeleted: if the version was deleted.
            AssetNotFound: if the asset doesn't exist.
            VersionContended: if other processes keep changing the version.
            StoreUnsuitable: if the store doesn't honour conditional writes.
        """

        async def unyank() -> None:
            await (await self._session.withdrawal()).unyank(name, version)

        await self._run(unyank)

    async def plan_delete(self, name: str, version: str) -> DeletionPlan:
        """Return what `delete_version` would delete. Nothing is written.

        Args:
            name: the asset's name.
            version: the complete version number, such as `1.2`.

        Raises:
            VersionNotFound: if the version doesn't exist or isn't complete.
            AssetNotFound: if the asset doesn't exist.
        """

        async def plan() -> DeletionPlan:
            return await (await self._session.withdrawal()).plan_deletion(name, version)

        return await self._run(plan)

    async def delete_version(self, name: str, version: str, reason: str | None = None) -> DeletionResult:
        """Delete a version and all its files, for good. Its number is never used again.

        If the version is already deleted, that is a success. If a deletion is interrupted, repeat it, or
        remove what is left with `clean`.

        Args:
            name: the asset's name.
            version: the complete version number, such as `1.2`.
            reason: free text that tells users why.

        Raises:
            VersionInUse: if an alias points at the version.
            VersionNotFound: if the version doesn't exist or isn't complete.
            AssetNotFound: if the asset doesn't exist.
            VersionContended: if other processes keep changing the version.
            StoreUnsuitable: if the store doesn't honour conditional writes.
            UsageError: if the reason isn't a string.
        """

        async def delete() -> DeletionResult:
            return await (await self._session.withdrawal()).delete(name, version, reason)

        return await self._run(delete)

    async def plan_prune(
        self, name: str | None = None, *, keep_last: int | None = None, keep_within: timedelta | None = None
    ) -> PrunePlan:
        """Plan which versions to delete and which to keep. Nothing is written.

        A version is kept if any rule applies. The latest version of an asset and versions that an alias points
        at are always kept. Give at least one rule.

        Args:
            name: the asset to prune; `None` for all assets.
            keep_last: the number of versions to keep per major, latest first.
            keep_within: the age up to which versions are kept, by the dates of their pushes or copies and the store's
                clock.

        Raises:
            UsageError: if there is no rule, or a rule is invalid.
            AssetNotFound: if the asset doesn't exist.
        """
        rules = RetentionRules(keep_last, keep_within)

        async def plan() -> PrunePlan:
            return await (await self._session.retention(rules)).plan(name)

        return await self._run(plan)

    async def prune(self, plan: PrunePlan) -> PruneResult:
        """Delete the versions in a plan that no rule keeps, each as `delete_version` does.

        The rules are applied again before each deletion, so versions that have got an alias are kept. If some
        versions can't be deleted, the others still are, and the result lists both.

        Args:
            plan: a plan from `plan_prune`.

        Raises:
            StoreUnsuitable: if the store doesn't honour conditional writes.
            StoreUnavailable: if the store can't be reached.
        """

        async def prune() -> PruneResult:
            await self._session.require_suitable()
            return await (await self._session.retention(plan.rules)).run(plan)

        return await self._run(prune)

    # Copy

    async def lock_assets(self, specs: Iterable[str | AssetSpec]) -> str:
        """Pin specs to the versions that they refer to now, and return the content of a lock file.

        The lock has the version and the content digest of each spec, sorted by spec, so that equal locks are equal
        texts. It can be used with every store that has the same versions, such as the target of `copy_version`.

        Args:
            specs: specs as for `fetch_asset`.

        Raises:
            BulkError: if any spec is invalid, doesn't refer to a version in the store, or has an alias that points at
                a yanked version. It contains the errors.
        """
        return (await self._run(lambda: lock_specs(self._session.store, self._session.scheme, specs))).to_toml()

    async def sync_assets(
        self,
        lock: str | os.PathLike[str],
        *,
        force_download: bool = False,
        verify: bool = False,
        offline: bool | None = None,
        progress: Progress | None = None,
    ) -> dict[str, FetchedAsset]:
        """Fetch exactly the versions that a lock pins, concurrently. If one fetch fails, the others continue.

        Args:
            lock: the content of a lock file, or its path. A string without a line break is a path.
            force_download: whether to download again, and replace cached files that differ.
            verify: whether to hash cached files instead of relying on their sizes and modification times.
                Damaged files are downloaded again.
            offline: whether to use only cached versions; `None` for the manager's setting.
            progress: a function that receives the events of all downloads.

        Returns:
            The results by spec, in the order of the lock.

        Raises:
            UsageError: if the lock isn't valid.
            NotFound: if the lock file doesn't exist.
            BulkFetchError: if any version can't be fetched. It contains the results and the errors. The error of a
                version whose digest differs from the lock, in the store or in the cache, is an `IntegrityError`.
        """
        offline = self._session.settings.offline if offline is None else offline

        async def fetch(asset: LockedAsset) -> FetchedAsset:
            spec = asset.exact(self._session.scheme)
            return await self._retrieval(
                spec, progress, offline=offline, force_download=force_download, verify=verify, accept=asset.check
            ).run()

        async def sync() -> dict[str, FetchedAsset]:
            return await fetch_locked(await read_lock(lock), fetch)

        return await self._run(sync)

    async def copy_version(
        self,
        spec: str | AssetSpec,
        to: AssetsManager,
        *,
        name: str | None = None,
        renumber: bool = False,
        alias: str | None = None,
        dry_run: bool = False,
        progress: Progress | None = None,
    ) -> CopyResult:
        """Copy a version to another store, prefix or name, under the same number.

        The store copies the files itself where it can, also from the latest version that the target has. Otherwise,
        they are streamed, and compared with the digests in the manifest. The copy keeps the digests, message, labels,
        push date and pusher, and records its origin.
        If the target has the version with the same content already, nothing is copied, and the result says so.
        Repeating an interrupted copy continues it.

        Args:
            spec: `name`, `name:1`, `name:1.2` or `name@alias`. A yanked version must be named exactly; its copy isn't
                yanked.
            to: the manager of the target. It may be this manager, if `name` is another one.
            name: the asset's name in the target; `None` for the same name. The asset is created if it doesn't exist.
            renumber: whether to take the next free number of the same major version if the number is taken by other
                content.
            alias: an alias to point at the copy.
            dry_run: whether to return the expected result without writing anything.
            progress: a function that receives events during the copy.

        Raises:
            AssetNotFound: if the asset doesn't exist.
            VersionNotFound: if the asset has no such version.
            VersionDeleted: if the version was deleted, in the source or the target.
            VersionYanked: if the alias points at a version that is yanked.
            VersionDiffers: if the target has the version with different content.
            VersionClaimed: if another push to the target holds the number, or was interrupted and left it unusable.
            UsageError: if the version would be copied onto itself, or `spec` names a part.
            IntegrityError: if a file of the source differs from its manifest. Nothing is published.
            PublicationUncertain: if the files were copied, but the version may not have been published.
            StoreError: if a store failed.
            AccessDenied: if a store denied access.
        """
        parsed = spec if isinstance(spec, AssetSpec) else AssetSpec.parse(spec)
        if not isinstance(to, AssetsManager):
            raise UsageError(f"Cannot copy to a value of type {type(to).__name__}: pass the target's AssetsManager.")
        options, report = CopyOptions(name, renumber, alias, dry_run), checked(progress)

        async def copy() -> CopyResult:
            source = await self._session.copied_from(parsed)
            return await to._run(partial(to._session.copy, source, options, report))

        return await self._run(copy)

    def _retrieval(
        self,
        spec: str | AssetSpec,
        progress: Progress | None,
        *,
        offline: bool,
        force_download: bool = False,
        verify: bool = False,
        accept: Callable[[Manifest], None] | None = None,
    ) -> Retrieval:
        context = self._context(offline)
        parsed = spec if isinstance(spec, AssetSpec) else AssetSpec.parse(spec)
        return Retrieval(
            context, parsed, checked(progress), force_download=force_download, verify=verify, accept=accept
        )

    def _context(self, offline: bool | None) -> FetchContext:
        session, store = self._session, self._session.store_if_any
        return FetchContext(
            None if (session.settings.offline if offline is None else offline) else store,
            store,
            session.cache_folder,
            session.scheme,
            session.locks,
            session.settings.cache_limit_bytes,
        )
