"""Whatever is changed in large files: by any base and any cache, a fetch gives the very bytes."""

from __future__ import annotations

import asyncio
import random
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tools.inspection import contents

from aioassets import AssetsManager, MemoryDriver
from aioassets.runtime.chunking import dividing_from

pytestmark = pytest.mark.once

KIB = 1024
SIZE = 600 * KIB
OPERATIONS = ("insert", "delete", "move", "overwrite", "truncate", "append")
Edit = tuple[str, int, int, int, int]
"""An operation, an offset, a length, a target, and the seed of new bytes."""

edits = st.tuples(
    st.sampled_from(OPERATIONS),
    st.integers(0, 2 * SIZE),
    st.integers(1, SIZE // 2),
    st.integers(0, 2 * SIZE),
    st.integers(0, 3),
)
steps = st.lists(
    st.tuples(st.lists(edits, max_size=3), st.sampled_from(["a", "b"]), st.booleans(), st.sampled_from([..., None, 0])),
    min_size=1,
    max_size=4,
)


def applied(data: bytes, edit: Edit) -> bytes:
    """Return the bytes after an edit."""
    operation, at, length, to, seed = edit
    at = min(at, len(data))
    fresh = random.Random(seed).randbytes(length)
    match operation:
        case "insert":
            return data[:at] + fresh + data[at:]
        case "delete":
            return data[:at] + data[at + length :]
        case "move":
            rest = data[:at] + data[at + length :]
            return rest[:to] + data[at : at + length] + rest[to:]
        case "overwrite":
            return data[:at] + fresh + data[at + length :]
        case "truncate":
            return data[:at]
    return data + fresh


@settings(max_examples=40)
@given(steps)
def test_any_edits_give_the_very_bytes(plan: list[tuple[list[Edit], str, bool, object]]) -> None:
    """Each version follows edits of one of two files. If it is fetched, it becomes a base of later fetches."""
    folder = Path(tempfile.mkdtemp())
    try:
        asyncio.run(check(folder, plan))
    finally:
        shutil.rmtree(folder)


async def check(folder: Path, plan: list[tuple[list[Edit], str, bool, object]]) -> None:
    source, driver = folder / "source", MemoryDriver()
    source.mkdir()
    for number, name in enumerate("ab"):
        (source / name).write_bytes(random.Random(number).randbytes(SIZE))
    with dividing_from(64 * KIB):
        async with AssetsManager(driver=driver, assets_dir=folder / "cache") as manager:
            await manager.create_asset(source, "model")
            versions = {"0.0": contents(source)}
            await manager.fetch_asset("model")
            for changes, name, is_fetched, base in plan:
                data = (source / name).read_bytes()
                for change in changes:
                    data = applied(data, change)
                (source / name).write_bytes(data)
                named = "model:0.0" if base == 0 else base
                pushed = await manager.update_asset(source, "model", base=named)  # type: ignore[arg-type]
                versions[pushed.version] = contents(source)
                if is_fetched:
                    assert contents((await manager.fetch_asset("model")).path) == contents(source)
        async with AssetsManager(driver=driver, assets_dir=folder / "other") as other:
            for version, expected in versions.items():
                assert contents((await other.fetch_asset(f"model:{version}")).path) == expected
