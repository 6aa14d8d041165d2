"""Scenarios to measure."""

from __future__ import annotations

import enum
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from benchmarks.changed import CHANGED, COPYING, EVERYTHING, FIRST, INSERT
from benchmarks.contestants import OPENING, OURS, PROGRAMS, RUNNING, SMALL, Contestant, InProcess, Whole
from benchmarks.rig import Data

KIB: Final = 1024
MIB: Final = 1024**2
GIB: Final = 1024**3


class Where(enum.Enum):
    """Store of a scenario."""

    S3 = "s3"
    AZURE = "azure"
    GCS = "gcs"
    LOCAL = "local"


@dataclass(frozen=True, slots=True)
class Scenario:
    """Contestants that move the same data.

    Attributes:
        family: the name for `--only`, alone or followed by an action: `small-push`.
        mode: what is measured, for the table.
        contestants: the first is the reference.
        data: the data to move.
        actions: done by each contestant in this order, in one place.
        where: the store.
        full: whether to run it with `--full` only.
        times: runs for each requested run; more than one if a run is short.
        rate: the bandwidth to the store each way in MB/s; `None` for no limit.
    """

    family: str
    mode: str
    contestants: Sequence[Contestant]
    data: Data
    actions: tuple[str, ...] = ("push", "fetch")
    where: Where = Where.S3
    full: bool = False
    times: int = 1
    rate: int | None = None

    def name(self, action: str) -> str:
        """Return the name of one action."""
        return f"{self.family}-{action}"

    def wanted(self, names: Sequence[str]) -> tuple[str, ...]:
        """Return the selected actions: all, those of a family, or single ones."""
        return tuple(each for each in self.actions if not names or {self.family, self.name(each)} & set(names))


IN_PROCESS: Final = "in a running process"
WHOLE: Final = "whole process"
OPENED: Final = "client opened meanwhile"


def _small() -> tuple[Scenario, ...]:
    some, many = Data(2_000, 4 * KIB), Data(20_000, 4 * KIB)
    return (
        Scenario("small", IN_PROCESS, SMALL, some),
        Scenario("small", WHOLE, PROGRAMS, some),
        Scenario("small", IN_PROCESS, SMALL, many),
        Scenario("small", WHOLE, PROGRAMS[:2], many),
        Scenario("small", WHOLE, PROGRAMS[:4], many, full=True),  # modelkit takes half an hour
    )


def _changed() -> tuple[Scenario, ...]:
    data, actions = Data(1_000, 1 * MIB), (FIRST, "push", INSERT, "fetch")
    return (
        Scenario("changed", WHOLE, CHANGED, data, (FIRST, "push", "fetch")),
        Scenario("changed", IN_PROCESS, COPYING, data, (FIRST, "push")),
        *(
            Scenario("delta", WHOLE, (*CHANGED[:1], EVERYTHING), Data(1, size), actions, full=full, rate=100)
            for size, full in ((1 * GIB, False), (4 * GIB, True))
        ),
    )


def _clouds() -> tuple[Scenario, ...]:
    some = Data(1_000, 4 * KIB)
    return tuple(
        Scenario(f"{where.value}-small", IN_PROCESS, RUNNING[:2], some, where=where)
        for where in (Where.AZURE, Where.GCS)
    )


def _large() -> tuple[Scenario, ...]:
    sizes = {1 * GIB: False, 5 * GIB: True}
    return tuple(
        Scenario("large", mode, contestants, Data(1, size), full=full)
        for size, full in sizes.items()
        for mode, contestants in ((IN_PROCESS, RUNNING[:2]), (WHOLE, PROGRAMS[:3]))
    )


def _folders() -> tuple[Scenario, ...]:
    contestants = (
        InProcess("an asset per folder", "aioassets_client", apart=True),
        InProcess("one asset", "aioassets_client"),
    )
    return (Scenario("assets", IN_PROCESS, contestants, Data(2_000, 4 * KIB, per_folder=20), ("push",)),)


def _local() -> tuple[Scenario, ...]:
    contestants = (RUNNING[0], InProcess("cp + SHA-256", "copy_and_hash"))
    return (Scenario("local", IN_PROCESS, contestants, Data(1, 1 * GIB), where=Where.LOCAL),)


def _memory() -> tuple[Scenario, ...]:
    many = Data(200_000, 4 * KIB)
    tree = (InProcess("aioassets", "tree"),)
    return (
        Scenario("memory", "scan", tree, Data(20_000, 4 * KIB), ("tree",), Where.LOCAL),
        Scenario("memory", "scan", tree, many, ("tree",), Where.LOCAL, full=True),
        Scenario("memory", IN_PROCESS, RUNNING[:1], many, full=True),
    )


def _loop() -> tuple[Scenario, ...]:
    return (
        Scenario("loop", OPENED, OPENING, Data(2_000, 4 * KIB)),
        Scenario("loop", OPENED, OPENING[:2], Data(1, 1 * GIB)),
    )


def _startup() -> tuple[Scenario, ...]:
    def python(code: str) -> Whole:
        return Whole(f'python -c "{code}"', (sys.executable, "-c", code))

    helping = (Whole("aioassets --help", (OURS, "--help")), python("import asyncclick"))
    importing = (python("import aioassets"), python("import anyio, asyncio"))
    using = (python("from aioassets import AssetsManager"), python("import anyio, asyncio"))
    nothing = Data(1, 1)
    return tuple(
        Scenario("startup", WHOLE, contestants, nothing, (action,), Where.LOCAL, times=4)
        for action, contestants in (("help", helping), ("import", importing), ("manager", using))
    )


def _latency() -> tuple[Scenario, ...]:
    actions = ("create", "update", "fetch-latest", "fetch-pinned", "fetch-latest-cached", "fetch-pinned-cached")
    one = Data(1, 4 * KIB)
    counted = (InProcess("aioassets", "latency"),)
    return (
        *(Scenario("latency", "store in memory", counted, one, (action,), Where.LOCAL) for action in actions),
        Scenario("single", IN_PROCESS, RUNNING[:2], one),
        Scenario("single", WHOLE, PROGRAMS[:3], one),
    )


SCENARIOS: Final = (
    *_small(),
    *_changed(),
    *_clouds(),
    *_large(),
    *_folders(),
    *_local(),
    *_memory(),
    *_loop(),
    *_startup(),
    *_latency(),
)
