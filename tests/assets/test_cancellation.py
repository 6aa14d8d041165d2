"""A call that is ended at any of its steps leaves nothing half-done, and nothing of its own."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import anyio.to_thread
import pytest
from factories import driver_at
from inspection import contents, exists, keys, store_of
from steps import WAYS, Ended, at_each_step, by_native_cancellation, ended_at

from aioassets import AssetNotFound, AssetsManager, Budget, Dispatcher, FetchedAsset, PushResult, VersionNotFound
from aioassets.concurrency import both
from aioassets.manifest import Claim, ClaimState
from aioassets.transfer import SMALL

Way = Callable[..., Any]
EndedAt = Callable[[int, Any, Way], Awaitable[Ended]]

AGAIN = partial(ended_at, again=True)
natively = pytest.mark.parametrize("place", ["memory", "local"], indirect=True)
in_every_way = pytest.mark.parametrize(
    ("place", "end", "way"),
    [
        *(pytest.param("memory", ended_at, way, id=f"memory-{way.__name__}") for way in WAYS),
        pytest.param("memory", AGAIN, by_native_cancellation, id="memory-again and again"),
        pytest.param("local", ended_at, by_native_cancellation, id="local-by_native_cancellation"),
        pytest.param("local", AGAIN, by_native_cancellation, id="local-again and again"),
    ],
    indirect=["place"],
)


@pytest.fixture
def at_work(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What threads of ours are doing."""
    working: list[Any] = []
    run = anyio.to_thread.run_sync

    def run_sync(work: Callable[..., Any], *args: Any, **options: Any) -> Any:
        def noted(*args: Any) -> Any:
            working.append(work)
            try:
                return work(*args)
            finally:
                working.remove(work)

        return run(noted, *args, **options)

    monkeypatch.setattr(anyio.to_thread, "run_sync", run_sync)
    return working


class World:
    """A store and a cache, a manager of both, and what they were before."""

    def __init__(self, place: dict[str, Any], folder: Path, at_work: list[Any]) -> None:
        self.budget = Budget()
        self.driver = driver_at(place, Dispatcher(self.budget))
        self.cache = folder / "cache"
        self.manager = AssetsManager(driver=self.driver, assets_dir=self.cache, cleanup_timeout=30.0)
        self.tree = folder / "source"
        self._folder = folder
        self._at_work = at_work
        self.tree.mkdir()
        (self.tree / "a").write_bytes(b"first")
        (self.tree / "b").write_bytes(b"x" * (SMALL + 1))  # is fetched by ranges

    async def left_nothing(self, outcome: Ended) -> None:
        """No task, thread, request, lock, descriptor or temporary file."""
        assert outcome.left == []
        assert self._at_work == []
        assert (self.budget.requests_in_flight, self.budget.bytes_in_flight) == (0, 0)
        manager = self.manager
        for kept in (manager._locks._turns._locks, manager._lister._turns._locks, manager._lister._gathering):
            assert kept == {}
        assert (manager._reservations._versions, manager._under_way) == ({}, set())
        assert [upload async for upload in self.driver.open_uploads("")] == []
        assert [path for path in self._folder.rglob("*") if path.suffix in (".staging", ".lock", ".tmp")] == []
        assert [target for target in descriptors() if target.startswith(str(self._folder))] == []

    def is_whole(self, fetched: FetchedAsset) -> None:
        """It is the tree that was pushed, or a file of it."""
        if fetched.part is None:
            assert contents(fetched.path) == contents(self.tree)
        else:
            assert fetched.path.read_bytes() == (self.tree / fetched.part).read_bytes()

    async def is_whole_or_absent(self, name: str, version: str) -> bool:
        """Whether a version is listed and whole; else nothing is left of it, and its number is free."""
        try:
            listed = await self.manager.list_versions(name)
        except AssetNotFound:
            listed = []
        if version in listed:
            self.is_whole(await self.manager.fetch_asset(f"{name}:{version}"))
            return True
        with pytest.raises((AssetNotFound, VersionNotFound)):
            await self.manager.fetch_asset(f"{name}:{version}")
        meta = f"assets/{name}/{version}.meta"
        assert [key for key in await keys(self.driver) if key.startswith(f"assets/{name}/{version}")] in ([], [meta])
        if await exists(self.driver, meta):
            content = (await store_of(self.driver).read_meta(name, version)).content
            assert isinstance(content, Claim)
            assert content.state is ClaimState.RELEASED
        return False


NewWorld = Callable[[int], World]


def descriptors() -> list[str]:
    """What the descriptors of this process are of."""
    found = []
    for number in os.listdir("/proc/self/fd"):
        try:
            found.append(os.readlink(f"/proc/self/fd/{number}"))
        except FileNotFoundError:  # that of the listing itself
            continue
    return found


@pytest.fixture
def new_world(place: dict[str, Any], tmp_path: Path, at_work: list[Any]) -> Callable[[int], World]:
    """Makes one for each step of a test."""

    def make(number: int) -> World:
        folder = tmp_path / str(number)
        (folder / "store").mkdir(parents=True)
        return World({**place, "path": str(folder / "store")}, folder, at_work)

    return make


@natively
async def test_a_creation_ended_at_any_step(new_world: NewWorld) -> None:
    """It is whole or nothing, from the first request to a new store, whose conditions are probed, to the last."""

    async def end_at(nth: int) -> Ended:
        world = new_world(nth)
        outcome = await ended_at(nth, lambda: world.manager.create_asset(world.tree, "model"))
        await world.left_nothing(outcome)
        published = await world.is_whole_or_absent("model", "0.0")
        assert published or outcome.cancelled
        next_one = world.manager.update_asset if published else world.manager.create_asset
        assert (await next_one(world.tree, "model")).version == ("0.1" if published else "0.0")
        world.is_whole(await world.manager.fetch_asset("model"))
        assert {key.split("/")[1] for key in await keys(world.driver)} == {"model", "model.versions"}
        return outcome

    await at_each_step(end_at)


@in_every_way
async def test_an_update_ended_at_any_step(new_world: NewWorld, end: EndedAt, way: Way) -> None:
    """It is whole or nothing, and burns no number, since it is known what each of its requests did."""

    async def end_at(nth: int) -> Ended:
        world = new_world(nth)
        await world.manager.create_asset(world.tree, "model")
        outcome = await end(nth, lambda: world.manager.update_asset(world.tree, "model"), way)
        await world.left_nothing(outcome)
        published = await world.is_whole_or_absent("model", "0.1")
        assert published or outcome.cancelled
        assert (await world.manager.update_asset(world.tree, "model")).version == ("0.2" if published else "0.1")
        world.is_whole(await world.manager.fetch_asset("model"))
        return outcome

    await at_each_step(end_at)


@natively
async def test_many_updates_ended_at_any_step(new_world: NewWorld) -> None:
    """Each of them is whole or nothing."""

    async def end_at(nth: int) -> Ended:
        world = new_world(nth)
        await world.manager.create_asset(world.tree, "a")
        assets = {"a": world.tree, "b": world.tree}
        outcome = await ended_at(nth, lambda: world.manager.update_assets(assets, create_missing=True))
        await world.left_nothing(outcome)
        updated, created = await world.is_whole_or_absent("a", "0.1"), await world.is_whole_or_absent("b", "0.0")
        assert outcome.cancelled or (updated and created)
        pushed = await world.manager.update_assets(assets, create_missing=True)
        assert pushed["a"].version == ("0.2" if updated else "0.1")
        assert pushed["b"].version == ("0.1" if created else "0.0")
        return outcome

    await at_each_step(end_at)


@in_every_way
async def test_a_fetch_ended_at_any_step(new_world: NewWorld, end: EndedAt, way: Way) -> None:
    """The cache serves all of it or nothing, and the next fetch works."""

    async def end_at(nth: int) -> Ended:
        world = new_world(nth)
        await world.manager.create_asset(world.tree, "model")
        outcome = await end(nth, lambda: world.manager.fetch_asset("model"), way)
        await world.left_nothing(outcome)
        with contextlib.suppress(AssetNotFound):
            world.is_whole(await world.manager.fetch_asset("model", offline=True, verify=True))
        world.is_whole(await world.manager.fetch_asset("model"))
        return outcome

    await at_each_step(end_at)


@natively
async def test_a_fetch_of_a_part_ended_at_any_step(new_world: NewWorld) -> None:
    """The cache serves the part or nothing, and the whole is whole after it."""

    async def end_at(nth: int) -> Ended:
        world = new_world(nth)
        await world.manager.create_asset(world.tree, "model")
        outcome = await ended_at(nth, lambda: world.manager.fetch_asset("model[a]"))
        await world.left_nothing(outcome)
        with contextlib.suppress(AssetNotFound):
            world.is_whole(await world.manager.fetch_asset("model[a]", offline=True, verify=True))
        world.is_whole(await world.manager.fetch_asset("model[a]"))
        world.is_whole(await world.manager.fetch_asset("model", verify=True))
        return outcome

    await at_each_step(end_at)


@pytest.mark.parametrize("option", ["force_download", "verify"])
@natively
async def test_a_fetch_of_what_is_cached_ended_at_any_step(new_world: NewWorld, option: str) -> None:
    """It stays cached."""

    async def end_at(nth: int) -> Ended:
        world = new_world(nth)
        await world.manager.create_asset(world.tree, "model")
        await world.manager.fetch_asset("model")
        outcome = await ended_at(nth, lambda: world.manager.fetch_asset("model", **{option: True}))
        await world.left_nothing(outcome)
        world.is_whole(await world.manager.fetch_asset("model", offline=True, verify=True))
        return outcome

    await at_each_step(end_at)


@natively
async def test_a_listing_ended_at_any_step(new_world: NewWorld) -> None:
    """Nothing of it is left."""
    world = new_world(0)
    for name in ("a", "b/c"):
        await world.manager.create_asset(world.tree, name)

    async def everything() -> None:
        assert [asset.name async for asset in world.manager.list_assets()] == ["a", "b/c"]
        assert await world.manager.list_versions("a") == ["0.0"]

    async def end_at(nth: int) -> Ended:
        outcome = await ended_at(nth, everything)
        await world.left_nothing(outcome)
        await everything()
        return outcome

    await at_each_step(end_at)


@natively
async def test_the_other_calls_of_a_manager_go_on(new_world: NewWorld) -> None:
    """Also those for the same asset and the same version."""

    async def end_at(nth: int) -> Ended:
        world = new_world(nth)
        await world.manager.create_asset(world.tree, "model")

        async def push_and_fetch() -> tuple[PushResult, FetchedAsset]:
            return await both(
                lambda: world.manager.update_asset(world.tree, "model"), lambda: world.manager.fetch_asset("model:0.0")
            )

        going_on = asyncio.ensure_future(push_and_fetch())
        outcome = await ended_at(nth, push_and_fetch)
        pushed, fetched = await going_on
        world.is_whole(fetched)
        await world.left_nothing(outcome)
        assert pushed.version in ("0.1", "0.2")
        assert await world.is_whole_or_absent("model", pushed.version)
        other = "0.1" if pushed.version == "0.2" else "0.2"
        assert await world.is_whole_or_absent("model", other) or outcome.cancelled
        return outcome

    await at_each_step(end_at)
