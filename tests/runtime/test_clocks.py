"""Clocks of this machine."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest

from aioassets.runtime.clocks import elapsed, utc

ASLEEP = 86_400
"""Seconds for which the machine seems to have slept."""


def test_a_clock_counts_the_time_that_the_machine_slept() -> None:
    """A time namespace shifts the clock of the test as if the machine had been suspended for a day."""
    unshare = shutil.which("unshare")
    in_namespace = [unshare or "unshare", "--time", "--boottime", str(ASLEEP), sys.executable, "-c"]
    if unshare is None or subprocess.run([*in_namespace, ""], check=False, capture_output=True).returncode:
        pytest.skip("making a time namespace needs util-linux and root")
    printing = "from aioassets.runtime.clocks import elapsed; print(elapsed())"
    seen = subprocess.run([*in_namespace, printing], check=True, capture_output=True, text=True)
    assert float(seen.stdout) - elapsed() > ASLEEP / 2


@pytest.mark.parametrize(
    ("timestamp", "year"), [(0.0, 1970), (1e11, 5138), (1e13, 9999), (2.0**62, 9999), (-1e11, 1), (-(2.0**62), 1)]
)
def test_any_time_of_a_file_is_a_date(timestamp: float, year: int) -> None:
    """A file system may keep milliseconds that a program set as seconds. They must fail neither a push nor a fetch."""
    assert utc(timestamp).year == year
