"""Questions, progress and tables on a terminal."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.once

Invoke = Callable[..., Any]
Listed = Callable[..., None]
OnTerminal = Callable[..., Any]

HELD = """
import os
import anyio
from aioassets.drivers.local import LocalDriver

upload, read_range = LocalDriver.upload, LocalDriver.read_range

async def released(key):
    if key.endswith("/b"):
        await anyio.wait_readable(int(os.environ["HELD_UNTIL"]))

async def held_upload(self, key, source, **options):
    await released(key)
    return await upload(self, key, source, **options)

async def held_read(self, key, *args, **options):
    await released(key)
    async for chunk in read_range(self, key, *args, **options):
        yield chunk

LocalDriver.upload, LocalDriver.read_range = held_upload, held_read
"""

QUESTION = "Push name:0.0? [y/N] "


@pytest.fixture
def release(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[int, Callable[[], None]]]:
    """Yield a descriptor that held transfers wait for, and a function that releases them."""
    reading, writing = os.pipe()
    monkeypatch.setenv("HELD_UNTIL", str(reading))

    def let_go() -> None:
        os.write(writing, b".")

    yield reading, let_go
    os.close(reading)
    os.close(writing)


@pytest.mark.parametrize("answer", ["y\n", "YES\n"])
def test_yes_pushes(on_terminal: OnTerminal, source: Path, answer: str) -> None:
    terminal = on_terminal("new", source, "name", piped=True)
    terminal.expect(QUESTION)
    terminal.type(answer)
    ran = terminal.ended()
    assert (ran.code, ran.out) == (0, "name:0.0\n")


@pytest.mark.parametrize("answer", ["\n", "n\n", "nyes\n", "\x04"])
def test_1_any_other_answer_declines(on_terminal: OnTerminal, source: Path, tmp_path: Path, answer: str) -> None:
    terminal = on_terminal("new", source, "name", piped=True)
    terminal.expect(QUESTION)
    terminal.type(answer)
    ran = terminal.ended()
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.endswith("\r\nDeclined: nothing was pushed.\r\n")
    assert not (tmp_path / "store").exists()


def test_ctrl_c_at_the_question_exits(on_terminal: OnTerminal, source: Path, tmp_path: Path) -> None:
    terminal = on_terminal("new", source, "name", piped=True)
    terminal.expect(QUESTION)
    terminal.type("\x03")
    ran = terminal.ended()
    assert (ran.code, ran.out) == (130, "")
    assert ran.err.endswith("^C\r\nInterrupted.\r\n")
    assert not (tmp_path / "store").exists()


def test_yes_and_dry_run_ask_no_question(on_terminal: OnTerminal, source: Path) -> None:
    for option in ("--dry-run", "--yes"):
        ran = on_terminal("new", source, "name", option).ended()
        assert ran.code == 0
        assert "[y/N]" not in ran.err


def test_a_long_upload_is_displayed(
    on_terminal: OnTerminal, source: Path, release: tuple[int, Callable[[], None]]
) -> None:
    held_until, let_go = release
    terminal = on_terminal("new", source, "name", "--yes", script=HELD, piped=True, pass_fds=[held_until])
    terminal.expect("Uploading name:0.0")
    terminal.expect("1/2 files")
    let_go()
    assert terminal.ended().out == "name:0.0\n"


def test_a_long_download_is_displayed(
    on_terminal: OnTerminal, invoke: Invoke, source: Path, release: tuple[int, Callable[[], None]]
) -> None:
    held_until, let_go = release
    invoke("new", source, "name", "--yes")
    terminal = on_terminal("fetch", "name", script=HELD, piped=True, pass_fds=[held_until])
    terminal.expect("Downloading name:0.0")
    terminal.expect("1/2 files")
    let_go()
    assert terminal.ended().code == 0


def test_ctrl_c_during_an_upload_leaves_a_clean_terminal(
    on_terminal: OnTerminal,
    source: Path,
    release: tuple[int, Callable[[], None]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AIOASSETS_CLEANUP_TIMEOUT", "0.2")
    terminal = on_terminal("new", source, "name", "--yes", script=HELD, piped=True, pass_fds=[release[0]])
    terminal.expect("1/2 files")
    terminal.type("\x03")
    ran = terminal.ended()
    assert (ran.code, ran.out) == (130, "")
    assert "Traceback" not in ran.err
    show_cursor, erase_line = "\x1b[?25h", "\x1b[2K"
    assert show_cursor in ran.err.rpartition("\x1b[?25l")[2]
    assert ran.err.rpartition(erase_line)[2] == "Interrupted.\r\n"


def test_list_prints_a_table_on_a_terminal(on_terminal: OnTerminal, listed: Listed) -> None:
    listed("team/name", "1.0", "0.0")
    ran = on_terminal("list").ended()
    lines = [line.rstrip() for line in ran.err.splitlines()]
    assert "Asset" in lines[0]
    assert "Versions" in lines[0]
    assert lines[1] == "team/name  1.0, 0.0"


def test_list_prints_plain_lines_to_a_pipe(on_terminal: OnTerminal, listed: Listed) -> None:
    listed("name", "1.0", "0.0")
    assert on_terminal("list", piped=True).ended().out == "name\t1.0,0.0\n"
