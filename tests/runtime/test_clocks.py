"""Clocks of this machine."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest

from aioassets.runtime.clocks import elapsed

ASLEEP = 86_400
"""Seconds that the machine of a test seems to have slept."""


def test_a_clock_counts_the_time_that_the_machine_slept() -> None:
    """In a time namespace, a process sees a machine that was suspended for a day; its monotonic clock doesn't."""
    unshare = shutil.which("unshare")
    in_namespace = [unshare or "unshare", "--time", "--boottime", str(ASLEEP), sys.executable, "-c"]
    if unshare is None or subprocess.run([*in_namespace, ""], check=False, capture_output=True).returncode:
        pytest.skip("making a time namespace needs util-linux and root")
    printing = "from aioassets.runtime.clocks import elapsed; print(elapsed())"
    seen = subprocess.run([*in_namespace, printing], check=True, capture_output=True, text=True)
    assert float(seen.stdout) - elapsed() > ASLEEP / 2
