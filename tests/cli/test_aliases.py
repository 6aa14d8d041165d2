"""Commands that read and move aliases."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.once

Invoke = Callable[..., Any]


@pytest.fixture
def asset(invoke: Invoke, source: Path) -> str:
    """Push two versions, and return the name."""
    assert invoke("new", source, "team/model", "--yes").code == 0
    assert invoke("update", source, "team/model", "--yes").code == 0
    return "team/model"


def test_an_alias_is_set_listed_rolled_back_and_removed(invoke: Invoke, asset: str) -> None:
    ran = invoke("alias", "set", f"{asset}:0.0", "prod")
    assert (ran.code, ran.out, ran.err) == (0, "team/model:0.0\n", "team/model@prod points at 0.0.\n")
    ran = invoke("alias", "set", f"{asset}:0.1", "prod", "--reason", "passed\tall tests")
    assert (ran.out, ran.err) == ("team/model:0.1\n", "team/model@prod points at 0.1 (before: 0.0).\n")
    listed = invoke("alias", "list", asset).out
    assert re.fullmatch(r"prod\t0\.1\t[0-9T:.+-]+\t[^\t]+\tpassed\\tall tests\n", listed)

    ran = invoke("alias", "rollback", asset, "prod")
    assert (ran.code, ran.out) == (0, "team/model:0.0\n")
    ran = invoke("alias", "remove", asset, "prod")
    assert (ran.code, ran.out) == (0, "team/model:0.0\n")
    assert ran.err == "team/model@prod is removed (before: 0.0).\n"
    ran = invoke("alias", "list", asset)
    assert (ran.code, ran.out, ran.err) == (0, "", "Asset 'team/model' has no aliases.\n")
    history = [line.split("\t")[:3] for line in invoke("alias", "history", asset, "prod").out.splitlines()]
    assert history == [["prod", "", "0.0"], ["prod", "0.0", "0.1"], ["prod", "0.1", "0.0"], ["prod", "0.0", ""]]


def test_each_command_has_a_document(invoke: Invoke, asset: str) -> None:
    move = invoke("alias", "set", f"{asset}:0.1", "prod", "--reason", "good", "--json").document
    assert {key: move[key] for key in ("name", "alias", "version", "previous", "reason")} == {
        "name": asset,
        "alias": "prod",
        "version": "0.1",
        "previous": None,
        "reason": "good",
    }
    assert set(move["by"]) == {"user", "host"}
    of_asset = {key: move[key] for key in move if key != "name"}
    assert invoke("alias", "list", asset, "--json").document == {"name": asset, "aliases": [of_asset]}
    assert invoke("alias", "history", asset, "--json").document == {"name": asset, "moves": [of_asset]}
    assert invoke("alias", "set", f"{asset}:0.0", "prod", "--json").document["previous"] == "0.1"
    assert invoke("alias", "rollback", asset, "prod", "--json").document["version"] == "0.1"
    assert invoke("alias", "remove", asset, "prod", "--json").document["version"] is None


def test_a_version_is_fetched_and_verified_by_alias(invoke: Invoke, asset: str) -> None:
    invoke("alias", "set", f"{asset}:0.0", "prod")
    ran = invoke("fetch", f"{asset}@prod")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.endswith("/team/model/0.0\n")
    ran = invoke("fetch", f"{asset}@prod[a]", "--json")
    assert (ran.document["version"], ran.document["part"]) == ("0.0", "a")
    ran = invoke("verify", f"{asset}@prod")
    assert (ran.code, ran.out) == (0, "team/model:0.0\n")
    ran = invoke("fetch", f"{asset}@staging")
    assert (ran.code, ran.out) == (3, "")
    assert "Its aliases: prod." in ran.err


def test_an_alias_is_resolved_offline_with_a_notice(invoke: Invoke, asset: str) -> None:
    ran = invoke("fetch", f"{asset}@prod", "--offline")
    assert ran.code == 3
    assert "was never looked up there" in ran.err
    invoke("alias", "set", f"{asset}:0.0", "prod")
    invoke("fetch", f"{asset}@prod")
    ran = invoke("fetch", f"{asset}@prod", "--offline")
    assert (ran.code, ran.out.endswith("/team/model/0.0\n")) == (0, True)
    pattern = r"team/model@prod pointed at 0\.0 when it was last looked up, on [0-9-]+ [0-9:]+ UTC\n"
    assert re.fullmatch(pattern, ran.err)
    assert re.fullmatch(pattern, invoke("verify", f"{asset}@prod", "--cache").err)


def test_expectations_make_moves_conditional(invoke: Invoke, asset: str) -> None:
    assert invoke("alias", "set", f"{asset}:0.0", "prod", "--expect", "none").code == 0
    ran = invoke("alias", "set", f"{asset}:0.1", "prod", "--expect", "none")
    assert (ran.code, ran.out) == (4, "")
    assert ran.err.startswith("Error: The alias team/model@prod points at 0.0, but was expected not to exist.")
    assert invoke("alias", "set", f"{asset}:0.1", "prod", "--expect", "0.0").code == 0
    assert invoke("alias", "remove", asset, "prod", "--expect", "0.0").code == 4
    assert invoke("alias", "remove", asset, "prod", "--expect", "0.1").code == 0


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (["list", "other"], 3, "No asset 'other'"),
        (["set", "team/model:7.0", "prod"], 3, "has no version 7.0"),
        (["set", "other:0.0", "prod"], 3, "No asset 'other'"),
        (["remove", "team/model", "prod"], 3, "has no alias 'prod'"),
        (["rollback", "team/model", "prod"], 3, "has no alias 'prod'"),
        (["history", "team/model", "prod"], 3, "has no alias 'prod'"),
        (["set", "team/model", "prod"], 2, "write team/model:0.1, for example, instead of team/model."),
        (["set", "team/model@prod", "staging"], 2, "write team/model:0.1, for example, instead of team/model@prod."),
        (["set", "team/model:0", "prod"], 2, "write team/model:0.1, for example, instead of team/model:0."),
        (["set", "team/model:0.0", "1.2"], 2, "'1.2' is not a valid alias"),
        (["set", "team/model:0.0", "latest"], 2, "it always means the latest version"),
        (["set", "team/model:0.0", "prod", "--expect", "0"], 2, "an alias must point at a complete version"),
        (["list", "team/model:0.0"], 2, "write team/model instead of team/model:0.0."),
        (["remove", "team/model@prod", "prod"], 2, "write team/model instead of team/model@prod."),
    ],
)
def test_each_mistake_is_one_sentence(invoke: Invoke, asset: str, args: list[str], code: int, message: str) -> None:
    ran = invoke("alias", *args)
    assert (ran.code, ran.out) == (code, "")
    assert message in ran.err
    assert "Traceback" not in ran.err


@pytest.mark.parametrize(
    ("args", "advice"),
    [
        (["new", ".", "name@prod"], "write name instead of name@prod."),
        (["update", ".", "name@prod"], "write name, or name:1 for the next 1.x version, instead of name@prod."),
        (
            ["update", ".", "name@prod", "--bump-major"],
            "write name, or name:1 for the next 1.x version, instead of name@prod.",
        ),
        (["clean", "--publish", "name@prod"], "write name:1.2, for example, instead of name@prod."),
        (["fetch", "name:prod"], "or a major and minor version such as 1.2; an alias is written name@prod."),
        (["fetch", "name:1@prod"], "give either a version or an alias, not both"),
        (["fetch", "name@1"], "'1' is not a valid alias"),
    ],
)
def test_an_alias_where_none_is_allowed_is_a_usage_error(invoke: Invoke, args: list[str], advice: str) -> None:
    ran = invoke(*args)
    assert (ran.code, ran.out) == (2, "")
    assert advice in ran.err


def test_a_mistyped_name_or_alias_suggests_the_nearest(invoke: Invoke, asset: str) -> None:
    invoke("alias", "set", f"{asset}:0.0", "prod")
    ran = invoke("fetch", "team/modle")
    assert (ran.code, ran.out) == (3, "")
    assert ran.err.endswith("Did you mean team/model?\n")
    ran = invoke("alias", "rollback", asset, "pord")
    assert (ran.code, ran.out) == (3, "")
    assert ran.err.endswith("Did you mean prod?\n")
