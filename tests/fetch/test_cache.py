"""The bounded cache: what it lists, what it evicts, and how its limit is enforced."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from anyio import to_thread
from tools.factories import Files, ManagerFactory
from tools.inspection import contents, store_folder
from tools.interposer import Interposer

from aioassets import (
    AssetsManager,
    CachedVersion,
    InvalidSetting,
    LocalDriver,
    MemoryDriver,
    UsageError,
    VersionNotFound,
)
from aioassets.drivers.protocol import Expect
from aioassets.fetch import leases
from aioassets.fetch.entry import CacheEntry
from aioassets.testing import BytesSource

SIZE = 100
"""Bytes of each version."""
HOUR = 3600.0


@pytest.fixture
async def manager(memory: MemoryDriver, make_manager: ManagerFactory, files: Files) -> AssetsManager:
    """Return a manager whose store has the versions 0.0 to 0.4 of `model`."""
    manager = make_manager(memory)
    await manager.create_asset(files("0" * SIZE), "model")
    for number in range(1, 5):
        await manager.update_asset(files(str(number) * SIZE), "model")
    return manager


@pytest.fixture
def unused_for(tmp_path: Path) -> Callable[[str, float], None]:
    """Return a function that sets how many hours ago a version of `model` was last used."""

    def unused_for(version: str, hours: float) -> None:
        leases.settle()
        when = time.time() - hours * HOUR
        for path in (store_folder(tmp_path / "cache") / ".aioassets" / "model").glob(f"{version}.*"):
            os.utime(path, (when, when))

    return unused_for


async def fetch(manager: AssetsManager, *versions: str) -> None:
    for version in versions:
        await manager.fetch_asset(f"model:{version}")


def labels(versions: tuple[CachedVersion, ...] | list[CachedVersion]) -> list[str]:
    return [cached.version for cached in versions]


async def test_versions_of_all_stores_are_listed_without_a_bucket(
    manager: AssetsManager, make_manager: ManagerFactory, tree: Path, tmp_path: Path
) -> None:
    other = make_manager(LocalDriver(tmp_path / "other"))
    await other.create_asset(tree, "team/tree")
    whole = await other.fetch_asset("team/tree")
    await fetch(manager, "0.0")
    async with AssetsManager(assets_dir=tmp_path / "cache") as without_bucket:
        first, second = await without_bucket.cache.list()
        assert await without_bucket.cache.size() == first.size + second.size
    by_name = {cached.name: cached for cached in (first, second)}
    tree_size = sum(len(data) for data, _ in contents(tree).values() if data is not None)
    found = by_name["team/tree"]
    assert (found.path, found.size, found.held, found.partial) == (whole.path, tree_size, True, False)
    assert found.files == len([data for data, _ in contents(tree).values() if data is not None])
    assert found.store == f"{(tmp_path / 'other').as_uri()}/assets"
    assert datetime.now(UTC) - found.last_used < timedelta(minutes=5)
    assert (by_name["model"].size, by_name["model"].held) == (SIZE, False)


async def test_an_empty_cache_has_no_versions(tmp_path: Path) -> None:
    async with AssetsManager(assets_dir=tmp_path / "missing") as manager:
        assert await manager.cache.list() == []
        assert await manager.cache.size() == 0
        assert (await manager.cache.prune(limit=0)).removed == ()
    assert not (tmp_path / "missing").exists()


async def test_individual_files_are_listed_and_pruned(
    memory: MemoryDriver, make_manager: ManagerFactory, tree: Path, unused_for: Callable[..., None]
) -> None:
    manager = make_manager(memory)
    await manager.create_asset(tree, "model")
    part = (await manager.fetch_asset("model[weights]")).path
    (cached,) = await manager.cache.list()
    assert (cached.partial, cached.files, cached.size) == (True, 2, 3001)
    await manager.fetch_asset("model")
    partial, whole = sorted(await manager.cache.list(), key=lambda cached: not cached.partial)
    assert (partial.size, whole.partial) == (0, False)  # the files are hard links to those of the whole version
    await to_thread.run_sync(unused_for, "0.0", 5)
    pruned = await manager.cache.prune(limit=0)
    assert [cached.partial for cached in pruned.removed] == [True, False]
    assert not part.exists()
    assert await manager.cache.list() == []


async def test_the_least_recently_used_versions_are_pruned_first(
    manager: AssetsManager, unused_for: Callable[..., None]
) -> None:
    await fetch(manager, "0.0", "0.1", "0.2", "0.3")
    for version, hours in (("0.0", 3), ("0.1", 5), ("0.2", 2), ("0.3", 4)):
        await to_thread.run_sync(unused_for, version, hours)
    assert labels(await manager.cache.list()) == ["0.1", "0.3", "0.0", "0.2"]
    planned = await manager.cache.prune(limit=2 * SIZE, dry_run=True)
    assert (labels(planned.removed), planned.freed, planned.size) == (["0.1", "0.3"], 2 * SIZE, 2 * SIZE)
    assert await manager.cache.size() == 4 * SIZE
    assert await manager.cache.prune(limit="0.2kB") == planned
    assert labels(await manager.cache.list()) == ["0.0", "0.2"]


async def test_what_is_held_or_was_used_within_the_last_hour_is_kept(
    manager: AssetsManager, unused_for: Callable[..., None]
) -> None:
    held = await manager.fetch_asset("model:0.0")
    await fetch(manager, "0.1", "0.2")
    for version, hours in (("0.0", 9), ("0.1", 0.9), ("0.2", 1.1)):
        await to_thread.run_sync(unused_for, version, hours)
    pruned = await manager.cache.prune(limit=0)
    assert (labels(pruned.removed), labels(pruned.kept), pruned.size) == (["0.2"], ["0.0", "0.1"], 2 * SIZE)
    assert [cached.held for cached in pruned.kept] == [True, False]
    assert held.path.is_file()


async def test_a_fetch_from_the_cache_is_a_use(manager: AssetsManager, unused_for: Callable[..., None]) -> None:
    await fetch(manager, "0.0", "0.1")
    for version in ("0.0", "0.1"):
        await to_thread.run_sync(unused_for, version, 5)
    await fetch(manager, "0.0")
    assert labels((await manager.cache.prune(limit=0)).removed) == ["0.1"]


async def test_versions_are_pruned_by_the_time_since_their_last_use(
    manager: AssetsManager, unused_for: Callable[..., None]
) -> None:
    await fetch(manager, "0.0", "0.1", "0.2")
    for version, hours in (("0.0", 30), ("0.1", 20), ("0.2", 10)):
        await to_thread.run_sync(unused_for, version, hours)
    assert labels((await manager.cache.prune(unused_for=timedelta(days=1))).removed) == ["0.0"]
    both = await manager.cache.prune(unused_for=timedelta(hours=15), limit=0)
    assert labels(both.removed) == ["0.1", "0.2"]


async def test_pruning_needs_a_valid_limit(make_manager: ManagerFactory, memory: MemoryDriver) -> None:
    with pytest.raises(UsageError, match="without a limit"):
        await make_manager(memory).cache.prune()
    with pytest.raises(InvalidSetting, match="20GB"):
        await make_manager(memory).cache.prune(limit="much")
    assert (await make_manager(memory, cache_limit="1GB").cache.prune()).removed == ()


async def test_the_size_of_a_version_without_recorded_sizes_is_measured(
    memory: MemoryDriver, make_manager: ManagerFactory, unused_for: Callable[..., None]
) -> None:
    """Manifests of modelkit record no sizes."""
    for version in ("0.0", "0.1"):
        meta = {"push_date": "2024-01-01T00:00:00+00:00", "is_directory": False}
        await memory.upload(f"assets/model/{version}", BytesSource(b"x" * SIZE))
        await memory.write(f"assets/model/{version}.meta", json.dumps(meta).encode(), expected=Expect.ABSENT)
    await memory.write("assets/model.versions", b'{"versions": ["0.1", "0.0"]}', expected=Expect.ABSENT)
    manager = make_manager(memory, cache_limit=SIZE)
    await fetch(manager, "0.0")
    assert await manager.cache.size() == SIZE
    await to_thread.run_sync(unused_for, "0.0", 5)
    await fetch(manager, "0.1")
    assert labels(await manager.cache.list()) == ["0.1"]


# Enforcing the limit


@pytest.fixture
def limited(manager: AssetsManager, memory: MemoryDriver, make_manager: ManagerFactory) -> AssetsManager:
    """Return a manager with a limit of three versions."""
    return make_manager(memory, cache_limit=3 * SIZE)


async def test_a_download_evicts_what_would_exceed_the_limit(
    limited: AssetsManager, unused_for: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    await fetch(limited, "0.0", "0.1", "0.2")
    for version, hours in (("0.0", 3), ("0.1", 5), ("0.2", 4)):
        await to_thread.run_sync(unused_for, version, hours)
    await fetch(limited, "0.0")
    assert await limited.cache.size() == 3 * SIZE
    with caplog.at_level(logging.INFO, "aioassets.fetch"):
        await fetch(limited, "0.3")
    assert sorted(labels(await limited.cache.list())) == ["0.0", "0.2", "0.3"]
    assert [record.levelname for record in caplog.records] == ["INFO"]
    assert caplog.records[0].getMessage().startswith("Evicted model:0.1 from '")


async def test_a_limit_never_fails_a_fetch(
    limited: AssetsManager, make_manager: ManagerFactory, memory: MemoryDriver, caplog: pytest.LogCaptureFixture
) -> None:
    held = [await limited.fetch_asset(f"model:0.{number}") for number in range(3)]
    fetched = await limited.fetch_asset("model:0.3")
    assert all(asset.path.is_file() for asset in (*held, fetched))
    (record,) = [record for record in caplog.records if record.levelname == "WARNING"]
    assert f"exceeds its limit of {3 * SIZE:,} bytes by {SIZE:,} bytes" in record.getMessage()
    larger = await make_manager(memory, cache_limit=SIZE - 1).fetch_asset("model:0.4")
    assert larger.path.is_file()


async def test_downloads_in_progress_count(
    limited: AssetsManager, memory: MemoryDriver, make_manager: ManagerFactory, unused_for: Callable[..., None]
) -> None:
    """Two fetches at the same time don't count the same free space."""
    await fetch(limited, "0.0", "0.1")
    for version in ("0.0", "0.1"):
        await to_thread.run_sync(unused_for, version, 5)
    downloading, may_go_on = asyncio.Event(), asyncio.Event()

    async def pause(moment: str, method: str, key: str) -> None:
        if (moment, method) == ("before", "read_range"):
            downloading.set()
            await may_go_on.wait()

    slow = make_manager(Interposer(memory, pause), cache_limit=3 * SIZE)
    async with asyncio.TaskGroup() as tasks:
        first = tasks.create_task(slow.fetch_asset("model:0.2"))
        await downloading.wait()
        assert await limited.cache.size() == 2 * SIZE
        second = await limited.fetch_asset("model:0.3")
        assert await limited.cache.size() == 2 * SIZE
        may_go_on.set()
    assert sorted(labels(await limited.cache.list())) == ["0.1", "0.2", "0.3"]
    assert first.result().path.is_file()
    assert second.path.is_file()


async def test_versions_are_evicted_before_the_free_space_is_checked(
    limited: AssetsManager, unused_for: Callable[..., None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    await fetch(limited, "0.0", "0.1", "0.2")
    for version in ("0.0", "0.1", "0.2"):
        await to_thread.run_sync(unused_for, version, 5)

    def free_bytes(_: Path) -> int:
        return 3 * SIZE - sum(path.stat().st_size for path in tmp_path.glob("cache/*/model/*"))

    monkeypatch.setattr("aioassets.fetch.staging.free_bytes", free_bytes)
    await fetch(limited, "0.3")
    assert await limited.cache.size() == 3 * SIZE


async def test_a_cached_fetch_evicts_nothing(limited: AssetsManager, make_manager: ManagerFactory) -> None:
    held = await limited.fetch_asset("model:0.0")
    tight = make_manager(MemoryDriver(), cache_limit=0)
    with pytest.raises(VersionNotFound):
        await tight.fetch_asset("model:0.0", offline=True)
    assert (await limited.fetch_asset("model:0.0", offline=True)).from_cache
    assert held.path.is_file()


async def test_an_eviction_that_fails_is_logged_and_the_fetch_goes_on(
    limited: AssetsManager,
    unused_for: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    await fetch(limited, "0.0", "0.1", "0.2")
    for version in ("0.0", "0.1", "0.2"):
        await to_thread.run_sync(unused_for, version, 5)
    rename = os.rename

    def refuse(source: Path, target: Path) -> None:
        if str(source).endswith("0.0"):
            raise PermissionError(13, "Permission denied")
        rename(source, target)

    monkeypatch.setattr(os, "rename", refuse)
    await fetch(limited, "0.3")
    assert sorted(labels(await limited.cache.list())) in (["0.0", "0.1", "0.3"], ["0.0", "0.2", "0.3"])
    assert "Cannot evict model:0.0" in caplog.text


async def test_a_version_that_another_process_changes_is_not_evicted(
    limited: AssetsManager, unused_for: Callable[..., None], tmp_path: Path
) -> None:
    await fetch(limited, "0.0")
    await to_thread.run_sync(unused_for, "0.0", 5)
    entry = CacheEntry(store_folder(tmp_path / "cache"), "model", "0.0")
    descriptor = await to_thread.run_sync(entry.try_lock)
    assert descriptor is not None
    assert labels((await limited.cache.prune(limit=0)).kept) == ["0.0"]
    await to_thread.run_sync(entry.unlock, descriptor)
    assert labels((await limited.cache.prune(limit=0)).removed) == ["0.0"]


# Many processes

PROCESSES = 8
VERSIONS = 10
ROUNDS = 12

FETCHING = """
import asyncio, random, sys
import aioassets.fetch.eviction
from aioassets import AssetsManager

store, cache, seed, limit, size, versions, rounds = sys.argv[1:3] + [int(arg) for arg in sys.argv[3:]]
aioassets.fetch.eviction.RECENT = 0.0

async def main():
    chosen = random.Random(seed)
    async with AssetsManager(store, assets_dir=cache, cache_limit=limit) as manager:
        held = []
        for _ in range(rounds):
            version = chosen.randrange(versions)
            held = held[-1:] * chosen.randrange(2)
            held.append((version, await manager.fetch_asset(f"model:0.{version}")))
            for number, fetched in held:
                with open(fetched.path / "file") as file:
                    assert file.read() == str(number) * size, number

asyncio.run(main())
"""


@pytest.mark.once
@pytest.mark.parametrize("locks", ["hold", "always succeed"])
async def test_eight_processes_keep_what_they_hold_and_the_limit(tmp_path: Path, locks: str) -> None:
    async with AssetsManager(tmp_path / "store", assets_dir=tmp_path / "cache") as manager:
        for number in range(VERSIONS + 1):
            source = tmp_path / f"source{number}"
            source.mkdir()
            (source / "file").write_text(str(number) * SIZE)
            await (manager.update_asset if number else manager.create_asset)(source, "model")
    (tmp_path / "fake").mkdir()
    if locks == "always succeed":
        (tmp_path / "fake" / "sitecustomize.py").write_text("import fcntl\nfcntl.flock = lambda *_: None\n")
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path / "fake"), *sys.path])}

    def start(seed: int) -> subprocess.Popen[str]:
        numbers = (seed, 3 * SIZE, SIZE, VERSIONS, ROUNDS)
        command = [sys.executable, "-c", FETCHING, str(tmp_path / "store"), str(tmp_path / "cache"), *map(str, numbers)]
        return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environ)

    processes = [start(seed) for seed in range(PROCESSES)]
    errors = [(await to_thread.run_sync(process.communicate))[1] for process in processes]
    assert [error for error in errors if "Error" in error] == []
    assert [process.returncode for process in processes] == [0] * PROCESSES

    # Nothing else is held any more, so the limit holds from the next download on. This process holds two versions.
    assert not (await to_thread.run_sync(start(PROCESSES).communicate))[1]
    async with AssetsManager(tmp_path / "store", assets_dir=tmp_path / "cache") as manager:
        found = await manager.cache.list()
        await manager.cache.prune(limit="1GB")
    payloads = list((tmp_path / "cache").rglob("file"))
    assert sum(path.stat().st_size for path in payloads) == sum(cached.size for cached in found) <= 3 * SIZE
    assert not list((tmp_path / "cache").rglob("*.evicting-*"))
    assert not list((tmp_path / "cache").rglob("*.lease-*"))
