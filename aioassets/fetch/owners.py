"""Owners of staging folders: processes, by which a folder of a dead fetch is recognized."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from pathlib import Path
from typing import Final

from aioassets.fetch.directory import STAGING
from aioassets.runtime.machine import current_machine

OWNER: Final = "owner"
ABANDONED_AFTER: Final = 3600.0
"""Seconds without a write after which the folder of an unknown process is abandoned. Requests time out much earlier."""


def create_owned(folder: Path) -> None:
    """Create a staging folder, and note that it belongs to this process. Blocking."""
    folder.mkdir(parents=True)
    me = current_machine().this_process(user=False, host=False)
    with contextlib.suppress(OSError):  # a full disk is reported when the download needs it
        (folder / OWNER).write_text(json.dumps([me.machine, me.pid, me.started]), encoding="utf-8")


def is_abandoned(folder: Path, now: float) -> bool:
    """Return whether the process that created a staging folder has ended, as far as this machine can tell. Blocking.

    Args:
        folder: the folder. Early versions used one for all fetches of a version, whose owner held the lock.
        now: the time, in seconds since the epoch.
    """
    if STAGING not in folder.name or folder.is_symlink():
        return True
    here = current_machine()
    with contextlib.suppress(OSError, ValueError, TypeError):
        machine, pid, started = json.loads((folder / OWNER).read_bytes())
        if machine == here.this_process(user=False, host=False).machine:
            return here.is_gone(machine, pid, started)
    return now - _last_write(folder) > ABANDONED_AFTER


def remove(path: Path) -> None:
    """Remove a file or a folder, if there is one. A link in its place is removed, not followed. Blocking."""
    if path.is_symlink() or path.is_file():
        path.unlink(missing_ok=True)
    elif path.exists():
        shutil.rmtree(path)


def _last_write(folder: Path) -> float:
    """Return the time of the last write in a folder, in seconds since the epoch."""
    inner = (os.path.join(base, name) for base, folders, files in os.walk(folder) for name in (*folders, *files))
    times = [0.0]
    for path in (str(folder), *inner):
        with contextlib.suppress(FileNotFoundError):
            times.append(os.lstat(path).st_mtime)
    return max(times)
