"""`fetch --to`, which puts an asset at a path."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.once

Invoke = Callable[..., Any]


@pytest.fixture
def asset(invoke: Invoke, source: Path) -> str:
    """Push a version, and return the name."""
    assert invoke("new", source, "team/model", "--yes").code == 0
    return "team/model"


def test_it_prints_the_path(invoke: Invoke, asset: str, tmp_path: Path) -> None:
    ran = invoke("fetch", asset, "--to", "out/model")

    assert (ran.code, ran.out, ran.err) == (0, f"{tmp_path}/out/model\n", "")
    assert (tmp_path / "out" / "model" / "a").read_bytes() == b"first"
    assert invoke("fetch", f"{asset}[a]", "--to", "out/a", "--json").document["path"] == f"{tmp_path}/out/a"


def test_changes_are_discarded_only_on_demand(invoke: Invoke, asset: str, tmp_path: Path) -> None:
    assert invoke("fetch", asset, "--to", "model").code == 0
    (tmp_path / "model" / "a").write_text("edited")

    ran = invoke("fetch", asset, "--to", "model")
    assert ran.code == 4
    assert "it was changed since aioassets put team/model:0.0 there" in ran.err
    assert "--discard-changes" in ran.err

    assert invoke("fetch", asset, "--to", "model", "--discard-changes", "--link").code == 0
    assert (tmp_path / "model").is_symlink()


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--to", "out", "other"], "--to takes one asset"),
        (["--link"], "add --to PATH"),
        (["--discard-changes"], "add --to PATH"),
        (["--to", "cache"], "the assets directory is"),
        (["--to", ""], "to must be a path"),
    ],
)
def test_wrong_usage_is_refused(invoke: Invoke, asset: str, args: list[str], message: str) -> None:
    ran = invoke("fetch", asset, *args)
    assert ran.code == 2
    assert message in ran.err
