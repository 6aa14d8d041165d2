"""Runs of scenarios, by contestants in turn, so that other load on the machine affects all of them alike."""

from __future__ import annotations

import contextlib
import json
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

from benchmarks.contestants import Contestant
from benchmarks.peers import Unavailable
from benchmarks.rig import Place, Rig
from benchmarks.runners.job import Job, Measured
from benchmarks.scenarios import Scenario, Where

RUNNER: Final = Path(__file__).with_name("runner.py")
TIMEOUT: Final = 3600.0
"""Seconds after which a run fails."""


class RunFailed(Exception):
    """Failure of a contestant."""


@dataclass(slots=True)
class Runs:
    """All runs of one contestant at one action.

    Attributes:
        name: the name of the contestant.
        measured: the values of each run.
        missing: why there is no run, or not all of them.
        failed: whether the contestant failed, as opposed to being unavailable here.
    """

    name: str
    measured: list[Measured] = field(default_factory=list)
    missing: str = ""
    failed: bool = False

    def median(self, value: Callable[[Measured], float]) -> float:
        """Return the median of a measured value."""
        return statistics.median(map(value, self.measured))


@dataclass(frozen=True, slots=True)
class Comparison:
    """One action of one scenario, by all of its contestants.

    Attributes:
        scenario: the scenario.
        action: the action.
        round_trip: milliseconds of delay on the way to the store and back.
        objects: files that were moved.
        runs: by contestant; the first is the reference.
    """

    scenario: Scenario
    action: str
    round_trip: float
    objects: int
    runs: tuple[Runs, ...]


def compare(
    rig: Rig, scenario: Scenario, actions: Sequence[str], *, round_trip: float, runs: int, names: Sequence[str]
) -> list[Comparison]:
    """Run a scenario this many times with these contestants, or with all."""
    contestants = [each for each in scenario.contestants if not names or each.name in names]
    found = {(action, each.name): Runs(each.name) for action in actions for each in contestants}
    label = f"{scenario.family} {scenario.data}, {scenario.mode}, {round_trip:g} ms"
    for number in range(runs * scenario.times):
        for each in contestants:
            theirs = {action: found[action, each.name] for action in actions}
            if any(each.missing for each in theirs.values()):
                continue
            try:
                for action, measured in _round(rig, scenario, each, actions[-1], round_trip):
                    if action in theirs:
                        theirs[action].measured.append(measured)
                        print(f"{label}, run {number + 1}: {action} by {each.name}: {measured}", file=sys.stderr)
            except (Unavailable, RunFailed) as reason:
                for run in theirs.values():
                    run.missing, run.failed = str(reason), isinstance(reason, RunFailed)
                print(f"{label}: without {each.name}: {reason}", file=sys.stderr)
    return [
        Comparison(
            scenario, action, round_trip, scenario.data.files, tuple(found[action, each.name] for each in contestants)
        )
        for action in actions
    ]


def _round(
    rig: Rig, scenario: Scenario, contestant: Contestant, last: str, round_trip: float
) -> Iterator[tuple[str, Measured]]:
    """Run each contestant once, up to the last wanted action: a fetch requires a push."""
    source = rig.data(scenario.data)
    with _place(rig, scenario, round_trip) as place:
        for action in scenario.actions[: scenario.actions.index(last) + 1]:
            yield action, _run(contestant, place, Job(action, str(source), str(place.folder / action), place.bucket))


def _place(rig: Rig, scenario: Scenario, round_trip: float) -> contextlib.AbstractContextManager[Place]:
    match scenario.where:
        case Where.LOCAL:
            return rig.local_place()
        case Where.AZURE:
            return rig.azure_place(scenario.data)
        case Where.GCS:
            return rig.gcs_place(scenario.data)
    return rig.s3_place(scenario.data, round_trip, scenario.rate)


def _run(contestant: Contestant, place: Place, job: Job) -> Measured:
    python, module = contestant.runner
    if preparing := contestant.preparing(job, place.folder):
        _output(preparing, place)
    told = json.dumps(asdict(contestant.told(job, place.folder)))
    return Measured(**json.loads(_output((python, str(RUNNER), module, told), place).splitlines()[-1]))


def _output(command: Sequence[str], place: Place) -> str:
    try:
        done = subprocess.run(
            command,
            env=place.environ,
            cwd=place.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise RunFailed(f"it took more than {TIMEOUT:g} seconds") from error
    if done.returncode:
        print(done.stderr, file=sys.stderr)
        last = (done.stderr.strip() or "no message").splitlines()[-1]
        raise RunFailed(f"it ended with code {done.returncode}: {last}")
    return done.stdout
