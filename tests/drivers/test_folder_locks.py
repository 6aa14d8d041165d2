"""Folder stores on file systems without locks that hold, without hard links, and with stale handles."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiofiles.threadpool.binary import AsyncBufferedReader
from tools.factories import Files, ManagerFactory
from tools.inspection import keys
from tools.oserrors import failing

from aioassets import AccessDenied, LocalDriver, PreconditionFailed, StoreUnsuitable
from aioassets.drivers.locking import Mount, mount_of
from aioassets.drivers.protocol import Expect
from aioassets.testing import BytesSource

OTHERS = """\
22 1 254:0 / / rw,relatime - ext4 /dev/root rw
23 22 0:21 / /proc rw,nosuid,nodev,noexec,relatime shared:5 - proc proc rw
"""

UNSAFE = {
    "nfs nolock": "rw,relatime - nfs server:/x rw,vers=3,nolock,local_lock=all",
    "nfs local_lock=flock": "rw,relatime shared:1 - nfs server:/x rw,vers=3,local_lock=flock",
    "nfs local_lock=all": "rw,relatime - nfs server:/x rw,vers=3,local_lock=all",
    "nfs4 local_lock=flock": "rw,relatime - nfs4 server:/x rw,vers=4.2,local_lock=flock",
    "lustre without flock": "rw,relatime - lustre 10.0.0.1@tcp:/scratch rw,checksum,lazystatfs",
    "lustre localflock": "rw - lustre 10.0.0.1@tcp:/scratch rw,localflock",
    "lustre noflock": "rw - lustre 10.0.0.1@tcp:/scratch rw,flock,noflock",
    "gfs2 localflocks": "rw - gfs2 /dev/a rw,localflocks",
    "ocfs2 localflocks": "rw,localflocks - ocfs2 /dev/a rw",
    "smb nobrl": "rw - cifs //server/share rw,vers=3.0,nobrl",
}
SAFE = {
    "ext4": "rw - ext4 /dev/a rw",
    "nfs": "rw - nfs server:/x rw,vers=3,local_lock=none",
    "nfs local_lock=posix": "rw - nfs server:/x rw,vers=3,local_lock=posix",
    "nfs4": "rw - nfs4 server:/x rw,vers=4.2,local_lock=none",
    "lustre flock": "rw - lustre 10.0.0.1@tcp:/scratch rw,flock,lazystatfs",
    "gpfs": "rw - gpfs gpfs0 rw",
    "smb": "rw - cifs //server/share rw,vers=3.0",
}


@pytest.fixture
def mounts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Return a function that pretends that the test's folder is mounted like this."""

    def pretend(mount: str) -> None:
        file = tmp_path.with_name(f"{tmp_path.name}-mounts")
        file.write_text(f"{OTHERS}31 22 0:29 / {tmp_path} {mount}\n")
        monkeypatch.setattr("aioassets.drivers.locking.MOUNTS", str(file))

    return pretend


async def swap(driver: LocalDriver) -> None:
    first = await driver.write("key", b"first", expected=Expect.ABSENT)
    await driver.write("key", b"second", expected=first)
    assert (await driver.read("key")).data == b"second"


class TestLocks:
    async def test_locks_that_always_succeed_are_refused(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("fcntl.flock", lambda *_: None)
        driver = LocalDriver(tmp_path)
        with pytest.raises(StoreUnsuitable, match="its locks don't work: the same file could be locked twice"):
            await driver.write("key", b"data", expected=Expect.ABSENT)
        assert await keys(driver) == []
        assert [path for path in tmp_path.rglob("*") if path.is_file()] == []

    @pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
    async def test_missing_locks_are_refused(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
    ) -> None:
        monkeypatch.setattr("fcntl.flock", failing(number))
        with pytest.raises(
            StoreUnsuitable, match=f"locking a file failed: {os.strerror(number)}; the file system does not"
        ):
            await LocalDriver(tmp_path).write("key", b"data", expected=Expect.ABSENT)

    @pytest.mark.parametrize("mount", UNSAFE.values(), ids=UNSAFE)
    async def test_locks_of_one_machine_are_refused(
        self, tmp_path: Path, mounts: Callable[[str], None], mount: str
    ) -> None:
        mounts(mount)
        driver = LocalDriver(tmp_path / "store")
        for _ in range(2):
            with pytest.raises(StoreUnsuitable, match="its locks don't exclude processes on other machines") as caught:
                await driver.write("key", b"data", expected=Expect.ABSENT)
        kind = mount.partition(" - ")[2].split(" ", maxsplit=1)[0]
        assert f"({kind} at '{tmp_path}', mounted with" in str(caught.value)

    @pytest.mark.parametrize("mount", SAFE.values(), ids=SAFE)
    async def test_locks_of_all_machines_are_accepted(
        self, tmp_path: Path, mounts: Callable[[str], None], mount: str
    ) -> None:
        mounts(mount)
        await swap(LocalDriver(tmp_path / "store"))

    async def test_a_link_to_such_a_file_system_is_followed(
        self, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, mounts: Callable[[str], None]
    ) -> None:
        mounts(UNSAFE["nfs nolock"])
        link = tmp_path_factory.mktemp("elsewhere") / "link"
        link.symlink_to(tmp_path)
        with pytest.raises(StoreUnsuitable):
            await LocalDriver(link).write("key", b"data", expected=Expect.ABSENT)

    async def test_a_system_without_mountinfo_checks_the_lock_alone(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("aioassets.drivers.locking.MOUNTS", str(tmp_path / "missing"))
        await swap(LocalDriver(tmp_path / "store"))

    @pytest.mark.parametrize("flock", [lambda *_: None, failing(errno.ENOSYS), failing(errno.ENOLCK)])
    async def test_a_single_writer_needs_no_locks(
        self,
        make_manager: ManagerFactory,
        files: Files,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        flock: Callable[..., None],
    ) -> None:
        make = make_manager
        driver = LocalDriver(tmp_path / "store")
        with monkeypatch.context() as patched:
            patched.setattr("aioassets.drivers.locking.fcntl.flock", flock)
            for text, push in (("a", "create_asset"), ("b", "update_asset")):
                await getattr(make(driver, single_writer=True), push)(files(text), "model")
            await driver.delete(["assets/model/0.0"])
        assert await make(driver).list_versions("model") == ["0.1", "0.0"]

    async def test_a_refused_store_can_be_read(
        self, make_manager: ManagerFactory, files: Files, tmp_path: Path, mounts: Callable[[str], None]
    ) -> None:
        await make_manager(LocalDriver(tmp_path / "store")).create_asset(files("a"), "model")
        mounts(UNSAFE["lustre localflock"])
        driver = LocalDriver(tmp_path / "store")
        assert (await make_manager(driver).fetch_asset("model")).path.read_text() == "a"
        with pytest.raises(StoreUnsuitable):
            await make_manager(driver).update_asset(files("b"), "model")

    def test_the_innermost_mount_counts(self) -> None:
        text = (
            f"{OTHERS}"
            "31 22 0:29 / /data\\040sets rw - nfs server:/x rw,nolock\n"
            "32 31 0:30 / /data\\040sets/inner rw - ext4 /dev/a rw\n"
            "33 31 0:30 / /data\\040sets/hidden rw - ext4 /dev/a rw\n"
            "34 31 0:30 / /data\\040sets/hidden rw - tmpfs none rw\n"
            "not a mount\n"
        )

        def kind(path: str) -> str | None:
            mount = mount_of(path, text)
            return None if mount is None else mount.kind

        assert kind("/data sets/store") == kind("/data sets") == "nfs"
        assert kind("/data sets/inner/store") == "ext4"
        assert kind("/data sets/hidden") == "tmpfs"
        assert kind("/data setsun") == "ext4"
        assert mount_of("/x", "") is None

    def test_this_system_s_mounts_are_read(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines():
                assert Mount.parse(line).point.startswith("/")


NO_LINKS = [errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK]


class TestLinks:
    @pytest.mark.parametrize("number", NO_LINKS)
    async def test_a_file_system_without_hard_links_is_refused(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
    ) -> None:
        monkeypatch.setattr("os.link", failing(number))
        driver = LocalDriver(tmp_path)
        with pytest.raises(StoreUnsuitable, match=f"has no hard links: {os.strerror(number)}"):
            await driver.write("key", b"data", expected=Expect.ABSENT)
        with pytest.raises(StoreUnsuitable, match="has no hard links"):
            await driver.upload("key", BytesSource(b"data"))
        assert list((tmp_path / ".aioassets" / "tmp").iterdir()) == []

    @pytest.mark.parametrize("number", NO_LINKS)
    async def test_a_single_writer_needs_no_hard_links(
        self,
        make_manager: ManagerFactory,
        tree: Path,
        files: Files,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        number: int,
    ) -> None:
        monkeypatch.setattr("os.link", failing(number))
        manager = make_manager(LocalDriver(tmp_path / "store"), single_writer=True)
        await manager.create_asset(tree, "model")
        await manager.update_asset(files("b"), "model")
        assert await manager.list_versions("model") == ["0.1", "0.0"]
        assert (await manager.fetch_asset("model:0.0[run.sh]")).path.read_text() == "#!/bin/sh\n"

    async def test_a_folder_that_refuses_one_link_is_not_blamed(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """An immutable folder refuses links with the same error number."""
        monkeypatch.setattr("os.link", failing(errno.EPERM, 1, os.link))
        with pytest.raises(AccessDenied, match="Operation not permitted"):
            await LocalDriver(tmp_path).write("key", b"data", expected=Expect.ABSENT)


CALLS = ["fcntl.flock", "os.link", "os.replace", "os.open", "os.stat", "os.utime", "os.unlink"]


@pytest.fixture
def stale(monkeypatch: pytest.MonkeyPatch) -> Callable[..., contextlib.AbstractContextManager[None]]:
    """Return a context manager in which a function of the system fails once, or more often, with `ESTALE`."""

    @contextlib.contextmanager
    def failing_for_a_while(name: str, times: int = 1) -> Iterator[None]:
        module, _, function = name.rpartition(".")
        real = getattr(__import__(module), function)
        with monkeypatch.context() as patched:
            patched.setattr(name, failing(errno.ESTALE, times, real))
            yield

    return failing_for_a_while


class TestStaleHandles:
    @pytest.mark.parametrize("name", CALLS)
    async def test_one_stale_handle_ends_no_operation(
        self, tmp_path: Path, name: str, stale: Callable[..., contextlib.AbstractContextManager[None]]
    ) -> None:
        driver = LocalDriver(tmp_path)
        revision = await driver.write("key", b"first", expected=Expect.ABSENT)
        with stale(name):
            await driver.write("new", b"new", expected=Expect.ABSENT)
        with stale(name):
            revision = await driver.write("key", b"second", expected=revision)
        with stale(name):
            assert (await driver.read("key")).revision == revision
        with stale(name):
            await driver.stat("key")
        with stale(name):
            assert sorted(await keys(driver)) == ["key", "new"]
        with stale(name):
            assert b"".join([bytes(chunk) async for chunk in driver.read_range("key", 0, 9)]) == b"second"
        with stale(name):
            await driver.delete(["key"])
        assert await keys(driver) == ["new"]

    async def test_a_stale_handle_in_the_middle_of_a_range_is_reopened(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("aioassets.drivers.local.CHUNK", 2)
        driver = LocalDriver(tmp_path)
        await driver.write("key", b"0123456789", expected=Expect.ABSENT)
        chunks = driver.read_range("key", 1, 9)
        parts = [await anext(chunks)]
        monkeypatch.setattr(AsyncBufferedReader, "read", failing(errno.ESTALE, 1, AsyncBufferedReader.read))
        parts += [chunk async for chunk in chunks]
        assert b"".join(parts) == b"12345678"

    async def test_a_handle_that_stays_stale_is_an_error_with_a_hint(
        self, tmp_path: Path, stale: Callable[..., contextlib.AbstractContextManager[None]]
    ) -> None:
        driver = LocalDriver(tmp_path)
        await driver.write("key", b"first", expected=Expect.ABSENT)
        with (
            stale("os.open", times=99),
            pytest.raises(Exception, match="Stale file handle; the network file system's server"),
        ):
            await driver.read("key")

    async def test_a_swap_that_took_effect_is_refused_when_repeated(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The caller compares the content, as after a lost response."""
        driver = LocalDriver(tmp_path)
        first = await driver.write("key", b"first", expected=Expect.ABSENT)
        real = os.replace

        def replace(*args: Any) -> None:
            real(*args)
            monkeypatch.setattr("os.replace", real)
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))

        monkeypatch.setattr("os.replace", replace)
        with pytest.raises(PreconditionFailed):
            await driver.write("key", b"second", expected=first)
        assert (await driver.read("key")).data == b"second"
