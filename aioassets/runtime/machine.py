"""Identifying the current process and its machine, and checking whether other processes are alive."""

from __future__ import annotations

import contextlib
import functools
import getpass
import hashlib
import os
import platform
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from aioassets.model.pusher import Pusher

_ENDED: Final = ("Z", "X")
"""States of a process that has ended but whose parent hasn't waited for it yet."""


@functools.cache
def machine_id() -> str:
    """Return a digest that identifies this machine, its current boot and the PID namespace."""
    parts = (
        platform.node(),
        _contents("/proc/sys/kernel/random/boot_id"),
        _link("/proc/self/ns/pid"),
    )
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]


def process_started(pid: int) -> str:
    """Return the start time of a process on this machine, in the system's format; empty if unknown."""
    return _process(pid)[1]


def process_is_gone(pid: int, started: str) -> bool:
    """Return whether a process on this machine has ended, even if its PID has been reused."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except (PermissionError, OverflowError):
        pass
    state, now_started = _process(pid)
    return state in _ENDED or (bool(started) and now_started not in ("", started))


def _process(pid: int) -> tuple[str, str]:
    """Return the state and the start time of a process, both empty if unknown."""
    # The name, the second field, may contain spaces and parentheses. The start time is the 20th field after it.
    fields = _contents(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return (fields[0], fields[19]) if len(fields) > 19 else ("", "")


@dataclass(frozen=True, slots=True)
class Claimant:
    """A process that claims version numbers.

    Attributes:
        machine: a digest that identifies the machine, its current boot and the PID namespace.
        pid: the process ID on that machine.
        started: the start time of the process, to recognise reused process IDs.
        holder: the user and host, for messages.
    """

    machine: str
    pid: int
    started: str
    holder: Pusher


def _text(name: str | None) -> str | None:
    """Return a name of the system with `?` for bytes that aren't valid UTF-8; `None` if there is no name."""
    return name.encode(errors="replace").decode() if name else None


class Machine:
    """The machine that the current process runs on, and the processes on it. Simulations use a different one.

    Attributes:
        live_claims: the tokens of claims that pushes of the current process hold or are trying to acquire.
    """

    def __init__(self) -> None:
        self.live_claims: set[str] = set()

    def this_process(self, *, user: bool, host: bool) -> Claimant:
        """Return the current process, with its user and host if requested. Blocking."""
        name = None
        if user:
            with contextlib.suppress(OSError, KeyError):  # in containers, users may have no name
                name = getpass.getuser()
        holder = Pusher(_text(name), _text(platform.node()) if host else None)
        pid = os.getpid()
        return Claimant(machine_id(), pid, process_started(pid), holder)

    def is_gone(self, machine: str, pid: int, started: str) -> bool:
        """Return whether a process is known to have ended. Only processes on this machine can be checked. Blocking."""
        return machine == machine_id() and process_is_gone(pid, started)

    def is_this_process(self, machine: str, pid: int, started: str) -> bool:
        """Return whether the given process is the current one. Blocking."""
        return pid == os.getpid() and (machine, started) == (machine_id(), process_started(pid))


_machine: ContextVar[Machine] = ContextVar("aioassets_machine", default=Machine())  # noqa: B039 - the real one


def current_machine() -> Machine:
    """Return the machine that the current process runs on, or a simulated one."""
    return _machine.get()


@contextlib.contextmanager
def on_machine(machine: Machine) -> Iterator[None]:
    """Replace the machine within a `with` block and the tasks that it starts."""
    token = _machine.set(machine)
    try:
        yield
    finally:
        _machine.reset(token)


def this_process(*, user: bool, host: bool) -> Claimant:
    """Return the current process, with its user and host if requested. Blocking."""
    return current_machine().this_process(user=user, host=host)


def _contents(path: str) -> str:
    with contextlib.suppress(OSError):
        return Path(path).read_text(encoding="utf-8", errors="replace").strip()
    return ""


def _link(path: str) -> str:
    with contextlib.suppress(OSError):
        return os.readlink(path)
    return ""
