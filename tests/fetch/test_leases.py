"""Leases: what a process holds isn't evicted, and what it no longer holds can be."""

from __future__ import annotations

import copy
import os
import pickle
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from anyio import to_thread
from tools.factories import ManagerFactory
from tools.inspection import store_folder

from aioassets import AssetsManager, FetchedAsset, MemoryDriver
from aioassets.fetch import leases
from aioassets.fetch.entry import CacheEntry
from aioassets.fetch.usage import LEASE_LASTS

DAY = 24 * 3600.0


@pytest.fixture
async def manager(memory: MemoryDriver, make_manager: ManagerFactory, tree: Path) -> AssetsManager:
    manager = make_manager(memory)
    await manager.create_asset(tree, "model")
    return manager


@pytest.fixture
def entry(tmp_path: Path) -> Callable[[], CacheEntry]:
    return lambda: CacheEntry(store_folder(tmp_path / "cache"), "model", "0.0")


def lease_files(entry: CacheEntry) -> list[Path]:
    return sorted(entry.record_file.parent.glob("*.lease-*"))


async def is_held(manager: AssetsManager) -> bool:
    (cached,) = await manager.cache.list()
    return cached.held


async def test_a_version_is_held_until_the_last_result_is_collected(manager: AssetsManager) -> None:
    first = await manager.fetch_asset("model:0.0")
    second = await manager.fetch_asset("model:0.0")
    assert await is_held(manager)
    del first
    assert await is_held(manager)
    del second
    assert not await is_held(manager)


async def test_closing_a_result_gives_up_its_own_share_only(manager: AssetsManager) -> None:
    first, second = [await manager.fetch_asset("model:0.0") for _ in range(2)]
    with first:
        assert await is_held(manager)
    assert await is_held(manager)
    second.close()
    second.close()
    assert not await is_held(manager)
    assert first.path.is_dir()


@pytest.mark.parametrize("make", [copy.copy, copy.deepcopy, lambda fetched: replace(fetched, part=None)])
async def test_a_copy_in_the_process_holds_the_version(
    manager: AssetsManager, make: Callable[[FetchedAsset], FetchedAsset]
) -> None:
    fetched = await manager.fetch_asset("model:0.0")
    copied = make(fetched)
    assert copied == fetched
    del fetched
    assert await is_held(manager)
    del copied
    assert not await is_held(manager)


async def test_a_pickled_result_is_equal_and_holds_nothing(manager: AssetsManager) -> None:
    fetched = await manager.fetch_asset("model:0.0")
    copied = pickle.loads(pickle.dumps(fetched))
    assert copied == fetched
    del fetched
    assert not await is_held(manager)
    copied.close()


async def test_a_part_holds_its_version(manager: AssetsManager) -> None:
    fetched = await manager.fetch_asset("model:0.0[weights]")
    (cached,) = await manager.cache.list()
    assert (cached.held, cached.partial) == (True, True)
    assert fetched.path.is_dir()


async def test_results_of_one_version_share_a_lease_and_fetches_write_nothing_more(
    manager: AssetsManager, entry: Callable[[], CacheEntry]
) -> None:
    fetched = [await manager.fetch_asset("model:0.0")]
    before = entry().record_file.parent.stat().st_mtime_ns
    fetched += [await manager.fetch_asset("model:0.0") for _ in range(3)]
    assert len(lease_files(entry())) == 1
    assert entry().record_file.parent.stat().st_mtime_ns == before


async def test_a_failed_fetch_leaves_no_lease(manager: AssetsManager, memory: MemoryDriver, tmp_path: Path) -> None:
    await memory.delete(["assets/model/0.0/weights/w.bin"])
    with pytest.raises(Exception, match=r"w\.bin"):
        await manager.fetch_asset("model:0.0")
    assert not list((tmp_path / "cache").rglob("0.0*"))


async def test_the_end_of_a_lease_is_the_last_use(manager: AssetsManager, entry: Callable[[], CacheEntry]) -> None:
    fetched = await manager.fetch_asset("model:0.0")
    old = time.time() - DAY
    for path in entry().record_file.parent.iterdir():
        os.utime(path, (old, old))
    (cached,) = await manager.cache.list()
    assert cached.last_used.timestamp() == pytest.approx(old, abs=1)
    del fetched
    (cached,) = await manager.cache.list()
    assert cached.last_used.timestamp() > old + DAY / 2
    assert lease_files(entry()) == []


async def test_the_end_of_a_lease_adds_no_file(manager: AssetsManager, entry: Callable[[], CacheEntry]) -> None:
    """Otherwise, a program that deletes its cache could find the folder not empty."""
    fetched = await manager.fetch_asset("model:0.0")
    before = set(entry().record_file.parent.iterdir())
    (lease,) = lease_files(entry())
    del fetched
    await to_thread.run_sync(leases.settle)
    assert set(entry().record_file.parent.iterdir()) == before - {lease}


async def test_a_use_is_recorded_after_an_eviction_deleted_the_file(
    manager: AssetsManager, entry: Callable[[], CacheEntry]
) -> None:
    fetched = await manager.fetch_asset("model:0.0")
    entry().own_path(".used").unlink()
    del fetched
    await to_thread.run_sync(leases.settle)
    assert entry().own_path(".used").exists()
    assert lease_files(entry()) == []


async def test_a_lost_lease_is_created_again(manager: AssetsManager, entry: Callable[[], CacheEntry]) -> None:
    fetched = [await manager.fetch_asset("model:0.0")]
    for again in (leases.renew, None):
        lease_files(entry())[0].unlink()
        assert not await is_held(manager)
        if again is None:
            fetched.append(await manager.fetch_asset("model:0.0"))
        else:
            await to_thread.run_sync(again)
        assert await is_held(manager)


async def test_a_lease_is_renewed(manager: AssetsManager, entry: Callable[[], CacheEntry]) -> None:
    fetched = await manager.fetch_asset("model:0.0")
    (lease,) = lease_files(entry())
    os.utime(lease, (0, 0))
    await to_thread.run_sync(leases.renew)
    assert lease.stat().st_mtime > DAY
    assert fetched.path.is_dir()


def lease_of(machine: str, entry: CacheEntry, age: float) -> Path:
    path = entry.own_path(f".lease-{machine}-1234-5678-0")
    path.touch()
    when = time.time() - age
    os.utime(path, (when, when))
    return path


async def test_a_lease_of_another_machine_lasts_for_a_day(
    manager: AssetsManager, entry: Callable[[], CacheEntry]
) -> None:
    await manager.fetch_asset("model:0.0")
    lease_of("0" * 32, entry(), LEASE_LASTS - 60)
    assert await is_held(manager)
    path = lease_of("0" * 32, entry(), LEASE_LASTS + 60)
    assert not await is_held(manager)
    await manager.cache.prune(limit="1TB")
    assert not path.exists()


HOLDING = """
import asyncio, os, sys
from aioassets import AssetsManager

async def main():
    async with AssetsManager(sys.argv[1], assets_dir=sys.argv[2]) as manager:
        fetched = await manager.fetch_asset("model:0.0")
    print("held", flush=True)
    sys.stdin.readline()

asyncio.run(main())
"""


@pytest.mark.parametrize("killed", [False, True])
async def test_a_lease_of_another_process_ends_with_it(
    make_manager: ManagerFactory, tree: Path, tmp_path: Path, killed: bool
) -> None:
    async with AssetsManager(tmp_path / "store", assets_dir=tmp_path / "cache") as manager:
        await manager.create_asset(tree, "model")
        command = [sys.executable, "-c", HOLDING, str(tmp_path / "store"), str(tmp_path / "cache")]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
            assert await is_held(manager)
            if killed:
                process.kill()
            else:
                process.communicate("\n")
        entry = CacheEntry(store_folder(tmp_path / "cache"), "model", "0.0")
        assert len(lease_files(entry)) == killed
        assert not await is_held(manager)
        await manager.cache.prune(limit="1TB")
        assert lease_files(entry) == []
        assert entry.own_path(".used").exists()


FORKED = """
import gc, os, sys
from aioassets.blocking import AssetsManager

def held():
    with AssetsManager(assets_dir=sys.argv[2]) as manager:
        return [cached.held for cached in manager.cache.list()]

with AssetsManager(sys.argv[1], assets_dir=sys.argv[2]) as manager:
    fetched = manager.fetch_asset("model:0.0")
if not (child := os.fork()):
    del fetched
    gc.collect()
    print(held(), flush=True)
    with AssetsManager(sys.argv[1], assets_dir=sys.argv[2]) as manager:
        own = manager.fetch_asset("model:0.0")
    print(held(), flush=True)
    os._exit(0)
os.waitpid(child, 0)
print(held(), flush=True)
del fetched
print(held())
"""


async def test_a_forked_process_does_not_end_the_leases_of_its_parent(tree: Path, tmp_path: Path) -> None:
    async with AssetsManager(tmp_path / "store", assets_dir=tmp_path / "elsewhere") as manager:
        await manager.create_asset(tree, "model")
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORKED]
    paths = [str(tmp_path / "store"), str(tmp_path / "cache")]
    done = subprocess.run([*command, *paths], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.splitlines() == ["[True]", "[True]", "[True]", "[False]"]
