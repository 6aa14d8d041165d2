"""Sources that change during a push: nothing is published, left in the store or burned."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tools.factories import Files, ManagerFactory
from tools.inspection import keys, store_of
from tools.interposer import Hook, Interposer

from aioassets import Driver, LocalDriver, MemoryDriver, SourceChanged, SourceError
from aioassets.model.claim import Claim, ClaimState
from aioassets.push.scan import scan
from aioassets.push.sources import LocalSource
from aioassets.runtime.threads import in_thread

pytestmark = pytest.mark.once

SIZE = 11 * 1024 * 1024
"""Three parts of a multipart upload to S3, and several reads for any store."""
BIG = "sub/big"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A folder with a large and a small file."""
    folder = tmp_path / "source"
    (folder / "sub").mkdir(parents=True)
    (folder / BIG).write_bytes(b"0123456789a" * (SIZE // 11))
    os.utime(folder / BIG, ns=(1, 1))
    (folder / "small").write_text("small")
    return folder


def rewrite(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"x")


def shrink(path: Path) -> None:
    os.truncate(path, 100)


def grow(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"x")


def replace(path: Path) -> None:
    twin = path.with_name("twin")
    shutil.copy2(path, twin)
    twin.replace(path)


def remove(path: Path) -> None:
    path.unlink()


def remove_folder(path: Path) -> None:
    shutil.rmtree(path.parent)


def replace_folder_by_file(path: Path) -> None:
    shutil.rmtree(path.parent)
    path.parent.write_text("a file")


def replace_by_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def replace_by_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def replace_by_socket(path: Path) -> None:
    path.unlink()
    with socket.socket(socket.AF_UNIX) as made, contextlib.chdir(path.parent):
        made.bind(path.name)


def replace_by_loop(path: Path) -> None:
    path.unlink()
    path.symlink_to(path)


CHANGES = [
    rewrite,
    shrink,
    grow,
    replace,
    remove,
    remove_folder,
    replace_folder_by_file,
    replace_by_folder,
    replace_by_pipe,
    replace_by_socket,
    replace_by_loop,
]
MOMENTS = ["before it is read", "while it is read", "after it was uploaded", "before sealing"]


class Changing:
    """Hook that changes a file once, at one moment of its push."""

    def __init__(self, moment: str, change: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> None:
        self._moment = moment
        self._change = change
        self.done = False
        for method in ("_read", "_copy"):
            monkeypatch.setattr(LocalSource, method, self._then_changing(getattr(LocalSource, method)))

    def _then_changing(self, work: Callable[..., Any]) -> Callable[..., Any]:
        def then_change(source: LocalSource, *args: int) -> Any:
            result = work(source, *args)
            if self._moment == "while it is read" and source.size == SIZE:
                self._now()
            return result

        return then_change

    def _now(self) -> None:
        if not self.done:
            self.done = True
            self._change()

    async def hook(self, moment: str, method: str, key: str) -> None:
        """Change the source between the push and its store."""
        if method == "upload" and key.endswith(BIG):
            expected = {"before": "before it is read", "after": "after it was uploaded"}[moment]
            if self._moment == expected:
                await in_thread(self._now)
        if self._moment == "before sealing" and (moment, method) == ("after", "upload") and key.endswith("small"):
            await in_thread(self._now)


@pytest.mark.parametrize("moment", MOMENTS[:3])
async def test_a_file_that_shrinks_during_a_push_leaves_nothing_in_any_store(
    driver: Driver,
    make_manager: ManagerFactory,
    source: Path,
    files: Files,
    monkeypatch: pytest.MonkeyPatch,
    moment: str,
) -> None:
    """No multipart upload stays open."""
    changing = Changing(moment, lambda: shrink(source / BIG), monkeypatch)
    await check_nothing_is_left(driver, make_manager, source, files, changing.hook)
    assert changing.done


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
@pytest.mark.parametrize("kind", ["memory", "local"])
async def test_a_file_that_changes_during_a_push_publishes_nothing(
    make_manager: ManagerFactory,
    source: Path,
    files: Files,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    change: Callable[[Path], None],
    moment: str,
) -> None:
    driver: Driver = MemoryDriver() if kind == "memory" else LocalDriver(tmp_path / "store")
    changing = Changing(moment, lambda: change(source / BIG), monkeypatch)
    await check_nothing_is_left(driver, make_manager, source, files, changing.hook)
    assert changing.done


async def check_nothing_is_left(
    driver: Driver, make_manager: ManagerFactory, source: Path, files: Files, hook: Hook
) -> None:
    manager = make_manager(driver)
    await manager.create_asset(files("a"), "model")
    before = await keys(driver)
    with pytest.raises(SourceChanged, match=f"Cannot push '.*{BIG}': it changed during the push"):
        await make_manager(Interposer(driver, hook)).update_asset(source, "model")
    assert await keys(driver) == [*before, "assets/model/0.1.meta"]
    assert [upload async for upload in driver.open_uploads("")] == []
    content = (await store_of(driver).read_meta("model", "0.1")).content
    assert isinstance(content, Claim)
    assert content.state is ClaimState.RELEASED
    assert await manager.list_versions("model") == ["0.0"]
    # Restore a folder: some servers keep the empty one, where no file can be written.
    assert (await manager.update_asset(files("b").parent, "model")).version == "0.1"


@contextlib.contextmanager
def privileged(user: int) -> Iterator[None]:
    """Regain the privileges of the test run for a block."""
    os.seteuid(os.getuid())
    yield
    os.seteuid(user)


@pytest.mark.parametrize("moment", MOMENTS[:2])
async def test_a_file_that_becomes_unreadable_is_named(
    memory: MemoryDriver,
    make_manager: ManagerFactory,
    source: Path,
    readable: Path,
    unprivileged: None,
    monkeypatch: pytest.MonkeyPatch,
    moment: str,
) -> None:
    user = os.geteuid()
    with privileged(user):
        readable.chmod(0o755)
        shutil.copytree(source, readable / "source")
        (readable / "first").write_text("first")
    big = readable / "source" / BIG

    def forbid() -> None:
        with privileged(user):
            big.chmod(0)

    changing = Changing(moment, forbid, monkeypatch)
    manager = make_manager(Interposer(memory, changing.hook))
    await manager.create_asset(readable / "first", "model")
    with pytest.raises(SourceError, match=rf"Cannot push '.*{BIG}': Permission denied\."):
        await manager.update_asset(readable / "source", "model")
    assert changing.done
    assert [key for key in await keys(memory) if "/0.1/" in key] == []
    assert (await manager.update_asset(readable / "first", "model")).version == "0.1"


async def test_a_file_truncated_during_a_read_fails_only_the_push(
    memory: MemoryDriver,
    make_manager: ManagerFactory,
    source: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A truncated memory-mapped file would kill the process with SIGBUS."""
    preadv = os.preadv

    def cut_off(descriptor: int, buffers: list[memoryview], offset: int) -> int:
        if offset == 0:
            count = preadv(descriptor, [buffers[0][:1000]], offset)
            shrink(source / BIG)
            return count
        return preadv(descriptor, buffers, offset)

    monkeypatch.setattr(os, "preadv", cut_off)
    with pytest.raises(SourceChanged, match=BIG):
        await make_manager(memory).create_asset(source, "model")
    assert (source / BIG).stat().st_size == 100


async def test_a_source_on_a_failing_disk_is_named(
    memory: MemoryDriver, make_manager: ManagerFactory, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failing system call stands for the disk."""

    def fail(*args: object) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "preadv", fail)
    with pytest.raises(SourceError, match=rf"Cannot push '.*{BIG}': Input/output error; the disk may be failing\."):
        await make_manager(memory).create_asset(source, "model")


@pytest.mark.parametrize(
    ("change", "message"),
    [(remove, r"sub/big': .* removed"), (remove_folder, r"sub/big': .* removed")],
    ids=["file", "folder"],
)
async def test_an_entry_removed_during_the_scan_is_named(
    source: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Path], None], message: str
) -> None:
    listdir = os.listdir

    def then_change(directory: str) -> list[str]:
        entries = listdir(directory)
        if directory.endswith("/sub"):
            change(source / BIG)
        return entries

    monkeypatch.setattr(os, "listdir", then_change)
    with pytest.raises(SourceError, match=message):
        await scan(source)


async def test_a_folder_removed_before_it_is_listed_is_named(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listdir = os.listdir

    def change_first(directory: str) -> list[str]:
        if directory.endswith("/sub"):
            remove_folder(source / BIG)
        return listdir(directory)

    monkeypatch.setattr(os, "listdir", change_first)
    with pytest.raises(SourceError, match=r"Cannot push '.*sub': it was removed during the scan\."):
        await scan(source)


# Special files


@pytest.mark.parametrize("special", [replace_by_pipe, replace_by_socket], ids=["pipe", "socket"])
async def test_a_special_file_is_refused_before_anything_is_claimed(
    memory: MemoryDriver, make_manager: ManagerFactory, source: Path, special: Callable[[Path], None]
) -> None:
    """Reading a pipe would wait for its writer."""
    await in_thread(special, source / BIG)
    with pytest.raises(SourceError, match=f"Cannot push '.*{BIG}': it is neither a file nor a directory"):
        await make_manager(memory).create_asset(source, "model")
    assert await keys(memory) == []


@pytest.mark.parametrize("device", ["/dev/zero", "/dev/tty"])
async def test_a_device_is_refused(source: Path, device: str) -> None:
    (source / "device").symlink_to(device)
    for path in (device, source):
        with pytest.raises(SourceError, match="it is neither a file nor a directory"):
            await scan(path)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="there is no /proc")
async def test_a_file_with_a_wrong_size_of_zero_is_refused(source: Path) -> None:
    (source / "status").symlink_to("/proc/self/status")
    for path in ("/proc/self/status", source):
        with pytest.raises(SourceError, match=r"Cannot push '.*status': its reported size doesn.t match its content"):
            await scan(path)


@pytest.mark.skipif(not Path("/sys/kernel/uevent_seqnum").exists(), reason="there is no /sys")
async def test_a_file_shorter_than_its_size_is_refused(
    memory: MemoryDriver, make_manager: ManagerFactory, files: Files
) -> None:
    manager = make_manager(memory)
    await manager.create_asset(files("a"), "model")
    with pytest.raises(SourceError, match=r"Cannot push '.*uevent_seqnum': its reported size doesn't match "):
        await manager.update_asset("/sys/kernel/uevent_seqnum", "model")
    assert (await manager.update_asset(files("b"), "model")).version == "0.1"


async def test_an_empty_file_is_pushed(memory: MemoryDriver, make_manager: ManagerFactory) -> None:
    with tempfile.NamedTemporaryFile() as empty:
        assert (await make_manager(memory).create_asset(empty.name, "model")).size == 0
