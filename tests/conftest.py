"""Fixtures for all tests: servers, and no blocking call in an event loop."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
from blockbuster import BlockBuster
from filesystems import MEBIBYTE, SmallDisk
from servers import (
    AzureServer,
    GCSServer,
    S3Server,
    start_azurite,
    start_gcs,
    start_gcs_emulator,
    start_rclone_s3,
    start_seaweedfs,
)

pytest.register_assert_rewrite("aioassets.testing")
hypothesis.settings.register_profile("same-every-time", derandomize=True, deadline=None, database=None)
hypothesis.settings.register_profile("thorough", max_examples=5_000, deadline=None, database=None)
hypothesis.settings.load_profile("same-every-time")


@pytest.fixture(autouse=True)
def no_blocking_calls() -> Iterator[None]:
    """A call from the package that blocks an event loop fails the test; the tests themselves may read files."""
    blockbuster = BlockBuster("aioassets")
    for function in blockbuster.functions.values():
        # They run on loops of their own that nobody else waits for: in a worker thread, and in a sync fixture.
        function.can_block_in("aioassets/drivers/s3.py", "_open_client")
        function.can_block_in("aioassets/drivers/_s3_credentials.py", "_run")
        function.can_block_in("tests/servers.py", "_with_client")
        # Finding plug-ins reads what is installed, as an import does; only for names that aren't built in.
        function.can_block_in("aioassets/drivers/__init__.py", {"_is_provider", "_factory"})
    blockbuster.activate()
    try:
        yield
    finally:
        blockbuster.deactivate()


@pytest.fixture
def readable() -> Iterator[Path]:
    """A folder with one file that everybody may read and only its owner may write."""
    folder = Path(tempfile.mkdtemp())
    (folder / "a").write_bytes(b"data")
    folder.chmod(0o555)
    yield folder
    folder.chmod(0o755)
    shutil.rmtree(folder)


@pytest.fixture
def unprivileged(readable: Path) -> Iterator[None]:
    """Without root's privileges, to whom nothing is forbidden; after `readable`, which those made."""
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
    """A file system of 32 MiB that nobody else uses."""
    with SmallDisk.mounted(tmp_path / "disk", size=32 * MEBIBYTE) as disk:
        if disk is None:
            pytest.skip("no file system can be mounted here: that takes user namespaces, or root's privileges")
        yield disk


@pytest.fixture(scope="session")
def seaweedfs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """An S3 server that honours conditions."""
    with start_seaweedfs(tmp_path_factory.mktemp("seaweedfs")) as server:
        yield server


@pytest.fixture(scope="session")
def rclone_s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """An S3 server that accepts conditions and ignores them."""
    with start_rclone_s3(tmp_path_factory.mktemp("rclone")) as server:
        yield server


@pytest.fixture(scope="session")
def azurite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AzureServer]:
    """A server of Azure Blob Storage's API."""
    with start_azurite(tmp_path_factory.mktemp("azurite")) as server:
        yield server


@pytest.fixture(scope="session")
def gcs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GCSServer]:
    """A server of Google Cloud Storage's JSON API that honours conditions."""
    with start_gcs(tmp_path_factory.mktemp("gcs")) as server:
        yield server


@pytest.fixture(scope="session")
def gcs_emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GCSServer]:
    """A server of Google Cloud Storage's JSON API that accepts conditions and ignores them."""
    with start_gcs_emulator(tmp_path_factory.mktemp("gcs-emulator")) as server:
        yield server
