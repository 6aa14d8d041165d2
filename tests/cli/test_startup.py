"""Imports of fast commands. Tests count modules, since timings are unreliable."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from aioassets import AssetsManager, MemoryDriver

Listed = Callable[..., None]

PARSING = {
    "aioassets",
    "aioassets._version",
    "aioassets.cli",
    "aioassets.cli.alias_commands",
    "aioassets.cli.app",
    "aioassets.cli.cache_commands",
    "aioassets.cli.copy_commands",
    "aioassets.cli.escaping",
    "aioassets.cli.options",
    "aioassets.cli.read_commands",
    "aioassets.cli.retention_commands",
    "aioassets.cli.view_commands",
    "aioassets.cli.watch_commands",
    "aioassets.cli.withdrawal_commands",
}
"""Modules of the package that parsing a command line imports."""
SLOW = {"anyio", "asyncio", "email", "importlib.metadata", "ssl"}
"""Modules that take longer to import than printing a help text."""
SDKS = {"aiobotocore", "aiohttp", "azure", "botocore", "gcloud"}
UNWANTED = {*SDKS, "importlib.metadata", "pathspec", "rich"}

PRINT_MODULES = "import atexit, sys; atexit.register(lambda: print(*sys.modules, sep='\\n', file=sys.stderr))\n"
RUN_COMMAND = "from aioassets.cli.app import main; main()\n"


def loaded(code: str, *args: str, **environ: str) -> set[str]:
    """Return the modules that are loaded after running Python code."""
    done = subprocess.run(
        [sys.executable, "-c", PRINT_MODULES + code, *args],
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
def test_help_and_usage_errors_import_neither_asyncio_nor_the_library(args: list[str]) -> None:
    modules = loaded(RUN_COMMAND, *args)

    assert ours(modules) == PARSING
    assert SLOW & modules == set()


@pytest.mark.parametrize("instruction", ["bash_source", "bash_complete", "zsh_source", "fish_source"])
def test_completion_imports_neither_asyncio_nor_the_library(instruction: str) -> None:
    modules = loaded(RUN_COMMAND, _AIOASSETS_COMPLETE=instruction, COMP_WORDS="aioassets fe", COMP_CWORD="1")

    assert ours(modules) == PARSING
    assert SLOW & modules == set()


@pytest.mark.parametrize("config", ["", "[default]\nregion = eu-west-1\n"])
def test_fetching_a_cached_version_of_s3_imports_no_sdk(source: Path, tmp_path: Path, config: str) -> None:
    """Only a configuration that mentions an endpoint, or a region of another partition, needs the SDK."""

    async def fetch() -> None:
        driver = MemoryDriver()
        driver.url = driver.identity = "s3://models"
        async with AssetsManager(driver=driver, assets_dir=tmp_path / "cache") as manager:
            await manager.create_asset(source, "name")
            await manager.fetch_asset("name")

    asyncio.run(fetch())
    (tmp_path / "config").write_text(config)
    files = dict.fromkeys(("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"), str(tmp_path / "config"))
    modules = loaded(RUN_COMMAND, "fetch", "name:0.0", AIOASSETS_BUCKET="s3://models", **files)

    assert "aioassets.fetch.selection" in modules
    assert UNWANTED & modules == set()


def test_importing_the_package_imports_nothing_else() -> None:
    modules = loaded("import aioassets")

    assert ours(modules) == {"aioassets", "aioassets._version"}
    assert (SLOW | {"asyncclick", "dataclasses"}) & modules == set()


def test_importing_the_manager_imports_neither_sdks_nor_the_command_line() -> None:
    modules = loaded("from aioassets import AssetsManager")

    assert (UNWANTED | {"asyncclick", "platformdirs"}) & modules == set()


def test_listing_a_folder_imports_neither_sdks_nor_rich(listed: Listed) -> None:
    listed("name", "0.0")
    modules = loaded(RUN_COMMAND, "list")

    assert "aioassets.drivers.local" in modules
    assert UNWANTED & modules == set()


@pytest.mark.parametrize("url", ["s3://bucket", "gs://bucket", "az://bucket"])
def test_creating_a_manager_imports_no_sdk(url: str) -> None:
    manager = f"AssetsManager({url!r}, storage_options={{'azure.account_name': 'name'}})"
    modules = loaded(f"from aioassets import AssetsManager; {manager}")

    assert {"aioassets.drivers.s3.driver", "aioassets.drivers.gcs.driver", "aioassets.drivers.azure.driver"} & modules
    assert SDKS & modules == set()
