"""Shell completion in bash."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aioassets.model.versioning import SCHEMES

pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")

SETUP = 'eval "$(_AIOASSETS_COMPLETE=bash_source aioassets)"'


@pytest.fixture(autouse=True)
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put an `aioassets` command on the PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    script = folder / "aioassets"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m aioassets "$@"\n')
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


def completed(*words: str) -> list[str]:
    complete = 'COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _aioassets_completion "$1"; printf "%s\\n" "${COMPREPLY[@]}"'
    script = f"{SETUP}; {complete}"
    done = subprocess.run(
        ["bash", "--norc", "-c", script, "bash", "aioassets", *words], capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    return done.stdout.split()


def test_commands_are_completed() -> None:
    pushing, looking = ["new", "update"], ["show", "log", "diff"]
    withdrawing, copying = ["yank", "unyank", "delete", "prune"], ["copy", "lock", "sync"]
    before = [
        *pushing,
        "list",
        "versions",
        "fetch",
        "watch",
        "verify",
        *looking,
        "url",
        "ls",
        "cat",
        *withdrawing,
        "clean",
    ]
    assert completed("") == [*before, *copying, "alias", "cache"]
    assert completed("u") == ["update", "url", "unyank"]
    assert completed("alias", "r") == ["remove", "rollback"]


def test_options_are_completed() -> None:
    assert completed("update", ".", "name", "--bu") == ["--bump-major", "--bucket"]
    assert "--force-download" in completed("fetch", "--")


def test_values_are_completed() -> None:
    assert completed("list", "--storage-provider", "") == ["local", "s3", "gcs", "azure"]
    assert completed("list", "--versioning", "") == list(SCHEMES)


def test_tab_completes_in_an_interactive_bash(on_terminal: Callable[..., Any], source: Path) -> None:
    terminal = on_terminal(argv=["bash", "--norc", "--noprofile", "-i"])
    terminal.type(f"PS1='ready''> '; {SETUP}\n")
    terminal.expect("ready> ")
    terminal.type("aioassets upd\t")
    terminal.expect("update ")
    terminal.type(source.name[:3] + "\t")
    terminal.expect("source/")
    terminal.type(" name --bump\t")
    terminal.expect("--bump-major ")


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_have_a_completion_script(shell: str) -> None:
    done = subprocess.run(
        ["aioassets"],
        env=os.environ | {"_AIOASSETS_COMPLETE": f"{shell}_source"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "_aioassets_completion" in done.stdout
