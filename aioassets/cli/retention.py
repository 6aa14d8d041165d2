"""Implementation of the command that deletes versions by rules."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from aioassets.cli.display import progress_display
from aioassets.cli.options import StoreOptions
from aioassets.cli.output import echo, echo_err, echo_json
from aioassets.cli.process import DONE, FAILED, exit_code_of, report_error
from aioassets.cli.questions import confirmed
from aioassets.cli.tables import aligned
from aioassets.cli.units import human_bytes
from aioassets.cli.withdrawals import OLD_BYTES
from aioassets.model.retention import PrunedVersion, PrunePlan, PruneResult


async def prune(
    name: str,
    store: StoreOptions,
    *,
    keep_last: int | None,
    keep_within: timedelta | None,
    yes: bool,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Delete the versions that no rule keeps."""
    async with store.manager() as manager:
        async with progress_display("Reading versions"):
            plan = await manager.plan_prune(name or None, keep_last=keep_last, keep_within=keep_within)
        for line in _plan_lines(plan):
            echo_err(line)
        code = _report_unreadable(plan)
        if not dry_run and plan.deleted and not (yes or await confirmed(_question(plan))):
            echo_err("Declined: nothing was deleted.")
            return FAILED
        result = None
        if not dry_run and plan.deleted:
            async with progress_display("Deleting"):
                result = await manager.prune(plan)
    if dry_run:
        echo_err("Dry run: nothing was deleted.")
    if result is not None:
        _report(result)
    if as_json:
        echo_json({**_prune_json(plan, result), "dry_run": dry_run})
    else:
        for label in map(":".join, _deleted(result)) if result else ():
            echo(label)
    return exit_code_of(result.failed[0][1]) if result and result.failed else code


def _plan_lines(plan: PrunePlan) -> Iterator[str]:
    for title, rows in (("Keep", plan.kept), ("Delete", plan.deleted)):
        yield from aligned(title, list(map(_row_text, rows))) if rows else ()
    if not (plan.versions or plan.skipped):
        yield "No versions found."
    elif not plan.deleted:
        yield "The rules keep all versions."


def _report_unreadable(plan: PrunePlan) -> int:
    """Report the assets and versions that can't be read, and return the exit code of the first error."""
    codes = [report_error(row.error) for row in plan.versions if row.error is not None]
    for name, error in plan.skipped.items():
        codes.append(report_error(error))
        echo_err(f"Kept all versions of {name}.")
    return codes[0] if codes else DONE


def _row_text(row: PrunedVersion) -> str:
    details = [
        f"{row.push_date:%Y-%m-%d}" if row.push_date is not None else "",
        human_bytes(row.size) if row.size is not None else "",
        "yanked" if row.is_yanked else "",
    ]
    text = ", ".join([f"{row.name}:{row.version}", *filter(None, details)])
    reasons = [f"@{alias}" for alias in row.aliases] + [reason for reason in row.reasons if reason != "alias"]
    return f"{text} ({', '.join(reasons)})" if reasons else text


def _question(plan: PrunePlan) -> str:
    count = len(plan.deleted)
    what = f"{plan.deleted[0].name}:{plan.deleted[0].version}" if count == 1 else f"{count:,} versions"
    return f"Delete {what} ({human_bytes(plan.size)}) for good?"


def _report(result: PruneResult) -> None:
    count = len(_deleted(result))
    echo_err(f"Deleted {count:,} version{'' if count == 1 else 's'}, {human_bytes(result.size)}.")
    if any(deletion.keeps_old_bytes for deletion in result.deleted):
        echo_err(OLD_BYTES)
    for row in result.kept:
        echo_err(f"{_row_text(row)} was kept: something has changed since the plan was made.")
    for row, error in result.failed:
        report_error(error)
        if not row.is_deleted:
            echo_err(f"Not deleted: {row.name}:{row.version}")


def _deleted(result: PruneResult) -> list[tuple[str, str]]:
    """Return the names and numbers of all deleted versions, even if some of their files are left."""
    complete = [(row.name, row.version) for row in result.deleted]
    return complete + [(row.name, row.version) for row, _ in result.failed if row.is_deleted]


def _prune_json(plan: PrunePlan, result: PruneResult | None) -> dict[str, Any]:
    deleted = set(_deleted(result)) if result else set()
    kept = {(row.name, row.version): row.reasons for row in result.kept} if result else {}
    errors = {(row.name, row.version): str(error) for row, error in result.failed} if result else {}
    rows = []
    for row in plan.versions:
        key = (row.name, row.version)
        rows.append(
            {
                "name": row.name,
                "version": row.version,
                "push_date": row.push_date.isoformat() if row.push_date is not None else None,
                "files": row.files,
                "size": row.size,
                "yanked": row.is_yanked,
                "aliases": list(row.aliases),
                "keep": [str(reason) for reason in kept.get(key, row.reasons)],
                "deleted": key in deleted,
                "error": errors.get(key) or (str(row.error) if row.error is not None else None),
            }
        )
    skipped = [{"name": name, "error": str(error)} for name, error in plan.skipped.items()]
    return {"versions": rows, "skipped": skipped, "freed": result.size if result else 0}
