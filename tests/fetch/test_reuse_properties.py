"""Random trees, edits, caches and damages: a fetch gives the very bytes, whatever the cache holds."""

from __future__ import annotations

import asyncio
import os
import random
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st
from tools.inspection import contents, store_folder

from aioassets import AssetsManager, MemoryDriver
from aioassets.runtime.batches import SMALL
from aioassets.runtime.threads import without_threads

pytestmark = pytest.mark.once

Tree = dict[str, bytes]

PATHS: Final = ("a", "b", "c/d", "c/e", "f/g/h", "f/i")
SIZES: Final = (0, 3000, 4096, SMALL + 1, SMALL + 1)


@pytest.fixture(autouse=True)
def no_blocking_calls() -> None:
    """Let fetches run in the thread of the test, which is faster."""


contents_of_files = st.builds(
    lambda seed, size: random.Random(seed).randbytes(size), st.integers(0, 3), st.sampled_from(SIZES)
)
trees = st.dictionaries(st.sampled_from(PATHS), contents_of_files, min_size=3)


def overwritten(data: bytes, at: int) -> bytes:
    at %= len(data) + 1
    return data[:at] + b"x" + data[at + 1 :]


EDITS: Final[dict[str, Callable[[bytes, int], bytes | None]]] = {
    "overwrite": overwritten,
    "insert": lambda data, at: data[: at % (len(data) + 1)] + b"inserted" + data[at % (len(data) + 1) :],
    "cut": lambda data, at: data[at % (len(data) + 1) :],
    "truncate": lambda data, at: data[: at % (len(data) + 1)],
    "append": lambda data, at: data + bytes(at),
    "delete": lambda data, at: None,
}
"""Changes of a file, or of its copy in a cache."""
edits = st.tuples(st.sampled_from((*EDITS, "move", "swap")), st.integers(0, 5), st.integers(0, 5000))
faults = st.tuples(st.integers(0, 5), st.sampled_from(tuple(EDITS)), st.integers(0, 5000), st.booleans())


def edited(tree: Tree, edit: tuple[str, int, int]) -> Tree:
    kind, number, at = edit
    path, other = sorted(tree)[number % len(tree)], PATHS[at % len(PATHS)]
    if kind == "move":
        return {**{name: data for name, data in tree.items() if name != path}, other: tree[path]}
    if kind == "swap":
        return {**tree, path: tree.get(other, tree[path]), other: tree[path]}
    changed = EDITS[kind](tree[path], at)
    rest = {name: data for name, data in tree.items() if name != path}
    return {**rest, path: changed} if changed is not None else rest or tree


def write(tree: Tree, root: Path) -> None:
    for path, data in tree.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(data)


def damage(root: Path, fault: tuple[int, str, int, bool]) -> None:
    """Change a cached file, in place and perhaps with its former times."""
    number, kind, at, keeps_times = fault
    cached = sorted(path for path in root.rglob("*") if path.is_file())
    if not cached:
        return
    path = cached[number % len(cached)]
    found, changed = path.stat(), EDITS[kind](path.read_bytes(), at)
    if changed is None:
        path.unlink()
        return
    path.write_bytes(changed)
    if keeps_times:
        os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))


@settings(max_examples=60)
@given(
    tree=trees,
    changes=st.lists(st.lists(edits, max_size=3), min_size=1, max_size=3),
    cached=st.lists(st.tuples(st.integers(0, 2), st.sampled_from(("", "", "[c]"))), min_size=1, max_size=3),
    damages=st.lists(faults, max_size=3),
    part=st.sampled_from(("", "", "[c]")),
)
def test_a_fetch_gives_the_very_bytes(
    tree: Tree,
    changes: list[list[tuple[str, int, int]]],
    cached: list[tuple[int, str]],
    damages: list[tuple[int, str, int, bool]],
    part: str,
) -> None:
    versions = [tree]
    for steps in changes:
        for step in steps:
            tree = edited(tree, step)
        versions.append(tree)

    async def run(folder: Path) -> None:
        async with AssetsManager(driver=MemoryDriver(), assets_dir=folder / "cache", single_writer=True) as manager:
            for number, version in enumerate(versions):
                write(version, folder / str(number))
                push = manager.update_asset if number else manager.create_asset
                await push(folder / str(number), "model")
            for number, some in cached:
                if number < len(versions) - 1 and has(versions[number], some):
                    await manager.fetch_asset(f"model:0.{number}{some}")
            for fault in damages if any((folder / "cache").glob("*")) else ():
                damage(store_folder(folder / "cache") / "model", fault)
            wanted = part if has(tree, part) else ""
            fetched = await manager.fetch_asset(f"model{wanted}")
            expected = folder / str(len(versions) - 1) / wanted.strip("[]")
            if expected.is_dir():
                assert contents(fetched.path) == contents(expected)
            else:
                assert fetched.path.read_bytes() == expected.read_bytes()
            event(f"reused: {fetched.reused > 0}, downloaded: {fetched.downloaded > 0}")

    with tempfile.TemporaryDirectory() as folder, without_threads():
        asyncio.run(run(Path(folder)))


def has(tree: Tree, part: str) -> bool:
    """Return whether a tree has a part."""
    return not part or any(path == part[1:-1] or path.startswith(f"{part[1:-1]}/") for path in tree)
