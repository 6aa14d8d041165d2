"""One assets directory shared by several processes and event loops."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import pytest
from tools.factories import Files
from tools.inspection import contents, store_folder, without_uses
from tools.interposer import Interposer

from aioassets import AssetsManager, FetchedAsset, LocalDriver
from aioassets.drivers.protocol import Expect
from aioassets.fetch.entry import CacheEntry
from aioassets.runtime.threads import in_thread

pytestmark = pytest.mark.once

FETCHER: Final = Path(__file__).with_name("fetcher.py")
PATIENCE: Final = 60
"""Seconds after which a test stops waiting and fails."""


class Fetcher:
    """Process that fetches in step with the test."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    async def next_line(self) -> str:
        """Return its next line of output."""
        assert self.process.stdout is not None
        return (await asyncio.wait_for(self.process.stdout.readline(), PATIENCE)).decode().strip()

    def resume(self) -> None:
        """Let it continue."""
        assert self.process.stdin is not None
        self.process.stdin.write(b"\n")

    async def result(self) -> dict[str, Any]:
        """Return the report of its fetch."""
        return json.loads(await self.next_line())  # type: ignore[no-any-return]

    async def kill(self) -> None:
        """Kill it."""
        self.process.kill()
        await self.process.wait()


Start = Callable[..., Any]


@pytest.fixture
async def start(tmp_path: Path, tree: Path, files: Files) -> AsyncIterator[Start]:
    """Return a function that starts processes which fetch from a store with two versions of `model`."""
    async with AssetsManager(tmp_path / "store", assets_dir=tmp_path / "elsewhere") as manager:
        await manager.create_asset(tree, "model")
        await manager.update_asset(files("second"), "model")
    started: list[Fetcher] = []

    async def starting(spec: str, *args: str) -> Fetcher:
        process = await asyncio.create_subprocess_exec(
            *map(str, (sys.executable, FETCHER, tmp_path / "store", tmp_path / "cache", spec, *args)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        started.append(Fetcher(process))
        return started[-1]

    yield starting
    for fetcher in started:
        with contextlib.suppress(ProcessLookupError):
            fetcher.process.kill()
        await fetcher.process.communicate()


def objects(tree: Path) -> list[str]:
    """Return the keys that a fetch of all files reads. Empty files need no request."""
    return sorted(f"assets/model/0.0/{path}" for path, (data, _) in contents(tree).items() if data)


async def test_two_processes_download_a_version_once(start: Start, tree: Path) -> None:
    """The second one waits for the first, and uses its files."""
    first = await start("model:0.0", "w.bin")
    assert await first.next_line() == "downloading"
    second = await start("model:0.0")
    assert await second.next_line() == "waiting"
    first.resume()
    done, waited = await first.result(), await second.result()
    assert (done["from_cache"], sorted(done["downloads"])) == (False, objects(tree))
    assert (waited["from_cache"], waited["downloads"]) == (True, [])
    assert contents(Path(waited["path"])) == contents(tree)


async def test_a_waiter_takes_over_from_a_process_that_was_killed(start: Start, tree: Path, tmp_path: Path) -> None:
    """It takes over at once, and uses no incomplete files."""
    first = await start("model:0.0", "w.bin")
    assert await first.next_line() == "downloading"
    second = await start("model:0.0")
    assert await second.next_line() == "waiting"
    await first.kill()
    taken = await second.result()
    assert (taken["from_cache"], sorted(taken["downloads"])) == (False, objects(tree))
    assert contents(Path(taken["path"])) == contents(tree)
    own = store_folder(tmp_path / "cache") / ".aioassets" / "model"
    assert without_uses(os.listdir(own)) == ["0.0.json"]


async def test_a_fetch_after_a_killed_process_starts_anew(start: Start, tree: Path, tmp_path: Path) -> None:
    """No process was waiting, so the staging folder is still there."""
    first = await start("model:0.0", "w.bin")
    assert await first.next_line() == "downloading"
    await first.kill()
    left = {
        path.name.partition("-")[0] for path in (store_folder(tmp_path / "cache") / ".aioassets" / "model").iterdir()
    }
    assert left == {"0.0.lock", "0.0.staging", "0.0.lease"}
    second = await (await start("model:0.0")).result()
    assert contents(Path(second["path"])) == contents(tree)
    own = store_folder(tmp_path / "cache") / ".aioassets" / "model"
    assert without_uses(os.listdir(own)) == ["0.0.json"]


async def test_fetches_of_different_versions_do_not_wait_for_each_other(start: Start) -> None:
    first = await start("model:0.0", "w.bin")
    assert await first.next_line() == "downloading"
    other = await (await start("model")).result()
    assert Path(other["path"]).read_text() == "second"
    first.resume()
    assert not (await first.result())["from_cache"]


async def test_a_forced_download_disturbs_no_reader(start: Start, tree: Path) -> None:
    """Cached files are served meanwhile, and an open file keeps its bytes."""
    path = Path((await (await start("model:0.0")).result())["path"])
    spoilt = path / "weights" / "w.bin"
    before = spoilt.stat()
    spoilt.write_bytes(b"s" * 3000)
    os.utime(spoilt, ns=(before.st_atime_ns, before.st_mtime_ns))  # so that it seems unmodified, and is served
    forced = await start("model:0.0", "w.bin", "force")
    assert await forced.next_line() == "downloading"
    served = await (await start("model:0.0")).result()
    assert (served["from_cache"], served["path"]) == (True, str(path))
    with spoilt.open("rb") as reader:
        forced.resume()
        assert sorted((await forced.result())["downloads"]) == objects(tree)
        assert reader.read() == b"s" * 3000
    assert contents(path) == contents(tree)


async def test_a_part_is_served_from_the_whole_that_is_being_fetched(start: Start) -> None:
    whole = await start("model:0.0", "w.bin")
    assert await whole.next_line() == "downloading"
    part = await start("model:0.0[weights]")
    assert await part.next_line() == "waiting"
    whole.resume()
    path = (await whole.result())["path"]
    assert await part.result() == {"path": f"{path}/weights", "from_cache": True, "downloads": []}


async def test_the_whole_uses_a_part_that_is_being_fetched(start: Start, tree: Path) -> None:
    part = await start("model:0.0[weights]", "w.bin")
    assert await part.next_line() == "downloading"
    whole = await start("model:0.0")
    assert await whole.next_line() == "waiting"
    part.resume()
    first, rest = await part.result(), await whole.result()
    assert len(first["downloads"]) == 2
    assert sorted(first["downloads"] + rest["downloads"]) == objects(tree)
    assert contents(Path(rest["path"])) == contents(tree)


async def test_eight_processes_at_once_download_each_file_once(start: Start, tree: Path) -> None:
    """This holds for any order, and for different parts."""
    specs = ["model:0.0", "model:0.0[weights]", "model:0.0[weights/w.bin]", "model:0.0[.hidden]"]
    fetchers = [await start(spec) for spec in specs * 2]
    lines = [await fetcher.next_line() for fetcher in fetchers]
    results = [
        await fetcher.result() if line == "waiting" else json.loads(line)
        for fetcher, line in zip(fetchers, lines, strict=True)
    ]
    assert sorted(key for result in results for key in result["downloads"]) == objects(tree)
    for spec, result in zip(specs * 2, results, strict=True):
        path, relative = Path(result["path"]), spec.partition("[")[2].rstrip("]")
        expected = tree / relative
        if expected.is_dir():
            assert contents(path) == contents(expected)
        else:
            assert path.read_bytes() == expected.read_bytes()


async def test_two_event_loops_download_a_version_once(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each has its own thread and manager."""
    async with AssetsManager(tmp_path / "store", assets_dir=tmp_path / "elsewhere") as manager:
        await manager.create_asset(tree, "model")
    downloading, waiting = threading.Event(), threading.Event()
    try_lock = CacheEntry.try_lock

    def watched_try_lock(entry: CacheEntry) -> int | None:
        descriptor = try_lock(entry)
        if descriptor is None:
            waiting.set()
        return descriptor

    monkeypatch.setattr(CacheEntry, "try_lock", watched_try_lock)

    async def wait_for_the_other(moment: str, method: str, key: str) -> None:
        if (moment, method) == ("before", "read_range") and not downloading.is_set():
            downloading.set()
            assert await in_thread(waiting.wait, PATIENCE)

    async def fetch(driver: Interposer) -> FetchedAsset:
        async with AssetsManager(driver=driver, assets_dir=tmp_path / "cache") as manager:
            return await manager.fetch_asset("model:0.0")

    drivers = [Interposer(LocalDriver(tmp_path / "store"), wait_for_the_other) for _ in range(2)]
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(2) as threads:
        first = loop.run_in_executor(threads, lambda: asyncio.run(fetch(drivers[0])))
        assert await in_thread(downloading.wait, PATIENCE)
        second = loop.run_in_executor(threads, lambda: asyncio.run(fetch(drivers[1])))
        fetched = await asyncio.gather(first, second)
    assert [asset.from_cache for asset in fetched] == [False, True]
    downloads = [[key for method, key in driver.calls if method == "read_range"] for driver in drivers]
    assert [sorted(keys) for keys in downloads] == [objects(tree), []]
    assert contents(fetched[1].path) == contents(tree)


@pytest.mark.parametrize("specs", [["model:0.0"] * 3, ["model:0.0", "model:0.0[weights]", "model:0.0[.hidden]"]])
async def test_fetches_that_are_all_granted_the_lock_end_with_complete_files(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, specs: list[str]
) -> None:
    """Some network file systems grant every lock. All fetches download at the same time."""
    async with AssetsManager(tmp_path / "store", assets_dir=tmp_path / "elsewhere") as manager:
        await manager.create_asset(tree, "model")
    monkeypatch.setattr("aioassets.fetch.entry.fcntl.flock", lambda *_: None)
    downloading: set[int] = set()
    all_are = asyncio.Event()

    def meet(number: int) -> Callable[[str, str, str], Awaitable[None]]:
        async def hook(moment: str, method: str, key: str) -> None:
            if (moment, method) == ("before", "read_range"):
                downloading.add(number)
                if len(downloading) == len(specs):
                    all_are.set()
                await all_are.wait()

        return hook

    async def fetch(number: int) -> FetchedAsset:
        driver = Interposer(LocalDriver(tmp_path / "store"), meet(number))
        async with AssetsManager(driver=driver, assets_dir=tmp_path / "cache") as manager:
            return await manager.fetch_asset(specs[number])

    fetched = await asyncio.gather(*map(fetch, range(len(specs))))
    for asset in fetched:
        expected = tree / (asset.part or "")
        if expected.is_dir():
            assert contents(asset.path) == contents(expected)
        else:
            assert asset.path.read_bytes() == expected.read_bytes()
    async with AssetsManager(tmp_path / "store", assets_dir=tmp_path / "cache", offline=True) as manager:
        assert contents((await manager.fetch_asset("model:0.0", verify=True)).path) == contents(tree)
    own = store_folder(tmp_path / "cache") / ".aioassets" / "model"
    assert {*without_uses(os.listdir(own))} <= {"0.0.json", "0.0.parts", "0.0.parts.json"}


LOCK_HOLDER: Final = """
import asyncio, os, sys
from aioassets import LocalDriver
from aioassets.drivers.protocol import Expect

def hang(source, target):  # the store locks an object while it replaces its file
    print("held", flush=True)
    sys.stdin.readline()

os.replace = hang
asyncio.run(LocalDriver(sys.argv[1]).write("key", b"of the holder", expected=Expect.ANYTHING))
"""


async def test_a_store_is_not_locked_by_a_process_that_was_killed(tmp_path: Path) -> None:
    """The system releases the locks of a process that ends."""
    driver = LocalDriver(tmp_path / "store")
    revision = await driver.write("key", b"1", expected=Expect.ABSENT)
    holder = Fetcher(
        await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", LOCK_HOLDER, tmp_path / "store"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
    )
    assert await holder.next_line() == "held"
    writing = asyncio.ensure_future(driver.write("key", b"2", expected=revision))
    await holder.kill()
    await writing
    assert (await driver.read("key")).data == b"2"
