"""Modes of files in local stores and in the assets directory."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

CHILD = str(Path(__file__).with_name("modes_child.py"))
LARGE = 20 * 1024 * 1024
"""Bytes of a file that is downloaded in several ranges."""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Return files with modes that are too open, too strict, or executable."""
    root = tmp_path / "source"
    for path, mode in {
        "private": 0o600,
        "open/to all": 0o666,
        "open/run": 0o4777,
        "run.sh": 0o2711,
        "mine": 0o700,
        "read only": 0o444,
    }.items():
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(path)
        file.chmod(mode)
    (root / "large").write_bytes(b"l" * LARGE)
    (root / "empty").mkdir()
    (root / "empty").chmod(0o1777)
    (root / "open").chmod(0o2777)
    return root


@pytest.mark.parametrize(
    ("umask", "file", "executable"), [("022", "644", "755"), ("077", "600", "700"), ("027", "640", "750")]
)
def test_modes_are_what_the_umask_leaves_and_the_executable_bit(
    source: Path, tmp_path: Path, umask: str, file: str, executable: str
) -> None:
    """This holds at every moment, and for temporary files, locks and records too."""
    root = tmp_path / "root"
    root.mkdir()
    ran = subprocess.run([sys.executable, CHILD, umask, source, root], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    seen: dict[str, list[str]] = json.loads(ran.stdout)
    folders = {path for path in seen if any(other.startswith(f"{path}/") for other in seen)}
    programs = {path for path in seen if path.startswith("cache/") and path.endswith(("run", "run.sh", "mine"))}
    empty = {path for path in seen if path.endswith("/empty")}
    assert len(programs) >= 7  # staged, single and whole
    assert any(".staging-" in path for path in seen)
    assert any("/tmp/" in path for path in seen)
    assert empty
    for path, modes in seen.items():
        expected = executable if path in folders | programs | empty else file
        assert modes == [expected], path
