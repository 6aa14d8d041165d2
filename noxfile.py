"""What is checked, and how: plain `nox` runs all of it."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import nox

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.download_python = "never"
nox.options.reuse_venv = "yes"
nox.options.sessions = ["lint", "types", "tests"]

PROJECT: Final = nox.project.load_toml("pyproject.toml")
WORKERS: Final = ["--numprocesses=3", "--dist=worksteal"]
"""Each starts servers of its own, so a few are enough; one more than the 2 cores of small machines, as some wait."""
OWN: Final = f"{sys.version_info.major}.{sys.version_info.minor}"
"""The Python that runs nox. It is always there, so the suites that need servers run on it."""

# It may be called from a virtual environment that isn't activated.
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])


@functools.cache
def runs(python: str) -> bool:
    """Whether an interpreter is installed: a shim of pyenv may stand for one that isn't selected."""
    try:
        return subprocess.run([f"python{python}", "-c", ""], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


PYTHONS: Final = [python for python in nox.project.python_versions(PROJECT) if runs(python)]
if OWN not in PYTHONS:
    PYTHONS.append(OWN)


def groups(*names: str) -> tuple[str, ...]:
    return nox.project.dependency_groups(PROJECT, *names)


def fresh(session: nox.Session) -> list[str]:
    """What has uv install the package as it is now, not as it was under the same version."""
    return ["--reinstall-package=aioassets"] if session.venv_backend == "uv" else []


@nox.session
def lint(session: nox.Session) -> None:
    """Check style and format."""
    session.install(*groups("lint"))
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")


@nox.session
def types(session: nox.Session) -> None:
    """Check types, those that users see included."""
    session.install("-e.[all]", *groups("types", "test"))
    session.run("mypy", "aioassets", "examples", "noxfile.py", "tests/typing", "benchmarks")


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """Run the tests and examples on the installed package; those that need servers on one Python."""
    with_servers = session.python == OWN
    session.install(*fresh(session), ".[all]", *groups("test", *(["servers"] if with_servers else [])))
    marked = [] if with_servers else ["-m", "not servers and not once"]
    session.run("pytest", *WORKERS, *marked, *session.posargs)


@nox.session
def soak(session: nox.Session) -> None:
    """Push, fetch, kill, break and clean at random for 10 minutes (or `-- MINUTES SEED`); not part of plain `nox`."""
    session.install(*fresh(session), ".[all]", *groups("test", "servers"))
    session.run("python", "tests/soak/soak.py", *session.posargs)


@nox.session
def simulate(session: nox.Session) -> None:
    """Run 2,000 simulated schedules (or `-- SCHEDULES SEED`), then the mutations; not part of plain `nox`."""
    session.install(*fresh(session), ".[all]", *groups("test"))
    session.env["PYTHONPATH"] = str(Path(__file__).parent / "tests")
    session.run("python", "-P", "-m", "simulation", "run", *session.posargs)
    session.run("python", "-P", "-m", "simulation", "mutations", *session.posargs[1:])


@nox.session
def bench(session: nox.Session) -> None:
    """Measure aioassets beside its peers (`-- --help` tells what can be chosen); not part of plain `nox`."""
    session.install(*fresh(session), ".[all]", *groups("test", "servers"))
    session.run("python", "-m", "benchmarks", *session.posargs)
