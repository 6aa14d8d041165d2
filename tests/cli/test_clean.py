"""The `clean` command."""

from __future__ import annotations

import json
import re
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aioassets.cli.options import Duration

pytestmark = pytest.mark.once

Invoke = Callable[..., Any]
Spawn = Callable[..., "subprocess.Popen[str]"]
OnTerminal = Callable[..., Any]

KILLED_IN_PHASE = """
import os, signal
from aioassets.push.publish import Publication

async def die(self, *args):
    os.kill(os.getpid(), signal.SIGKILL)

Publication.{phase} = die
"""

UNDELETABLE = """
from aioassets.drivers import local
from aioassets.errors import AccessDenied

async def refuse(self, keys, **options):
    raise AccessDenied(self.url, "delete", "a test says so.")

local.LocalDriver.delete = refuse
"""


@pytest.fixture
def dead_push(spawn: Spawn, invoke: Invoke, source: Path) -> Path:
    """Create a store with one version and the leftovers of a killed push."""
    invoke("new", source, "name", "--yes")
    died(spawn("update", source, "name", "--yes", script=KILLED_IN_PHASE.format(phase="_seal")))
    return source


def died(process: subprocess.Popen[str]) -> None:
    process.communicate()
    assert process.returncode == -signal.SIGKILL


def test_clean_shows_leftovers_and_asks_before_removing(
    dead_push: Path, on_terminal: OnTerminal, invoke: Invoke
) -> None:
    terminal = on_terminal("clean")
    terminal.expect("Remove it? [y/N] ")
    assert terminal.screen.startswith("Remove    name:0.1: dead push, by ")
    assert "2 files, 11 bytes" in terminal.screen
    terminal.type("n\n")
    assert terminal.ended().code == 1
    assert len(invoke("clean", "--dry-run", "--json").document["leftovers"]) == 1
    terminal = on_terminal("clean", "name")
    terminal.expect("[y/N] ")
    terminal.type("y\n")
    assert terminal.ended().code == 0
    assert invoke("clean").err == "No leftovers found.\n"


def test_without_a_terminal_clean_needs_yes(dead_push: Path, invoke: Invoke, tmp_path: Path) -> None:
    ran = invoke("clean")
    assert (ran.code, ran.out) == (2, "")
    assert "--yes" in ran.err
    ran = invoke("clean", "--dry-run")
    assert (ran.code, ran.out) == (0, "")
    assert ran.err.endswith("Dry run: nothing was removed.\n")
    assert (tmp_path / "store" / "assets" / "name" / "0.1").exists()
    ran = invoke("clean", "--yes")
    assert (ran.code, ran.out) == (0, f"file://{tmp_path}/store/assets/name/0.1\n")
    assert not (tmp_path / "store" / "assets" / "name" / "0.1").exists()


def test_clean_prints_json(dead_push: Path, invoke: Invoke) -> None:
    (leftover,) = invoke("clean", "--yes", "--json").document["leftovers"]
    summary = {key: leftover[key] for key in ("kind", "name", "version", "files", "size", "removable", "removed")}
    assert summary == {
        "kind": "dead_push",
        "name": "name",
        "version": "0.1",
        "files": 2,
        "size": 11,
        "removable": True,
        "removed": True,
    }
    assert invoke("clean", "--json").document == {"leftovers": [], "dry_run": False}


def test_older_than_decides_which_pushes_are_dead(dead_push: Path, invoke: Invoke) -> None:
    assert "Keep      name:0.1: live push" in invoke("clean", "--older-than", "1d12h", "--yes").err
    assert "Remove    name:0.1: dead push" in invoke("clean", "--older-than", "0s", "--dry-run").err


@pytest.mark.parametrize("duration", ["", "5", "1y", "-1s", "1.5h", "soon", "1h 30m", "99999999d", "999999w" * 6])
def test_an_invalid_duration_is_refused(invoke: Invoke, duration: str) -> None:
    ran = invoke("clean", "--older-than", duration)
    assert ran.code == 2
    assert "such as 0s, 15m, 24h, 2w or 1d12h." in " ".join(ran.err.split())


@pytest.mark.parametrize(
    ("duration", "seconds"), [("90s", 90), ("2m", 120), ("3h", 10_800), ("1d12h", 129_600), ("2w1d", 1_296_000)]
)
def test_the_units_of_a_duration_are_seconds_to_weeks(duration: str, seconds: int) -> None:
    assert Duration().convert(duration, None, None).total_seconds() == seconds


def test_a_damaged_index_is_reported_and_the_rest_removed(
    dead_push: Path, invoke: Invoke, listed: Callable[..., None], tmp_path: Path
) -> None:
    invoke("new", dead_push, "broken", "--yes")
    (tmp_path / "store" / "assets" / "broken.versions").write_text("{")
    ran = invoke("clean", "--yes")
    assert (ran.code, ran.out.count("name/0.1")) == (7, 1)
    assert "/broken.versions: unreadable document\n" in ran.err
    assert len(re.findall("^Error: .*broken.versions is invalid", ran.err, re.MULTILINE)) == 1
    ran = invoke("clean", "broken", "--json")
    assert ran.code == 7
    (row,) = ran.document["leftovers"]
    assert (row["kind"], row["removed"], "is invalid" in row["error"]) == ("unreadable_document", False, True)


def test_publish_lists_an_unlisted_version(spawn: Spawn, invoke: Invoke, source: Path) -> None:
    invoke("new", source, "name", "--yes")
    died(spawn("update", source, "name", "--yes", script=KILLED_IN_PHASE.format(phase="_list")))
    assert "Keep      name:0.1: unlisted version" in invoke("clean", "--yes").err
    assert invoke("versions", "name").out == "0.0\n"
    ran = invoke("clean", "--publish", "name:0.1", "--dry-run")
    assert (ran.code, ran.out) == (0, "")
    ran = invoke("clean", "--publish", "name:0.1", "--json")
    assert ran.document == {"name": "name", "version": "0.1", "dry_run": False}
    assert invoke("versions", "name").out == "0.1\n0.0\n"


@pytest.mark.parametrize(("spec", "code"), [("name", 2), ("name:0", 2), ("name:0.1[a]", 2), ("name:0.7", 3)])
def test_only_a_complete_version_can_be_listed(dead_push: Path, invoke: Invoke, spec: str, code: int) -> None:
    assert invoke("clean", "--publish", spec).code == code
    assert invoke("versions", "name").out == "0.0\n"


def test_a_missing_asset_is_not_found(invoke: Invoke, source: Path) -> None:
    invoke("new", source, "name", "--yes")
    assert invoke("clean", "other").code == 3


def test_an_assets_directory_is_cleaned_without_a_bucket(
    invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AIOASSETS_BUCKET")
    staging = tmp_path / "cache" / ".aioassets" / "name" / "0.1.staging"
    staging.mkdir(parents=True)
    ran = invoke("clean", "--yes")
    assert (ran.code, ran.out) == (0, f"{staging}\n")
    assert not staging.exists()


def test_what_clean_cannot_remove_is_named(dead_push: Path, spawn: Spawn, invoke: Invoke) -> None:
    process = spawn("clean", "--yes", script=UNDELETABLE)
    out, err = process.communicate()
    assert (process.returncode, out) == (6, "")
    assert "Error: Cannot delete in file://" in err
    assert "Not removed: name:0.1: dead push" in err
    assert "2 files, 11 bytes" in err.splitlines()[-1]
    process = spawn("clean", "--yes", "--json", script=UNDELETABLE)
    out, err = process.communicate()
    (leftover,) = json.loads(out)["leftovers"]
    assert (process.returncode, leftover["removed"]) == (6, False)
    assert leftover["error"].startswith("Cannot delete in file://")
    assert invoke("clean", "--yes").code == 0


def test_a_damaged_index_is_rebuilt_as_the_message_says(invoke: Invoke, source: Path, tmp_path: Path) -> None:
    invoke("new", source, "team/name", "--yes")
    for _ in range(3):
        invoke("update", source, "team/name", "--yes")
    invoke("yank", "team/name:0.1", "--reason", "bad")
    invoke("delete", "team/name:0.3", "--yes")
    index = tmp_path / "store" / "assets" / "team" / "name.versions"
    before = index.read_text()
    index.write_text("damaged")
    ran = invoke("fetch", "team/name")
    assert ran.code == 7
    advice = "remove it, run `aioassets clean team/name`, and then `aioassets clean --publish team/name:VERSION`"
    assert advice in ran.err
    index.unlink()
    ran = invoke("clean", "team/name", "--yes")
    for version in ("0.0", "0.2"):
        assert f"--publish team/name:{version}" in ran.err
        assert invoke("clean", "--publish", f"team/name:{version}").code == 0
    after, expected = (json.loads(text) for text in (index.read_text(), before))
    assert [after[key] for key in ("versions", "fences")] == [expected[key] for key in ("versions", "fences")]
    assert invoke("update", source, "team/name", "--yes").out == "team/name:0.4\n"
