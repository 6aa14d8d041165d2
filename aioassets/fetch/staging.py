"""Staging folders, where downloads are assembled."""

from __future__ import annotations

import errno
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from aioassets.errors import CacheError
from aioassets.fetch import folding
from aioassets.fetch.entry import CacheEntry
from aioassets.fetch.lookup import CachedFiles
from aioassets.fetch.record import Record
from aioassets.fetch.selection import Selection
from aioassets.model.files import FileEntry
from aioassets.runtime.disk import free_bytes


@dataclass(frozen=True, slots=True)
class Staging:
    """Staging folder of one download. The entry's lock is held.

    Methods block and raise `OSError`.

    Attributes:
        entry: the place of the version in the assets directory.
        record: the record to place with the files.
        selection: the files and folders of the download.
    """

    entry: CacheEntry
    record: Record
    selection: Selection

    @property
    def payload(self) -> Path:
        """File or folder of the staged payload."""
        return self.entry.staging / "payload"

    @property
    def record_file(self) -> Path:
        """File of the staged record."""
        return self.entry.staging / "record"

    def path_of(self, file: FileEntry) -> Path:
        """Return the path of a staged file."""
        return self.payload / file.path

    def prepare(self) -> None:
        """Create an empty staging folder, with all folders of the selection."""
        clear_staging(self.entry)
        self.entry.staging.mkdir(parents=True)
        if self.record.manifest.is_directory:
            self.payload.mkdir()
            for folder in self.selection.all_folders():
                (self.payload / folder).mkdir(parents=True, exist_ok=True)

    def reuse_parts(self) -> set[str]:
        """Stage all files that are cached as single files of this version; return their paths."""
        if self.entry.parts_record() != self.record:
            return set()
        return {file.path for file in self.selection.files if self._reuse_part(file)}

    def reuse_intact(self, damaged: CachedFiles) -> set[str]:
        """Stage all files of a damaged cached version that match their digests; return their paths."""
        intact = [file for file in self.selection.files if file.digests and damaged.problem_of(file) is None]
        for file in intact:
            _link_or_copy(damaged.root / file.path, self.path_of(file))
        return {file.path for file in intact}

    def _reuse_part(self, file: FileEntry) -> bool:
        if not self.entry.has_part(file):
            return False
        _link_or_copy(self.entry.parts / file.path, self.path_of(file))
        return True

    def check_free_space(self, nbytes: int) -> None:
        """Raise `CacheError` if a download is larger than the free space of its file system."""
        free = free_bytes(self.entry.staging)
        if free is not None and nbytes > free:
            raise CacheError(
                str(self.entry.assets_dir),
                f"{self.entry.label} needs {nbytes:,} bytes, but only {free:,} are free; "
                "free some space, or use an assets directory on another disk (assets_dir, AIOASSETS_DIR)",
            )

    def check_distinct(self) -> None:
        """Check that no path of an unselected file leads to a staged one, which would later be served for it.

        Raises:
            FileExistsError: the file system treats two paths of the version as one.
        """
        selected = set(self.selection.files.paths)
        for path in self.record.manifest.table.paths:
            if path not in selected and os.path.lexists(target := f"{self.payload}/{path}"):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), target)

    def folding_error(self, error: OSError) -> CacheError | None:
        """Return the error for a path that folds to another path of the version, or `None` if none does."""
        target = os.fspath(error.filename or "")
        for root in (self.payload, self.entry.parts):
            path = target.removeprefix(f"{root}/")
            if path != target and (other := folding.twin_of(path, self.record.manifest)) is not None:
                return self._one_path_error(path, other)
        return None

    def _one_path_error(self, *paths: str) -> CacheError:
        both = " and ".join(map(repr, sorted(paths)))
        reason = f"its file system treats {both} of {self.entry.label} as one path; {folding.ADVICE}"
        return CacheError(str(self.entry.assets_dir), reason)


def clear_staging(entry: CacheEntry) -> None:
    """Remove a staging folder. A link in its place is removed, not followed."""
    if entry.staging.is_symlink():
        entry.staging.unlink()
    elif entry.staging.exists():
        shutil.rmtree(entry.staging)


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except FileExistsError as error:
        raise FileExistsError(error.errno, error.strerror, str(target)) from None
    except OSError:
        if os.path.lexists(target):  # file systems without links refuse them before they look at the target
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target)) from None
        shutil.copy2(source, target)
