"""Fixtures for filesystems."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from aioassets import AssetsManager
from aioassets.integrations.fsspec import AssetFileSystem


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an empty folder."""
    return tmp_path_factory.mktemp("filesystem")


@pytest.fixture(scope="module")
def options(folder: Path) -> dict[str, Any]:
    """Return the storage options of a store, which is empty at first."""
    return {"bucket": str(folder / "store"), "assets_dir": str(folder / "cache"), "skip_instance_cache": True}


def push(options: dict[str, Any], source: Path, *names: str, alias: str = "") -> None:
    """Push a new version of each asset, and point an alias at it."""

    async def push() -> None:
        given = {name: value for name, value in options.items() if name != "skip_instance_cache"}
        async with AssetsManager(**given) as manager:
            for result in (await manager.update_assets(dict.fromkeys(names, source), create_missing=True)).values():
                if alias:
                    await manager.set_alias(result.name, alias, result.version)

    asyncio.run(push())


@pytest.fixture
def fs(options: dict[str, Any]) -> Iterator[AssetFileSystem]:
    """Return the filesystem of the store."""
    filesystem = AssetFileSystem(**options)
    yield filesystem
    filesystem.close()
