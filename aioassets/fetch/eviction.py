"""Evicting a cached version, so that no process loses files that it uses.

See `docs/adr/0034-bounded-cache.md` for the steps, and for what happens between them.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from aioassets.fetch.directory import EVICTING, PARTS, USED, all_evictions, evictions_of
from aioassets.fetch.entry import CacheEntry
from aioassets.fetch.owners import remove
from aioassets.fetch.record import Record
from aioassets.fetch.usage import modified_at, unix_time, usage_of
from aioassets.runtime.disk import reason

logger = logging.getLogger(__name__)

RECENT: Final = 3600.0
"""Seconds for which a version is kept after its last use."""

_WHOLE: Final = "record"
_PARTS: Final = "parts-record"
"""Names of the records in the folder of an eviction."""
_PAYLOAD: Final = "payload"


@dataclass(frozen=True, slots=True)
class Eviction:
    """The eviction of a whole version or of its individual files.

    Methods block, and may raise `OSError`.

    Attributes:
        entry: the entry for the version.
        is_partial: whether to evict individual files instead of the whole version.
        folder: the folder of the eviction, next to the records.
    """

    entry: CacheEntry
    is_partial: bool
    folder: Path

    @classmethod
    def of(cls, entry: CacheEntry, *, is_partial: bool) -> Eviction:
        """Return a new eviction, without starting it."""
        return cls(entry, is_partial, entry.new_path(EVICTING))

    def run(self) -> bool:
        """Evict the version unless it is in use. Return whether it was evicted."""
        is_evicted = False
        self.folder.mkdir()
        try:
            is_evicted = self._take_record() and self._take_payload()
        finally:
            if not is_evicted:
                undo(self.entry, self.folder)
        if is_evicted:
            self._delete()
        return is_evicted

    def _take_record(self) -> bool:
        """Move the record, so that the version isn't found any more. Return whether no process uses the version."""
        record = self.entry.parts_record_file if self.is_partial else self.entry.record_file
        try:
            os.rename(record, self._record)
        except FileNotFoundError:
            return False
        # From here, a process that finds the version has created its lease before.
        usage = usage_of(self.entry)
        last_used = max(usage.last_used, modified_at(self._record) or 0.0)
        return not (usage.is_held or unix_time() - last_used < RECENT or os.path.lexists(record))

    def _take_payload(self) -> bool:
        """Move the payload to the folder of the eviction. Return `False` if that fails, or if a fetch has undone it."""
        payload = self._payload()
        if payload is None:
            return False
        try:
            os.rename(payload, self.folder / _PAYLOAD)
        except FileNotFoundError:
            return self._record.exists()
        except OSError as error:  # on overlayfs, some folders can't be renamed
            logger.warning("Cannot evict %s from %r: %s", self.entry.label, str(payload), reason(error))
            return False
        return True

    def _payload(self) -> Path | None:
        """Return the path of the payload, or `None` if a fetch has undone the eviction."""
        try:
            with self._record.open("rb") as file:
                payload = Record.head_in(file).payload
        except FileNotFoundError:
            return None
        return self.entry.own_path(payload or PARTS) if self.is_partial else self.entry.payload_of(payload)

    def _delete(self) -> None:
        self._record.unlink(missing_ok=True)  # first, so that it is never put back without its payload
        _remove(self.folder)
        self.entry.own_path(USED).unlink(missing_ok=True)

    @property
    def _record(self) -> Path:
        return self.folder / (_PARTS if self.is_partial else _WHOLE)


def undo_evictions(entry: CacheEntry) -> None:
    """Undo evictions of a version that the caller holds. Afterwards, none can remove its files. Blocking.

    Evictions that have moved the payload are left to their processes.
    """
    folder = entry.record_file.parent
    while undecided := [found for found in evictions_of(folder, entry.version) if not _is_decided(found)]:
        for found in undecided:
            undo(entry, found)


def end_interrupted(root: Path) -> None:
    """Undo or complete evictions in a store's folder whose processes were killed. Blocking."""
    for name, version, folder in all_evictions(root):
        try:
            _end(CacheEntry(root, name, version), folder)
        except OSError as error:  # for example, another user's
            logger.warning("Cannot end the interrupted eviction %r: %s", str(folder), reason(error))


def _end(entry: CacheEntry, folder: Path) -> None:
    if (descriptor := entry.try_lock()) is not None:
        try:
            undo(entry, folder)
        finally:
            entry.unlock(descriptor)


def undo(entry: CacheEntry, folder: Path) -> None:
    """Undo an eviction or, if it has moved the payload, complete it. Blocking."""
    own = entry.new_path(EVICTING)
    try:
        os.rename(folder, own)  # from here, its process can't move the payload to the folder any more
    except FileNotFoundError:
        return
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        own = folder  # overlayfs refuses to move the payload for the same reason
    if not _is_decided(own):
        _put_back(own / _WHOLE, entry.record_file)
        _put_back(own / _PARTS, entry.parts_record_file)
    _remove(own)


def _put_back(record: Path, target: Path) -> None:
    try:
        os.link(record, target)
    except (FileNotFoundError, FileExistsError):
        return
    except OSError:  # the file system has no hard links
        if os.path.lexists(record) and not os.path.lexists(target):
            os.rename(record, target)


def _is_decided(folder: Path) -> bool:
    """Return whether an eviction has moved the payload, so that it can only be completed."""
    return os.path.lexists(folder / _PAYLOAD)


def _remove(folder: Path) -> None:
    while os.path.lexists(folder):
        with contextlib.suppress(FileNotFoundError):  # another process is removing it as well
            remove(folder)
