"""Operations of processes, by name. `schedule.py` has the weight of each."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection
from contextlib import suppress
from datetime import timedelta
from functools import partial
from random import Random
from typing import Final

from aioassets.errors import (
    AliasNotFound,
    AssetExists,
    AssetNotFound,
    PublicationUncertain,
    PushContended,
    StoreUnavailable,
    VersionClaimed,
    VersionContended,
    VersionDeleted,
    VersionDiffers,
    VersionInUse,
    VersionNotFound,
    VersionYanked,
)
from aioassets.model.leftovers import LeftoverKind
from simulation.processes import Process
from simulation.schedule import ALIAS, Step

WITHDRAWN: Final = (VersionYanked, VersionDeleted)
PUSH_ERRORS: Final = (StoreUnavailable, PublicationUncertain, PushContended)
COPY_ERRORS: Final = (*PUSH_ERRORS, VersionClaimed, VersionDeleted, VersionDiffers)


async def create(process: Process, step: Step) -> None:
    result = await process.manager.create_asset(process.workspace.source(step.source), step.asset)
    process.judge.pushed(step, result.version)


async def update(process: Process, step: Step, *, bump_major: bool = False) -> None:
    source = process.workspace.source(step.source)
    result = await process.manager.update_asset(source, step.asset, bump_major)
    process.judge.pushed(step, result.version)


async def push_later(process: Process, step: Step) -> None:
    """Push according to a plan made some time before."""
    plan = await process.manager.plan_update(process.workspace.source(step.source), step.asset)
    await asyncio.sleep(step.delay)
    process.judge.pushed(step, (await process.manager.push(plan)).version)


async def clean(process: Process, step: Step, *, older_than: timedelta | None = None) -> None:
    plan = await process.manager.plan_clean(step.asset, older_than=older_than)
    await asyncio.sleep(step.delay)
    result = await process.manager.clean(plan)
    process.judge.done(step, f"removed {[each.version for each in result.removed]}")


async def fetch(process: Process, step: Step) -> None:
    fetched = await process.fetch(step.asset)
    process.judge.fetched(step, *fetched)


async def fetch_exact(process: Process, step: Step) -> None:
    if (version := process.judge.any_sealed(step)) is None:
        return process.judge.done(step, "nothing to fetch")
    return process.judge.fetched(step, *await process.fetch(f"{step.asset}:{version}"))


async def fetch_alias(process: Process, step: Step) -> None:
    fetched = await process.fetch(f"{step.asset}@{ALIAS}")
    process.judge.fetched_by_alias(step, *fetched)


async def copy(process: Process, step: Step, *, renumber: bool = False) -> None:
    """Copy a version to the other store, which the store does itself or not."""
    if (version := process.judge.any_sealed(step)) is None:
        return process.judge.done(step, "nothing to copy")
    result = await process.copy(step.asset, f":{version}", within=step.is_within, renumber=renumber)
    return process.judge.copied(step, result, renumber=renumber)


async def promote(process: Process, step: Step) -> None:
    """Copy what an alias points at, and point the alias of the other store at the copy."""
    result = await process.copy(step.asset, f"@{ALIAS}", within=step.is_within, alias=ALIAS)
    process.judge.promoted(step, result)


async def publish(process: Process, step: Step) -> None:
    """List the complete but unlisted versions that a cleaning finds."""
    plan = await process.manager.plan_clean(step.asset)
    await asyncio.sleep(step.delay)
    found = [each.version for each in plan.leftovers if each.kind is LeftoverKind.UNLISTED_VERSION]
    for version in found:
        await process.manager.publish_version(step.asset, version)
    process.judge.done(step, f"listed {found}")


async def yank(process: Process, step: Step) -> None:
    if (version := process.judge.any_sealed(step)) is None:
        return process.judge.done(step, "nothing to yank")
    mark = await process.manager.yank_version(step.asset, version, step.label)
    return process.judge.yanked(step, version, mark.token)


async def unyank(process: Process, step: Step) -> None:
    if (version := process.judge.any_sealed(step)) is not None:
        await process.manager.unyank_version(step.asset, version)
    process.judge.done(step, f"restored {version}")


async def delete(process: Process, step: Step) -> None:
    if (version := process.judge.any_sealed(step)) is None:
        return process.judge.done(step, "nothing to delete")
    await process.manager.delete_version(step.asset, version, step.label)
    return process.judge.deleted(step, version)


async def set_alias(process: Process, step: Step) -> None:
    if (version := process.judge.any_sealed(step)) is not None:
        await process.manager.set_alias(step.asset, ALIAS, version)
    process.judge.done(step, f"moved to {version}")


async def remove_alias(process: Process, step: Step) -> None:
    await process.manager.remove_alias(step.asset, ALIAS)
    process.judge.done(step, "removed")


async def replace(process: Process, step: Step) -> None:
    """Replace an object of a version, or anticipate one, as an outsider may who ignores the format."""
    if Random(f"foreign/{step.label}/{step.at}").random() < 0.3:
        process.judge.done(step, f"added {process.judge.add_foreign_chunks(step)}")
    else:
        process.judge.done(step, f"replaced {process.judge.replace_object(step)}")


Perform = Callable[[Process, Step], Awaitable[None]]
OPERATIONS: Final[dict[str, tuple[Perform, Collection[type[Exception]]]]] = {
    "create": (create, (AssetExists, *PUSH_ERRORS)),
    "update": (update, (AssetNotFound, *PUSH_ERRORS)),
    "bump_major": (partial(update, bump_major=True), (AssetNotFound, *PUSH_ERRORS)),
    "push_later": (push_later, (AssetNotFound, *PUSH_ERRORS)),
    "clean": (clean, (AssetNotFound, StoreUnavailable)),
    "clean_all": (partial(clean, older_than=timedelta()), (AssetNotFound, StoreUnavailable)),
    "fetch": (fetch, (AssetNotFound, VersionNotFound, VersionDeleted, StoreUnavailable)),
    "fetch_exact": (fetch_exact, (VersionDeleted, StoreUnavailable)),
    "fetch_alias": (fetch_alias, (AliasNotFound, AssetNotFound, *WITHDRAWN, StoreUnavailable)),
    "copy": (copy, COPY_ERRORS),
    "copy_renumbered": (partial(copy, renumber=True), COPY_ERRORS),
    "promote": (promote, (*COPY_ERRORS, AliasNotFound, AssetNotFound, VersionYanked)),
    "publish": (publish, (AssetNotFound, VersionNotFound, StoreUnavailable, *WITHDRAWN, VersionContended)),
    "yank": (yank, (VersionDeleted, VersionInUse, VersionContended, StoreUnavailable)),
    "unyank": (unyank, (VersionDeleted, VersionContended, StoreUnavailable)),
    "delete": (delete, (VersionInUse, VersionContended, StoreUnavailable)),
    "set_alias": (set_alias, (*WITHDRAWN, StoreUnavailable)),
    "replace": (replace, ()),
    "remove_alias": (remove_alias, (AliasNotFound, AssetNotFound, StoreUnavailable)),
}
"""Functions of the operations, and their expected errors."""


async def perform(process: Process, step: Step) -> None:
    """Perform an operation, and report its outcome to the judge."""
    work, expected = OPERATIONS[step.kind]
    process.judge.begun(step)
    try:
        with suppress(asyncio.CancelledError):
            await work(process, step)
            return
        process.judge.done(step, "cancelled")
    except Exception as error:
        process.judge.failed(step, error, expected)
