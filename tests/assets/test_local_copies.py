"""Into a local store and out of it, the system copies large files, and what landed is what is verified."""

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
"""Three pieces, and three ranges."""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A large file."""
    path = tmp_path / "source"
    path.write_bytes(os.urandom(SIZE))
    return path


@pytest.fixture
def driver(tmp_path: Path) -> LocalDriver:
    """A local store."""
    return LocalDriver(tmp_path / "store")


def never(*args: object, **options: object) -> Any:
    raise AssertionError("it was read")


def damaging(times: int) -> Callable[..., bool]:
    """Copies, and changes a byte of what was copied so often."""
    left = iter(range(times))

    def copy(source: int, target: int, start: int, stop: int) -> bool:
        copied = copy_range(source, target, start, stop)
        for _ in left:
            os.pwrite(target, bytes([os.pread(target, 1, start)[0] ^ 1]), start)
            break
        return copied

    return copy


def unable(after: int) -> Callable[..., bool]:
    """Copies so many ranges, and then only half of each."""
    left = iter(range(after))

    def copy(source: int, target: int, start: int, stop: int) -> bool:
        if next(left, None) is not None:
            return copy_range(source, target, start, stop)
        copy_range(source, target, start, (start + stop) // 2)
        return False

    return copy


def digest(path: Path) -> dict[str, str]:
    return {"sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


async def test_no_byte_of_a_large_file_passes_here_but_to_be_hashed(
    driver: LocalDriver, make_manager: ManagerFactory, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each way, its progress is told."""
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


async def test_the_digest_is_of_what_is_stored(
    driver: LocalDriver, make_manager: ManagerFactory, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not of what was to be stored: a copy that differs, which is faked here, is fetched as it is."""
    monkeypatch.setattr("aioassets.push.sources.copy_range", damaging(times=1))
    manager = make_manager(driver)
    await manager.create_asset(source, "model")
    stored = tmp_path / "store" / "assets" / "model" / "0.0"
    assert stored.read_bytes() != source.read_bytes()
    assert (await manager.fetch_asset("model")).manifest.files[0].digests == digest(stored)


@pytest.mark.parametrize("after", [0, 1, 2])
async def test_what_can_not_be_copied_is_read_and_written(
    driver: LocalDriver, make_manager: ManagerFactory, source: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    """From where the system gives up."""
    for module in ("push.sources", "fetch.sinks"):
        monkeypatch.setattr(f"aioassets.{module}.copy_range", unable(after))
    manager = make_manager(driver)
    await manager.create_asset(source, "model")
    fetched = await manager.fetch_asset("model")
    assert fetched.path.read_bytes() == source.read_bytes()
    assert fetched.manifest.files[0].digests == digest(source)


@pytest.mark.parametrize("times", [1, 2])
async def test_what_was_copied_is_verified_where_it_landed(
    driver: LocalDriver,
    make_manager: ManagerFactory,
    source: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    times: int,
) -> None:
    """A damaged copy is made once more, and then refused; the damage is faked here."""
    manager = make_manager(driver)
    await manager.create_asset(source, "model")
    # The first range of each try: the others are left as they are.
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
        assert not (tmp_path / "cache" / "model").exists()


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
async def test_what_is_wrong_with_an_object_is_told_as_of_any_store(
    driver: LocalDriver,
    make_manager: ManagerFactory,
    source: Path,
    tmp_path: Path,
    change: Callable[[Path], None],
    found: str,
) -> None:
    """Whether it is found while it is copied or by its digest."""
    manager = make_manager(driver)
    await manager.create_asset(source, "model")
    change(tmp_path / "store" / "assets" / "model" / "0.0")
    with pytest.raises(IntegrityError, match=rf"found {found}"):
        await manager.fetch_asset("model")
    assert not (tmp_path / "cache" / "model").exists()


async def test_a_store_with_a_single_writer_copies_as_well(
    driver: LocalDriver, make_manager: ManagerFactory, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What stands before its driver is not in the way."""
    monkeypatch.setattr(driver, "read_range", never)
    manager = make_manager(driver, single_writer=True)
    await manager.create_asset(source, "model")
    assert (await manager.fetch_asset("model")).path.read_bytes() == source.read_bytes()
