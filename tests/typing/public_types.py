"""The public types as users see them: checked by mypy, never run."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, assert_type

from aioassets import (
    AioAssetsError,
    AliasMove,
    AssetFile,
    AssetsManager,
    AssetSpec,
    AssetVersions,
    Budget,
    BulkFetchError,
    BulkUpdateError,
    BytesTransferred,
    CopyResult,
    DeletionPlan,
    DeletionResult,
    Dispatcher,
    Driver,
    Event,
    FetchedAsset,
    FileChange,
    FileEntry,
    FileTransferred,
    InvalidSetting,
    LocalDriver,
    MajorMinor,
    ManagerStateError,
    Manifest,
    Mark,
    MemoryDriver,
    Origin,
    Progress,
    Pusher,
    PushPlan,
    PushResult,
    RetryPolicy,
    SimpleDate,
    TransferFinished,
    TransferStarted,
    VersionDescription,
    VersionDiff,
    VersionFiles,
    VersioningScheme,
    VersionNotFound,
)


async def managers() -> None:
    async with AssetsManager("s3://models", assetsmanager_prefix="assets") as manager:
        assert_type(manager, AssetsManager)
        assert_type(manager.url, str | None)
    AssetsManager()
    AssetsManager(Path("store"), assets_dir=Path("cache"), versioning="simple_date")
    AssetsManager("models", storage_provider="s3", storage_options={"endpoint_url": "https://example.org"})
    AssetsManager("store", versioning=MajorMinor(), retry=RetryPolicy(retry_for=2.0), offline=True, max_requests=8)
    AssetsManager(driver=MemoryDriver(dispatcher=Dispatcher(Budget(8), RetryPolicy())))
    AssetsManager("store", offline="yes")  # type: ignore[arg-type]


async def pushing(manager: AssetsManager, path: Path) -> None:
    assert_type(await manager.create_asset(path, "team/model"), PushResult)
    assert_type(await manager.create_asset("folder", "team/model", labels={"stage": "test"}, dry_run=True), PushResult)
    assert_type(await manager.update_asset(path, "team/model", bump_major=True), PushResult)
    assert_type(await manager.update_asset(path, "team/model", major=1), PushResult)
    assert_type(await manager.update_asset(path, "team/model", major="1"), PushResult)
    assert_type(await manager.update_assets({"a": path}, create_missing=True), dict[str, PushResult])

    async def rows() -> AsyncIterator[bytes]:
        yield b""

    with open(path, "rb") as file:
        await manager.create_asset({"a": b"{}", "b": path, "c": rows(), "d": file, "e": "s3://raw/e"}, "team/model")
        await manager.update_asset(file, "team/model")
    await manager.update_assets({"a": path, "b": b"", "c": {"d": rows()}})
    await manager.update_asset(3, "team/model")  # type: ignore[arg-type]
    await manager.update_asset({"a": 3}, "team/model")  # type: ignore[dict-item]

    plan = await manager.plan_update(path, "team/model")
    assert_type(plan, PushPlan)
    assert_type(plan.versions, tuple[str, ...])
    result = await manager.push(plan)
    assert_type((result.name, result.version, result.url), tuple[str, str, str])
    assert_type((result.files, result.size, result.dry_run), tuple[int, int, bool])
    assert_type((await manager.update_asset(path, "team/model", if_changed=True)).unchanged, bool)
    assert_type((await manager.plan_update(path, "team/model", if_changed=True)).unchanged, bool)


async def fetching(manager: AssetsManager) -> None:
    fetched = await manager.fetch_asset("team/model:1[weights/w.bin]", force_download=True)
    assert_type(fetched, FetchedAsset)
    assert_type(await manager.fetch_asset(AssetSpec("team/model", "1")), FetchedAsset)
    assert_type(await manager.fetch_assets(["team/model", "other"]), dict[str, FetchedAsset])
    assert_type(await manager.fetch_assets({AssetSpec("team/model")}), dict[AssetSpec, FetchedAsset])
    assert_type(fetched.path, Path)
    assert_type(fetched.version, str)
    assert_type(fetched.part, str | None)
    assert_type((fetched.from_cache, fetched.verified), tuple[bool, bool])
    assert_type((fetched.downloaded, fetched.reused), tuple[int, int])
    assert_type(os.fspath(fetched), str)
    assert_type(Path(fetched), Path)
    with open(fetched, "rb"):
        pass

    manifest = fetched.manifest
    assert_type(manifest, Manifest)
    assert_type(manifest.push_date, datetime)
    assert_type(manifest.files, Sequence[FileEntry])
    assert_type(manifest.files[0].size, int | None)
    assert_type(manifest.files[0].digests, Mapping[str, str])
    assert_type(manifest.pushed_by, Pusher)
    assert_type(manifest.labels, Mapping[str, str])


async def reading(manager: AssetsManager) -> None:
    async with manager.open("team/model:1[weights/w.bin]", verify=False, offline=True) as file:
        assert_type(file, AssetFile)
        assert_type(await file.read(8), bytes)
        assert_type(await file.readinto(bytearray(8)), int)
        assert_type(await file.seek(-8, os.SEEK_END), int)
        assert_type(await file.tell(), int)
        assert_type(await file.read_ranges([(0, 8)]), list[bytes])
        assert_type((file.name, file.version, file.path, file.size), tuple[str, str, str, int])
        assert_type((file.verified, file.from_cache, file.closed), tuple[bool, bool, bool])
        assert_type(file.entry, FileEntry)
    assert_type(await manager.open("team/model"), AssetFile)
    assert_type(await manager.read("team/model"), bytes)
    found = await manager.list_files("team/model[weights]")
    assert_type(found, VersionFiles)
    assert_type(found.files, Sequence[FileEntry])
    assert_type(found.size, int | None)


async def following(manager: AssetsManager, path: Path) -> None:
    assert_type(await manager.fetch_asset("team/model", to=path, link=True), FetchedAsset)
    async for fetched in manager.watch("team/model@prod", interval=5, on_error=print, to=path):
        assert_type(fetched, FetchedAsset)
    await manager.watch("team/model").aclose()


async def listing(manager: AssetsManager) -> None:
    assert_type(await manager.list_versions("team/model"), list[str])
    assert_type(manager.list_assets("team/"), AsyncIterator[AssetVersions])
    async for asset in manager.list_assets():
        assert_type(asset.name, str)
        assert_type(asset.versions, tuple[str, ...])
    async for asset in manager.list_assets(labels={"stage": "prod"}, alias="prod", describe=True):
        assert_type(asset.described, VersionDescription | None)


async def looking(manager: AssetsManager, path: Path) -> None:
    assert_type(await manager.url_of("team/model:1.2[config.json]"), str)
    assert_type(await manager.presign("team/model:1.2[config.json]", expires=timedelta(hours=1)), str)
    assert_type(await manager.presign(AssetSpec("team/model"), expires="1h"), str)
    described = await manager.describe_asset("team/model@prod")
    assert_type(described, VersionDescription)
    assert_type(described.push_date, datetime | None)
    assert_type(described.labels, Mapping[str, str])
    assert_type((described.file_count, described.size), tuple[int, int | None])
    assert_type(described.files, Sequence[FileEntry])
    assert_type(described.aliases, tuple[str, ...])
    assert_type((described.yanked, described.origin), tuple[Mark | None, Origin | None])
    assert_type(await manager.log_versions("team/model", None), list[VersionDescription])

    found = await manager.diff_versions(AssetSpec("team/model"), path)
    assert_type(found, VersionDiff)
    assert_type(found.added, tuple[FileEntry, ...])
    assert_type(found.renamed, tuple[FileChange, ...])
    assert_type((found.is_equal, found.unchanged, found.bytes_added), tuple[bool, int, int | None])


async def aliases(manager: AssetsManager) -> None:
    move = await manager.set_alias("team/model", "prod", "1.2", expect=None, reason="first")
    assert_type(move, AliasMove)
    assert_type(move.version, str | None)
    assert_type(await manager.set_alias("team/model", "prod", "1.3", expect="1.2"), AliasMove)
    assert_type(await manager.rollback_alias("team/model", "prod"), AliasMove)
    assert_type(await manager.remove_alias("team/model", "prod", expect="1.2"), AliasMove)
    assert_type(await manager.list_aliases("team/model"), dict[str, AliasMove])
    assert_type(await manager.alias_history("team/model", "prod"), list[AliasMove])


async def watching(manager: AssetsManager, path: Path) -> None:
    def watch(event: Event) -> None:
        match event:
            case TransferStarted():
                assert_type(event.nbytes, int | None)
            case BytesTransferred():
                assert_type((event.nbytes, event.reused), tuple[int, bool])
            case FileTransferred():
                assert_type((event.skipped, event.reused), tuple[bool, bool])
            case TransferFinished():
                assert_type(event.version, str)

    progress: Progress = watch
    created = await manager.create_asset(path, "team/model", progress=progress, base="team/base-model:1.2")
    assert_type((created.uploaded, created.copied, created.base), tuple[int, int, str | None])
    plan = await manager.plan_update(path, "team/model", base=AssetSpec("team/base-model"))
    assert_type((plan.uploaded, plan.copied, plan.base), tuple[int, int, str | None])
    await manager.update_assets({"team/model": path}, base=None)
    await manager.fetch_asset("team/model", progress=print)


async def copying(manager: AssetsManager, to: AssetsManager) -> None:
    copied = await manager.copy_version("team/model:1.2", to, name="other", renumber=True, alias="prod")
    assert_type(copied, CopyResult)
    assert_type((copied.version, copied.unchanged), tuple[str, bool])
    assert_type(await manager.lock_assets(["team/model@prod", AssetSpec("other")]), str)
    assert_type(await manager.sync_assets(Path("assets.lock"), offline=True), dict[str, FetchedAsset])


async def failing(manager: AssetsManager) -> None:
    try:
        await manager.update_assets({})
    except BulkUpdateError as error:
        assert_type(error.published, dict[str, Any])
        assert_type(error.failed, dict[str, Exception])
    except BulkFetchError as error:
        assert_type(error.fetched, dict[Any, Any])
    except VersionNotFound as error:
        assert_type(error.available, tuple[str, ...])
    except (InvalidSetting, ManagerStateError) as error:
        as_base: AioAssetsError = error
        as_builtin: ValueError | RuntimeError = error
        raise as_base from as_builtin


def protocols() -> tuple[list[Driver], list[VersioningScheme]]:
    return [LocalDriver("store"), MemoryDriver()], [MajorMinor(), SimpleDate()]


def specs() -> None:
    spec = AssetSpec.parse("team/model:1.2[part]")
    assert_type(spec.name, str)
    assert_type(spec.version, str | None)
    assert_type(spec.part, str | None)
    spec.name = "other"  # type: ignore[misc]


async def withdrawals(manager: AssetsManager) -> None:
    assert_type(await manager.yank_version("model", "1.2", "bad weights"), Mark)
    await manager.unyank_version("model", "1.2")
    assert_type(await manager.plan_delete("model", "1.2"), DeletionPlan)
    result = await manager.delete_version("model", "1.2", reason="leaked")
    assert_type(result, DeletionResult)
    assert_type(result.deleted.by, Pusher)
    assert_type(result.keeps_old_bytes, bool | None)
    await manager.yank_version("model", "1.2")  # type: ignore[call-arg]
