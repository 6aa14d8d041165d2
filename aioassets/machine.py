"""Who and where this process is, and whether another one still lives."""

from __future__ import annotations

import contextlib
import functools
import getpass
import hashlib
import os
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from aioassets.manifest import Pusher

_ENDED: Final = ("Z", "X")
"""States of processes that have ended, and whose parent hasn't taken note of it."""


@functools.cache
def machine_id() -> str:
    """A digest that is equal for processes that can see one another: same host, boot and pid namespace."""
    parts = (
        platform.node(),
        _contents("/proc/sys/kernel/random/boot_id"),
        _link("/proc/self/ns/pid"),
    )
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]


def process_started(pid: int) -> str:
    """When a process of this machine started, as the system tells it; empty where it doesn't."""
    return _process(pid)[1]


def process_is_gone(pid: int, started: str) -> bool:
    """Whether a process of this machine has ended (its pid may be in use again)."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except (PermissionError, OverflowError):
        pass
    state, now_started = _process(pid)
    return state in _ENDED or (bool(started) and now_started not in ("", started))


def _process(pid: int) -> tuple[str, str]:
    """The state of a process and when it started, as the system tells it."""
    # The name in the second field may hold spaces and parentheses; the start is the 20th field behind it.
    fields = _contents(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return (fields[0], fields[19]) if len(fields) > 19 else ("", "")


@dataclass(frozen=True, slots=True)
class Claimant:
    """A process that claims version numbers.

    Attributes:
        machine: a digest that is equal for processes that can see one another.
        pid: its id, on that machine.
        started: when it started, as the system tells it; tells reused ids apart.
        holder: who pushes, for people.
    """

    machine: str
    pid: int
    started: str
    holder: Pusher


def this_process(*, user: bool, host: bool) -> Claimant:
    """This process, with as much of its user and machine as may be told. Blocking."""
    name = None
    if user:
        with contextlib.suppress(OSError, KeyError):  # a user without a name, as in some containers
            name = getpass.getuser()
    holder = Pusher(name, platform.node() or None if host else None)
    pid = os.getpid()
    return Claimant(machine_id(), pid, process_started(pid), holder)


def _contents(path: str) -> str:
    with contextlib.suppress(OSError):
        return Path(path).read_text(encoding="utf-8", errors="replace").strip()
    return ""


def _link(path: str) -> str:
    with contextlib.suppress(OSError):
        return os.readlink(path)
    return ""
