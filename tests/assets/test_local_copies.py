"""Local stores: the system copies large files, and the copies are verified."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tools.factories import ManagerFactory

from aioassets import BytesTransferred, IntegrityError, LocalDriver
from aioassets.drivers.local import PIECE
from aioassets.push.sources import LocalSource
from aioassets.runtime.disk import copy_range

SIZE = 2 * PIECE + 12345
"""Bytes of three pieces, or three ranges."""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Return a large file."""
    path = tmp_path / "source"
    path.write_bytes(os.urandom(SIZE))
    return path


@pytest.fixture
def driver(tmp_path: Path) -> LocalDriver:
    """Return a local store."""
    return LocalDriver(tmp_path / "store")


def never(*args: object, **options: object) -> Any:
    raise AssertionError("read instead of copied")


def damaging(times: int) -> Callable[..., bool]:
    """Return a `copy_range` that damages the first copies."""
    left = iter(range(times))

    def copy(source: int, target: int, start: int, stop: int) -> bool:
        copied = copy_range(source, target, start, stop)
        for _ in left:
            os.pwrite(target, bytes([os.pread(target, 1, start)[0] ^ 1]), start)
            break
        return copied

    return copy


def unable(after: int) -> Callable[..., bool]:
    """Return a `copy_range` that copies some ranges, and then only half of each."""
    left = iter(range(after))

    def copy(source: int, target: int, start: int, stop: int) -> bool:
        if next(left, None) is not None:
            return copy_range(source, target, start, stop)
        copy_range(source, target, start, (start + stop) // 2)
        return False

    return copy


def digest(path: Path) -> dict[str, str]:
    return {"sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


async def test_the_system_copies_large_files_that_are_only_hashed_here(
    driver: LocalDriver, make_manager: ManagerFactory, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Progress is reported in both directions."""
    monkeypatch.setattr(LocalSource, "read", never)
    monkeypatch.setattr(driver, "read_range", never)
    passed: list[int] = []

    def note(event: object) -> None:
        if isinstance(event, BytesTransferred):
            passed.append(event.nbytes)

    manager = make_manager(driver)
    await manager.create_asset(source, "model", progress=note)
    fetched = await manager.fetch_asset("model", progress=note)
    assert fetched.path.read_bytes() == source.read_bytes()
    assert passed == 2 * [PIECE, PIECE, SIZE - 2 * PIECE]
    assert fetched.manifest.files[0].digests == digest(source)


async def test_the_recorded_digest_is_that_of_the_stored_copy(
    driver: LocalDriver, make_manager: ManagerFactory, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A damaged copy into the store gets the digest of the copy, not of the source."""
    monkeypatch.setattr("aioassets.push.sources.copy_range", damaging(times=1))
    manager = make_manager(driver)
    await manager.create_asset(source, "model")
    stored = tmp_path / "store" / "assets" / "model" / "0.0"
    assert stored.read_bytes() != source.read_bytes()
    assert (await manager.fetch_asset("model")).manifest.files[0].digests == digest(stored)


@pytest.mark.parametrize("after", [0, 1, 2])
async def test_ranges_that_the_system_can_not_copy_are_read_and_written(
    driver: LocalDriver, make_manager: ManagerFactory, source: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    for module in ("push.sources", "fetch.sinks"):
        monkeypatch.setattr(f"aioassets.{module}.copy_range", unable(after))
    manager = make_manager(driver)
    await manager.create_asset(source, "model")
    fetched = await manager.fetch_asset("model")
    assert fetched.path.read_bytes() == source.read_bytes()
    assert fetched.manifest.files[0].digests == digest(source)


@pytest.mark.parametrize("times", [1, 2])
async def test_a_copy_is_verified_at_its_target(
    driver: LocalDriver,
    make_manager: ManagerFactory,
    source: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    times: int,
) -> None:
    """A damaged copy is repeated once, and then refused."""
    manager = make_manager(driver)
    await manager.create_asset(source, "model")
    # Only the first range of each attempt is damaged.
    damage = damaging(times)
    monkeypatch.setattr(
        "aioassets.fetch.sinks.copy_range",
        lambda source, target, start, stop: (copy_range if start else damage)(source, target, start, stop),
    )
    if times == 1:
        assert (await manager.fetch_asset("model")).path.read_bytes() == source.read_bytes()
    else:
        with pytest.raises(IntegrityError, match=r"model:0\.0 differs from what was pushed: expected sha256"):
            await manager.fetch_asset("model")
        assert not any((tmp_path / "cache").glob("*/model"))


def cut(path: Path) -> None:
    os.truncate(path, PIECE)


def lengthen(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"x")


def damage(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"damaged")


@pytest.mark.parametrize(
    ("change", "found"),
    [(cut, "fewer"), (lengthen, "more"), (damage, "[0-9a-f]{64}"), (Path.unlink, "nothing")],
    ids=["cut", "lengthened", "damaged", "gone"],
)
async def test_damaged_objects_are_reported_like_those_of_other_stores(
    driver: LocalDriver,
    make_manager: ManagerFactory,
    source: Path,
    tmp_path: Path,
    change: Callable[[Path], None],
    found: str,
) -> None:
    manager = make_manager(driver)
    await manager.create_asset(source, "model")
    change(tmp_path / "store" / "assets" / "model" / "0.0")
    with pytest.raises(IntegrityError, match=rf"found {found}"):
        await manager.fetch_asset("model")
    assert not any((tmp_path / "cache").glob("*/model"))


async def test_the_system_copies_for_a_single_writer_too(
    driver: LocalDriver, make_manager: ManagerFactory, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The wrapper of a single writer passes local paths on."""
    monkeypatch.setattr(driver, "read_range", never)
    manager = make_manager(driver, single_writer=True)
    await manager.create_asset(source, "model")
    assert (await manager.fetch_asset("model")).path.read_bytes() == source.read_bytes()
