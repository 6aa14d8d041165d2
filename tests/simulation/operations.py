"""Operations of processes, by name. `schedule.py` has the weight of each."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import Final

from aioassets.errors import (
    AssetExists,
    AssetNotFound,
    PublicationUncertain,
    PushContended,
    StoreUnavailable,
    VersionNotFound,
)
from aioassets.model.leftovers import LeftoverKind
from simulation.processes import Process
from simulation.schedule import Step

PUSH_ERRORS: Final = (StoreUnavailable, PublicationUncertain, PushContended)


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


async def publish(process: Process, step: Step) -> None:
    """List the complete but unlisted versions that a cleaning finds."""
    plan = await process.manager.plan_clean(step.asset)
    await asyncio.sleep(step.delay)
    found = [each.version for each in plan.leftovers if each.kind is LeftoverKind.UNLISTED_VERSION]
    for version in found:
        await process.manager.publish_version(step.asset, version)
    process.judge.done(step, f"listed {found}")


Perform = Callable[[Process, Step], Awaitable[None]]
OPERATIONS: Final[dict[str, tuple[Perform, Collection[type[Exception]]]]] = {
    "create": (create, (AssetExists, *PUSH_ERRORS)),
    "update": (update, (AssetNotFound, *PUSH_ERRORS)),
    "bump_major": (partial(update, bump_major=True), (AssetNotFound, *PUSH_ERRORS)),
    "push_later": (push_later, (AssetNotFound, *PUSH_ERRORS)),
    "clean": (clean, (AssetNotFound, StoreUnavailable)),
    "clean_all": (partial(clean, older_than=timedelta()), (AssetNotFound, StoreUnavailable)),
    "fetch": (fetch, (AssetNotFound, VersionNotFound, StoreUnavailable)),
    "publish": (publish, (AssetNotFound, VersionNotFound, StoreUnavailable)),
}
"""Functions of the operations, and their expected errors."""


async def perform(process: Process, step: Step) -> None:
    """Perform an operation, and report its outcome to the judge."""
    work, expected = OPERATIONS[step.kind]
    try:
        with suppress(asyncio.CancelledError):
            await work(process, step)
            return
        process.judge.done(step, "cancelled")
    except Exception as error:
        process.judge.failed(step, error, expected)
