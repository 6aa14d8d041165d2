"""Input and output of a runner."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

KEY: Final = "data"
"""Name of the data in the store, used as asset name, key or prefix."""


@dataclass(frozen=True, slots=True)
class Job:
    """One run of one contestant. The environment says where the store is and who asks.

    Attributes:
        action: what to do: `push`, `fetch`, or another one that the runner knows.
        source: the file or folder that is pushed.
        target: the folder that is fetched to, and that nobody used before.
        bucket: its URL, or a folder for a local store.
        opening: whether opening the client is measured as well.
        apart: whether each folder of the source is an asset of its own.
        command: the process to measure, for the runner of processes.
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
    """Cost of one run.

    Attributes:
        wall: seconds.
        cpu: seconds of user and system time, ended children included.
        peak: maximum resident memory in bytes.
        stall: the longest time, in seconds, between two ticks of the event loop, where there is one.
        extra: further numbers, by name.
    """

    wall: float
    cpu: float
    peak: int
    stall: float | None = None
    extra: dict[str, float] = field(default_factory=dict)
