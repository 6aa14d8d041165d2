"""Command line of the simulation. See `docs/simulation.md` for its commands."""

from __future__ import annotations

import argparse
import sys
import time

import aioassets
from simulation.runner import CAUGHT, digest, replayed, searched, simulate, try_mutations
from simulation.schedule import Style


def main() -> int:
    """Run the command line and return its exit status."""
    parser = argparse.ArgumentParser(prog="python -m simulation")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, schedules in (("run", 2000), ("search", 2000), ("digest", 20)):
        command = commands.add_parser(name)
        command.add_argument("schedules", type=int, nargs="?", default=schedules)
        command.add_argument("seed", type=int, nargs="?", default=0)
        _add_style(command)
    replay = commands.add_parser("replay")
    replay.add_argument("seed", type=int)
    _add_style(replay)
    mutations = commands.add_parser("mutations")
    mutations.add_argument("seed", type=int, nargs="?", default=0)
    mutations.add_argument("--only", action="append", default=[])
    given = parser.parse_args()
    match given.command:
        case "run":
            return _run(given.schedules, given.seed, given.style)
        case "search":
            return _search(given.schedules, given.seed, given.style)
        case "digest":
            print(digest(given.schedules, given.seed))
            return 0
        case "replay":
            print(replayed(given.seed, given.style))
            return 0
    return _try_mutations(given.seed, given.only)


def _add_style(command: argparse.ArgumentParser) -> None:
    command.add_argument("--style", type=Style, choices=list(Style), default=Style.MIXED)


def _run(schedules: int, seed: int, style: Style) -> int:
    begun, found = time.monotonic(), 0
    for report in simulate(schedules, seed, style):
        found += 1
        print(report, end="\n\n", flush=True)
    print(
        f"{schedules} schedules from seed {seed} in {time.monotonic() - begun:.0f} s: {found} batches with violations"
    )
    return int(found > 0)


def _search(schedules: int, seed: int, style: Style) -> int:
    print(f"searching {aioassets.__file__}")
    found = searched(schedules, seed, style)
    print(found or f"nothing in {schedules} schedules")
    return 0 if found is None else CAUGHT


def _try_mutations(seed: int, only: list[str]) -> int:
    missed = 0
    for mutation, found in try_mutations(seed, only):
        missed += found is None
        print(f"{mutation.name}: {found or f'NOT CAUGHT in {mutation.within} schedules'}", flush=True)
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main())
