"""Cancellation of calls at each step: nothing is left half-done, and no resource is left open."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import anyio.to_thread
import pytest
from anyio.lowlevel import checkpoint
from tools.factories import PART_SIZE, driver_at
from tools.inspection import contents, exists, kept_by, keys, store_of
from tools.interposer import Interposer
from tools.relay import TURNS, Clock, Exchange, Relay, settled
from tools.servers import GCSServer
from tools.steps import WAYS, Ended, at_each_step, by_native_cancellation, ended_at

from aioassets import (
    AssetNotFound,
    AssetsManager,
    Budget,
    Dispatcher,
    Event,
    FetchedAsset,
    PublicationUncertain,
    PushResult,
    TransferFinished,
    VersionNotFound,
)
from aioassets.model.claim import Claim, ClaimState
from aioassets.runtime.batches import SMALL
from aioassets.runtime.tasks import gather2

pytestmark = pytest.mark.once

Way = Callable[..., Any]
EndedAt = Callable[[int, Any, Way], Awaitable[Ended]]

CLEANUP = 30.0
"""Seconds that a cancelled push may take to clean up."""
PATIENCE = 30.0
"""Seconds after which a test stops waiting for an event and fails."""
SOON = 5.0
"""Seconds for a connection to close. Clients close idle connections after 12."""
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
    """Record the work that runs in the package's threads."""
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
    """A store, a cache, and a manager of both."""

    def __init__(self, place: dict[str, Any], folder: Path, at_work: list[Any]) -> None:
        self.budget = Budget()
        self.driver = driver_at(place, Dispatcher(self.budget))
        self.cache = folder / "cache"
        self.manager = AssetsManager(driver=self.driver, assets_dir=self.cache, cleanup_timeout=CLEANUP)
        self.tree = folder / "source"
        self._folder = folder
        self.at_work = at_work
        self.tree.mkdir()
        (self.tree / "a").write_bytes(b"first")
        (self.tree / "b").write_bytes(b"x" * (SMALL + 1))  # is fetched by ranges

    async def left_nothing(self, outcome: Ended) -> None:
        """Check that no task, thread, request, lock, descriptor or temporary file is left."""
        assert outcome.left == []
        assert self.at_work == []
        assert (self.budget.requests_in_flight, self.budget.bytes_in_flight) == (0, 0)
        assert kept_by(self.manager) == []
        assert [upload async for upload in self.driver.open_uploads("")] == []
        assert [path for path in self._folder.rglob("*") if re.search(r"\.(staging-.*|lock|tmp)$", path.name)] == []
        assert [target for target in descriptors() if target.startswith(str(self._folder))] == []

    def is_whole(self, fetched: FetchedAsset) -> None:
        """Check that a fetched payload equals the pushed tree, or the file of it."""
        if fetched.part is None:
            assert contents(fetched.path) == contents(self.tree)
        else:
            assert fetched.path.read_bytes() == (self.tree / fetched.part).read_bytes()

    async def is_whole_or_absent(self, name: str, version: str) -> bool:
        """Return whether a version is listed and whole. If not, check that its content is gone and its number free."""
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
    """Return the targets of this process's descriptors."""
    found = []
    for number in os.listdir("/proc/self/fd"):
        try:
            found.append(os.readlink(f"/proc/self/fd/{number}"))
        except FileNotFoundError:  # the descriptor of the listing itself
            continue
    return found


@pytest.fixture
def new_world(place: dict[str, Any], tmp_path: Path, at_work: list[Any]) -> Callable[[int], World]:
    """Return a function that makes a new world for each step."""

    def make(number: int) -> World:
        folder = tmp_path / str(number)
        (folder / "store").mkdir(parents=True)
        return World({**place, "path": str(folder / "store")}, folder, at_work)

    return make


@natively
async def test_a_creation_ended_at_any_step(new_world: NewWorld) -> None:
    """The version is whole or absent. The steps include the probe of a new store."""

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
    """The version is whole or absent. Its number can be used again, because the result of each request is known."""

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
async def test_a_copy_ended_at_any_step(new_world: NewWorld) -> None:
    """The copy is whole or absent, and its number is free. Copied by the store in memory, streamed in a folder."""

    async def end_at(nth: int) -> Ended:
        world = new_world(nth)
        await world.manager.create_asset(world.tree, "model")
        copy = partial(world.manager.copy_version, "model:0.0", world.manager, name="copy", alias="prod")
        outcome = await ended_at(nth, copy)
        await world.left_nothing(outcome)
        published = await world.is_whole_or_absent("copy", "0.0")
        assert published or outcome.cancelled
        again = await copy()
        assert (again.version, again.unchanged) == ("0.0", published)
        world.is_whole(await world.manager.fetch_asset("copy"))
        assert (await store_of(world.driver).read_aliases("copy")).table.target("prod") == "0.0"
        return outcome

    await at_each_step(end_at)


@natively
async def test_many_updates_ended_at_any_step(new_world: NewWorld) -> None:
    """Each version is whole or absent."""

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
    """The cache serves the whole version or nothing, and the next fetch succeeds."""

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
    """The cache serves the part or nothing, and a fetch of the whole version succeeds."""

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
    """The version stays cached."""
    options: dict[str, Any] = {option: True}

    async def end_at(nth: int) -> Ended:
        world = new_world(nth)
        await world.manager.create_asset(world.tree, "model")
        await world.manager.fetch_asset("model")
        outcome = await ended_at(nth, lambda: world.manager.fetch_asset("model", **options))
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
async def test_views_ended_at_any_step(new_world: NewWorld) -> None:
    """Nothing of them is left."""
    world = new_world(0)
    manager = world.manager
    await manager.create_asset(world.tree, "model")

    async def everything() -> None:
        assert (await manager.describe_asset("model")).version == "0.0"
        assert len(await manager.log_versions("model")) == 1
        assert (await manager.diff_versions("model", world.tree)).is_equal
        assert (await manager.update_asset(world.tree, "model", if_changed=True)).unchanged
        assert [asset.name async for asset in manager.list_assets(describe=True)] == ["model"]

    async def end_at(nth: int) -> Ended:
        outcome = await ended_at(nth, everything)
        await world.left_nothing(outcome)
        await everything()
        return outcome

    await at_each_step(end_at)


@natively
async def test_the_other_calls_of_a_manager_go_on(new_world: NewWorld) -> None:
    """Calls for the same asset and the same version go on, too."""

    async def end_at(nth: int) -> Ended:
        world = new_world(nth)
        await world.manager.create_asset(world.tree, "model")

        async def push_and_fetch() -> tuple[PushResult, FetchedAsset]:
            return await gather2(
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


@pytest.mark.parametrize("moment", ["before", "after"])
@natively
async def test_a_store_that_hangs_is_not_waited_for(new_world: NewWorld, moment: str) -> None:
    """The push ends in time, whichever call hangs, and whether or not that call took effect."""
    for nth in itertools.count(1):
        world = new_world(nth)
        await world.manager.create_asset(world.tree, "model")
        store = Hanging(moment, nth)
        impatient = AssetsManager(driver=Interposer(world.driver, store), assets_dir=world.cache, cleanup_timeout=0.01)
        push = asyncio.ensure_future(impatient.update_asset(world.tree, "model"))
        hangs = asyncio.ensure_future(store.reached.wait())
        before = asyncio.all_tasks()
        await asyncio.wait([push, hangs], return_when=asyncio.FIRST_COMPLETED)
        push.cancel()
        hangs.cancel()
        with contextlib.suppress(asyncio.CancelledError, PublicationUncertain):
            await push
        outcome = Ended()
        outcome.left = [*(asyncio.all_tasks() - before)]
        await world.left_nothing(outcome)
        try:
            world.is_whole(await world.manager.fetch_asset("model:0.1"))
        except VersionNotFound:
            assert await world.manager.list_versions("model") == ["0.0"]
        pushed = await world.manager.update_asset(world.tree, "model")
        for version in await world.manager.list_versions("model"):
            world.is_whole(await world.manager.fetch_asset(f"model:{version}"))
        assert pushed.version in await world.manager.list_versions("model")
        if not store.reached.is_set():
            return


class Hanging:
    """A hook that lets some calls pass and blocks all later ones."""

    def __init__(self, moment: str, nth: int) -> None:
        self._moment = moment
        self._left = nth
        self.reached = anyio.Event()

    async def __call__(self, moment: str, method: str, key: str) -> None:
        self._left -= moment == self._moment
        if self._left <= 0 and (moment == self._moment or self.reached.is_set()):
            self.reached.set()
            await anyio.sleep_forever()


# Stores on a server


SMALLEST_PARTS = {"s3": PART_SIZE, "azure": 256 * 1024, "gcs": 256 * 1024}
far_away = pytest.mark.parametrize(
    "place", [pytest.param(kind, marks=pytest.mark.servers) for kind in SMALLEST_PARTS], indirect=True
)


class Held:
    """A fault of the relay: the server handles the request, and the response waits."""

    def __init__(self) -> None:
        self.reached = anyio.Event()
        self.go_on = anyio.Event()

    async def __call__(self, exchange: Exchange) -> None:
        await exchange.forward()
        await exchange.dealt_with()
        self.reached.set()
        await self.go_on.wait()
        await exchange.answer()


class Remote:
    """A world whose store is on a server behind a relay."""

    def __init__(self, place: dict[str, Any], folder: Path, at_work: list[Any]) -> None:
        (server,) = re.findall(r"http://[\d.]+:\d+", str(place))
        self.relay = Relay(server)
        (folder / "world").mkdir()
        parts = SMALLEST_PARTS[place["kind"]]
        self.world = World({**self.relay.through(place), "part_size": parts}, folder / "world", at_work)
        (self.world.tree / "b").write_bytes(b"x" * (parts + 1))  # two parts
        self.other = folder / "other"
        self.other.mkdir()
        (self.other / "a").write_bytes(b"other")
        self._sessions = GCSServer(server).open_uploads if place["kind"] == "gcs" else lambda bucket: 0
        self._bucket = place.get("bucket", "")
        self.finished = False

    async def cancelled_at(self, nth: int, then: Callable[[Held], Awaitable[None]]) -> bool:
        """Cancel an update when its n-th request has arrived. Return whether it sent that many."""
        name, manager = f"model-{nth}", self.world.manager
        await manager.create_asset(self.other, name)
        self.finished = False
        held = Held()
        self.relay.heal()
        self.relay.inject(held, skip=nth - 1)
        before = asyncio.all_tasks()
        push = asyncio.ensure_future(manager.update_asset(self.world.tree, name, progress=self._report))
        reached = asyncio.ensure_future(held.reached.wait())
        await asyncio.wait([push, reached], return_when=asyncio.FIRST_COMPLETED)
        if reached.done():
            push.cancel()
            await then(held)
        reached.cancel()
        with contextlib.suppress(asyncio.CancelledError, PublicationUncertain):
            await push
        self.relay.heal()
        outcome = Ended()
        outcome.left = [*(asyncio.all_tasks() - before - {reached} - self.relay.handlers)]
        await self.world.left_nothing(outcome)
        return held.reached.is_set()

    def _report(self, event: Event) -> None:
        self.finished |= isinstance(event, TransferFinished)

    def open_sessions(self) -> int:
        """Return the number of open upload sessions on GCS, which `Driver.open_uploads` doesn't list."""
        return self._sessions(self._bucket)

    async def no_other_is_under_way(self) -> None:
        """Wait until all requests except the held one have been answered, and no request follows from them."""
        async with asyncio.timeout(PATIENCE):
            quiet = 0
            while quiet < TURNS:
                await checkpoint()
                is_busy = self.world.budget.requests_in_flight > 1 or self.world.at_work
                quiet = 0 if is_busy else quiet + 1

    async def no_connection_is_left(self) -> None:
        """Wait until all connections to the relay are closed."""
        async with asyncio.timeout(SOON):
            while self.relay.handlers:
                await checkpoint()


@pytest.fixture
async def remote(place: dict[str, Any], tmp_path: Path, at_work: list[Any]) -> AsyncIterator[Remote]:
    remote = Remote(place, tmp_path, at_work)
    async with remote.relay:
        yield remote
        await remote.world.manager.aclose()
        await remote.world.driver.aclose()


@far_away
async def test_closing_a_driver_while_cancelled_leaves_no_connection(remote: Remote) -> None:
    """The connections are closed although each further wait is cancelled."""
    await remote.world.manager.create_asset(remote.other, "model")
    with anyio.CancelScope() as scope:
        async with contextlib.aclosing(remote.world.driver):
            scope.cancel()
            await checkpoint()
    await remote.no_connection_is_left()


@pytest.mark.once
@far_away
async def test_a_push_cancelled_at_any_request_burns_no_number(remote: Remote) -> None:
    """Requests in flight complete, so their results are known. Everything is cleaned up, also multipart uploads."""

    async def go_on(held: Held) -> None:
        await settled()
        held.go_on.set()

    for nth in itertools.count(1):
        in_time = await remote.cancelled_at(nth, go_on)
        assert remote.open_sessions() == 0
        published = await remote.world.is_whole_or_absent(f"model-{nth}", "0.1")
        pushed = await remote.world.manager.update_asset(remote.other, f"model-{nth}")
        assert pushed.version == ("0.2" if published else "0.1")
        if not in_time:
            break
    assert published
    await remote.world.driver.aclose()
    await remote.no_connection_is_left()


@pytest.mark.once
@far_away
async def test_a_push_cancelled_at_any_request_that_hangs_ends_in_time(remote: Remote) -> None:
    """Its number may be burned, because the request's result is unknown. Nothing is left half-done or open."""
    world, clock = remote.world, Clock()

    async def time_passes(held: Held) -> None:
        await remote.no_other_is_under_way()
        # During uploads, half of the time is reserved for cleanup. Later, all of it is for listing.
        clock.skip(CLEANUP + 1 if remote.finished else CLEANUP / 2 + 1)

    for nth in itertools.count(1):
        in_time = await remote.cancelled_at(nth, time_passes)
        name = f"model-{nth}"
        if remote.finished:
            world.is_whole(await world.manager.fetch_asset(f"{name}:0.1"))
            assert (await world.manager.update_asset(remote.other, name)).version == "0.2"
            assert await world.manager.list_versions(name) == ["0.2", "0.1", "0.0"]
        else:
            with pytest.raises(VersionNotFound):
                await world.manager.fetch_asset(f"{name}:0.1")
            if await exists(world.driver, f"assets/{name}/0.1.meta"):
                content = (await store_of(world.driver).read_meta(name, "0.1")).content
                assert isinstance(content, Claim)
                assert content.state in (ClaimState.ABANDONED, ClaimState.RELEASED)
            # If the swap to abandoned got no response, the push may delete nothing more. `clean` does it.
            await world.manager.clean(await world.manager.plan_clean(name, older_than=timedelta(0)))
            assert [key for key in await keys(world.driver) if key.startswith(f"assets/{name}/0.1/")] == []
            assert (await world.manager.update_asset(remote.other, name)).version in ("0.1", "0.2")
            assert await world.manager.list_versions(name) in (["0.1", "0.0"], ["0.2", "0.0"])
        if not in_time:
            return
