"""Commands with a limit of 256 open files."""

from __future__ import annotations

import resource
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.once

Spawn = Callable[..., "subprocess.Popen[str]"]

LIMIT = """
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}))
"""

INTERRUPTED = """
import os, signal
import anyio
from aioassets.drivers.local import LocalDriver

upload = LocalDriver.upload

async def interrupted(self, key, source, **options):
    if key.endswith("/0499"):
        os.kill(os.getpid(), signal.SIGINT)
        await anyio.sleep_forever()
    return await upload(self, key, source, **options)

LocalDriver.upload = interrupted
"""


@pytest.fixture
def many(tmp_path: Path) -> Path:
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(500):
        (folder / f"{number:04d}").write_bytes(b"%d" % number)
    return folder


@pytest.mark.parametrize(("soft", "hard"), [(256, 256), (256, 4096)])
def test_many_files_are_pushed_fetched_and_verified(spawn: Spawn, many: Path, soft: int, hard: int) -> None:
    if resource.getrlimit(resource.RLIMIT_NOFILE)[1] < hard:
        pytest.skip("the system allows fewer open files")
    limit = LIMIT.format(soft=soft, hard=hard)
    for command in (
        ("new", many, "name", "--yes"),
        ("fetch", "name"),
        ("verify", "name"),
        ("fetch", "name", "--verify"),
    ):
        process = spawn(*command, script=limit)
        out, err = process.communicate()
        assert (process.returncode, out != "") == (0, True), err


def test_an_interrupted_push_leaves_nothing(spawn: Spawn, many: Path, tmp_path: Path) -> None:
    process = spawn("new", many, "name", "--yes", script=LIMIT.format(soft=256, hard=256) + INTERRUPTED)
    _, err = process.communicate()
    assert process.returncode == 128 + signal.SIGINT
    assert err.endswith("Interrupted.\n")
    assert not [path for path in (tmp_path / "store" / "assets" / "name" / "0.0").rglob("*") if path.is_file()]
