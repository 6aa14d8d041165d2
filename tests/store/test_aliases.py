"""Moving aliases, and what happens when their targets are withdrawn at the same time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path

import anyio
import pytest

from aioassets import AssetsManager, MemoryDriver
from aioassets.errors import (
    AliasMoved,
    AliasNotFound,
    AssetNotFound,
    InvalidAlias,
    VersionDeleted,
    VersionNotFound,
    VersionYanked,
)
from aioassets.model.keys import Layout
from aioassets.model.manifest import Manifest
from aioassets.model.marks import Mark
from aioassets.model.pusher import Pusher
from aioassets.model.tombstone import Tombstone
from aioassets.model.versioning import MajorMinor
from aioassets.runtime.retry import RetryPolicy
from aioassets.store.aliases import Aliases
from aioassets.store.documents import AssetStore

NAME = "team/model"
MARK = Mark("0" * 32, datetime(2026, 11, 27, tzinfo=UTC), Pusher("ann"), "it is broken")


async def suitable() -> None:
    pass


async def withdraw(store: AssetStore, version: str, *, deleted: bool = False) -> None:
    meta = await store.read_meta(NAME, version)
    assert isinstance(meta.content, Manifest)
    data = Tombstone(MARK).to_json() if deleted else meta.content.marked(MARK, yanked=True).to_json()
    await store.driver.write(store.layout.meta(NAME, version), data, expected=meta.revision)


class Hooked(MemoryDriver):
    """Driver that calls a function before each write of aliases."""

    before_swap: Callable[[], Awaitable[object]] | None = None

    async def write(self, key, data, *, expected, effects=None):  # type: ignore[no-untyped-def]
        if key.endswith(".aliases") and (hook := self.before_swap) is not None:
            self.before_swap = None
            await hook()
        return await super().write(key, data, expected=expected, effects=effects)


@pytest.fixture
async def driver(tmp_path: Path) -> Hooked:
    driver = Hooked()
    (tmp_path / "file").write_text("data")
    async with AssetsManager(driver=driver, assets_dir=tmp_path / "cache") as manager:
        await manager.create_asset(tmp_path / "file", NAME)
        for _ in range(3):
            await manager.update_asset(tmp_path / "file", NAME)
    return driver


@pytest.fixture
def aliases(driver: Hooked) -> Aliases:
    store = AssetStore(driver, Layout("assets"))
    return Aliases(store, MajorMinor(), RetryPolicy(first_delay=0), Pusher("bob", "host"), suitable)


async def test_an_alias_is_moved_and_its_history_kept(aliases: Aliases) -> None:
    await aliases.move(NAME, "prod", "0.0", reason="first")
    await aliases.move(NAME, "prod", "0.1")
    table = await aliases.table(NAME)
    assert table.target("prod") == "0.1"
    assert [(move.version, move.previous) for move in table.history] == [("0.1", "0.0"), ("0.0", None)]
    assert (table.history[1].mark.reason, table.history[1].mark.by) == ("first", Pusher("bob", "host"))


async def test_a_move_to_the_present_target_changes_nothing(aliases: Aliases) -> None:
    first = await aliases.move(NAME, "prod", "0.0")
    assert await aliases.move(NAME, "prod", "0.0") == first


async def test_an_expectation_that_does_not_hold_is_a_conflict(aliases: Aliases) -> None:
    with pytest.raises(AliasMoved):
        await aliases.move(NAME, "prod", "0.0", expected="0.1")
    await aliases.move(NAME, "prod", "0.0", expected=None)
    with pytest.raises(AliasMoved, match=r"points at 0\.0, but was expected not to exist"):
        await aliases.move(NAME, "prod", "0.1", expected=None)
    with pytest.raises(AliasMoved):
        await aliases.remove(NAME, "prod", expected="0.1")


async def test_one_of_many_racing_moves_with_one_expectation_wins(aliases: Aliases) -> None:
    outcomes: list[str] = []

    async def move(version: str) -> None:
        try:
            await aliases.move(NAME, "prod", version, expected=None)
        except AliasMoved:
            return
        outcomes.append(version)

    async with anyio.create_task_group() as tasks:
        for number in range(40):
            tasks.start_soon(move, f"0.{number % 4}")
    assert len(outcomes) == 1
    assert (await aliases.table(NAME)).target("prod") == outcomes[0]


async def test_racing_moves_without_an_expectation_all_succeed(aliases: Aliases) -> None:
    async with anyio.create_task_group() as tasks:
        for number in range(12):
            tasks.start_soon(aliases.move, NAME, f"a{number}", f"0.{number % 4}")
    assert len((await aliases.table(NAME)).current) == 12


@pytest.mark.parametrize(("deleted", "error"), [(False, VersionYanked), (True, VersionDeleted)])
@pytest.mark.parametrize("previous", [None, "0.0"])
async def test_a_move_to_a_version_that_is_withdrawn_meanwhile_is_undone(
    aliases: Aliases, driver: Hooked, previous: str | None, deleted: bool, error: type[Exception]
) -> None:
    if previous is not None:
        await aliases.move(NAME, "prod", previous)
    driver.before_swap = lambda: withdraw(aliases.store, "0.1", deleted=deleted)
    with pytest.raises(error, match="it is broken"):
        await aliases.move(NAME, "prod", "0.1")
    assert (await aliases.table(NAME)).target("prod") == previous


async def test_an_alias_is_removed_if_its_previous_target_is_withdrawn_too(aliases: Aliases, driver: Hooked) -> None:
    await aliases.move(NAME, "prod", "0.0")

    async def withdraw_both() -> None:
        await withdraw(aliases.store, "0.0")
        await withdraw(aliases.store, "0.1")

    driver.before_swap = withdraw_both
    with pytest.raises(VersionYanked):
        await aliases.move(NAME, "prod", "0.1")
    assert (await aliases.table(NAME)).target("prod") is None


async def test_a_rollback_goes_to_the_previous_target_and_back(aliases: Aliases) -> None:
    await aliases.move(NAME, "prod", "0.0")
    with pytest.raises(AliasNotFound, match=r"has only ever pointed at 0\.0"):
        await aliases.roll_back(NAME, "prod")
    await aliases.move(NAME, "prod", "0.1")
    assert (await aliases.roll_back(NAME, "prod")).version == "0.0"
    assert (await aliases.roll_back(NAME, "prod")).version == "0.1"


async def test_what_does_not_exist_is_named(aliases: Aliases) -> None:
    with pytest.raises(AssetNotFound):
        await aliases.table("other")
    assert (await aliases.table(NAME)).current == {}
    with pytest.raises(AliasNotFound):
        await aliases.remove(NAME, "prod")
    with pytest.raises(VersionNotFound):
        await aliases.move(NAME, "prod", "7.0")
    for text in ("1", "1.2", "latest", "a b", "-x", ""):
        with pytest.raises(InvalidAlias):
            await aliases.move(NAME, text, "0.0")
