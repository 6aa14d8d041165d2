"""Usage of cached versions: whether a process holds them, and when they were last used."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from aioassets.fetch.directory import LEASE, USED
from aioassets.fetch.entry import CacheEntry
from aioassets.runtime.machine import current_machine

LEASE_LASTS: Final = 24 * 3600.0
"""Seconds after which a lease of another machine that wasn't renewed counts as dead."""

_LEASE: Final = re.compile(
    rf"(?P<version>.*){re.escape(LEASE)}(?P<machine>[0-9a-f]+)-(?P<pid>\d+)-(?P<started>\w*)-\d+"
)


@dataclass(slots=True)
class Usage:
    """The usage of one version.

    Attributes:
        is_held: whether a live process holds the version.
        last_used: the time of the last use that was recorded, as Unix time in seconds; 0 if there is none.
        dead: the leases of processes that have ended.
    """

    is_held: bool = False
    last_used: float = 0.0
    dead: list[Path] = field(default_factory=list)


def unix_time() -> float:
    """Return the current Unix time in seconds, to compare with modification times."""
    return time.time()


def usage_in(folder: Path) -> dict[str, Usage]:
    """Return the usage of versions by version, given an asset's folder below `OWN_FOLDER`. Blocking."""
    found: dict[str, Usage] = {}
    for name in _names_in(folder):
        path = folder / name
        if (lease := _LEASE.fullmatch(name)) is not None:
            usage = found.setdefault(lease["version"], Usage())
            modified = modified_at(path)
            if modified is None:
                continue
            if _is_live(lease, unix_time() - modified):
                usage.is_held = True
            else:
                usage.dead.append(path)
        elif name.endswith(USED):
            usage = found.setdefault(name.removesuffix(USED), Usage())
            modified = modified_at(path)
        else:
            continue
        usage.last_used = max(usage.last_used, modified or 0.0)
    return found


def usage_of(entry: CacheEntry) -> Usage:
    """Return the usage of one version. Blocking."""
    return usage_in(entry.record_file.parent).get(entry.version, Usage())


def retire(leases: Iterable[Path]) -> None:
    """Remove the leases of processes that have ended, but keep the time of the last use. Blocking."""
    for lease in leases:
        used = lease.with_name(lease.name.rpartition(LEASE)[0] + USED)
        with contextlib.suppress(OSError):
            if (modified_at(lease) or 0.0) > (modified_at(used) or 0.0):
                os.replace(lease, used)
            else:
                lease.unlink()


def modified_at(path: Path) -> float | None:
    """Return the modification time of a file as Unix time in seconds, or `None` if it doesn't exist. Blocking."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return None


def _names_in(folder: Path) -> list[str]:
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        return os.listdir(folder)
    return []


def _is_live(lease: re.Match[str], age: float) -> bool:
    here = current_machine()
    if lease["machine"] == here.this_process(user=False, host=False).machine:
        return not here.is_gone(lease["machine"], int(lease["pid"]), lease["started"])
    return age < LEASE_LASTS
