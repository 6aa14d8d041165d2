"""Entries in the assets directory, one for each version: paths, records and locks."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from aioassets.errors import CacheError
from aioassets.fetch import directory, folding
from aioassets.fetch.labels import file_label, version_label
from aioassets.fetch.record import Record, RecordHead
from aioassets.model.files import FileEntry
from aioassets.runtime.disk import UNLOCKABLE, reason, write_atomically

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class CacheEntry:
    """The assets directory's entry for one version from one store. The version need not be cached.

    Methods block, and may raise `OSError`.

    Attributes:
        root: the folder of the store.
        name: the asset's name.
        version: the version.
    """

    root: Path
    name: str
    version: str

    @property
    def label(self) -> str:
        """The name of the version for error messages and logs."""
        return version_label(self.name, self.version)

    def file_label(self, file: FileEntry) -> str:
        """Return the label that identifies a file in error messages and logs."""
        return file_label(self.name, self.version, file.path)

    # Paths

    @property
    def payload(self) -> Path:
        """The usual path of the whole version."""
        return self.root / self.name / self.version

    @property
    def parts(self) -> Path:
        """The usual folder for individual files of the version."""
        return self.own_path(directory.PARTS)

    @property
    def record_file(self) -> Path:
        """The file with the record of the whole version."""
        return self.own_path(directory.RECORD)

    @property
    def parts_record_file(self) -> Path:
        """The file with the record of individual files."""
        return self.own_path(directory.PARTS_RECORD)

    @property
    def lock_file(self) -> Path:
        """The file that is locked while any of the others is changed."""
        return self.own_path(directory.LOCK)

    def own_path(self, suffix: str) -> Path:
        """Return a path next to the records, such as that of a payload that isn't in its usual place."""
        return self.root / directory.OWN_FOLDER / self.name / f"{self.version}{suffix}"

    def new_path(self, kind: str) -> Path:
        """Return a unique path next to the records, such as that of a new staging folder."""
        return self.own_path(new_suffix(kind))

    def payload_of(self, payload: str) -> Path:
        """Return the path of the whole version, given the `payload` field of its record.

        If nothing exists at the recorded path, the payload has been moved to its usual place, but its record hasn't
        been updated yet.
        """
        spare = self.own_path(payload)
        return spare if payload and spare.exists() else self.payload

    def parts_of(self, record: Record) -> Path:
        """Return the folder that contains the individual files, given their record."""
        return self.own_path(record.payload or directory.PARTS)

    # Records

    def record(self) -> Record | None:
        """Return the record of the whole version, or `None` if the whole version isn't cached."""
        record = self.last_record()  # before `exists`, which would hide that a folder can't be read
        return record if record is not None and self.payload_of(record.payload).exists() else None

    def last_record(self) -> Record | None:
        """Return the record of the whole version, even if its payload has since been removed."""
        return self._load(self.record_file)

    def source(self) -> str | None:
        """Return the identity of the store that the whole version came from, or `None` if that isn't cached."""
        head = self._head(self.record_file)
        return head.source if head is not None and self.payload_of(head.payload).exists() else None

    def head(self, *, is_partial: bool) -> RecordHead | None:
        """Return the head of the record of the whole version, or of that of individual files; `None` if none exists."""
        return self._head(self.parts_record_file if is_partial else self.record_file)

    def payloads_in_use(self) -> set[str]:
        """Return the `payload` fields of the records that exist."""
        heads = (self._head(self.record_file), self._head(self.parts_record_file))
        return {head.payload for head in heads if head is not None}

    def _head(self, path: Path) -> RecordHead | None:
        try:
            with path.open("rb") as file:
                return Record.head_in(file)
        except (FileNotFoundError, NotADirectoryError, ValueError):
            return None

    def recorded_at(self) -> int:
        """Return the modification time, in nanoseconds, of the record of the whole version.

        If an eviction has just moved the record, which it will undo for a version in use, return 0.
        """
        try:
            return self.record_file.stat().st_mtime_ns
        except FileNotFoundError:
            return 0

    def confirm(self) -> None:
        """Update the record's modification time after the payload has been verified, if the directory is writable."""
        with contextlib.suppress(OSError):
            os.utime(self.record_file)

    def parts_record(self) -> Record | None:
        """Return the record of individual files, or `None` if none are cached."""
        return self._load(self.parts_record_file)

    def write_record(self, record: Record) -> None:
        """Write the record of the whole version. It declares that the payload is complete."""
        write_atomically(self.record_file, record.write_to)

    def write_parts_record(self, record: Record) -> None:
        """Write the record of individual files. It declares which version they belong to."""
        write_atomically(self.parts_record_file, record.write_to)

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

    def set_aside(self, path: Path, why: str) -> None:
        """Move a payload or individual files with unexpected content out of the way, and log why."""
        aside = self.new_path(directory.ASIDE)
        aside.parent.mkdir(parents=True, exist_ok=True)
        os.rename(path, aside)
        logger.warning("Moved %r aside to %r: %s", str(path), str(aside), why)

    def try_set_aside(self, path: Path, why: str) -> None:
        """Move a payload or individual files out of the way, unless the file system refuses, as overlayfs may do."""
        try:
            self.set_aside(path, why)
        except OSError as error:
            logger.warning("Leaving %r where it is, because it can't be moved: %s", str(path), reason(error))

    # Locking

    def try_lock(self) -> int | None:
        """Try to take the lock. Return a descriptor to pass to `unlock`, or `None` if the lock is already held.

        On a file system without locks, it is never held.
        """
        return take_lock(self.lock_file)

    def unlock(self, descriptor: int) -> None:
        """Release the lock and remove the lock file."""
        release_lock(self.lock_file, descriptor)


def take_lock(path: Path) -> int | None:
    """Try to lock a file. Return its descriptor, or `None` if the lock is already held.

    On a file system without locks, it is never held.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            if not _lock(descriptor) or _is_file_at(descriptor, path):
                return descriptor
        except BlockingIOError:
            os.close(descriptor)
            return None
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # the previous holder removed the file after it was opened above


def release_lock(path: Path, descriptor: int) -> None:
    """Release the lock on a file, and remove the file."""
    with contextlib.suppress(OSError):
        os.unlink(path)
    os.close(descriptor)


def new_suffix(kind: str) -> str:
    """Return a unique suffix for a staging folder, or for a payload that is outside its usual place or set aside."""
    return f"{kind}{secrets.token_hex(4)}"


def _lock(descriptor: int) -> bool:
    """Lock an open file. Return `False` if the file system has no locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in UNLOCKABLE:
            raise
        return False
    return True


def _is_file_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False
