"""Checks of the project. Plain `nox` runs the linters, the type checkers and the tests."""

from __future__ import annotations

import functools
import os
import shutil
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
"""Test processes. Each starts its own servers; one more than the 2 cores of small machines, because some wait."""
OWN: Final = f"{sys.version_info.major}.{sys.version_info.minor}"
"""The Python that runs nox. It is always installed, so the tests that need servers run on it."""
UNRELEASED: Final = ["3.14"]
"""Pythons that are tested where they are installed, but have no classifier yet."""

# nox may run from a virtual environment that is not activated.
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])


def select_pythons_of_pyenv() -> None:
    """Select the latest release of each minor version. Shims of pyenv run selected versions only."""
    if "PYENV_VERSION" in os.environ or shutil.which("pyenv") is None:
        return
    listed = subprocess.run(["pyenv", "versions", "--bare"], capture_output=True, text=True, check=False).stdout
    releases = sorted(tuple(map(int, name.split("."))) for name in listed.split() if name.replace(".", "").isdigit())
    latest = {release[:2]: release for release in releases if release >= (3, 11)}
    if latest:
        os.environ["PYENV_VERSION"] = ":".join(".".join(map(str, release)) for release in reversed(latest.values()))


@functools.cache
def runs(python: str) -> bool:
    """Return whether an interpreter is installed. A shim of pyenv may stand for one that is not selected."""
    try:
        return subprocess.run([f"python{python}", "-c", ""], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


select_pythons_of_pyenv()
WANTED: Final = [*nox.project.python_versions(PROJECT), *UNRELEASED]
PYTHONS: Final = [python for python in WANTED if runs(python)]
LEFT_OUT: Final = [python for python in WANTED if python not in (*PYTHONS, OWN)]
if OWN not in PYTHONS:
    PYTHONS.append(OWN)


def groups(*names: str) -> tuple[str, ...]:
    return nox.project.dependency_groups(PROJECT, *names)


def fresh(session: nox.Session) -> list[str]:
    """Return the option that makes uv install the package again although its version is the same."""
    return ["--reinstall-package=aioassets"] if session.venv_backend == "uv" else []


@nox.session
def lint(session: nox.Session) -> None:
    """Check style, format, spelling and the project's metadata."""
    session.install(*groups("lint"))
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")
    session.run("codespell")
    session.run("validate-pyproject", "pyproject.toml", "examples/plugin/pyproject.toml")


@nox.session
def types(session: nox.Session) -> None:
    """Check types with mypy and pyright."""
    session.install("-e.[all]", *groups("types", "test", "servers"))
    session.run("mypy")
    session.run("pyright")


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """Run the tests and examples on the installed package. One Python runs those that need servers."""
    with_servers = session.python == OWN
    if with_servers and LEFT_OUT:
        session.warn(f"Not installed, so not tested: Python {', '.join(LEFT_OUT)}.")
    session.install(*fresh(session), ".[all]", *groups("test", *(["servers"] if with_servers else [])))
    marked = [] if with_servers else ["-m", "not servers and not once"]
    session.run("pytest", *WORKERS, *marked, *session.posargs)


@nox.session
def integrations(session: nox.Session) -> None:
    """Run the tests with pandas, pyarrow, polars, DuckDB, zarr and safetensors. Not part of plain `nox`: 0.5 GB."""
    session.install(*fresh(session), ".[all]", *groups("test", "servers", "integrations"))
    session.run("pytest", "tests/integrations", *session.posargs)


@nox.session
def coverage(session: nox.Session) -> None:
    """Measure the branch coverage of the tests, their subprocesses included. Not part of plain `nox`."""
    session.install("-e.[all]", *groups("coverage", "test", "servers"))
    session.run("coverage", "erase")
    session.run("coverage", "run", "-m", "pytest", *WORKERS, *session.posargs)
    session.run("coverage", "combine", "--quiet")
    session.run("coverage", "report", "--skip-covered", "--show-missing")


@nox.session
def soak(session: nox.Session) -> None:
    """Push, fetch, kill, break and clean at random for 10 minutes (or `-- MINUTES SEED`). Not part of plain `nox`."""
    session.install(*fresh(session), ".[all]", *groups("test", "servers"))
    session.run("python", "tests/soak/soak.py", *session.posargs)


@nox.session
def simulate(session: nox.Session) -> None:
    """Run 2,000 simulated schedules (or `-- SCHEDULES SEED`), then the mutations. Not part of plain `nox`."""
    session.install(*fresh(session), ".[all]", *groups("test"))
    session.env["PYTHONPATH"] = str(Path(__file__).parent / "tests")
    session.run("python", "-P", "-m", "simulation", "run", *session.posargs)
    session.run("python", "-P", "-m", "simulation", "mutations", *session.posargs[1:])


@nox.session
def bench(session: nox.Session) -> None:
    """Measure aioassets and its peers (`-- --help` lists the options). Not part of plain `nox`."""
    session.install(*fresh(session), ".[all]", *groups("test", "servers"))
    session.run("python", "-m", "benchmarks", *session.posargs)
