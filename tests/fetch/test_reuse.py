"""Reuse of files of other cached versions: what a fetch downloads, and what it does with files it can't trust."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tools.factories import ManagerFactory
from tools.filesystems import MEBIBYTE, SmallDisk, with_reflinks
from tools.inspection import contents, store_folder
from tools.interposer import Interposer
from tools.steps import Ended, at_each_step, ended_at

from aioassets import AssetsManager, BytesTransferred, CacheError, Event, FileTransferred, MemoryDriver, TransferStarted
from aioassets.fetch import local_copy
from aioassets.fetch.bases import Base
from aioassets.runtime.threads import in_thread

LARGE = 3 * MEBIBYTE + 5
"""Size of a file that is cloned where the file system can."""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Make a directory with small and large files."""
    root = tmp_path / "source"
    (root / "sub").mkdir(parents=True)
    for name, size in {"large": LARGE, "small": 5000, "sub/small": 6000, "sub/changing": 7000}.items():
        (root / name).write_bytes(os.urandom(size))
    (root / "empty").touch()
    return root


class Store:
    """A store with two versions of `model`, which differ in `sub/changing`.

    Attributes:
        driver: the driver, which notes its calls.
        manager: a manager whose cache contains version 0.0.
        source: the files of version 0.1.
    """

    def __init__(self, driver: Interposer, manager: AssetsManager, source: Path) -> None:
        self.driver = driver
        self.manager = manager
        self.source = source

    def downloads(self) -> list[str]:
        """Return the files that were downloaded since the last call, sorted."""
        found = {key.partition("/0.1/")[2] for method, key in self.driver.calls if method == "read_range"}
        self.driver.calls.clear()
        return sorted(found)


@pytest.fixture
async def store(memory: MemoryDriver, make_manager: ManagerFactory, source: Path) -> Store:
    driver = Interposer(memory)
    manager = make_manager(driver)
    await manager.create_asset(source, "model")
    await manager.fetch_asset("model")
    (source / "sub/changing").write_bytes(os.urandom(7000))
    await manager.update_asset(source, "model")
    driver.calls.clear()
    return Store(driver, manager, source)


@pytest.fixture
def base(store: Store, tmp_path: Path) -> Path:
    """Return the cached files of version 0.0."""
    return store_folder(tmp_path / "cache") / "model" / "0.0"


async def test_only_changed_files_are_downloaded(store: Store) -> None:
    events: list[Event] = []
    fetched = await store.manager.fetch_asset("model", progress=events.append)
    assert contents(fetched.path) == contents(store.source)
    assert store.downloads() == ["sub/changing"]
    assert (fetched.version, fetched.from_cache, fetched.verified) == ("0.1", False, True)
    assert (fetched.downloaded, fetched.reused) == (7000, LARGE + 11_000)
    assert isinstance(events[0], TransferStarted)
    assert (events[0].files, events[0].nbytes) == (5, LARGE + 18_000)
    moved = [event for event in events if isinstance(event, BytesTransferred)]
    assert sum(event.nbytes for event in moved if not event.reused) == 7000
    assert sum(event.nbytes for event in moved if event.reused) == LARGE + 11_000
    reused = {event.path for event in events if isinstance(event, FileTransferred) and event.reused}
    assert reused == {"large", "small", "sub/small"}
    again = await store.manager.fetch_asset("model")
    assert (again.from_cache, again.downloaded, again.reused) == (True, 0, 0)


async def test_renamed_and_repeated_files_with_other_modes_are_reused(store: Store) -> None:
    (store.source / "large").rename(store.source / "sub/renamed")
    (store.source / "copy").write_bytes((store.source / "sub/small").read_bytes())
    (store.source / "small").chmod(0o755)
    await store.manager.update_asset(store.source, "model")
    store.driver.calls.clear()
    fetched = await store.manager.fetch_asset("model:0.2")
    assert [key for method, key in store.driver.calls if method == "read_range"] == ["assets/model/0.2/sub/changing"]
    assert contents(fetched.path) == contents(store.source)


async def test_a_file_asset_is_reused(memory: MemoryDriver, make_manager: ManagerFactory, source: Path) -> None:
    driver = Interposer(memory)
    manager = make_manager(driver)
    await manager.create_asset(source / "large", "model")
    await manager.fetch_asset("model")
    await manager.update_asset(source / "large", "model", message="the same")
    driver.calls.clear()
    fetched = await manager.fetch_asset("model")
    assert (fetched.version, fetched.reused) == ("0.1", LARGE)
    assert "read_range" not in {method for method, _ in driver.calls}
    assert fetched.path.read_bytes() == (source / "large").read_bytes()


async def test_parts_are_reused_and_reuse(store: Store, make_manager: ManagerFactory, tmp_path: Path) -> None:
    part = await store.manager.fetch_asset("model:0.1[sub]")
    assert (store.downloads(), part.reused) == (["sub/changing"], 6000)
    manager = make_manager(store.driver, assets_dir=tmp_path / "other")
    await manager.fetch_asset("model:0.0[large]")
    store.driver.calls.clear()
    fetched = await manager.fetch_asset("model:0.1")
    assert store.downloads() == ["small", "sub/changing", "sub/small"]
    assert contents(fetched.path) == contents(store.source)


async def test_a_forced_download_reuses_nothing(store: Store) -> None:
    fetched = await store.manager.fetch_asset("model", force_download=True)
    assert store.downloads() == ["large", "small", "sub/changing", "sub/small"]
    assert (fetched.downloaded, fetched.reused) == (LARGE + 18_000, 0)


async def test_a_damaged_file_is_replaced_by_that_of_another_version(store: Store) -> None:
    path = (await store.manager.fetch_asset("model")).path
    (path / "large").write_bytes(b"damage")
    store.driver.calls.clear()
    repaired = await store.manager.fetch_asset("model")
    assert (repaired.repaired, store.downloads()) == (("large",), [])
    assert contents(path) == contents(store.source)


async def test_a_change_of_one_version_does_not_show_in_the_other(store: Store, base: Path) -> None:
    fetched = await store.manager.fetch_asset("model")
    for name in ("large", "small"):
        with (base / name).open("r+b") as file:
            file.write(b"changed")
    assert contents(fetched.path) == contents(store.source)


async def test_no_record_is_read_for_less_than_its_size(
    store: Store, monkeypatch: pytest.MonkeyPatch, make_manager: ManagerFactory, tmp_path: Path
) -> None:
    monkeypatch.setattr(Base, "read", pytest.fail)
    (store.source / "tiny").write_bytes(b"tiny")
    await store.manager.update_asset(store.source, "model")
    assert (await store.manager.fetch_asset("model[tiny]")).reused == 0
    nothing_cached = make_manager(store.driver, assets_dir=tmp_path / "other")
    assert (await nothing_cached.fetch_asset("model")).reused == 0


async def test_a_few_records_are_read(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The most recent ones, until nothing is missing that could be worth another record."""
    for _ in range(5):
        (store.source / "large").write_bytes(os.urandom(LARGE))
        await store.manager.update_asset(store.source, "model")
        await store.manager.fetch_asset("model")
    read: list[str] = []
    original = Base.read

    def noting(base: Base) -> object:
        read.append(base.entry.version)
        return original(base)

    monkeypatch.setattr(Base, "read", noting)
    (store.source / "large").write_bytes(os.urandom(LARGE))
    await store.manager.update_asset(store.source, "model")
    await store.manager.fetch_asset("model")
    assert read == ["0.6", "0.5", "0.4"]


# Files that can't be reused


def damage(path: Path) -> None:
    """Flip a bit, as a failing disk does: size and times stay."""
    found = path.stat()
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))


def replace(path: Path, make: Callable[[Path], object]) -> None:
    path.unlink()
    make(path)


FAULTS: dict[str, Callable[[Path], object]] = {
    "damaged": damage,
    "truncated": lambda path: os.truncate(path, 4000),
    "longer": lambda path: os.truncate(path, LARGE + 1),
    "missing": Path.unlink,
    "link to nothing": lambda path: replace(path, lambda path: path.symlink_to("nowhere")),
    "link to itself": lambda path: replace(path, lambda path: path.symlink_to(path.name)),
    "link to a device": lambda path: replace(path, lambda path: path.symlink_to("/dev/zero")),
    "pipe": lambda path: replace(path, os.mkfifo),
    "folder": lambda path: replace(path, Path.mkdir),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
async def test_a_file_that_differs_is_downloaded(store: Store, base: Path, fault: Callable[[Path], object]) -> None:
    for name in ("large", "small"):
        fault(base / name)
    fetched = await store.manager.fetch_asset("model")
    assert store.downloads() == ["large", "small", "sub/changing"]
    assert contents(fetched.path) == contents(store.source)


async def test_a_link_to_the_same_content_is_reused_as_a_file(store: Store, base: Path, tmp_path: Path) -> None:
    (base / "large").rename(tmp_path / "elsewhere")
    (base / "large").symlink_to(tmp_path / "elsewhere")
    fetched = await store.manager.fetch_asset("model")
    assert store.downloads() == ["sub/changing"]
    assert not (fetched.path / "large").is_symlink()


@pytest.mark.parametrize("record", [b"", b"{}", None], ids=["empty", "no record", "unreadable"])
async def test_a_base_without_a_usable_record_is_no_base(
    store: Store, base: Path, monkeypatch: pytest.MonkeyPatch, record: bytes | None
) -> None:
    path = base.parent.parent / ".aioassets/model/0.0.json"
    if record is not None:
        path.write_bytes(record)
    else:
        monkeypatch.setattr(Base, "read", refuse)
    fetched = await store.manager.fetch_asset("model")
    assert fetched.reused == 0
    assert contents(fetched.path) == contents(store.source)


def refuse(*_: object) -> None:
    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


async def test_files_that_can_not_be_read_are_downloaded(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Permissions don't stop root, so opening is replaced."""
    opening = os.open

    def denied(path: Any, flags: int, *args: Any, **options: Any) -> int:
        if "/model/0.0/" in str(path):
            refuse()
        return opening(path, flags, *args, **options)

    monkeypatch.setattr(os, "open", denied)
    fetched = await store.manager.fetch_asset("model")
    assert store.downloads() == ["large", "small", "sub/changing", "sub/small"]
    assert contents(fetched.path) == contents(store.source)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ESTALE], ids=errno.errorcode.get)
async def test_a_copy_that_fails_is_a_download(store: Store, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Another process fills the disk meanwhile, or the disk fails."""

    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("aioassets.fetch.local_copy.write_at", fail)
    fetched = await store.manager.fetch_asset("model")
    assert (store.downloads(), fetched.reused) == (["large", "small", "sub/changing", "sub/small"], 0)
    assert contents(fetched.path) == contents(store.source)


async def test_an_error_of_a_callback_about_a_reused_file_passes_as_it_is(store: Store, tmp_path: Path) -> None:
    """Also one that means a full disk elsewhere."""

    def report(event: Event) -> None:
        if isinstance(event, FileTransferred) and event.reused:
            raise OSError(errno.ENOSPC, "the log is full")

    with pytest.raises(OSError, match="the log is full"):
        await store.manager.fetch_asset("model", progress=report)
    assert staging_folders(tmp_path) == []


async def test_a_limit_counts_reused_files_and_may_evict_their_version(
    store: Store, make_manager: ManagerFactory, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are copied before the eviction."""
    monkeypatch.setattr("aioassets.fetch.eviction.RECENT", -1.0)
    limited = make_manager(store.driver, cache_limit=LARGE + 20_000)
    fetched = await limited.fetch_asset("model")
    assert store.downloads() == ["sub/changing"]
    assert not base.exists()
    assert contents(fetched.path) == contents(store.source)
    assert await limited.cache.size() == LARGE + 18_000


# Space on the disk


@pytest.fixture
def big(tmp_path: Path) -> Path:
    folder = tmp_path / "big"
    folder.mkdir()
    for name in "abc":
        (folder / name).write_bytes(os.urandom(7 * MEBIBYTE))
    return folder


async def test_copies_that_would_fill_the_disk_are_not_made(
    small_disk: SmallDisk, memory: MemoryDriver, make_manager: ManagerFactory, big: Path
) -> None:
    manager = make_manager(memory, assets_dir=small_disk.path / "cache")
    await manager.create_asset(big, "model")
    (await manager.fetch_asset("model")).close()
    (big / "c").write_bytes(os.urandom(7 * MEBIBYTE))
    await manager.update_asset(big, "model")
    with pytest.raises(CacheError, match=r"model:0\.1 needs 22,020,096 bytes, but only [0-9,]+ are free; free some"):
        await manager.fetch_asset("model")


async def test_shared_blocks_take_no_space(
    reflinking: Path, memory: MemoryDriver, make_manager: ManagerFactory, big: Path
) -> None:
    """Nevertheless, changes of one version don't show in the other, and a damaged file isn't shared."""
    manager = make_manager(memory, assets_dir=reflinking / "cache")
    await manager.create_asset(big, "model")
    first = await manager.fetch_asset("model")
    (big / "d").write_bytes(b"d")
    await manager.update_asset(big, "model")
    await in_thread(damage, first.path / "a")
    before = await in_thread(used_bytes, reflinking)
    second = await manager.fetch_asset("model")
    assert (second.downloaded, second.reused) == (7 * MEBIBYTE + 1, 14 * MEBIBYTE)
    assert await in_thread(used_bytes, reflinking) - before < 10 * MEBIBYTE
    assert contents(second.path) == contents(big)
    (first.path / "b").write_bytes(b"changed")
    assert contents(second.path) == contents(big)


@pytest.fixture
def reflinking(tmp_path: Path) -> Iterator[Path]:
    """Mount a new file system of 128 MiB whose files can share blocks."""
    with with_reflinks(tmp_path) as mounted:
        if mounted is None:
            pytest.skip("no file system that shares blocks: mounting one needs root, loop devices and Btrfs")
        yield mounted


def used_bytes(folder: Path) -> int:
    subprocess.run(["sync", "-f", folder], check=True)
    status = os.statvfs(folder)
    return (status.f_blocks - status.f_bfree) * status.f_frsize


@pytest.mark.parametrize("is_changed", [False, True])
async def test_a_clone_is_verified(store: Store, base: Path, monkeypatch: pytest.MonkeyPatch, is_changed: bool) -> None:
    """Cloning is replaced, because few machines have a file system that can. Only large files are cloned."""
    cloned: list[int] = []

    def clone(source: int, target: int) -> bool:
        cloned.append(os.fstat(source).st_size)
        os.pwrite(target, os.pread(source, LARGE, 0), 0)
        return True

    monkeypatch.setattr(local_copy, "clone_file", clone)
    if is_changed:
        await in_thread(damage, base / "large")
    fetched = await store.manager.fetch_asset("model")
    assert cloned == [LARGE]
    assert store.downloads() == [*(["large"] if is_changed else []), "sub/changing"]
    assert contents(fetched.path) == contents(store.source)


async def test_a_file_that_grew_before_it_was_cloned_is_downloaded(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def clone(source: int, target: int) -> bool:
        os.pwrite(target, os.pread(source, LARGE, 0) + b"more", 0)
        return True

    monkeypatch.setattr(local_copy, "clone_file", clone)
    assert contents((await store.manager.fetch_asset("model")).path) == contents(store.source)
    assert store.downloads() == ["large", "sub/changing"]


# Cancellation


@pytest.mark.once
async def test_a_fetch_cancelled_at_any_step_leaves_nothing(
    store: Store, make_manager: ManagerFactory, base: Path, tmp_path: Path
) -> None:
    before = contents(base)

    async def end_at(nth: int) -> Ended:
        manager = make_manager(store.driver)
        ended = await ended_at(nth, lambda: manager.fetch_asset("model"))
        assert ended.left == []
        assert staging_folders(tmp_path) == []
        assert contents(base) == before
        return ended

    await at_each_step(end_at)
    assert contents((await store.manager.fetch_asset("model")).path) == contents(store.source)


def staging_folders(tmp_path: Path) -> list[Path]:
    return list((tmp_path / "cache").rglob("*.staging-*"))
