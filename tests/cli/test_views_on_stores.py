"""The commands that look at versions, on each kind of store."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tools.factories import driver_at
from tools.inspection import store_of
from tools.states import point

Invoke = Callable[..., Any]


async def set_alias(place: dict[str, Any]) -> None:
    driver = driver_at(place)
    await point(store_of(driver), "team/model", "prod", "0.0")
    await driver.aclose()


def test_each_command(run_on_store: Invoke, place: dict[str, Any], source: Path) -> None:
    assert run_on_store("new", source, "team/model", "-y", "-m", "first", "--label", "stage=prod").code == 0
    assert run_on_store("update", source, "team/model", "--if-changed").out == "team/model:0.0\n"
    assert run_on_store("diff", "team/model", source).code == 0
    (source / "a").write_bytes(b"FIRST")
    assert run_on_store("diff", "team/model", source).out == "changed\ta\t5\t5\t\n"
    assert run_on_store("update", source, "team/model", "--if-changed", "-y").out == "team/model:0.1\n"
    asyncio.run(set_alias(place))

    shown = run_on_store("show", "team/model@prod", "--files", "--json").document
    assert (shown["version"], shown["message"], shown["labels"]) == ("0.0", "first", {"stage": "prod"})
    assert (shown["aliases"], shown["files"], shown["size"]) == (["prod"], 2, 11)
    assert [entry["path"] for entry in shown["entries"]] == ["a", "b"]
    logged = run_on_store("log", "team/model", "--json").document["versions"]
    assert [(each["version"], each["aliases"]) for each in logged] == [("0.1", []), ("0.0", ["prod"])]
    assert run_on_store("diff", "team/model@prod", "team/model").out == "changed\ta\t5\t5\t\n"
    assert run_on_store("list", "--label", "stage=prod").out == ""
    assert run_on_store("list", "--label", "stage=prod", "--alias", "prod").out == "team/model\t0.1,0.0\n"
    assert run_on_store("list", "--long").out.startswith("team/model\t0.1\t")
