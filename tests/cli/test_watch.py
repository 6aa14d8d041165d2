"""The command `watch`, in processes of its own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from aioassets import AssetsManager

pytestmark = pytest.mark.once

PATIENCE = 60
"""Seconds until a test stops waiting and fails."""

Invoke = Callable[..., Any]
Start = Callable[..., Any]


@pytest.fixture
def asset(invoke: Invoke, source: Path) -> str:
    """Push a version, and return the name."""
    assert invoke("new", source, "team/model", "--yes").code == 0
    return "team/model"


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """Return a function that starts the command."""
    started: list[asyncio.subprocess.Process] = []

    async def run(*args: str) -> asyncio.subprocess.Process:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "aioassets", "watch", *args),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        started.append(process)
        return process

    yield run
    for process in started:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.communicate()


async def line_of(stream: asyncio.StreamReader | None) -> str:
    assert stream is not None
    return (await asyncio.wait_for(stream.readline(), PATIENCE)).decode().rstrip("\n")


async def test_each_version_is_printed_and_given_to_the_command(
    asset: str, start: Start, source: Path, tmp_path: Path
) -> None:
    command = (
        'echo "$ASSET_NAME $ASSET_VERSION after <$ASSET_PREVIOUS>: $(cat "$ASSET_PATH/a")"; exit ${ASSET_PREVIOUS:+3}'
    )
    process = await start(asset, "--interval", "1s", "--json", "--to", "current", "--exec", command)

    document = json.loads(await line_of(process.stdout))
    assert (document["path"], document["version"]) == (str(tmp_path / "current"), "0.0")
    assert await line_of(process.stderr) == "team/model 0.0 after <>: first"
    async with AssetsManager(tmp_path / "store", assets_dir=tmp_path / "other cache") as manager:
        (source / "a").write_text("new")
        await manager.update_asset(source, asset)
    assert json.loads(await line_of(process.stdout))["version"] == "0.1"
    while (line := await line_of(process.stderr)).startswith("Downloaded"):
        pass
    assert line == "team/model 0.1 after <0.0>: new"
    assert (await line_of(process.stderr)).startswith("Error: The command failed with exit code 3: echo")

    process.send_signal(signal.SIGTERM)
    _, rest = await process.communicate()
    assert (process.returncode, rest.decode()) == (143, "Terminated.\n")


async def test_a_running_command_is_ended_with_the_watch(asset: str, start: Start) -> None:
    process = await start(asset, "--exec", "echo $$; exec sleep 1000")
    pid = int(await line_of(process.stderr))

    process.send_signal(signal.SIGINT)
    await process.communicate()

    assert process.returncode == 130
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_once_ends_after_the_first_version(invoke: Invoke, asset: str, tmp_path: Path) -> None:
    ran = invoke("watch", asset, "--once", "--to", "out", "--link")
    assert (ran.code, ran.out, ran.err) == (0, f"{tmp_path}/out\n", "")
    assert (tmp_path / "out").is_symlink()


@pytest.mark.parametrize(
    ("command", "code", "message"),
    [
        ("true", 0, ""),
        ("exit 7", 1, "Error: The command failed with exit code 7: exit 7\n"),
        ("kill -9 $$", 1, "Error: The command was ended by SIGKILL: kill -9 $$\n"),
    ],
)
async def test_the_exit_code_tells_whether_the_only_command_succeeded(
    asset: str, start: Start, command: str, code: int, message: str
) -> None:
    process = await start(asset, "--once", "--exec", command)
    _, err = await process.communicate()
    assert (process.returncode, err.decode()) == (code, message)


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (["team/modle"], 3, "Did you mean"),
        (["team/model", "--interval", "0s"], 2, "--interval must be"),
        (["team/model", "--jitter", "2"], 2, "--jitter"),
        (["team/model", "--link"], 2, "add --to PATH"),
        (["team/model", "--exec", " "], 2, "it is empty"),
        (["team/model", "--to", "source"], 4, "aioassets did not put what is there"),
    ],
)
def test_what_is_wrong_from_the_start_ends_it(
    invoke: Invoke, asset: str, args: list[str], code: int, message: str
) -> None:
    ran = invoke("watch", *args)
    assert ran.code == code
    assert message in ran.err
