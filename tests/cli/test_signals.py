"""Interruption of commands by SIGINT, SIGTERM and SIGHUP."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from tools.inspection import keys, store_of
from tools.servers import S3Server

from aioassets.drivers.protocol import OpenUpload
from aioassets.drivers.s3.driver import PART_SIZE, S3Driver
from aioassets.model.claim import Claim, ClaimState

Invoke = Callable[..., Any]
Spawn = Callable[..., "subprocess.Popen[str]"]

STUCK_UPLOAD = """
import anyio
from aioassets.drivers.local import LocalDriver

upload = LocalDriver.upload

async def stuck(self, key, source, **options):
    if key.endswith("/b"):
        print("stuck", flush=True)
        await anyio.sleep_forever()
    return await upload(self, key, source, **options)

LocalDriver.upload = stuck
"""

UNDELETABLE = """
from aioassets.errors import AccessDenied

async def refuse(self, keys, **options):
    raise AccessDenied(self.url, "delete", "a test says so.")

LocalDriver.delete = refuse
"""

STUCK_DOWNLOAD = """
import anyio
from aioassets.drivers.local import LocalDriver

read_range = LocalDriver.read_range

async def stuck(self, key, *args, **options):
    if key.endswith("/b"):
        print("stuck", flush=True)
        await anyio.sleep_forever()
    async for chunk in read_range(self, key, *args, **options):
        yield chunk

LocalDriver.read_range = stuck
"""

TOO_LATE = """
import os, signal
from aioassets.push.publish import Publication

listing = Publication._list

async def interrupted(self, *args):
    os.kill(os.getpid(), signal.SIGINT)
    await listing(self, *args)

Publication._list = interrupted
"""

ENDINGS = [
    (signal.SIGINT, 130, "Interrupted.\n"),
    (signal.SIGTERM, 143, "Terminated.\n"),
    (signal.SIGHUP, 129, "Hung up.\n"),
]

HANGUP_WHEN_LISTING = """
import os, signal
from aioassets.push.publish import Publication

signal.signal(signal.SIGHUP, signal.SIG_IGN)
listing = Publication._list

async def hung_up(self, *args):
    os.kill(os.getpid(), signal.SIGHUP)
    await listing(self, *args)

Publication._list = hung_up
"""


def until_stuck(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    assert process.stdout.readline() == "stuck\n"


@pytest.fixture(autouse=True)
def hanging_up_is_not_ignored() -> Iterator[None]:
    """Under `nohup`, the tests and all their child processes would ignore SIGHUP."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize(("number", "code", "message"), ENDINGS)
def test_an_interrupted_push_leaves_nothing_to_fetch(
    spawn: Spawn,
    invoke: Invoke,
    source: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: signal.Signals,
    code: int,
    message: str,
) -> None:
    monkeypatch.setenv("AIOASSETS_CLEANUP_TIMEOUT", "2")
    process = spawn("new", source, "name", "--yes", script=STUCK_UPLOAD)
    until_stuck(process)
    process.send_signal(number)
    out, err = process.communicate()
    assert (process.returncode, out) == (code, "")
    assert "Traceback" not in err
    assert err.endswith(message)
    assert invoke("fetch", "name:0.0").code == 3
    assert invoke("list").out == ""
    assert not [path for path in (tmp_path / "store" / "assets" / "name" / "0.0").rglob("*") if path.is_file()]


def test_an_interrupted_push_tells_what_it_could_not_remove(spawn: Spawn, source: Path, tmp_path: Path) -> None:
    process = spawn("new", source, "name", "--yes", "--single-writer", script=STUCK_UPLOAD + UNDELETABLE)
    until_stuck(process)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    *_, report, last = err.splitlines()
    left = [path for path in (tmp_path / "store" / "assets" / "name" / "0.0").rglob("*") if path.is_file()]
    assert (process.returncode, last) == (130, "Interrupted.")
    assert report.startswith("Could not clean up name:0.0: Cannot delete in file://")
    assert f"{len(left)} uploaded file" in report


@pytest.mark.parametrize(("number", "code", "message"), ENDINGS)
def test_an_interrupted_fetch_leaves_nothing_behind(
    spawn: Spawn, invoke: Invoke, source: Path, tmp_path: Path, number: signal.Signals, code: int, message: str
) -> None:
    invoke("new", source, "name", "--yes")
    process = spawn("fetch", "name", script=STUCK_DOWNLOAD)
    until_stuck(process)
    process.send_signal(number)
    assert process.communicate() == ("", message)
    assert process.returncode == code
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.name in ("a", "b")]


def test_a_second_signal_exits_during_cleanup(spawn: Spawn, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIOASSETS_CLEANUP_TIMEOUT", "3600")
    process = spawn("new", source, "name", "--yes", script=STUCK_UPLOAD)
    until_stuck(process)
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    for line in process.stderr:
        if line == "Cleaning up. Press Ctrl-C again to exit immediately.\n":
            break
    process.send_signal(signal.SIGINT)
    out, err = process.communicate()
    assert (process.returncode, out, err) == (130, "", "")


def test_a_signal_after_sealing_reports_the_published_version(spawn: Spawn, invoke: Invoke, source: Path) -> None:
    process = spawn("new", source, "name", "--yes", script=TOO_LATE)
    out, err = process.communicate()
    assert (process.returncode, out) == (130, "")
    assert err.endswith("name:0.0 was published before the interruption.\nInterrupted.\n")
    assert invoke("versions", "name").out == "0.0\n"


def test_an_ignored_hangup_stays_ignored(spawn: Spawn, source: Path) -> None:
    """`nohup` ignores it."""
    process = spawn("new", source, "name", "--yes", script=HANGUP_WHEN_LISTING)
    assert process.communicate()[0] == "name:0.0\n"
    assert process.returncode == 0


STUCK_PART = """
import anyio
from aioassets.drivers.s3.direct import DirectRequests

put_part = DirectRequests.put_part
sent = anyio.Event()

async def stuck(self, key, upload, number, *args, **options):
    if number == 2:
        await sent.wait()
        print("stuck", flush=True)
        await anyio.sleep_forever()
    etag = await put_part(self, key, upload, number, *args, **options)
    sent.set()
    return etag

DirectRequests.put_part = stuck
"""


@pytest.mark.servers
@pytest.mark.parametrize(("number", "code", "message"), ENDINGS)
def test_an_interrupted_push_leaves_no_open_upload(
    spawn: Spawn,
    source: Path,
    seaweedfs: S3Server,
    monkeypatch: pytest.MonkeyPatch,
    number: signal.Signals,
    code: int,
    message: str,
) -> None:
    """One part has been uploaded, another hangs. Half of the timeout is for that request to end."""
    (source / "large").write_bytes(b"x" * (PART_SIZE + 1))
    bucket = seaweedfs.fresh_bucket()
    monkeypatch.setenv("AIOASSETS_CLEANUP_TIMEOUT", "4")
    monkeypatch.setenv("AIOASSETS_BUCKET", f"s3://{bucket}")
    for name, value in seaweedfs.options.items():
        monkeypatch.setenv(f"AIOASSETS_S3_{name.upper()}", value)
    process = spawn("new", source, "name", "--yes", script=STUCK_PART)
    until_stuck(process)
    process.send_signal(number)
    out, err = process.communicate()
    assert (process.returncode, out) == (code, "")
    assert err.endswith(message)

    async def left() -> tuple[list[OpenUpload], list[str], ClaimState]:
        async with S3Driver(bucket, **seaweedfs.options) as driver:
            content = (await store_of(driver).read_meta("name", "0.0")).content
            assert isinstance(content, Claim)
            return [upload async for upload in driver.open_uploads("")], await keys(driver), content.state

    uploads, found, state = anyio.run(left)
    assert (uploads, found) == ([], ["assets/name/0.0.meta"])
    assert state in (ClaimState.ABANDONED, ClaimState.RELEASED)
