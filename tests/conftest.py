"""Fixtures for all tests: servers, stores of every kind, trees to push, and a check for blocking calls."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from blockbuster import BlockBuster
from tools.factories import Files, ManagerFactory, driver_at
from tools.filesystems import MEBIBYTE, SmallDisk
from tools.servers import (
    AzureServer,
    GCSServer,
    S3Server,
    start_azurite,
    start_gcs,
    start_gcs_emulator,
    start_rclone_s3,
    start_seaweedfs,
)

from aioassets import AssetsManager, Dispatcher, Driver, MemoryDriver, S3Driver, StoreUnavailable
from aioassets.runtime.retry import NO_RETRY

pytest.register_assert_rewrite("aioassets.testing")
hypothesis.settings.register_profile("same-every-time", derandomize=True, deadline=None, database=None)
hypothesis.settings.register_profile("thorough", max_examples=5_000, deadline=None, database=None)
hypothesis.settings.load_profile("same-every-time")


def pytest_configure() -> None:
    """Collect tests without passes of the garbage collector, which find nothing and take a third of the time."""
    gc.disable()


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop() -> None:
    """Leave the collected tests and the imported modules out of all later passes, which then take half the time."""
    gc.collect()
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session", autouse=True)
def signals_of_a_terminal() -> None:
    """Undo what a shell does to a background job, which ignores SIGINT and SIGQUIT and passes that on."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)


@pytest.fixture(scope="session", autouse=True)
def shared_models() -> Iterator[None]:
    """Keep an S3 client open, because clients share the SDK's models. Loading these takes 0.2 s of CPU time."""
    options: dict[str, Any] = {
        "endpoint_url": "http://127.0.0.1:1",
        "region": "x",
        "access_key_id": "x",
        "secret_access_key": "x",
    }
    driver = S3Driver("bucket", dispatcher=Dispatcher(retry=NO_RETRY), **options)
    loop = asyncio.new_event_loop()
    with contextlib.suppress(StoreUnavailable):
        loop.run_until_complete(driver.stat("key"))
    yield
    loop.run_until_complete(driver.aclose())
    loop.close()


@pytest.fixture(autouse=True)
def no_blocking_calls() -> Iterator[None]:
    """Fail a test if the package blocks an event loop. The tests themselves may read files."""
    blockbuster = BlockBuster("aioassets")
    for function in blockbuster.functions.values():
        # They run on their own loops, in a worker thread or in a sync fixture.
        function.can_block_in("aioassets/drivers/s3/bucket.py", "_open_client")
        function.can_block_in("aioassets/drivers/s3/credentials.py", "_run")
        function.can_block_in("tests/tools/servers.py", "_with_client")
        # Finding plug-ins reads package metadata, as an import does. It happens only for schemes that aren't built in.
        function.can_block_in("aioassets/drivers/__init__.py", {"_is_provider", "_factory"})
        # The blocking manager blocks the loop of its caller on purpose.
        function.can_block_in("aioassets/blocking.py", {"run", "close", "_opened"})
    blockbuster.activate()
    try:
        yield
    finally:
        blockbuster.deactivate()


@pytest.fixture
def readable() -> Iterator[Path]:
    """Make a folder with one file that all users may read and only its owner may write."""
    folder = Path(tempfile.mkdtemp())
    (folder / "a").write_bytes(b"data")
    folder.chmod(0o555)
    yield folder
    folder.chmod(0o755)
    shutil.rmtree(folder)


@pytest.fixture
def unprivileged(readable: Path) -> Iterator[None]:
    """Drop root's privileges, which override permissions. `readable` needs them, so it comes first."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[SmallDisk]:
    """Mount a new file system of 32 MiB."""
    with SmallDisk.mounted(tmp_path / "disk", size=32 * MEBIBYTE) as disk:
        if disk is None:
            pytest.skip("no file system can be mounted here: that takes user namespaces, or root's privileges")
        yield disk


@pytest.fixture(scope="session")
def seaweedfs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """Start an S3 server that honours conditions."""
    with start_seaweedfs(tmp_path_factory.mktemp("seaweedfs")) as server:
        yield server


@pytest.fixture(scope="session")
def rclone_s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """Start an S3 server that accepts conditions and ignores them."""
    with start_rclone_s3(tmp_path_factory.mktemp("rclone")) as server:
        yield server


@pytest.fixture(scope="session")
def azurite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AzureServer]:
    """Start a server of Azure Blob Storage's API."""
    with start_azurite(tmp_path_factory.mktemp("azurite")) as server:
        yield server


@pytest.fixture(scope="session")
def gcs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GCSServer]:
    """Start a server of Google Cloud Storage's JSON API that honours conditions."""
    with start_gcs(tmp_path_factory.mktemp("gcs")) as server:
        yield server


@pytest.fixture(scope="session")
def gcs_emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GCSServer]:
    """Start a server of Google Cloud Storage's JSON API that accepts conditions and ignores them."""
    with start_gcs_emulator(tmp_path_factory.mktemp("gcs-emulator")) as server:
        yield server


STORES = [
    "memory",
    "local",
    pytest.param("s3", marks=pytest.mark.servers),
    pytest.param("azure", marks=pytest.mark.servers),
    pytest.param("gcs", marks=pytest.mark.servers),
]


@pytest.fixture(params=STORES)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, Any]:
    """Return an empty store of each kind: its `kind` and the options of its driver."""
    if request.param == "s3":  # servers start outside of any event loop
        server: S3Server = request.getfixturevalue("seaweedfs")
        return {"kind": "s3", "bucket": server.fresh_bucket(), **server.options}
    if request.param == "azure":
        azurite: AzureServer = request.getfixturevalue("azurite")
        return {"kind": "azure", "container": azurite.fresh_container(), **azurite.options}
    if request.param == "gcs":
        gcs: GCSServer = request.getfixturevalue("gcs")
        return {"kind": "gcs", "bucket": gcs.fresh_bucket(), **gcs.options}
    return {"kind": request.param, "path": str(tmp_path / "store")}


@pytest.fixture
async def driver(place: dict[str, Any]) -> AsyncIterator[Driver]:
    """Return the driver of an empty store, for each kind of store."""
    opened = driver_at(place)
    yield opened
    await opened.aclose()


@pytest.fixture
def memory() -> MemoryDriver:
    """Return an empty store, for tests that don't depend on its kind."""
    return MemoryDriver(dispatcher=Dispatcher())


@pytest.fixture
async def make_manager(tmp_path: Path) -> AsyncIterator[ManagerFactory]:
    """Return a function that makes managers with one cache. They are closed after the test."""
    made: list[AssetsManager] = []

    def make(driver: Driver, **settings: object) -> AssetsManager:
        settings = {"assets_dir": tmp_path / "cache", "cleanup_timeout": 30.0, **settings}
        made.append(AssetsManager(driver=driver, **settings))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for manager in made:
        await manager.aclose()


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Make a small directory tree with entries that are easily lost."""
    root = tmp_path / "tree"
    files = {
        "weights/w.bin": b"w" * 3000,
        "weights/deeper/x.bin": b"x",
        ".hidden": b"hidden",
        "empty file": b"",
        "ünïcödé/日本語.txt": "日本語".encode(),
    }
    for path, data in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(data)
    (root / "empty directory" / "inner").mkdir(parents=True)
    (root / "run.sh").write_text("#!/bin/sh\n")
    (root / "run.sh").chmod(0o755)
    (root / "link").symlink_to(root / "weights" / "w.bin")
    return root


@pytest.fixture
def files(tmp_path: Path) -> Files:
    """Return a function that makes files to push."""

    def make(content: str) -> Path:
        path = tmp_path / "files" / f"{content}.txt"
        path.parent.mkdir(exist_ok=True)
        path.write_text(content)
        return path

    return make
