"""Results and output of the commands, without a terminal."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tools.inspection import store_folder

from aioassets import AssetsManager, __version__

Invoke = Callable[..., Any]
Listed = Callable[..., None]


def test_new_starts_at_0_0(invoke: Invoke, source: Path) -> None:
    ran = invoke("new", source, "team/model", "--yes")
    assert (ran.code, ran.out) == (0, "team/model:0.0\n")


@pytest.mark.parametrize(
    ("there", "args", "expected"),
    [
        (("1.1", "0.1"), ["name"], "1.2"),
        (("1.0", "0.1"), ["name", "--bump-major"], "2.0"),
        (("1.0", "0.1"), ["name:0"], "0.2"),
        (("10.3", "9.0", "1.1"), ["name:1"], "1.2"),
        (("10.3", "9.0", "1.1"), ["name"], "10.4"),
    ],
)
def test_update_creates_the_next_version(
    invoke: Invoke, listed: Listed, source: Path, there: tuple[str, ...], args: list[str], expected: str
) -> None:
    listed("name", *there)
    ran = invoke("update", source, *args, "--yes")
    assert (ran.code, ran.out) == (0, f"name:{expected}\n")
    assert invoke("versions", "name").out.splitlines().count(expected) == 1


def test_a_push_shows_its_plan(invoke: Invoke, listed: Listed, source: Path, tmp_path: Path) -> None:
    listed("name", "1.1", "1.0", "0.1")
    ran = invoke("update", source, "name", "--yes")
    assert ran.err.splitlines() == [
        "Asset     name",
        f"Store     {(tmp_path / 'store' / 'assets').as_uri()}",
        "Existing  major 1: 1.1, 1.0",
        "          major 0: 0.1",
        "Version   1.2 (expected)",
        f"Upload    2 files, 11 bytes, from {source}",
    ]


def test_a_push_shows_only_the_latest_of_many_versions(invoke: Invoke, listed: Listed, source: Path) -> None:
    listed("name", *(f"0.{minor}" for minor in reversed(range(10))))
    assert "Existing  major 0: 0.9, 0.8, 0.7, 0.6, 0.5, 0.4 and 4 more" in invoke("update", source, "name", "-y").err


def test_date_versions_are_shown_without_majors(invoke: Invoke, listed: Listed, source: Path) -> None:
    listed("name", "2026-03-09T17-05-00Z", "2025-03-09T17-05-00Z")
    ran = invoke("update", source, "name", "--versioning", "simple_date", "--dry-run")
    assert "Existing  2026-03-09T17-05-00Z, 2025-03-09T17-05-00Z" in ran.err


def test_a_dry_run_writes_nothing(invoke: Invoke, source: Path, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    ran = invoke("new", source, "name", "--dry-run")
    assert (ran.code, ran.out) == (0, "")
    assert "Version   0.0" in ran.err
    assert ran.err.endswith("Dry run: nothing was pushed.\n")
    assert sorted(tmp_path.rglob("*")) == before


def test_a_dry_run_prints_its_plan_as_json(invoke: Invoke, source: Path, tmp_path: Path) -> None:
    ran = invoke("new", source, "name", "--dry-run", "--json")
    assert ran.document == {
        "name": "name",
        "version": "0.0",
        "url": (tmp_path / "store" / "assets" / "name" / "0.0").as_uri(),
        "files": 2,
        "size": 11,
        "dry_run": True,
        "unchanged": False,
        "uploaded": 11,
        "copied": 0,
        "base": None,
    }


def test_a_push_prints_its_result_as_json(invoke: Invoke, source: Path) -> None:
    document = invoke("new", source, "name", "--yes", "--json").document
    assert (document["version"], document["dry_run"]) == ("0.0", False)


def test_a_push_reports_when_its_version_differs_from_the_forecast(
    invoke: Invoke, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    invoke("new", source, "name", "--yes")
    planned = AssetsManager.plan_update

    async def overtaken(self: AssetsManager, *args: Any, **options: Any) -> Any:
        plan = await planned(self, *args, **options)
        async with AssetsManager(tmp_path / "store", assets_dir=tmp_path / "others") as other:
            await other.push(await planned(other, *args))
        return plan

    monkeypatch.setattr(AssetsManager, "plan_update", overtaken)
    ran = invoke("update", source, "name", "--yes")
    assert ran.out == "name:0.2\n"
    assert ran.err.endswith("Version 0.1 was taken by an earlier or concurrent push.\n")


def test_without_a_terminal_a_push_needs_yes(invoke: Invoke, source: Path, tmp_path: Path) -> None:
    ran = invoke("new", source, "name")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.endswith(
        "Error: Cannot ask for confirmation without a terminal. Use --yes to confirm, or --dry-run for a preview.\n"
    )
    assert not (tmp_path / "store").exists()


def test_list_prints_one_line_per_asset(invoke: Invoke, listed: Listed) -> None:
    listed("team/b", "1.0", "0.0")
    listed("team/a", "0.0")
    listed("other", "0.0")
    assert invoke("list").out == "other\t0.0\nteam/a\t0.0\nteam/b\t1.0,0.0\n"
    assert invoke("list", "team/").out == "team/a\t0.0\nteam/b\t1.0,0.0\n"


def test_list_reports_when_no_asset_matches(invoke: Invoke, listed: Listed) -> None:
    listed("name", "0.0")
    ran = invoke("list", "nix")
    assert (ran.code, ran.out) == (0, "")
    assert ran.err.endswith(" have names that start with 'nix'.\n")


def test_list_prints_json(invoke: Invoke, listed: Listed) -> None:
    listed("name", "1.0", "0.0")
    row = {"name": "name", "versions": ["1.0", "0.0"], "error": None}
    assert invoke("list", "--json").document == {"assets": [row]}


def test_list_continues_after_an_unreadable_index(invoke: Invoke, listed: Listed, tmp_path: Path) -> None:
    """It lists the other assets, then the errors, and fails."""
    listed("a", "0.0")
    listed("b", "../../x")
    listed("c\x1b[31m", "0.0")
    listed("d", "1.0\x1b[31m")
    listed("e", "0.0")
    store = (tmp_path / "store").as_uri()
    errors = [
        f"{store}/assets/{name}.versions is invalid: it lists the version '{version}': it must consist of letters, "
        "digits, '.', '_' and '-'; restore this object from a backup, or remove it, run "
        f"`aioassets clean {name}`, and then `aioassets clean --publish {name}:VERSION` for each version that it names."
        for name, version in (("b", "../../x"), ("d", "1.0\\x1b[31m"))
    ]
    ran = invoke("list")
    assert (ran.code, ran.out) == (7, "a\t0.0\nb\t\nd\t\ne\t0.0\n")
    assert ran.err.splitlines() == [f"Error: {error}" for error in errors]
    ran = invoke("list", "--json")
    assert (ran.code, ran.err.count("\n")) == (7, 2)
    assert [(row["name"], row["versions"], row["error"]) for row in ran.document["assets"]] == [
        ("a", ["0.0"], None),
        ("b", [], errors[0]),
        ("d", [], errors[1]),
        ("e", ["0.0"], None),
    ]
    ran = invoke("versions", "b")
    assert (ran.code, ran.out, ran.err) == (7, "", f"Error: {errors[0]}\n")
    assert invoke("list", "nix", "--json").document == {"assets": []}


def test_versions_prints_one_line_per_version(invoke: Invoke, listed: Listed) -> None:
    listed("name", "1.0", "0.0")
    assert invoke("versions", "name").out == "1.0\n0.0\n"
    assert invoke("versions", "name", "--json").document == {"name": "name", "versions": ["1.0", "0.0"]}


def test_fetch_prints_the_path_only(invoke: Invoke, source: Path, tmp_path: Path) -> None:
    invoke("new", source, "name", "--yes")
    ran = invoke("fetch", "name")
    assert (ran.out, ran.err) == (f"{store_folder(tmp_path / 'cache') / 'name' / '0.0'}\n", "")
    assert (Path(ran.out.strip()) / "b").read_bytes() == b"second"


@pytest.mark.parametrize("args", [(), ("--verify",)])
def test_fetch_names_the_files_that_it_repairs(invoke: Invoke, source: Path, args: tuple[str, ...]) -> None:
    invoke("new", source, "name", "--yes")
    path = Path(invoke("fetch", "name").out.strip())
    (path / "b").write_bytes(b"damage")
    ran = invoke("fetch", "name", *args)
    assert ran.err == "Repaired name:0.0 in the cache: replaced 'b' (damaged or missing).\n"
    assert Path(ran.out.strip()) == path
    assert invoke("fetch", "name", *args).err == ""


def test_fetch_tells_what_it_reuses(invoke: Invoke, source: Path) -> None:
    (source / "large").write_bytes(bytes(2_000_000))
    invoke("new", source, "name", "--yes")
    invoke("fetch", "name")
    (source / "b").write_bytes(bytes(12_000))
    invoke("update", source, "name", "--yes")
    ran = invoke("fetch", "name", "--json")
    assert (ran.document["downloaded"], ran.document["from_cache"]) == (12_000, False)
    assert ran.document["reused"] == ran.document["size"] - 12_000
    assert ran.err == "Downloaded 12.0 kB of 2.0 MB for name:0.1; 2.0 MB reused from the cache.\n"
    assert invoke("fetch", "name").err == ""


def test_fetch_prints_json(invoke: Invoke, source: Path) -> None:
    invoke("new", source, "name", "--yes", "-m", "hello", "--label", "stage=test", "--label", "empty=")
    document = invoke("fetch", "name[b]", "--json").document
    assert Path(document.pop("path")).read_bytes() == b"second"
    for changing in ("push_date", "pushed_by", "tool"):
        assert document.pop(changing)
    assert document == {
        "name": "name",
        "version": "0.0",
        "part": "b",
        "from_cache": False,
        "downloaded": 6,
        "reused": 0,
        "verified": True,
        "verified_by": ["sha256"],
        "files": 1,
        "size": 6,
        "is_directory": True,
        "message": "hello",
        "labels": {"stage": "test", "empty": ""},
        "yanked": None,
    }


def test_fetch_reports_content_without_a_supported_digest(invoke: Invoke, listed: Listed, tmp_path: Path) -> None:
    listed("name", "0.0")
    (tmp_path / "store" / "assets" / "name").mkdir()
    (tmp_path / "store" / "assets" / "name" / "0.0").write_bytes(b"from elsewhere")
    meta = {"push_date": "2024-01-01T00:00:00", "is_directory": False}
    (tmp_path / "store" / "assets" / "name" / "0.0.meta").write_text(json.dumps(meta))
    ran = invoke("fetch", "name")
    assert Path(ran.out.strip()).read_bytes() == b"from elsewhere"
    assert ran.err == "name:0.0 was not verified: its manifest has no digests that aioassets supports.\n"
    assert invoke("fetch", "name", "--json").document["verified"] is False


def test_fetch_reports_verification_by_a_digest_of_the_store(invoke: Invoke, listed: Listed, tmp_path: Path) -> None:
    listed("name", "0.0")
    (tmp_path / "store" / "assets" / "name").mkdir()
    (tmp_path / "store" / "assets" / "name" / "0.0").write_bytes(b"copied")
    digests = {"md5": hashlib.md5(b"copied", usedforsecurity=False).hexdigest(), "unknown": "00"}
    files = [{"path": "", "size": 6, "digests": digests}]
    meta = {"push_date": "2024-01-01T00:00:00", "is_directory": False, "files": files}
    (tmp_path / "store" / "assets" / "name" / "0.0.meta").write_text(json.dumps(meta))
    ran = invoke("fetch", "name")
    assert ran.err == "name:0.0 was verified by the md5 digests that the store reported, not by SHA-256.\n"
    (tmp_path / "store" / "assets" / "name" / "0.0").write_bytes(b"Copied")
    assert invoke("fetch", "name", "--force-download").code == 5


def test_fetch_works_offline_with_a_cached_version(invoke: Invoke, source: Path, tmp_path: Path) -> None:
    invoke("new", source, "name", "--yes")
    path = invoke("fetch", "name").out
    (tmp_path / "store").rename(tmp_path / "away")
    assert invoke("fetch", "name", "--offline", "--verify").out == path
    assert invoke("fetch", "name").code == 7


def test_force_download_replaces_files_that_differ(invoke: Invoke, source: Path) -> None:
    invoke("new", source, "name", "--yes")
    cached = Path(invoke("fetch", "name").out.strip()) / "a"
    cached.write_bytes(b"tampered")
    invoke("fetch", "name", "--force-download")
    assert cached.read_bytes() == b"first"


def test_links_inside_an_assets_directory_are_followed(invoke: Invoke, source: Path, tmp_path: Path) -> None:
    """This is why nobody else may write to an assets directory."""
    invoke("new", source, "name", "--yes")
    (tmp_path / "elsewhere").mkdir()
    before = Path(invoke("fetch", "name").out.strip())
    shutil.rmtree(before.parent)
    before.parent.symlink_to(tmp_path / "elsewhere")
    path = Path(invoke("fetch", "name").out.strip())
    assert path == before
    assert (tmp_path / "elsewhere" / "0.0" / "b").read_bytes() == b"second"
    assert Path(invoke("fetch", "name", "--offline").out.strip()) == path


def test_include_and_exclude_choose_the_files(invoke: Invoke, source: Path) -> None:
    ran = invoke("new", source, "name", "--dry-run", "--json", "--include", "a", "--include", "b", "--exclude", "b")
    assert (ran.document["files"], ran.document["size"]) == (1, 5)


def test_options_override_the_environment(invoke: Invoke, source: Path, tmp_path: Path) -> None:
    options = ("--bucket", tmp_path / "other", "--assetsmanager-prefix", "p", "--storage-provider", "local")
    invoke("new", source, "name", "--yes", *options)
    assert (tmp_path / "other" / "p" / "name" / "0.0" / "a").is_file()
    assert not (tmp_path / "store").exists()


def test_an_unknown_option_of_the_store_is_a_usage_error(invoke: Invoke) -> None:
    ran = invoke("list", "-o", "colour=blue")
    assert (ran.code, ran.err) == (2, "Error: The local driver has no option 'colour'.\n")


def test_version_option_prints_the_version(invoke: Invoke) -> None:
    assert invoke("--version").out == f"aioassets {__version__}\n"


def test_python_m_aioassets_runs_the_command_line() -> None:
    done = subprocess.run([sys.executable, "-m", "aioassets", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"aioassets {__version__}\n"


def test_help_describes_exit_codes_and_completion(invoke: Invoke) -> None:
    ran = invoke("--help")
    assert ran.code == 0
    for line in ("    3  asset, version, alias or path not found", "  130  interrupted (SIGINT), after cleanup"):
        assert line in ran.out
    assert 'eval "$(_AIOASSETS_COMPLETE=bash_source aioassets)"' in ran.out


@pytest.mark.parametrize("command", ["new", "update", "list", "versions", "fetch"])
def test_each_command_has_store_options_that_name_their_variables(invoke: Invoke, command: str) -> None:
    text = invoke(command, "--help").out
    for option in ("--bucket", "--assetsmanager-prefix", "--storage-provider", "--versioning", "--storage-option"):
        assert option in text
    for variable in ("AIOASSETS_BUCKET", "AIOASSETS_PREFIX", "AIOASSETS_STORAGE_PROVIDER"):
        assert variable in text


def test_a_closed_output_pipe_prints_no_error(listed: Listed) -> None:
    listed("name", "0.0")
    with subprocess.Popen(
        [sys.executable, "-c", "input()\nfrom aioassets.cli.app import main\nmain()", "list"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdin
        assert process.stdout
        assert process.stderr
        process.stdout.close()
        process.stdin.write(b"\n")
        process.stdin.close()
        assert process.stderr.read() == b""
        process.wait()


class TestBases:
    @pytest.fixture
    def large(self, invoke: Invoke, source: Path) -> Path:
        """Push a file that the store can copy, and small files, as `name:0.0`."""
        (source / "large").write_bytes(b"x" * 1_000_000)
        assert invoke("new", source, "name", "--yes").code == 0
        return source

    def test_a_forecast_shows_what_the_store_copies(self, invoke: Invoke, large: Path) -> None:
        ran = invoke("update", large, "name", "--yes", "--json")
        assert f"Upload    11 bytes of 1.0 MB in 3 files, from {large}; 1.0 MB copied by the store\n" in ran.err
        assert "Base      name:0.0\n" in ran.err
        document = ran.document
        assert [document[name] for name in ("uploaded", "copied", "base")] == [11, 1_000_000, "name:0.0"]

    def test_no_base_uploads_everything(self, invoke: Invoke, large: Path) -> None:
        document = invoke("update", large, "name", "--no-base", "--yes", "--json").document
        assert [document[name] for name in ("uploaded", "copied", "base")] == [1_000_011, 0, None]

    def test_a_base_can_be_named(self, invoke: Invoke, large: Path) -> None:
        document = invoke("new", large, "other", "--base", "name:0", "--dry-run", "--json").document
        assert [document[name] for name in ("uploaded", "copied", "base")] == [11, 1_000_000, "name:0.0"]

    @pytest.mark.parametrize(
        ("options", "code", "error"),
        [
            (["--base", "name:0.7"], 3, "has no version 0.7"),
            (["--base", "names"], 3, "No asset 'names'"),
            (["--base", "name[large]"], 2, "Cannot use a part of a version as the base: write name."),
            (["--base", "s3://bucket/name"], 2, "The base is a version in the same store"),
            (["--base", "name", "--no-base"], 2, "Give either --base or --no-base, not both."),
        ],
    )
    def test_a_wrong_base_is_one_clear_error(
        self, invoke: Invoke, large: Path, options: list[str], code: int, error: str
    ) -> None:
        ran = invoke("update", large, "name", *options, "--yes")
        assert (ran.code, ran.out) == (code, "")
        assert error in ran.err
        assert invoke("versions", "name").out == "0.0\n"
