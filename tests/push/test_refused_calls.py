"""Calls that can't mean what they say: no files, content instead of a path, a callback that nobody awaits."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio
from tools.factories import Files, ManagerFactory
from tools.inspection import keys

from aioassets import (
    AssetsManager,
    BulkUpdateError,
    Driver,
    Event,
    InvalidSetting,
    ManagerStateError,
    MemoryDriver,
    SourceError,
)


def empty(folder: Path) -> Path:
    (folder / "empty" / "nested").mkdir(parents=True)
    return folder / "empty"


async def test_a_source_without_files_is_refused(
    memory: MemoryDriver, make_manager: ManagerFactory, tmp_path: Path
) -> None:
    manager, source = make_manager(memory), empty(tmp_path)
    for attempt in (
        manager.create_asset(source, "model"),
        manager.create_asset(source, "model", dry_run=True),
        manager.plan_create(source, "model"),
    ):
        with pytest.raises(SourceError, match=r"it has no files; to push an empty version, use --allow-empty"):
            await attempt
    with pytest.raises(BulkUpdateError):
        await manager.update_assets({"model": source}, create_missing=True)
    assert await keys(memory) == []


async def test_patterns_that_match_no_file_are_refused(
    memory: MemoryDriver, make_manager: ManagerFactory, tree: Path
) -> None:
    manager = make_manager(memory)
    await manager.create_asset(tree, "model")
    selections: tuple[dict[str, Any], ...] = ({"include": ["*.nope"]}, {"exclude": ["*"]})
    for patterns in selections:
        for attempt in (
            manager.create_asset(tree, "other", **patterns),
            manager.update_asset(tree, "model", **patterns),
            manager.plan_update(tree, "model", **patterns),
        ):
            with pytest.raises(SourceError, match="none of its files match the patterns"):
                await attempt
    assert await manager.list_versions("model") == ["0.0"]


async def test_an_empty_version_can_be_pushed_on_purpose(
    driver: Driver, make_manager: ManagerFactory, tmp_path: Path
) -> None:
    manager, source = make_manager(driver), empty(tmp_path)
    await manager.create_asset(source, "model", allow_empty=True)
    await manager.update_asset(source, "model", allow_empty=True)
    await manager.push(await manager.plan_update(source, "model", allow_empty=True))
    await manager.update_assets({"model": source}, allow_empty=True)
    assert await manager.list_versions("model") == ["0.3", "0.2", "0.1", "0.0"]
    assert [path.name for path in (await manager.fetch_asset("model")).path.rglob("*")] == ["nested"]


async def test_a_file_without_bytes_is_a_file(memory: MemoryDriver, make_manager: ManagerFactory, files: Files) -> None:
    assert (await make_manager(memory).create_asset(files(""), "model")).version == "0.0"


@pytest.mark.parametrize(
    "source", [b"content", io.BytesIO(b"content"), 7, None, ["a"]], ids=lambda each: type(each).__name__
)
async def test_content_is_no_path(memory: MemoryDriver, make_manager: ManagerFactory, source: Any) -> None:
    with pytest.raises(InvalidSetting, match=f"not {type(source).__name__}"):
        await make_manager(memory).create_asset(source, "model")


async def async_callback(event: Event) -> None:
    pass


class AsyncCallable:
    async def __call__(self, event: Event) -> None:
        pass


@pytest.mark.parametrize(
    "progress",
    [async_callback, AsyncCallable(), lambda event: (async_callback(event),)[0]],
    ids=["function", "object", "lambda"],
)
async def test_a_callback_that_has_to_be_awaited_is_refused(
    memory: MemoryDriver, make_manager: ManagerFactory, files: Files, progress: Callable[..., Any]
) -> None:
    manager = make_manager(memory)
    with pytest.raises(InvalidSetting, match="must be a plain function"):
        await manager.create_asset(files("a"), "model", progress=progress)
    await manager.create_asset(files("a"), "model")
    with pytest.raises(InvalidSetting, match="must be a plain function"):
        await manager.fetch_asset("model", progress=progress)


def test_another_event_loop_library_is_refused(tmp_path: Path) -> None:
    async def main() -> None:
        manager = AssetsManager(tmp_path / "store", assets_dir=tmp_path / "assets")
        with pytest.raises(ManagerStateError, match="asyncio"):
            await manager.list_versions("model")
        with pytest.raises(ManagerStateError, match="asyncio"):
            async with manager:
                pass
        with pytest.raises(ManagerStateError, match="asyncio"):
            await manager.aclose()

    trio.run(main)
