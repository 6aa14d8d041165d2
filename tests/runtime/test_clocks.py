"""Clocks of this machine."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest

from aioassets.runtime.clocks import elapsed

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
