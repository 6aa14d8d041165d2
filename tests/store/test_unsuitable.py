"""Pushes to real stores that accept the conditions of writes, but ignore them."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tools.claims import dead_claim, live_claim
from tools.factories import Files, ManagerFactory
from tools.inspection import contents, exists, keys
from tools.interposer import Fail, Interposer, Pause, failure

from aioassets import AssetExists, Driver, GCSDriver, PartNotFound, StoreError, StoreUnsuitable, VersionNotFound
from aioassets.drivers.protocol import Expect
from aioassets.drivers.s3.driver import MIN_PART_SIZE, S3Driver
from aioassets.push.scan import scan
from aioassets.testing import BytesSource

pytestmark = pytest.mark.servers

GCS_PART = 256 * 1024
LEFT = ["assets/model.versions", "assets/model/0.0", "assets/model/0.0.meta", "assets/model/0.1.meta"]
"""Keys of one version, and of a later push that released its number."""


@pytest.fixture(params=["rclone", "gcs-emulator"])
def ignoring(request: pytest.FixtureRequest) -> dict[str, Any]:
    """URL, name and driver options of an empty bucket in a store that ignores conditions."""
    server = request.getfixturevalue("rclone_s3" if request.param == "rclone" else "gcs_emulator")
    bucket = server.fresh_bucket()
    url = f"s3://{bucket}" if request.param == "rclone" else f"gs://{bucket}"
    return {"url": url, "bucket": bucket, "options": server.options}


@pytest.fixture
async def driver(ignoring: dict[str, Any]) -> AsyncIterator[Driver]:
    """Driver of that store, with small parts."""
    kind = S3Driver if ignoring["url"].startswith("s3:") else GCSDriver
    part_size = MIN_PART_SIZE if kind is S3Driver else GCS_PART
    async with kind(ignoring["bucket"], part_size=part_size, **ignoring["options"]) as driver:
        yield driver


def command(ignoring: dict[str, Any], tmp_path: Path, *args: str) -> subprocess.CompletedProcess[str]:
    """Run the command line on that store."""
    options = [word for key, value in ignoring["options"].items() for word in ("-o", f"{key}={value}")]
    where = ["--bucket", ignoring["url"], "--assets-dir", str(tmp_path / "cache")]
    return subprocess.run(
        [sys.executable, "-m", "aioassets", *args, *where, *options],
        env={name: value for name, value in os.environ.items() if not name.startswith(("AIOASSETS_", "AWS_"))},
        capture_output=True,
        text=True,
        check=False,
    )


# Refused


async def test_a_push_is_refused_before_any_harm(driver: Driver, make_manager: ManagerFactory, files: Files) -> None:
    """The error says what the store did and how to use it anyway. Only a scratch object is written."""
    interposer = Interposer(driver)
    manager = make_manager(interposer)
    await driver.upload("assets/other/0.0", BytesSource(b"of another push"))
    for call in (manager.create_asset, manager.create_asset):  # the second call fails too
        with pytest.raises(
            StoreUnsuitable, match=r"it let an existing object be created again.*single_writer"
        ) as error:
            await call(files("a"), "model")
        assert driver.url in str(error.value)
    written = {key for method, key in interposer.calls if method not in ("read", "stat", "list", "read_range")}
    assert {key.rpartition("/")[0] for key in written} == {"assets/.aioassets-probe"}
    assert await keys(driver) == ["assets/other/0.0"]


async def test_fetching_needs_no_conditional_writes(driver: Driver, make_manager: ManagerFactory, tree: Path) -> None:

    await make_manager(driver, single_writer=True).create_asset(tree, "model")
    reader = make_manager(driver)
    assert contents((await reader.fetch_asset("model")).path) == contents(tree)
    with pytest.raises(StoreUnsuitable):
        await reader.update_asset(tree, "model")
    assert await reader.list_versions("model") == ["0.0"]


async def test_aliases_are_refused_unless_a_single_writer_moves_them(
    driver: Driver, make_manager: ManagerFactory, files: Files
) -> None:
    single, many = make_manager(driver, single_writer=True), make_manager(driver)
    await single.create_asset(files("a"), "model")
    for call in (
        many.set_alias("model", "prod", "0.0"),
        many.remove_alias("model", "prod"),
        many.rollback_alias("model", "prod"),
    ):
        with pytest.raises(StoreUnsuitable):
            await call
    assert await many.list_aliases("model") == {}
    await single.set_alias("model", "prod", "0.0", expect=None)
    assert (await many.fetch_asset("model@prod")).version == "0.0"


def test_the_command_line_explains_an_unsuitable_store(ignoring: dict[str, Any], tmp_path: Path, files: Files) -> None:
    """With a special exit code. The same command works with a declared single writer."""
    ran = command(ignoring, tmp_path, "new", str(files("a")), "model", "--yes")
    assert (ran.returncode, ran.stdout) == (7, "")
    assert ran.stderr.splitlines()[-1] == (
        f"Error: {ignoring['url']} is not safe for concurrent pushes: it let an existing object be created again. "
        "Use another store or, if only one process pushes at a time, declare a single writer "
        "(single_writer=True, --single-writer, AIOASSETS_SINGLE_WRITER=1)."
    )
    assert command(ignoring, tmp_path, "list").stdout == ""
    ran = command(ignoring, tmp_path, "new", str(files("a")), "model", "--yes", "--single-writer")
    assert (ran.returncode, ran.stdout) == (0, "model:0.0\n"), ran.stderr
    ran = command(ignoring, tmp_path, "fetch", "model", "--json")
    assert Path(json.loads(ran.stdout)["path"]).read_text() == "a"


# Declared to have a single writer


async def test_a_declared_single_writer_pushes_and_fetches(
    driver: Driver, make_manager: ManagerFactory, files: Files, tree: Path
) -> None:

    (tree / "large").write_bytes(os.urandom(MIN_PART_SIZE + 1))
    manager = make_manager(driver, single_writer=True)
    assert (await manager.create_asset(tree, "model")).version == "0.0"
    assert (await manager.update_asset(files("b"), "model")).version == "0.1"
    assert (await manager.update_asset(tree, "model", bump_major=True)).version == "1.0"
    assert await manager.list_versions("model") == ["1.0", "0.1", "0.0"]
    assert [asset.name async for asset in manager.list_assets()] == ["model"]
    part = await manager.fetch_asset("model:0.0[weights/w.bin]")
    assert part.path.read_bytes() == (tree / "weights" / "w.bin").read_bytes()
    assert contents((await manager.fetch_asset("model")).path) == contents(tree)
    assert (await manager.fetch_asset("model:0")).path.read_text() == "b"
    with pytest.raises(AssetExists):
        await manager.create_asset(files("b"), "model")
    with pytest.raises(PartNotFound):
        await manager.fetch_asset("model[nothing]")


async def test_a_push_that_fails_leaves_nothing_and_burns_no_number(
    driver: Driver, make_manager: ManagerFactory, files: Files, tree: Path
) -> None:
    interposer = Interposer(driver)
    manager = make_manager(interposer, single_writer=True)
    await manager.create_asset(files("a"), "model")
    interposer.hook = Fail("before", "upload", "w.bin", failure())
    with pytest.raises(StoreError, match="a test says so"):
        await manager.update_asset(tree, "model")
    assert sorted(await keys(driver)) == [
        f"assets/model{rest}" for rest in (".versions", "/0.0", "/0.0.meta", "/0.1.meta")
    ]
    with pytest.raises(VersionNotFound):
        await manager.fetch_asset("model:0.1")
    assert (await manager.update_asset(tree, "model")).version == "0.1"
    assert contents((await manager.fetch_asset("model:0.1")).path) == contents(tree)


async def test_a_push_that_is_cancelled_leaves_nothing_and_burns_no_number(
    driver: Driver, make_manager: ManagerFactory, files: Files, tree: Path
) -> None:
    pause = Pause("after", "upload", "w.bin")
    interposer = Interposer(driver)
    manager = make_manager(interposer, single_writer=True)
    await manager.create_asset(files("a"), "model")
    interposer.hook = pause
    pushing = asyncio.create_task(manager.update_asset(tree, "model"))
    await pause.reached.wait()
    pushing.cancel()
    pause.go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await pushing
    assert sorted(await keys(driver)) == [
        f"assets/model{rest}" for rest in (".versions", "/0.0", "/0.0.meta", "/0.1.meta")
    ]
    with pytest.raises(VersionNotFound):
        await manager.fetch_asset("model:0.1")
    assert (await manager.update_asset(tree, "model")).version == "0.1"
    assert contents((await manager.fetch_asset("model:0.1")).path) == contents(tree)


async def test_a_dead_push_is_resumed_under_its_number(
    driver: Driver, make_manager: ManagerFactory, files: Files, tree: Path
) -> None:
    """Existing content isn't written again."""
    interposer = Interposer(driver)
    manager = make_manager(interposer, single_writer=True)
    await manager.create_asset(files("a"), "model")
    dead = await dead_claim(fingerprint=(await scan(tree)).fingerprint)
    await driver.write("assets/model/0.1.meta", dead.to_json(), expected=Expect.ANYTHING)
    await driver.upload("assets/model/0.1/weights/w.bin", BytesSource((tree / "weights" / "w.bin").read_bytes()))
    before = await driver.stat("assets/model/0.1/weights/w.bin")
    assert (await manager.update_asset(tree, "model")).version == "0.1"
    assert await driver.stat("assets/model/0.1/weights/w.bin") == before
    assert contents((await manager.fetch_asset("model:0.1")).path) == contents(tree)


async def test_a_claimed_number_of_another_source_is_skipped(
    driver: Driver, make_manager: ManagerFactory, files: Files, tree: Path
) -> None:
    manager = make_manager(driver, single_writer=True)
    await manager.create_asset(files("a"), "model")
    claim = await live_claim()
    await driver.write("assets/model/0.1.meta", claim.to_json(), expected=Expect.ANYTHING)
    assert (await manager.update_asset(tree, "model")).version == "0.2"
    assert await manager.list_versions("model") == ["0.2", "0.0"]
    assert await exists(driver, "assets/model/0.1.meta")
