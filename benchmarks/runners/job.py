"""Input and output of a runner."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

KEY: Final = "data"
"""Name of the data in the store: an asset's name, a key, or a prefix."""


@dataclass(frozen=True, slots=True)
class Job:
    """One run of one contestant. The environment has the address and the credentials of the store.

    Attributes:
        action: `push`, `fetch`, or another action that the runner knows.
        source: the file or folder to push.
        target: a new folder to fetch to.
        bucket: its URL, or a folder for a local store.
        opening: whether to measure the opening of the client, too.
        apart: whether each folder of the source is an asset of its own.
        command: the command to measure, for the runner of processes.
    """

    action: str
    source: str
    target: str
    bucket: str
    opening: bool = False
    apart: bool = False
    command: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Measured:
    """Measured values of one run.

    Attributes:
        wall: seconds of wall-clock time.
        cpu: seconds of user and system time, including ended children.
        peak: the maximum of resident memory, in bytes.
        stall: the longest time, in seconds, between two ticks of the event loop, if there is one.
        extra: further numbers by name.
    """

    wall: float
    cpu: float
    peak: int
    stall: float | None = None
    extra: dict[str, float] = field(default_factory=dict)
