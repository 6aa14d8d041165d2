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
