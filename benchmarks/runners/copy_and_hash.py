"""The reference for a local store: `cp`, and one pass of SHA-256."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

from benchmarks.runners.job import KEY, Job, Measured
from benchmarks.runners.meter import Meter


def run(job: Job) -> Measured:
    """Copy a file into the store or out of it, and hash the copy."""
    stored = Path(job.bucket, KEY)
    source, copy = (Path(job.source), stored) if job.action == "push" else (stored, Path(job.target, KEY))
    copy.parent.mkdir(parents=True, exist_ok=True)
    with Meter() as meter:
        subprocess.run(["cp", source, copy], check=True)
        with copy.open("rb") as file:
            hashlib.file_digest(file, "sha256")
    return meter.result()
