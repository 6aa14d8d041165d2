"""Verification of versions in the store and in the assets directory."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tools.factories import Files, ManagerFactory
from tools.inspection import contents
from tools.interposer import Interposer

from aioassets import (
    AssetNotFound,
    Driver,
    MemoryDriver,
    PartNotFound,
    StoreUnavailable,
    TransferStarted,
    VersionNotFound,
)
from aioassets.drivers.protocol import Expect
from aioassets.fetch.sinks import RANGE

LARGE = RANGE + 1000


def flipped(data: bytes, at: int) -> bytes:
    """Return the same bytes with one bit flipped."""
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


async def damage(driver: Driver, key: str, at: int) -> None:
    """Flip one bit of a stored object."""
    size = (await driver.stat(key)).size
    data = b"".join([chunk async for chunk in driver.read_range(key, 0, size)])
    await driver.write(key, flipped(data, at), expected=Expect.ANYTHING)


@pytest.fixture
def with_large(tree: Path) -> Path:
    """Return a tree with a file of more than one range."""
    (tree / "large").write_bytes(bytes(range(256)) * (LARGE // 256))
    return tree


async def test_an_intact_version_is_read_completely_and_not_kept(
    driver: Driver, make_manager: ManagerFactory, with_large: Path, tmp_path: Path
) -> None:
    manager = make_manager(driver)
    await manager.create_asset(with_large, "model")
    before = contents(tmp_path / "cache")
    found = await manager.verify_asset("model")
    assert (found.ok, found.version, found.files, found.unverifiable) == (True, "0.0", 8, 0)
    assert found.verified_by == ("sha256",)
    assert found.size == sum(path.stat().st_size for path in with_large.rglob("*") if path.is_file())
    assert contents(tmp_path / "cache") == before


@pytest.mark.parametrize("at", [0, RANGE - 1, RANGE, LARGE - LARGE % 256 - 1])
async def test_a_flipped_bit_is_found_and_named_wherever_it_is(
    memory: MemoryDriver, make_manager: ManagerFactory, with_large: Path, at: int
) -> None:
    manager = make_manager(memory)
    await manager.create_asset(with_large, "model")
    await damage(memory, "assets/model/0.0/large", at)
    (problem,) = (await manager.verify_asset("model")).problems
    entry = next(file for file in (await manager.fetch_asset("model[run.sh]")).manifest.files if file.path == "large")
    assert problem.what == "model:0.0[large]"
    assert problem.expected == f"sha256 {entry.digests['sha256']}"
    assert len(problem.found) == 64


async def test_all_damaged_files_are_reported_at_once(driver: Driver, make_manager: ManagerFactory, tree: Path) -> None:
    """Objects are changed, missing, shorter and longer. Other parts of the version are still intact."""
    manager = make_manager(driver)
    await manager.create_asset(tree, "model")
    await damage(driver, "assets/model/0.0/weights/w.bin", 5)
    await driver.delete(["assets/model/0.0/.hidden"])
    await driver.write("assets/model/0.0/link", b"w", expected=Expect.ANYTHING)
    await driver.write("assets/model/0.0/run.sh", b"#!/bin/sh\nand more", expected=Expect.ANYTHING)
    found = await manager.verify_asset("model:0")
    assert not found.ok
    reported = [(problem.what, problem.expected.split()[0], problem.found) for problem in found.problems]
    assert reported[:3] == [
        ("model:0.0[.hidden]", "6", "nothing"),
        ("model:0.0[link]", "3000", "1"),
        ("model:0.0[run.sh]", "10", "more"),
    ]
    assert reported[3][:2] == ("model:0.0[weights/w.bin]", "sha256")
    assert (await manager.verify_asset("model[weights/deeper]")).ok


async def test_cached_versions_and_parts_are_checked_without_the_store(
    memory: MemoryDriver, make_manager: ManagerFactory, tree: Path, tmp_path: Path
) -> None:
    watched = Interposer(memory)
    manager = make_manager(watched)
    await manager.create_asset(tree, "model")
    await manager.fetch_asset("model[weights]")
    watched.calls.clear()
    assert (await manager.verify_asset("model[weights]", cached=True)).files == 2
    with pytest.raises(AssetNotFound):
        await manager.verify_asset("model", cached=True)
    assert watched.calls == []
    fetched = await manager.fetch_asset("model")
    assert (await manager.verify_asset("model", cached=True)).ok
    (fetched.path / "weights" / "w.bin").write_bytes(flipped(b"w" * 3000, 7))
    (fetched.path / ".hidden").unlink()
    found = await manager.verify_asset("model:0.0", cached=True)
    assert [problem.what for problem in found.problems] == ["model:0.0[.hidden]", "model:0.0[weights/w.bin]"]
    assert (await manager.verify_asset("model")).ok


async def test_versions_of_modelkit_are_checked_for_missing_files(
    memory: MemoryDriver, make_manager: ManagerFactory
) -> None:
    """Manifests of modelkit record neither sizes nor digests, so only missing objects are found."""
    meta = {"push_date": "2026-01-01T00:00:00", "is_directory": True, "contents": ["a", "b"]}
    await memory.write("assets/model/0.0.meta", json.dumps(meta).encode(), expected=Expect.ABSENT)
    await memory.write("assets/model.versions", b'{"versions": ["0.0"]}', expected=Expect.ABSENT)
    for part in ("a", "b"):
        await memory.write(f"assets/model/0.0/{part}", b"data", expected=Expect.ABSENT)
    found = await make_manager(memory).verify_asset("model")
    assert (found.ok, found.unverifiable, found.verified_by, found.size) == (True, 2, (), None)
    await memory.delete(["assets/model/0.0/b"])
    found = await make_manager(memory).verify_asset("model")
    assert [(problem.what, problem.found) for problem in found.problems] == [("model:0.0[b]", "nothing")]


async def test_what_is_not_there_is_not_found(
    memory: MemoryDriver, make_manager: ManagerFactory, files: Files, tree: Path
) -> None:
    manager = make_manager(memory)
    await manager.create_asset(tree, "model")
    for spec, error in (
        ("other", AssetNotFound),
        ("model:7", VersionNotFound),
        ("model:0.7", VersionNotFound),
        ("model[x]", PartNotFound),
    ):
        with pytest.raises(error):
            await manager.verify_asset(spec)


async def test_errors_of_the_store_are_raised_instead_of_reported_as_damage(
    memory: MemoryDriver, make_manager: ManagerFactory, files: Files
) -> None:

    async def break_down(moment: str, method: str, key: str) -> None:
        if method == "read_range":
            raise StoreUnavailable("the store", "a test says so.")

    await make_manager(memory).create_asset(files("a"), "model")
    with pytest.raises(StoreUnavailable):
        await make_manager(Interposer(memory, break_down)).verify_asset("model")


async def test_progress_of_a_check_is_reported(memory: MemoryDriver, make_manager: ManagerFactory, tree: Path) -> None:
    manager = make_manager(memory)
    await manager.create_asset(tree, "model")
    events: list[object] = []
    await manager.verify_asset("model", progress=events.append)
    assert isinstance(events[0], TransferStarted)
    assert events[0].files == 7
