"""Placement of staged files, so that readers never see an incomplete version."""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from aioassets.fetch.digests import READ
from aioassets.fetch.staging import Staging
from aioassets.model.files import FileEntry
from aioassets.runtime.threads import check_cancelled

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Placement:
    """Moves staged files to their places. The entry's lock is held.

    Methods block and raise `OSError`.

    Attributes:
        staging: the verified files, and their record.
    """

    staging: Staging

    def place_version(self) -> None:
        """Place a whole version.

        If the same version is there already, only files that differ are replaced, because others may be
        reading it. Any other payload is put aside.
        """
        staging, entry = self.staging, self.staging.entry
        differing = self._differing()
        with staging.record_file.open("wb") as file:
            staging.record.write_to(file)  # first, because the disk may be full
        if differing is None:
            self._place_payload()
        else:
            self._replace(differing)
        os.replace(staging.record_file, entry.record_file)

    def _differing(self) -> list[FileEntry] | None:
        """Return the files that differ from the cached version, or `None` if another payload is there, or none."""
        staging, cached = self.staging, self.staging.entry.record()
        if cached is None or cached.manifest != staging.record.manifest:
            return None
        payload = staging.entry.payload
        return [
            file
            for file in staging.record.manifest.files
            if not _is_same_file(staging.path_of(file), payload / file.path)
        ]

    def _place_payload(self) -> None:
        entry = self.staging.entry
        entry.record_file.unlink(missing_ok=True)  # a crash must not leave it beside another payload
        if entry.payload.exists():
            entry.set_aside(entry.payload, f"it differs from the downloaded {entry.label}")
        entry.payload.parent.mkdir(parents=True, exist_ok=True)
        os.rename(self.staging.payload, entry.payload)

    def _replace(self, differing: Sequence[FileEntry]) -> None:
        payload, files = self.staging.entry.payload, len(self.staging.record.manifest.files)
        if differing:
            logger.warning("Replacing %d of %d files in %r: they were damaged", len(differing), files, str(payload))
        for folder in self.staging.record.manifest.empty_directories:
            (payload / folder).mkdir(parents=True, exist_ok=True)
        self._move(differing, payload)

    def place_parts(self) -> None:
        """Place single files; put those of another version with this name aside."""
        staging, entry = self.staging, self.staging.entry
        staging.check_distinct()
        if entry.parts.exists() and entry.parts_record() != staging.record:
            entry.set_aside(entry.parts, f"they differ from the downloaded {entry.label}")
        entry.write_parts_record(staging.record)
        for folder in staging.selection.folders:
            (entry.parts / folder).mkdir(parents=True, exist_ok=True)
        self._move(staging.selection.files, entry.parts)

    def _move(self, files: Iterable[FileEntry], root: Path) -> None:
        for file in files:
            target = root / file.path
            self._make_way(target, root)
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(self.staging.path_of(file), target)

    def _make_way(self, target: Path, root: Path) -> None:
        """Put aside a folder where the version has a file, and a file where it has a folder."""
        if target != root and target.is_dir() and not target.is_symlink():
            self.staging.entry.set_aside(target, "the version has a file at this path")
        for folder in target.parents:
            if folder in (root, root.parent) or folder.is_dir():
                return
            if os.path.lexists(folder):
                self.staging.entry.set_aside(folder, "the version has a folder at this path")


def _is_same_file(new: Path, old: Path) -> bool:
    """Compare the bytes and the executable bits of two files."""
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
