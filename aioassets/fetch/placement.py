"""Placing staged files so that readers never see an incomplete version or lose the one that they are reading."""

from __future__ import annotations

import errno
import logging
import os
import stat
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from aioassets.fetch.adoption import adopt
from aioassets.fetch.digests import READ
from aioassets.fetch.directory import SPARE
from aioassets.fetch.entry import new_suffix
from aioassets.fetch.eviction import undo_evictions
from aioassets.fetch.owners import remove
from aioassets.fetch.record import Record
from aioassets.fetch.staging import Staging
from aioassets.model.files import FileEntry
from aioassets.runtime.disk import reason
from aioassets.runtime.threads import check_cancelled

logger = logging.getLogger(__name__)

_TAKEN: Final = frozenset({errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR, errno.EISDIR})
"""Error numbers with which a rename fails if another payload is at the target path."""


@dataclass(frozen=True, slots=True)
class Placement:
    """The placement of staged files in their final locations.

    Once the new payload is complete, a single rename replaces the record. The former payload is moved only after
    that. So whatever fails, one of the two payloads can be served. Methods block, and may raise `OSError`.

    Attributes:
        staging: the verified files and their record.
    """

    staging: Staging

    def place_version(self) -> Path:
        """Place a whole version and return its path.

        If the same version is already there, only files that differ are replaced, because other processes
        may be reading it. Any other payload is set aside.
        """
        entry, last = self.staging.entry, self._found(self.staging.entry.last_record)
        if last is None:
            return self._place_first()
        if last.manifest == self.staging.record.manifest and entry.payload_of(last.payload).exists():
            return self._replace(last)
        return self._supersede(last)

    def _found(self, read: Callable[[], Record | None]) -> Record | None:
        """Return a record. An eviction may have moved it for a moment, before it saw that the version is in use."""
        found = read()
        if found is None:
            undo_evictions(self.staging.entry)
            found = read()
        return found

    def _place_first(self) -> Path:
        """Place a payload for a version that has no record yet. If another fetch was faster, use its payload."""
        staging, entry = self.staging, self.staging.entry
        if os.path.lexists(entry.payload):
            if adopt(entry, staging.record):
                return entry.payload
            if os.path.lexists(entry.payload):
                return self._supersede(None)
        self._write_record(staging.record)  # first, because the disk may be full
        entry.payload.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.rename(staging.payload, entry.payload)
        except OSError as error:
            if error.errno == errno.EXDEV:
                return self._supersede(None)
            if error.errno not in _TAKEN:
                raise
            return self.place_version()
        os.replace(staging.record_file, entry.record_file)
        return entry.payload

    def _supersede(self, last: Record | None) -> Path:
        """Place a payload next to the existing one, switch to it, and then move it to the usual place."""
        entry, suffix = self.staging.entry, new_suffix(SPARE)
        self._record_at(suffix, entry.record_file)
        former = [entry.payload, *([entry.own_path(last.payload)] if last is not None and last.payload else [])]
        try:
            self._move_to_usual_place(suffix, former)
        except OSError as error:
            logger.warning(
                "Serving %s from %r because its files can't be moved to their usual place: %s",
                entry.label,
                str(entry.payload_of(suffix)),
                reason(error),
            )
        return entry.payload_of(suffix)

    def _move_to_usual_place(self, suffix: str, former: Iterable[Path]) -> None:
        entry = self.staging.entry
        if suffix not in entry.payloads_in_use():
            return  # another fetch has since switched to its own payload
        for path in filter(os.path.lexists, former):
            entry.set_aside(path, f"it differs from the downloaded {entry.label}")
        entry.payload.parent.mkdir(parents=True, exist_ok=True)
        os.rename(entry.own_path(suffix), entry.payload)
        entry.write_record(self.staging.record)

    def _record_at(self, suffix: str, record_file: Path) -> None:
        """Move the staged payload next to the records, and replace a record with one that refers to the payload."""
        staging, spare = self.staging, self.staging.entry.own_path(suffix)
        self._write_record(replace(staging.record, payload=suffix))
        try:
            _move_payload(staging.payload, spare)
            os.replace(staging.record_file, record_file)
        except OSError:
            if suffix not in self.staging.entry.payloads_in_use():  # on NFS, a rename may succeed but report an error
                remove(spare)
            raise

    def _write_record(self, record: Record) -> None:
        with self.staging.record_file.open("wb") as file:
            record.write_to(file)

    def _replace(self, cached: Record) -> Path:
        """Replace the files of a cached version that differ from the staged ones. Return the path of the version."""
        staging, root = self.staging, self.staging.entry.payload_of(cached.payload)
        manifest = staging.record.manifest
        differing = [file for file in manifest.files if not _is_same_file(staging.path_of(file), root / file.path)]
        self._write_record(replace(staging.record, payload="" if root == staging.entry.payload else cached.payload))
        if differing:
            count = len(manifest.files)
            logger.warning("Replacing %d of %d files in %r because of damage", len(differing), count, str(root))
        for folder in manifest.empty_directories:
            (root / folder).mkdir(parents=True, exist_ok=True)
        self._move(differing, root)
        os.replace(staging.record_file, staging.entry.record_file)
        return root

    def place_parts(self) -> Path:
        """Place individual files and return their folder. Set existing files aside if their record doesn't match."""
        staging, entry = self.staging, self.staging.entry
        staging.check_distinct()
        cached = self._found(entry.parts_record)
        if cached == staging.record or (cached is None and not os.path.lexists(entry.parts)):
            return self._add_parts(cached)
        suffix = new_suffix(SPARE)
        self._record_at(suffix, entry.parts_record_file)
        former = entry.parts if cached is None else entry.parts_of(cached)
        if os.path.lexists(former):
            entry.try_set_aside(former, f"they differ from the downloaded {entry.label}")
        return entry.own_path(suffix)

    def _add_parts(self, cached: Record | None) -> Path:
        staging, entry = self.staging, self.staging.entry
        if cached is None:
            entry.write_parts_record(staging.record)
        root = entry.parts if cached is None else entry.parts_of(cached)
        for folder in staging.selection.folders:
            (root / folder).mkdir(parents=True, exist_ok=True)
        self._move(staging.selection.files, root)
        return root

    def _move(self, files: Iterable[FileEntry], root: Path) -> None:
        for file in files:
            target = root / file.path
            self._make_way(target, root)
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(self.staging.path_of(file), target)

    def _make_way(self, target: Path, root: Path) -> None:
        """Set aside a folder that is at the path of a file, or a file that is at the path of a folder."""
        if target != root and target.is_dir() and not target.is_symlink():
            self.staging.entry.set_aside(target, "the version has a file at this path")
        for folder in target.parents:
            if folder in (root, root.parent) or folder.is_dir():
                return
            if os.path.lexists(folder):
                self.staging.entry.set_aside(folder, "the version has a folder at this path")


def _move_payload(source: Path, target: Path) -> None:
    """Rename a payload, file by file if the file system can't rename folders (overlayfs in a user namespace)."""
    try:
        os.rename(source, target)
    except OSError as error:
        if error.errno != errno.EXDEV or not source.is_dir():
            raise
        for base, _, names in os.walk(source):
            folder = target / Path(base).relative_to(source)
            folder.mkdir()
            for name in names:
                os.rename(os.path.join(base, name), folder / name)


def _is_same_file(new: Path, old: Path) -> bool:
    """Return whether two files have the same contents and the same executable bit."""
    try:
        this, that = new.stat(), old.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    if os.path.samestat(this, that):
        return True
    same_bit = not (this.st_mode ^ that.st_mode) & stat.S_IXUSR
    return same_bit and old.is_file() and _has_same_bytes(new, old)


def _has_same_bytes(new: Path, old: Path) -> bool:
    with new.open("rb") as these, old.open("rb") as those:
        while data := these.read(READ):
            check_cancelled()
            if those.read(READ) != data:
                return False
        return not those.read(1)
