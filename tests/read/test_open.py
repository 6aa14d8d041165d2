"""Files of versions are read where they are, by ranges, and verified."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from tools.factories import ManagerFactory
from tools.interposer import Interposer

from aioassets import AssetsManager, MemoryDriver, UsageError
from aioassets.runtime.chunking import dividing_from

pytestmark = pytest.mark.once

MIB = 1024 * 1024
LARGE = random.Random(1).randbytes(5 * MIB + 12345)
PLAIN = random.Random(2).randbytes(2 * MIB + 777)
FILES = {"large.bin": LARGE, "sub/plain.bin": PLAIN, "small.txt": b"small", "empty": b""}


@pytest.fixture(autouse=True)
def smaller_files() -> Iterator[None]:
    with dividing_from(4 * MIB):
        yield


@pytest.fixture
def driver(memory: MemoryDriver) -> Interposer:
    return Interposer(memory)


@pytest.fixture
async def manager(driver: Interposer, make_manager: ManagerFactory, tmp_path: Path) -> AssetsManager:
    """Return a manager whose store has the asset `model`."""
    for path, data in FILES.items():
        file = tmp_path / "tree" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    manager = make_manager(driver)
    await manager.create_asset(tmp_path / "tree", "model")
    return manager


@pytest.mark.parametrize("path", FILES)
@pytest.mark.parametrize("verify", [True, False])
@pytest.mark.parametrize("cached", [True, False])
@pytest.mark.parametrize("size", [-1, 100_000, 3 * MIB])
async def test_a_file_is_read_in_order(
    manager: AssetsManager, path: str, verify: bool, cached: bool, size: int
) -> None:
    if cached:
        await manager.fetch_asset("model")
    async with manager.open(f"model[{path}]", verify=verify) as file:
        pieces = []
        while piece := await file.read(size):
            pieces.append(piece)
            assert await file.tell() == sum(map(len, pieces))

        assert b"".join(pieces) == FILES[path]
        assert file.verified is (verify or cached)
        assert file.from_cache is cached
        assert file.size == len(FILES[path])
        assert {len(piece) for piece in pieces[:-1]} <= {size}
    assert file.closed
    with pytest.raises(UsageError, match="closed"):
        await file.read()


@pytest.mark.parametrize("path", FILES)
@pytest.mark.parametrize("verify", [True, False])
async def test_ranges(manager: AssetsManager, path: str, verify: bool) -> None:
    numbers, content = random.Random(3), FILES[path]
    async with manager.open(f"model:0.0[{path}]", verify=verify) as file:
        for count in (0, 1, 2, 50):
            ends = [sorted(numbers.choices(range(len(content) + 9), k=2)) for _ in range(count)]
            ranges = [(start, stop) for start, stop in ends]
            assert await file.read_ranges(ranges) == [content[start:stop] for start, stop in ranges]
        assert file.verified is (verify and path in ("large.bin", "small.txt"))


async def test_list(manager: AssetsManager) -> None:
    found = await manager.list_files("model")
    assert [file.path for file in found.files] == sorted(FILES)
    assert await manager.read("model[large.bin]") == LARGE
