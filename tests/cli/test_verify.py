"""The `verify` command."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Invoke = Callable[..., Any]


@pytest.fixture
def content(invoke: Invoke, source: Path, tmp_path: Path) -> Path:
    """Push a version, and return the path of its content in the store."""
    invoke("new", source, "name", "--yes")
    return tmp_path / "store" / "assets" / "name" / "0.0"


def test_an_intact_version_is_printed(invoke: Invoke, content: Path) -> None:
    ran = invoke("verify", "name:0")
    assert (ran.code, ran.out, ran.err) == (0, "name:0.0\n", "")
    assert invoke("verify", "name[a]").out == "name:0.0[a]\n"


def test_each_damaged_file_is_reported(invoke: Invoke, content: Path) -> None:
    (content / "a").write_bytes(b"firsT")
    (content / "b").unlink()
    ran = invoke("verify", "name")
    assert (ran.code, ran.out) == (5, "")
    first, second = ran.err.splitlines()
    assert first.startswith("Error: name:0.0[a] differs from what was pushed: expected sha256 ")
    assert second == "Error: name:0.0[b] differs from what was pushed: expected 6 bytes, found nothing."
    assert invoke("verify", "name[a]", "--json").document["ok"] is False


def test_a_cached_version_can_be_verified(invoke: Invoke, content: Path) -> None:
    assert invoke("verify", "name", "--cache").code == 3
    fetched = Path(invoke("fetch", "name").out.strip())
    (content / "a").write_bytes(b"firsT")
    assert invoke("verify", "name", "--cache").code == 0
    (fetched / "a").write_bytes(b"firsT")
    ran = invoke("verify", "name", "--cache", "--json")
    assert ran.code == 5
    (problem,) = ran.document["problems"]
    assert problem["what"] == "name:0.0[a]"
    assert {**ran.document, "problems": []} == {
        "name": "name",
        "version": "0.0",
        "part": None,
        "files": 2,
        "size": 11,
        "verified_by": ["sha256"],
        "unverifiable": 0,
        "ok": False,
        "yanked": None,
        "problems": [],
    }
