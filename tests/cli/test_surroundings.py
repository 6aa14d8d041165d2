"""Processes without a home or working directory, and sources that are nested too deep: one clear error each."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest

Invoke = Callable[..., Any]


@pytest.fixture
def _homeless(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(_: object) -> NoReturn:
        raise KeyError

    for name in ("HOME", "XDG_CACHE_HOME", "USER", "LOGNAME", "LNAME", "USERNAME", "AIOASSETS_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)


@pytest.mark.usefixtures("_homeless")
def test_only_the_default_cache_needs_a_home_directory(
    invoke: Invoke, source: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert invoke("new", source, "name", "--yes").code == 0
    assert invoke("update", source, "name", "--yes").code == 0
    assert invoke("list").code == 0
    ran = invoke("fetch", "name")
    assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)
    assert "the home directory is unknown" in ran.err
    assert "AIOASSETS_DIR" in ran.err
    assert not (tmp_path / "~").exists()
    monkeypatch.setenv("AIOASSETS_DIR", str(tmp_path / "cache"))
    assert invoke("fetch", "name").code == 0


@pytest.mark.parametrize(
    "args", [["list", "--bucket", "~nosuchuser/x"], ["fetch", "name", "--assets-dir", "~nosuchuser"]]
)
def test_an_unknown_user_has_no_home_directory(invoke: Invoke, args: list[str], tmp_path: Path) -> None:
    ran = invoke(*args)
    assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)
    assert "the home directory is unknown" in ran.err
    assert not list(tmp_path.iterdir())


@pytest.fixture
def _removed(tmp_path: Path) -> Iterator[None]:
    folder = tmp_path / "removed"
    folder.mkdir()
    before = Path.cwd()
    os.chdir(folder)
    folder.rmdir()
    yield
    os.chdir(before)


@pytest.mark.usefixtures("_removed")
@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (["list", "--bucket", "./store"], 2, "the working directory has been removed"),
        (["fetch", "name", "--assets-dir", "cache"], 2, "the working directory has been removed"),
        (["new", "file", "name", "--yes"], 3, "Cannot push 'file': no such file or directory."),
    ],
)
def test_a_relative_path_needs_a_working_directory(args: list[str], code: int, message: str) -> None:
    command = [sys.executable, "-P", "-m", "aioassets", *args]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (code, "", 1)
    assert message in done.stderr


@pytest.mark.usefixtures("_removed")
def test_absolute_paths_need_no_working_directory(invoke: Invoke, source: Path) -> None:
    assert invoke("new", source, "name", "--yes").code == 0
    assert invoke("fetch", "name").code == 0


@pytest.fixture
def deep(tmp_path: Path) -> Iterator[Path]:
    """Create 1,200 nested folders around a file."""
    folder, before = tmp_path / "deep", Path.cwd()
    folder.mkdir()
    os.chdir(folder)
    for _ in range(1200):
        os.mkdir("d")
        os.chdir("d")
    Path("file").touch()
    for _ in range(1200):
        os.chdir("..")
    yield folder
    os.chdir(folder)
    for _ in range(1200):
        os.chdir("d")
    os.remove("file")
    for _ in range(1200):
        os.chdir("..")
        os.rmdir("d")
    os.chdir(before)


def test_folders_that_are_nested_too_deep_are_one_error(invoke: Invoke, deep: Path) -> None:
    ran = invoke("new", deep, "name", "--yes")
    assert (ran.code, ran.out, ran.err.count("\n")) == (1, "", 1)
    assert "nested more than 512 levels deep" in ran.err


@pytest.mark.parametrize("args", [["list"], ["clean", "--dry-run"]], ids=lambda args: args[0])
def test_a_store_with_foreign_folders_that_are_nested_too_deep_can_be_read(
    invoke: Invoke, deep: Path, args: list[str]
) -> None:
    ran = invoke(*args, "--bucket", deep, "--assetsmanager-prefix", "")
    assert (ran.code, "bug" in ran.err) == (0, False)
