"""A smoke test of the benchmarks, whose figures don't matter here."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.once

ROOT = Path(__file__).parent.parent


def benchmark(folder: Path, *arguments: str) -> str:
    """Run a selection once with little data, and return its table."""
    command = [sys.executable, "-m", "benchmarks", "--runs", "1", "--scale", "0.0001", "--folder", str(folder)]
    done = subprocess.run([*command, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_push_and_a_fetch_are_measured(tmp_path: Path) -> None:
    table = benchmark(tmp_path, "--only", "local", "--contestants", "aioassets")
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines() if line.startswith("|")]

    assert len({len(row) for row in rows}) == 1
    assert [(row[0].partition(",")[0], row[3]) for row in rows[2:]] == [
        ("local-push", "aioassets"),
        ("local-fetch", "aioassets"),
    ]
    assert list(tmp_path.iterdir()) == []
