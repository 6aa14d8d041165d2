"""Runs of many schedules on all cores, and of mutations until they are caught."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import aioassets
from simulation.mutations import MUTATIONS, Mutation, mutated
from simulation.schedule import Schedule, Style, made
from simulation.shrink import report
from simulation.sources import Workspace
from simulation.world import Outcome, run, workspace

BATCH: Final = 100
CAUGHT: Final = 3
"""Exit status of a search that found a violation."""
TESTS: Final = Path(__file__).parent.parent
CORES: Final = os.cpu_count() or 1


def first_broken(seeds: Iterable[int], place: Workspace, style: Style = Style.MIXED) -> tuple[Schedule, Outcome] | None:
    """Run the schedules of some seeds; return the first that breaks something."""
    for seed in seeds:
        schedule = made(seed, style)
        outcome = run(schedule, place)
        if outcome.violations:
            return schedule, outcome
    return None


def broken_by(seeds: Iterable[int], style: Style = Style.MIXED) -> str | None:
    """Run the schedules of some seeds, and return a report on the first with a violation."""
    with workspace() as place:
        found = first_broken(seeds, place, style)
        return None if found is None else report(*found, place)


def searched(schedules: int, first: int, style: Style) -> str | None:
    """Run schedules until one breaks something; return how many it took, and what was broken."""
    with workspace() as place:
        found = first_broken(range(first, first + schedules), place, style)
    return None if found is None else f"after {found[0].seed - first + 1} schedules: {found[1].violations[0]}"


def digest(schedules: int, first: int) -> str:
    """Return a digest of the traces of some schedules."""
    total = hashlib.sha256()
    with workspace() as place:
        for seed in range(first, first + schedules):
            total.update("\n".join(run(made(seed), place, traced=True).trace).encode())
    return total.hexdigest()


def batches(schedules: int, first: int) -> list[range]:
    """Divide seeds into batches."""
    return [range(start, min(start + BATCH, first + schedules)) for start in range(first, first + schedules, BATCH)]


def simulate(schedules: int, first: int, style: Style = Style.MIXED) -> Iterator[str]:
    """Run schedules on all cores, and yield a report on each batch with a violation."""
    with ProcessPoolExecutor(CORES, mp_context=get_context("spawn")) as pool:
        for found in pool.map(partial(broken_by, style=style), batches(schedules, first)):
            if found is not None:
                yield found


def replayed(seed: int, style: Style = Style.MIXED) -> str:
    """Run one schedule again, and return its trace."""
    with workspace() as place:
        schedule = made(seed, style)
        outcome = run(schedule, place, traced=True)
        if outcome.violations:
            return report(schedule, outcome, place)
        return "\n".join([str(schedule), "", *outcome.trace, "", "No violation."])


def try_mutations(first: int, names: Iterable[str] = ()) -> Iterator[tuple[Mutation, str | None]]:
    """Run schedules on each mutation, and yield the violation that it causes, or `None` if it isn't caught."""
    chosen = [each for each in MUTATIONS if not names or any(name in each.name for name in names)]
    with ThreadPoolExecutor(CORES) as pool:
        yield from zip(chosen, pool.map(lambda mutation: _caught(mutation, first), chosen), strict=True)


def _caught(mutation: Mutation, first: int) -> str | None:
    with TemporaryDirectory(prefix="mutation-") as folder:
        place = mutated(mutation, Path(aioassets.__file__).parent, Path(folder))
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(place), str(TESTS)])}
        command = [sys.executable, "-P", "-m", "simulation", "search", str(mutation.within), str(first)]
        command += ["--style", mutation.style.value]
        ended = subprocess.run(
            command, env=environment, cwd=folder, capture_output=True, text=True, check=False, timeout=3600
        )
        if ended.returncode not in (0, CAUGHT) or str(place) not in ended.stdout:
            raise RuntimeError(f"{mutation.name}: {ended.stdout}{ended.stderr}")
        return ended.stdout.strip().splitlines()[-1] if ended.returncode == CAUGHT else None
