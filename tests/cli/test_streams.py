"""Standard streams that can't be written: the work goes on, and its result is said where it can be."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Invoke = Callable[..., Any]

COMMAND = f"'{sys.executable}' -m aioassets"
FULL = "Cannot write to standard output: No space left on device."

REPORT_DESCRIPTORS = """
import os
from aioassets.push.pushes import Pushes

push = Pushes.push

async def reporting(self, *args):
    print(*(os.readlink(f"/proc/self/fd/{number}") for number in range(3)), file=open("descriptors", "w"))
    return await push(self, *args)

Pushes.push = reporting
"""


def shell(command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)


@pytest.fixture(autouse=True)
def _asset(invoke: Invoke, source: Path) -> None:
    assert invoke("new", source, "name", "--yes").code == 0


@pytest.mark.parametrize(
    ("redirection", "code", "lines"),
    [
        (">/dev/full", 8, [FULL, "name:0.1"]),
        (">&-", 0, ["name:0.1"]),
        ("2>&-", 0, []),
        ("2>/dev/full", 0, []),
        (">&- 2>&-", 8, []),
        ("<&- >&- 2>&-", 8, []),
        (">&- 2>/dev/full", 8, []),
        (">/dev/full 2>/dev/full", 8, []),
        (">/dev/full 2>&-", 8, []),
    ],
)
def test_a_push_publishes_and_names_its_version(invoke: Invoke, redirection: str, code: int, lines: list[str]) -> None:
    done = shell(f"{COMMAND} update source name --yes {redirection}")
    assert done.returncode == code
    assert done.stderr.splitlines()[-len(lines) :] == lines if lines else done.stderr == ""
    assert done.stdout == ("" if ">" in redirection.replace("2>", "") else "name:0.1\n")
    assert invoke("versions", "name").out == "0.1\n0.0\n"


def test_a_push_names_its_version_when_the_reader_of_the_pipe_has_gone(invoke: Invoke) -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "aioassets", "update", "source", "name", "--yes"],
        stdout=write,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(write)
    assert done.returncode == 8
    assert done.stderr.endswith("Cannot write to standard output: Broken pipe.\nname:0.1\n")


def test_an_error_of_a_closed_terminal_is_reported() -> None:
    master, slave = pty.openpty()
    os.close(master)
    done = subprocess.run(
        [sys.executable, "-m", "aioassets", "update", "source", "name", "--yes", "--json"],
        stdout=slave,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(slave)
    assert done.returncode == 8
    assert "Cannot write to standard output: Input/output error.\n{\n" in done.stderr
    assert '"version": "0.1"' in done.stderr


@pytest.mark.parametrize("args", ["versions name", "list", "fetch name", "verify name", "versions name --json"])
def test_other_results_are_printed_on_standard_error(invoke: Invoke, args: str) -> None:
    expected = invoke(*args.split()).out
    done = shell(f"{COMMAND} {args} >/dev/full")
    assert (done.returncode, done.stdout, done.stderr) == (8, "", f"{FULL}\n{expected}")


@pytest.mark.parametrize("args", ["--help", "--version", "fetch --help"])
def test_a_help_text_that_cannot_be_written_is_one_error(args: str) -> None:
    done = shell(f"{COMMAND} {args} >/dev/full")
    assert (done.returncode, done.stdout, done.stderr) == (8, "", f"{FULL}\n")


@pytest.mark.parametrize(("args", "code"), [("nonsense", 2), ("fetch nothing", 3), ("fetch name:7", 3)])
@pytest.mark.parametrize("redirection", ["2>/dev/full", "2>&-", ">&- 2>&-"])
def test_an_error_that_cannot_be_written_keeps_its_exit_code(args: str, code: int, redirection: str) -> None:
    done = shell(f"{COMMAND} {args} {redirection}")
    assert (done.returncode, done.stdout, done.stderr) == (code, "", "")


def test_no_file_takes_the_number_of_a_closed_stream(tmp_path: Path) -> None:
    (tmp_path / "run.py").write_text(f"{REPORT_DESCRIPTORS}\nfrom aioassets.cli.app import main\nmain()")
    done = shell(f"'{sys.executable}' run.py update source name --yes <&- >&- 2>&-")
    assert done.returncode == 8
    assert (tmp_path / "descriptors").read_text() == "/dev/null /dev/null /dev/null\n"
