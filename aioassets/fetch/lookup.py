"""Looking up versions and aliases in the assets directory without taking a lock."""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from aioassets.errors import IntegrityError, InvalidSetting, PartNotFound
from aioassets.fetch.digests import verify_file
from aioassets.fetch.directory import complete_versions, partial_versions
from aioassets.fetch.entry import CacheEntry
from aioassets.fetch.fetched import FetchedAsset
from aioassets.fetch.leases import Hold, Lease
from aioassets.fetch.origin import all_folders, folder_of
from aioassets.fetch.record import Record
from aioassets.fetch.remembered import LastTarget, RememberedAlias
from aioassets.fetch.selection import Selection
from aioassets.model.files import FileEntry
from aioassets.model.manifest import Manifest
from aioassets.model.names import AssetSpec
from aioassets.store.documents import AssetStore

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class CachedFiles:
    """The selected files of one version in the assets directory.

    Attributes:
        entry: the entry for the version.
        root: the payload, or the folder that contains individual files.
        record: the record of the version.
        selection: the selected files and folders.
        is_whole: whether the whole version is cached, rather than individual files.
    """

    entry: CacheEntry
    root: Path
    record: Record
    selection: Selection
    is_whole: bool = True

    @property
    def manifest(self) -> Manifest:
        """The manifest of the version."""
        return self.record.manifest

    @property
    def is_uncertain(self) -> bool:
        """Whether the payload may differ from the recorded one because it was moved after the record was written."""
        return self.is_whole and bool(self.record.payload) and self.root == self.entry.payload

    def problems(self, files: Iterable[FileEntry] | None = None) -> Iterator[IntegrityError]:
        """Verify files (by default all selected ones) and yield an error for each damaged or missing file. Blocking."""
        for file in self.selection.files if files is None else files:
            if (error := self.problem_of(file)) is not None:
                logger.warning("Damaged in the assets directory: %s", error)
                yield error

    def first_problem(self, *, verify: bool) -> IntegrityError | None:
        """Return the error for the first damaged or missing file, or `None`. Blocking.

        Args:
            verify: whether to hash all files. Otherwise, files of the expected size are only hashed if they have
                been modified since the version was recorded.
        """
        if verify or self.is_uncertain:
            return next(self.problems(), None)
        recorded_at = self.entry.recorded_at() if self.is_whole else None
        changed = [file for file in self.selection.files if self._has_changed(file, recorded_at)]
        problem = next(self.problems(changed), None)
        is_all = self.is_whole and len(self.selection.files) == len(self.manifest.files)
        if changed and problem is None and is_all:
            self.entry.confirm()
        return problem

    def problem_of(self, file: FileEntry) -> IntegrityError | None:
        """Return an error if a file is damaged or missing, otherwise `None`. Blocking."""
        try:
            verify_file(self.root / file.path, file, self.entry.file_label(file))
        except IntegrityError as error:
            return error
        return None

    def _has_changed(self, file: FileEntry, recorded_at: int | None) -> bool:
        try:
            found = os.stat(f"{self.root}/{file.path}" if file.path else self.root)
        except (FileNotFoundError, NotADirectoryError):
            return True
        is_other = not stat.S_ISREG(found.st_mode) or file.size not in (None, found.st_size)
        return is_other or (recorded_at is not None and found.st_mtime_ns > recorded_at)

    def as_fetched(
        self,
        part: str | None,
        lease: Lease | None,
        *,
        from_cache: bool,
        repaired: tuple[str, ...] = (),
        downloaded: int = 0,
        reused: int = 0,
    ) -> FetchedAsset:
        """Return the result of a fetch of these files. Blocking."""
        return FetchedAsset(
            path=self.root / part if part is not None else self.root,
            name=self.entry.name,
            version=self.entry.version,
            part=part,
            from_cache=from_cache,
            verified=self.manifest.verifiable,
            verified_by=self.manifest.verified_by,
            manifest=self.manifest,
            repaired=repaired,
            downloaded=downloaded,
            reused=reused,
            _hold=Hold(lease),
        )


@dataclass(frozen=True, slots=True)
class Lookup:
    """A lookup of a spec in the assets directory.

    Methods block, and may raise `OSError`.

    Attributes:
        assets_dir: the assets directory.
        spec: the spec to look up.
        store: the store that files must come from. If `None`, any store will do, unless files are cached from several.
    """

    assets_dir: Path
    spec: AssetSpec
    store: AssetStore | None

    def entry(self, store: AssetStore, version: str) -> CacheEntry:
        """Return the entry for a version in a store."""
        return CacheEntry(folder_of(self.assets_dir, store), self.spec.name, version)

    def entries(self, version: str) -> list[CacheEntry]:
        """Return the entries that may contain a version."""
        return [CacheEntry(root, self.spec.name, version) for root in self._roots()]

    def where(self) -> str:
        """Return the folder in which the asset is looked up, for error messages."""
        return str(self.assets_dir if self.store is None else folder_of(self.assets_dir, self.store))

    def find(self, version: str) -> CachedFiles | None:
        """Return the cached files that the spec refers to, or `None` if they aren't all cached.

        Raises:
            PartNotFound: if the version is cached but has no such part.
            InvalidSetting: if no store was given, and the version is cached from several stores.
        """
        found: list[CachedFiles] = []
        missing: PartNotFound | None = None
        for entry in self.entries(version):
            try:
                cached = self._find(entry)
            except PartNotFound as error:
                missing = error
            else:
                found += [] if cached is None else [cached]
        if missing is not None and not found:
            raise missing
        self._check_sources({cached.record.source for cached in found})
        return found[0] if found else None

    def last_target(self) -> LastTarget | None:
        """Return the target of the spec's alias when it was last looked up, or `None` if it is unknown.

        Raises:
            InvalidSetting: no store was given, and the alias was looked up in several.
        """
        loaded = (self._remembered(root).load() for root in self._roots())
        found = [target for target in loaded if target is not None and self._accepts(target.source)]
        self._check_sources({target.source for target in found})
        return found[0] if found else None

    def remember(self, store: AssetStore, version: str | None) -> None:
        """Record the target of the spec's alias in a store; `None` if it doesn't exist there."""
        remembered = self._remembered(folder_of(self.assets_dir, store))
        if version is None:
            remembered.clear()
        else:
            remembered.save(version, store.identity)

    def _remembered(self, root: Path) -> RememberedAlias:
        return RememberedAlias(root, self.spec.name, str(self.spec.alias))

    def versions(self) -> set[str]:
        """Return the versions of the asset for which everything that the spec refers to is cached.

        Raises:
            InvalidSetting: if no store was given, and the asset is cached from several stores.
        """
        found = {row for root in self._roots() for row in self._rows(root)}
        self._check_sources({source for _, source in found})
        return {version for version, _ in found}

    def _roots(self) -> list[Path]:
        if self.store is None:
            return all_folders(self.assets_dir, self.spec.name)
        return [folder_of(self.assets_dir, self.store)]

    def _rows(self, root: Path) -> Iterator[tuple[str, str]]:
        """Yield the cached versions in a folder, each with the identity of its store."""
        for version in complete_versions(root, self.spec.name):
            source = CacheEntry(root, self.spec.name, version).source()
            if source is not None and self._accepts(source):
                yield version, source
        if self.spec.part is not None:
            for version in partial_versions(root, self.spec.name):
                if (found := self._parts_if_any(CacheEntry(root, self.spec.name, version))) is not None:
                    yield version, found.record.source

    def _find(self, entry: CacheEntry) -> CachedFiles | None:
        record = entry.record()
        if record is not None and self._accepts(record.source):
            selection = Selection.of(record.manifest, self.spec, entry.version)
            found = CachedFiles(entry, entry.payload_of(record.payload), record, selection)
            return None if found.is_uncertain and not record.manifest.verifiable else found
        return self._find_parts(entry) if self.spec.part is not None else None

    def _find_parts(self, entry: CacheEntry) -> CachedFiles | None:
        record = entry.parts_record()
        if record is None or not self._accepts(record.source):
            return None
        selection, root = Selection.of(record.manifest, self.spec, entry.version), entry.parts_of(record)
        if not has_parts(root, selection.files, selection.folders):
            return None
        return CachedFiles(entry, root, record, selection, is_whole=False)

    def _parts_if_any(self, entry: CacheEntry) -> CachedFiles | None:
        try:
            return self._find_parts(entry)
        except PartNotFound:
            return None

    def _accepts(self, source: str) -> bool:
        return self.store is None or source == self.store.identity

    def _check_sources(self, sources: set[str]) -> None:
        if self.store is None and len(sources) > 1:
            raise InvalidSetting(
                f"{self.spec} is cached from {len(sources)} stores: {', '.join(sorted(sources))}. "
                "Choose one with --bucket, AIOASSETS_BUCKET or AssetsManager(bucket=…)."
            )


def has_parts(root: Path, files: Iterable[FileEntry], folders: Iterable[str]) -> bool:
    """Return whether all given files and folders exist below a folder. Blocking."""
    return all(has_part(root, file) for file in files) and all((root / folder).is_dir() for folder in folders)


def has_part(root: Path, file: FileEntry) -> bool:
    """Return whether a file exists below a folder and has the size recorded in the manifest. Blocking."""
    path = root / file.path
    try:
        return path.is_file() and file.size in (None, path.stat().st_size)
    except OSError:
        return False
