"""Benchmarks of aioassets and comparable tools, printed as a table of ratios.

All of them take more than an hour, mostly because of slow peers, and write RESULTS.md beside this file.
A selection is only printed.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from benchmarks.report import document
from benchmarks.rig import Rig
from benchmarks.running import Comparison, compare
from benchmarks.scenarios import SCENARIOS, Scenario, Where

RESULTS: Final = Path(__file__).with_name("RESULTS.md")
MEMORY: Final = Path("/dev/shm")  # noqa: S108 - a folder within it is made safely
RUNS: Final = 5
INTERRUPTED: Final = 130
ROUND_TRIPS: Final = (0.0, 20.0)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the selection and print it, also when Ctrl-C ends it early.

    Returns:
        The exit code: 1 if a contestant failed.
    """
    options = _parser().parse_args(arguments)
    selected = options.only or options.contestants or options.round_trip or options.scale != 1 or options.runs < RUNS
    output = options.output or (None if selected else RESULTS)
    comparisons: list[Comparison] = []
    try:
        for comparison in _comparisons(options):
            comparisons.append(comparison)  # noqa: PERF402 - Ctrl-C keeps the first ones
    except KeyboardInterrupt:
        print(document(comparisons, options.runs))
        return INTERRUPTED
    text = document(comparisons, options.runs)
    print(text)
    if output is not None:
        output.write_text(text, encoding="utf-8")
    return int(any(runs.failed for comparison in comparisons for runs in comparison.runs))


def _comparisons(options: argparse.Namespace) -> Iterator[Comparison]:
    with contextlib.ExitStack() as stack:
        in_memory = options.folder is None and MEMORY.is_dir()
        rig = Rig(_temporary(stack, options.folder), _temporary(stack, MEMORY) if in_memory else None, stack)
        for scenario in SCENARIOS:
            actions = scenario.wanted(options.only)
            if not actions or (scenario.full and not options.full):
                continue
            for round_trip in _round_trips(scenario, options.round_trip):
                yield from compare(
                    rig,
                    replace(scenario, data=scenario.data.scaled(options.scale)),
                    actions,
                    round_trip=round_trip,
                    runs=options.runs,
                    names=options.contestants,
                )


def _temporary(stack: contextlib.ExitStack, parent: Path | None) -> Path:
    return Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="aioassets-bench-", dir=parent)))


def _round_trips(scenario: Scenario, wanted: Sequence[float]) -> Sequence[float]:
    return wanted or ROUND_TRIPS if scenario.where is Where.S3 else (0.0,)


def _parser() -> argparse.ArgumentParser:
    names = sorted({name for each in SCENARIOS for name in (each.family, *map(each.name, each.actions))})
    contestants = sorted({contestant.name for each in SCENARIOS for contestant in each.contestants})
    parser = argparse.ArgumentParser(prog="nox -s bench --", description=__doc__)
    parser.add_argument("--only", nargs="+", default=[], choices=names, metavar="SCENARIO", help=", ".join(names))
    parser.add_argument(
        "--contestants", nargs="+", default=[], choices=contestants, metavar="NAME", help=", ".join(contestants)
    )
    parser.add_argument("--runs", type=int, default=RUNS, help="of each, for the median (default %(default)s)")
    parser.add_argument("--full", action="store_true", help="add 5 GiB, 200,000 files, and slow peers with many files")
    parser.add_argument(
        "--round-trip", nargs="+", type=float, default=[], metavar="MS", help="milliseconds (default 0 and 20)"
    )
    parser.add_argument("--scale", type=float, default=1.0, help="run with this fraction of the data, for a quick try")
    parser.add_argument("--folder", type=Path, help="folder for all data (default: on disk, small files in memory)")
    parser.add_argument("--output", type=Path, help="also write the table to this file")
    return parser


if __name__ == "__main__":
    sys.exit(main())
