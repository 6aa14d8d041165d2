"""500 files with a limit of 256 open files, as macOS has by default."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from tools.factories import driver_at
from tools.inspection import contents, keys

pytestmark = pytest.mark.once

FILES = 500
LARGE = 300
"""Files that are kept open while they are written."""
on_stores_that_open_files = pytest.mark.parametrize(
    "place",
    ["local", *(pytest.param(kind, marks=pytest.mark.servers) for kind in ("s3", "azure", "gcs"))],
    indirect=True,
)

LIMITED = """
import asyncio, json, resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
from tools.factories import driver_at
from tools.interposer import Interposer, failure
from aioassets import AssetsManager, StoreError

place, source, cache, failing = json.loads(sys.argv[1]), *sys.argv[2:5]

async def fail(moment, method, key):
    if (moment, method) == ("before", "upload") and failing and key.endswith(failing):
        raise failure()

async def main():
    driver = driver_at(place)
    async with AssetsManager(driver=Interposer(driver, fail), assets_dir=cache, cleanup_timeout=60) as manager:
        try:
            await manager.create_asset(source, "model")
            print((await manager.fetch_asset("model")).path)
        except StoreError as error:
            print(error)
    await driver.aclose()

asyncio.run(main())
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    for number in range(FILES):
        (folder / f"{number:04d}").write_bytes(b"%d" % number)
    return folder


async def limited(place: dict[str, Any], source: Path, cache: Path, failing: str = "") -> str:
    process = await asyncio.create_subprocess_exec(
        *map(str, (sys.executable, "-c", LIMITED, json.dumps(place), source, cache, failing)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    out, err = await process.communicate()
    assert (process.returncode, err.decode()) == (0, "")
    return out.decode().strip()


@on_stores_that_open_files
async def test_many_files_are_pushed_and_fetched(place: dict[str, Any], source: Path, tmp_path: Path) -> None:
    path = await limited(place, source, tmp_path / "cache")
    assert contents(Path(path)) == contents(source)


@on_stores_that_open_files
async def test_a_failing_push_has_descriptors_left_to_clean_up(
    place: dict[str, Any], source: Path, tmp_path: Path
) -> None:
    assert await limited(place, source, tmp_path / "cache", f"/{FILES - 1:04d}") == "a test says so."
    driver = driver_at(place)
    assert [key for key in await keys(driver) if "/0.0/" in key] == []
    await driver.aclose()


@pytest.mark.parametrize("place", ["local"], indirect=True)
async def test_large_files_are_not_all_open_at_once(place: dict[str, Any], tmp_path: Path) -> None:
    """Only a folder store keeps files open while they are pushed."""
    folder = tmp_path / "large"
    folder.mkdir()
    for number in range(LARGE):
        with open(folder / str(number), "wb") as file:
            file.truncate(1024 * 1024 + 1 + number)
    path = Path(await limited(place, folder, tmp_path / "cache"))
    assert {each.name: each.stat().st_size for each in path.iterdir()} == {
        each.name: each.stat().st_size for each in folder.iterdir()
    }
