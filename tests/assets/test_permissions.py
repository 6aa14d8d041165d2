"""Missing permissions raise `AccessDenied`, and read-only directories and stores are served."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tools.factories import Files, ManagerFactory
from tools.filesystems import SmallDisk
from tools.inspection import contents, store_folder, store_of
from tools.interposer import Fail, Interposer
from tools.principals import NOBODY, acting_as, attempts_to_write

from aioassets import AccessDenied, AssetsManager, IntegrityError, LocalDriver, MemoryDriver, SourceError
from aioassets.fetch.origin import folder_of

needs_users = pytest.mark.skipif(os.getuid() != 0, reason="only root can act as several users")


@pytest.fixture
def commons() -> Iterator[Path]:
    """Return a folder that all users can reach and change."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o777)
    yield folder
    for path in (folder, *folder.rglob("*")):
        if path.is_dir():
            path.chmod(0o700)
    shutil.rmtree(folder)


@pytest.fixture
async def two_versions(memory: MemoryDriver, make_manager: ManagerFactory, tree: Path, tmp_path: Path) -> AssetsManager:
    """Return a manager whose store has `model:0.0`, which is `tree`, and `model:0.1`."""
    manager = make_manager(memory)
    await manager.create_asset(tree, "model")
    (tmp_path / "second").write_text("second")
    await manager.update_asset(tmp_path / "second", "model")
    return manager


# Read-only assets directories


@pytest.fixture
async def cached(
    small_disk: SmallDisk, memory: MemoryDriver, make_manager: ManagerFactory, two_versions: AssetsManager
) -> Callable[..., AssetsManager]:
    """Return a function that makes managers. The read-only cache has `model:0.0` complete, and `other:0.0[weights]`."""

    def make(driver: object = memory, **settings: object) -> AssetsManager:
        return make_manager(driver, assets_dir=small_disk.path / "cache", **settings)

    fetched = await make().fetch_asset("model:0.0")
    await make(assetsmanager_prefix="others").create_asset(fetched.path, "other")
    await make(assetsmanager_prefix="others").fetch_asset("other:0.0[weights]")
    small_disk.make_read_only()
    with attempts_to_write(small_disk.path) as attempts, pytest.raises(OSError, match="Read-only"):
        (small_disk.path / "cache" / "x").touch()
    assert attempts
    return make


@pytest.mark.parametrize("verify", [False, True])
@pytest.mark.parametrize("spec", ["model:0.0", "model:0", "model", "model:0.0[weights]", "model:0[weights/w.bin]"])
async def test_a_read_only_assets_directory_serves_all_it_has_offline(
    cached: Callable[..., AssetsManager], small_disk: SmallDisk, tree: Path, spec: str, verify: bool
) -> None:
    """Any spec works, and nothing is written."""
    manager = cached(offline=True)
    with attempts_to_write(small_disk.path) as attempts:
        fetched = await manager.fetch_asset(spec, verify=verify)
    assert (attempts, fetched.from_cache, fetched.version) == ([], True, "0.0")
    relative = spec.partition("[")[2].rstrip("]")
    if fetched.path.is_dir():
        assert contents(fetched.path) == contents(tree / relative)
    else:
        assert fetched.path.read_bytes() == (tree / relative).read_bytes()


@pytest.mark.parametrize("verify", [False, True])
async def test_a_read_only_assets_directory_serves_all_it_has_online(
    cached: Callable[..., AssetsManager], small_disk: SmallDisk, memory: MemoryDriver, verify: bool
) -> None:
    """An exact version needs no store. For the latest version or a part, the store names what is cached."""
    unreachable = Interposer(memory, Fail("before", "read", "", times=99))
    others = cached(assetsmanager_prefix="others")
    with attempts_to_write(small_disk.path) as attempts:
        exact = await cached(unreachable).fetch_asset("model:0.0", verify=verify)
        part = await others.fetch_asset("other:0.0[weights/w.bin]", verify=verify)
        latest = await others.fetch_asset("other[weights]", verify=verify)
    assert attempts == []
    assert [asset.from_cache for asset in (exact, part, latest)] == [True] * 3
    assert (latest.version, part.path.read_bytes()) == ("0.0", b"w" * 3000)


async def test_a_read_only_assets_directory_is_listed(
    cached: Callable[..., AssetsManager], small_disk: SmallDisk
) -> None:
    manager = cached(offline=True)
    with attempts_to_write(small_disk.path) as attempts:
        fetched = await manager.fetch_asset("model:0.0")
        found = await manager.cache.list()
        planned = await manager.cache.prune(limit=0, dry_run=True)
    assert attempts == []
    assert [(version.name, version.partial) for version in found] == [("model", False), ("other", True)]
    assert (fetched.from_cache, len(planned.kept)) == (True, 2)
    with pytest.raises(AccessDenied, match="Read-only"):
        await manager.cache.prune(limit=0)


@pytest.mark.parametrize("spec", ["model", "model:0.1", "other:0.0"])
async def test_a_miss_in_a_read_only_assets_directory_says_what_to_do(
    cached: Callable[..., AssetsManager], small_disk: SmallDisk, spec: str
) -> None:
    """Also if a part of the version is cached."""
    manager = cached(assetsmanager_prefix="others" if spec.startswith("other") else "assets")
    with pytest.raises(AccessDenied) as caught:
        await manager.fetch_asset(spec)
    where = small_disk.path / "cache"
    assert str(caught.value).startswith(f"Cannot use '{where}/memory-")
    assert str(caught.value).endswith(
        ": Read-only file system. Mount the file system with write access, or use another folder."
    )


async def test_verification_finds_damage_in_a_read_only_assets_directory(
    small_disk: SmallDisk, memory: MemoryDriver, make_manager: ManagerFactory, two_versions: AssetsManager
) -> None:
    manager = make_manager(memory, assets_dir=small_disk.path / "cache")
    fetched = await manager.fetch_asset("model:0.0")
    (fetched.path / "weights" / "w.bin").write_bytes(b"x" * 3000)
    small_disk.make_read_only()
    with pytest.raises(IntegrityError, match=r"model:0\.0\[weights/w\.bin\]"):
        await manager.fetch_asset("model:0.0", verify=True)


async def test_pushing_needs_no_assets_directory(cached: Callable[..., AssetsManager], files: Files) -> None:
    """Only the result of the store's probe isn't saved."""
    assert (await cached(assetsmanager_prefix="new").create_asset(files("a"), "model")).version == "0.0"


async def test_a_store_on_a_read_only_file_system_is_read(
    small_disk: SmallDisk, make_manager: ManagerFactory, files: Files
) -> None:
    """A push is refused in one sentence."""
    driver = LocalDriver(small_disk.path / "store")
    manager = make_manager(driver)
    await manager.create_asset(files("a"), "model")
    small_disk.make_read_only()
    assert [asset.name async for asset in manager.list_assets()] == ["model"]
    assert (await manager.fetch_asset("model")).path.read_text() == "a"
    with pytest.raises(AccessDenied, match=rf"Cannot write '.*' in {driver.url}: Read-only file system\. Mount"):
        await manager.update_asset(files("b"), "model")


# Missing permissions

ADVICE = r"Permission denied\. Check the owner and permissions, and those of the parent folders\."


@pytest.mark.parametrize("offline", [False, True])
@pytest.mark.parametrize("hidden", ["cache", "cache/memory-*/.aioassets/model"])
async def test_an_assets_directory_that_may_not_be_read_is_denied(
    commons: Path,
    memory: MemoryDriver,
    make_manager: ManagerFactory,
    two_versions: AssetsManager,
    hidden: str,
    offline: bool,
) -> None:
    """Offline, too, it isn't reported as missing."""
    await make_manager(memory, assets_dir=commons / "cache").fetch_asset("model:0.0")
    (folder,) = commons.glob(hidden)
    folder.chmod(0)
    manager = make_manager(memory, assets_dir=commons / "cache", offline=offline)
    with acting_as(NOBODY), pytest.raises(AccessDenied, match=rf"Cannot use '{commons}/cache.*': {ADVICE}"):
        await manager.fetch_asset("model:0.0" if not offline else "model")


async def test_hashing_a_cached_file_without_read_permission_is_denied(
    commons: Path, memory: MemoryDriver, make_manager: ManagerFactory, two_versions: AssetsManager
) -> None:
    """It isn't reported as damaged."""
    manager = make_manager(memory, assets_dir=commons / "cache")
    fetched = await manager.fetch_asset("model:0.0")
    (fetched.path / "weights" / "w.bin").chmod(0)
    with acting_as(NOBODY), pytest.raises(AccessDenied, match=rf"weights/w\.bin': {ADVICE}"):
        await manager.fetch_asset("model:0.0", verify=True)


async def test_an_assets_directory_that_can_not_be_created_is_denied(
    commons: Path, memory: MemoryDriver, make_manager: ManagerFactory, two_versions: AssetsManager
) -> None:
    """The error comes before any download."""
    driver = Interposer(memory)
    manager = make_manager(driver, assets_dir=commons / "cache")
    commons.chmod(0o555)
    with acting_as(NOBODY), pytest.raises(AccessDenied, match=rf"'{commons}/cache.*': {ADVICE}"):
        await manager.fetch_asset("model:0.0")
    assert "read_range" not in [method for method, _ in driver.calls]


@pytest.mark.parametrize("hidden", ["file", "folder"])
async def test_a_source_without_read_permission_is_named_and_burns_no_number(
    commons: Path, memory: MemoryDriver, make_manager: ManagerFactory, two_versions: AssetsManager, hidden: str
) -> None:
    """The source is a file, or a folder below it."""
    (commons / "source" / "folder").mkdir(parents=True)
    (commons / "source" / "file").write_text("secret")
    (commons / "source" / hidden).chmod(0)
    manager = make_manager(memory)
    with (
        acting_as(NOBODY),
        pytest.raises(SourceError, match=rf"Cannot push '.*source/{hidden}': Permission denied\."),
    ):
        await manager.update_asset(commons / "source", "model")
    (commons / "source" / hidden).chmod(0o755)
    with acting_as(NOBODY):
        assert (await manager.update_asset(commons / "source", "model")).version == "0.2"


async def test_a_read_only_store_is_served(
    commons: Path, make_manager: ManagerFactory, files: Files, tree: Path
) -> None:
    """Listing and fetching write nothing to it. A push is refused and changes nothing."""
    driver = LocalDriver(commons / "store")
    manager = make_manager(driver, assets_dir=commons / "cache")
    await manager.create_asset(files("a"), "model")
    (commons / "source").write_text("b")
    for path in (commons / "store", *(commons / "store").rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    before = contents(commons / "store")
    with acting_as(NOBODY):
        assert [asset.versions async for asset in manager.list_assets()] == [("0.0",)]
        with pytest.raises(AccessDenied, match=rf"Cannot write '.*' in {driver.url}: {ADVICE}"):
            await manager.update_asset(commons / "source", "model")
        with pytest.raises(AccessDenied, match=rf"Cannot write '.*' in {driver.url}: {ADVICE}"):
            await manager.create_asset(commons / "source", "other")
    assert contents(commons / "store") == before
    (commons / "cache").chmod(0o777)
    for path in (commons / "cache").rglob("*"):
        path.chmod(0o777)
    with acting_as(NOBODY):
        assert (await manager.fetch_asset("model")).path.read_text() == "a"


@pytest.mark.parametrize("hidden", ["", "assets/model", "assets/model.versions", "assets/model/0.0"])
async def test_an_object_without_read_permission_is_denied_and_not_missing(
    commons: Path, make_manager: ManagerFactory, files: Files, hidden: str
) -> None:
    """It isn't reported as damaged either, and an update doesn't start the asset anew."""
    driver = LocalDriver(commons / "store")
    manager = make_manager(driver, assets_dir=commons / "cache")
    await manager.create_asset(files("a"), "model")
    (commons / "source").write_text("b")
    (commons / "store" / hidden).chmod(0)
    (commons / "cache").chmod(0o777)
    for path in (commons / "cache").rglob("*"):
        path.chmod(0o777)
    with acting_as(NOBODY):
        with pytest.raises(AccessDenied, match=rf"Cannot read 'assets/model.*' in {driver.url}: {ADVICE}"):
            await manager.fetch_asset("model")
        if hidden != "assets/model/0.0":
            with pytest.raises(AccessDenied):
                await manager.update_asset(commons / "source", "model")
            with pytest.raises(AccessDenied):
                [asset async for asset in manager.list_assets()]


# Assets directories of several users

ANN, BEN, TEAM = 1001, 1002, 2000


@pytest.fixture
def shared(commons: Path) -> Path:
    """Return an assets directory that belongs to a group, as its new folders will."""
    folder = commons / "cache"
    folder.mkdir()
    if os.getuid() == 0:
        os.chown(folder, ANN, TEAM)
    folder.chmod(0o2775)
    return folder


@needs_users
async def test_users_of_one_group_share_an_assets_directory(
    shared: Path, memory: MemoryDriver, make_manager: ManagerFactory, two_versions: AssetsManager, tree: Path
) -> None:
    """Their umask leaves the group its permissions, which all files have."""
    managers = {user: make_manager(memory, assets_dir=shared) for user in (ANN, BEN)}
    with acting_as(ANN, group=TEAM, umask=0o002):
        first = await managers[ANN].fetch_asset("model:0.0")
        await managers[ANN].fetch_asset("model:0.1")
    with acting_as(BEN, group=TEAM, umask=0o002):
        assert (await managers[BEN].fetch_asset("model:0.0", verify=True)).from_cache
        (first.path / "weights" / "w.bin").write_bytes(b"spoilt")
        await managers[BEN].fetch_asset("model:0.0", force_download=True)
        (store_folder(shared) / ".aioassets" / "model" / "0.1.json").unlink()
        await managers[BEN].fetch_asset("model:0.1")
    assert contents(first.path) == contents(tree)


@needs_users
async def test_writing_to_a_folder_of_another_user_is_denied(
    shared: Path, memory: MemoryDriver, make_manager: ManagerFactory, two_versions: AssetsManager
) -> None:
    """The owner's umask gives others no write permission. Cached versions are served."""
    manager = make_manager(memory, assets_dir=shared)
    with acting_as(ANN, group=TEAM, umask=0o022):
        await manager.fetch_asset("model:0.0")
    with acting_as(BEN, group=TEAM, umask=0o022):
        assert (await manager.fetch_asset("model:0.0")).from_cache
        with pytest.raises(AccessDenied, match=rf"/model/0\.1\.lock': {ADVICE}"):
            await manager.fetch_asset("model:0.1")


@needs_users
async def test_a_lock_of_another_user_that_can_not_be_opened_is_denied(
    shared: Path, memory: MemoryDriver, make_manager: ManagerFactory, two_versions: AssetsManager
) -> None:
    """It may be held, so it isn't ignored."""
    lock = folder_of(shared, store_of(memory)) / ".aioassets" / "model" / "0.0.lock"
    with acting_as(ANN, group=TEAM, umask=0o002):
        lock.parent.mkdir(parents=True)
        lock.touch(0o600)
    manager = make_manager(memory, assets_dir=shared)
    with acting_as(BEN, group=TEAM, umask=0o002), pytest.raises(AccessDenied, match=rf"/model/0\.0\.lock': {ADVICE}"):
        await manager.fetch_asset("model:0.0")
    with acting_as(ANN, group=TEAM, umask=0o002):
        assert not (await manager.fetch_asset("model:0.0")).from_cache
