"""The protocol keeps its promises in the simulation, and the simulation catches mutations."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import aioassets
from simulation.mutations import MUTATIONS, Mutation, MutationError, Patch, mutated
from simulation.runner import TESTS, broken_by, try_mutations
from simulation.schedule import Style

pytestmark = pytest.mark.once

PACKAGE = Path(aioassets.__file__).parent
BATCHES = [
    *((Style.MIXED, range(start, start + 40)) for start in range(0, 480, 40)),
    *((Style.WITHDRAWN, range(start, start + 40)) for start in range(0, 480, 40)),
    (Style.RESTORED, range(40)),
]


@pytest.fixture(autouse=True)
def no_blocking_calls() -> None:
    """Allow blocking calls: the simulation has no threads, so all work runs on its event loop."""


@pytest.mark.parametrize(("style", "seeds"), BATCHES, ids=str)
def test_no_promise_is_broken(style: Style, seeds: range) -> None:
    report = broken_by(seeds, style)

    assert report is None, report


def test_runs_with_the_same_seed_are_equal() -> None:
    digests = {simulate("digest", "20", "0", PYTHONHASHSEED=seed) for seed in ("1", "2")}

    assert len(digests) == 1


def test_a_mutation_is_caught() -> None:
    ((_, found),) = try_mutations(0, ["listing before sealing"])

    assert found is not None
    assert "an unsealed version was listed" in found


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_a_mutation_fits_the_code(mutation: Mutation, tmp_path: Path) -> None:
    assert mutated(mutation, PACKAGE, tmp_path) == tmp_path


def test_a_mutation_that_no_longer_fits_is_reported(tmp_path: Path) -> None:
    with pytest.raises(MutationError, match=r"old: push/claim.py has this 0 times"):
        mutated(Mutation("old", (Patch("push/claim.py", "nonsense", ""),), 1), PACKAGE, tmp_path)


def simulate(*arguments: str, **environment: str) -> str:
    """Run the simulation from the command line on the package under test."""
    path = os.pathsep.join([str(PACKAGE.parent), str(TESTS)])
    return subprocess.run(
        [sys.executable, "-P", "-m", "simulation", *arguments],
        env={**os.environ, "PYTHONPATH": path, **environment},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
