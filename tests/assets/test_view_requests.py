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


async def log(manager: AssetsManager, source: Path) -> object:
    return await manager.log_versions("model")


@pytest.mark.parametrize(
    ("operation", "sizes"),
    [
        (describe("model:0.0"), [2]),  # manifest and aliases
        (describe("model"), [2, 1]),  # index and aliases; manifest
        (describe("model:0"), [2, 1]),
        (describe("model@prod"), [1, 1]),  # aliases; manifest
        (log, [2, 2]),  # index and aliases; manifests
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
