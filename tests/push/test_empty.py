"""Pushes without files, and sources that aren't paths."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from aioassets import AssetsManager, BulkUpdateError, MemoryDriver, SourceError, SourceNotFound, UsageError
from aioassets.errors import ManagerStateError

Push = Callable[..., Awaitable[Any]]


@pytest.fixture
def manager(tmp_path: Path) -> AssetsManager:
    return AssetsManager(driver=MemoryDriver(), assets_dir=tmp_path / "cache")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "a").write_bytes(b"a")
    return folder


@pytest.mark.parametrize("method", ["create_asset", "plan_create", "update_asset", "plan_update", "update_assets"])
@pytest.mark.parametrize("why", ["empty", "include", "exclude"])
async def test_a_push_without_files_is_refused_unless_allowed(
    manager: AssetsManager, source: Path, method: str, why: str, tmp_path: Path
) -> None:
    (tmp_path / "empty" / "inner").mkdir(parents=True)
    options: dict[str, Any] = {} if why == "empty" else {why: ["*.nope"] if why == "include" else ["*"]}
    pushed = tmp_path / "empty" if why == "empty" else source
    if "update" in method:
        await manager.create_asset(source, "name")
    args: tuple[Any, ...] = ({"name": pushed},) if method == "update_assets" else (pushed, "name")

    with pytest.raises((SourceError, BulkUpdateError), match="allow_empty=True"):
        await getattr(manager, method)(*args, **options)
    result = await getattr(manager, method)(*args, **options, allow_empty=True)

    assert (result["name"] if method == "update_assets" else result).files == 0


async def test_a_dry_run_without_files_is_refused(manager: AssetsManager, source: Path) -> None:
    with pytest.raises(SourceError, match="no file matches the patterns"):
        await manager.create_asset(source, "name", include=["*.nope"], dry_run=True)


async def test_a_path_that_no_file_can_have_is_refused(manager: AssetsManager) -> None:
    with pytest.raises(SourceError, match="NUL"):
        await manager.create_asset("a\0b", "name")


async def test_an_unknown_home_directory_is_not_found(manager: AssetsManager) -> None:
    with pytest.raises(SourceNotFound):
        await manager.create_asset("~nosuchuser/source", "name")


class AsyncCallable:
    async def __call__(self, event: object) -> None: ...


async def report(event: object) -> None: ...


def forward(event: object) -> object:
    return report(event)


@pytest.mark.parametrize("progress", [report, AsyncCallable(), forward, 3])
async def test_an_async_progress_callback_is_refused(manager: AssetsManager, source: Path, progress: Any) -> None:
    with pytest.raises(UsageError, match="progress must be a"):
        await manager.create_asset(source, "name", progress=progress)


def test_a_manager_needs_a_loop_of_asyncio(manager: AssetsManager) -> None:
    """trio has none."""
    call = manager.list_versions("name")
    with pytest.raises(ManagerStateError, match="trio"):
        call.send(None)
