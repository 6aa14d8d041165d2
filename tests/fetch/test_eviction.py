"""Evictions step by step: files that a fetch returned stay where they are while it is held, without any lock."""

from __future__ import annotations

import asyncio
import builtins
import itertools
import os
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest
from tools.turns import Turns, orders

from aioassets import AssetsManager, FetchedAsset, LocalDriver, VersionNotFound
from aioassets.fetch import leases
from aioassets.fetch.directory import all_evictions, all_recorded_versions
from aioassets.fetch.entry import CacheEntry
from aioassets.fetch.eviction import Eviction, end_interrupted
from aioassets.fetch.origin import all_folders
from aioassets.fetch.pruning import prune
from aioassets.runtime.threads import without_threads

pytestmark = pytest.mark.once

TEXT: Final = "text" * 1000
"""Content of each file, which is worth reading a record to reuse it."""
EVICTION: Final = 6
"""System calls of an eviction until the payload is gone: mkdir, rename, listdir, open, rename, unlink."""
STEPS: Final = ("rename", "replace", "link", "mkdir", "unlink", "rmdir", "open", "listdir")
"""System calls, before each of which a test may let another job go on."""


@pytest.fixture(autouse=True)
def no_blocking_calls() -> None:
    """Let fetches run with their event loop in one thread, so that their system calls can be ordered."""


@pytest.fixture
def on_step(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], None]], None]:
    """Return a function that sets a hook to call before each system call by which a cache is read or changed."""

    def install(hook: Callable[[], None]) -> None:
        for module, name in (*((os, name) for name in STEPS), (builtins, "open")):
            step: Callable[..., Any] = getattr(module, name)

            def hooked(*args: Any, step: Callable[..., Any] = step, **options: Any) -> Any:
                hook()
                return step(*args, **options)

            monkeypatch.setattr(module, name, hooked)

    return install


@pytest.fixture(autouse=True)
def no_recent_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aioassets.fetch.eviction.RECENT", -1.0)


@pytest.fixture(autouse=True)
def locks_that_always_succeed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fcntl.flock", lambda *_: None)


class Model:
    """A cache of `model:0.0`, from a store in a folder.

    Args:
        store: the folder of the store.
        cache: the assets directory.
        names: the paths of the version's files; an empty path for a file asset.
    """

    def __init__(self, store: Path, cache: Path, names: Sequence[str]) -> None:
        self.cache = cache
        self._store = store
        self._names = names
        self.part = "model:0.0" if names == ("",) else "model:0.0[sub]"

    def fetch(self, spec: str = "model:0.0", **options: Any) -> FetchedAsset:
        """Fetch a version, with a manager of its own, in the current thread."""

        async def fetch() -> FetchedAsset:
            driver = LocalDriver(self._store)
            async with AssetsManager(driver=driver, assets_dir=self.cache) as manager:
                return await manager.fetch_asset(spec, **options)

        with without_threads():
            return asyncio.run(fetch())

    def fetch_and_drop(self, **options: Any) -> None:
        """Fetch the version, and give it up at once."""
        self.fetch(**options)
        leases.settle()

    def entry(self) -> CacheEntry:
        """Return the entry of the version."""
        return CacheEntry(all_folders(self.cache)[0], "model", "0.0")

    def evict(self) -> bool:
        """Evict the version."""
        return Eviction.of(self.entry(), is_partial=False).run()

    def is_complete(self, fetched: FetchedAsset) -> bool:
        """Return whether all files of a fetched version are in place."""
        names = [name for name in self._names if fetched.part is None or name.startswith(fetched.part)]
        root = fetched.path if fetched.part is None else fetched.path.parent
        paths = (root / name if name else root for name in names)
        return [path.read_text() for path in paths if path.is_file()] == [TEXT] * len(names)

    def is_cached(self) -> bool:
        """Return whether the version is cached, which fetching it offline shows."""
        try:
            return self.is_complete(self.fetch(offline=True))
        except VersionNotFound:
            return False

    def left(self) -> list[Path]:
        """Return the folders of evictions."""
        return [folder for *_, folder in all_evictions(self.entry().root)]


@pytest.fixture(params=["directory", "file"])
def make_model(tmp_path: Path, request: pytest.FixtureRequest) -> Callable[[], Model]:
    """Return a function that makes caches that contain `model:0.0`, which nothing holds. Version 0.1 is equal to it."""
    names = ("a", "sub/b") if request.param == "directory" else ("",)
    for name in names:
        path = tmp_path / "source" / name if name else tmp_path / "source"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(TEXT)

    async def push() -> None:
        async with AssetsManager(tmp_path / "store", assets_dir=tmp_path / "cache", single_writer=True) as manager:
            await manager.create_asset(tmp_path / "source", "model")
            await manager.update_asset(tmp_path / "source", "model")

    with without_threads():
        asyncio.run(push())
    numbers = itertools.count()

    def make() -> Model:
        model = Model(tmp_path / "store", tmp_path / str(next(numbers)), names)
        model.fetch()
        leases.settle()
        return model

    return make


@pytest.fixture
def run(on_step: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Turns[Any]]:
    """Return a function that runs jobs in an order, and checks after each step that no job has lost its files."""
    turns: list[Turns[Any]] = []
    ending = threading.local()
    end = leases.LeaseFile.end

    def end_at_once(file: leases.LeaseFile) -> None:
        ending.is_ending = True  # under a lock of the process, for which the other jobs would wait
        end(file)
        ending.is_ending = False

    monkeypatch.setattr(leases.LeaseFile, "end", end_at_once)
    on_step(lambda: turns[-1].hook() if turns and not getattr(ending, "is_ending", False) else None)

    def run(model: Model, jobs: Sequence[Callable[[], Any]], order: Sequence[int]) -> Turns[Any]:
        turns.append(Turns(jobs))

        def look() -> None:
            for result in turns[-1].results.values():
                assert not isinstance(result, FetchedAsset) or model.is_complete(result), order

        turns[-1].run(order, look)
        return turns[-1]

    return run


def test_an_eviction_removes_the_version_and_nothing_is_left(make_model: Callable[[], Model]) -> None:
    model = make_model()
    assert model.evict()
    assert not model.is_cached()
    leases.settle()
    entry = model.entry()
    assert not os.path.lexists(entry.payload)
    assert os.listdir(entry.record_file.parent) == []
    assert not model.fetch().from_cache


def test_a_held_version_is_not_evicted(make_model: Callable[[], Model]) -> None:
    model = make_model()
    fetched = model.fetch()
    assert not model.evict()
    assert model.left() == []
    assert model.is_complete(fetched)
    assert model.is_cached()


def test_a_fetch_from_the_cache_beside_an_eviction_keeps_its_files_in_any_order(
    make_model: Callable[[], Model], run: Callable[..., Turns[Any]]
) -> None:
    outcomes = set()
    for order in orders(EVICTION, 4):
        model = make_model()
        turns = run(model, [model.evict, model.fetch], order)
        assert turns.errors == {}, order
        fetched = turns.results[1]
        assert model.is_complete(fetched), order
        assert not (turns.results[0] and fetched.from_cache and model.left()), order
        outcomes.add((turns.results[0], fetched.from_cache))
        assert model.is_cached(), order
    assert outcomes >= {(True, False), (False, True)}


def test_an_offline_fetch_beside_an_eviction_has_its_files_or_finds_nothing(
    make_model: Callable[[], Model], run: Callable[..., Turns[Any]]
) -> None:
    for order in orders(EVICTION, 4):
        model = make_model()
        turns = run(model, [model.evict, partial(model.fetch, offline=True)], order)
        if 1 in turns.results:
            assert model.is_complete(turns.results[1]), order
            assert turns.results[0] is False, order
        else:
            assert isinstance(turns.errors[1], VersionNotFound), order
            assert turns.results[0] is True, order


def test_two_evictions_end_with_one_that_has_evicted(
    make_model: Callable[[], Model], run: Callable[..., Turns[Any]]
) -> None:
    for order in orders(5, 5):
        model = make_model()
        turns = run(model, [model.evict, model.evict], order)
        assert turns.errors == {}, order
        assert sorted(turns.results.values()) == [False, True], order
        assert not model.is_cached()
        assert model.left() == []


JOBS: Final = {
    "evict": lambda model: model.evict(),
    "prune": lambda model: prune(model.cache, 0, None, dry_run=False),
    "fetch": lambda model: model.fetch(),
    "part": lambda model: model.fetch(model.part),
    "force": lambda model: model.fetch(force_download=True),
    "drop": lambda model: model.fetch_and_drop(),
    "force-drop": lambda model: model.fetch_and_drop(force_download=True),
}
"""Jobs that run beside each other. Those that drop the version don't hold it any longer."""


def random_orders(count: int, jobs: int) -> Iterator[list[int]]:
    """Yield orders in which a job often takes several steps in a row."""
    generator = random.Random(count)
    for _ in range(count):
        order: list[int] = []
        while len(order) < 40 * jobs:
            order += [generator.randrange(jobs)] * generator.choice([1, 1, 2, 3, 5, 8, 20])
        yield order


@pytest.mark.parametrize(
    "names",
    [
        ("evict", "force"),
        ("evict", "fetch", "evict"),
        ("evict", "drop", "fetch"),
        ("evict", "force", "fetch"),
        ("evict", "force-drop", "fetch"),
        ("prune", "drop", "fetch", "evict"),
        ("prune", "prune", "fetch"),
        ("evict", "drop", "prune", "fetch", "force"),
    ],
    ids=" ".join,
)
def test_fetches_and_evictions_in_random_orders_keep_what_is_held(
    make_model: Callable[[], Model], run: Callable[..., Turns[Any]], names: tuple[str, ...]
) -> None:
    for order in random_orders(60, len(names)):
        model = make_model()
        turns = run(model, [partial(JOBS[name], model) for name in names], order)
        assert turns.errors == {}, order
        for result in turns.results.values():
            assert not isinstance(result, FetchedAsset) or model.is_complete(result), order
        assert model.is_complete(model.fetch(verify=True)), order


@pytest.mark.parametrize("name", ["fetch", "part", "force"])
def test_an_eviction_that_pauses_anywhere_during_a_fetch_leaves_its_files_alone(
    make_model: Callable[[], Model], run: Callable[..., Turns[Any]], name: str
) -> None:
    for before in range(EVICTION + 4):
        model = make_model()
        turns = run(model, [model.evict, partial(JOBS[name], model)], [0] * before + [1] * 300)
        assert turns.errors == {}, before
        assert model.is_complete(turns.results[1]), before


def test_a_version_that_was_placed_again_during_an_eviction_is_kept_for_the_next_fetch(
    make_model: Callable[[], Model], run: Callable[..., Turns[Any]]
) -> None:
    """A fetch that began before the eviction places the version after its record was moved, and doesn't hold it."""
    for begun, looked in itertools.product(range(16, 60, 3), (1, 2, 3)):
        model = make_model()
        order = [1] * begun + [0] * 2 + [1] * 200 + [0] * looked + [2] * 200
        jobs = [model.evict, partial(model.fetch_and_drop, force_download=True), model.fetch]
        turns = run(model, jobs, order)
        assert turns.errors == {}, (begun, looked)
        assert model.is_complete(turns.results[2]), (begun, looked)


def test_a_fetch_that_reuses_a_version_has_its_files_wherever_that_is_evicted(
    make_model: Callable[[], Model], run: Callable[..., Turns[Any]]
) -> None:
    """The eviction begins after some steps of the fetch, and pauses after some of its own."""
    reused = set()
    for begun, paused in itertools.product(range(0, 70, 3), (3, 5, 7, 50)):
        model = make_model()
        jobs = [model.evict, partial(model.fetch, "model:0.1")]
        turns = run(model, jobs, [1] * begun + [0] * paused + [1] * 300)
        assert turns.errors == {}, (begun, paused)
        assert model.is_complete(turns.results[1]), (begun, paused)
        assert turns.results[0], (begun, paused)  # reusing a version isn't using it
        assert not model.is_cached(), (begun, paused)
        reused.add(turns.results[1].reused)
    assert {0, max(reused)} <= reused
    assert max(reused) > 0


def test_a_fetch_that_reuses_a_version_has_its_files_while_that_is_replaced_and_evicted(
    make_model: Callable[[], Model], run: Callable[..., Turns[Any]]
) -> None:
    jobs: Sequence[Callable[[Model], Any]] = (JOBS["force-drop"], JOBS["evict"], lambda model: model.fetch("model:0.1"))
    for order in random_orders(60, len(jobs)):
        model = make_model()
        turns = run(model, [partial(job, model) for job in jobs], order)
        assert turns.errors == {}, order
        assert model.is_complete(turns.results[2]), order
        assert model.is_complete(model.fetch("model:0.1", offline=True, verify=True)), order


class Killed(BaseException):
    """Stands for the end of the process."""


@pytest.mark.parametrize("offline", [False, True])
def test_an_eviction_that_is_killed_anywhere_leaves_the_version_or_nothing(
    make_model: Callable[[], Model], on_step: Callable[..., None], monkeypatch: pytest.MonkeyPatch, offline: bool
) -> None:
    cached = set()
    for number in range(EVICTION + 3):
        model = make_model()
        counter = itertools.count()
        with monkeypatch.context() as patched:

            def hook(counter: Iterator[int] = counter, number: int = number) -> None:
                if next(counter) >= number:
                    raise Killed

            for name in STEPS:
                step = getattr(os, name)
                patched.setattr(os, name, lambda *args, step=step, hook=hook, **kw: (hook(), step(*args, **kw))[1])
            with pytest.raises(Killed):
                model.evict()
        if offline:
            cached.add(model.is_cached())
        else:
            assert model.is_complete(model.fetch())
        end_interrupted(model.entry().root)
        assert model.left() == []
        leases.settle()
        prune(model.cache, 0, None, dry_run=False)
        assert all_recorded_versions(model.entry().root) == []
        assert not os.path.lexists(model.entry().payload)
    assert not offline or cached == {True, False}


def test_all_files_count_as_changed_while_an_eviction_has_the_record(make_model: Callable[[], Model]) -> None:
    """A fetch that has read the record before then verifies them, instead of failing."""
    entry = make_model().entry()
    assert entry.recorded_at() > 0
    os.rename(entry.record_file, entry.new_path(".evicting-"))
    assert entry.recorded_at() == 0


def test_a_prune_completes_what_another_one_left(make_model: Callable[[], Model]) -> None:
    model = make_model()
    entry = model.entry()
    folder = Eviction.of(entry, is_partial=False).folder
    folder.mkdir()
    os.rename(entry.record_file, folder / "record")
    os.rename(entry.payload, folder / "payload")
    prune(model.cache, 10**9, None, dry_run=False)
    assert model.left() == []
    assert not model.is_cached()


def test_an_eviction_on_a_file_system_without_hard_links_can_be_undone(
    make_model: Callable[[], Model], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make_model()
    fetched = model.fetch()

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    assert not model.evict()
    assert model.is_complete(fetched)
    assert model.is_cached()


def test_a_recent_use_that_was_not_there_when_the_eviction_began_saves_the_version(
    make_model: Callable[[], Model], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aioassets.fetch.eviction.RECENT", 3600.0)
    model = make_model()
    entry = model.entry()
    old = time.time() - 7200
    for path in entry.record_file.parent.iterdir():
        os.utime(path, (old, old))
    model.fetch()
    leases.settle()
    assert not model.evict()
    assert model.is_cached()
