"""Staging folders, in which downloads are assembled."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from aioassets.errors import CacheError
from aioassets.fetch import folding
from aioassets.fetch.directory import STAGING, staging_folders
from aioassets.fetch.entry import CacheEntry
from aioassets.fetch.lookup import CachedFiles, has_part
from aioassets.fetch.owners import create_owned, is_abandoned, remove
from aioassets.fetch.record import Record
from aioassets.fetch.selection import Selection
from aioassets.model.files import FileEntry
from aioassets.runtime.disk import free_bytes

RESERVED: Final = "reserved"
"""Name of the file in a staging folder that contains the number of bytes to download."""


@dataclass(frozen=True, slots=True)
class Staging:
    """The staging folder of a single download.

    Methods block, and may raise `OSError`.

    Attributes:
        entry: the entry for the version in the assets directory.
        record: the record to place with the files.
        selection: the files and folders to download.
        folder: the staging folder.
    """

    entry: CacheEntry
    record: Record
    selection: Selection
    folder: Path

    @classmethod
    def of(cls, entry: CacheEntry, record: Record, selection: Selection) -> Staging:
        """Return a staging folder with an unused name, without creating it yet."""
        return cls(entry, record, selection, entry.new_path(STAGING))

    @property
    def payload(self) -> Path:
        """The staged payload, a file or a folder."""
        return self.folder / "payload"

    @property
    def record_file(self) -> Path:
        """The file with the staged record."""
        return self.folder / "record"

    def path_of(self, file: FileEntry) -> Path:
        """Return the path of a staged file."""
        return self.payload / file.path

    def create(self) -> None:
        """Create the staging folder, and remove abandoned staging folders of the same version."""
        create_owned(self.folder)
        now = self.folder.stat().st_mtime
        for other in staging_folders(self.folder.parent, self.entry.version):
            with contextlib.suppress(OSError):  # another user's folder
                if other != self.folder and is_abandoned(other, now):
                    remove(other)

    def reserve(self, nbytes: int) -> None:
        """Record how many bytes will be downloaded, so that other fetches don't use the same space in the cache."""
        (self.folder / RESERVED).write_text(str(nbytes), encoding="ascii")

    def prepare(self) -> None:
        """Create all folders in the selection."""
        if self.record.manifest.is_directory:
            self.payload.mkdir()
            for folder in self.selection.all_folders():
                (self.payload / folder).mkdir(parents=True, exist_ok=True)

    def reuse_parts(self) -> set[str]:
        """Stage the files of this version that are cached individually and intact, and return their paths."""
        record = self.entry.parts_record()
        if record is None or record != self.record:
            return set()
        cached = CachedFiles(self.entry, self.entry.parts_of(record), record, self.selection, is_whole=False)
        there = [file for file in self.selection.files if has_part(cached.root, file)]
        return self._link(cached, [file for file in there if not file.digests or cached.problem_of(file) is None])

    def reuse_intact(self, damaged: CachedFiles) -> set[str]:
        """Stage the files of a damaged cached version that match their digests, and return their paths."""
        files = [file for file in self.selection.files if file.digests]
        return self._link(damaged, [file for file in files if damaged.problem_of(file) is None])

    def _link(self, cached: CachedFiles, files: Collection[FileEntry]) -> set[str]:
        """Stage cached files, and return their paths."""
        for file in files:
            _link_or_copy(cached.root / file.path, self.path_of(file))
        return {file.path for file in files}

    def has_room(self, nbytes: int) -> bool:
        """Return whether the free space on the file system suffices for a download, or isn't known."""
        free = free_bytes(self.folder)
        return free is None or nbytes <= free

    def check_free_space(self, nbytes: int) -> None:
        """Raise `CacheError` if a download is larger than the free space on the file system."""
        free = free_bytes(self.folder)
        if free is not None and nbytes > free:
            raise CacheError(
                str(self.entry.root),
                f"{self.entry.label} needs {nbytes:,} bytes, but only {free:,} are free; "
                "free some space, or use an assets directory on another disk (assets_dir, AIOASSETS_DIR)",
            )

    def check_distinct(self) -> None:
        """Check that the path of no unselected file leads to a staged file, which would later be served for that path.

        Raises:
            FileExistsError: if the file system treats two paths of the version as one.
        """
        selected = set(self.selection.files.paths)
        for path in self.record.manifest.table.paths:
            if path not in selected and os.path.lexists(target := f"{self.payload}/{path}"):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), target)

    def folding_error(self, error: OSError) -> CacheError | None:
        """Return the error for a path that folds to another path in the version, or `None` if there is no such path."""
        target = os.fspath(error.filename or "")
        for root in (self.payload, self.entry.parts):
            path = target.removeprefix(f"{root}/")
            if path != target and (other := folding.twin_of(path, self.record.manifest)) is not None:
                return self._one_path_error(path, other)
        return None

    def _one_path_error(self, *paths: str) -> CacheError:
        both = " and ".join(map(repr, sorted(paths)))
        reason = f"its file system treats {both} in {self.entry.label} as one path; {folding.ADVICE}"
        return CacheError(str(self.entry.root), reason)


def reserved_bytes(folder: Path, now: float) -> int:
    """Return the number of bytes that the fetch of a staging folder has reserved; 0 if it has ended. Blocking.

    Args:
        folder: the staging folder.
        now: the current Unix time in seconds.
    """
    with contextlib.suppress(OSError, ValueError):
        return 0 if is_abandoned(folder, now) else int((folder / RESERVED).read_bytes())
    return 0


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except FileExistsError as error:
        raise FileExistsError(error.errno, error.strerror, str(target)) from None
    except OSError:
        if os.path.lexists(target):  # file systems without hard links fail before they check the target
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target)) from None
        shutil.copy2(source, target)
