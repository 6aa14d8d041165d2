"""Full disks: calls fail with one clear error, free what they wrote, and succeed once there is space."""

from __future__ import annotations

import asyncio
import errno
import os
import resource
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tools.factories import Files, ManagerFactory
from tools.filesystems import MEBIBYTE, SmallDisk
from tools.inspection import contents, exists, keys
from tools.interposer import Interposer

from aioassets import CacheError, LocalDriver, MemoryDriver, PublicationUncertain, StoreError
from aioassets.errors import AioAssetsError
from aioassets.fetch.placement import Placement
from aioassets.runtime.threads import in_thread

NO_SPACE = r"No space left on device; free some disk space and try again\."


class At:
    """Hook that runs blocking work once, before the n-th call of one kind."""

    def __init__(self, method: str, ending: str, work: Callable[[], None], *, nth: int = 1) -> None:
        self._where = (method, ending)
        self._work = work
        self._calls_left = nth

    async def __call__(self, moment: str, method: str, key: str) -> None:
        if (moment, method) == ("before", self._where[0]) and key.endswith(self._where[1]):
            self._calls_left -= 1
            if self._calls_left == 0:
                await in_thread(self._work)


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """Return a directory with a file of several ranges and pieces."""
    folder = tmp_path / "large"
    folder.mkdir()
    for name, mebibytes in (("a", 9), ("b", 1)):
        (folder / name).write_bytes(os.urandom(mebibytes * MEBIBYTE))
    return folder


@pytest.fixture
def ready(small_disk: SmallDisk, memory: MemoryDriver, make_manager: ManagerFactory) -> Callable[..., Any]:
    """Return a factory of managers with their assets directory on a small disk, which the hook may fill."""

    def make(hook: Any = None) -> Any:
        driver = Interposer(memory, hook) if hook is not None else memory
        return make_manager(driver, assets_dir=small_disk.path / "cache")

    return make


# Fetching


async def test_a_download_larger_than_the_free_space_is_refused_before_it_starts(
    small_disk: SmallDisk, memory: MemoryDriver, make_manager: ManagerFactory, large: Path
) -> None:
    driver = Interposer(memory)
    manager = make_manager(driver, assets_dir=small_disk.path / "cache")
    await manager.create_asset(large, "model")
    small_disk.fill(leaving=5 * MEBIBYTE)
    driver.calls.clear()
    with pytest.raises(CacheError, match=r"model:0\.0 needs 10,485,760 bytes, but only [0-9,]+ are free; free some"):
        await manager.fetch_asset("model")
    assert "read_range" not in [method for method, _ in driver.calls]
    assert list(small_disk.path.rglob("*.staging*")) == []
    assert (await manager.fetch_asset("model[b]")).path.stat().st_size == MEBIBYTE
    small_disk.give_back()
    assert contents((await manager.fetch_asset("model")).path) == contents(large)


@pytest.mark.parametrize("source", ["tree", "large"])
async def test_a_disk_that_fills_up_while_fetching_fails_it_and_gets_its_room_back(
    small_disk: SmallDisk, ready: Callable[..., Any], request: pytest.FixtureRequest, source: str
) -> None:
    """Small files are written at once, large ones by ranges."""
    folder: Path = request.getfixturevalue(source)
    manager = ready(At("read_range", "", small_disk.fill))
    await manager.create_asset(folder, "model")
    with pytest.raises(CacheError, match=NO_SPACE):
        await manager.fetch_asset("model")
    assert not any((small_disk.path / "cache").glob("*/model"))
    assert left_in(small_disk.path / "cache") == ["stores"]
    small_disk.give_back()
    assert small_disk.free > small_disk.size - MEBIBYTE
    assert contents((await manager.fetch_asset("model")).path) == contents(folder)


async def test_a_disk_without_space_for_the_record_places_nothing(
    small_disk: SmallDisk, ready: Callable[..., Any], tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The record is written first, so that no payload is placed without one."""
    manager = ready()
    await manager.create_asset(tree, "model")
    place = Placement.place_version

    def on_full_disk(*args: Any) -> None:
        small_disk.fill()
        place(*args)

    monkeypatch.setattr(Placement, "place_version", on_full_disk)
    with pytest.raises(CacheError, match=NO_SPACE):
        await manager.fetch_asset("model")
    monkeypatch.undo()
    assert not any((small_disk.path / "cache").glob("*/model"))
    assert left_in(small_disk.path / "cache") == ["stores"]
    small_disk.give_back()
    fetched = await manager.fetch_asset("model")
    assert (fetched.from_cache, contents(fetched.path)) == (False, contents(tree))


async def test_a_part_that_does_not_fit_leaves_the_cached_parts(
    small_disk: SmallDisk, ready: Callable[..., Any], tree: Path
) -> None:
    manager = ready()
    await manager.create_asset(tree, "model")
    await manager.fetch_asset("model:0.0[weights]")
    full = ready(At("read_range", ".hidden", small_disk.fill))
    with pytest.raises(CacheError, match=NO_SPACE):
        await full.fetch_asset("model:0.0[.hidden]")
    assert (await full.fetch_asset("model:0.0[weights/w.bin]")).from_cache
    small_disk.give_back()
    assert (await full.fetch_asset("model:0.0[.hidden]")).path.read_text() == "hidden"


async def test_a_disk_without_free_inodes_is_reported_as_full(
    small_disk: SmallDisk, ready: Callable[..., Any], tree: Path
) -> None:
    """File systems report missing inodes as missing space."""
    manager = ready(At("read", "0.0.meta", small_disk.take_all_files))
    await manager.create_asset(tree, "model")
    with pytest.raises(CacheError, match=NO_SPACE):
        await manager.fetch_asset("model")
    small_disk.give_back()
    assert contents((await manager.fetch_asset("model")).path) == contents(tree)


# Pushing


@pytest.fixture
async def store(
    small_disk: SmallDisk, make_manager: ManagerFactory, files: Files
) -> tuple[LocalDriver, Callable[..., Any]]:
    """Return a store on a small disk with one version of `model`, and a factory of its managers."""
    driver = LocalDriver(small_disk.path / "store")

    def make(hook: Any = None) -> Any:
        return make_manager(Interposer(driver, hook) if hook is not None else driver)

    await make().create_asset(files("a"), "model")
    return driver, make


async def test_a_store_that_fills_up_in_the_middle_gets_its_room_and_its_number_back(
    small_disk: SmallDisk, store: tuple[LocalDriver, Callable[..., Any]], large: Path
) -> None:
    """Removing the content makes space for the claim that releases the number."""
    driver, make = store
    before = small_disk.free
    full = make(At("upload", "0.1/a", lambda: small_disk.fill(leaving=4 * MEBIBYTE)))
    with pytest.raises(StoreError, match=rf"Cannot use .*assets/model/0\.1/a: {NO_SPACE}"):
        await full.update_asset(large, "model")
    assert [key async for key in temporaries(driver)] == []
    assert await keys(driver) == ["assets/model.versions", "assets/model/0.0", "assets/model/0.0.meta", *NUMBER_KEPT]
    small_disk.give_back()
    assert before - small_disk.free <= MEBIBYTE
    assert await make().list_versions("model") == ["0.0"]
    assert (await make().update_asset(large, "model")).version == "0.1"
    assert contents((await make().fetch_asset("model")).path) == contents(large)


NUMBER_KEPT = ["assets/model/0.1.meta"]
"""The released claim, which the next push takes."""


@pytest.mark.parametrize(
    ("method", "ending", "nth"),
    [("write", "0.1.meta", 1), ("upload", "0.1/a", 1), ("write", "0.1.meta", 2)],
    ids=["claim", "content", "manifest"],
)
async def test_a_store_without_free_space_publishes_nothing(
    small_disk: SmallDisk,
    store: tuple[LocalDriver, Callable[..., Any]],
    large: Path,
    method: str,
    ending: str,
    nth: int,
) -> None:
    """The claim can't be released, so that the next push resumes it."""
    driver, make = store
    full = make(At(method, ending, small_disk.fill, nth=nth))
    with pytest.raises(StoreError, match=NO_SPACE):
        await full.update_asset(large, "model")
    assert [key async for key in temporaries(driver)] == []
    assert await make().list_versions("model") == ["0.0"]
    assert (await make().fetch_asset("model")).version == "0.0"
    with pytest.raises(AioAssetsError):
        await make().fetch_asset("model:0.1")
    small_disk.give_back()
    assert (await make().update_asset(large, "model")).version == "0.1"
    assert contents((await make().fetch_asset("model")).path) == contents(large)


async def test_a_store_without_space_for_the_index_keeps_a_version_that_the_next_push_lists(
    small_disk: SmallDisk, store: tuple[LocalDriver, Callable[..., Any]], files: Files
) -> None:
    """The version is complete, and can be fetched by its exact number."""
    _, make = store
    full = make(At("write", "model.versions", small_disk.fill))
    with pytest.raises(PublicationUncertain, match="No space left on device"):
        await full.update_asset(files("b"), "model")
    assert (await make().fetch_asset("model:0.1")).path.read_text() == "b"
    assert await make().list_versions("model") == ["0.0"]
    small_disk.give_back()
    await make().update_asset(files("c"), "model")
    assert await make().list_versions("model") == ["0.2", "0.1", "0.0"]


async def test_a_store_that_is_full_from_the_start_fails_a_push(
    small_disk: SmallDisk, store: tuple[LocalDriver, Callable[..., Any]], files: Files
) -> None:
    driver, make = store
    small_disk.fill()
    with pytest.raises(StoreError, match=NO_SPACE):
        await make().update_asset(files("b"), "model")
    assert not await exists(driver, "assets/model/0.1")
    small_disk.give_back()
    assert (await make().update_asset(files("b"), "model")).version == "0.1"


# Other errors


@pytest.fixture
def file_limit() -> Iterator[int]:
    """Limit the bytes that this process may write to one file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2 * MEBIBYTE, hard))
    yield 2 * MEBIBYTE
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def test_a_file_that_is_too_large_for_its_file_system_is_not_fetched(
    memory: MemoryDriver, make_manager: ManagerFactory, large: Path, tmp_path: Path, file_limit: int
) -> None:
    """A write fails halfway here even where no small disk can be mounted."""
    manager = make_manager(memory)
    await manager.create_asset(large, "model")
    with pytest.raises(CacheError, match="File too large; the file is larger than the file system or a process limit"):
        await manager.fetch_asset("model")
    assert not any((tmp_path / "cache").glob("*/model"))
    assert left_in(tmp_path / "cache") == ["stores"]


async def test_a_file_that_is_too_large_for_a_store_is_not_pushed(
    make_manager: ManagerFactory, large: Path, files: Files, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    driver = LocalDriver(tmp_path / "store")
    manager = make_manager(driver)
    await manager.create_asset(files("a"), "model")
    request.getfixturevalue("file_limit")
    with pytest.raises(StoreError, match=r"Cannot use .*0\.1/a: File too large"):
        await manager.update_asset(large, "model")
    assert [key async for key in temporaries(driver)] == []
    assert (await manager.update_asset(files("b"), "model")).version == "0.1"


FAULTS = [
    (errno.EDQUOT, "Disk quota exceeded; free some"),
    (errno.EIO, "Input/output error; the disk may be failing"),
    (errno.EMFILE, "Too many open files; raise the limit on open files"),
]


@pytest.mark.parametrize(("number", "message"), FAULTS)
async def test_other_disk_errors_name_their_cause(
    make_manager: ManagerFactory,
    files: Files,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    message: str,
) -> None:
    """System calls are replaced to fail like those of full quotas, broken disks and low limits."""
    driver = LocalDriver(tmp_path / "store")
    manager = make_manager(driver)
    await manager.create_asset(files("a"), "model")

    def fail(*args: object) -> int:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", fail)
        with pytest.raises(CacheError, match=message):
            await manager.fetch_asset("model")
    with monkeypatch.context() as patched:
        patched.setattr("aioassets.drivers.folder.Folder.append", fail)
        with pytest.raises(StoreError, match=message):
            await manager.update_asset(files("b"), "model")
    with monkeypatch.context() as patched:
        patched.setattr("aioassets.fetch.digests.digest_of_file", fail)
        await manager.fetch_asset("model")
        with pytest.raises(CacheError, match=message):
            await manager.fetch_asset("model", verify=True)
    assert (await manager.update_asset(files("b"), "model")).version == "0.1"
    assert (await manager.fetch_asset("model")).path.read_text() == "b"


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
async def test_a_cache_needs_no_locks_but_a_store_does(
    memory: MemoryDriver,
    make_manager: ManagerFactory,
    files: Files,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
) -> None:
    """Some network file systems have none."""

    def refuse(*args: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.flock", refuse)
    manager = make_manager(memory)
    await manager.create_asset(files("a"), "model")
    fetched = await asyncio.gather(*[make_manager(memory).fetch_asset("model") for _ in range(2)])
    assert [each.path.read_text() for each in fetched] == ["a", "a"]
    await manager.fetch_asset("model", force_download=True)
    await manager.cache.prune(limit="1TB")
    assert not list(tmp_path.rglob("*.lock"))
    with pytest.raises(StoreError, match=f"{os.strerror(number)}; the file system does not support"):
        await make_manager(LocalDriver(tmp_path / "store")).create_asset(files("a"), "model")


def left_in(assets_dir: Path) -> list[str]:
    """Return the top-level items of the own folder that hold files."""
    own = [folder for folder in assets_dir.rglob("*") if folder.name == ".aioassets"]
    return sorted(path.name for folder in own for path in folder.iterdir() if any_file(path))


def any_file(path: Path) -> bool:
    return path.is_file() or any(child.is_file() for child in path.rglob("*"))


async def temporaries(driver: LocalDriver) -> AsyncIterator[str]:
    """Yield the temporary files of a store."""
    async for upload in driver.open_uploads(""):
        yield upload.id
