"""The commands that list and read the files of a version."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.once

Invoke = Callable[..., Any]

COMMAND = f"'{sys.executable}' -m aioassets"
SHA256 = "a7937b64b8caa58f03721bb6bacf5c78cb235febe0e70b1b84cd99541461a08e"
STORED = Path("store", "assets", "team", "model", "0.0")


@pytest.fixture(autouse=True)
def _pushed(invoke: Invoke, source: Path) -> None:
    (source / "sub").mkdir()
    (source / "sub" / "large").write_bytes(bytes(range(256)) * 10_000)
    (source / "b").chmod(0o755)
    (source / "hollow").mkdir()
    assert invoke("new", source, "team/model", "-y").code == 0


def shell(command: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["bash", "-c", command], capture_output=True, check=False)


class TestLs:
    def test_it_lists_paths_sizes_and_digests(self, invoke: Invoke) -> None:
        ran = invoke("ls", "team/model")
        rows = [line.split("\t") for line in ran.out.splitlines()]
        assert [[path, size, mode] for path, size, _, mode in rows] == [
            ["a", "5", ""],
            ["b", "6", "x"],
            ["sub/large", "2560000", ""],
            ["hollow/", "", ""],
        ]
        assert rows[0][2] == SHA256
        assert (ran.code, ran.err) == (0, "")

    def test_it_prints_json(self, invoke: Invoke) -> None:
        document = invoke("ls", "team/model:0[sub]", "--json").document
        assert {key: document[key] for key in ("name", "version", "part", "is_directory", "size")} == {
            "name": "team/model",
            "version": "0.0",
            "part": "sub",
            "is_directory": True,
            "size": 2_560_000,
        }
        assert [entry["path"] for entry in document["entries"]] == ["sub/large"]
        assert document["empty_directories"] == []

    def test_what_is_missing_is_an_error(self, invoke: Invoke) -> None:
        assert invoke("ls", "team/model:0.1").code == 3
        assert invoke("ls", "team/model[c]").code == 3
        assert invoke("ls", "team/model", "--offline").code == 3


class TestCat:
    def test_it_writes_the_very_bytes(self, source: Path, invoke: Invoke) -> None:
        assert invoke("cat", "team/model[a]").out == "first"
        done = shell(f"{COMMAND} cat 'team/model[sub/large]'")
        assert (done.returncode, done.stderr) == (0, b"")
        assert done.stdout == (source / "sub" / "large").read_bytes()

    @pytest.mark.parametrize(("part", "example"), [("", "[FILE]"), ("[sub]", "[sub/FILE]")])
    def test_a_directory_is_refused(self, invoke: Invoke, part: str, example: str) -> None:
        ran = invoke("cat", f"team/model{part}")
        assert (ran.code, ran.out) == (2, "")
        assert ran.err == (
            f"Error: Cannot open team/model{part}, because it is a directory. Name one of its files, as in "
            f"team/model{example}. list_files (aioassets ls) lists them.\n"
        )

    def test_a_missing_file_is_an_error(self, invoke: Invoke) -> None:
        ran = invoke("cat", "team/model[c]")
        assert (ran.code, ran.out) == (3, "")
        assert "team/model:0.0 has no file or folder 'c'" in ran.err

    def test_damage_is_reported_in_the_end(self, invoke: Invoke) -> None:
        STORED.joinpath("a").chmod(0o600)
        STORED.joinpath("a").write_bytes(b"FIRST")
        ran = invoke("cat", "team/model[a]")
        assert (ran.code, ran.out) == (5, "")
        assert ran.err.splitlines()[0].startswith("Error: team/model:0.0[a] differs from what was pushed")

    def test_damage_that_is_found_at_the_end_says_what_to_do_with_the_output(
        self, invoke: Invoke, tmp_path: Path
    ) -> None:
        (tmp_path / "large").write_bytes(bytes(20_000_000))
        invoke("new", tmp_path / "large", "team/large", "--yes")
        stored = STORED.parent.parent / "large" / "0.0"
        stored.chmod(0o600)
        stored.write_bytes(bytes(19_999_999) + b"x")
        ran = invoke("cat", "team/large")
        assert ran.code == 5
        assert ran.out
        assert ran.err.splitlines()[0] == "The output is incomplete or damaged. Discard it."

    def test_a_version_without_digests_is_not_verified(self, invoke: Invoke) -> None:
        meta = STORED.with_name("0.0.meta")
        meta.chmod(0o600)
        meta.write_text('{"push_date": "2026-01-01T00:00:00+00:00", "is_directory": true, "contents": ["a", "b"]}')
        ran = invoke("cat", "team/model[a]")
        assert (ran.code, ran.out) == (0, "first")
        assert ran.err == "team/model[a] was not verified: the manifest has no digest of it that aioassets supports.\n"

    def test_it_is_not_written_as_json(self, invoke: Invoke) -> None:
        ran = invoke("cat", "team/model[a]", "--json")
        assert (ran.code, ran.out) == (2, "")
        assert "`ls --json` describes the file." in ran.err

    @pytest.mark.parametrize(
        ("redirection", "code", "err"),
        [
            (">/dev/full", 8, b"Cannot write to standard output: No space left on device.\n"),
            (">&-", 8, b"Cannot write to standard output: it is closed.\n"),
            ("| head -c 10 >/dev/null; exit ${PIPESTATUS[0]}", 8, b""),
        ],
    )
    def test_output_that_cannot_be_written_ends_it(self, redirection: str, code: int, err: bytes) -> None:
        done = shell(f"{COMMAND} cat 'team/model[sub/large]' {redirection}")
        assert (done.returncode, done.stderr) == (code, err)
