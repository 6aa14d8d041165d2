"""Renaming without replacing anything, and exchanging two paths in one step. Blocking.

Python has no functions for these system calls of Linux and macOS, so they are called through `ctypes`.
"""

from __future__ import annotations

import errno
import functools
import os
import sys
from collections.abc import Callable
from typing import Final

_UNSUPPORTED: Final = frozenset({errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EXDEV})
"""Error numbers with which a system or a file system, such as NFS, refuses the flags of a rename. overlayfs refuses to
rename folders of lower layers with `EXDEV`."""
_AT_FDCWD: Final = -100
"""Directory descriptor for paths relative to the current directory, from linux/fcntl.h."""
_NEW, _SWAP = (4, 2) if sys.platform == "darwin" else (1, 2)
"""`RENAME_EXCL` and `RENAME_SWAP` from macOS's stdio.h; `RENAME_NOREPLACE` and `RENAME_EXCHANGE` from linux/fs.h."""


def rename_new(source: str, target: str) -> None:
    """Rename a file, folder or link.

    If the file system can't check the target in the same step, it is checked just before.

    Raises:
        FileExistsError: if there is anything at the target.
    """
    if _renamed(source, target, _NEW):
        return
    if os.path.lexists(target):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), target)
    os.rename(source, target)


def move_new(source: str, target: str) -> None:
    """Rename as `rename_new` does. If the file system can't rename this folder, move what is in it one by one.

    Raises:
        FileExistsError: if there is anything at the target.
    """
    try:
        rename_new(source, target)
    except OSError as error:
        if error.errno != errno.EXDEV or not os.path.isdir(source):
            raise
        _move_content(source, target)


def _move_content(source: str, target: str) -> None:
    os.mkdir(target)
    for entry in list(os.scandir(source)):
        moved = os.path.join(target, entry.name)
        if entry.is_dir(follow_symlinks=False):
            _move_content(entry.path, moved)
        else:
            os.rename(entry.path, moved)
    os.rmdir(source)


def exchange(one: str, other: str) -> bool:
    """Exchange two files, folders or links in one step. Return `False` if the file system can't."""
    return _renamed(one, other, _SWAP)


def _renamed(source: str, target: str, flag: int) -> bool:
    """Rename with a flag. Return `False` if the flag isn't supported."""
    rename = _system_call()
    number = rename(os.fsencode(source), os.fsencode(target), flag) if rename is not None else errno.ENOSYS
    if not number:
        return True
    if number in _UNSUPPORTED:
        return False
    raise OSError(number, os.strerror(number), target)


@functools.cache
def _system_call() -> Callable[[bytes, bytes, int], int] | None:
    """Return a function that renames and returns an error number, or `None` if the C library has no such function."""
    import ctypes  # noqa: PLC0415 - rarely needed, and takes longer to import than this module

    library = ctypes.CDLL(None, use_errno=True)
    on_macos = sys.platform == "darwin"
    function = getattr(library, "renamex_np" if on_macos else "renameat2", None)
    if function is None:  # musl before 1.2.6
        return None

    def rename(source: bytes, target: bytes, flag: int) -> int:
        paths = (source, target) if on_macos else (ctypes.c_int(_AT_FDCWD), source, ctypes.c_int(_AT_FDCWD), target)
        return ctypes.get_errno() if function(*paths, ctypes.c_uint(flag)) else 0

    return rename
