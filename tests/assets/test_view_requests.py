"""Requests of the calls that look at versions: those in sequence, each of which costs a round trip, and their total."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from tools.factories import Files, ManagerFactory
from tools.inspection import store_of
from tools.interposer import Interposer
from tools.rounds import Rounds
from tools.states import point

from aioassets import AssetsManager, MemoryDriver

Operation = Callable[[AssetsManager, Path], Awaitable[Any]]


@pytest.fixture
def driver(memory: MemoryDriver) -> Interposer:
    return Interposer(memory)


@pytest.fixture
async def manager(driver: Interposer, make_manager: ManagerFactory, files: Files) -> AssetsManager:
    """Return a manager whose store has versions 0.0 and 0.1 of `model`, of which 0.0 is `prod`, and 0.0 of `other`."""
    manager = make_manager(driver)
    await manager.create_asset(files("a"), "model")
    await manager.update_asset(files("b"), "model")
    await manager.create_asset(files("a"), "other")
    await point(store_of(driver), "model", "prod", "0.0")
    return manager


def describe(spec: str) -> Operation:
    return lambda manager, source: manager.describe_asset(spec)


def listed(**options: Any) -> Operation:
    async def collect(manager: AssetsManager, source: Path) -> None:
        assert [asset.name async for asset in manager.list_assets(**options)] == ["model", "other"]

    return collect


def diff(a: str, b: str) -> Operation:
    return lambda manager, source: manager.diff_versions(a, b)


async def diff_with_path(manager: AssetsManager, source: Path) -> object:
    return await manager.diff_versions("model", source)


async def update_unchanged(manager: AssetsManager, source: Path) -> None:
    assert (await manager.update_asset(source, "model", if_changed=True)).unchanged


async def update_many_unchanged(manager: AssetsManager, source: Path) -> None:
    sources: dict[str, Path] = {"model": source, "other": source.with_stem("a")}
    found = await manager.update_assets(sources, if_changed=True)
    assert all(result.unchanged for result in found.values())


def log(spec: str, **options: Any) -> Operation:
    return lambda manager, source: manager.log_versions(spec, **options)


@pytest.mark.parametrize(
    ("operation", "sizes"),
    [
        (describe("model:0.0"), [2]),  # manifest and aliases
        (describe("model"), [2, 1]),  # index and aliases; manifest
        (describe("model:0"), [2, 1]),
        (describe("model@prod"), [1, 1]),  # aliases; manifest
        (log("model"), [2, 2]),  # index and aliases; manifests
        (log("model", deleted=True), [2, 2]),
        (log("model:0"), [2, 2]),
        (log("model:0.1"), [2]),  # manifest and aliases
        (diff("model:0.0", "model:0.1"), [2]),  # manifests
        (diff("model:0.0", "other"), [2, 1]),  # manifest and index; manifest
        (diff("model@prod", "model"), [2, 2]),  # aliases and index; manifests
        (diff_with_path, [1, 1]),  # index; manifest
        (update_unchanged, [1, 1]),  # index; manifest
        (update_many_unchanged, [2, 2]),
        (listed(), [1, 2, 2]),  # names; folders; indexes
        (listed(describe=True), [1, 2, 4, 2]),  # names; folders; indexes and aliases; manifests
    ],
)
async def test_rounds(
    driver: Interposer, manager: AssetsManager, files: Files, operation: Operation, sizes: list[int]
) -> None:
    driver.calls.clear()
    driver.hook = rounds = Rounds()
    await rounds.count(lambda: operation(manager, files("b")))
    assert rounds.sizes == sizes
    assert {method for method, _ in driver.calls} <= {"read", "list"}


async def test_a_change_costs_one_more_round_trip(driver: Interposer, manager: AssetsManager, files: Files) -> None:
    changed = files("c")
    driver.hook = rounds = Rounds()
    await rounds.count(lambda: manager.update_asset(changed, "model", if_changed=True))
    assert rounds.sizes == [1, 1, 1, 1, 1, 1]  # index; latest manifest; claim; content; manifest; index


async def test_listing_by_alias_reads_only_the_manifests_of_assets_that_have_it(
    driver: Interposer, manager: AssetsManager
) -> None:
    driver.calls.clear()
    assert [asset.name async for asset in manager.list_assets(alias="prod")] == ["model"]
    assert [key for _, key in driver.calls if key.endswith(".meta")] == ["assets/model/0.0.meta"]
