"""Fetching one version: resolve, look up, download, verify, place, record."""

from __future__ import annotations

import contextlib
import os
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

import anyio

from aioassets.drivers.protocol import ObjectInfo
from aioassets.errors import (
    AssetNotFound,
    CacheError,
    IntegrityError,
    InvalidSetting,
    ObjectNotFound,
    PartNotFound,
    StoreUnavailable,
    VersionNotFound,
)
from aioassets.fetch.cache import CacheEntry, Record, cached_versions, partly_cached_versions
from aioassets.fetch.download import download
from aioassets.fetch.reader import FileReader
from aioassets.fetch.remote import RemoteFile
from aioassets.fetch.verify import Verification, check_cached, check_stored
from aioassets.model.files import FileEntry, FileTable
from aioassets.model.manifest import Manifest
from aioassets.model.names import AssetSpec
from aioassets.model.paths import inner_folders
from aioassets.model.versioning import VersioningScheme
from aioassets.progress import Event, Progress, TransferFinished, TransferStarted
from aioassets.runtime.disk import DENIED, denied, free_bytes, reason
from aioassets.runtime.locks import KeyedLock
from aioassets.runtime.threads import in_thread
from aioassets.store.documents import AssetStore
from aioassets.store.index import check_index

__all__ = ["FetchedAsset"]

T = TypeVar("T")

POLL: Final = 0.05
"""Seconds between tries for a lock that another process holds, on average."""


@dataclass(frozen=True, slots=True)
class FetchedAsset(os.PathLike[str]):
    """A version, or part of one, on the local disk.

    Attributes:
        path: the file or directory.
        name: the asset.
        version: the version that the spec resolved to.
        part: the sub-part that was asked for.
        from_cache: whether it was there already, so that nothing was downloaded.
        verified: whether every file has a digest that it was verified by; `False` for what
            modelkit pushed.
        verified_by: the algorithms of these digests, strongest first: `sha256` for what passed
            through aioassets, what the store vouches for where it copied by itself.
        manifest: what the version consists of.
    """

    path: Path
    name: str
    version: str
    part: str | None
    from_cache: bool
    verified: bool
    verified_by: tuple[str, ...]
    manifest: Manifest = field(repr=False)

    def __fspath__(self) -> str:
        return str(self.path)


@dataclass(frozen=True, slots=True)
class Selection:
    """The files and empty folders of a version that are asked for."""

    files: FileTable
    folders: tuple[str, ...]

    @classmethod
    def of(cls, manifest: Manifest, spec: AssetSpec, version: str) -> Selection:
        """Match whole path segments; all of the version where no sub-part is asked for. Blocking.

        Raises:
            PartNotFound: nothing matches.
        """
        if spec.part is None:
            return cls(manifest.table, manifest.empty_directories)
        inside = f"{spec.part}/"
        paths = enumerate(manifest.table.paths)
        numbers = (number for number, path in paths if path == spec.part or path.startswith(inside))
        files = FileTable(map(manifest.table.__getitem__, numbers))
        folders = tuple(path for path in manifest.empty_directories if path == spec.part or path.startswith(inside))
        if not (files or folders):
            raise PartNotFound(spec.name, version, spec.part)
        return cls(files, folders)

    def all_folders(self) -> list[str]:
        """Every folder that must exist, outer ones first."""
        return sorted({*self.folders, *inner_folders(self.files.paths, self.folders)})


class Locks:
    """One holder at a time for each version: within this process, and among processes."""

    def __init__(self) -> None:
        self._locks = KeyedLock()

    @contextlib.asynccontextmanager
    async def holding(self, slot: CacheEntry, *, sleep: Callable[[float], Awaitable[None]]) -> AsyncIterator[None]:
        """Hold a version's lock; a holder that is killed loses it at once."""
        async with self._locks.holding(slot):
            while (descriptor := await in_thread(slot.try_lock)) is None:
                await sleep(POLL * (0.5 + random.random()))  # noqa: S311 - spreads waiters
            try:
                yield
            finally:
                with anyio.CancelScope(shield=True):
                    await in_thread(slot.unlock, descriptor)


@dataclass(frozen=True, slots=True)
class FetchContext:
    """What all fetches of a manager share.

    Attributes:
        store: where from; `None` where only the cache is used.
        assets_dir: where to.
        scheme: how versions are numbered.
        locks: keeps concurrent fetches of one version apart.
        sleep: how to pause while another process holds a lock.
    """

    store: AssetStore | None
    assets_dir: Path
    scheme: VersioningScheme
    locks: Locks
    sleep: Callable[[float], Awaitable[None]] = anyio.sleep


class Retrieval:
    """One fetch.

    Args:
        context: what it shares with other fetches.
        spec: what to fetch.
        report: receives events.
        force_download: fetch anew, and replace what differs.
        verify: hash what is cached.
    """

    def __init__(
        self, context: FetchContext, spec: AssetSpec, report: Progress, *, force_download: bool, verify: bool
    ) -> None:
        self._context = context
        self._scheme = context.scheme
        self._spec = spec
        self._progress = report
        self._callers_errors: list[Exception] = []
        self._force = force_download
        self._verify = verify

    async def run(self) -> FetchedAsset:
        """Fetch; see `AssetsManager.fetch_asset`."""
        if self._force and self._context.store is None:
            raise InvalidSetting("force_download needs a store: name a bucket, and don't work offline.")
        with self._disk_errors():
            version = await self._resolve()
            slot = CacheEntry(self._context.assets_dir, self._spec.name, version)
            if not self._force and (found := await self._look_up(slot)) is not None:
                return found
            store = self._context.store
            if store is None:
                raise self._not_cached(version, await self._cached())
            async with self._context.locks.holding(slot, sleep=self._context.sleep):
                if not self._force and (found := await self._look_up(slot)) is not None:
                    return found
                return await self._download(store, slot)

    async def check(self, *, cached: bool) -> Verification:
        """Check every file, and keep none; see `AssetsManager.verify_asset`."""
        with self._disk_errors():
            version = await self._resolve()
            slot = CacheEntry(self._context.assets_dir, self._spec.name, version)
            store = self._context.store
            if cached or store is None:
                return await self._check_cached(slot)
            manifest = await self._manifest(store, version)
            selection = await self._selection(manifest, version)
            selected = replace(manifest, files=selection.files)
            listed = await self._sizes(store, slot) if selected.size is None else {}
            reader = FileReader(store.driver, slot.name, self._report)
            locate = partial(self._remote_file, store, slot, listed)
            self._report(TransferStarted(slot.name, version, len(selected.files), selected.size))
            problems = await check_stored(reader, selection.files, locate, at_once=store.files_at_once)
            self._report(TransferFinished(slot.name, version))
            return await in_thread(self._verification, slot, selected, problems)

    async def _check_cached(self, slot: CacheEntry) -> Verification:
        found = await self._look_up(slot)
        if found is None:
            raise self._not_cached(slot.version, await self._cached())
        selected = replace(found.manifest, files=(await self._selection(found.manifest, slot.version)).files)
        parts = found.path.is_relative_to(slot.parts)
        problems = await in_thread(partial(check_cached, slot, parts=parts, entries=selected.files))
        return await in_thread(Verification.of, slot, self._spec.part, selected, problems)

    def _verification(self, slot: CacheEntry, selected: Manifest, found: Mapping[str, IntegrityError]) -> Verification:
        problems = [found[path] for path in selected.table.paths if path in found]
        return Verification.of(slot, self._spec.part, selected, problems)

    async def _selection(self, manifest: Manifest, version: str) -> Selection:
        if self._spec.part is None:
            return Selection.of(manifest, self._spec, version)
        return await in_thread(Selection.of, manifest, self._spec, version)

    # Resolve

    async def _resolve(self) -> str:
        spec = self._spec
        if spec.version is not None:
            self._scheme.check(spec.version)
            if self._scheme.is_version(spec.version):
                return spec.version
        if self._context.store is None:
            return self._select(await self._cached(), f"{self._context.assets_dir} (offline)")
        return self._select(await self._listed(self._context.store), self._context.store.url)

    async def _listed(self, store: AssetStore) -> Sequence[str]:
        try:
            state = await store.read_index(self._spec.name)
        except StoreUnavailable as error:
            cached = self._scheme.select(None, await self._cached())
            there = f"cached are {', '.join(cached)}; name one exactly" if cached else "nothing of it is cached"
            raise StoreUnavailable(
                error.where, f"so {self._spec} can't be resolved, and {there}. ({error})", uncertain=False
            ) from error
        if not state.exists:
            raise AssetNotFound(self._spec.name, store.url)
        check_index(state, self._scheme, self._spec.name)
        return state.index.versions

    def _select(self, versions: Sequence[str], where: str) -> str:
        selected = self._scheme.select(self._spec.version, versions)
        if selected:
            return selected[0]
        if not versions or self._spec.version is None:
            raise AssetNotFound(self._spec.name, where)
        raise VersionNotFound(self._spec.name, self._spec.version, where, tuple(self._scheme.select(None, versions)))

    async def _cached(self) -> list[str]:
        return await in_thread(self._cached_blocking)

    def _cached_blocking(self) -> list[str]:
        """The versions that are here complete, or as far as the spec asks for them."""
        directory, name = self._context.assets_dir, self._spec.name
        found = set(cached_versions(directory, name))
        if self._spec.part is not None:
            found.update(
                v for v in partly_cached_versions(directory, name) if self._has_parts(CacheEntry(directory, name, v))
            )
        return [version for version in found if self._scheme.is_version(version)]

    def _has_parts(self, slot: CacheEntry) -> bool:
        record = slot.parts_record()
        if record is None or not self._is_ours(record):
            return False
        try:
            selection = Selection.of(record.manifest, self._spec, slot.version)
        except PartNotFound:
            return False
        return slot.has_parts(selection.files, selection.folders)

    def _not_cached(self, version: str, cached: list[str]) -> VersionNotFound:
        where = f"{self._context.assets_dir} (offline)"
        return VersionNotFound(self._spec.name, version, where, tuple(self._scheme.select(None, cached)))

    # Look up

    async def _look_up(self, slot: CacheEntry) -> FetchedAsset | None:
        """What is cached, without a lock and without writing anything."""
        return await in_thread(self._look_up_blocking, slot)

    def _look_up_blocking(self, slot: CacheEntry) -> FetchedAsset | None:
        record = slot.record()
        if record is not None and self._is_ours(record):
            selection = Selection.of(record.manifest, self._spec, slot.version)
            if self._verify:
                slot.verify(replace(record.manifest, files=selection.files))
            return self._fetched(slot, slot.payload, record.manifest, from_cache=True)
        if self._spec.part is None:
            return None
        record = slot.parts_record()
        if record is None or not self._is_ours(record):
            return None
        selection = Selection.of(record.manifest, self._spec, slot.version)
        if not slot.has_parts(selection.files, selection.folders):
            return None
        if self._verify:
            slot.verify_parts(selection.files)
        return self._fetched(slot, slot.parts, record.manifest, from_cache=True)

    def _is_ours(self, record: Record) -> bool:
        """Whether it is from the store that is asked; offline, any store will do."""
        return self._context.store is None or record.source == self._context.store.identity

    def _fetched(self, slot: CacheEntry, root: Path, manifest: Manifest, *, from_cache: bool) -> FetchedAsset:
        path = root / self._spec.part if self._spec.part is not None else root
        return FetchedAsset(
            path=path,
            name=slot.name,
            version=slot.version,
            part=self._spec.part,
            from_cache=from_cache,
            verified=manifest.verifiable,
            verified_by=manifest.verified_by,
            manifest=manifest,
        )

    # Download, verify, place, record; the lock is held

    async def _download(self, store: AssetStore, slot: CacheEntry) -> FetchedAsset:
        manifest = await self._manifest(store, slot.version)
        record = Record(store.identity, manifest, slot.label)
        selection = await self._selection(manifest, slot.version)
        try:
            if not self._force and await self._adopt(slot, record):
                return await in_thread(partial(self._fetched, slot, slot.payload, manifest, from_cache=True))
            staged = await in_thread(_prepare, slot, manifest, selection)
            await self._fill(store, slot, staged, selection, record)
            return await in_thread(self._place, slot, staged, selection, record)
        except (FileExistsError, IsADirectoryError, NotADirectoryError) as error:
            if (one := slot.one_path(error, manifest)) is None:
                raise
            raise one from error
        finally:
            with anyio.CancelScope(shield=True):
                await in_thread(slot.clear_staging)

    def _place(self, slot: CacheEntry, staged: Path, selection: Selection, record: Record) -> FetchedAsset:
        if self._spec.part is None:
            slot.place(staged, record, slot.differing(staged, record))
            return self._fetched(slot, slot.payload, record.manifest, from_cache=False)
        slot.check_apart(staged, selection.files, record.manifest)
        slot.place_parts(staged, selection.files, selection.folders, record)
        return self._fetched(slot, slot.parts, record.manifest, from_cache=False)

    async def _adopt(self, slot: CacheEntry, record: Record) -> bool:
        """Whether a payload that is there is the version, though nothing usable says so; else it is out of the way."""
        if not await in_thread(slot.payload.exists):
            return False
        known = await in_thread(slot.record)
        if known is not None and known.manifest != record.manifest:
            raise CacheError(
                str(slot.payload),
                f"it is {slot.label} of another store ({known.source}); "
                "use another assets directory for this store, or force_download to replace it",
            )
        if known is None and not await in_thread(slot.holds_exactly, record.manifest):
            await in_thread(slot.set_aside, slot.payload)
            return False
        await in_thread(slot.write_record, record)
        return True

    async def _manifest(self, store: AssetStore, version: str) -> Manifest:
        try:
            content = (await store.read_meta(self._spec.name, version)).content
        except ObjectNotFound:
            content = None
        if isinstance(content, Manifest):
            return content
        state = await store.read_index(self._spec.name)
        if not state.exists:
            raise AssetNotFound(self._spec.name, store.url)
        raise VersionNotFound(self._spec.name, version, store.url, state.index.versions)

    async def _fill(
        self, store: AssetStore, slot: CacheEntry, staged: Path, selection: Selection, record: Record
    ) -> None:
        """Download into the staging folder what isn't known already."""
        missing, nbytes = await in_thread(self._missing, slot, staged, selection, record)
        listed = await self._sizes(store, slot) if nbytes is None else {}
        reader = FileReader(store.driver, slot.name, self._report)
        locate = partial(self._remote_file, store, slot, listed)
        self._report(TransferStarted(slot.name, slot.version, len(missing), nbytes))
        await download(reader, missing, locate, str(staged), at_once=store.files_at_once)
        self._report(TransferFinished(slot.name, slot.version))

    def _missing(
        self, slot: CacheEntry, staged: Path, selection: Selection, record: Record
    ) -> tuple[FileTable, int | None]:
        """What has to be downloaded, for which there has to be room, and how many bytes that is, if they are known."""
        known = self._reuse(slot, staged, selection, record)
        files = selection.files
        missing = FileTable(entry for entry in files if entry.path not in known) if known else files
        nbytes = missing.total
        _check_room(slot, nbytes or 0)
        return missing, nbytes

    def _reuse(self, slot: CacheEntry, staged: Path, selection: Selection, record: Record) -> set[str]:
        if self._force or slot.parts_record() != record:
            return set()
        return {entry.path for entry in selection.files if slot.reuse(entry, staged / entry.path)}

    def _remote_file(
        self, store: AssetStore, slot: CacheEntry, listed: dict[str, ObjectInfo], entry: FileEntry
    ) -> RemoteFile:
        key, label = store.layout.content(slot.name, slot.version, entry.path), slot.what(entry)
        if entry.size is not None:
            return RemoteFile(entry, key, label, entry.size)
        info = listed.get(key)
        if info is None:
            raise IntegrityError(label, "an object", "nothing")
        return RemoteFile(entry, key, label, info.size, info.revision or None)

    async def _sizes(self, store: AssetStore, slot: CacheEntry) -> dict[str, ObjectInfo]:
        """What the store has of a version whose manifest doesn't tell sizes, since modelkit pushed it."""
        return {info.key: info async for info in store.content(slot.name, slot.version)}

    def _report(self, event: Event) -> None:
        try:
            self._progress(event)
        except Exception as error:
            self._callers_errors.append(error)
            raise

    @contextlib.contextmanager
    def _disk_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error in self._callers_errors:  # no trouble of ours
                raise
            path = str(error.filename or self._context.assets_dir)
            if error.errno in DENIED:
                raise denied(str(self._context.assets_dir), f"use {path!r}", error) from error
            raise CacheError(path, reason(error)) from error


def _prepare(slot: CacheEntry, manifest: Manifest, selection: Selection) -> Path:
    """Begin a staging folder; returns where the payload is to be put together."""
    staged = slot.staging / "payload"
    folders = [staged / folder for folder in selection.all_folders()]
    slot.prepare_staging([staged, *folders] if manifest.is_directory else [])
    return staged


def _check_room(slot: CacheEntry, nbytes: int) -> None:
    """Fail before anything is downloaded where it can't all fit; what others write meanwhile isn't known."""
    free = free_bytes(slot.staging)
    if free is not None and nbytes > free:
        raise CacheError(
            str(slot.assets_dir),
            f"{slot.label} takes {nbytes:,} bytes there, and {free:,} are free; "
            "free some space, or use another assets directory",
        )
