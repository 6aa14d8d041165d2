"""Placements: whatever fails or races while a version is replaced, a complete version is served."""

from __future__ import annotations

import errno
import hashlib
import itertools
import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pytest
from tools.factories import Files, ManagerFactory
from tools.filesystems import Layers
from tools.inspection import contents, keys
from tools.turns import Turns, orders

from aioassets import AssetSpec, FileEntry, Manifest, MemoryDriver
from aioassets.fetch.entry import CacheEntry
from aioassets.fetch.leftovers import CacheCleaning
from aioassets.fetch.lookup import Lookup
from aioassets.fetch.placement import Placement
from aioassets.fetch.record import Record
from aioassets.fetch.selection import Selection
from aioassets.fetch.staging import Staging
from aioassets.model.keys import Layout
from aioassets.model.leftovers import CleaningRules
from aioassets.store.documents import AssetStore


class Cache:
    """The cache of `model:0.0` of one store, as a fetch without locks sees it.

    Args:
        assets_dir: the assets directory.
        is_directory: whether the version is a directory.
    """

    def __init__(self, assets_dir: Path, *, is_directory: bool) -> None:
        self.assets_dir = assets_dir
        self._paths = ("a", "sub/b") if is_directory else ("",)
        self._is_directory = is_directory
        store = AssetStore(MemoryDriver(), Layout("assets"))
        self._source = store.identity
        self._lookup = Lookup(assets_dir, AssetSpec("model", "0.0"), store)
        self.entry = self._lookup.entry(store, "0.0")

    def staged(self, text: str, spec: str = "model") -> Staging:
        """Return the staged download of a version whose files all contain a text."""
        data = text.encode()
        digests = {"sha256": hashlib.sha256(data).hexdigest()}
        files = tuple(FileEntry(path, len(data), digests) for path in self._paths)
        manifest = Manifest(datetime(2026, 1, 1, tzinfo=UTC), self._is_directory, files)
        record = Record(self._source, manifest, self.entry.label)
        staging = Staging.of(self.entry, record, Selection.of(manifest, AssetSpec.parse(spec), "0.0"))
        staging.create()
        staging.prepare()
        for file in staging.selection.files:
            staging.path_of(file).write_bytes(data)
        return staging

    def place(self, text: str) -> Path:
        """Place a version, and return its path."""
        return Placement(self.staged(text)).place_version()

    def served(self, *, verify: bool = False) -> str | None:
        """Return the text of all files that a lookup finds; `None` if it finds nothing."""
        found = self._lookup.find("0.0")
        if found is None:
            return None
        assert found.first_problem(verify=verify) is None
        return self.text_at(found.root)

    def text_at(self, root: Path) -> str:
        """Return the text of all files below a path."""
        (text,) = {(root / path).read_text() for path in self._paths}
        return text

    def clean(self) -> None:
        """Remove what a cleaning removes."""
        cleaning = CacheCleaning(self.assets_dir, lambda _: True)
        for leftover in cleaning.find(None, CleaningRules(None, False)):
            if leftover.removable:
                cleaning.remove(leftover)


@pytest.fixture(params=["directory", "file"])
def cache(tmp_path: Path, request: pytest.FixtureRequest) -> Cache:
    """Return an empty cache, for both kinds of versions."""
    return Cache(tmp_path / "cache", is_directory=request.param == "directory")


Change = Callable[..., None]


@pytest.fixture
def on_change(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], None]], None]:
    """Return a function that sets a hook to call before each rename, by which alone a cache changes."""

    def install(hook: Callable[[], None]) -> None:
        for name in ("rename", "replace"):
            change: Change = getattr(os, name)

            def hooked(*args: Any, change: Change = change) -> None:
                hook()
                change(*args)

            monkeypatch.setattr(os, name, hooked)

    return install


class Killed(BaseException):
    """Stands for the end of the process."""


def failing(number: int, error: BaseException, *, last: bool = False) -> Callable[[], None]:
    """Return a hook that raises an error at one change, or at all from there."""
    counter = itertools.count()

    def hook() -> None:
        count = next(counter)
        if count == number or (last and count > number):
            raise error

    return hook


CHANGES: Final = 5
"""Renames of a replacement: to a place of its own, record, put aside, to the usual place, record."""


@pytest.mark.parametrize("number", range(CHANGES))
@pytest.mark.parametrize("code", [errno.EXDEV, errno.EIO, errno.ENOSPC])
def test_a_replacement_that_fails_anywhere_leaves_the_old_version_or_serves_the_new_one(
    cache: Cache, on_change: Callable[..., None], monkeypatch: pytest.MonkeyPatch, number: int, code: int
) -> None:
    cache.place("old")
    replacement = Placement(cache.staged("new"))
    on_change(failing(number, OSError(code, os.strerror(code))))
    try:
        path = replacement.place_version()
    except OSError:
        assert number < 2
        assert cache.served(verify=True) == "old"
    else:
        assert number != 1
        assert cache.text_at(path) == "new"
        assert cache.served() == "new"
    monkeypatch.undo()
    assert cache.text_at(cache.place("new")) == "new"
    assert cache.served(verify=True) == "new"


@pytest.mark.parametrize("former", [None, "old", "new"])
def test_a_file_system_that_renames_no_folders_serves_what_was_placed_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, former: str | None
) -> None:
    cache = Cache(tmp_path / "cache", is_directory=True)
    if former is not None:
        cache.place(former)
    rename = os.rename

    def rename_files(source: Path, target: Path) -> None:
        if os.path.isdir(source):
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        rename(source, target)

    monkeypatch.setattr(os, "rename", rename_files)
    for text in ("new", "new", "newer"):
        assert cache.text_at(cache.place(text)) == text
        assert cache.served() == text
    cache.clean()
    assert cache.served(verify=True) == "newer"


@pytest.mark.parametrize("former", ["recorded", "in another place", "without a payload"])
@pytest.mark.parametrize("number", range(CHANGES + 1))
def test_a_replacement_that_is_killed_anywhere_leaves_a_version_that_is_served(
    cache: Cache, on_change: Callable[..., None], monkeypatch: pytest.MonkeyPatch, number: int, former: str
) -> None:
    cache.place("old")
    if former == "in another place":
        kill(cache, "mid", 2, on_change, monkeypatch)
    elif former == "without a payload":
        os.rename(cache.entry.payload, cache.assets_dir / "elsewhere")
    before = cache.served()
    kill(cache, "new", number, on_change, monkeypatch)
    assert cache.served(verify=True) == ("new" if number >= 2 else before)
    cache.clean()
    assert cache.served() == ("new" if number >= 2 else before)
    assert cache.text_at(cache.place("new")) == "new"
    assert cache.served(verify=True) == "new"


def kill(cache: Cache, text: str, number: int, on_change: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace a version in a process that is killed before one of its changes."""
    replacement = Placement(cache.staged(text))
    on_change(failing(number, Killed(), last=True))
    try:
        replacement.place_version()
    except Killed:
        pass
    finally:
        monkeypatch.undo()


@pytest.mark.parametrize("number", range(3))
def test_a_first_placement_that_is_killed_serves_nothing_that_is_not_recorded(
    cache: Cache, on_change: Callable[..., None], monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    kill(cache, "new", number, on_change, monkeypatch)
    assert cache.served() == ("new" if number == 2 else None)
    cache.place("new")
    assert cache.served(verify=True) == "new"


def test_a_payload_that_was_moved_but_not_recorded_is_hashed_before_it_is_served(
    cache: Cache, on_change: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The record refers to another place, so nothing else tells that this is the payload."""
    cache.place("old")
    kill(cache, "new", 4, on_change, monkeypatch)
    assert cache.served() == "new"
    for path in [cache.entry.payload, *cache.entry.payload.rglob("*")]:
        if path.is_file():
            path.write_text("xyz")
            os.utime(path, (0, 0))
    with pytest.raises(AssertionError):
        cache.served()


# Interleavings, as on file systems whose locks are always granted


@pytest.mark.once
@pytest.mark.parametrize("former", [None, "old", "new"])
def test_two_fetches_that_hold_one_lock_end_with_a_complete_version_in_any_order(
    tmp_path: Path, on_change: Callable[..., None], former: str | None
) -> None:
    turns: list[Turns[Path]] = []
    on_change(lambda: turns[-1].hook() if turns else None)
    for number, order in enumerate(orders(CHANGES, CHANGES) if former == "old" else orders(3, 3)):
        cache = Cache(tmp_path / str(number), is_directory=True)
        if former is not None:
            cache.place(former)
        staged = [Placement(cache.staged("new")) for _ in range(2)]
        turns.append(Turns([placement.place_version for placement in staged]))

        def look(cache: Cache = cache) -> None:
            assert cache.served() in (None, former, "new")
            cache.clean()

        turns[-1].run(order, look)
        assert turns[-1].errors == {}, order
        assert [cache.text_at(path) for path in turns[-1].results.values()] == ["new", "new"], order
        assert cache.served(verify=True) == "new", order


def test_two_fetches_of_parts_that_hold_one_lock_keep_both_parts(
    tmp_path: Path, on_change: Callable[..., None]
) -> None:
    turns: list[Turns[Path]] = []
    on_change(lambda: turns[-1].hook() if turns else None)
    for number, order in enumerate(orders(3, 3)):
        cache = Cache(tmp_path / str(number), is_directory=True)
        staged = [Placement(cache.staged("new", spec)) for spec in ("model[a]", "model[sub]")]
        turns.append(Turns([placement.place_parts for placement in staged]))
        turns[-1].run(order, cache.clean)
        assert turns[-1].errors == {}, order
        assert cache.text_at(turns[-1].results[0]) == "new"
        assert turns[-1].results[0] == turns[-1].results[1]


def test_parts_of_another_version_with_the_number_are_kept_until_the_new_ones_are_recorded(
    tmp_path: Path, on_change: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(4):
        cache = Cache(tmp_path / str(number), is_directory=True)
        Placement(cache.staged("old", "model[a]")).place_parts()
        replacement = Placement(cache.staged("new", "model[a]"))
        on_change(failing(number, Killed(), last=True))
        try:
            replacement.place_parts()
        except Killed:
            pass
        finally:
            monkeypatch.undo()
        record = cache.entry.parts_record()
        assert record is not None
        assert (cache.entry.parts_of(record) / "a").read_text() == ("new" if number >= 2 else "old")


# overlayfs


@pytest.fixture(params=["root", "user namespace"])
def layers(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Layers]:
    """Return an overlayfs that isn't mounted yet. In a user namespace, it can't even rename most new folders."""
    with Layers.prepared(tmp_path / "layers", as_root=request.param == "root") as found:
        if found is None:
            pytest.skip("no file system can be mounted here: that takes user namespaces, or root's privileges")
        yield found


async def test_a_version_in_a_lower_layer_is_replaced_or_kept(
    layers: Layers, memory: MemoryDriver, make_manager: ManagerFactory, files: Files, tree: Path
) -> None:
    """overlayfs refuses to rename a folder of a lower layer. A cache in a container image is one."""
    manager = make_manager(memory, assets_dir=layers.lower / "cache")
    await manager.create_asset(tree, "model")
    lower = (await manager.fetch_asset("model:0.0")).path
    if not layers.mount():
        pytest.skip("overlayfs can't be mounted here")
    usual = layers.merged / lower.relative_to(layers.lower)
    with pytest.raises(OSError, match="Invalid cross-device link"):
        os.rename(usual, usual.with_name("moved"))

    (tree / "weights" / "w.bin").write_bytes(b"other")
    await memory.delete(await keys(memory))
    upper = make_manager(memory, assets_dir=layers.merged / "cache")
    await upper.create_asset(tree, "model")
    fetched = await upper.fetch_asset("model:0.0", force_download=True)
    assert contents(fetched.path) == contents(tree)
    await upper.update_asset(files("next"), "model")
    assert (await upper.fetch_asset("model:0.1")).path.read_text() == "next"
    await upper.update_asset(tree, "model")
    assert contents((await upper.fetch_asset("model:0.2")).path) == contents(tree)
    for _ in range(2):
        cached = await upper.fetch_asset("model:0.0", offline=True, verify=True)
        assert contents(cached.path) == contents(tree)
        assert (await upper.fetch_asset("model:0.0", force_download=True)).path == fetched.path


async def test_damage_in_a_lower_layer_is_repaired(
    layers: Layers, memory: MemoryDriver, make_manager: ManagerFactory, tree: Path
) -> None:
    """Single files of a lower layer can be replaced."""
    manager = make_manager(memory, assets_dir=layers.lower / "cache")
    await manager.create_asset(tree, "model")
    lower = (await manager.fetch_asset("model:0.0")).path
    CacheEntry(lower.parents[1], "model", "0.0").record_file.unlink()
    (lower / "weights" / "w.bin").write_bytes(b"other")
    if not layers.mount():
        pytest.skip("overlayfs can't be mounted here")
    upper = make_manager(memory, assets_dir=layers.merged / "cache")
    fetched = await upper.fetch_asset("model:0.0")
    assert contents(fetched.path) == contents(tree)
    assert contents((await upper.fetch_asset("model:0.0", offline=True, verify=True)).path) == contents(tree)
