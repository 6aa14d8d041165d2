"""Process that runs one contestant once and prints the measured values: `runner.py MODULE JOB`."""

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
    os._exit(0)  # threads of obstore sometimes crash while the interpreter exits
