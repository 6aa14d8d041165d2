"""Fetches: they verify, place atomically, cache, and send no needless requests."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import time
from pathlib import Path

import anyio
import pytest
from tools.factories import Files, ManagerFactory
from tools.inspection import contents, keys, store_folder, without_uses
from tools.interposer import Fail, Interposer, Pause

from aioassets import (
    AccessDenied,
    AssetNotFound,
    AssetSpec,
    BytesTransferred,
    Driver,
    Event,
    FileTransferred,
    IntegrityError,
    InvalidSetting,
    LocalDriver,
    MemoryDriver,
    PartNotFound,
    StoreCorrupt,
    StoreUnavailable,
    TransferFinished,
    TransferStarted,
    VersionNotFound,
)
from aioassets.drivers.protocol import Expect
from aioassets.errors import AioAssetsError
from aioassets.testing import BytesSource


async def test_a_spec_resolves_to_the_latest_version_that_it_matches(
    driver: Driver, make_manager: ManagerFactory, files: Files
) -> None:
    """Versions are compared as numbers."""
    manager = make_manager(driver)
    await manager.create_asset(files("0.0"), "team/model")
    await manager.update_asset(files("0.1"), "team/model")
    for major in range(1, 12):
        await manager.update_asset(files(f"{major}.0"), "team/model", bump_major=True)
    resolved = {
        spec: (await manager.fetch_asset(f"team/model{spec}")).path.read_text() for spec in ("", ":0", ":1", ":0.0")
    }
    assert resolved == {"": "11.0", ":0": "0.1", ":1": "1.0", ":0.0": "0.0"}
    assert (await manager.fetch_asset(AssetSpec("team/model", "1"))).version == "1.0"


async def test_a_cached_version_that_is_named_exactly_needs_no_store(
    memory: MemoryDriver, make_manager: ManagerFactory, tree: Path
) -> None:
    driver = Interposer(memory)
    manager = make_manager(driver)
    await manager.create_asset(tree, "model")
    assert not (await manager.fetch_asset("model:0.0")).from_cache
    driver.calls.clear()
    fetched = await manager.fetch_asset("model:0.0")
    assert (fetched.from_cache, driver.calls) == (True, [])
    assert contents(fetched.path) == contents(tree)
    assert os.fspath(fetched) == str(fetched.path)


async def test_a_part_is_downloaded_alone(driver: Driver, make_manager: ManagerFactory, tree: Path) -> None:
    """A part matches whole path segments: a file, or all files below a folder."""
    interposer = Interposer(driver)
    manager = make_manager(interposer)
    await manager.create_asset(tree, "model")
    interposer.calls.clear()
    one = await manager.fetch_asset("model[weights/w.bin]")
    assert (one.path.name, one.path.read_bytes()) == ("w.bin", b"w" * 3000)
    assert [key for method, key in interposer.calls if method == "read_range"] == ["assets/model/0.0/weights/w.bin"]
    folder = await manager.fetch_asset("model:0[weights]")
    assert set(contents(folder.path)) == {"w.bin", "deeper/x.bin"}
    empty = await manager.fetch_asset("model:0[empty directory]")
    assert contents(empty.path) == {"inner": (None, False)}
    for part in ("weight", "weights/w", "nothing"):
        with pytest.raises(PartNotFound):
            await manager.fetch_asset(f"model[{part}]")
    with pytest.raises(PartNotFound):
        await manager.fetch_asset("model:0.0[nothing]")


async def test_a_cached_part_needs_no_store(memory: MemoryDriver, make_manager: ManagerFactory, tree: Path) -> None:
    """Both a single file and a file of a cached version count."""
    driver = Interposer(memory)
    manager = make_manager(driver)
    await manager.create_asset(tree, "model")
    await manager.fetch_asset("model[weights/w.bin]")
    driver.calls.clear()
    assert (await manager.fetch_asset("model:0.0[weights/w.bin]")).from_cache
    assert driver.calls == []
    whole = await manager.fetch_asset("model:0.0")
    driver.calls.clear()
    part = await manager.fetch_asset("model:0.0[weights]")
    assert (part.from_cache, part.path, driver.calls) == (True, whole.path / "weights", [])


async def test_a_cached_part_of_the_same_size_and_other_content_is_not_reused(
    memory: MemoryDriver, make_manager: ManagerFactory, tree: Path
) -> None:
    manager = make_manager(memory)
    await manager.create_asset(tree, "model")
    path = (await manager.fetch_asset("model[weights/w.bin]")).path
    path.write_bytes(b"x" * path.stat().st_size)
    fetched = await manager.fetch_asset("model")
    assert contents(fetched.path) == contents(tree)


async def test_a_whole_version_reuses_cached_parts(
    memory: MemoryDriver, make_manager: ManagerFactory, tree: Path
) -> None:
    driver = Interposer(memory)
    manager = make_manager(driver)
    await manager.create_asset(tree, "model")
    part = await manager.fetch_asset("model[weights/w.bin]")
    driver.calls.clear()
    whole = await manager.fetch_asset("model")
    assert ("read_range", "assets/model/0.0/weights/w.bin") not in driver.calls
    assert contents(whole.path) == contents(tree)
    assert part.path.exists()


async def test_a_file_that_is_not_what_was_pushed_is_never_served(
    driver: Driver, make_manager: ManagerFactory, tree: Path, tmp_path: Path
) -> None:
    manager = make_manager(driver)
    await manager.create_asset(tree, "model")
    key = "assets/model/0.0/weights/w.bin"
    await driver.delete([key])
    await driver.upload(key, BytesSource(b"w" * 2999 + b"W"))
    with pytest.raises(IntegrityError, match=r"model:0\.0\[weights/w\.bin\].*sha256 [0-9a-f]{64}.*found [0-9a-f]{64}"):
        await manager.fetch_asset("model")
    await driver.delete([key])
    with pytest.raises(IntegrityError, match="found nothing"):
        await manager.fetch_asset("model")
    assert not any((tmp_path / "cache").glob("*/model"))
    assert list((store_folder(tmp_path / "cache") / ".aioassets" / "model").glob("*.staging*")) == []


async def test_verify_hashes_cached_files_and_repairs_them(
    memory: MemoryDriver, make_manager: ManagerFactory, tree: Path
) -> None:
    """Without `verify`, files of the recorded size and time are trusted."""
    manager = make_manager(memory)
    await manager.create_asset(tree, "model")
    fetched = await manager.fetch_asset("model")
    damaged = fetched.path / "weights" / "w.bin"
    damaged.write_bytes(b"x" * 3000)
    os.utime(damaged, (0, 0))
    assert (await manager.fetch_asset("model")).from_cache
    for offline in (make_manager(memory, offline=True), make_manager(None)):
        with pytest.raises(IntegrityError, match=r"model:0\.0\[weights/w\.bin\]"):
            await offline.fetch_asset("model", verify=True)
    repaired = await manager.fetch_asset("model", verify=True)
    assert (repaired.from_cache, repaired.repaired) == (False, ("weights/w.bin",))
    assert contents(fetched.path) == contents(tree)
    again = await manager.fetch_asset("model", verify=True)
    assert (again.from_cache, again.repaired) == (True, ())


class Reads:
    """Hook that collects the keys of the content that is read."""

    def __init__(self) -> None:
        self.keys: list[str] = []

    async def __call__(self, moment: str, method: str, key: str) -> None:
        if (moment, method) == ("before", "read_range"):
            self.keys.append(key.removeprefix("assets/model/0.0/"))


@pytest.mark.parametrize("spec", ["model:0.0", "model", "model:0.0[weights]", "model:0.0[weights/w.bin]"])
@pytest.mark.parametrize(
    "damage",
    ["deleted", "cut", "edited", "replaced by a folder", "its folder deleted", "its folder replaced by a file"],
)
async def test_a_cached_file_that_changed_is_fetched_again(
    memory: MemoryDriver, make_manager: ManagerFactory, tree: Path, spec: str, damage: str
) -> None:
    manager = make_manager(memory)
    await manager.create_asset(tree, "model")
    payload = (await manager.fetch_asset("model")).path
    file = payload / "weights" / "w.bin"
    if damage == "cut":
        file.write_bytes(b"")
    elif damage == "edited":
        file.write_bytes(b"x" * 3000)
    elif "its folder" in damage:
        shutil.rmtree(file.parent)
        if damage == "its folder replaced by a file":
            file.parent.touch()
    else:
        file.unlink()
        if damage == "replaced by a folder":
            file.mkdir()
    with pytest.raises(IntegrityError, match=r"model:0\.0\[weights/"):
        await make_manager(None).fetch_asset(spec)
    reads = Reads()
    again = await make_manager(Interposer(memory, reads)).fetch_asset(spec)
    assert not again.from_cache
    assert again.path.exists()
    assert "weights/w.bin" in reads.keys
    assert ".hidden" not in reads.keys
    assert contents(payload) == contents(tree)
    assert (await make_manager(None).fetch_asset(spec, verify=True)).from_cache


async def test_a_cached_file_that_was_only_touched_is_hashed_once(
    memory: MemoryDriver, make_manager: ManagerFactory, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manager = make_manager(memory)
    await manager.create_asset(tree, "model")
    payload = (await manager.fetch_asset("model")).path
    later = time.time() + 5
    os.utime(payload / "weights" / "w.bin", (later, later))
    assert (await manager.fetch_asset("model")).from_cache
    os.utime(payload / "weights" / "w.bin")
    assert (await manager.fetch_asset("model")).from_cache
    monkeypatch.setattr("aioassets.fetch.lookup.verify_file", None)
    assert (await manager.fetch_asset("model")).from_cache


async def test_a_forced_download_replaces_what_differs_and_removes_nothing(
    memory: MemoryDriver, make_manager: ManagerFactory, tree: Path
) -> None:
    """Other processes may be reading the payload."""
    manager = make_manager(memory)
    await manager.create_asset(tree, "model")
    fetched = await manager.fetch_asset("model")
    spoilt, untouched = fetched.path / "weights" / "w.bin", fetched.path / ".hidden"
    spoilt.write_bytes(b"spoilt")
    (fetched.path / "added").write_text("by the user")
    before = untouched.stat().st_ino
    again = await manager.fetch_asset("model", force_download=True)
    assert not again.from_cache
    assert spoilt.read_bytes() == b"w" * 3000
    assert (untouched.stat().st_ino, (fetched.path / "added").exists()) == (before, True)


async def test_a_payload_without_a_record_is_adopted_if_it_is_intact(
    memory: MemoryDriver, make_manager: ManagerFactory, tree: Path, tmp_path: Path
) -> None:
    """A lost record costs hashing, not downloading. A wrong payload is put aside."""
    driver = Interposer(memory)
    manager = make_manager(driver)
    await manager.create_asset(tree, "model")
    fetched = await manager.fetch_asset("model")
    record = store_folder(tmp_path / "cache") / ".aioassets" / "model" / "0.0.json"
    record.unlink()
    driver.calls.clear()
    assert (await manager.fetch_asset("model:0.0")).from_cache
    assert [method for method, _ in driver.calls] == ["read"]
    assert record.exists()
    record.unlink()
    (fetched.path / ".hidden").write_text("else")
    again = await manager.fetch_asset("model:0.0")
    assert contents(again.path) == contents(tree)
    (aside,) = record.parent.glob("0.0.aside-*")
    assert (aside / ".hidden").read_text() == "else"


async def test_one_assets_directory_does_not_mix_two_stores(make_manager: ManagerFactory, files: Files) -> None:
    """Two stores may hold different content under one name and version."""
    managers = {name: make_manager(MemoryDriver("same")) for name in ("one", "other")}
    for name, manager in managers.items():
        await manager.create_asset(files(name), "model")
        assert not (await manager.fetch_asset("model:0.0")).from_cache
    for name, manager in managers.items():
        again = await manager.fetch_asset("model:0.0")
        assert (again.from_cache, again.path.read_text()) == (True, name)


async def test_parts_of_two_stores_are_kept_apart(make_manager: ManagerFactory, tmp_path: Path) -> None:
    managers = {}
    for name in ("one", "other"):
        folder = tmp_path / name
        folder.mkdir()
        for part in "ab":
            (folder / part).write_text(f"{name:>5} {part}")
        managers[name] = make_manager(MemoryDriver(name))
        await managers[name].create_asset(folder, "model")
    await managers["one"].fetch_asset("model:0.0[a]")
    assert (await managers["other"].fetch_asset("model:0.0[b]")).path.read_text() == "other b"
    fetched = await managers["other"].fetch_asset("model:0.0[a]")
    assert (fetched.from_cache, fetched.path.read_text()) == (False, "other a")
    await managers["one"].fetch_asset("model:0.0[a]")
    whole = await managers["other"].fetch_asset("model:0.0")
    assert contents(whole.path) == {part: (f"other {part}".encode(), False) for part in "ab"}


async def test_a_forced_download_replaces_a_version_that_is_another_one_now(
    memory: MemoryDriver, make_manager: ManagerFactory, tmp_path: Path
) -> None:
    """The store was emptied, and another push took the number. The former payload is put aside as a whole."""
    manager = make_manager(memory)
    for name, parts in (("one", ("a", "only in one")), ("other", ("a", "b"))):
        (tmp_path / name).mkdir()
        for part in parts:
            (tmp_path / name / part).write_text(name)
        await memory.delete(await keys(memory))
        await manager.create_asset(tmp_path / name, "model")
        fetched = await manager.fetch_asset("model:0.0", force_download=True)
        assert contents(fetched.path) == contents(tmp_path / name)
        assert fetched.path == store_folder(tmp_path / "cache") / "model" / "0.0"
    (aside,) = (store_folder(tmp_path / "cache") / ".aioassets" / "model").glob("0.0.aside-*")
    assert contents(aside) == contents(tmp_path / "one")
    assert (await manager.fetch_asset("model:0.0", offline=True)).path == fetched.path


async def test_a_forced_download_restores_the_executable_bit(
    memory: MemoryDriver, make_manager: ManagerFactory, tree: Path
) -> None:
    manager = make_manager(memory)
    await manager.create_asset(tree, "model")
    fetched = await manager.fetch_asset("model")
    (fetched.path / "run.sh").chmod(0o644)
    again = await manager.fetch_asset("model", force_download=True)
    assert contents(again.path) == contents(tree)


async def test_offline_finds_cached_parts(memory: MemoryDriver, make_manager: ManagerFactory, tree: Path) -> None:
    """Specs with and without a version find them."""
    manager = make_manager(memory)
    await manager.create_asset(tree, "model")
    await manager.fetch_asset("model[weights]")
    offline = make_manager(memory, offline=True)
    for spec in ("model[weights/w.bin]", "model:0[weights]", "model:0.0[weights]"):
        assert (await offline.fetch_asset(spec)).from_cache
    with pytest.raises(AssetNotFound):
        await offline.fetch_asset("model[.hidden]")
    with pytest.raises(InvalidSetting):
        await offline.fetch_asset("model:0.0", force_download=True)


async def test_an_object_that_is_replaced_during_a_fetch_fails_it(
    memory: MemoryDriver, make_manager: ManagerFactory
) -> None:
    """Files without recorded sizes are read at the revision that was listed."""
    meta = {"push_date": "2024-05-06T07:08:09Z", "is_directory": True, "contents": ["a"]}
    await memory.write("assets/model/0.0.meta", json.dumps(meta).encode(), expected=Expect.ABSENT)
    await memory.upload("assets/model/0.0/a", BytesSource(b"a"))

    async def replace(moment: str, method: str, key: str) -> None:
        if (moment, method) == ("before", "read_range"):
            await memory.upload(key, BytesSource(b"b"), expected=Expect.ANYTHING)

    with pytest.raises(IntegrityError, match=r"model:0\.0\[a\]"):
        await make_manager(Interposer(memory, replace)).fetch_asset("model:0.0")


async def test_offline_resolves_among_cached_versions(
    memory: MemoryDriver, make_manager: ManagerFactory, files: Files
) -> None:
    """A manager without a bucket does the same."""
    online = make_manager(memory)
    await online.create_asset(files("a"), "model")
    await online.fetch_asset("model")
    await online.update_asset(files("b"), "model")
    for offline in (make_manager(memory, offline=True), make_manager(None)):
        fetched = await offline.fetch_asset("model")
        assert (fetched.version, fetched.from_cache) == ("0.0", True)
        with pytest.raises(VersionNotFound, match=r"has no version 0\.1.*Available: 0\.0"):
            await offline.fetch_asset("model:0.1")
        with pytest.raises(AssetNotFound):
            await offline.fetch_asset("other")
        with pytest.raises(AioAssetsError):
            await offline.fetch_asset("model", force_download=True)
    assert (await online.fetch_asset("model", offline=True)).version == "0.0"


async def test_offline_serves_only_files_of_the_own_store(make_manager: ManagerFactory, files: Files) -> None:
    """Staging and production hold the same name."""
    staging, production = MemoryDriver("staging"), MemoryDriver("production")
    for driver, text in ((staging, "s"), (production, "p")):
        await make_manager(driver).create_asset(files(text), "model")
    await make_manager(staging).fetch_asset("model:0.0")
    offline = make_manager(production, offline=True)
    with pytest.raises(AssetNotFound):
        await offline.fetch_asset("model")
    with pytest.raises(VersionNotFound):
        await offline.fetch_asset("model:0.0")
    assert (await make_manager(staging, offline=True).fetch_asset("model")).path.read_text() == "s"


async def test_a_listed_version_without_a_manifest_is_damaged(
    driver: Driver, make_manager: ManagerFactory, files: Files
) -> None:
    manager = make_manager(driver)
    await manager.create_asset(files("a"), "model")
    await driver.delete(["assets/model/0.0.meta"])
    for attempt in (manager.fetch_asset("model"), manager.fetch_asset("model:0.0"), manager.verify_asset("model")):
        with pytest.raises(StoreCorrupt, match=r"0\.0\.meta is invalid: the index lists model:0\.0, but its manifest"):
            await attempt


async def test_the_error_of_an_unreachable_store_names_cached_versions(
    memory: MemoryDriver, make_manager: ManagerFactory, files: Files
) -> None:
    await make_manager(memory).create_asset(files("a"), "model")
    await make_manager(memory).fetch_asset("model")
    manager = make_manager(Interposer(memory, Fail("before", "read", "model.versions", times=9)))
    with pytest.raises(StoreUnavailable, match=r"Request a cached version exactly: 0\.0\."):
        await manager.fetch_asset("model")
    assert (await manager.fetch_asset("model:0.0")).from_cache


async def test_what_is_not_there_is_not_found(driver: Driver, make_manager: ManagerFactory, files: Files) -> None:
    manager = make_manager(driver)
    await manager.create_asset(files("a"), "model")
    with pytest.raises(AssetNotFound):
        await manager.fetch_asset("other")
    with pytest.raises(AssetNotFound):
        await manager.fetch_asset("other:0.0")
    with pytest.raises(VersionNotFound, match=r"Available: 0\.0"):
        await manager.fetch_asset("model:0.1")
    with pytest.raises(VersionNotFound):
        await manager.fetch_asset("model:1")
    with pytest.raises(PartNotFound):
        await manager.fetch_asset("model[a]")


async def test_concurrent_fetches_download_once(driver: Driver, make_manager: ManagerFactory, tree: Path) -> None:
    interposer = Interposer(driver)
    managers = [make_manager(interposer) for _ in range(3)]
    await managers[0].create_asset(tree, "model")
    interposer.calls.clear()
    fetched = await asyncio.gather(*(managers[n % 3].fetch_asset("model") for n in range(12)))
    assert [asset.from_cache for asset in fetched].count(False) == 1
    downloads = [key for method, key in interposer.calls if method == "read_range"]
    assert len(downloads) == len(set(downloads))


async def test_a_waiter_takes_over_from_a_cancelled_download(
    memory: MemoryDriver, make_manager: ManagerFactory, tree: Path
) -> None:
    await make_manager(memory).create_asset(tree, "model")
    gate = Pause("before", "read_range", "w.bin")
    first, second = make_manager(Interposer(memory, gate)), make_manager(memory)
    download = asyncio.ensure_future(first.fetch_asset("model"))
    await gate.reached.wait()
    waiting = asyncio.ensure_future(second.fetch_asset("model"))
    await anyio.lowlevel.checkpoint()
    download.cancel()
    with pytest.raises(asyncio.CancelledError):
        await download
    fetched = await waiting
    assert (fetched.from_cache, contents(fetched.path)) == (False, contents(tree))


async def test_a_read_only_assets_directory_serves_what_is_complete(
    memory: MemoryDriver, make_manager: ManagerFactory, tree: Path, tmp_path: Path
) -> None:
    manager = make_manager(memory)
    await manager.create_asset(tree, "model")
    await manager.fetch_asset("model")

    def state() -> dict[str, int]:
        own = store_folder(tmp_path / "cache") / ".aioassets" / "model"  # changes when a use is recorded
        found = (path for path in (tmp_path / "cache").rglob("*") if path != own and without_uses([path.name]))
        return {str(path): path.stat().st_mtime_ns for path in found}

    before = state()
    assert (await make_manager(memory, offline=True).fetch_asset("model")).from_cache
    assert (await manager.fetch_asset("model[weights]")).from_cache
    assert state() == before


async def test_an_assets_directory_without_write_permission_is_denied(
    memory: MemoryDriver, make_manager: ManagerFactory, readable: Path, unprivileged: None
) -> None:
    manager = make_manager(memory, assets_dir=readable)
    meta = b'{"push_date": "2024-05-06T07:08:09Z", "is_directory": false}'
    await memory.write("assets/model/0.0.meta", meta, expected=Expect.ABSENT)
    with pytest.raises(AccessDenied, match="Permission denied"):
        await manager.fetch_asset("model:0.0")


async def test_progress_is_reported_as_events(memory: MemoryDriver, make_manager: ManagerFactory, tree: Path) -> None:
    """The events suffice to show files, bytes and the time left."""
    manager = make_manager(memory)
    for run in (
        lambda report: manager.create_asset(tree, "model", progress=report),
        lambda report: manager.fetch_asset("model", progress=report),
    ):
        events: list[Event] = []
        await run(events.append)
        started, finished = events[0], events[-1]
        assert isinstance(started, TransferStarted)
        assert (started.files, started.nbytes) == (7, sum(p.stat().st_size for p in tree.rglob("*") if p.is_file()))
        assert sum(event.nbytes for event in events if isinstance(event, BytesTransferred)) == started.nbytes
        assert len([event for event in events if isinstance(event, FileTransferred)]) == 7
        assert finished == TransferFinished("model", "0.0")


@pytest.mark.parametrize("kind", [TransferStarted, BytesTransferred, FileTransferred, TransferFinished])
async def test_an_error_of_a_callback_passes_as_it_is(
    memory: MemoryDriver, make_manager: ManagerFactory, tree: Path, tmp_path: Path, kind: type[Event]
) -> None:
    """Even an `OSError`: the terminal of a progress bar may be closed, and the disk be fine."""
    manager = make_manager(memory)
    await manager.create_asset(tree, "model")

    def report(event: Event) -> None:
        if isinstance(event, kind):
            raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        await manager.fetch_asset("model", progress=report)
    assert not any((tmp_path / "cache").glob("*/model"))


async def test_versions_of_modelkit_are_fetched_unverified(
    driver: Driver, make_manager: ManagerFactory, tmp_path: Path
) -> None:
    """Manifests of modelkit record neither sizes nor digests."""
    large = bytes(range(256)) * 40_000
    for path, data in {"a": b"a", "b/c": large, "empty": b""}.items():
        await driver.upload(f"modelkit-assets/model/0.0/{path}", BytesSource(data))
    meta = {"push_date": "2024-05-06T07:08:09.123456+00:00", "is_directory": True, "contents": ["a", "b/c", "empty"]}
    await driver.write("modelkit-assets/model/0.0.meta", json.dumps(meta).encode(), expected=Expect.ABSENT)
    await driver.write("modelkit-assets/model.versions", b'{"versions": ["0.0"]}', expected=Expect.ABSENT)
    manager = make_manager(driver, assetsmanager_prefix="modelkit-assets")
    fetched = await manager.fetch_asset("model")
    assert (fetched.verified, fetched.manifest.size) == (False, None)
    assert contents(fetched.path) == {"a": (b"a", False), "b/c": (large, False), "empty": (b"", False)}
    assert (await manager.fetch_asset("model:0.0")).from_cache
    (tmp_path / "new").write_text("new")
    assert (await manager.update_asset(tmp_path / "new", "model")).version == "0.1"


def test_the_assets_directory_must_not_be_the_store(make_manager: ManagerFactory, tmp_path: Path) -> None:
    with pytest.raises(InvalidSetting, match="Use a different folder"):
        make_manager(LocalDriver(tmp_path), assets_dir=tmp_path)
