"""Owners of staging folders. A folder counts as abandoned once the process that owns it has ended."""

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
"""Number of seconds without a write after which a folder with an unknown owner counts as abandoned. Requests time out
earlier."""


def create_owned(folder: Path) -> None:
    """Create a staging folder and record that it belongs to the current process. Blocking."""
    folder.mkdir(parents=True)
    me = current_machine().this_process(user=False, host=False)
    with contextlib.suppress(OSError):  # a full disk is reported later, when the download needs space
        (folder / OWNER).write_text(json.dumps([me.machine, me.pid, me.started]), encoding="utf-8")


def is_abandoned(folder: Path, now: float) -> bool:
    """Return whether a staging folder is abandoned because the process that created it has ended. Blocking.

    If it is unknown whether that process has ended, the folder is abandoned after an hour without a write. Symbolic
    links always count as abandoned. So do folders without a unique name: only early releases used them, and only
    while they held the lock, which the caller holds now.

    Args:
        folder: the folder.
        now: the current Unix time in seconds.
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
    """Remove a file or folder if it exists. Symbolic links are removed, not followed. Blocking."""
    if path.is_symlink() or path.is_file():
        path.unlink(missing_ok=True)
    elif path.exists():
        shutil.rmtree(path)


def _last_write(folder: Path) -> float:
    """Return the latest modification time in a folder, as Unix time in seconds."""
    inner = (os.path.join(base, name) for base, folders, files in os.walk(folder) for name in (*folders, *files))
    times = [0.0]
    for path in (str(folder), *inner):
        with contextlib.suppress(FileNotFoundError):
            times.append(os.lstat(path).st_mtime)
    return max(times)
