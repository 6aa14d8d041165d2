"""Calls with wrong arguments are refused before anything is written."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from tools.factories import Files, ManagerFactory

from aioassets import AssetsManager, MemoryDriver, UsageError
from aioassets.model.pusher import Pusher
from aioassets.runtime.machine import Machine

TEXTS: list[Any] = [7, True, b"text", ["text"], "x\udce9"]
LABELS: list[Any] = [
    {"epoch": 3},
    {"done": True},
    {"stage": None},
    {"stage": ["a"]},
    {"stage": b"a"},
    {"stage": "x\udce9"},
    {1: "x"},
    {"": "x"},
    [("a", "b")],
]


class Untouched(MemoryDriver):
    """Driver that counts the changes that are requested."""

    changes = 0

    async def write(self, *args: Any, **options: Any) -> Any:
        self.changes += 1
        return await super().write(*args, **options)

    async def delete(self, *args: Any, **options: Any) -> Any:
        self.changes += 1
        return await super().delete(*args, **options)


@pytest.fixture
async def driver() -> Untouched:
    return Untouched()


@pytest.fixture
async def manager(driver: Untouched, make_manager: ManagerFactory, files: Files) -> AsyncIterator[AssetsManager]:
    """Return a manager of an asset with the version 0.0, and check that the call has written nothing."""
    manager = make_manager(driver)
    await manager.create_asset(files("0.0"), "model")
    driver.changes = 0
    yield manager
    assert driver.changes == 0
    assert (await manager.describe_asset("model")).version == "0.0"


@pytest.mark.parametrize("options", [*({"message": text} for text in TEXTS), *({"labels": each} for each in LABELS)])
async def test_no_version_gets_an_unreadable_manifest(
    manager: AssetsManager, files: Files, options: dict[str, Any]
) -> None:
    source = files("0.1")
    plan = await manager.plan_update(source, "model")
    for call in (
        lambda: manager.create_asset(source, "new", **options),
        lambda: manager.update_asset(source, "model", **options),
        lambda: manager.update_assets({"model": source}, **options),
        lambda: manager.plan_create(source, "new", **options),
        lambda: manager.plan_update(source, "model", **options),
        lambda: manager.push(replace(plan, **options)),
    ):
        with pytest.raises(UsageError, match=r"^The (message|label|key of a label)"):
            await call()


@pytest.mark.parametrize("reason", TEXTS)
async def test_no_change_gets_an_unreadable_reason(manager: AssetsManager, reason: Any) -> None:
    for call in (
        lambda: manager.yank_version("model", "0.0", reason),
        lambda: manager.delete_version("model", "0.0", reason),
        lambda: manager.set_alias("model", "prod", "0.0", reason=reason),
        lambda: manager.remove_alias("model", "prod", reason=reason),
        lambda: manager.rollback_alias("model", "prod", reason=reason),
    ):
        with pytest.raises(UsageError, match=r"^The reason "):
            await call()


@pytest.mark.parametrize("reason", ["", " ", None])
async def test_a_yank_needs_a_reason(manager: AssetsManager, reason: Any) -> None:
    with pytest.raises(UsageError, match=r"^The reason must "):
        await manager.yank_version("model", "0.0", reason)


@pytest.mark.parametrize(("value", "not_none"), [(None, 5), (0.0, 0.0), (5, 5), (b"model", b"model")])
async def test_names_versions_and_specs_are_strings(manager: AssetsManager, value: Any, not_none: Any) -> None:
    for call in (
        lambda: manager.fetch_asset(value),
        lambda: manager.verify_asset(value),
        lambda: manager.describe_asset(value),
        lambda: manager.diff_versions("model:0.0", value),
        lambda: manager.list_versions(value),
        lambda: manager.log_versions(value),
        lambda: manager.list_aliases(value),
        lambda: manager.alias_history("model", not_none),
        lambda: manager.yank_version(value, "0.0", "bad"),
        lambda: manager.yank_version("model", value, "bad"),
        lambda: manager.unyank_version("model", value),
        lambda: manager.plan_delete("model", value),
        lambda: manager.delete_version("model", value),
        lambda: manager.publish_version("model", value),
        lambda: manager.set_alias("model", "prod", value),
        lambda: manager.set_alias("model", value, "0.0"),
        lambda: manager.set_alias("model", "prod", "0.0", expect=not_none),
    ):
        with pytest.raises(UsageError):
            await call()


async def test_limits_and_ages_have_the_right_types(manager: AssetsManager) -> None:
    wrong: Any
    for wrong in ("3", 1.5, True):
        with pytest.raises(UsageError, match="must be an integer"):
            await manager.log_versions("model", wrong)
        with pytest.raises(UsageError, match="must be an integer"):
            await manager.plan_prune(keep_last=wrong)
    for wrong in (5, "1d"):
        with pytest.raises(UsageError, match="must be a timedelta"):
            await manager.plan_prune(keep_within=wrong)
        with pytest.raises(UsageError, match="must be a timedelta"):
            await manager.plan_clean(older_than=wrong)
    assert not (await manager.plan_prune(keep_within=timedelta(1))).deleted


@pytest.mark.parametrize("options", [{"prefix": None}, {"prefix": 1}, *({"labels": labels} for labels in LABELS)])
async def test_filters_of_a_listing_are_checked(manager: AssetsManager, options: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        await anext(manager.list_assets(**options))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda manager: manager.update_assets(["model"]), "assets must be a mapping of names to sources, not list"),
        (lambda manager: manager.update_asset(".", "model", include="*.bin"), r"list of strings: write \['\*\.bin'\]"),
        (lambda manager: manager.plan_create(".", "model", exclude=[1]), "exclude patterns must be a string, not int"),
        (lambda manager: manager.fetch_assets(None), "specs must be a list of strings, not NoneType"),
        (lambda manager: manager.lock_assets(3), "specs must be a list of strings, not int"),
        (lambda manager: manager.sync_assets(3), "path or the text of a lock file, not int"),
        (lambda manager: manager.copy_version("model:0.0", "./store"), "type str: pass the target's AssetsManager"),
        (lambda manager: manager.cache.prune(unused_for="1d"), "unused_for must be a timedelta, not str"),
    ],
)
async def test_each_argument_of_another_type_is_named(
    manager: AssetsManager, call: Callable[[AssetsManager], Awaitable[Any]], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        await call(manager)


def test_a_user_name_in_another_encoding_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", os.fsdecode(b"x\xe9"))
    assert Machine().this_process(user=True, host=False).holder == Pusher("x?")
