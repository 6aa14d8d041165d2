"""The `cache` commands."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aioassets.fetch import leases

pytestmark = pytest.mark.once

Invoke = Callable[..., Any]
OnTerminal = Callable[..., Any]


@pytest.fixture
def cached(invoke: Invoke, source: Path, tmp_path: Path) -> Path:
    """Cache a version that was last used yesterday, and return its path."""
    invoke("new", source, "team/name", "--yes")
    path = Path(invoke("fetch", "team/name").out.strip())
    leases.settle()
    yesterday = time.time() - 86400
    for file in (tmp_path / "cache").rglob(".aioassets/team/name/*"):
        os.utime(file, (yesterday, yesterday))
    return path


@pytest.fixture(autouse=True)
def without_bucket(cached: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The commands need no bucket."""
    monkeypatch.delenv("AIOASSETS_BUCKET")


def test_cached_versions_are_listed(cached: Path, invoke: Invoke, tmp_path: Path) -> None:
    name, store, size, used, state, path = invoke("cache", "list").out.strip("\n").split("\t")
    assert (name, store, state, path) == ("team/name:0.0", f"{(tmp_path / 'store').as_uri()}/assets", "", str(cached))
    assert used.endswith("+00:00")
    (version,) = invoke("cache", "list", "--json").document["versions"]
    assert (version["name"], version["version"], version["size"]) == ("team/name", "0.0", int(size))
    assert (version["held"], version["partial"], version["path"]) == (False, False, str(cached))


def test_cached_versions_are_listed_as_a_table_on_a_terminal(on_terminal: OnTerminal) -> None:
    screen = on_terminal("cache", "list").ended().err
    assert all(title in screen for title in ("Version", "Store", "Size", "Last used"))
    assert "team/name:0.0" in screen
    assert "24 h ago" in screen


def test_the_size_of_the_cache_is_printed(
    invoke: Invoke, on_terminal: OnTerminal, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("AIOASSETS_CACHE_LIMIT", "20GB")
    document = invoke("cache", "size", "--json").document
    size = document.pop("size")
    assert document == {"path": str(tmp_path / "cache"), "versions": 1, "limit": 20 * 1000**3}
    assert invoke("cache", "size").out == f"{size}\n"
    assert f"{size} bytes of 20.0 GB in 1 version" in on_terminal("cache", "size").ended().err


def test_an_empty_cache_is_named(invoke: Invoke, tmp_path: Path) -> None:
    ran = invoke("cache", "list", "--assets-dir", tmp_path / "other")
    assert (ran.code, ran.out) == (0, "")
    assert str(tmp_path / "other") in ran.err


def test_prune_asks_before_it_removes(cached: Path, on_terminal: OnTerminal) -> None:
    for answer, code in (("n\n", 1), ("y\n", 0)):
        terminal = on_terminal("cache", "prune", "--unused-for", "12h")
        terminal.expect("Remove 1 version, 11 bytes? [y/N] ")
        terminal.type(answer)
        assert terminal.ended().code == code
        assert cached.exists() == (code == 1)


def test_prune_removes_versions_and_prints_their_paths(cached: Path, invoke: Invoke) -> None:
    planned = invoke("cache", "prune", "--limit", "0", "--dry-run", "--json").document
    assert cached.exists()
    assert [version["path"] for version in planned["removed"]] == [str(cached)]
    assert (planned["kept"], planned["freed"], planned["size"], planned["dry_run"]) == ([], 11, 0, True)
    ran = invoke("cache", "prune", "--limit", "0", "--yes")
    assert (ran.code, ran.out) == (0, f"{cached}\n")
    assert not cached.exists()
    assert invoke("cache", "prune", "--limit", "0", "--yes").err == "Nothing to remove.\n"


def test_prune_tells_why_it_keeps_a_version(invoke: Invoke, tmp_path: Path) -> None:
    invoke("fetch", "team/name:0.0", "--offline")
    ran = invoke("cache", "prune", "--limit", "1B", "--yes")
    assert (ran.code, ran.out) == (0, "")
    assert ran.err.startswith(f"Keep      team/name:0.0 from {(tmp_path / 'store').as_uri()}/assets: 2 files, 11 bytes")
    assert "(used within the last hour)\nNone of these can be removed at the moment.\n" in ran.err


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["prune"], "without a limit"),
        (["prune", "--limit", "much"], "'much' is not a size"),
        (["prune", "--limit", "0"], "without a terminal"),
        (["prune", "--unused-for", "2 weeks"], "is not a duration"),
    ],
)
def test_a_wrong_prune_is_a_usage_error(invoke: Invoke, cached: Path, args: list[str], message: str) -> None:
    ran = invoke("cache", *args)
    assert (ran.code, ran.out) == (2, "")
    assert message in ran.err
    assert cached.exists()


def test_a_fetch_that_exceeds_the_limit_warns(
    invoke: Invoke, source: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("AIOASSETS_CACHE_LIMIT", "10")
    (source / "more").write_text("more")
    invoke("update", source, "team/name", "--yes", "--bucket", tmp_path / "store")
    ran = invoke("fetch", "team/name", "--bucket", tmp_path / "store")
    assert ran.code == 0
    assert "exceeds its limit of 10 bytes by 5 bytes" in ran.err
