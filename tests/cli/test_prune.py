"""The `prune` command."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Invoke = Callable[..., Any]
OnTerminal = Callable[..., Any]


@pytest.fixture
def versions(invoke: Invoke, source: Path) -> None:
    invoke("new", source, "name", "--yes")
    for _ in range(3):
        invoke("update", source, "name", "--yes")


@pytest.mark.usefixtures("versions")
def test_it_shows_what_goes_and_why_the_rest_stays_and_asks(on_terminal: OnTerminal, invoke: Invoke) -> None:
    terminal = on_terminal("prune", "--keep-last", "2")
    terminal.expect("Delete 2 versions (22 bytes) for good? [y/N] ")
    assert "Keep      name:0.3, " in terminal.screen
    assert "(latest, last)" in terminal.screen
    assert "Delete    name:0.1, " in terminal.screen
    terminal.type("n\n")
    assert terminal.ended().code == 1
    assert invoke("versions", "name").out == "0.3\n0.2\n0.1\n0.0\n"


@pytest.mark.usefixtures("versions")
def test_it_deletes_versions_and_prints_them(invoke: Invoke) -> None:
    ran = invoke("prune", "name", "--keep-last", "2", "--yes")
    assert (ran.code, ran.out) == (0, "name:0.0\nname:0.1\n")
    assert ran.err.endswith("Deleted 2 versions, 22 bytes.\n")
    assert invoke("versions", "name").out == "0.3\n0.2\n"
    assert invoke("fetch", "name:0.0").code == 3
    assert invoke("prune", "--keep-last", "2", "--yes").err.endswith("The rules keep all versions.\n")


@pytest.mark.usefixtures("versions")
def test_it_prints_json(invoke: Invoke) -> None:
    ran = invoke("prune", "--keep-last", "1", "--keep-within", "90d", "--dry-run", "--json")
    assert (ran.document["freed"], ran.document["dry_run"]) == (0, True)
    assert [row["keep"] for row in ran.document["versions"]] == [["latest", "last", "recent"], *[["recent"]] * 3]
    document = invoke("prune", "--keep-last", "3", "--yes", "--json").document
    assert (document["freed"], [row["deleted"] for row in document["versions"]]) == (11, [False] * 3 + [True])


@pytest.mark.usefixtures("versions")
def test_without_a_terminal_it_needs_yes(invoke: Invoke) -> None:
    ran = invoke("prune", "--keep-last", "1")
    assert (ran.code, ran.out) == (2, "")
    assert "--yes" in ran.err


@pytest.mark.parametrize("args", [[], ["--keep-last", "0"], ["--keep-within", "soon"]])
def test_a_rule_is_required_and_must_be_valid(invoke: Invoke, args: list[str]) -> None:
    assert invoke("prune", "name", *args).code == 2


@pytest.mark.usefixtures("versions")
def test_a_missing_asset_is_not_found(invoke: Invoke) -> None:
    assert invoke("prune", "other", "--keep-last", "1", "--yes").code == 3


def test_it_prunes_each_kind_of_store(run_on_store: Invoke, source: Path) -> None:
    assert run_on_store("new", source, "name", "--yes").code == 0
    assert run_on_store("update", source, "name", "--yes").code == 0
    assert run_on_store("prune", "--keep-last", "1", "--yes").out == "name:0.0\n"
    assert run_on_store("versions", "name").out == "0.1\n"
    assert run_on_store("verify", "name").code == 0
    assert run_on_store("fetch", "name:0.0").code == 3


@pytest.mark.usefixtures("versions")
def test_what_cannot_be_read_is_reported(invoke: Invoke, tmp_path: Path) -> None:
    (tmp_path / "store" / "assets" / "name" / "0.3.meta").write_text("{bad")
    (tmp_path / "store" / "assets" / "other.versions").write_text("[]")
    ran = invoke("prune", "--keep-last", "1", "--yes", "--json")
    assert ran.code == 7
    assert "name/0.3.meta is invalid" in ran.err
    assert "Kept all versions of other." in ran.err
    assert [row["name"] for row in ran.document["skipped"]] == ["other"]
    assert "is invalid" in ran.document["versions"][0]["error"]
    assert [row["deleted"] for row in ran.document["versions"]] == [False, False, True, True]
