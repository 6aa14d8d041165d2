"""Stores of every kind, and trees to push."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from factories import Files, ManagerFactory, driver_at
from servers import AzureServer, GCSServer, S3Server

from aioassets import AssetsManager, Dispatcher, Driver, MemoryDriver

STORES = [
    "memory",
    "local",
    pytest.param("s3", marks=pytest.mark.servers),
    pytest.param("azure", marks=pytest.mark.servers),
    pytest.param("gcs", marks=pytest.mark.servers),
]


@pytest.fixture(params=STORES)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, Any]:
    """Where an empty store of each kind is: `kind`, and what its driver is made with."""
    if request.param == "s3":  # servers are started outside of any event loop
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
    """An empty store of each kind."""
    opened = driver_at(place)
    yield opened
    await opened.aclose()


@pytest.fixture
def memory() -> MemoryDriver:
    """An empty store, for what doesn't depend on its kind."""
    return MemoryDriver(dispatcher=Dispatcher())


@pytest.fixture
async def make_manager(tmp_path: Path) -> AsyncIterator[ManagerFactory]:
    """Makes managers with one cache, and closes them."""
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
    """A small directory tree with all that is easily forgotten."""
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
    """Makes files to push."""

    def make(content: str) -> Path:
        path = tmp_path / "files" / f"{content}.txt"
        path.parent.mkdir(exist_ok=True)
        path.write_text(content)
        return path

    return make
