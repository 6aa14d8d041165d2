"""Standard streams that can't be written: the work goes on, and the result isn't lost."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

COMMAND = [sys.executable, "-m", "aioassets"]
PATIENCE = 60
FULL = Path("/dev/full")

needs_dev_full = pytest.mark.skipif(not FULL.exists(), reason="this system has no /dev/full")


def shell(line: str, *args: object) -> subprocess.CompletedProcess[str]:
    """Run a line of shell with the command as `$0` and its arguments as `"$@"`."""
    script = f"""run() {{ {" ".join(COMMAND)} "$@"; }}; {line}"""
    return subprocess.run(
        ["bash", "-c", script, "bash", *map(str, args)], capture_output=True, text=True, timeout=PATIENCE, check=False
    )


@needs_dev_full
def test_a_version_that_a_full_disk_refuses_is_named_on_standard_error(
    source: Path, invoke: Callable[..., Any]
) -> None:
    ran = shell('run "$@" >/dev/full', "new", source, "name", "--yes")
    assert ran.returncode == 8
    assert ran.stderr.endswith("Can't write to standard output (No space left on device). The result:\nname:0.0\n")
    assert invoke("versions", "name").out == "0.0\n"


@needs_dev_full
def test_each_command_names_its_results_once(source: Path, invoke: Callable[..., Any]) -> None:
    invoke("new", source, "name", "--yes")
    invoke("update", source, "name", "--yes")
    for args in (["versions", "name"], ["list"], ["fetch", "name"], ["list", "--json"], ["verify", "name", "--json"]):
        expected = invoke(*args).out
        ran = shell('run "$@" >/dev/full', *args)
        assert ran.returncode == 8
        assert ran.stderr.endswith(f"The result:\n{expected}")
        assert ran.stderr.count("Can't write to standard output") == 1


@pytest.mark.parametrize(
    ("redirection", "told"),
    [(">&-", True), ("2>&-", False), (">&- 2>&-", False), ("<&- >&- 2>&-", False)],
)
def test_closed_streams_stop_no_push(
    source: Path, invoke: Callable[..., Any], tmp_path: Path, redirection: str, told: bool
) -> None:
    ran = shell(f'run "$@" {redirection}', "new", source, "name", "--yes")
    assert ran.returncode == (0 if redirection == "2>&-" else 8)
    assert ran.stdout == ("name:0.0\n" if redirection == "2>&-" else "")
    assert ran.stderr.endswith("The result:\nname:0.0\n") is told
    fetched = Path(invoke("fetch", "name").out.strip())
    assert {path.name: path.read_bytes() for path in fetched.iterdir()} == {"a": b"first", "b": b"second"}


@needs_dev_full
def test_errors_that_nobody_can_read_leave_their_exit_code(source: Path) -> None:
    ran = shell('run "$@" >/dev/full 2>/dev/full', "new", source, "name", "--yes")
    assert ran.returncode == 8
    ran = shell('run "$@" >/dev/full 2>/dev/full', "fetch", "nothing")
    assert ran.returncode == 3


@needs_dev_full
@pytest.mark.parametrize("args", [["--help"], ["new", "--help"], ["--version"]])
def test_help_that_cannot_be_written_is_no_bug(args: list[str]) -> None:
    ran = shell('run "$@" >/dev/full', *args)
    assert (ran.returncode, ran.stderr) == (8, "Can't write to standard output (No space left on device).\n")


def test_a_push_whose_reader_has_gone_names_its_version(source: Path, invoke: Callable[..., Any]) -> None:
    ran = shell('run "$@" | true; exit ${PIPESTATUS[0]}', "new", source, "name", "--yes")
    assert ran.returncode == 1
    assert ran.stderr.endswith("name:0.0 was published, but the reader of standard output has gone.\n")
    assert invoke("versions", "name").out == "0.0\n"


STUCK = """
import asyncio
from aioassets.drivers.local import LocalDriver

async def stuck(self, *args, **options):
    print("stuck", flush=True)
    await asyncio.sleep(3600)

LocalDriver.upload = stuck
"""


def test_a_hangup_cleans_up(
    spawn: Callable[..., Any], source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIOASSETS_CLEANUP_TIMEOUT", "2")
    process = spawn("new", source, "name", "--yes", script=STUCK)
    assert process.stdout.readline() == "stuck\n"
    process.send_signal(signal.SIGHUP)
    _, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, err.splitlines()[-1]) == (129, "Hung up.")
    assert not [path for path in (tmp_path / "store" / "assets" / "name" / "0.0").rglob("*") if path.is_file()]


def test_an_ignored_hangup_stays_ignored(spawn: Callable[..., Any], source: Path) -> None:
    """As under `nohup`."""
    script = "import os, signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)" + STUCK.replace(
        'print("stuck", flush=True)\n    await asyncio.sleep(3600)',
        "os.kill(os.getpid(), signal.SIGHUP)\n    return await upload(self, *args, **options)",
    ).replace("async def stuck", "upload = LocalDriver.upload\n\nasync def stuck")
    process = spawn("new", source, "name", "--yes", script=script)
    out, _ = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out) == (0, "name:0.0\n")
