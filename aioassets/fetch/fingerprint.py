"""Fingerprints of files and folders, which tell whether anything was changed since they were written."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from typing import Final

from aioassets.runtime.threads import check_cancelled

_EMPTY_FOLDER: Final = hashlib.sha256(b"folder\0\n").hexdigest()

LOOKS: Final = 20
"""Number of times to look at a path that is being replaced."""


def fingerprint(path: str, check: Callable[[], None] = check_cancelled) -> str | None:
    """Return a digest of the names, types, sizes, times and executable bits of a file, or of all files in a folder.

    The modification times are those in nanoseconds, so the fingerprint shows changes that keep all sizes, and differs
    between copies. A symbolic link counts by its target, and isn't followed. Blocking.

    Another process may exchange the folder at the same time. Then it is looked at again, so that a fingerprint is never
    that of a mixture.

    Args:
        path: the path.
        check: a function that is called for each folder, and may raise an exception.

    Returns:
        The digest; `None` if nothing exists at the path.
    """
    for _ in range(LOOKS):
        before = _state(path)
        if before is None:
            return None
        try:
            found = _digest(path, check)
        except (FileNotFoundError, NotADirectoryError):
            continue
        if _state(path) == before:
            return found
    return _digest(path, check)


def _state(path: str) -> tuple[int, ...] | None:
    """Return what changes when another file or folder is moved to a path; `None` if nothing exists there."""
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino, status.st_mtime_ns, status.st_ctime_ns


def _digest(path: str, check: Callable[[], None]) -> str:
    digest = hashlib.sha256()
    for line in _lines(path, check):
        digest.update(line)
    return digest.hexdigest()


def is_empty_folder(found: str) -> bool:
    """Return whether a fingerprint is that of an empty folder."""
    return found == _EMPTY_FOLDER


def _lines(path: str, check: Callable[[], None]) -> Iterator[bytes]:
    pending = [""]
    while pending:
        name = pending.pop()
        status = os.lstat(path + name)
        shown = os.fsencode(name)
        if stat.S_ISLNK(status.st_mode):
            yield b"link\0%b\0%b\n" % (shown, os.fsencode(os.readlink(path + name)))
        elif stat.S_ISDIR(status.st_mode):
            check()
            yield b"folder\0%b\n" % shown
            pending += (f"{name}/{entry}" for entry in sorted(os.listdir(path + name), reverse=True))
        else:
            kind, is_executable = stat.S_IFMT(status.st_mode), bool(status.st_mode & stat.S_IXUSR)
            details = b"%d %d %d %d" % (kind, status.st_size, status.st_mtime_ns, is_executable)
            yield b"file\0%b\0%b\n" % (shown, details)
