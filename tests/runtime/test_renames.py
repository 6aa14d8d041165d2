"""Renames that replace nothing, and exchanges of two paths."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

import pytest

from aioassets.runtime import renames

pytestmark = pytest.mark.once


@pytest.fixture(params=["supported", "not supported", "no such function"])
def supported(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Run a test with and without a file system and a C library that support flags of renames."""
    refuse: Callable[..., int] | None = {"not supported": lambda *args: errno.EINVAL}.get(request.param)
    if request.param != "supported":
        monkeypatch.setattr(renames, "_system_call", lambda: refuse)
    return bool(request.param == "supported")


def test_a_rename_replaces_nothing(tmp_path: Path, supported: bool) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_text("new")
    renames.rename_new(str(source), str(target))
    assert target.read_text() == "new"

    source.mkdir()
    with pytest.raises(FileExistsError):
        renames.rename_new(str(source), str(target))
    target.unlink()
    target.mkdir()
    with pytest.raises(FileExistsError):
        renames.rename_new(str(source), str(target))
    assert source.is_dir()


def test_folders_and_files_are_exchanged(tmp_path: Path, supported: bool) -> None:
    (tmp_path / "folder" / "inner").mkdir(parents=True)
    (tmp_path / "file").write_text("text")

    assert renames.exchange(str(tmp_path / "folder"), str(tmp_path / "file")) == supported

    is_folder = (tmp_path / "file" / "inner").is_dir(), (tmp_path / "folder" / "inner").is_dir()
    assert is_folder == (supported, not supported)


def test_a_missing_path_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        renames.exchange(str(tmp_path / "a"), str(tmp_path / "b"))
