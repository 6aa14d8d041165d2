"""Implementations of the commands that yank, restore and delete versions."""

from __future__ import annotations

from typing import Final

from aioassets.cli.descriptions import mark_json
from aioassets.cli.display import progress_display
from aioassets.cli.options import StoreOptions
from aioassets.cli.output import echo, echo_err, echo_json
from aioassets.cli.process import DONE, FAILED
from aioassets.cli.questions import confirmed
from aioassets.cli.units import human_files
from aioassets.errors import VersionInUse
from aioassets.model.arguments import check_note
from aioassets.model.withdrawals import DeletionPlan, DeletionResult

OLD_BYTES: Final = (
    "The bucket has object versioning: it keeps the deleted files as noncurrent versions, which take up space until a "
    "lifecycle rule removes them."
)


async def yank(name: str, version: str, reason: str, store: StoreOptions, *, as_json: bool) -> None:
    """Yank a version."""
    async with store.manager() as manager, progress_display(f"Yanking {name}:{version}"):
        mark = await manager.yank_version(name, version, reason)
    if as_json:
        echo_json({"name": name, "version": version, **mark_json(mark)})
    else:
        echo(f"{name}:{version}")


async def unyank(name: str, version: str, store: StoreOptions, *, as_json: bool) -> None:
    """Restore a yanked version."""
    async with store.manager() as manager, progress_display(f"Restoring {name}:{version}"):
        await manager.unyank_version(name, version)
    if as_json:
        echo_json({"name": name, "version": version})
    else:
        echo(f"{name}:{version}")


async def delete(
    name: str, version: str, reason: str | None, store: StoreOptions, *, yes: bool, dry_run: bool, as_json: bool
) -> int:
    """Show what a deletion would delete, ask for confirmation, and delete it."""
    check_note(reason, "reason")  # before the question
    label = f"{name}:{version}"
    async with store.manager() as manager:
        async with progress_display(f"Reading {label}"):
            plan = await manager.plan_delete(name, version)
        if plan.aliases:
            raise VersionInUse(name, version, plan.aliases, "delete")
        files = human_files(plan.files, plan.size)
        has_effect = not plan.is_deleted or plan.files > 0
        if has_effect:
            echo_err(f"Delete    {label}: {files}, from {manager.url}")
        else:
            echo_err(f"{label} is deleted already: no files are left.")
        if dry_run:
            return _dry_run(plan, as_json=as_json)
        if has_effect and not (yes or await confirmed(f"Delete {label} for good ({files})?")):
            echo_err("Declined: nothing was deleted.")
            return FAILED
        async with progress_display(f"Deleting {label}"):
            result = await manager.delete_version(name, version, reason)
    if plan.is_deleted:
        echo_err(f"{label} was already deleted {result.deleted}.")
    if has_effect:
        echo_err(f"Deleted {human_files(result.files, result.size)}.")
    _print_deletion(result, as_json=as_json)
    return DONE


def _dry_run(plan: DeletionPlan, *, as_json: bool) -> int:
    echo_err("Dry run: nothing was deleted.")
    if as_json:
        echo_json(
            {
                "name": plan.name,
                "version": plan.version,
                "files": plan.files,
                "size": plan.size,
                "dry_run": True,
            }
        )
    return DONE


def _print_deletion(result: DeletionResult, *, as_json: bool) -> None:
    if result.keeps_old_bytes:
        echo_err(OLD_BYTES)
    if not as_json:
        echo(f"{result.name}:{result.version}")
        return
    echo_json(
        {
            "name": result.name,
            "version": result.version,
            "files": result.files,
            "size": result.size,
            **mark_json(result.deleted),
            "keeps_old_bytes": result.keeps_old_bytes,
            "dry_run": False,
        }
    )
