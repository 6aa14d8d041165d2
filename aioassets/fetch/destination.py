"""Destinations of fetches: paths outside the cache that a user chose."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from aioassets.errors import DestinationOccupied, UsageError
from aioassets.fetch.directory import STAGING
from aioassets.fetch.entry import new_suffix, release_lock, take_lock
from aioassets.fetch.fingerprint import fingerprint, is_empty_folder
from aioassets.fetch.owners import create_owned, is_abandoned, remove
from aioassets.fetch.receipt import Receipt, receipts_in
from aioassets.model.jsontext import no_check


@dataclass(frozen=True, slots=True)
class Reserved:
    """A folder in which, and above which, nothing may be delivered.

    Attributes:
        folder: the folder.
        what: a description for error messages, such as `the assets directory`.
    """

    folder: Path
    what: str


@dataclass(frozen=True, slots=True)
class Occupant:
    """The file or folder at a destination, if there is one.

    Attributes:
        fingerprint: its fingerprint; `None` if nothing is there.
        receipts: the last receipts of the destination, oldest first.
    """

    fingerprint: str | None
    receipts: tuple[Receipt, ...]

    @property
    def matching(self) -> list[Receipt]:
        """The receipts of the occupant; none if aioassets didn't put it there, or if it was changed since.

        There may be several, since two copies have equal times if the clock of the file system is coarse.
        """
        return [each for each in self.receipts if each.fingerprint == self.fingerprint]

    @property
    def is_replaceable(self) -> bool:
        """Whether nothing is lost if it is replaced."""
        return self.fingerprint is None or is_empty_folder(self.fingerprint) or bool(self.matching)

    def has(self, content: str) -> bool:
        """Return whether it is a delivery of this content, unchanged."""
        found = self.matching
        return bool(found) and all(each.content == content for each in found)


@dataclass(frozen=True, slots=True)
class Destination:
    """A path at which to put a version or a part of it, and a folder next to it that aioassets uses itself.

    =================================  ====================================================
    `{name}`                           the payload: a file, a folder or a symbolic link
    `.{name}.aioassets/*.json`         the receipts, which identify the payload
    `.{name}.aioassets/lock`           locked by the process that is replacing the payload
    `.{name}.aioassets/.staging-*/`    the next payload, and then the previous one
    =================================  ====================================================

    Methods block, and may raise `OSError`.

    Attributes:
        path: the absolute path.
    """

    path: Path

    @classmethod
    def at(cls, given: str | os.PathLike[str], reserved: Callable[[], list[Reserved]]) -> Destination:
        """Return the destination at a path.

        Raises:
            UsageError: if the path is the root folder or a mount point, or if it overlaps with a reserved folder.
        """
        path = Path(given)
        whole = path if path.name not in ("", "..") else Path(os.path.realpath(path))
        if not whole.name:
            raise UsageError(f"Cannot put an asset at {str(given)!r}: name a path below it.")
        found = cls(whole.absolute())
        real = Path(os.path.realpath(whole.parent)) / whole.name
        for each in reserved():
            folder = Path(os.path.realpath(each.folder))
            if real in folder.parents:
                problem = f"it contains {each.what}, {str(folder)!r}. Use another path."
            elif real == folder or folder in real.parents:
                problem = f"{each.what} is {str(folder)!r}. Use a path outside it."
            else:
                continue
            raise UsageError(f"Cannot put an asset at {str(given)!r}: {problem}")
        if os.path.ismount(found.path):
            raise UsageError(
                f"Cannot put an asset at {str(given)!r}: it is a mount point, which can't be replaced. "
                f"Name a path below it, such as {str(path / 'current')!r}."
            )
        return found

    @property
    def label(self) -> str:
        """The path, for log messages."""
        return str(self.path)

    @property
    def own_folder(self) -> Path:
        """The folder next to the path."""
        return self.path.with_name(f".{self.path.name}.aioassets")

    @property
    def lock_file(self) -> Path:
        """The file that is locked while the payload is replaced."""
        return self.own_folder / "lock"

    def new_staging(self) -> Path:
        """Return a unique path for a new staging folder."""
        return self.own_folder / new_suffix(STAGING)

    def require_replaceable(self, *, discard_changes: bool) -> Occupant:
        """Return what is at the path.

        Args:
            discard_changes: whether changes of what aioassets put there may be lost.

        Raises:
            DestinationOccupied: if it was not put there by aioassets, or was changed since.
        """
        occupant = self._occupant(fingerprint(str(self.path)))
        if not (occupant.is_replaceable or (discard_changes and occupant.receipts)):
            raise self._occupied(occupant)
        return occupant

    def check_unchanged(self, occupant: Occupant, path: str) -> None:
        """Check that what was moved to a path is the occupant, or another process's delivery. Can't be cancelled.

        Raises:
            DestinationOccupied: if it was changed.
        """
        found = self._occupant(fingerprint(path, no_check))
        if found.fingerprint != occupant.fingerprint and not found.matching:
            raise self._occupied(found)

    def _occupant(self, found: str | None) -> Occupant:
        return Occupant(found, receipts_in(self.own_folder))

    def _occupied(self, occupant: Occupant) -> DestinationOccupied:
        return DestinationOccupied(str(self.path), occupant.receipts[-1].spec if occupant.receipts else None)

    def create_staging(self, folder: Path) -> None:
        """Create a staging folder, and remove those of processes that have ended."""
        create_owned(folder)
        now = folder.stat().st_mtime
        for other in self._staging_folders():
            with contextlib.suppress(OSError):  # another user's folder
                if other != folder and is_abandoned(other, now):
                    remove(other)

    def is_busy(self) -> bool:
        """Return whether another process is replacing the payload, or was interrupted while it did."""
        return self.lock_file.exists() or bool(self._staging_folders())

    def _staging_folders(self) -> list[Path]:
        names = os.listdir(self.own_folder) if self.own_folder.is_dir() else []
        return [self.own_folder / name for name in names if name.startswith(STAGING)]

    def try_lock(self) -> int | None:
        """Try to take the lock. Return a descriptor to pass to `unlock`, or `None` if the lock is already held."""
        return take_lock(self.lock_file)

    def unlock(self, descriptor: int) -> None:
        """Release the lock and remove the lock file."""
        release_lock(self.lock_file, descriptor)
