"""Text from a store, a source or an assets directory can neither control a terminal nor forge a line."""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from aioassets import AssetsManager, StoreError
from aioassets.cli.app import parse
from aioassets.cli.process import run

pytestmark = pytest.mark.once

OnTerminal = Callable[..., Any]
Invoke = Callable[..., Any]

TRICKY = [
    "\x1b[2J",
    "\x9b31m",
    "\r",
    "\n",
    "\t",
    "\x7f",
    "\u202e",
    "\u2066",
    "\u200b",
    "\ud800",
    "\udcff",
    "[red]",
    "é",
]
PIECES = st.sampled_from([*TRICKY, "\nError: ", "\nRemove    ", "日本", "name"]) | st.characters()
TEXT = st.lists(PIECES, max_size=6).map("".join)


def nameable(text: str) -> bool:
    try:
        data = os.fsencode(text)
    except UnicodeEncodeError:
        return False
    return 0 < len(data) < 200 and text not in (".", "..") and not set(text) & {"/", "\0"}


FILE_NAMES = TEXT.filter(nameable)


@dataclass(frozen=True)
class Printed:
    code: int
    out: str
    err: str

    def lines(self) -> tuple[list[str], list[str]]:
        """Return the lines of both streams. Only line ends, and tabs on standard output, may be unprintable."""
        lines = []
        for text in (self.out, self.err):
            assert not text or text.endswith("\n")
            lines.append(text.split("\n")[:-1])
        assert all(line.replace("\t", "").isprintable() for line in lines[0])
        assert all(line.isprintable() for line in lines[1])
        return lines[0], lines[1]


def command(*args: str) -> Printed:
    """Run a command in this process, with its streams redirected."""
    streams = [io.TextIOWrapper(io.BytesIO(), encoding="utf-8", newline="") for _ in range(2)]
    with contextlib.redirect_stdout(streams[0]), contextlib.redirect_stderr(streams[1]):
        parsed = parse(args)
        code = parsed if isinstance(parsed, int) else run(parsed, args)
        for stream in streams:
            stream.flush()
    out, err = (stream.buffer.getvalue().decode() for stream in streams)
    return Printed(code, out, err)


@contextlib.contextmanager
def places() -> Iterator[tuple[Path, tuple[str, ...]]]:
    """Create a folder for a store and a cache. Yield it and the options that name the store."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "store" / "assets" / "name").mkdir(parents=True)
        yield Path(folder), ("--bucket", f"{folder}/store")


def claim(text: str) -> bytes:
    details = {"token": text or "t", "operation": "update", "fingerprint": text, "machine": text, "pid": 1}
    holder = {"user": text, "host": text}
    value = {"state": "claimed", **details, "started": "2020-01-01T00:00:00Z", "holder": holder}
    return json.dumps({"aioassets_claim": value}).encode()


def manifest(text: str, path: str) -> bytes:
    files = [{"path": path, "size": 1, "digests": {"sha256": "0" * 64}}]
    details = {"message": text, "labels": {text: text}, "pushed_by": {"user": text, "host": text}, "tool": text}
    return json.dumps(
        {"push_date": "2026-01-01T00:00:00Z", "is_directory": True, "contents": [path], "files": files, **details}
    ).encode()


@settings(max_examples=40)
@given(text=TEXT, name=FILE_NAMES)
@example("\nRemove    a\x1b[2J", "a\nKeep      b\x1b[2J")
def test_clean_prints_one_line_per_leftover_and_removal(text: str, name: str) -> None:
    with places() as (folder, store):
        assets = folder / "store" / "assets"
        options = (*store, "--assets-dir", f"{folder}/cache")
        (assets / "name.versions").write_text('{"versions": ["0.0"]}')
        (assets / "name" / "0.1.meta").write_bytes(claim(text))
        (assets / "name" / "0.2").mkdir()
        (assets / "name" / "0.2" / name).write_text("data")
        (assets / "name" / "0.3.meta").write_text(text.encode("ascii", "replace").decode())
        staging = folder / "cache" / ".aioassets" / name / "0.1.staging"
        staging.mkdir(parents=True)
        for args in (["--dry-run"], ["--older-than", "0s", "--legacy", "--yes"]):
            rows = json.loads(command("clean", "--dry-run", "--json", *args[:-1], *options).out)["leftovers"]
            assert rows
            out, err = command("clean", *args, *options).lines()
            shown = [line for line in err if line.startswith(("Remove    ", "Keep      ", " " * 10))]
            errors = [line for line in err if line.startswith("Error: ")]
            others = [line for line in err if line not in (*shown, *errors)]
            assert len(shown) == len(rows)
            assert len(errors) == len([row for row in rows if row["kind"] == "unreadable_document"])
            assert others == (["Dry run: nothing was removed."] if "--dry-run" in args else [])
            assert len(out) == (0 if "--dry-run" in args else sum(row["removable"] for row in rows))


@settings(max_examples=40)
@given(text=TEXT, name=FILE_NAMES)
@example("1.0\n0.0", "a\nb\t0.0")
def test_list_prints_one_line_per_asset_and_error(text: str, name: str) -> None:
    with places() as (folder, options):
        assets = folder / "store" / "assets"
        (assets / "good.versions").write_text('{"versions": ["0.0"]}')
        (assets / "name.versions").write_text(json.dumps({"versions": [text]}))
        (assets / f"{name}.versions").write_text('{"versions": ["0.0"]}')
        rows = json.loads(command("list", "--json", *options).out)["assets"]
        out, err = command("list", *options).lines()
        assert [line.count("\t") for line in out] == [1] * len(rows)
        assert len(err) == sum(row["error"] is not None for row in rows)
        assert all(line.startswith("Error: ") for line in err)
        out, err = command("versions", "name", *options).lines()
        assert len(out) + len(err) == 1


@settings(max_examples=40)
@given(text=TEXT, path=TEXT)
@example("a", "a\u202eb")
@example("a\nb", "a\nb")
def test_verify_and_fetch_print_one_line_per_problem(text: str, path: str) -> None:
    with places() as (folder, options):
        assets = folder / "store" / "assets"
        (assets / "name.versions").write_text('{"versions": ["0.0"]}')
        (assets / "name" / "0.0.meta").write_bytes(manifest(text, path))
        for args in (["verify", "name"], ["fetch", "name", "--assets-dir", f"{folder}/cache"]):
            ran = command(*args, *options)
            out, err = ran.lines()
            assert ran.code in (5, 7)
            assert (len(out), len(err)) == (0, 1)
            assert err[0].startswith("Error: ")


@settings(max_examples=40)
@given(text=TEXT.filter(lambda text: "\0" not in text), name=FILE_NAMES)
@example("a\nb", "a\nError: b")
def test_a_push_prints_one_line_per_problem_of_its_source(text: str, name: str) -> None:
    with places() as (folder, options):
        source = folder / name
        source.mkdir()
        details = ("--message", text, "--label", f"a={text}")
        (source / "a").write_text("data")
        out, err = command("new", str(source), "name", "--dry-run", *details, *options).lines()
        assert not out
        assert len(err) in (1, 6)  # an error, or a plan
        (source / name).symlink_to("nowhere")
        out, err = command("new", str(source), "name", "--yes", *details, *options).lines()
        assert not out
        assert [line.startswith("Error: ") for line in err] == [True]
        out, err = command("new", f"{source}{text}", text, "--yes", *options).lines()
        assert not out
        assert [line.startswith("Error: ") for line in err] == [True]


def test_a_pipe_gets_the_exact_bytes_of_a_fetched_path(invoke: Invoke, source: Path, tmp_path: Path) -> None:
    invoke("new", source, "name", "--yes")
    folder = os.fsdecode(os.fsencode(tmp_path) + b"/c\x1b[31m\xff")
    data = io.BytesIO()
    with contextlib.redirect_stdout(io.TextIOWrapper(data, encoding="utf-8")):
        parsed = parse(["fetch", "name", "--assets-dir", folder])
        assert callable(parsed)
        assert run(parsed, []) == 0
        sys.stdout.flush()
        printed = data.getvalue()
    assert Path(os.fsdecode(printed.removesuffix(b"\n"))).is_dir()


def test_a_terminal_gets_a_fetched_path_escaped(
    on_terminal: OnTerminal, invoke: Invoke, source: Path, tmp_path: Path
) -> None:
    invoke("new", source, "name", "--yes")
    ran = on_terminal("fetch", "name", "--assets-dir", f"{tmp_path}/c\x1b[31m").ended()
    (store,) = Path(f"{tmp_path}/c\x1b[31m").glob("file-*")
    assert ran.err.endswith(f"{tmp_path}/c\\x1b[31m/{store.name}/name/0.0\r\n")


def test_a_file_name_cannot_forge_the_question_of_clean(on_terminal: OnTerminal, tmp_path: Path) -> None:
    staging = tmp_path / "cache" / ".aioassets" / "a\x1b[2J\r\nKeep      b" / "0.1.staging"
    staging.mkdir(parents=True)
    (tmp_path / "store" / "assets").mkdir(parents=True)
    terminal = on_terminal("clean", piped=True)
    terminal.expect("Remove it? [y/N] ")
    assert terminal.screen.startswith(f"Remove    {tmp_path}/cache/.aioassets/a\\x1b[2J\\r\\nKeep      b/0.1.staging: ")
    assert terminal.screen.count("\r\n") == 1
    terminal.type("y\n")
    assert terminal.ended().out == f"{tmp_path}/cache/.aioassets/a\\x1b[2J\\r\\nKeep      b/0.1.staging\n"


@pytest.mark.parametrize("args", [["nix\x1b[2J"], ["list", "--co\x1b[2Jlour"], ["new"]])
def test_usage_errors_are_escaped(invoke: Invoke, args: list[str]) -> None:
    ran = invoke(*args)
    assert ran.code == 2
    assert ran.err.replace("\n", "").isprintable()


def test_text_from_a_server_cannot_forge_an_error_line(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*args: object) -> list[str]:
        raise StoreError("It says: \x1b[2Jno\nError: none")

    monkeypatch.setattr(AssetsManager, "list_versions", fail)
    assert invoke("versions", "name").err == "Error: It says: \\x1b[2Jno\\nError: none\n"
    monkeypatch.setenv("AIOASSETS_DEBUG", "1")
    lines = invoke("versions", "name").err.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert [line for line in lines if line.startswith("Error: ")] == ["Error: It says: \\x1b[2Jno\\nError: none"]


DISPLAY = r"""
import anyio
from aioassets.cli.display import progress_display

async def main():
    async with progress_display("Looking at a\x1b[2J\n[red]b", "Uploading") as tally:
        await anyio.wait_readable(0)
        input()
        tally.transfer = "Uploading c\x1b[2J\n[red]d"
        await anyio.wait_readable(0)

anyio.run(main)
"""


def test_the_progress_display_is_escaped(on_terminal: OnTerminal) -> None:
    terminal = on_terminal(argv=[sys.executable, "-c", DISPLAY])
    terminal.expect("Looking at a\\x1b[2J\\n[red]b")
    terminal.type("\n")
    terminal.expect("Uploading c\\x1b[2J\\n[red]d")
    terminal.type("\n")
    assert terminal.ended().code == 0
