"""The commands that show, log and compare versions."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tools.inspection import store_of
from tools.states import bury, mark_yanked, point

from aioassets import LocalDriver
from aioassets.store.documents import AssetStore

pytestmark = pytest.mark.once

Invoke = Callable[..., Any]

SHA256 = {
    "a": "a7937b64b8caa58f03721bb6bacf5c78cb235febe0e70b1b84cd99541461a08e",
    "b": "16367aacb67a4a017c8da8ab95682ccb390863780f7114dda0a0e0c55644c7c4",
}
"""Digests of the files of `source`."""


@pytest.fixture
def store(tmp_path: Path) -> AssetStore:
    return store_of(LocalDriver(tmp_path / "store"))


@pytest.fixture
def pushed(invoke: Invoke, source: Path, store: AssetStore) -> None:
    """Push versions 0.0, which is `prod`, and 0.1 of `team/model`."""
    (source / "b").chmod(0o755)
    invoke("new", source, "team/model", "-y", "--label", "stage=prod", "--label", "a=b", "-m", "first\ntry")
    (source / "c").mkdir()
    (source / "c" / "d").write_bytes(b"third")
    invoke("update", source, "team/model", "-y", "--label", "stage=test")
    asyncio.run(point(store, "team/model", "prod", "0.0"))


class TestShow:
    def test_it_prints_facts(self, invoke: Invoke, pushed: None, store: AssetStore) -> None:
        asyncio.run(mark_yanked(store, "team/model", "0.0", "bad data"))
        ran = invoke("show", "team/model:0.0")
        facts = dict(line.split("\t") for line in ran.out.splitlines())
        assert ran.code == 0
        assert list(facts) == [
            *("name", "version", "part", "url", "content_digest", "push_date", "pushed_by", "tool", "message"),
            *("labels", "files", "size", "aliases", "yanked", "origin"),
        ]
        assert (facts["name"], facts["version"], facts["part"]) == ("team/model", "0.0", "")
        assert (facts["message"], facts["labels"]) == (r"first\ntry", "a=b,stage=prod")
        assert (facts["files"], facts["size"], facts["aliases"]) == ("2", "11", "prod")
        assert facts["yanked"] == "2026-11-27T12:00:00+00:00 by ann@build-7: bad data"

    def test_it_prints_files(self, invoke: Invoke, pushed: None) -> None:
        ran = invoke("show", "team/model:0.0", "--files")
        assert [line for line in ran.out.splitlines() if line.startswith("file\t")] == [
            f"file\ta\t5\t{SHA256['a']}\t",
            f"file\tb\t6\t{SHA256['b']}\tx",
        ]

    def test_it_prints_json(self, invoke: Invoke, pushed: None, store: AssetStore, tmp_path: Path) -> None:
        document = invoke("show", "team/model:0.0", "--json").document
        assert len(document.pop("content_digest")) == 64
        assert document.pop("push_date").startswith("20")
        assert document.pop("pushed_by").keys() == {"user", "host"}
        assert document.pop("tool").startswith("aioassets/")
        assert document == {
            "name": "team/model",
            "version": "0.0",
            "part": None,
            "url": (tmp_path / "store" / "assets" / "team" / "model" / "0.0").as_uri(),
            "message": "first\ntry",
            "labels": {"stage": "prod", "a": "b"},
            "is_directory": True,
            "files": 2,
            "size": 11,
            "aliases": ["prod"],
            "yanked": None,
            "deleted": None,
            "origin": None,
            "error": None,
        }

    def test_json_lists_files_on_request(self, invoke: Invoke, pushed: None, store: AssetStore) -> None:
        asyncio.run(mark_yanked(store, "team/model", "0.1"))
        document = invoke("show", "team/model:0.1[c]", "--json", "--files").document
        assert (document["part"], document["files"], document["size"]) == ("c", 1, 5)
        (entry,) = document["entries"]
        assert (entry["path"], entry["size"], entry["executable"]) == ("d", 5, False)
        assert entry["digests"].keys() == {"sha256"}
        assert document["yanked"] == {
            "date": "2026-11-27T12:00:00+00:00",
            "by": {"user": "ann", "host": "build-7"},
            "reason": None,
        }

    def test_a_deleted_version_is_reported(self, invoke: Invoke, pushed: None, store: AssetStore) -> None:
        asyncio.run(bury(store, "team/model", "0.0", "bad data"))
        for args in (["show", "team/model:0.0"], ["diff", "team/model", "team/model:0.0"]):
            ran = invoke(*args)
            assert (ran.code, ran.out) == (3, "")
            assert "team/model:0.0 was deleted" in ran.err
            assert "bad data" in ran.err

    def test_a_missing_version_is_reported(self, invoke: Invoke, pushed: None) -> None:
        for spec in ("team/model:1", "team/model@dev", "absent", "team/model[z]"):
            assert invoke("show", spec).code == 3


class TestLog:
    def test_it_prints_a_line_per_version(self, invoke: Invoke, pushed: None, store: AssetStore) -> None:
        asyncio.run(mark_yanked(store, "team/model", "0.1", "bad\tdata"))
        rows = [line.split("\t") for line in invoke("log", "team/model").out.splitlines()]
        assert [[row[0], row[2], *row[4:]] for row in rows] == [
            ["0.1", "16", "", "", "yanked", "2026-11-27T12:00:00+00:00", "ann@build-7", "bad\\tdata"],
            ["0.0", "11", "prod", r"first\ntry", "", "", "", ""],
        ]
        assert len(invoke("log", "team/model", "-n", "1").out.splitlines()) == 1
        assert invoke("log", "team/model", "-n", "0").code == 2
        assert invoke("log", "absent").code == 3

    def test_it_prints_json(self, invoke: Invoke, pushed: None) -> None:
        document = invoke("log", "team/model", "--json").document
        assert document["name"] == "team/model"
        assert [(each["version"], each["files"], each["aliases"]) for each in document["versions"]] == [
            ("0.1", 3, []),
            ("0.0", 2, ["prod"]),
        ]

    def test_it_shows_deleted_versions_on_request(self, invoke: Invoke, pushed: None, store: AssetStore) -> None:
        asyncio.run(bury(store, "team/model", "0.1", "leaked"))
        assert [line.split("\t")[0] for line in invoke("log", "team/model").out.splitlines()] == ["0.0"]
        ran = invoke("log", "team/model", "--deleted")
        mark = ["deleted", "2026-11-27T12:00:00+00:00", "ann@build-7", "leaked"]
        assert ran.out.splitlines()[0].split("\t") == ["0.1", "", "", "", "", "", *mark]
        deleted, present = invoke("log", "team/model", "--deleted", "--json").document["versions"]
        by = {"user": "ann", "host": "build-7"}
        assert deleted["deleted"] == {"date": "2026-11-27T12:00:00+00:00", "by": by, "reason": "leaked"}
        assert (deleted["push_date"], present["deleted"]) == (None, None)

    def test_a_series_limits_it(self, invoke: Invoke, pushed: None, source: Path) -> None:
        invoke("update", source, "team/model", "-y", "--bump-major")
        assert invoke("versions", "team/model:0").out == "0.1\n0.0\n"
        assert invoke("versions", "team/model:0", "--json").document == {
            "name": "team/model",
            "versions": ["0.1", "0.0"],
        }
        assert [line.split("\t")[0] for line in invoke("log", "team/model:1").out.splitlines()] == ["1.0"]
        assert [line.split("\t")[0] for line in invoke("log", "team/model:0.1").out.splitlines()] == ["0.1"]
        for command in ("log", "versions"):
            assert (invoke(command, "team/model:2").code, invoke(command, "team/model@prod").code) == (3, 2)

    def test_an_unreadable_version_is_reported_after_the_others(
        self, invoke: Invoke, pushed: None, tmp_path: Path
    ) -> None:
        (tmp_path / "store" / "assets" / "team" / "model" / "0.1.meta").write_text("{")
        ran = invoke("log", "team/model")
        assert [line.split("\t")[0] for line in ran.out.splitlines()] == ["0.1", "0.0"]
        assert ran.out.splitlines()[0].endswith("\tunreadable\t\t\t")
        assert ran.code == 7
        assert "0.1.meta is invalid" in ran.err
        broken, _ = invoke("log", "team/model", "--json").document["versions"]
        assert (broken["push_date"], broken["size"]) == (None, None)
        assert "0.1.meta is invalid" in broken["error"]


class TestList:
    @pytest.mark.parametrize(
        ("options", "version"),
        [
            (["--long"], "0.1"),
            (["--label", "stage=test", "--long"], "0.1"),
            (["--alias", "prod", "--long"], "0.0"),
            (["--alias", "prod", "--label", "stage=prod", "--label", "a=b", "--long"], "0.0"),
        ],
    )
    def test_the_long_format_describes_a_version(
        self, invoke: Invoke, pushed: None, options: list[str], version: str
    ) -> None:
        (row,) = [line.split("\t") for line in invoke("list", *options).out.splitlines()]
        expected = {"0.0": ["0.0", "11", "a=b,stage=prod"], "0.1": ["0.1", "16", "stage=test"]}
        assert [row[0], row[1], row[3], row[5]] == ["team/model", *expected[version]]

    def test_labels_and_aliases_limit_the_short_format(self, invoke: Invoke, pushed: None) -> None:
        assert invoke("list", "--label", "stage=test").out == "team/model\t0.1,0.0\n"
        assert invoke("list", "--alias", "prod").out == "team/model\t0.1,0.0\n"
        ran = invoke("list", "--label", "stage=prod", "--alias", "dev", "team")
        assert (ran.code, ran.out) == (0, "")
        assert ran.err.endswith("have names that start with 'team' and the alias 'dev' and these labels.\n")

    def test_json_contains_descriptions_only_on_request(self, invoke: Invoke, pushed: None) -> None:
        plain = {"name": "team/model", "versions": ["0.1", "0.0"], "error": None}
        assert invoke("list", "--json").document == {"assets": [plain]}
        (asset,) = invoke("list", "--alias", "prod", "--json").document["assets"]
        described = asset.pop("described")
        assert asset == plain
        assert described == invoke("show", "team/model:0.0", "--json").document


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (["show", "team/model:0.0", "--files"], ["Aliases         prod", "Size            11 bytes", "16367aacb67a "]),
        (["log", "team/model"], ["Version  Pushed (UTC)", "0.0 ", "11 bytes", "prod"]),
        (["diff", "team/model", "team/model:0.0"], ["Change   Path", "removed  c/d   5 bytes"]),
        (["list", "--long"], ["Asset       Version  Pushed (UTC)", "team/model  0.1"]),
    ],
)
def test_a_terminal_shows_tables(
    on_terminal: Callable[..., Any], pushed: None, args: list[str], expected: list[str]
) -> None:
    screen = on_terminal(*args, script="import os; os.environ['COLUMNS'] = '120'").ended()
    assert screen.code == (1 if args[0] == "diff" else 0)
    plain = screen.err.replace("\x1b[1m", "").replace("\x1b[0m", "")
    assert [text for text in expected if text not in plain] == []


FORTY_COLUMNS = """
import fcntl, struct, termios
fcntl.ioctl(1, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 40, 0, 0))
"""


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (
            ["log", "team/model"],
            ["\r\n0.0\r\n  Pushed (UTC): 20", "\r\n  Size: 11 bytes\r\n", "\r\n  Aliases: prod\r\n"],
        ),
        (["alias", "list", "team/model"], ["prod\r\n  Version: 0.0\r\n"]),
        (["diff", "team/model", "team/model:0.0"], ["Change   Path", "removed  c/d   5 bytes"]),
        (["show", "team/model:0.0", "--files"], ["\r\nb     6 bytes  16367aacb67a  x"]),
        (["list", "--long"], ["team/model\r\n  Version: 0.1\r\n", "\r\n  Labels: stage=test\r\n"]),
        (["list"], ["Asset       Versions", "team/model  0.1, 0.0"]),
    ],
)
def test_a_narrow_terminal_shows_a_line_for_each_field_where_a_table_does_not_fit(
    on_terminal: Callable[..., Any], pushed: None, args: list[str], expected: list[str]
) -> None:
    screen = on_terminal(*args, script=FORTY_COLUMNS).ended()
    assert screen.code == (1 if args[0] == "diff" else 0)
    plain = screen.err.replace("\x1b[1m", "").replace("\x1b[0m", "")
    assert [text for text in expected if text not in plain] == []


def test_separators_in_labels_and_messages_are_escaped(invoke: Invoke, source: Path) -> None:
    options = ["--label", "a,b=c=d", "--label", "e=\\x2c\t\n", "-m", "back\\slash\ttab"]
    invoke("new", source, "model", "-y", *options)
    labels = r"a\x2cb=c\x3dd,e=\\x2c\t\n"
    message = r"back\\slash\ttab"
    facts = dict(line.split("\t") for line in invoke("show", "model").out.splitlines())
    assert (facts["labels"], facts["message"]) == (labels, message)
    assert invoke("log", "model").out.split("\t")[5] == message
    assert invoke("list", "--long").out.rstrip("\n").split("\t")[5] == labels


class TestDiff:
    def test_equal_sides_print_nothing(self, invoke: Invoke, pushed: None, source: Path) -> None:
        ran = invoke("diff", "team/model", source)
        assert (ran.code, ran.out) == (0, "")
        assert ran.err == f"team/model:0.1 and {source} have the same content (3 files).\n"

    def test_it_prints_a_line_per_difference(self, invoke: Invoke, pushed: None, source: Path) -> None:
        (source / "a").write_bytes(b"FIRST")
        (source / "b").chmod(0o644)
        (source / "c" / "d").rename(source / "d")
        (source / "e").write_bytes(b"new")
        ran = invoke("diff", "team/model", "./source")
        assert ran.code == 1
        assert ran.out.splitlines() == [
            "added\te\t\t3\t",
            "added\tc/\t\t\t",
            "renamed\td\t5\t5\tc/d",
            "changed\ta\t5\t5\t",
            "mode\tb\t6\t6\t-x",
        ]
        assert ran.err == (
            "team/model:0.1 and ./source differ: 1 added, 1 changed, 1 renamed, 1 with another mode, "
            "1 empty directory added or removed (+8 bytes, -5 bytes).\n"
        )

    def test_a_path_that_cannot_be_read_is_named(self, invoke: Invoke, pushed: None, source: Path) -> None:
        ran = invoke("diff", "team/model", "./nope")
        assert (ran.code, ran.err) == (3, "Error: Cannot read './nope': no such file or directory.\n")
        (source / "link").symlink_to("nowhere")
        ran = invoke("diff", source, "team/model")
        assert ran.code == 1
        assert ran.err.startswith(f"Error: Cannot read '{source / 'link'}': it is a broken link")

    def test_it_compares_versions(self, invoke: Invoke, pushed: None) -> None:
        ran = invoke("diff", "team/model", "team/model@prod")
        assert (ran.code, ran.out) == (1, "removed\tc/d\t5\t\t\n")

    def test_it_prints_json(self, invoke: Invoke, pushed: None, source: Path) -> None:
        (source / "a").rename(source / "z")
        ran = invoke("diff", "team/model:0.0", source, "--json")
        assert ran.code == 1
        digest = {"digests": {"sha256": SHA256["a"]}, "executable": False}
        document = ran.document
        assert [file["path"] for file in document.pop("added")] == ["c/d"]
        assert document == {
            "a": "team/model:0.0",
            "b": str(source),
            "equal": False,
            "unchanged": 1,
            "bytes_added": 5,
            "bytes_removed": 0,
            "removed": [],
            "changed": [],
            "renamed": [
                {"before": {"path": "a", "size": 5, **digest}, "after": {"path": "z", "size": 5, **digest}},
            ],
            "mode_changed": [],
            "unknown": [],
            "added_directories": [],
            "removed_directories": [],
        }
        assert invoke("diff", "team/model", "team/model", "--json").document["equal"] is True

    def test_a_file_of_unknown_content_may_differ(self, invoke: Invoke, tmp_path: Path, source: Path) -> None:
        folder = tmp_path / "store" / "assets" / "old" / "0.0"
        folder.mkdir(parents=True)
        (folder / "a").write_bytes(b"other")
        manifest = '{"push_date": "2026-03-09T17:05:00", "is_directory": true, "contents": ["a"]}'
        (folder.parent / "0.0.meta").write_text(manifest)
        (source / "b").unlink()
        ran = invoke("diff", "old:0.0", source)
        assert (ran.code, ran.out) == (1, "unknown\ta\t5\t5\t\n")
        assert ran.err == f"old:0.0 and {source} may differ: 1 of unknown content.\n"

    def test_a_spec_that_is_a_path_too_is_noted(self, invoke: Invoke, pushed: None, source: Path) -> None:
        ran = invoke("diff", "team/model", "source")
        assert ran.code == 0
        assert ran.err.splitlines() == [
            "'source' is compared as the local path ./source, since there is no such asset.",
            "team/model:0.1 and ./source have the same content (3 files).",
        ]
        invoke("new", source, "source", "-y")
        ran = invoke("diff", "team/model", "source")
        assert ran.err.splitlines() == [
            "'source' is compared as an asset. To compare the local path of this name, write ./source.",
            "team/model:0.1 and source:0.0 have the same content (3 files).",
        ]

    def test_paths_are_those_of_show(self, invoke: Invoke, pushed: None, source: Path) -> None:
        """They are relative to the part, and that of a single file is a dot."""
        (source / "c" / "empty" / "inner").mkdir(parents=True)
        invoke("update", source, "team/model", "-y")
        invoke("new", source / "a", "file", "-y")
        for spec, paths, folders in [
            ("team/model", ["a", "b", "c/d"], ["c/empty/inner"]),
            ("team/model[c]", ["d"], ["empty/inner"]),
            ("team/model[c/d]", ["."], []),
            ("team/model[c/empty/inner]", [], []),
            ("file", ["."], []),
        ]:
            shown = [line.split("\t")[1] for line in invoke("show", spec, "--files").out.splitlines()[15:]]
            assert shown == [*paths, *(f"{folder}/" for folder in folders)]
            document = invoke("show", spec, "--files", "--json").document
            assert ([file["path"] for file in document["entries"]], document["empty_directories"]) == (paths, folders)
            lines = [line.split("\t") for line in invoke("diff", "team/model:0.0[b]", spec).out.splitlines()]
            assert {line[1] for line in lines} <= {".", *shown}
        rows = [line.split("\t") for line in invoke("show", "team/model", "--files").out.splitlines()[-1:]]
        assert rows == [["directory", "c/empty/inner/", "", "", ""]]

    def test_two_paths_are_a_usage_error(self, invoke: Invoke, source: Path) -> None:
        assert invoke("diff", source, "./source").code == 2


class TestUpdateIfChanged:
    def test_equal_content_is_not_pushed(self, invoke: Invoke, pushed: None, source: Path) -> None:
        ran = invoke("update", source, "team/model", "--if-changed")
        assert (ran.code, ran.out) == (0, "team/model:0.1\n")
        assert ran.err == f"Nothing to push: team/model:0.1 already has the content of {source}.\n"
        assert invoke("versions", "team/model").out == "0.1\n0.0\n"

    def test_json_says_so(self, invoke: Invoke, pushed: None, source: Path) -> None:
        document = invoke("update", source, "team/model", "--if-changed", "--json").document
        assert (document["version"], document["unchanged"], document["dry_run"]) == ("0.1", True, False)
        document = invoke("update", source, "team/model", "--if-changed", "--json", "--dry-run").document
        assert (document["version"], document["unchanged"], document["dry_run"]) == ("0.1", True, True)

    def test_a_change_is_pushed(self, invoke: Invoke, pushed: None, source: Path) -> None:
        (source / "a").write_bytes(b"FIRST")
        document = invoke("update", source, "team/model", "--if-changed", "--json", "-y").document
        assert (document["version"], document["unchanged"]) == ("0.2", False)
