"""A whole process, from its start to its end."""

from __future__ import annotations

import os
import subprocess
import time

from benchmarks.runners.job import Job, Measured


def run(job: Job) -> Measured:
    """Run the job's command as a child of this small process, so that its peak isn't hidden by a large parent's."""
    start = time.perf_counter()
    process = subprocess.Popen(job.command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, job.command)
    return Measured(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024)
