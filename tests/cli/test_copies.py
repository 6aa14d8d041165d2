"""The commands that fetch several assets, and that lock and copy versions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tools.servers import AzureServer, S3Server

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
        assert again.document == {**first, "unchanged": True, "copied": 0}
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
            "streamed": 0,
            "copied": 1,
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


@pytest.mark.usefixtures("pushed")
class TestLocking:
    @pytest.fixture
    def dependencies(self, tmp_path: Path) -> Path:
        path = tmp_path / "assets.toml"
        path.write_text('assets = ["b:0", "a"]\n')
        return path

    def test_a_lock_is_written_beside_the_list_and_fetched(
        self, invoke: Invoke, dependencies: Path, tmp_path: Path
    ) -> None:
        ran = invoke("lock")
        assert (ran.code, ran.out, ran.err) == (0, "a\ta:0.0\nb:0\tb:0.0\n", "Wrote assets.lock.\n")
        (tmp_path / "a").write_text("later")
        invoke("update", tmp_path / "a", "a", "--yes")
        ran = invoke("sync")
        assert (ran.code, ran.err) == (0, "")
        assert [Path(line).read_text() for line in ran.out.splitlines()] == ["a", "b"]

    def test_an_unchanged_lock_is_not_rewritten(self, invoke: Invoke, dependencies: Path) -> None:
        invoke("lock", dependencies)
        lock = dependencies.with_suffix(".lock")
        before = lock.stat()
        ran = invoke("lock", dependencies)
        assert (ran.code, ran.err) == (0, f"{lock} is up to date.\n")
        assert (lock.stat().st_ino, lock.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)

    def test_check_reports_a_lock_that_is_out_of_date(self, invoke: Invoke, dependencies: Path, tmp_path: Path) -> None:
        ran = invoke("lock", "--check")
        assert (ran.code, ran.err) == (1, "assets.lock is out of date. Update it with `aioassets lock`.\n")
        assert not (tmp_path / "assets.lock").exists()
        invoke("lock")
        assert invoke("lock", "--check").code == 0
        before = (tmp_path / "assets.lock").read_text()
        invoke("update", tmp_path / "a", "a", "--yes")
        assert invoke("lock", "--check").code == 1
        assert (tmp_path / "assets.lock").read_text() == before

    def test_a_lock_with_a_merge_conflict_is_written_again(self, invoke: Invoke, dependencies: Path) -> None:
        invoke("lock")
        lock = dependencies.with_suffix(".lock")
        text = lock.read_text()
        lock.write_text(f"<<<<<<< ours\n{text}=======\n>>>>>>> theirs\n")
        ran = invoke("sync")
        assert ran.code == 2
        assert ran.err == (
            "Error: Cannot use 'assets.lock': it contains a merge conflict; resolve it first. "
            "Write it again with `aioassets lock`.\n"
        )
        assert invoke("lock").err == "Wrote assets.lock.\n"
        assert lock.read_text() == text

    def test_other_content_is_an_integrity_error(self, invoke: Invoke, dependencies: Path) -> None:
        invoke("lock")
        lock = dependencies.with_suffix(".lock")
        digest = invoke("lock", "--json").document["assets"][0]["content_digest"]
        lock.write_text(lock.read_text().replace(digest, "0" * 64))
        ran = invoke("sync")
        assert ran.code == 5
        assert ran.err.startswith(f"Error: a:0.0 differs from what was locked: expected content digest {'0' * 64}")
        assert [Path(line).read_text() for line in ran.out.splitlines()] == ["b"]

    def test_it_works_offline_with_cached_versions(self, invoke: Invoke, dependencies: Path) -> None:
        invoke("lock")
        paths = invoke("sync").out
        assert invoke("sync", "--offline").out == paths

    def test_results_are_printed_as_json(self, invoke: Invoke, dependencies: Path) -> None:
        document = invoke("lock", "--json").document
        assert (document["path"], document["changed"]) == ("assets.lock", True)
        assert [row["spec"] for row in document["assets"]] == ["a", "b:0"]
        assert document["assets"][0] == {
            "spec": "a",
            "name": "a",
            "version": "0.0",
            "content_digest": document["assets"][0]["content_digest"],
            "listing_digest": None,
        }
        assert not invoke("lock", "--json").document["changed"]
        assert [row["spec"] for row in invoke("sync", "--json").document["assets"]] == ["a", "b:0"]

    def test_each_spec_that_cannot_be_locked_is_a_line(self, invoke: Invoke, tmp_path: Path) -> None:
        (tmp_path / "assets.toml").write_text('assets = ["x", "a", "y"]\n')
        ran = invoke("lock")
        assert ran.code == 3
        assert [line.partition(" in ")[0] for line in ran.err.splitlines()] == [
            "Error: No asset 'x'",
            "Error: No asset 'y'",
        ]
        assert not (tmp_path / "assets.lock").exists()

    @pytest.mark.parametrize(
        ("args", "code", "message"),
        [
            (
                ["lock", "none.toml"],
                3,
                "Error: Cannot read 'none.toml': no such file. List the specs there, for example",
            ),
            (["sync", "none.lock"], 3, "Error: Cannot read 'none.lock': no such file. Write it with `aioassets lock`."),
            (["lock", "."], 2, "Error: Cannot read '.': Is a directory."),
            (["lock", "x.lock"], 2, "Error: Cannot lock 'x.lock': it would be its own lock file."),
        ],
    )
    def test_a_file_that_is_not_there_is_one_error(
        self, invoke: Invoke, tmp_path: Path, args: list[str], code: int, message: str
    ) -> None:
        (tmp_path / "x.lock").write_text("assets = []\n")
        ran = invoke(*args)
        assert ran.code == code
        assert ran.err.startswith(message)


@pytest.mark.servers
def test_a_version_is_promoted_from_s3_to_azure(
    invoke: Invoke, seaweedfs: S3Server, azurite: AzureServer, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each store has options of its own."""
    target = f"az://{azurite.fresh_container()}"
    monkeypatch.setenv("AIOASSETS_BUCKET", f"s3://{seaweedfs.fresh_bucket()}")
    for name, value in seaweedfs.options.items():
        monkeypatch.setenv(f"AIOASSETS_S3_{name.upper()}", value)
    monkeypatch.setenv("AIOASSETS_AZURE_CONNECTION_STRING", azurite.options["connection_string"])
    assert invoke("new", source, "model", "--yes").code == 0
    for unchanged in (False, True):
        ran = invoke("copy", "model", "--to", target, "--alias", "prod", "--yes", "--json")
        assert (ran.code, ran.document["unchanged"]) == (0, unchanged)
    fetched = invoke("fetch", "model@prod", "--bucket", target)
    assert (fetched.code, fetched.err) == (0, "")
    assert sorted(path.name for path in Path(fetched.out.strip()).iterdir()) == ["a", "b"]
