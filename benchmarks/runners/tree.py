"""Memory that a scanned tree takes, per file."""

from __future__ import annotations

import asyncio
import gc

from aioassets.push.scan import scan
from benchmarks.runners.job import Job, Measured
from benchmarks.runners.meter import Meter, memory


def run(job: Job) -> Measured:
    """Scan the source, and measure the memory of the result."""
    before = memory("VmRSS")
    with Meter() as meter:
        tree = asyncio.run(scan(job.source))
    gc.collect()
    return meter.result(**{"B per file": (memory("VmRSS") - before) / len(tree.files)})
