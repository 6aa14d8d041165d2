"""The blocking manager: same methods as the asynchronous one, callable from any thread without an event loop."""

from __future__ import annotations

import asyncio
import inspect
import io
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.from_thread import BlockingPortal

import aioassets
from aioassets import MemoryDriver
from aioassets.blocking import AssetsManager, Cache
from aioassets.drivers.protocol import Source, Uploaded
from aioassets.errors import AssetNotFound, ManagerStateError, OutOfThreads, UsageError
from aioassets.progress import Event

LOCAL = {"close": "aclose"}
"""Methods with another name than in the asynchronous manager."""
OTHER_RESULTS = {"open": "BlockingFile"}
"""Types of results that differ from those of the asynchronous manager."""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "file").write_text("data")
    return tmp_path / "source"


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[AssetsManager]:
    with AssetsManager(tmp_path / "store", assets_dir=tmp_path / "cache") as manager:
        yield manager


def loop_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("aioassets-loop")]


def test_it_pushes_lists_and_fetches(manager: AssetsManager, source: Path) -> None:
    assert manager.create_asset(source, "team/model").version == "0.0"
    assert manager.update_asset(source, "team/model", bump_major=True).version == "1.0"
    assert manager.list_versions("team/model") == ["1.0", "0.0"]
    assert [asset.name for asset in manager.list_assets()] == ["team/model"]
    assert (manager.fetch_asset("team/model").path / "file").read_text() == "data"


def test_errors_are_those_of_the_asynchronous_manager(manager: AssetsManager, source: Path) -> None:
    manager.create_asset(source, "team/model")
    with pytest.raises(AssetNotFound):
        manager.fetch_asset("other")


def test_it_has_all_public_methods_with_the_same_parameters() -> None:
    def methods(kind: type) -> dict[str, inspect.Signature]:
        return {
            name: inspect.signature(member)
            for name, member in vars(kind).items()
            if inspect.isroutine(member) and (not name.startswith("_") or name == "__init__")
        }

    expected = methods(aioassets.AssetsManager)
    for name, result in OTHER_RESULTS.items():
        expected[name] = expected[name].replace(return_annotation=result)
    assert methods(AssetsManager) == {name: expected[LOCAL.get(name, name)] for name in methods(AssetsManager)}
    assert expected.keys() == {LOCAL.get(name, name) for name in methods(AssetsManager)}


def test_its_cache_has_all_public_methods_with_the_same_parameters() -> None:
    def members(kind: type) -> dict[str, tuple[object, ...] | None]:
        public = {name: member for name, member in vars(kind).items() if not name.startswith("_")}
        return {
            name: (*inspect.signature(member).parameters.values(),) if inspect.isroutine(member) else None
            for name, member in public.items()
        }

    assert members(Cache) == members(aioassets.Cache)


def test_the_cache_is_listed_and_pruned(manager: AssetsManager, source: Path) -> None:
    manager.create_asset(source, "team/model")
    fetched = manager.fetch_asset("team/model")
    cache = manager.cache
    assert [(cached.name, cached.size, cached.held) for cached in cache.list()] == [("team/model", 4, True)]
    assert (cache.size(), cache.limit, cache.path) == (4, None, fetched.path.parents[2].parent)
    pruned = cache.prune(limit="0")
    assert ([cached.name for cached in pruned.kept], pruned.size) == (["team/model"], 4)


def test_several_threads_share_a_manager(manager: AssetsManager, source: Path) -> None:
    manager.create_asset(source, "team/model")
    with ThreadPoolExecutor(8) as threads:
        pushes = [threads.submit(manager.update_asset, source, "team/model") for _ in range(16)]
    assert {push.result().version for push in pushes} == {f"0.{number}" for number in range(1, 17)}


def test_it_works_inside_a_running_loop(manager: AssetsManager, source: Path) -> None:
    async def cell() -> str:
        return manager.create_asset(source, "team/model").version

    assert asyncio.run(cell()) == "0.0"


def test_managers_share_a_thread_that_ends_with_the_last_one(tmp_path: Path) -> None:
    assert not loop_threads()
    with AssetsManager(tmp_path / "store", assets_dir=tmp_path / "cache"):
        other = AssetsManager(tmp_path / "store", assets_dir=tmp_path / "cache")
        with other:
            assert len(loop_threads()) == 1
        assert len(loop_threads()) == 1
    assert not loop_threads()


def test_a_closed_manager_refuses_calls(tmp_path: Path) -> None:
    manager = AssetsManager(tmp_path / "store", assets_dir=tmp_path / "cache")
    manager.close()
    manager.close()
    with pytest.raises(ManagerStateError, match="closed"):
        manager.list_versions("team/model")
    with pytest.raises(ManagerStateError, match="closed"), manager:
        pass


def test_a_manager_that_is_closed_during_a_call_refuses_it(
    manager: AssetsManager, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its thread may have ended when the call reaches it."""
    manager.create_asset(source, "team/model")
    start = BlockingPortal.start_task_soon

    def close_first(portal: BlockingPortal, *args: Any, **options: Any) -> Any:
        monkeypatch.setattr(BlockingPortal, "start_task_soon", start)
        closing = threading.Thread(target=manager.close)
        closing.start()
        closing.join()
        return start(portal, *args, **options)

    monkeypatch.setattr(BlockingPortal, "start_task_soon", close_first)
    with pytest.raises(ManagerStateError, match="closed"):
        manager.list_versions("team/model")


def test_without_a_thread_the_error_says_so(
    manager: AssetsManager, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(OutOfThreads):
            manager.create_asset(source, "team/model")
    assert manager.create_asset(source, "team/model").version == "0.0"


def test_a_copy_needs_a_manager_of_the_target(manager: AssetsManager, source: Path) -> None:
    manager.create_asset(source, "model")
    with pytest.raises(UsageError, match="type str: pass the target's AssetsManager"):
        manager.copy_version("model", "s3://production")  # type: ignore[arg-type]


UNCLOSED = """
import os, sys
from aioassets.blocking import AssetsManager

manager = AssetsManager(sys.argv[1], assets_dir=sys.argv[2])
manager.create_asset(sys.argv[3], "model")
fetched = manager.fetch_asset("model")
listing = manager.list_assets()
next(listing)
if not (child := os.fork()):
    sys.exit()
assert os.waitpid(child, 0) == (child, 0)
print(fetched.path)
"""


def test_a_process_that_does_not_close_its_manager_exits(source: Path, tmp_path: Path) -> None:
    """So does a forked child, in which the thread doesn't exist."""
    place = [str(tmp_path / "store"), str(tmp_path / "cache"), str(source)]
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", UNCLOSED, *place]
    ended = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert ended.stdout.count("\n") == 1
    assert ended.stderr == ""


def test_a_progress_function_cannot_call_the_manager(manager: AssetsManager, source: Path) -> None:
    problems: list[Exception] = []

    def progress(event: Event) -> None:
        try:
            manager.list_versions("team/model")
        except ManagerStateError as error:
            problems.append(error)

    manager.create_asset(source, "team/model", progress=progress)
    assert "would wait for itself" in str(problems[0])


class Stuck(MemoryDriver):
    """Driver that interrupts the main thread during the first upload, and then waits until it is cancelled."""

    is_stuck = False

    async def upload(self, key: str, source: Source, **options: Any) -> Uploaded:
        if not self.is_stuck:
            self.is_stuck = True
            os.kill(os.getpid(), signal.SIGINT)
            await anyio.sleep_forever()
        return await super().upload(key, source, **options)


def test_an_interrupt_cancels_the_call_which_cleans_up(source: Path, tmp_path: Path) -> None:
    with AssetsManager(driver=Stuck(), assets_dir=tmp_path / "cache") as manager:
        with pytest.raises(KeyboardInterrupt):
            manager.create_asset(source, "team/model")
        # The first upload may still take effect, so its number isn't used again.
        assert manager.create_asset(source, "team/model").version == "0.1"


def test_the_items_of_an_iterator_are_fetched_as_needed(manager: AssetsManager, source: Path) -> None:
    for name in ("a", "b"):
        manager.create_asset(source, name)
    assets = manager.list_assets()
    assert next(assets).name == "a"
    assets.close()  # type: ignore[attr-defined]
    assert manager.list_versions("a") == ["0.0"]


class TestFiles:
    @pytest.fixture(autouse=True)
    def pushed(self, manager: AssetsManager, source: Path) -> bytes:
        content = bytes(range(256)) * 5000
        (source / "large").write_bytes(content)
        manager.create_asset(source, "model")
        return content

    def test_a_file_is_a_raw_binary_file(self, manager: AssetsManager, pushed: bytes) -> None:
        with manager.open("model[large]") as file:
            assert (file.name, file.version, file.path, file.size) == ("model", "0.0", "large", len(pushed))
            assert file.readable()
            assert file.seekable()
            assert not file.writable()
            assert file.read(5) == pushed[:5]
            assert file.seek(-3, os.SEEK_END) == len(pushed) - 3
            assert file.readall() == pushed[-3:]
            assert file.tell() == len(pushed)
            buffer = bytearray(4)
            assert file.seek(0) == file.readinto(buffer) - 4 == 0
            assert buffer == pushed[:4]
            assert file.read_ranges([(1, 3), (9, 12)]) == [pushed[1:3], pushed[9:12]]
        assert file.closed
        with pytest.raises(ValueError, match="closed"):
            file.read()

    def test_libraries_read_it_through_a_buffer(self, manager: AssetsManager, pushed: bytes) -> None:
        with io.BufferedReader(manager.open("model[large]")) as file:
            assert [file.read(1000) for _ in range(3)] == [pushed[:1000], pushed[1000:2000], pushed[2000:3000]]
            assert file.peek(1)[:1] == pushed[3000:3001]
            assert file.read() == pushed[3000:]
        with manager.open("model[file]") as text:
            assert io.TextIOWrapper(text).read() == "data"

    def test_whole_files_and_lists(self, manager: AssetsManager, pushed: bytes) -> None:
        assert manager.read("model[large]") == pushed
        assert [file.path for file in manager.list_files("model").files] == ["file", "large"]

    def test_a_closed_manager_has_closed_its_files(self, manager: AssetsManager) -> None:
        file = manager.open("model[large]")
        manager.close()
        with pytest.raises(ManagerStateError):
            file.read(1)
        file.close()
        assert file.closed

    def test_a_file_that_is_never_closed_does_no_harm(self, manager: AssetsManager) -> None:
        manager.open("model[large]").read(1)
        assert manager.list_versions("model") == ["0.0"]


FORKED = """
import os, sys
from aioassets import MemoryDriver
from aioassets.blocking import AssetsManager
from aioassets.drivers.protocol import Source, Uploaded
from aioassets.errors import ManagerStateError

manager = AssetsManager(sys.argv[1], assets_dir=sys.argv[2])
with manager:
    if not (child := os.fork()):
        try:
            manager.list_versions("team/model")
        except ManagerStateError as error:
            print(error, flush=True)
        manager.close()
        with AssetsManager(sys.argv[1], assets_dir=sys.argv[2]) as own:
            print(own.list_versions("team/model"), flush=True)
        os._exit(0)
    os.waitpid(child, 0)
    print(manager.list_versions("team/model"))
"""


def test_a_forked_process_needs_a_manager_of_its_own(manager: AssetsManager, source: Path, tmp_path: Path) -> None:
    manager.create_asset(source, "team/model")
    place = [str(tmp_path / "store"), str(tmp_path / "cache")]
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORKED, *place]
    printed = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.splitlines()
    assert "created before a fork" in printed[0]
    assert printed[1:] == ["['0.0']", "['0.0']"]
