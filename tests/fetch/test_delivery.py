"""Deliveries: fetches that put a verified copy at a path of the user's choice."""

from __future__ import annotations

import asyncio
import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest
from tools.factories import Files, ManagerFactory
from tools.filesystems import Layers
from tools.inspection import contents
from tools.steps import at_each_step, ended_at
from tools.turns import Turns, orders

from aioassets import AssetsManager, FetchedAsset, LocalDriver, MemoryDriver
from aioassets.errors import AccessDenied, DestinationError, DestinationOccupied, IntegrityError, UsageError
from aioassets.fetch import delivery, parcel
from aioassets.fetch.delivery import PAYLOAD, Delivery, DeliveryOptions
from aioassets.fetch.destination import Destination
from aioassets.fetch.fingerprint import fingerprint
from aioassets.fetch.locks import Locks
from aioassets.fetch.parcel import Parcel
from aioassets.fetch.receipt import Receipt
from aioassets.runtime import renames

pytestmark = pytest.mark.once

CHILD: Final = Path(__file__).with_name("delivery_child.py")


def statuses(root: Path) -> dict[str, tuple[int, int, int]]:
    """Return the inode and times of everything below a folder."""
    found = {path: path.lstat() for path in (root, *root.rglob("*"))}
    return {str(path): (each.st_ino, each.st_mtime_ns, each.st_ctime_ns) for path, each in found.items()}


def folder(root: Path, text: str) -> Path:
    """Make a folder to push whose files all contain a text."""
    path = root / "sources" / text
    for name in ("a", "sub/b"):
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text(text)
    return path


def texts(path: Path) -> set[str]:
    """Return the texts of all files in a folder that `folder` made."""
    return {(path / name).read_text() for name in ("a", "sub/b")}


@pytest.fixture
async def manager(make_manager: ManagerFactory, memory: MemoryDriver, tmp_path: Path) -> AssetsManager:
    """Return a manager with the versions `model:0.0`, whose files contain "one", and `model:0.1` ("two")."""
    manager = make_manager(memory)
    await manager.create_asset(folder(tmp_path, "one"), "model")
    await manager.update_asset(folder(tmp_path, "two"), "model")
    return manager


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "out" / "model"


@pytest.fixture(params=["exchange", "no exchange"])
def exchanges(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Run a test with and without a file system that can exchange two paths."""
    if request.param == "no exchange":
        monkeypatch.setattr(renames, "exchange", lambda one, other: False)
    return bool(request.param == "exchange")


class TestPayload:
    async def test_it_has_all_files_with_their_executable_bits_and_empty_folders(
        self, make_manager: ManagerFactory, memory: MemoryDriver, tree: Path, path: Path
    ) -> None:
        manager = make_manager(memory)
        await manager.create_asset(tree, "tree")

        fetched = await manager.fetch_asset("tree", to=path)

        cached = await manager.fetch_asset("tree")
        assert fetched.path == path
        assert (fetched.version, fetched.verified) == ("0.0", True)
        assert contents(path) == contents(cached.path) != {}
        assert not os.path.samefile(path / "run.sh", cached.path / "run.sh")
        assert {each.name for each in path.parent.iterdir()} == {"model", ".model.aioassets"}

    @pytest.mark.parametrize(("part", "expected"), [("run.sh", None), ("weights", {"w.bin", "deeper/x.bin"})])
    async def test_a_part_is_put_there_itself(
        self,
        make_manager: ManagerFactory,
        memory: MemoryDriver,
        tree: Path,
        path: Path,
        part: str,
        expected: set[str] | None,
    ) -> None:
        manager = make_manager(memory)
        await manager.create_asset(tree, "tree")

        await manager.fetch_asset(f"tree[{part}]", to=path)

        if expected is None:
            assert path.read_bytes() == (tree / part).read_bytes()
            assert os.access(path, os.X_OK)
        else:
            assert contents(path).keys() == expected

    async def test_a_file_is_put_there_as_a_file(
        self, make_manager: ManagerFactory, memory: MemoryDriver, files: Files, path: Path
    ) -> None:
        manager = make_manager(memory)
        await manager.create_asset(files("one"), "model")
        await manager.fetch_asset("model", to=path)
        await manager.update_asset(files("two"), "model")

        await manager.fetch_asset("model", to=str(path))

        assert path.read_text() == "two"

    async def test_a_link_leads_to_the_cache(self, manager: AssetsManager, path: Path) -> None:
        await manager.fetch_asset("model:0.0", to=path)

        fetched = await manager.fetch_asset("model:0.1", to=path, link=True)

        assert fetched.path == path
        assert path.readlink() == (await manager.fetch_asset("model:0.1")).path
        await manager.fetch_asset("model:0.1", to=path)
        assert not path.is_symlink()
        assert texts(path) == {"two"}

    async def test_a_cached_file_with_the_wrong_content_is_repaired(self, manager: AssetsManager, path: Path) -> None:
        cached = (await manager.fetch_asset("model:0.0")).path / "a"
        status = cached.stat()
        cached.write_text("ONE")
        os.utime(cached, ns=(status.st_atime_ns, status.st_mtime_ns))

        fetched = await manager.fetch_asset("model:0.0", to=path)

        assert texts(path) == {"one"}
        assert fetched.repaired == ("a",)

    async def test_a_damaged_file_is_never_put_there(self, manager: AssetsManager, path: Path) -> None:
        cached = (await manager.fetch_asset("model:0.0")).path / "a"
        cached.write_text("ONE")

        with pytest.raises(IntegrityError):
            await manager.fetch_asset("model:0.0", to=path, offline=True)
        assert not path.exists()


class TestReplacing:
    async def test_another_version_replaces_the_former(
        self, manager: AssetsManager, path: Path, exchanges: bool
    ) -> None:
        await manager.fetch_asset("model:0.0", to=path)
        with (path / "a").open() as file:
            await manager.fetch_asset("model:0.1", to=path)

            assert file.read() == "one"
        assert texts(path) == {"two"}
        assert {each.name for each in path.parent.iterdir()} == {"model", ".model.aioassets"}

    @pytest.mark.parametrize("link", [False, True])
    async def test_the_same_content_leaves_everything_untouched(
        self, manager: AssetsManager, path: Path, link: bool
    ) -> None:
        await manager.fetch_asset("model:0.1", to=path, link=link)
        before = statuses(path.parent)

        await manager.fetch_asset("model", to=path, link=link)

        assert statuses(path.parent) == before

    async def test_another_version_with_the_same_content_leaves_everything_untouched(
        self, manager: AssetsManager, path: Path, tmp_path: Path
    ) -> None:
        await manager.fetch_asset("model:0.1", to=path)
        before = statuses(path.parent)
        await manager.update_asset(folder(tmp_path, "two"), "model")

        assert (await manager.fetch_asset("model", to=path)).version == "0.2"

        assert statuses(path.parent) == before

    async def test_an_empty_folder_is_replaced(self, manager: AssetsManager, path: Path, exchanges: bool) -> None:
        path.mkdir(parents=True)
        await manager.fetch_asset("model", to=path)
        assert texts(path) == {"two"}

    @pytest.mark.parametrize(
        "change",
        [
            lambda path: (path / "a").write_text("my"),
            lambda path: (path / "mine").touch(),
            lambda path: (path / "sub" / "b").unlink(),
            lambda path: (path / "mine").mkdir(),
            lambda path: (path / "a").chmod(0o755),
        ],
        ids=["edited", "added", "removed", "new folder", "executable"],
    )
    async def test_changes_are_kept_unless_they_may_be_discarded(
        self, manager: AssetsManager, path: Path, change: Callable[[Path], object]
    ) -> None:
        await manager.fetch_asset("model:0.0", to=path)
        change(path)
        before = contents(path.parent)

        for version in ("0.0", "0.1"):
            with pytest.raises(
                DestinationOccupied, match=r"changed since aioassets put model:0\.0 there.*discard"
            ) as e:
                await manager.fetch_asset(f"model:{version}", to=path)
            assert (e.value.path, e.value.delivered) == (str(path), "model:0.0")
        assert contents(path.parent) == before

        await manager.fetch_asset("model:0.1", to=path, discard_changes=True)
        assert texts(path) == {"two"}
        assert contents(path).keys() == {"a", "sub/b"}

    @pytest.mark.parametrize("kind", ["file", "folder", "link"])
    async def test_what_others_put_there_is_kept(
        self, manager: AssetsManager, path: Path, kind: str, memory: MemoryDriver, tmp_path: Path
    ) -> None:
        path.parent.mkdir()
        if kind == "file":
            path.write_text("mine")
        elif kind == "link":
            path.symlink_to("nowhere")
        else:
            (path / "mine").mkdir(parents=True)
        before = statuses(path.parent)

        for discard in (False, True):
            with pytest.raises(DestinationOccupied, match="aioassets did not put what is there"):
                await manager.fetch_asset("model", to=path, discard_changes=discard)

        assert statuses(path.parent) == before
        assert [each.name for each in (tmp_path / "cache").iterdir()] == [".aioassets"]  # nothing was downloaded

    async def test_a_change_during_the_exchange_is_kept(
        self, manager: AssetsManager, path: Path, exchanges: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await manager.fetch_asset("model:0.0", to=path)
        write_to = Receipt.write_to

        def edit(receipt: Receipt, folder: Path, temporary: Path) -> None:
            write_to(receipt, folder, temporary)
            (path / "a").write_text("edited")

        monkeypatch.setattr(Receipt, "write_to", edit)
        with pytest.raises(DestinationOccupied):
            await manager.fetch_asset("model:0.1", to=path)

        assert texts(path) == {"edited", "one"}
        assert {each.name for each in path.parent.iterdir()} == {"model", ".model.aioassets"}


async def test_a_folder_of_a_lower_layer_is_replaced(manager: AssetsManager, tmp_path: Path) -> None:
    """overlayfs refuses to rename a folder of a container image."""
    with Layers.prepared(tmp_path / "layers", as_root=True) as layers:
        if layers is None:
            pytest.skip("no file system can be mounted here: that takes root's privileges")
        await manager.fetch_asset("model:0.0", to=layers.lower / "model")
        if not layers.mount():
            pytest.skip("overlayfs can't be mounted here")
        path = layers.merged / "model"
        assert texts(path) == {"one"}

        for version, text in (("0.1", "two"), ("0.0", "one")):
            await manager.fetch_asset(f"model:{version}", to=path)
            assert texts(path) == {text}
            assert {each.name for each in path.parent.iterdir()} == {"model", ".model.aioassets"}


class TestRefusals:
    @pytest.mark.parametrize("to", ["", "a\0b", b"path", 7, "/"])
    async def test_an_invalid_path_is_a_usage_error(self, manager: AssetsManager, to: Any) -> None:
        with pytest.raises(UsageError):
            await manager.fetch_asset("model", to=to)

    async def test_options_without_a_path_are_a_usage_error(self, manager: AssetsManager) -> None:
        with pytest.raises(UsageError, match="pass it as `to`"):
            await manager.fetch_asset("model", link=True)
        with pytest.raises(UsageError, match="pass it as `to`"):
            await manager.fetch_asset("model", discard_changes=True)

    @pytest.mark.parametrize("place", ["cache", "cache/model", "store/assets/x", "store"])
    async def test_the_cache_and_the_store_are_refused(
        self, make_manager: ManagerFactory, tmp_path: Path, place: str
    ) -> None:
        (tmp_path / "alias").symlink_to(tmp_path)
        manager = make_manager(LocalDriver(tmp_path / "store"))
        with pytest.raises(UsageError, match="Use a path outside it"):
            await manager.fetch_asset("model", to=tmp_path / "alias" / place)
        with pytest.raises(UsageError, match="it contains the assets directory"):
            await manager.fetch_asset("model", to=tmp_path)

    async def test_a_mount_point_is_refused(self, manager: AssetsManager) -> None:
        with pytest.raises(UsageError, match=r"mount point.*'/proc/current'"):
            await manager.fetch_asset("model", to="/proc")

    async def test_a_file_in_place_of_a_parent_folder_is_an_error(self, manager: AssetsManager, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(DestinationError, match="Not a directory"):
            await manager.fetch_asset("model", to=tmp_path / "file" / "x")

    async def test_a_busy_path_is_explained(
        self, manager: AssetsManager, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await manager.fetch_asset("model:0.0", to=path)

        def refuse(one: str, other: str) -> bool:
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), other)

        monkeypatch.setattr(renames, "exchange", refuse)
        with pytest.raises(DestinationError, match="Device or resource busy; a mount point can't be replaced"):
            await manager.fetch_asset("model:0.1", to=path)
        assert texts(path) == {"one"}

    async def test_a_read_only_parent_folder_is_an_error(
        self, manager: AssetsManager, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def deny(destination: Destination) -> None:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(destination.lock_file))

        monkeypatch.setattr(Destination, "try_lock", deny)
        with pytest.raises(AccessDenied, match=r"out/\.model\.aioassets/lock.*those of the parent folders"):
            await manager.fetch_asset("model", to=path)

    async def test_a_full_disk_keeps_what_is_there(
        self, manager: AssetsManager, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await manager.fetch_asset("model:0.0", to=path)

        def full(*args: object, **options: object) -> bool:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(parcel, "copy_verified", full)
        with pytest.raises(DestinationError, match=r"No space left on device; free some disk space") as caught:
            await manager.fetch_asset("model:0.1", to=path)

        assert caught.value.path == str(path)
        assert texts(path) == {"one"}
        assert {each.name for each in path.parent.iterdir()} == {"model", ".model.aioassets"}


class TestInterruptions:
    async def test_a_cancelled_delivery_leaves_one_of_both_versions(self, manager: AssetsManager, path: Path) -> None:
        for version in ("0.0", "0.1"):
            await manager.fetch_asset(f"model:{version}")

        async def deliver(version: str) -> FetchedAsset:
            return await manager.fetch_asset(f"model:{version}", to=path)

        async def cancel(nth: int) -> Any:
            await deliver("0.0")
            outcome = await ended_at(nth, lambda: deliver("0.1"))
            assert not outcome.left
            assert texts(path) in ({"one"}, {"two"})
            assert {each.name for each in path.parent.iterdir()} == {"model", ".model.aioassets"}
            await deliver("0.1")
            assert texts(path) == {"two"}
            return outcome

        await at_each_step(cancel)

    @pytest.mark.parametrize("mode", ["exchange", "no-exchange"])
    async def test_a_killed_delivery_is_repaired_by_repeating_it(self, tmp_path: Path, mode: str) -> None:
        async with AssetsManager(tmp_path / "store", assets_dir=tmp_path / "cache") as manager:
            source = tmp_path / "source"
            source.mkdir()
            for version, push in (("0.0", manager.create_asset), ("0.1", manager.update_asset)):
                (source / "version").write_text(version)
                await push(source, "model")
                await manager.fetch_asset(f"model:{version}")
        command = [sys.executable, str(CHILD), str(tmp_path), mode]
        done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True)

        assert done.returncode == 0, done.stderr
        assert int(done.stdout) > 8


class TestConcurrency:
    def test_a_fingerprint_is_never_that_of_a_mixture(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Another process exchanges the folder between two looks into it."""
        old, new = folder(tmp_path, "one"), folder(tmp_path, "two")
        (old / "only here").touch()
        expected, listdir = fingerprint(str(new)), os.listdir

        def exchanging(path: str) -> list[str]:
            found = listdir(path)
            if new.exists():
                old.rename(tmp_path / "replaced")
                new.rename(old)
            return found

        monkeypatch.setattr(os, "listdir", exchanging)
        assert fingerprint(str(old)) == expected

    def test_a_folder_that_appears_while_it_is_looked_for_is_nothing_or_itself(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        new, path = folder(tmp_path, "one"), tmp_path / "path"
        expected, lstat = fingerprint(str(new)), os.lstat

        def appearing(name: str) -> os.stat_result:
            try:
                return lstat(name)
            finally:
                if new.exists():
                    new.rename(path)

        monkeypatch.setattr(os, "lstat", appearing)
        assert fingerprint(str(path)) in (None, expected)

    async def test_concurrent_deliveries_end_with_one_complete_version(
        self, manager: AssetsManager, make_manager: ManagerFactory, memory: MemoryDriver, path: Path
    ) -> None:
        managers = [manager, *(make_manager(memory) for _ in range(3))]
        await asyncio.gather(
            *(
                each.fetch_asset(f"model:0.{number % 2}", to=path)
                for number, each in enumerate(managers)
                for _ in range(3)
            )
        )

        assert texts(path) in ({"one"}, {"two"})
        await manager.fetch_asset("model:0.0", to=path)
        assert texts(path) == {"one"}
        assert {each.name for each in path.parent.iterdir()} == {"model", ".model.aioassets"}

    @pytest.mark.parametrize("is_first", [True, False], ids=["nothing there", "something there"])
    async def test_without_locks_each_order_of_changes_ends_with_a_complete_version(
        self, manager: AssetsManager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_first: bool
    ) -> None:
        """Two processes have staged, and then write a receipt and change the path at the same time."""
        await manager.update_asset(folder(tmp_path, "three"), "model")
        versions = [await manager.fetch_asset(f"model:0.{number}") for number in range(3)]
        turns: Turns[None] = Turns([])

        def hooked(function: Callable[..., Any]) -> Callable[..., Any]:
            def call(*args: Any) -> Any:
                turns.hook()
                return function(*args)

            return call

        for kind, name in (
            (Receipt, "write_to"),
            (delivery, "remove_old_receipts"),
            (renames, "exchange"),
            (renames, "move_new"),
        ):
            monkeypatch.setattr(kind, name, hooked(getattr(kind, name)))

        def swap(path: Path, parcel: Parcel) -> Callable[[], None]:
            options = DeliveryOptions(path, link=False, discard_changes=False)
            job = Delivery(options, lambda check: manager.fetch_asset("model"), str, list, Locks())
            staging = path.with_name(f"staging of {parcel.spec}")
            return lambda: job._swap(Destination(path), parcel, staging)  # noqa: SLF001 - without its lock

        for number, order in enumerate(orders(3, 3)):
            path = tmp_path / f"out {number}" / "model"
            if is_first:
                path.parent.mkdir()
            else:
                await manager.fetch_asset(versions[2].name, to=path)
            jobs = []
            for fetched in versions[:2]:
                parcel = await asyncio.to_thread(Parcel.of, fetched, str, link=False)
                (staging := path.with_name(f"staging of {parcel.spec}")).mkdir()
                path.with_name(".model.aioassets").mkdir(exist_ok=True)
                await parcel.stage(staging / PAYLOAD)
                jobs.append(swap(path, parcel))
            turns = Turns(jobs)

            def check(path: Path = path) -> None:
                assert not path.exists() or len(texts(path)) == 1

            await asyncio.to_thread(turns.run, order, check)

            assert turns.errors == {}, order
            assert texts(path) in ({"one"}, {"two"})
            await manager.fetch_asset("model:0.0", to=path)
            assert texts(path) == {"one"}
