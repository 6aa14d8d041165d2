"""Comparisons of unchanged trees, which read no file again."""

from __future__ import annotations

import asyncio
import hashlib
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from tools.factories import ManagerFactory
from tools.inspection import store_of
from tools.interposer import Interposer
from tools.rounds import Rounds

from aioassets import AssetsManager, Manifest, MemoryDriver, SourceChanged
from aioassets.drivers.protocol import Expect
from aioassets.push import hashes
from aioassets.push.sources import LocalFile
from aioassets.runtime import known_hashes
from aioassets.runtime.known_hashes import KnownHashes, State

_opened: list[str] | None = None


def _note_open(event: str, args: tuple[object, ...]) -> None:
    if event == "open" and _opened is not None and isinstance(args[0], str):
        _opened.append(args[0])


sys.addaudithook(_note_open)


@pytest.fixture
def opened(tree: Path) -> Iterator[list[str]]:
    """Record the paths that are opened."""
    global _opened  # noqa: PLW0603 - audit hooks can't be removed
    found: list[str] = []
    _opened = found
    yield found
    _opened = None


@pytest.fixture(autouse=True)
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trust the times of files that have just changed, so that tests needn't wait."""
    monkeypatch.setattr(known_hashes, "MARGIN", -(10**18))


@pytest.fixture
async def manager(memory: MemoryDriver, make_manager: ManagerFactory, tree: Path) -> AssetsManager:
    """Return a manager that knows no hashes yet of the tree, which is the latest version."""
    await make_manager(memory, remember_hashes=False).create_asset(tree, "model")
    return make_manager(memory)


async def is_unchanged(manager: AssetsManager, tree: Path) -> bool:
    return (await manager.plan_update(tree, "model", if_changed=True)).unchanged


def count(opened: list[str], tree: Path) -> int:
    """Return how many files with content were opened since the last call. Scans look into empty files."""
    paths, opened[:] = [*opened], []
    return sum(path.startswith(f"{tree}{os.sep}") and os.path.getsize(path) > 0 for path in paths)


async def test_an_unchanged_tree_is_not_opened_again(manager: AssetsManager, tree: Path, opened: list[str]) -> None:
    assert await is_unchanged(manager, tree)
    assert count(opened, tree) > 0

    assert await is_unchanged(manager, tree)
    assert (await manager.update_asset(tree, "model", if_changed=True)).unchanged
    assert count(opened, tree) == 0


async def test_the_hashes_of_a_push_are_remembered(
    memory: MemoryDriver, make_manager: ManagerFactory, tree: Path, opened: list[str]
) -> None:
    await make_manager(memory).create_asset(tree, "model")
    count(opened, tree)

    assert await is_unchanged(make_manager(memory), tree)
    assert count(opened, tree) == 0


async def test_small_files_in_a_large_tree_are_remembered_together(
    memory: MemoryDriver, make_manager: ManagerFactory, tree: Path, opened: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a change, those that changed and other small ones are read again."""
    monkeypatch.setattr(hashes, "MIN_TREE", 1)
    monkeypatch.setattr(hashes, "MIN_REMEMBERED", 1000)
    (tree / "large").write_bytes(b"large" * 200)
    await make_manager(memory).create_asset(tree, "model")
    assert await is_unchanged(make_manager(memory), tree)
    count(opened, tree)
    os.utime(tree / ".hidden", (1, 1))

    assert await is_unchanged(make_manager(memory), tree)
    assert str(tree / ".hidden") in opened
    assert str(tree / "large") not in opened


async def test_an_unchanged_tree_takes_three_requests_in_sequence(
    manager: AssetsManager, memory: MemoryDriver, make_manager: ManagerFactory, tree: Path
) -> None:
    await is_unchanged(manager, tree)
    rounds = Rounds()
    counted = make_manager(Interposer(memory, rounds))

    await rounds.count(lambda: counted.update_asset(tree, "model", if_changed=True))

    assert len(rounds.sizes) <= 3


async def test_other_managers_know_the_hashes_too(
    manager: AssetsManager, memory: MemoryDriver, make_manager: ManagerFactory, tree: Path, opened: list[str]
) -> None:
    await is_unchanged(manager, tree)
    count(opened, tree)

    assert await is_unchanged(make_manager(memory), tree)
    assert count(opened, tree) == 0


async def test_a_diff_opens_no_known_file(manager: AssetsManager, tree: Path, opened: list[str]) -> None:
    (tree / "new").write_bytes((tree / ".hidden").read_bytes())
    before = await manager.diff_versions("model:0.0", tree)
    assert count(opened, tree) > 0

    assert await manager.diff_versions("model:0.0", tree) == before
    assert count(opened, tree) == 0


async def test_only_a_changed_file_is_opened(manager: AssetsManager, tree: Path, opened: list[str]) -> None:
    await is_unchanged(manager, tree)
    content = (tree / ".hidden").read_bytes()
    (tree / ".hidden").write_bytes(content[::-1] if content[::-1] != content else b"x" * len(content))
    opened.clear()

    assert not await is_unchanged(manager, tree)
    assert count(opened, tree) == 1


async def test_a_file_that_changed_but_kept_its_size_and_modification_time_is_found(
    manager: AssetsManager, tree: Path
) -> None:
    """Programs can't set the time of the last change of the status."""
    file = tree / ".hidden"
    before = file.stat()
    assert await is_unchanged(manager, tree)
    file.write_bytes(file.read_bytes().swapcase())
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert file.stat().st_mtime_ns == before.st_mtime_ns

    assert not await is_unchanged(manager, tree)


async def test_recent_changes_are_not_trusted(
    manager: AssetsManager, tree: Path, opened: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(known_hashes, "MARGIN", 2 * 10**9)
    (tree / ".hidden").touch()
    for _ in range(2):
        assert await is_unchanged(manager, tree)
        assert str(tree / ".hidden") in opened
        opened.clear()


async def test_a_file_that_changes_while_it_is_hashed_is_not_remembered(
    manager: AssetsManager, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed = LocalFile.hashed

    async def changed(self: LocalFile, algorithm: str) -> str | None:
        if self.path == ".hidden":
            await asyncio.to_thread((tree / ".hidden").write_bytes, b"changed")
        return await hashed(self, algorithm)

    with monkeypatch.context() as patched:
        patched.setattr(LocalFile, "hashed", changed)
        with pytest.raises(SourceChanged):
            await is_unchanged(manager, tree)

    assert not await is_unchanged(manager, tree)


async def test_a_version_with_other_digests_is_compared_by_those(
    manager: AssetsManager, memory: MemoryDriver, tree: Path
) -> None:
    """A known SHA-256 tells nothing about a version that has only MD5, such as a copy that the store made."""
    manifest = (await store_of(memory).read_meta("model", "0.0")).content
    assert isinstance(manifest, Manifest)
    md5 = [
        replace(file, digests={"md5": hashlib.md5((tree / file.path).read_bytes(), usedforsecurity=False).hexdigest()})
        for file in manifest.files
    ]
    data = replace(manifest, files=md5, content_digest=None).to_json()
    (tree / ".hidden").write_bytes(b"HIDDEN")
    assert not await is_unchanged(manager, tree)
    await memory.write("assets/model/0.0.meta", data, expected=Expect.ANYTHING)

    assert not await is_unchanged(manager, tree)
    (tree / ".hidden").write_bytes(b"hidden")
    assert await is_unchanged(manager, tree)


async def test_the_digests_of_a_large_tree_are_recalled_together(
    manager: AssetsManager, tree: Path, opened: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hashes, "MIN_TREE", 1)
    looked_up: list[int] = []
    find = KnownHashes.find

    def recorded(self: KnownHashes, kind: str, states: Sequence[State]) -> list[bytes | None]:
        looked_up.append(len(states))
        return find(self, kind, states)

    monkeypatch.setattr(KnownHashes, "find", recorded)
    assert await is_unchanged(manager, tree)
    looked_up.clear()
    count(opened, tree)

    assert await is_unchanged(manager, tree)
    assert (looked_up, count(opened, tree)) == ([1], 0)
    (tree / ".hidden").write_bytes(b"HIDDEN")
    opened.clear()
    assert not await is_unchanged(manager, tree)
    assert count(opened, tree) == 1


async def test_it_can_be_switched_off(
    memory: MemoryDriver, manager: AssetsManager, make_manager: ManagerFactory, tree: Path, opened: list[str]
) -> None:
    forgetful = make_manager(memory, remember_hashes=False, assets_dir=tree.parent / "elsewhere")
    for _ in range(2):
        opened.clear()
        assert await is_unchanged(forgetful, tree)
        assert count(opened, tree) > 0

    assert not (tree.parent / "elsewhere").exists()


async def test_the_database_is_no_part_of_the_cache(manager: AssetsManager, tree: Path, tmp_path: Path) -> None:
    await is_unchanged(manager, tree)
    assert (tmp_path / "cache" / ".aioassets" / "hashes.sqlite3").exists()

    assert await manager.cache.list() == []
    assert (await manager.cache.prune(limit=0)).removed == ()
    assert (await manager.plan_clean()).leftovers == ()
