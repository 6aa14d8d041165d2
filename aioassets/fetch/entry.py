"""Entries of the assets directory: one version each, with its records and its lock."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from aioassets.errors import CacheError
from aioassets.fetch import directory, folding
from aioassets.fetch.labels import file_label, version_label
from aioassets.fetch.record import Record
from aioassets.model.files import FileEntry
from aioassets.runtime.disk import write_atomically

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class CacheEntry:
    """Place of one version in the assets directory, whether it is cached or not.

    Methods block and raise `OSError`.

    Attributes:
        assets_dir: the assets directory.
        name: the asset.
        version: the version.
    """

    assets_dir: Path
    name: str
    version: str

    @property
    def label(self) -> str:
        """Name of the version in errors and logs."""
        return version_label(self.name, self.version)

    def file_label(self, file: FileEntry) -> str:
        """Return the name of a file in errors and logs."""
        return file_label(self.name, self.version, file.path)

    # Paths

    @property
    def payload(self) -> Path:
        """The whole version."""
        return self.assets_dir / self.name / self.version

    @property
    def parts(self) -> Path:
        """Folder of single files of the version."""
        return self._own_path(directory.PARTS)

    @property
    def staging(self) -> Path:
        """Folder of files that are being downloaded."""
        return self._own_path(directory.STAGING)

    @property
    def record_file(self) -> Path:
        """File of the record of the whole version."""
        return self._own_path(directory.RECORD)

    @property
    def lock_file(self) -> Path:
        """File that is locked while any of the others changes."""
        return self._own_path(directory.LOCK)

    def _own_path(self, suffix: str) -> Path:
        return self.assets_dir / directory.OWN_FOLDER / self.name / f"{self.version}{suffix}"

    # Records

    def record(self) -> Record | None:
        """Return the record of the whole version, or `None` if it isn't cached."""
        record = self._load(self.record_file)  # before `exists`, which hides that a folder can't be read
        return record if record is not None and self.payload.exists() else None

    def source(self) -> str | None:
        """Return the identity of the store that the whole version came from, or `None` if it isn't cached."""
        try:
            with self.record_file.open("rb") as file:
                return Record.source_in(file) if self.payload.exists() else None
        except (FileNotFoundError, NotADirectoryError, ValueError):
            return None

    def recorded_at(self) -> int:
        """Return the time at which the record of the whole version was written, in nanoseconds."""
        return self.record_file.stat().st_mtime_ns

    def confirm(self) -> None:
        """Note that the payload was verified now, if the directory can be written."""
        with contextlib.suppress(OSError):
            os.utime(self.record_file)

    def parts_record(self) -> Record | None:
        """Return the record of single files, or `None` if none are cached."""
        return self._load(self._own_path(directory.PARTS_RECORD))

    def write_record(self, record: Record) -> None:
        """Declare the payload complete."""
        write_atomically(self.record_file, record.write_to)

    def write_parts_record(self, record: Record) -> None:
        """Declare which version the single files belong to."""
        write_atomically(self._own_path(directory.PARTS_RECORD), record.write_to)

    def _load(self, path: Path) -> Record | None:
        try:
            with path.open("rb") as file:
                found = Record.read_from(file)
        except (FileNotFoundError, NotADirectoryError, ValueError):
            return None
        if found.label not in ("", self.label):
            reason = f"its file system treats {found.label} and {self.label} as one path; {folding.ADVICE}"
            raise CacheError(str(self.payload), reason)
        return found

    # Files

    def has_parts(self, files: Iterable[FileEntry], folders: Iterable[str]) -> bool:
        """Return whether all these single files and folders are cached."""
        return all(map(self.has_part, files)) and all((self.parts / folder).is_dir() for folder in folders)

    def has_part(self, file: FileEntry) -> bool:
        """Return whether a single file is cached."""
        path = self.parts / file.path
        try:
            return path.is_file() and file.size in (None, path.stat().st_size)
        except OSError:
            return False

    def set_aside(self, path: Path, reason: str) -> None:
        """Move a payload or single files of other content out of the way, and log the reason."""
        aside = self._own_path(f"{directory.ASIDE}{secrets.token_hex(4)}")
        aside.parent.mkdir(parents=True, exist_ok=True)
        os.rename(path, aside)
        logger.warning("Put %r aside as %r: %s", str(path), str(aside), reason)

    # Locking

    def try_lock(self) -> int | None:
        """Take the lock. Return a descriptor for `unlock`, or `None` if another holder has it."""
        path = self.lock_file
        path.parent.mkdir(parents=True, exist_ok=True)
        while True:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if _is_file_at(descriptor, path):
                    return descriptor
            except BlockingIOError:
                os.close(descriptor)
                return None
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)  # its last holder removed the file after it was opened here

    def unlock(self, descriptor: int) -> None:
        """Release the lock and remove its file."""
        with contextlib.suppress(OSError):
            os.unlink(self.lock_file)
        os.close(descriptor)


def _is_file_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False
