"""A store with an asset whose files are read in each of the possible ways."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from tools.factories import ManagerFactory
from tools.interposer import Interposer

from aioassets import AssetsManager, MemoryDriver
from aioassets.runtime.chunking import dividing_from

MIB = 1024 * 1024


@pytest.fixture(autouse=True)
def smaller_files() -> Iterator[None]:
    with dividing_from(3 * MIB):
        yield


@pytest.fixture(scope="session")
def files() -> Mapping[str, bytes]:
    """Return the files of the asset `model`.

    `large` has chunks; `plain` is too small for that, and too large to be read as a whole.
    """
    numbers = random.Random(1)
    large, plain = numbers.randbytes(4 * MIB + 12_345), numbers.randbytes(MIB + 777)
    return {"large": large, "sub/plain": plain, "small": b"small", "empty": b""}


@pytest.fixture
def driver(memory: MemoryDriver) -> Interposer:
    return Interposer(memory)


@pytest.fixture
def source(files: Mapping[str, bytes], tmp_path: Path) -> Path:
    for path, data in files.items():
        file = tmp_path / "source" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    return tmp_path / "source"


@pytest.fixture
async def manager(driver: Interposer, make_manager: ManagerFactory, source: Path) -> AssetsManager:
    """Return a manager whose store has the asset `model`."""
    manager = make_manager(driver)
    await manager.create_asset(source, "model")
    return manager
