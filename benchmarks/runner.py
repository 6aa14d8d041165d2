"""Runs one contestant once, in a process of its own, and prints what was measured: `runner.py MODULE JOB`."""

from __future__ import annotations

import importlib
import json
import os
import sys
from dataclasses import asdict
from pathlib import Path

sys.path[0] = str(Path(__file__).parent.parent)

from benchmarks.runners.job import Job  # noqa: E402

if __name__ == "__main__":
    module, job = sys.argv[1:]
    measured = importlib.import_module(f"benchmarks.runners.{module}").run(Job(**json.loads(job)))
    print(json.dumps(asdict(measured)), flush=True)
    os._exit(0)  # all is measured, and threads of obstore sometimes crash as the interpreter ends
