"""Standard input as the source of a push."""

from __future__ import annotations

import itertools
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

Invoke = Callable[..., Any]

pytestmark = pytest.mark.once


@pytest.fixture
def piped() -> Iterator[Callable[[bytes], None]]:
    """Return a function that puts bytes on standard input of this process."""
    kept = os.dup(0)

    def pipe(data: bytes) -> None:
        reading, writing = os.pipe()
        os.write(writing, data)
        os.close(writing)
        os.dup2(reading, 0)
        os.close(reading)

    yield pipe
    os.dup2(kept, 0)
    os.close(kept)


@pytest.fixture
def open_pipe(piped: Callable[[bytes], None]) -> Iterator[Callable[[bytes], None]]:
    """Return a function that puts bytes on standard input, and keeps it open."""
    writers: list[int] = []

    def pipe(data: bytes) -> None:
        reading, writing = os.pipe()
        writers.append(writing)
        os.write(writing, data)
        os.dup2(reading, 0)
        os.close(reading)

    yield pipe
    for writing in writers:
        os.close(writing)


def fetched(invoke: Invoke, spec: str) -> Path:
    return Path(invoke("fetch", spec).out.removesuffix("\n"))


def test_standard_input_is_a_file(invoke: Invoke, piped: Callable[[bytes], None]) -> None:
    piped(b"first")
    ran = invoke("new", "-", "name", "--yes")
    assert (ran.code, ran.out) == (0, "name:0.0\n")
    assert "Upload    1 file of unknown size, from standard input\n" in ran.err
    assert fetched(invoke, "name").read_bytes() == b"first"
    piped(b"second")
    assert invoke("update", "-", "name:0", "--yes", "--json").document["size"] == 6
    assert fetched(invoke, "name").read_bytes() == b"second"


@pytest.mark.parametrize("command", ["new", "update"])
def test_a_part_is_the_only_file_of_a_directory(
    invoke: Invoke, piped: Callable[[bytes], None], command: str, source: Path
) -> None:
    if command == "update":
        invoke("new", source, "name", "--yes")
    piped(b"rows")
    assert invoke(command, "-", "name[data/rows.csv]", "--yes").code == 0
    folder = fetched(invoke, "name")
    assert [str(path.relative_to(folder)) for path in folder.rglob("*")] == ["data", "data/rows.csv"]
    assert (folder / "data/rows.csv").read_bytes() == b"rows"


def test_a_file_on_standard_input(invoke: Invoke, source: Path) -> None:
    """A regular file can't be waited for."""
    command = f"'{sys.executable}' -m aioassets new - name --yes < {source / 'a'}"
    assert subprocess.run(command, shell=True, capture_output=True, check=True).stdout == b"name:0.0\n"
    assert fetched(invoke, "name").read_bytes() == b"first"


def test_a_dry_run_tells_no_size(invoke: Invoke, piped: Callable[[bytes], None]) -> None:
    piped(b"first")
    document = invoke("new", "-", "name", "--dry-run", "--json").document
    assert (document["files"], document["size"], document["uploaded"]) == (1, None, None)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "Cannot ask for confirmation on standard input when pushing it. Use --yes"),
        (["--yes", "--include", "*"], "Cannot use --include when pushing standard input"),
        (["--yes", "--exclude", "*"], "Cannot use --exclude when pushing standard input"),
        (["--yes", "--if-changed"], "Cannot use --if-changed when pushing standard input"),
    ],
)
def test_options_that_need_more_than_a_stream_are_refused(
    invoke: Invoke, piped: Callable[[bytes], None], options: list[str], message: str
) -> None:
    piped(b"first")
    ran = invoke("update", "-", "name", *options)
    assert ran.code == 2
    assert message in ran.err


def test_only_standard_input_is_pushed_as_a_part(invoke: Invoke, source: Path) -> None:
    for command in ("new", "update"):
        ran = invoke(command, source, "name[part]", "--yes")
        assert ran.code == 2
        assert "Cannot push a part of an asset: write name instead of name[part]." in ran.err


def test_a_terminal_is_refused(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    master, slave = pty.openpty()
    with open(master, "rb"), open(slave) as terminal:
        monkeypatch.setattr("sys.stdin", terminal)
        ran = invoke("new", "-", "name", "--yes")
    assert ran.code == 2
    assert "Standard input is a terminal." in ran.err


def test_nothing_is_published_if_there_is_nothing(invoke: Invoke, piped: Callable[[bytes], None]) -> None:
    """A producer that failed in a pipeline must not publish an empty file."""
    piped(b"")
    ran = invoke("new", "-", "name", "--yes")
    assert (ran.code, ran.err) == (
        1,
        "Error: Cannot push 'standard input': it is empty; to publish an empty file, use --allow-empty.\n",
    )
    piped(b"")
    assert invoke("new", "-", "name", "--yes", "--allow-empty").code == 0
    assert fetched(invoke, "name").read_bytes() == b""


@pytest.mark.parametrize("reads", [0, 1], ids=["before the first bytes", "later"])
def test_ctrl_c_ends_the_wait_for_more(
    invoke: Invoke, open_pipe: Callable[[bytes], None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, reads: int
) -> None:
    """The writer is still at work. Nothing but a released claim is left in the store."""
    open_pipe(b"first" * reads)
    waits, wait = itertools.count(), anyio.wait_readable

    async def interrupted(descriptor: int) -> None:
        if next(waits) == reads:
            os.kill(os.getpid(), signal.SIGINT)
        await wait(descriptor)

    monkeypatch.setattr(anyio, "wait_readable", interrupted)
    ran = invoke("new", "-", "name", "--yes")
    assert (ran.code, ran.err.splitlines()[-1]) == (130, "Interrupted.")
    left = [path.name for path in (tmp_path / "store" / "assets").rglob("*") if path.is_file()]
    assert left == ["0.0.meta"] * reads
