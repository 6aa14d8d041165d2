"""Lookups in the assets directory, which take no lock and write nothing."""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from aioassets.errors import IntegrityError, PartNotFound
from aioassets.fetch.digests import verify_file
from aioassets.fetch.directory import complete_versions, partial_versions
from aioassets.fetch.entry import CacheEntry
from aioassets.fetch.fetched import FetchedAsset
from aioassets.fetch.record import Record
from aioassets.fetch.selection import Selection
from aioassets.model.files import FileEntry
from aioassets.model.manifest import Manifest
from aioassets.model.names import AssetSpec

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class CachedFiles:
    """Selected files of one version in the assets directory.

    Attributes:
        entry: the place of the version.
        root: the payload, or the folder of single files.
        manifest: the manifest of the version.
        selection: the files and folders.
    """

    entry: CacheEntry
    root: Path
    manifest: Manifest
    selection: Selection

    @property
    def is_whole(self) -> bool:
        """Whether the whole version is cached, not only single files."""
        return self.root == self.entry.payload

    def problems(self, files: Iterable[FileEntry] | None = None) -> Iterator[IntegrityError]:
        """Verify files, all by default, and yield the errors of damaged and missing ones. Blocking."""
        for file in self.selection.files if files is None else files:
            if (error := self.problem_of(file)) is not None:
                logger.warning("Damaged in the assets directory: %s", error)
                yield error

    def first_problem(self, *, verify: bool) -> IntegrityError | None:
        """Return the error of the first damaged or missing file, or `None`. Blocking.

        Args:
            verify: whether to hash all files. Otherwise files of the right size are hashed only if they were
                modified since the version was recorded.
        """
        if verify:
            return next(self.problems(), None)
        recorded_at = self.entry.recorded_at() if self.is_whole else None
        changed = [file for file in self.selection.files if self._has_changed(file, recorded_at)]
        problem = next(self.problems(changed), None)
        is_all = self.is_whole and len(self.selection.files) == len(self.manifest.files)
        if changed and problem is None and is_all:
            self.entry.confirm()
        return problem

    def problem_of(self, file: FileEntry) -> IntegrityError | None:
        """Return the error of a file if it is damaged or missing. Blocking."""
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

    def as_fetched(self, part: str | None, *, from_cache: bool) -> FetchedAsset:
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
        )


@dataclass(frozen=True, slots=True)
class Lookup:
    """Looks up a spec in the assets directory.

    Methods block and raise `OSError`.

    Attributes:
        assets_dir: the assets directory.
        spec: the spec to look up.
        source: the identity of the store that files must come from; `None` for any store.
    """

    assets_dir: Path
    spec: AssetSpec
    source: str | None

    def entry(self, version: str) -> CacheEntry:
        """Return the place of a version of the asset."""
        return CacheEntry(self.assets_dir, self.spec.name, version)

    def find(self, version: str) -> CachedFiles | None:
        """Return the cached files that the spec asks for, or `None`.

        Raises:
            PartNotFound: the version is cached, and has no such part.
        """
        entry = self.entry(version)
        record = entry.record()
        if record is not None and self._accepts(record):
            selection = Selection.of(record.manifest, self.spec, version)
            return CachedFiles(entry, entry.payload, record.manifest, selection)
        return self._find_parts(entry) if self.spec.part is not None else None

    def versions(self) -> set[str]:
        """Return the versions of the asset that are cached as far as the spec asks for them."""
        found = {
            version
            for version in complete_versions(self.assets_dir, self.spec.name)
            if self.source in (None, self.entry(version).source())
        }
        if self.spec.part is not None:
            found.update(filter(self._has_parts, partial_versions(self.assets_dir, self.spec.name)))
        return found

    def _find_parts(self, entry: CacheEntry) -> CachedFiles | None:
        record = entry.parts_record()
        if record is None or not self._accepts(record):
            return None
        selection = Selection.of(record.manifest, self.spec, entry.version)
        if not entry.has_parts(selection.files, selection.folders):
            return None
        return CachedFiles(entry, entry.parts, record.manifest, selection)

    def _has_parts(self, version: str) -> bool:
        try:
            return self._find_parts(self.entry(version)) is not None
        except PartNotFound:
            return False

    def _accepts(self, record: Record) -> bool:
        return self.source is None or record.source == self.source
