"""The commands that fetch several assets, and that lock and copy versions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Invoke = Callable[..., Any]


@pytest.fixture
def pushed(invoke: Invoke, tmp_path: Path) -> None:
    """Push the assets `a` and `b`, each of which contains its name."""
    for name in "ab":
        (tmp_path / name).write_text(name)
        assert invoke("new", tmp_path / name, name, "--yes").code == 0


class TestFetchingSeveral:
    @pytest.mark.usefixtures("pushed")
    def test_paths_are_printed_in_the_order_of_the_specs(self, invoke: Invoke) -> None:
        ran = invoke("fetch", "b", "a:0.0", "b")
        assert (ran.code, ran.err) == (0, "")
        assert [Path(line).read_text() for line in ran.out.splitlines()] == ["b", "a", "b"]

    @pytest.mark.usefixtures("pushed")
    def test_each_error_is_a_line_and_the_first_one_is_the_exit_code(self, invoke: Invoke) -> None:
        ran = invoke("fetch", "c", "a", "b[", "b")
        assert ran.code == 3
        assert [Path(line).read_text() for line in ran.out.splitlines()] == ["a", "b"]
        first, second = ran.err.splitlines()
        assert first.startswith("Error: No asset 'c' in ")
        assert second.startswith("Error: 'b[' is not a valid asset spec: ")

    @pytest.mark.usefixtures("pushed")
    def test_the_json_document_lists_results_and_errors(self, invoke: Invoke) -> None:
        ran = invoke("fetch", "a", "c", "--json")
        first, second = ran.document["assets"]
        assert ran.code == 3
        assert (first["spec"], first["version"], first["error"]) == ("a", "0.0", None)
        assert Path(first["path"]).read_text() == "a"
        assert (second["spec"], second["path"]) == ("c", None)
        assert second["error"].startswith("No asset 'c' in ")
        assert first.keys() == {"spec", "error"} | invoke("fetch", "a", "--json").document.keys()

    def test_it_needs_a_spec(self, invoke: Invoke) -> None:
        assert invoke("fetch").code == 2


@pytest.mark.usefixtures("pushed")
class TestCopying:
    def test_it_shows_what_it_copies_and_prints_the_version(self, invoke: Invoke, tmp_path: Path) -> None:
        ran = invoke("copy", "a", "--to", tmp_path / "production", "--name", "team/a", "--alias", "prod", "--yes")
        assert (ran.code, ran.out) == (0, "team/a:0.0\n")
        assert ran.err.splitlines() == [
            f"Asset     a:0.0, from {(tmp_path / 'store' / 'assets').as_uri()}",
            f"Target    {(tmp_path / 'production' / 'assets').as_uri()}",
            "Version   team/a:0.0 (expected)",
            "Copy      1 file, 1 byte",
            "Alias     team/a@prod",
        ]
        assert (tmp_path / "production" / "assets" / "team" / "a" / "0.0").read_text() == "a"

    def test_a_second_copy_is_a_success(self, invoke: Invoke, tmp_path: Path) -> None:
        args = ("copy", "a", "--to", tmp_path / "production", "--yes", "--json")
        first, again = invoke(*args).document, invoke(*args)
        assert "Version   a:0.0 (there already)" in again.err
        assert again.document == {**first, "unchanged": True}
        assert first == {
            "name": "a",
            "version": "0.0",
            "url": (tmp_path / "production" / "assets" / "a" / "0.0").as_uri(),
            "files": 1,
            "size": 1,
            "source": "a:0.0",
            "content_digest": first["content_digest"],
            "unchanged": False,
            "alias": None,
            "dry_run": False,
        }
        assert len(first["content_digest"]) == 64

    def test_other_content_is_a_conflict(self, invoke: Invoke, tmp_path: Path) -> None:
        ran = invoke("copy", "a", "--name", "b", "--yes")
        assert (ran.code, ran.out) == (4, "")
        assert "b:0.0 exists in" in ran.err
        ran = invoke("copy", "a", "--name", "b", "--renumber", "--yes")
        assert (ran.code, ran.out) == (0, "b:0.1\n")

    def test_a_prefix_of_the_same_store_is_a_target(self, invoke: Invoke, tmp_path: Path) -> None:
        assert invoke("copy", "a", "--to-prefix", "production", "--yes").code == 0
        assert invoke("versions", "a", "--assetsmanager-prefix", "production").out == "0.0\n"

    def test_onto_itself_is_a_usage_error(self, invoke: Invoke) -> None:
        ran = invoke("copy", "a", "--yes")
        assert ran.code == 2
        assert ran.err == "Error: Cannot copy a:0.0 onto itself: choose another store, prefix or name.\n"

    def test_a_dry_run_writes_nothing(self, invoke: Invoke, tmp_path: Path) -> None:
        ran = invoke("copy", "a", "--to", tmp_path / "production", "--dry-run")
        assert (ran.code, ran.out) == (0, "")
        assert ran.err.endswith("Dry run: nothing was copied.\n")
        assert not (tmp_path / "production").exists()

    def test_without_a_terminal_it_needs_yes(self, invoke: Invoke, tmp_path: Path) -> None:
        ran = invoke("copy", "a", "--to", tmp_path / "production")
        assert ran.code == 2
        assert "Use --yes to confirm" in ran.err

    def test_options_of_another_provider_do_not_apply_to_the_target(self, invoke: Invoke) -> None:
        """They would be refused by its driver."""
        ran = invoke("copy", "a", "--to", "s3://b", "-o", "fsync=1", "--retry-for", "0s", "--dry-run")
        assert "The local driver has no option 'fsync'" in ran.err
