"""Acting as other users, and recording attempts to write."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

NOBODY = 65534


@contextlib.contextmanager
def acting_as(user: int, *, group: int | None = None, umask: int | None = None) -> Iterator[None]:
    """Act as another user, if this process has root's privileges. Otherwise change nothing."""
    before = os.umask(umask) if umask is not None else None
    is_root = os.getuid() == 0
    if is_root:
        os.setegid(user if group is None else group)
        os.seteuid(user)
    try:
        yield
    finally:
        if is_root:
            os.seteuid(0)
            os.setegid(0)
        if before is not None:
            os.umask(before)


class _Watch:
    """Recorder of the interpreter's audit events that change the file system."""

    CHANGING = frozenset(
        {
            "os.chmod",
            "os.chown",
            "os.link",
            "os.mkdir",
            "os.remove",
            "os.rename",
            "os.rmdir",
            "os.symlink",
            "os.truncate",
            "os.utime",
        }
    )
    WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC

    def __init__(self) -> None:
        self.below: Path | None = None
        self.seen: list[str] = []

    def hook(self, event: str, args: tuple[object, ...]) -> None:
        if self.below is None:
            return
        if event in self.CHANGING or (event == "open" and isinstance(args[2], int) and args[2] & self.WRITING):
            self.seen += [f"{event} {path}" for path in args[:2] if str(path).startswith(str(self.below))]


_WATCH = _Watch()
sys.addaudithook(_WATCH.hook)  # hooks can't be removed


@contextlib.contextmanager
def attempts_to_write(below: Path) -> Iterator[list[str]]:
    """Collect every attempt of this process to change anything below a folder."""
    _WATCH.below, _WATCH.seen = below, []
    try:
        yield _WATCH.seen
    finally:
        _WATCH.below = None
