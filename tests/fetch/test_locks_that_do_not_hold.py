"""An assets directory on a file system where locks always succeed: the cache's correctness doesn't rest on them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Final

import pytest
from tools.factories import Files
from tools.inspection import contents

from aioassets import AssetsManager

FETCHER: Final = Path(__file__).with_name("fetcher.py")
PATIENCE: Final = 60
"""Seconds after which a test stops waiting and fails."""
PROCESSES: Final = 3

Start = Callable[..., Any]


@pytest.fixture
async def start(tmp_path: Path, tree: Path, files: Files) -> AsyncIterator[Start]:
    """Return a function that starts processes whose locks always succeed."""
    async with AssetsManager(tmp_path / "store", assets_dir=tmp_path / "elsewhere") as manager:
        await manager.create_asset(tree, "model")
    fake = tmp_path / "fake"
    fake.mkdir()
    (fake / "sitecustomize.py").write_text("import fcntl\nfcntl.flock = lambda *_: None\n")
    started: list[asyncio.subprocess.Process] = []

    async def starting(spec: str, *args: str) -> asyncio.subprocess.Process:
        process = await asyncio.create_subprocess_exec(
            *map(str, (sys.executable, FETCHER, tmp_path / "store", tmp_path / "cache", spec, *args)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(fake), *sys.path])},
        )
        started.append(process)
        return process

    yield starting
    for process in started:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.communicate()


async def next_line(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None
    return (await asyncio.wait_for(process.stdout.readline(), PATIENCE)).decode().strip()


@pytest.mark.parametrize(
    "calls",
    [
        [("model:0.0", "w.bin")] * PROCESSES,
        [("model:0.0", "w.bin", "force")] * PROCESSES,
        [("model:0.0", "w.bin"), ("model:0.0[weights]", "w.bin"), ("model:0.0", "w.bin", "force")],
        [("model:0.0[weights]", "w.bin"), ("model:0.0[weights/w.bin]", "w.bin"), ("model:0.0[weights]", "x.bin")],
    ],
    ids=["whole", "forced", "whole and parts", "parts"],
)
async def test_concurrent_fetches_end_with_the_right_bytes(
    start: Start, tree: Path, calls: list[tuple[str, ...]]
) -> None:
    """All processes are in the middle of their downloads before one goes on."""
    processes = [await start(*call) for call in calls]
    for process in processes:
        assert await next_line(process) == "downloading"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write(b"\n")
    for process, (spec, *_) in zip(processes, calls, strict=True):
        path = Path(json.loads(await next_line(process))["path"])
        assert await process.wait() == 0
        part = spec.partition("[")[2].rstrip("]")
        if path.is_dir():
            assert contents(path) == contents(tree / part)
        else:
            assert path.read_bytes() == (tree / part).read_bytes()
