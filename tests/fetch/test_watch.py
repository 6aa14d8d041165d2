"""Watches: each version that a spec refers to is yielded, in virtual time."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from tools.factories import Files, ManagerFactory
from tools.interposer import Interposer
from tools.steps import at_each_step, ended_at

from aioassets import AssetsManager, Driver, FetchedAsset, MemoryDriver, RetryPolicy, blocking
from aioassets.errors import (
    AccessDenied,
    AioAssetsError,
    AliasNotFound,
    AssetNotFound,
    DestinationOccupied,
    InvalidSetting,
    InvalidSpec,
    ManagerStateError,
    PartNotFound,
    StoreUnavailable,
    UsageError,
    VersionNotFound,
)
from aioassets.fetch import leases

pytestmark = pytest.mark.once

INTERVAL = 30.0
Action = Callable[[], Awaitable[object]]


class Over(BaseException):
    """Raised by the clock when a script is over."""


class Time:
    """Clock that runs a script: during each pause of a watch, the next action. After the last one, the watch ends.

    Attributes:
        now: the time in seconds.
        pauses: the lengths of the pauses in seconds.
    """

    def __init__(self, *script: Action | None) -> None:
        self.now = 0.0
        self.pauses: list[float] = []
        self.jitter: Callable[[], float] = lambda: 0.0
        self._script: Iterator[Action | None] = iter(script)

    @property
    def policy(self) -> RetryPolicy:
        return RetryPolicy(retry_for=0.0, sleep=self.sleep, clock=lambda: self.now, jitter=self.jitter)

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        await anyio.lowlevel.checkpoint()
        try:
            action = next(self._script)
        except StopIteration:
            raise Over from None
        if action is not None:
            await action()
        self.now += seconds


class World:
    """A store with one publisher, and watches of it."""

    def __init__(self, make_manager: ManagerFactory, files: Files) -> None:
        self.memory = MemoryDriver()
        self.driver = Interposer(self.memory)
        self.publisher = make_manager(self.memory)
        self.errors: list[Exception] = []
        self.on_error: Callable[[Exception], object] = self.errors.append
        self._make_manager = make_manager
        self._files = files

    def push(self, content: str = "x", *, major: bool = False, name: str = "model") -> Action:
        async def push() -> None:
            path = await asyncio.to_thread(self._files, content)
            await self.publisher.update_assets({name: path}, create_missing=True, bump_major=major)

        return push

    def alias(self, version: str) -> Action:
        return lambda: self.publisher.set_alias("model", "prod", version)

    def watch(self, spec: str, time: Time, **options: Any) -> AsyncGenerator[FetchedAsset, None]:
        manager = self._make_manager(self.driver, retry=time.policy)
        return manager.watch(spec, interval=INTERVAL, on_error=self.on_error, **options)

    async def seen(self, spec: str, *script: Action | None, **options: Any) -> list[tuple[float, str]]:
        """Return the versions that a watch yields while a script runs, each with the time."""
        time = Time(*script)
        found = []
        with contextlib.suppress(Over):
            async for fetched in self.watch(spec, time, **options):
                assert await asyncio.to_thread(fetched.path.exists)
                found.append((time.now, fetched.version))
        return found


@pytest.fixture
def world(make_manager: ManagerFactory, files: Files) -> World:
    return World(make_manager, files)


class TestVersions:
    async def test_the_present_version_comes_at_once_and_others_within_an_interval(self, world: World) -> None:
        await world.push()()
        seen = await world.seen("model", None, world.push(), None, world.push(major=True), None)
        assert seen == [(0.0, "0.0"), (60.0, "0.1"), (120.0, "1.0")]
        assert world.errors == []

    async def test_a_partial_version_follows_its_major(self, world: World) -> None:
        await world.push()()
        seen = await world.seen(
            "model:0",
            world.push(major=True),
            lambda: world.publisher.update_asset(Path(__file__), "model", major=0),
            None,
        )
        assert seen == [(0.0, "0.0"), (60.0, "0.1")]

    async def test_an_alias_follows_its_moves_in_both_directions(self, world: World) -> None:
        for _ in range(2):
            await world.push()()
        await world.alias("0.0")()
        seen = await world.seen("model@prod", world.push(), world.alias("0.2"), world.alias("0.1"))
        assert seen == [(0.0, "0.0"), (60.0, "0.2"), (90.0, "0.1")]

    async def test_a_part_is_watched_too(self, world: World, tree: Path) -> None:
        await world.publisher.create_asset(tree, "model")
        time = Time(lambda: world.publisher.update_asset(tree, "model"), None)
        with contextlib.suppress(Over):
            async for fetched in world.watch("model[run.sh]", time):
                assert fetched.path.name == "run.sh"
        assert len(time.pauses) == 3

    async def test_a_yanked_or_deleted_version_is_left_for_what_resolves_then(self, world: World) -> None:
        for _ in range(3):
            await world.push()()
        seen = await world.seen(
            "model",
            lambda: world.publisher.yank_version("model", "0.2", "bad"),
            lambda: world.publisher.delete_version("model", "0.1"),
            lambda: world.publisher.unyank_version("model", "0.2"),
        )
        assert seen == [(0.0, "0.2"), (30.0, "0.1"), (60.0, "0.0"), (90.0, "0.2")]

    async def test_an_exact_version_is_yielded_once_without_further_requests(self, world: World) -> None:
        await world.push()()
        time = Time()
        with contextlib.suppress(Over):
            async for fetched in world.watch("model:0.0", time):
                assert fetched.version == "0.0"
                world.driver.calls.clear()
        assert time.pauses == [INTERVAL]

        time = Time(None)
        with contextlib.suppress(Over):
            async for _ in world.watch("model:0.0", time):
                pass
        assert time.pauses == [INTERVAL, math.inf]
        assert world.driver.calls == []

    async def test_each_version_is_put_at_a_path_unless_changes_would_be_lost(
        self, world: World, tmp_path: Path
    ) -> None:
        await world.push("one")()
        path = tmp_path / "out" / "model"

        async def edit() -> None:
            await asyncio.to_thread(path.write_text, "edited")
            await world.push("two")()

        seen: dict[str, str] = {}
        with contextlib.suppress(Over):
            async for fetched in world.watch("model", Time(edit, lambda: anyio.Path(path).unlink(), None), to=path):
                assert fetched.path == path
                seen[fetched.version] = await anyio.Path(path).read_text()
        assert seen == {"0.0": "one", "0.1": "two"}
        assert list(map(type, world.errors)) == [DestinationOccupied]


async def test_a_move_of_an_alias_is_seen(driver: Driver, make_manager: ManagerFactory, files: Files) -> None:
    manager = make_manager(driver)
    for content in ("one", "two"):
        await manager.update_assets({"model": await asyncio.to_thread(files, content)}, create_missing=True)
    await manager.set_alias("model", "prod", "0.0")
    time = Time(None, lambda: manager.set_alias("model", "prod", "0.1"), None)
    found = []
    with contextlib.suppress(Over):
        async for fetched in make_manager(driver, retry=time.policy).watch("model@prod", interval=INTERVAL):
            found += [fetched.version]
    assert found == ["0.0", "0.1"]
    assert len(time.pauses) == 4


class TestCost:
    @pytest.mark.parametrize(("spec", "document"), [("model", "model.versions"), ("model@prod", "model.aliases")])
    async def test_an_idle_watch_sends_one_request_per_interval(self, world: World, spec: str, document: str) -> None:
        await world.push()()
        await world.alias("0.0")()

        async def forget() -> None:
            world.driver.calls.clear()

        assert len(await world.seen(spec, forget, *[None] * 9)) == 1
        assert world.driver.calls == [("stat", f"assets/{document}")] * 10

    async def test_pauses_are_shorter_by_up_to_the_jitter(self, world: World) -> None:
        await world.push()()
        time = Time(*[None] * 4)
        fractions = iter([0.0, 0.5, 0.25, 0.75, 0.0])
        time.jitter = lambda: next(fractions)
        with contextlib.suppress(Over):
            async for _ in world.watch("model", time, jitter=0.2):
                pass
        assert time.pauses == [30, 27, 28.5, 25.5, 30]

    async def test_time_that_the_consumer_takes_is_part_of_the_interval(self, world: World) -> None:
        await world.push()()
        time = Time(None)
        with contextlib.suppress(Over):
            async for _ in world.watch("model", time):
                time.now += 20
        assert time.pauses == [10, 30]


class TestErrors:
    async def test_an_outage_of_ten_minutes_ends_nothing(self, world: World) -> None:
        await world.push()()

        async def fail(moment: str, method: str, key: str) -> None:
            raise StoreUnavailable("memory://", "it is down.")

        async def begin() -> None:
            world.driver.hook = fail
            await world.push()()

        async def end() -> None:
            del world.driver.hook
            world.driver.hook = Interposer(world.memory).hook

        seen = await world.seen("model", begin, *[None] * 19, end, None)
        assert seen == [(0.0, "0.0"), (630.0, "0.1")]
        assert list(map(type, world.errors)) == [StoreUnavailable] * 20

    async def test_an_outage_at_the_start_is_waited_out(self, world: World) -> None:
        await world.push()()
        down = True

        async def fail(moment: str, method: str, key: str) -> None:
            if down:
                raise StoreUnavailable("memory://", "it is down.")

        async def end() -> None:
            nonlocal down
            down = False

        world.driver.hook = fail
        assert await world.seen("model", None, end) == [(60.0, "0.0")]

    @pytest.mark.parametrize(
        ("spec", "error"),
        [
            ("modle", AssetNotFound),
            ("model:3", VersionNotFound),
            ("model@prod", AliasNotFound),
            ("model[part]", PartNotFound),
            ("model[", InvalidSpec),
        ],
    )
    async def test_a_misspelt_spec_is_an_error_at_once(
        self, world: World, tree: Path, spec: str, error: type[AioAssetsError]
    ) -> None:
        await world.publisher.create_asset(tree, "model")
        with pytest.raises(error):
            await world.seen(spec)
        assert world.errors == []

    async def test_a_version_that_does_not_exist_yet_is_waited_for_on_demand(self, world: World) -> None:
        seen = await world.seen("model@prod", None, world.push(), None, world.alias("0.0"), wait=True)
        assert seen == [(120.0, "0.0")]
        assert list(map(type, world.errors)) == [AssetNotFound]
        calls = [call for call in world.driver.calls if call == ("stat", "assets/model.aliases")]
        assert len(calls) == 5

    async def test_an_alias_that_is_removed_is_reported_once_and_may_come_back(self, world: World) -> None:
        for _ in range(2):
            await world.push()()
        await world.alias("0.0")()
        seen = await world.seen(
            "model@prod", lambda: world.publisher.remove_alias("model", "prod"), None, None, world.alias("0.1")
        )
        assert seen == [(0.0, "0.0"), (120.0, "0.1")]
        assert list(map(type, world.errors)) == [AliasNotFound]

    async def test_a_version_that_is_damaged_is_tried_less_and_less_often(self, world: World) -> None:
        await world.push()()

        async def push_damaged() -> None:
            await world.push("new content")()
            await world.memory.delete(["assets/model/0.1"])

        attempts: list[float] = []
        time = Time(push_damaged, *[None] * 30, world.push("good"), None)
        seen: dict[str, float] = {}
        world.on_error = lambda error: attempts.append(time.now / INTERVAL)
        with contextlib.suppress(Over):
            async for fetched in world.watch("model", time):
                seen[fetched.version] = time.now / INTERVAL
        assert attempts == [1, 2, 4, 8, 16]
        assert seen == {"0.0": 0, "0.2": 32}

    async def test_an_exception_of_the_handler_ends_the_watch(self, world: World) -> None:
        await world.push()()

        def stop(error: Exception) -> None:
            raise RuntimeError("stop")

        async def fail(moment: str, method: str, key: str) -> None:
            raise AccessDenied("memory://", "read", "No.")

        async def begin() -> None:
            world.driver.hook = fail

        world.on_error = stop
        with pytest.raises(RuntimeError, match="stop"):
            await world.seen("model", begin)

    @pytest.mark.parametrize(
        "options",
        [{"interval": 0}, {"interval": "30"}, {"interval": math.inf}, {"jitter": 2}, {"jitter": -1}, {"on_error": 7}],
    )
    async def test_wrong_arguments_are_usage_errors(self, world: World, options: dict[str, Any]) -> None:
        with pytest.raises(UsageError, match=f"{next(iter(options))} must be"):
            await anext(world.publisher.watch("model", **options))

    async def test_an_asynchronous_handler_is_refused(self, world: World) -> None:
        async def handle(error: Exception) -> None:
            """Do nothing."""

        with pytest.raises(UsageError, match="on_error must be a plain function"):
            await anext(world.publisher.watch("model", on_error=handle))

    async def test_it_needs_the_store(self, make_manager: ManagerFactory, tmp_path: Path) -> None:
        async with AssetsManager(assets_dir=tmp_path / "cache") as manager:
            with pytest.raises(InvalidSetting, match="No bucket is set"):
                await anext(manager.watch("model"))
        with pytest.raises(InvalidSetting, match="Turn offline mode off"):
            await anext(make_manager(MemoryDriver(), offline=True).watch("model"))


class TestEnds:
    async def test_closing_the_manager_ends_a_pause(self, world: World) -> None:
        await world.push()()
        watch = world.publisher.watch("model")
        await anext(watch)
        following = asyncio.ensure_future(anext(watch))
        await asyncio.sleep(0)
        await world.publisher.aclose()
        with pytest.raises(ManagerStateError, match="closed"):
            await following

    async def test_the_previous_version_is_held_until_the_next_is_asked_for(self, world: World) -> None:
        async def held() -> int:
            await asyncio.to_thread(leases.settle)
            return sum(cached.held for cached in await world.publisher.cache.list())

        await world.push()()
        watch = world.watch("model", Time(world.push(), None))
        await anext(watch)
        assert await held() == 1
        await anext(watch)
        assert await held() == 2
        with pytest.raises(Over):
            await anext(watch)
        await watch.aclose()
        assert await held() == 0

    async def test_a_watch_that_is_cancelled_at_any_step_leaves_nothing(self, world: World) -> None:
        await world.push()()

        async def cancel(nth: int) -> Any:
            time = Time(world.push(f"{nth}"))

            async def follow() -> None:
                async with contextlib.aclosing(world.watch("model", time)) as watch:
                    await anext(watch)
                    await anext(watch)

            outcome = await ended_at(nth, follow)
            assert not outcome.left
            assert (await world.publisher.fetch_asset("model")).verified
            return outcome

        await at_each_step(cancel)


def test_the_blocking_manager_iterates_over_versions(tmp_path: Path, files: Files) -> None:
    with blocking.AssetsManager(tmp_path / "store", assets_dir=tmp_path / "cache") as manager:
        manager.create_asset(files("one"), "model")
        found = []
        for fetched in manager.watch("model", interval=0.01):
            found.append(fetched.version)
            if len(found) == 2:
                break
            manager.update_asset(files("two"), "model")
    assert found == ["0.0", "0.1"]


async def test_closing_a_blocking_manager_ends_its_watches(tmp_path: Path, files: Files) -> None:
    manager = blocking.AssetsManager(tmp_path / "store", assets_dir=tmp_path / "cache")
    await asyncio.to_thread(manager.create_asset, files("one"), "model")
    watch = manager.watch("model", interval=1000)
    await asyncio.to_thread(next, watch)
    following = asyncio.ensure_future(asyncio.to_thread(next, watch))
    await asyncio.to_thread(manager.close)
    with pytest.raises(ManagerStateError):
        await following
