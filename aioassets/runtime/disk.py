"""What a file system refuses, in words, how much room it has, and what it copies by itself."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import BinaryIO, Final

from aioassets.errors import AccessDenied

FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
"""There is no room, or no room for this user."""
DENIED: Final = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
READING: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
"""Doesn't wait where a file was replaced by a pipe or a terminal."""
BUFFER: Final = 1024 * 1024
"""Bytes that are read at once to be hashed or copied: so many that a thread seldom waits for the interpreter."""

_HINTS: Final = {
    **dict.fromkeys(FULL, "free some space there and try again"),
    errno.EFBIG: "its file system, or a limit of this process, takes no file of this size",
    errno.EIO: "its disk may be failing",
    errno.EMFILE: "let this process open more (ulimit -n)",
    errno.ENOLCK: "its file system must know locks; use another folder",
}


def reason(error: OSError) -> str:
    """Why something failed, and what to do where that is known; without a full stop."""
    why = error.strerror or str(error)
    hint = _HINTS.get(error.errno or 0)
    return f"{why}; {hint}" if hint else why


def denied(where: str, doing: str, error: OSError) -> AccessDenied:
    """The error for what the file system doesn't allow, told by `DENIED`."""
    advice = "Check its owner and permissions, and those of the folders above it."
    if error.errno == errno.EROFS:
        advice = "Mount it writable, or use another folder."
    return AccessDenied(where, doing, f"{error.strerror}.", advice)


def free_bytes(folder: Path) -> int | None:
    """Bytes that may be written to a folder's file system; `None` where it doesn't tell."""
    status = os.statvfs(folder)
    if not status.f_blocks:
        return None
    return status.f_frsize * (status.f_bavail if os.geteuid() else status.f_bfree)


def copy_range(source: int, target: int, start: int, stop: int) -> bool:
    """Copy bytes from one open file to the same place of another. Blocking.

    The system does it where it can: it shares the blocks, or copies them without this process.

    Returns:
        `False` where either file failed or the source ends before: who reads and writes then learns why.
    """
    try:
        start = _copied_by_system(source, target, start, stop)
        return _copied_plainly(source, target, start, stop)
    except OSError:
        return False


def _copied_by_system(source: int, target: int, start: int, stop: int) -> int:
    """How far the system came: not between all kinds of file systems, and not on all kernels."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            while start < stop and (count := os.copy_file_range(source, target, stop - start, start, start)):
                start += count
    return start


def _copied_plainly(source: int, target: int, start: int, stop: int) -> bool:
    buffer = memoryview(bytearray(min(BUFFER, stop - start)))
    while start < stop and (count := os.preadv(source, [buffer[: stop - start]], start)):
        write_at(target, buffer[:count], start)
        start += count
    return start == stop


def write_at(descriptor: int, data: bytes | bytearray | memoryview, offset: int) -> None:
    """Write all of the data to a place of an open file. Blocking."""
    view = memoryview(data)
    while view:
        written = os.pwrite(descriptor, view, offset)
        offset += written
        view = view[written:]


def write_all_at(descriptor: int, pieces: Iterable[bytes | memoryview], offset: int) -> None:
    """Write pieces one behind the other, from a place of an open file on. Blocking."""
    for piece in pieces:
        write_at(descriptor, piece, offset)
        offset += len(piece)


def write_atomically(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Make a file appear whole, or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("wb") as file:
            write(file)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
