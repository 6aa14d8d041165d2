"""What a file system refuses, in words, and how much room it has."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Final

from aioassets.errors import AccessDenied

FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
"""There is no room, or no room for this user."""
DENIED: Final = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})

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


def room(folder: Path) -> int | None:
    """Bytes that may be written to a folder's file system; `None` where it doesn't tell."""
    status = os.statvfs(folder)
    if not status.f_blocks:
        return None
    return status.f_frsize * (status.f_bavail if os.geteuid() else status.f_bfree)
