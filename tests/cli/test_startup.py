"""What starts quickly imports little: counted in modules, since a test can't tell times."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable

import pytest

Listed = Callable[..., None]

PARSING = {
    "aioassets",
    "aioassets._version",
    "aioassets.cli",
    "aioassets.cli.app",
    "aioassets.cli.escaping",
    "aioassets.cli.options",
}
"""Our modules that a command line is read with."""
SLOW = {"anyio", "asyncio", "email", "importlib.metadata", "ssl"}
"""What takes longer to import than the rest of a help text."""
SDKS = {"aiobotocore", "aiohttp", "azure", "botocore", "gcloud"}
UNWANTED = {*SDKS, "importlib.metadata", "pathspec", "rich"}

TELLING = "import atexit, sys; atexit.register(lambda: print(*sys.modules, sep='\\n', file=sys.stderr))\n"
RUNNING = "from aioassets.cli.app import main; main()\n"


def loaded(code: str, *args: str, **environ: str) -> set[str]:
    """The modules that are loaded when a Python ends that has run this."""
    done = subprocess.run(
        [sys.executable, "-c", TELLING + code, *args],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environ},
    )
    assert "Traceback" not in done.stderr
    return set(done.stderr.splitlines())


def ours(modules: set[str]) -> set[str]:
    return {name for name in modules if name.partition(".")[0] == "aioassets"}


@pytest.mark.parametrize(
    "args", [["--help"], ["--version"], ["new", "--help"], ["lsit"], ["new", "path"], ["list", "--colour"]]
)
def test_help_and_usage_errors_need_neither_a_loop_nor_the_library(args: list[str]) -> None:
    modules = loaded(RUNNING, *args)

    assert ours(modules) == PARSING
    assert SLOW & modules == set()


@pytest.mark.parametrize("instruction", ["bash_source", "bash_complete", "zsh_source", "fish_source"])
def test_completion_needs_neither_a_loop_nor_the_library(instruction: str) -> None:
    modules = loaded(RUNNING, _AIOASSETS_COMPLETE=instruction, COMP_WORDS="aioassets fe", COMP_CWORD="1")

    assert ours(modules) == PARSING
    assert SLOW & modules == set()


def test_the_name_of_the_package_alone_needs_nothing() -> None:
    modules = loaded("import aioassets")

    assert ours(modules) == {"aioassets", "aioassets._version"}
    assert (SLOW | {"asyncclick", "dataclasses"}) & modules == set()


def test_a_manager_needs_neither_sdks_nor_the_command_line() -> None:
    modules = loaded("from aioassets import AssetsManager")

    assert (UNWANTED | {"asyncclick", "platformdirs"}) & modules == set()


def test_a_small_command_imports_no_more_than_it_needs(listed: Listed) -> None:
    listed("name", "0.0")
    modules = loaded(RUNNING, "list")

    assert "aioassets.drivers.local" in modules
    assert UNWANTED & modules == set()


@pytest.mark.parametrize("url", ["s3://bucket", "gs://bucket", "az://bucket"])
def test_sdks_wait_for_the_first_request(url: str) -> None:
    manager = f"AssetsManager({url!r}, storage_options={{'azure.account_name': 'name'}})"
    modules = loaded(f"from aioassets import AssetsManager; {manager}")

    assert {"aioassets.drivers.s3.driver", "aioassets.drivers.gcs.driver", "aioassets.drivers.azure.driver"} & modules
    assert SDKS & modules == set()
