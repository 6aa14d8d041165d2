"""The commands that yank, restore and delete versions."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tools.withdrawals import mark_only, point_at

from aioassets import AssetsManager, LocalDriver, StoreUnavailable

pytestmark = pytest.mark.once

Invoke = Callable[..., Any]

DATE = r"20\d\d-\d\d-\d\d \d\d:\d\d UTC"


@pytest.fixture(autouse=True)
def model(invoke: Invoke, source: Path) -> None:
    """Push two versions."""
    for arguments in (["new", source, "model"], ["update", source, "model"]):
        assert invoke(*arguments, "--yes").code == 0


def test_a_version_is_yanked_and_restored(invoke: Invoke) -> None:
    ran = invoke("yank", "model:0.1", "--reason", "bad weights")
    assert (ran.code, ran.out, ran.err) == (0, "model:0.1\n", "")
    assert invoke("versions", "model").out == "0.0\n"
    fetched = invoke("fetch", "model:0.1", "--json")
    assert fetched.document["version"] == "0.1"
    assert fetched.err == "model:0.1 has been yanked (bad weights), so use another version if you can.\n"
    document = invoke("yank", "model:0.1", "--reason", "again", "--json").document
    assert (document["name"], document["version"], document["reason"]) == ("model", "0.1", "bad weights")
    assert set(document) == {"name", "version", "date", "by", "reason"}
    ran = invoke("unyank", "model:0.1")
    assert (ran.code, ran.out) == (0, "model:0.1\n")
    assert invoke("unyank", "model:0.1", "--json").document == {"name": "model", "version": "0.1"}
    assert invoke("versions", "model").out == "0.1\n0.0\n"


def test_each_fetch_of_a_yanked_version_warns(invoke: Invoke) -> None:
    warning = "model:0.1 has been yanked (bad weights), so use another version if you can.\n"
    assert invoke("fetch", "model:0.0", "--json").document["yanked"] is None
    mark = invoke("yank", "model:0.1", "--reason", "bad weights", "--json").document
    expected = {key: mark[key] for key in ("date", "by", "reason")}
    for command in (["fetch"], ["fetch"], ["fetch", "--offline"], ["verify"], ["verify", "--cache"]):
        ran = invoke(*command, "model:0.1", "--json")
        assert (ran.code, ran.err, ran.document["yanked"]) == (0, warning, expected)
    assert invoke("verify", "model:0.0", "--json").document["yanked"] is None


def test_a_restored_version_that_the_store_names_is_fetched_without_a_warning(invoke: Invoke) -> None:
    invoke("yank", "model:0.1", "--reason", "bad weights")
    invoke("fetch", "model:0.1")
    invoke("unyank", "model:0.1")
    ran = invoke("fetch", "model")
    assert (ran.code, ran.err, ran.out.rstrip().endswith("/0.1")) == (0, "", True)


@pytest.mark.parametrize("command", ["fetch", "show", "verify"])
def test_an_asset_without_a_listed_version_says_what_to_do(invoke: Invoke, command: str) -> None:
    invoke("update", "source", "model", "--bump-major", "--yes")
    invoke("yank", "model:1.0", "--reason", "bad")
    ran = invoke(command, "model:1")
    advice = "1.0 is yanked. Restore it with `unyank`, or name it exactly. Available: 0.1, 0.0."
    assert ran.code == 3
    assert "has no version 1 in file://" in ran.err
    assert advice in ran.err
    for version in ("0.0", "0.1"):
        invoke("yank", f"model:{version}", "--reason", "bad")
    ran = invoke(command, "model")
    assert (ran.code, ran.out) == (3, "")
    assert "Asset 'model' has no latest version in file://" in ran.err
    assert "1.0, 0.1 and 0.0 are yanked. Restore one with `unyank`, or name it exactly." in ran.err
    for version in ("0.0", "0.1", "1.0"):
        invoke("delete", f"model:{version}", "--yes")
    assert "all of them are deleted. Push a new one with `update`." in invoke(command, "model").err


def test_an_asset_without_a_listed_version_is_listed_and_goes_on(invoke: Invoke) -> None:
    invoke("yank", "model:0.0", "--reason", "bad")
    invoke("yank", "model:0.1", "--reason", "bad")
    ran = invoke("versions", "model")
    note = "0.1 and 0.0 are yanked. Restore one with `unyank`, or name it exactly.\n"
    assert (ran.code, ran.out, ran.err) == (0, "", f"model has no listed versions: {note}")
    assert invoke("versions", "model", "--json").document["versions"] == []
    assert [line.split("\t")[0] for line in invoke("log", "model").out.splitlines()] == ["0.1", "0.0"]
    invoke("delete", "model:0.0", "--yes")
    invoke("delete", "model:0.1", "--yes")
    for command in ("versions", "log"):
        ran = invoke(command, "model")
        note = "model has no listed versions: all of them are deleted. Push a new one with `update`.\n"
        assert (ran.code, ran.out, ran.err) == (0, "", note)
    assert invoke("list").out == "model\t\n"
    assert invoke("update", "source", "model", "--yes").out == "model:0.2\n"


def test_a_version_is_deleted(invoke: Invoke, tmp_path: Path) -> None:
    ran = invoke("delete", "model:0.1", "--dry-run", "--json")
    size = ran.document["size"]
    assert ran.document == {"name": "model", "version": "0.1", "files": 2, "size": size, "dry_run": True}
    assert "Dry run: nothing was deleted." in ran.err
    ran = invoke("delete", "model:0.1")
    assert (ran.code, ran.out) == (2, "")
    assert "--yes" in ran.err
    ran = invoke("delete", "model:0.1", "--yes", "--reason", "leaked", "--json")
    assert ran.code == 0
    assert {key: ran.document[key] for key in ("files", "size", "reason", "keeps_old_bytes", "dry_run")} == {
        "files": 2,
        "size": size,
        "reason": "leaked",
        "keeps_old_bytes": None,
        "dry_run": False,
    }
    assert f"model:0.1: 2 files, {size} bytes, from file://" in ran.err
    ran = invoke("fetch", "model:0.1")
    assert ran.code == 3
    assert "leaked" in ran.err
    assert invoke("yank", "model:0.1", "--reason", "bad").code == 3
    ran = invoke("delete", "model:0.1", "--reason", "again")  # needs no confirmation
    assert (ran.code, ran.out) == (0, "model:0.1\n")
    deleted, repeated = ran.err.splitlines()
    assert deleted == "model:0.1 is deleted already: no files are left."
    assert re.fullmatch(rf"model:0\.1 was already deleted on {DATE} by \S+: leaked\.", repeated)
    assert invoke("delete", "model:0.1", "--dry-run").code == 0
    (tmp_path / "store" / "assets" / "model" / "0.1").mkdir(exist_ok=True)
    (tmp_path / "store" / "assets" / "model" / "0.1" / "left").write_bytes(b"left")
    assert invoke("delete", "model:0.1").code == 2
    assert "Deleted 1 file, 4 bytes." in invoke("delete", "model:0.1", "--yes").err


def test_a_withdrawal_that_changes_nothing_says_so(invoke: Invoke) -> None:
    ran = invoke("unyank", "model:0.1")
    assert (ran.code, ran.out, ran.err) == (0, "model:0.1\n", "model:0.1 isn't yanked.\n")
    assert invoke("yank", "model:0.1", "--reason", "bad weights.").err == ""
    ran = invoke("yank", "model:0.1", "--reason", "again")
    assert (ran.code, ran.out) == (0, "model:0.1\n")
    assert re.fullmatch(rf"model:0\.1 was already yanked on {DATE} by \S+: bad weights\.\n", ran.err)
    assert invoke("unyank", "model:0.1").err == ""


def test_a_version_with_an_alias_is_kept(invoke: Invoke, tmp_path: Path) -> None:
    asyncio.run(point_at(LocalDriver(tmp_path / "store"), "0.1"))
    for arguments in (["yank", "model:0.1", "--reason", "bad"], ["delete", "model:0.1"]):
        ran = invoke(*arguments)
        assert (ran.code, ran.out) == (4, "")
        assert "model@prod" in ran.err
    assert invoke("versions", "model").out == "0.1\n0.0\n"


@pytest.mark.parametrize("spec", ["model", "model@prod", "model:0.1[a]", "model:0", "model:1"])
@pytest.mark.parametrize(
    "command", ["yank --reason bad {}", "delete --yes {}", "alias set {} prod", "clean --publish {}"]
)
def test_an_exact_version_is_required_and_one_is_named(invoke: Invoke, command: str, spec: str) -> None:
    ran = invoke(*command.format(spec).split())
    assert (ran.code, ran.out) == (2, "")
    assert f"An exact version is required: write model:0.1, for example, instead of {spec}." in ran.err


def test_the_version_to_restore_is_a_yanked_one(invoke: Invoke) -> None:
    assert "write model:1.2, for example, instead of model." in invoke("unyank", "model").err
    invoke("yank", "model:0.0", "--reason", "bad")
    for spec in ("model", "model:0"):
        assert f"write model:0.0, for example, instead of {spec}." in invoke("unyank", spec).err


async def unreachable(*_: object) -> None:
    raise StoreUnavailable("the store", "a test says so.")


def test_the_asset_of_an_inexact_version_must_exist(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = invoke("delete", "modle:0")
    assert (ran.code, "Did you mean model?" in ran.err) == (3, True)
    monkeypatch.setattr(AssetsManager, "list_versions", unreachable)
    assert "write model:1.2, for example, instead of model:0." in invoke("delete", "model:0").err


@pytest.mark.parametrize("command", [["clean"], ["prune", "--keep-last", "1"]])
def test_a_name_has_no_version(invoke: Invoke, command: list[str]) -> None:
    for spec, addition in (("model:0", "a version"), ("model@prod", "an alias"), ("model[a]", "a part")):
        ran = invoke(*command, spec)
        assert (ran.code, ran.out) == (2, "")
        assert f"write model, without {addition}, instead of {spec}." in ran.err


def test_a_reason_is_required(invoke: Invoke) -> None:
    assert invoke("yank", "model:0.1").code == 2


def test_an_interrupted_yank_is_shown_by_clean(invoke: Invoke, tmp_path: Path) -> None:
    asyncio.run(mark_only(LocalDriver(tmp_path / "store"), "0.1"))
    ran = invoke("clean", "model", "--yes")
    assert ran.code == 0
    assert "model:0.1: unfinished yank, by ann@host" in ran.err
    assert invoke("versions", "model").out == "0.0\n"
    ran = invoke("clean", "--publish", "model:0.1")
    assert ran.code == 4
    assert "aioassets unyank model:0.1" in ran.err


def test_a_deletion_asks_first(on_terminal: Callable[..., Any]) -> None:
    terminal = on_terminal("delete", "model:0.1")
    terminal.expect("Delete model:0.1 for good (2 files, ")
    terminal.type("n\n")
    ran = terminal.ended()
    assert ran.code == 1
    assert "Declined: nothing was deleted." in ran.out + ran.err


@pytest.mark.parametrize("reason", ["", "  ", "x\udce9"])
def test_a_yank_needs_a_readable_reason(invoke: Invoke, reason: str) -> None:
    ran = invoke("yank", "model:0.1", "--reason", reason)
    assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)
    assert ran.err.startswith("Error: The reason ")
    assert invoke("versions", "model").out == "0.1\n0.0\n"


def test_a_deletion_with_an_unreadable_reason_asks_nothing(invoke: Invoke) -> None:
    ran = invoke("delete", "model:0.1", "--reason", "x\udce9")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err == "Error: The reason contains invalid characters: 'x\\udce9'. Pass text in UTF-8.\n"


@pytest.mark.parametrize("options", [["-m", "x\udce9"], ["--label", "k=x\udce9"], ["--label", "x\udce9=k"]])
def test_text_in_another_encoding_is_not_pushed(invoke: Invoke, source: Path, options: list[str]) -> None:
    ran = invoke("update", source, "model", "--yes", *options)
    assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)
    assert ran.err.endswith("contains invalid characters: 'x\\udce9'. Pass text in UTF-8.\n")
    assert invoke("versions", "model").out == "0.1\n0.0\n"


def test_a_prefix_in_another_encoding_is_refused(invoke: Invoke, source: Path) -> None:
    ran = invoke("new", source, "model", "--yes", "--assetsmanager-prefix", "x\udce9")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err == "Error: The prefix 'x\\udce9' contains invalid characters. Pass text in UTF-8.\n"


@pytest.mark.parametrize(
    "args", [["set", "model:0.1", "prod"], ["remove", "model", "prod"], ["rollback", "model", "prod"]]
)
def test_an_alias_is_not_moved_for_an_unreadable_reason(invoke: Invoke, args: list[str]) -> None:
    ran = invoke("alias", *args, "--reason", "x\udce9")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err == "Error: The reason contains invalid characters: 'x\\udce9'. Pass text in UTF-8.\n"
