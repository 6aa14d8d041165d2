"""File system operations: error messages, free space, new files, copying and atomic writes."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import BinaryIO, Final, TypeVar

from aioassets.errors import AccessDenied

T = TypeVar("T")

FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
"""Error numbers for a full disk or an exceeded quota."""
DENIED: Final = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
"""Error numbers for denied permissions."""
UNLOCKABLE: Final = frozenset({errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL})
"""Error numbers of `flock` for a file system that has no locks."""
READING: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
"""Flags for opening a file for reading without blocking, even if it has been replaced by a pipe or terminal."""
STALE_TRIES: Final = 3
"""Maximum number of attempts for an operation that fails with `ESTALE`."""
BUFFER: Final = 1024 * 1024
"""Number of bytes to read at once for hashing or copying. With pieces of this size, threads seldom wait for the GIL."""
BLOCK: Final = 4096
"""Size in bytes of the blocks of most file systems, which their files can share."""

_FICLONE: Final = 0x40049409
"""The request of `ioctl` by which a file shares the blocks of another, from linux/fs.h. Other systems refuse it."""
_HINTS: Final = {
    **dict.fromkeys(FULL, "free some disk space and try again"),
    errno.EFBIG: "the file is larger than the file system or a process limit allows",
    errno.EIO: "the disk may be failing",
    errno.EMFILE: "raise the limit on open files (ulimit -n)",
    errno.ENOLCK: "the file system does not support locks; use another folder",
    **dict.fromkeys(
        (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP),
        "the file system does not support this operation (for example, locks or hard links); use another folder",
    ),
    errno.ESTALE: "the network file system's server has replaced or removed the file; try again",
    errno.EXDEV: "part of the folder is on another file system",
}


def again_if_stale(work: Callable[..., T], *args: object) -> T:
    """Run a function that is safe to repeat, and retry it if it fails with `ESTALE`. Blocking.

    The error means that a network file system's server has replaced the file since it was looked up.
    """
    for _ in range(STALE_TRIES - 1):
        try:
            return work(*args)
        except OSError as error:
            if error.errno != errno.ESTALE:
                raise
    return work(*args)


def open_making_folder(path: str, flags: int) -> int:
    """Open a file, creating its folder if necessary."""
    with contextlib.suppress(FileNotFoundError):
        return os.open(path, flags, 0o666)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    return os.open(path, flags, 0o666)


def reason(error: OSError) -> str:
    """Return why an operation failed and, if known, what to do. The text doesn't end with a full stop."""
    why = error.strerror or str(error)
    hint = _HINTS.get(error.errno or 0)
    return f"{why}; {hint}" if hint else why


def denied(where: str, doing: str, error: OSError) -> AccessDenied:
    """Return the exception for an `OSError` whose error number is in `DENIED`."""
    advice = "Check the owner and permissions, and those of the parent folders."
    if error.errno == errno.EROFS:
        advice = "Mount the file system with write access, or use another folder."
    return AccessDenied(where, doing, f"{error.strerror}.", advice)


def free_bytes(folder: Path) -> int | None:
    """Return the free space on a folder's file system in bytes, or `None` if it isn't reported."""
    status = os.statvfs(folder)
    if not status.f_blocks:
        return None
    return status.f_frsize * (status.f_bavail if os.geteuid() else status.f_bfree)


def create_file(path: str, *, executable: bool) -> int:
    """Create a file for reading and writing, and return its descriptor. Raise `FileExistsError` if it exists."""
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o777 if executable else 0o666)


def clone_file(source: int, target: int) -> bool:
    """Let an empty open file share the blocks of another one, as a copy that takes neither time nor space. Blocking.

    Returns:
        Whether the file system did so. Of those in general use on Linux, Btrfs and XFS can.
    """
    if sys.platform != "linux":
        return False
    try:
        fcntl.ioctl(target, _FICLONE, source)
    except OSError:
        return False
    return True


def copy_range(source: int, target: int, start: int, stop: int, *, to: int | None = None) -> bool:
    """Copy bytes from one open file to another. Blocking.

    If possible, the kernel copies them or lets both files share the same blocks.

    Args:
        source: the descriptor to read from.
        target: the descriptor to write to.
        start: the offset of the first byte in the source.
        stop: the offset after the last byte in the source.
        to: the offset of the first byte in the target; by default, the same as in the source.

    Returns:
        Whether all bytes were copied. If not, the caller can read and write them itself to find out why.
    """
    shift = 0 if to is None else to - start
    try:
        start = _copied_by_system(source, target, start, stop, shift)
        return _copied_plainly(source, target, start, stop, shift)
    except OSError:
        return False


def _copied_by_system(source: int, target: int, start: int, stop: int, shift: int) -> int:
    """Copy as much as possible in the kernel, and return the offset of the first byte that wasn't copied.

    Blocks can be shared only from their beginning. So the bytes before the first whole block are copied separately.
    """
    first = min(stop, -(-start // BLOCK) * BLOCK)
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            for end in (first, stop):
                while start < end and (count := os.copy_file_range(source, target, end - start, start, start + shift)):
                    start += count
    return start


def _copied_plainly(source: int, target: int, start: int, stop: int, shift: int) -> bool:
    buffer = memoryview(bytearray(min(BUFFER, stop - start)))
    while start < stop and (count := os.preadv(source, [buffer[: stop - start]], start)):
        write_at(target, buffer[:count], start + shift)
        start += count
    return start == stop


def write_at(descriptor: int, data: bytes | bytearray | memoryview, offset: int) -> None:
    """Write all data to an open file at an offset. Blocking."""
    view = memoryview(data)
    while view:
        written = os.pwrite(descriptor, view, offset)
        offset += written
        view = view[written:]


def write_all_at(descriptor: int, pieces: Iterable[bytes | memoryview], offset: int) -> None:
    """Write consecutive pieces to an open file, starting at an offset. Blocking."""
    for piece in pieces:
        write_at(descriptor, piece, offset)
        offset += len(piece)


def write_atomically(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write a file so that it appears either complete or not at all. Blocking."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("wb") as file:
            write(file)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
