"""The manager: the calls that applications make."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import Any, Self

from aioassets.drivers.protocol import Driver
from aioassets.errors import InvalidSetting
from aioassets.fetch.context import FetchContext
from aioassets.fetch.fetched import FetchedAsset
from aioassets.fetch.retrieval import Retrieval
from aioassets.fetch.verify import Verification
from aioassets.model.leftovers import CleaningPlan, CleaningResult, CleaningRules
from aioassets.model.names import AssetSpec, parse_name
from aioassets.model.operations import BUMP_MAJOR, CREATE, UPDATE
from aioassets.model.versioning import Bump, VersioningScheme
from aioassets.progress import Progress
from aioassets.push.plan import PushPlan, PushRequest, PushResult
from aioassets.runtime.callbacks import checked
from aioassets.runtime.retry import RetryPolicy
from aioassets.session import Session
from aioassets.settings import Settings
from aioassets.store.listing import AssetVersions, list_assets, list_versions

__all__ = ["AssetVersions", "AssetsManager"]


class AssetsManager:
    """Versions assets on one store, and fetches them to one local directory.

    Use a manager as an async context manager, or close it with `aclose`. It connects at its first
    request. A manager belongs to the event loop of its first call, and serves any number of
    concurrent calls there.

    Arguments override `settings`. Without `settings`, what isn't given comes from the environment
    variable in parentheses.

    Args:
        bucket: a URL (`s3://name`, `file:///path`), a path such as `./store`, or a bare name together with
            `storage_provider` (`AIOASSETS_BUCKET`). Without one, only cached assets can be fetched.
        settings: all settings in one value. No environment variable is read then.
        assetsmanager_prefix: the beginning of all keys (`AIOASSETS_PREFIX`; default `assets`).
        storage_provider: `local`, `s3`, `gcs` or `azure` (`AIOASSETS_STORAGE_PROVIDER`).
        assets_dir: the folder for fetched assets (`AIOASSETS_DIR`; default: the platform's cache folder).
        versioning: `major_minor`, `simple_date`, or another versioning scheme (`AIOASSETS_VERSIONING`).
        driver: a driver to use in place of a bucket. It isn't closed with the manager. Its own
            dispatcher limits and retries its requests.
        storage_options: options of the driver, such as `endpoint_url` or `region` for S3
            (`AIOASSETS_S3_ENDPOINT_URL` and so on).
        max_requests: the most requests in flight (`AIOASSETS_MAX_REQUESTS`; default 256).
        min_requests: the requests in flight that a throttling store can't reduce further
            (`AIOASSETS_MIN_REQUESTS`; default 4).
        max_bytes: the most bytes in flight (`AIOASSETS_MAX_BYTES`; default 32 MiB).
        connect_timeout: seconds to wait for a connection (`AIOASSETS_CONNECT_TIMEOUT`; default 10).
        read_timeout: seconds to wait for the next bytes of a response (`AIOASSETS_READ_TIMEOUT`; default 60).
        cleanup_timeout: seconds for a cancelled push to clean up (`AIOASSETS_CLEANUP_TIMEOUT`; default 5).
        retry_for: seconds for which a request to a failing store is retried (`AIOASSETS_RETRY_FOR`;
            default 60); 0 for no retries.
        offline: resolve among cached versions, without the network (`AIOASSETS_OFFLINE`).
        single_writer: declare that only one writer pushes at a time, for stores without conditional
            writes (`AIOASSETS_SINGLE_WRITER`).
        record_user: name the user in manifests and claims (`AIOASSETS_RECORD_USER`; default true).
        record_host: name the machine in manifests and claims (`AIOASSETS_RECORD_HOST`; default true).
        retry: the whole retry policy, in place of `retry_for`.

    Raises:
        InvalidSetting: an argument or an environment variable can't be used.
    """

    def __init__(
        self,
        bucket: str | os.PathLike[str] | None = None,
        *,
        settings: Settings | None = None,
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
        retry_for: float | None = None,
        offline: bool | None = None,
        single_writer: bool | None = None,
        record_user: bool | None = None,
        record_host: bool | None = None,
        retry: RetryPolicy | None = None,
    ) -> None:
        if driver is not None and bucket is not None:
            raise InvalidSetting("Give either a bucket or a driver, not both.")
        resolve = Settings.resolve if settings is None else settings.override
        resolved = resolve(
            bucket=bucket,
            prefix=assetsmanager_prefix,
            storage_provider=storage_provider,
            assets_dir=assets_dir,
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
            storage_options=storage_options,
        )
        self._session = Session(resolved, driver, retry)
        self._run = self._session.lifecycle.run

    async def __aenter__(self) -> Self:
        self._session.lifecycle.check()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Refuse further calls, wait for those under way, and close the manager's connections.

        Cancel calls that should not be waited for. Safe to call twice.
        """
        await self._session.aclose()

    @property
    def url(self) -> str | None:
        """The URL of the store's assets; `None` without a bucket."""
        store = self._session.store_if_any
        return None if store is None else store.url

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
        allow_empty: bool = False,
        dry_run: bool = False,
        progress: Progress | None = None,
    ) -> PushResult:
        """Push the first version of a new asset.

        Args:
            asset_path: a file or a directory, or the URL (`s3://…`) of an object or of a prefix.
            name: the new asset's name.
            message: free text for the manifest.
            labels: key-value pairs for the manifest.
            include: gitignore-style patterns of files to push; all files if empty.
            exclude: gitignore-style patterns of files to leave out.
            allow_empty: publish a version even if it has no files.
            dry_run: write nothing, and return the forecast of `plan_create`.
            progress: receives events during the push.

        Raises:
            AssetExists: the asset exists, or another process is creating it.
            InvalidName: the name can't be used.
            SourceNotFound: `asset_path` doesn't exist.
            SourceError: there are no files, they can't be pushed as they are, or changed during the push.
            PublicationUncertain: the version is complete, but perhaps not listed.
            StoreError: the store failed.
            AccessDenied: the store refuses these credentials.
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
        )
        return await self._run(lambda: self._session.pushes.run(request, checked(progress), dry_run=dry_run))

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
        allow_empty: bool = False,
        dry_run: bool = False,
        progress: Progress | None = None,
    ) -> PushResult:
        """Push another version of an asset: `V.v` becomes `V.(v+1)`.

        Args:
            asset_path: a file or a directory, or the URL (`s3://…`) of an object or of a prefix.
            name: the asset's name.
            bump_major: begin the next major version instead: `(V+1).0`.
            major: bump the latest version of this major version; `None` for the latest of all.
            message: free text for the manifest.
            labels: key-value pairs for the manifest.
            include: gitignore-style patterns of files to push; all files if empty.
            exclude: gitignore-style patterns of files to leave out.
            allow_empty: publish a version even if it has no files.
            dry_run: write nothing, and return the forecast of `plan_update`.
            progress: receives events during the push.

        Raises:
            AssetNotFound: the asset doesn't exist.
            VersionNotFound: the asset has no such major version.
            UsageError: both `bump_major` and `major` are given.
            SourceNotFound: `asset_path` doesn't exist.
            SourceError: there are no files, they can't be pushed as they are, or changed during the push.
            PublicationUncertain: the version is complete, but perhaps not listed.
            StoreError: the store failed.
            AccessDenied: the store refuses these credentials.
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
        )
        return await self._run(lambda: self._session.pushes.run(request, checked(progress), dry_run=dry_run))

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
        allow_empty: bool = False,
        progress: Progress | None = None,
    ) -> dict[str, PushResult]:
        """Push many assets in parallel, within one budget. A failure doesn't stop the others.

        Args:
            assets: the sources, by asset name.
            create_missing: create assets that don't exist, instead of failing.
            bump_major: begin the next major version of assets that exist.
            message: as for `update_asset`, for each.
            labels: as for `update_asset`, for each.
            include: as for `update_asset`, for each.
            exclude: as for `update_asset`, for each.
            allow_empty: as for `update_asset`, for each.
            progress: receives the events of all.

        Returns:
            The results by asset name, in the order of `assets`.

        Raises:
            BulkUpdateError: some pushes failed. The error has the results and the failures.
        """
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
            )
            for name, source in assets.items()
        ]
        return await self._run(lambda: self._session.pushes.run_all(requests, checked(progress)))

    async def plan_create(
        self,
        asset_path: str | os.PathLike[str],
        name: str,
        *,
        message: str | None = None,
        labels: Mapping[str, str] | None = None,
        include: Sequence[str] = (),
        exclude: Sequence[str] = (),
        allow_empty: bool = False,
    ) -> PushPlan:
        """Plan a `create_asset`, and write nothing. `push` carries the plan out.

        Arguments and errors are those of `create_asset`.
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
        )
        return await self._run(lambda: self._session.pushes.plan(request))

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
        allow_empty: bool = False,
    ) -> PushPlan:
        """Plan an `update_asset`, and write nothing. `push` carries the plan out.

        Arguments and errors are those of `update_asset`.
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
        )
        return await self._run(lambda: self._session.pushes.plan(request))

    async def push(self, plan: PushPlan, *, progress: Progress | None = None) -> PushResult:
        """Carry out a plan. The version may be a later one than planned, if others pushed since.

        Raises:
            AioAssetsError: as for `create_asset` and `update_asset`.
        """
        return await self._run(lambda: self._session.pushes.push(plan, checked(progress)))

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

        A complete cached version that the spec names exactly needs no network.

        Args:
            spec: `name`, `name:1` or `name:1.2`, each with an optional `[sub/part]`.
            force_download: download again, and replace files that differ.
            verify: hash cached files instead of trusting their sizes and times. Damaged ones are downloaded again.
            offline: resolve among cached versions; `None` for the manager's setting.
            progress: receives events during the download.

        Raises:
            AssetNotFound: the asset doesn't exist (offline: in the cache).
            VersionNotFound: the asset has no such version.
            PartNotFound: no file or folder of the version matches the sub-part.
            IntegrityError: a file differs from the one that was pushed; nothing was placed.
            StoreUnavailable: the store can't be reached. The message names cached versions.
            CacheError: the assets directory can't be used, or is full.
            AccessDenied: the store or the assets directory refuses access.
        """
        offline = self._session.settings.offline if offline is None else offline
        retrieval = self._retrieval(spec, progress, offline=offline, force_download=force_download, verify=verify)
        return await self._run(retrieval.run)

    async def verify_asset(
        self, spec: str | AssetSpec, *, cached: bool = False, progress: Progress | None = None
    ) -> Verification:
        """Check a version, or a part of one, against its manifest: read every file, and keep none.

        The result lists all files that differ from what was pushed. They raise no error.

        Args:
            spec: `name`, `name:1` or `name:1.2`, each with an optional `[sub/part]`.
            cached: check the assets directory, without the network.
            progress: receives events during the check.

        Raises:
            AssetNotFound: the asset doesn't exist (`cached`: in the assets directory).
            VersionNotFound: the asset has no such version.
            PartNotFound: no file or folder of the version matches the sub-part.
            StoreUnavailable: the store can't be reached.
        """
        cached = cached or self._session.settings.offline
        retrieval = self._retrieval(spec, progress, offline=cached)
        return await self._run(partial(retrieval.check, cached=cached))

    async def list_versions(self, name: str) -> list[str]:
        """Return the versions of an asset, latest first, as its index lists them.

        Raises:
            AssetNotFound: the asset doesn't exist.
        """
        return await self._run(lambda: list_versions(self._session.store, name))

    async def list_assets(self, prefix: str = "") -> AsyncIterator[AssetVersions]:
        """Iterate over the assets whose names begin with `prefix`, sorted by name, with their versions.

        An asset with an unreadable index is listed with the error. The cost grows with the number of
        assets and versions, not of files.
        """
        async for found in self._session.lifecycle.each(list_assets(self._session.store, prefix)):
            yield found

    # Clean

    async def plan_clean(
        self, name: str | None = None, *, older_than: timedelta | None = None, legacy: bool = False
    ) -> CleaningPlan:
        """Find leftovers of dead pushes in the store, and of dead fetches in the assets directory.

        Writes nothing, except for a scratch object if `legacy` has to learn the store's time.

        Args:
            name: look at this asset alone.
            older_than: the age since the last sign of life. `None` takes what is known to be dead: a
                push whose process is gone from this machine, or that gave no sign for 15 minutes. A
                short time stops pushes that are under way.
            legacy: also remove content without a manifest, if it is a day old. No other program, such
                as modelkit, may be pushing it.

        Raises:
            AssetNotFound: nothing of the asset exists.
            StoreError: the store failed.
            AccessDenied: the store refuses these credentials.
        """
        if name is not None:
            parse_name(name)

        async def plan() -> CleaningPlan:
            return await (await self._session.cleaning(CleaningRules(older_than, legacy))).plan(name)

        return await self._run(plan)

    async def clean(self, plan: CleaningPlan) -> CleaningResult:
        """Remove the planned leftovers, each only if it still may be removed.

        If some can't be removed, the others are, and the result names both. Never removes anything of a
        published version, listed or not. A push that is stopped by this fails, or starts again under
        another number.

        Raises:
            StoreUnsuitable: the store doesn't honour conditional writes.
            StoreUnavailable: the store is out of reach.
        """

        async def clean() -> CleaningResult:
            return await (await self._session.cleaning(plan.rules, changing=True)).run(plan)

        return await self._run(clean)

    async def publish_version(self, name: str, version: str) -> None:
        """List a complete version whose push died before it listed it.

        A version that is listed already is no error.

        Raises:
            VersionNotFound: no version of this number is complete.
            InvalidVersion: the asset, or the manager, has another versioning scheme.
        """
        await self._run(lambda: self._session.pushes.publish_version(name, version))

    def _retrieval(
        self,
        spec: str | AssetSpec,
        progress: Progress | None,
        *,
        offline: bool,
        force_download: bool = False,
        verify: bool = False,
    ) -> Retrieval:
        session = self._session
        store = session.store_if_any
        context = FetchContext(
            None if offline else store,
            store,
            session.cache_folder,
            session.scheme,
            session.locks,
        )
        parsed = spec if isinstance(spec, AssetSpec) else AssetSpec.parse(spec)
        return Retrieval(context, parsed, checked(progress), force_download=force_download, verify=verify)
