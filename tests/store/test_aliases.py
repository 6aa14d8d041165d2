"""Moving aliases, and what happens when their targets are withdrawn at the same time."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio
import pytest
from tools.interposer import Fail, Interposer, LostAnswers, Pause, nothing
from tools.steps import WAYS, Ended, at_each_step, ended_at

from aioassets import AliasMove, AssetsManager, Driver, MemoryDriver
from aioassets.drivers.protocol import Expect, ObjectInfo, Revision, StreamedDocument
from aioassets.errors import (
    AccessDenied,
    AliasMoved,
    AliasNotFound,
    AssetNotFound,
    InvalidAlias,
    PreconditionFailed,
    StoreCorrupt,
    StoreUnavailable,
    VersionDeleted,
    VersionNotFound,
    VersionYanked,
)
from aioassets.model.aliases import MAX_MOVES
from aioassets.model.keys import Layout
from aioassets.model.manifest import Manifest
from aioassets.model.marks import Mark
from aioassets.model.pusher import Pusher
from aioassets.model.tombstone import Tombstone
from aioassets.model.versioning import MajorMinor
from aioassets.runtime.effects import Effects
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

    async def write(
        self, key: str, data: bytes | StreamedDocument, *, expected: Revision | Expect, effects: Effects | None = None
    ) -> Revision:
        if key.endswith(".aliases") and (hook := self.before_swap) is not None:
            self.before_swap = None
            await hook()
        return await super().write(key, data, expected=expected, effects=effects)


class Late(Interposer):
    """Driver whose first write of aliases gets no response, and reaches the store only when the test says so."""

    land: Callable[[], Awaitable[object]]
    is_lost = False

    async def write(
        self, key: str, data: bytes | StreamedDocument, *, expected: Revision | Expect, effects: Effects | None = None
    ) -> Revision:
        if key.endswith(".aliases") and not self.is_lost:
            self.is_lost = True
            self.land = lambda: self.driver.write(key, data, expected=expected)
            raise StoreUnavailable("the store", "no response.")
        return await self.driver.write(key, data, expected=expected, effects=effects)


async def unavailable() -> None:
    raise StoreUnavailable("the store", "a test says so.", uncertain=False)


async def snapshot(driver: MemoryDriver) -> dict[str, bytes]:
    return {
        item.key: (await driver.read(item.key)).data async for item in driver.list("") if isinstance(item, ObjectInfo)
    }


async def restore(driver: MemoryDriver, content: dict[str, bytes]) -> None:
    await driver.delete([item.key async for item in driver.list("") if isinstance(item, ObjectInfo)])
    for key, data in content.items():
        await driver.write(key, data, expected=Expect.ABSENT)


def aliases_of(driver: Driver) -> Aliases:
    store = AssetStore(driver, Layout("assets"))
    return Aliases(store, MajorMinor(), RetryPolicy(first_delay=0), Pusher("bob", "host"), suitable, cleanup_timeout=30)


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
    return aliases_of(driver)


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


async def test_a_rollback_restores_an_alias_that_was_removed(aliases: Aliases) -> None:
    await aliases.move(NAME, "prod", "0.0")
    await aliases.remove(NAME, "prod")
    assert (await aliases.table(NAME)).target("prod") is None
    assert (await aliases.roll_back(NAME, "prod")).version == "0.0"


async def test_a_rollback_to_a_withdrawn_version_is_refused(aliases: Aliases) -> None:
    await aliases.move(NAME, "prod", "0.0")
    await aliases.move(NAME, "prod", "0.1")
    await withdraw(aliases.store, "0.0")
    with pytest.raises(VersionYanked):
        await aliases.roll_back(NAME, "prod")
    assert (await aliases.table(NAME)).target("prod") == "0.1"


async def test_the_history_has_a_limit_but_keeps_the_last_move_of_each_alias(aliases: Aliases) -> None:
    first = await aliases.move(NAME, "old", "0.0")
    await aliases.move(NAME, "old", "0.1")
    for number in range(MAX_MOVES):
        await aliases.move(NAME, "prod", f"0.{number % 2}")
    assert len(await aliases.history(NAME)) == len(await aliases.history(NAME, "prod")) == MAX_MOVES
    assert [move.version for move in await aliases.history(NAME, "old")] == ["0.1"]
    assert (await aliases.roll_back(NAME, "old")).version == first.version
    with pytest.raises(AliasNotFound, match=r"no alias 'other'.*Its aliases: old, prod"):
        await aliases.history(NAME, "other")


async def test_one_of_a_removal_and_a_racing_move_sees_the_other(aliases: Aliases, driver: Hooked) -> None:
    await aliases.move(NAME, "prod", "0.0")
    driver.before_swap = lambda: aliases.remove(NAME, "prod")
    with pytest.raises(AliasNotFound):
        await aliases.remove(NAME, "prod")
    assert len(await aliases.history(NAME)) == 2
    driver.before_swap = lambda: aliases.move(NAME, "prod", "0.1")
    with pytest.raises(AliasMoved):
        await aliases.move(NAME, "prod", "0.0", expected=None)


async def test_a_move_is_undone_if_the_whole_version_vanishes(aliases: Aliases, driver: Hooked) -> None:
    async def remove_all() -> None:
        await driver.delete([aliases.store.layout.meta(NAME, "0.1"), aliases.store.layout.versions(NAME)])

    driver.before_swap = remove_all
    with pytest.raises(AssetNotFound):
        await aliases.move(NAME, "prod", "0.1")
    assert (await aliases.store.read_aliases(NAME)).table.target("prod") is None


class TestLostResponses:
    """A request whose response is lost may have taken effect, or may still do so."""

    @pytest.fixture
    def lossy(self, driver: Hooked) -> Interposer:
        return Interposer(driver)

    @pytest.fixture
    def lossy_aliases(self, lossy: Interposer) -> Aliases:
        return aliases_of(lossy)

    @pytest.mark.parametrize("error", [None, RuntimeError("nobody expected it")])
    async def test_a_move_whose_response_is_lost_is_recognised(
        self, lossy: Interposer, lossy_aliases: Aliases, error: Exception | None
    ) -> None:
        lossy.hook = Fail("after", "write", ".aliases", error)
        move = await lossy_aliases.move(NAME, "prod", "0.0", expected=None)
        assert await lossy_aliases.history(NAME) == [move]

    async def test_a_retry_that_is_refused_because_of_the_first_attempt_is_recognised(self, driver: Hooked) -> None:
        twice = aliases_of(LostAnswers(driver))
        moves = [
            await twice.move(NAME, "prod", "0.0", expected=None),
            await twice.move(NAME, "prod", "0.1", expected="0.0"),
            await twice.roll_back(NAME, "prod"),
            await twice.remove(NAME, "prod", expected="0.0"),
        ]
        assert await twice.history(NAME) == moves[::-1]

    async def test_a_move_that_others_followed_is_recognised(
        self, lossy: Interposer, lossy_aliases: Aliases, aliases: Aliases
    ) -> None:
        async def hook(moment: str, method: str, key: str) -> None:
            if (moment, method) == ("after", "write") and key.endswith(".aliases"):
                lossy.hook = nothing
                await aliases.move(NAME, "prod", "0.2", expected="0.1")
                raise StoreUnavailable("the store", "the response was lost.")

        lossy.hook = hook
        move = await lossy_aliases.move(NAME, "prod", "0.1", expected=None)
        assert move.version == "0.1"
        assert (await aliases.table(NAME)).target("prod") == "0.2"

    async def test_a_request_that_lands_late_changes_nothing(self, driver: Hooked) -> None:
        """The move that repeated it has succeeded, and the alias has moved on since."""
        late = Late(driver)
        aliases = aliases_of(late)
        await aliases.move(NAME, "prod", "0.0")
        await aliases.move(NAME, "prod", "0.1")
        with pytest.raises(PreconditionFailed):
            await late.land()
        assert len(await aliases.history(NAME)) == 2

    async def test_a_move_that_may_still_land_says_so(self, lossy: Interposer, lossy_aliases: Aliases) -> None:
        lossy.hook = Fail("before", "write", ".aliases", StoreUnavailable("s3://x", "lost."), times=2)
        with pytest.raises(StoreUnavailable, match=r"may or may not have been moved to 0\.0\. Check it with") as caught:
            await lossy_aliases.move(NAME, "prod", "0.0")
        assert caught.value.uncertain

    async def test_a_store_that_goes_silent_leaves_the_effect_unknown(
        self, lossy: Interposer, lossy_aliases: Aliases
    ) -> None:
        async def hook(moment: str, method: str, key: str) -> None:
            if moment == "after" and (method == "write" or key in lost):
                lost.append(key)
                raise StoreUnavailable("the store", "it is silent.")

        lost: list[str] = []
        lossy.hook = hook
        with pytest.raises(StoreUnavailable, match="may or may not have been moved"):
            await lossy_aliases.move(NAME, "prod", "0.0")

    async def test_a_refusal_is_certain(self, lossy: Interposer, lossy_aliases: Aliases) -> None:
        lossy.hook = Fail("before", "write", ".aliases", AccessDenied("s3://x", "write", "no."))
        with pytest.raises(AccessDenied):
            await lossy_aliases.move(NAME, "prod", "0.0")
        assert [call for call in lossy.calls if call[0] == "write"] == [("write", "assets/team/model.aliases")]

    async def test_an_unchecked_move_says_that_it_was_made(self, lossy: Interposer, lossy_aliases: Aliases) -> None:
        await lossy_aliases.move(NAME, "prod", "0.0")
        lossy.hook = Pause("before", "read", "0.1.meta", 2, wait=unavailable)
        with pytest.raises(
            StoreUnavailable, match=r"points at 0\.1 now, but that version could not be checked"
        ) as caught:
            await lossy_aliases.move(NAME, "prod", "0.1")
        assert caught.value.uncertain
        assert (await lossy_aliases.table(NAME)).target("prod") == "0.1"

    async def test_a_move_that_cannot_be_undone_says_so(
        self, driver: Hooked, lossy: Interposer, lossy_aliases: Aliases
    ) -> None:
        driver.before_swap = lambda: withdraw(lossy_aliases.store, "0.1")
        lossy.hook = Pause("before", "read", ".aliases", 2, wait=unavailable)
        with pytest.raises(StoreUnavailable, match=r"may still point at 0\.1, which was withdrawn"):
            await lossy_aliases.move(NAME, "prod", "0.1")

    async def test_an_undo_whose_response_is_lost_is_recognised(self, driver: Hooked) -> None:
        twice = aliases_of(LostAnswers(driver))
        await twice.move(NAME, "prod", "0.0")
        driver.before_swap = lambda: withdraw(twice.store, "0.1")
        with pytest.raises(VersionYanked):
            await twice.move(NAME, "prod", "0.1")
        assert (await twice.table(NAME)).target("prod") == "0.0"


@pytest.mark.parametrize(("way", "again"), [*((way, False) for way in WAYS), (WAYS[0], True)])
async def test_a_move_that_is_cancelled_at_any_step_is_checked_or_not_made(
    aliases: Aliases, driver: Hooked, way: Callable[..., Any], again: bool
) -> None:
    """Its target is withdrawn just before the swap."""
    fresh = await snapshot(driver)

    async def move() -> None:
        with contextlib.suppress(VersionYanked):
            await aliases.move(NAME, "prod", "0.1")

    async def end_at(nth: int) -> Ended:
        await restore(driver, fresh)
        await aliases.move(NAME, "prod", "0.0")
        driver.before_swap = lambda: withdraw(aliases.store, "0.1")
        outcome = await ended_at(nth, move, way, again=again)
        assert outcome.left == []
        assert (await aliases.table(NAME)).target("prod") == "0.0"
        return outcome

    await at_each_step(end_at)


@pytest.mark.parametrize(("version", "target"), [("0.1", "0.1"), (None, None)])
async def test_a_change_that_is_cancelled_at_any_step_is_made_or_not(
    aliases: Aliases, driver: Hooked, version: str | None, target: str | None
) -> None:
    fresh = await snapshot(driver)
    outcomes = set()

    async def change() -> AliasMove:
        return await (aliases.remove(NAME, "prod") if version is None else aliases.move(NAME, "prod", version))

    async def end_at(nth: int) -> Ended:
        await restore(driver, fresh)
        await aliases.move(NAME, "prod", "0.0")
        outcome = await ended_at(nth, change)
        assert outcome.left == []
        outcomes.add((outcome.cancelled, (await aliases.table(NAME)).target("prod")))
        return outcome

    await at_each_step(end_at)
    assert outcomes == {(True, "0.0"), (True, target), (False, target)}


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


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"[]",
        b"{}",
        b'{"aliases": []}',
        b'{"aliases": {"prod": {}}}',
        b'{"aliases": {}, "history": {}}',
        b'{"aliases": {"prod": {"alias": "other", "version": "0.0", "token": "", "date": "2026-11-27"}}}',
        b'{"aliases": {"prod": {"alias": "prod", "version": null, "token": "", "date": "2026-11-27"}}}',
        b'{"aliases": {"prod": {"alias": "prod", "version": "../0.0", "token": "", "date": "2026-11-27"}}}',
        b'{"aliases": {"1": {"alias": "1", "version": "0.0", "token": "", "date": "2026-11-27"}}}',
        b'{"aliases": ' + b'{"x":' * 100_000,
        b"\xff" * 20_000,
    ],
)
async def test_an_invalid_document_is_one_error_and_is_not_replaced(
    aliases: Aliases, driver: Hooked, document: bytes
) -> None:
    key = aliases.store.layout.aliases(NAME)
    await driver.write(key, document, expected=Expect.ABSENT)
    for call in (
        aliases.table(NAME),
        aliases.history(NAME, "prod"),
        aliases.move(NAME, "prod", "0.0"),
        aliases.remove(NAME, "prod"),
        aliases.roll_back(NAME, "prod"),
    ):
        with pytest.raises(StoreCorrupt, match=r"model\.aliases is invalid: "):
            await call
    assert (await driver.read(key)).data == document


async def test_unknown_fields_of_the_document_survive_a_move(aliases: Aliases, driver: Hooked) -> None:
    key = aliases.store.layout.aliases(NAME)
    await driver.write(key, b'{"aliases": {}, "owner": {"team": "pricing"}}', expected=Expect.ABSENT)
    await aliases.move(NAME, "prod", "0.0")
    assert json.loads((await driver.read(key)).data)["owner"] == {"team": "pricing"}


async def test_aliases_are_neither_assets_nor_leftovers(aliases: Aliases, driver: Hooked, tmp_path: Path) -> None:
    async with AssetsManager(driver=driver, assets_dir=tmp_path / "cache") as manager:
        await manager.create_asset(tmp_path / "file", "team")
        for name in ("team", NAME):
            await manager.set_alias(name, "prod", "0.0")
        assert [asset.name async for asset in manager.list_assets()] == ["team", NAME]
        assert (await manager.plan_clean()).leftovers == ()
        assert (await manager.update_asset(tmp_path / "file", "team")).version == "0.1"
