"""Locks for a folder store, and the check that they work on its file system."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from aioassets.errors import StoreUnsuitable
from aioassets.runtime.disk import UNLOCKABLE, again_if_stale, open_making_folder, reason

STRIPES: Final = 64
"""The number of lock files. Each key always maps to the same file, and the files are never removed."""
MOUNTS: Final = "/proc/self/mountinfo"
"""The file systems that the current process sees on Linux; see proc_pid_mountinfo(5)."""

_REFUSED: Final = frozenset({errno.EWOULDBLOCK, errno.EACCES})
"""Error numbers that mean that another descriptor holds the lock."""
_NFS: Final = frozenset({"nolock", "local_lock=flock", "local_lock=all"})
_NODE_LOCAL: Final = {
    "nfs": _NFS,
    "nfs4": _NFS,
    "lustre": frozenset({"localflock", "noflock"}),
    "gfs2": frozenset({"localflocks"}),
    "ocfs2": frozenset({"localflocks"}),
    "cifs": frozenset({"nobrl"}),
    "smb3": frozenset({"nobrl"}),
}
"""Mount options of shared file systems with which `flock` excludes only processes on the same machine."""
_NEEDED: Final = {"lustre": "flock"}
"""Mount options of shared file systems without which `flock` doesn't exclude processes on other machines."""


@dataclass(frozen=True, slots=True)
class Mount:
    """A mounted file system.

    Attributes:
        point: where it is mounted.
        kind: its type, such as `ext4`.
        options: the options of the mount and the file system.
    """

    point: str
    kind: str
    options: frozenset[str]

    @classmethod
    def parse(cls, line: str) -> Mount:
        """Parse a line of a mountinfo file."""
        fields, _, rest = line.partition(" - ")
        kind, _, options = rest.split(" ", 2)
        _, _, _, _, point, own, *_ = fields.split(" ")
        # Spaces, tabs, line breaks and backslashes are escaped in octal, such as \040.
        return cls(_unescaped(point), kind, frozenset(f"{own},{options}".strip().split(",")))

    def holds(self, path: str) -> bool:
        """Return whether a path without symbolic links is at or below the mount point."""
        return path == self.point or path.startswith(f"{self.point.rstrip('/')}/")

    @property
    def flaw(self) -> str:
        """The reason why locks don't exclude processes on other machines; empty if none is known."""
        found = sorted(_NODE_LOCAL.get(self.kind, frozenset()) & self.options)
        needed = _NEEDED.get(self.kind)
        if found:
            return f"mounted with {found[0]}"
        return f"mounted without {needed}" if needed is not None and needed not in self.options else ""


def mount_of(path: str, mounts: str) -> Mount | None:
    """Return the mount that contains a path without symbolic links, or `None`. Later mounts hide earlier ones.

    Args:
        path: the path.
        mounts: the content of a mountinfo file.
    """
    found: Mount | None = None
    for line in mounts.splitlines():
        with contextlib.suppress(ValueError):
            mount = Mount.parse(line)
            if mount.holds(path) and (found is None or len(mount.point) >= len(found.point)):
                found = mount
    return found


def current_mount(path: str) -> Mount | None:
    """Return the mount that contains a path, or `None` if the system doesn't provide this information."""
    try:
        mounts = Path(MOUNTS).read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return None
    return mount_of(os.path.realpath(path), mounts)


class FolderLocks:
    """Locks for the keys of a folder store, which use `flock(2)`.

    Methods block and raise `OSError`.

    Args:
        root: the folder.
        own_folder: the folder for lock files and temporary files.
    """

    def __init__(self, root: str, own_folder: str) -> None:
        self._root = root
        self._own_folder = own_folder
        self._checked = False

    @contextlib.contextmanager
    def holding(self, key: str, *, optional: bool = False) -> Iterator[None]:
        """Hold the lock for a key.

        Args:
            key: the key.
            optional: whether to continue without a lock if the file system doesn't support locks.
        """
        descriptor = again_if_stale(self._locked, key, optional)
        try:
            yield
        finally:
            os.close(descriptor)

    def _locked(self, key: str, optional: bool) -> int:
        path = os.path.join(self._own_folder, "locks", f"{zlib.crc32(key.encode()) % STRIPES:02d}")
        descriptor = open_making_folder(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        except OSError as error:
            if not (optional and error.errno in UNLOCKABLE):
                os.close(descriptor)
                raise
        return descriptor

    def require(self) -> None:
        """Check that locks work, unless this has already been done.

        Raises:
            StoreUnsuitable: they don't work, or don't exclude processes on other machines.
        """
        if self._checked:
            return
        try:
            holds = again_if_stale(self._excludes)
        except OSError as error:
            if error.errno not in UNLOCKABLE:
                raise
            raise self._unsuitable(f"locking a file failed: {reason(error)}") from error
        if not holds:
            raise self._unsuitable("its locks don't work: the same file could be locked twice")
        mount = current_mount(self._root)
        if mount is not None and mount.flaw:
            raise self._unsuitable(
                f"its locks don't exclude processes on other machines ({mount.kind} at {mount.point!r}, {mount.flaw})"
            )
        self._checked = True

    def _excludes(self) -> bool:
        """Return whether a second lock on the same file is refused. The check needs two open file descriptions."""
        path = os.path.join(self._own_folder, "tmp", secrets.token_hex(16))
        first = open_making_folder(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC)
        try:
            second = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            try:
                fcntl.flock(first, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return not _is_free(second)
            finally:
                os.close(second)
        finally:
            os.close(first)
            os.unlink(path)

    def _unsuitable(self, observed: str) -> StoreUnsuitable:
        return StoreUnsuitable(Path(self._root).as_uri(), observed)


def _is_free(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in _REFUSED:
            raise
        return False
    return True


def _unescaped(text: str) -> str:
    for character in " \t\n\\":
        text = text.replace(f"\\{ord(character):03o}", character)
    return text
