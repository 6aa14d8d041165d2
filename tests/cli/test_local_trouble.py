"""Errors of the local file system: one line and an exit code each."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tools.filesystems import SmallDisk
from tools.principals import NOBODY, acting_as

Invoke = Callable[..., Any]


@pytest.fixture
def commons(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Create a folder that other users can reach, with a store, a cache and a source."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    (folder / "source").write_text("data")
    monkeypatch.setenv("AIOASSETS_BUCKET", str(folder / "store"))
    monkeypatch.setenv("AIOASSETS_DIR", str(folder / "cache"))
    yield folder
    for path in (folder, *folder.rglob("*")):
        if path.is_dir():
            path.chmod(0o700)
    shutil.rmtree(folder)


PERMISSIONS = "Permission denied. Check the owner and permissions, and those of the parent folders.\n"


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["fetch", "name"], "Error: Cannot use '{commons}/cache/"),
        (["update", "{commons}/source", "name", "-y"], "Error: Cannot write '"),
        (["new", "{commons}/source", "other", "-y"], "Error: Cannot write '"),
    ],
    ids=["fetch", "update", "new"],
)
def test_6_a_read_only_folder(invoke: Invoke, commons: Path, args: list[str], message: str) -> None:
    assert invoke("new", commons / "source", "name", "--yes").code == 0
    (commons / "cache").mkdir(exist_ok=True)
    for path in (commons / "store", *(commons / "store").rglob("*"), commons / "cache"):
        path.chmod(0o555 if path.is_dir() else 0o444)
    with acting_as(NOBODY):
        ran = invoke(*(arg.format(commons=commons) for arg in args))
    assert (ran.code, ran.out) == (6, "")
    assert ran.err.splitlines(keepends=True)[-1].startswith(message.format(commons=commons))
    assert ran.err.endswith(PERMISSIONS)


@pytest.mark.parametrize("args", [["list"], ["versions", "name"], ["fetch", "name"]], ids=lambda args: args[0])
def test_6_an_unreadable_store(invoke: Invoke, commons: Path, args: list[str]) -> None:
    assert invoke("new", commons / "source", "name", "--yes").code == 0
    (commons / "store").chmod(0)
    with acting_as(NOBODY):
        ran = invoke(*args)
    assert (ran.code, ran.out) == (6, "")
    assert ran.err.startswith("Error: Cannot ")
    assert ran.err.endswith(f" in file://{commons}/store: {PERMISSIONS}")


def test_1_an_unreadable_source(invoke: Invoke, commons: Path) -> None:
    (commons / "source").chmod(0)
    (commons / "store").mkdir()
    (commons / "store").chmod(0o777)
    with acting_as(NOBODY):
        ran = invoke("new", commons / "source", "name", "--yes")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.endswith(f"Error: Cannot push '{commons}/source': Permission denied.\n")


def test_7_a_full_store(invoke: Invoke, source: Path, small_disk: SmallDisk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIOASSETS_BUCKET", str(small_disk.path / "store"))
    small_disk.fill()
    ran = invoke("new", source, "name", "--yes")
    assert (ran.code, ran.out) == (7, "")
    assert "Error: Cannot use file://" in ran.err
    assert ran.err.endswith(": No space left on device; free some disk space and try again.\n")


def test_1_a_full_assets_directory(
    invoke: Invoke, source: Path, small_disk: SmallDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIOASSETS_DIR", str(small_disk.path / "cache"))
    invoke("new", source, "name", "--yes")
    small_disk.fill()
    ran = invoke("fetch", "name")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.startswith(f"Error: Cannot use '{small_disk.path}/cache")
    assert ran.err.endswith(
        "free some space, or use an assets directory on another disk (assets_dir, AIOASSETS_DIR).\n"
    )


def test_6_a_read_only_folder_that_was_never_written_to(
    invoke: Invoke, commons: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The test of the store is denied, but the message begins with what the user wanted."""
    assert invoke("new", commons / "source", "name", "--yes").code == 0
    monkeypatch.setenv("AIOASSETS_DIR", str(commons / "other cache"))
    for path in (commons / "store", *(commons / "store").rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    with acting_as(NOBODY):
        for args in (["update", commons / "source", "name", "-y"], ["alias", "set", "name:0.0", "prod"]):
            ran = invoke(*args)
            assert (ran.code, ran.out) == (6, "")
            assert ran.err.splitlines()[-1] == (
                f"Error: Cannot change assets in file://{commons}/store/assets: {PERMISSIONS.strip()} Objects in "
                "'assets/.aioassets-probe/' must be writable, too: the store is tested there before the first change."
            )
            assert "scratch" not in ran.err


@pytest.mark.parametrize("args", [["list"], ["show", "name"], ["new", "{commons}/source", "name", "-y"]])
@pytest.mark.parametrize("bucket", ["source", "source/inner", "link"])
def test_7_a_store_that_is_a_file(invoke: Invoke, commons: Path, args: list[str], bucket: str) -> None:
    (commons / "link").symlink_to("nowhere")
    ran = invoke(*(arg.format(commons=commons) for arg in args), "--bucket", commons / bucket)
    assert (ran.code, ran.out) == (7, "")
    assert ran.err == (
        f"Error: file://{commons}/{bucket} is not a folder. Use a folder as the store, or move the file away.\n"
    )
