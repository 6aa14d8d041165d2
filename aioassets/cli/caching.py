"""Implementations of the commands that list and prune the cache."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from aioassets.cli.display import progress_display
from aioassets.cli.options import StoreOptions
from aioassets.cli.output import echo, echo_err, echo_json, echo_listed, is_terminal
from aioassets.cli.process import DONE, FAILED
from aioassets.cli.questions import confirmed
from aioassets.cli.tables import print_table
from aioassets.cli.units import human_bytes, human_duration, human_files
from aioassets.fetch.inventory import CachedVersion
from aioassets.fetch.pruning import CachePruning
from aioassets.manager import AssetsManager


async def list_cached(assets_dir: str | None, *, as_json: bool) -> None:
    """List the cached versions."""
    async with _manager(assets_dir) as manager, progress_display("Reading the cache"):
        found = await manager.cache.list()
    if as_json:
        echo_json({"versions": [_version_json(cached) for cached in found]}, is_listing=True)
    elif not found:
        echo_err(f"No versions in {str(manager.cache.path)!r}.")
    elif is_terminal(sys.stdout):
        _print_table(found)
    else:
        for cached in found:
            used = cached.last_used.isoformat(timespec="seconds")
            echo_listed(_label(cached), cached.store, str(cached.size), used, _state(cached), str(cached.path))


async def size(assets_dir: str | None, *, as_json: bool) -> None:
    """Print the size of the cache."""
    async with _manager(assets_dir) as manager, progress_display("Reading the cache"):
        found = await manager.cache.list()
    total = sum(cached.size for cached in found)
    cache = manager.cache
    if as_json:
        echo_json({"path": str(cache.path), "size": total, "versions": len(found), "limit": cache.limit})
    elif is_terminal(sys.stdout):
        of = "" if cache.limit is None else f" of {human_bytes(cache.limit)}"
        echo(f"{human_bytes(total)}{of} in {len(found):,} version{'' if len(found) == 1 else 's'}")
    else:
        echo(str(total))


async def prune(
    assets_dir: str | None,
    *,
    limit: int | None,
    unused_for: timedelta | None,
    yes: bool,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Remove the least recently used versions from the cache."""
    async with _manager(assets_dir) as manager:
        async with progress_display("Reading the cache"):
            result = await manager.cache.prune(limit=limit, unused_for=unused_for, dry_run=True)
        _show(result)
        if not dry_run and result.removed and not (yes or await confirmed(_question(result))):
            echo_err("Declined: nothing was removed.")
            return FAILED
        if not dry_run and result.removed:
            async with progress_display("Removing"):
                result = await manager.cache.prune(limit=limit, unused_for=unused_for)
    if dry_run:
        echo_err("Dry run: nothing was removed.")
    if as_json:
        echo_json(_pruning_json(result, dry_run=dry_run))
    elif not dry_run:
        for cached in result.removed:
            echo(str(cached.path))
    return DONE


def _manager(assets_dir: str | None) -> AssetsManager:
    return StoreOptions(None, None, None, None, (), assets_dir=assets_dir).manager()


def _show(result: CachePruning) -> None:
    for title, versions in (("Remove", result.removed), ("Keep", result.kept)):
        for number, cached in enumerate(versions):
            echo_err(f"{'' if number else title:<10}{_text(cached, is_kept=title == 'Keep')}")
    if not result.removed:
        echo_err("None of these can be removed at the moment." if result.kept else "Nothing to remove.")


def _text(cached: CachedVersion, *, is_kept: bool) -> str:
    reason = (" (a process uses it)" if cached.held else " (used within the last hour)") if is_kept else ""
    used = human_duration(datetime.now(UTC) - cached.last_used)
    what = f"{human_files(cached.files, cached.size)}{', partial' if cached.partial else ''}, used {used} ago"
    return f"{_label(cached)} from {cached.store}: {what}{reason}"


def _question(result: CachePruning) -> str:
    count = len(result.removed)
    return f"Remove {count} version{'' if count == 1 else 's'}, {human_bytes(result.freed)}?"


def _label(cached: CachedVersion) -> str:
    return f"{cached.name}:{cached.version}"


def _state(cached: CachedVersion) -> str:
    words = [word for word, holds in (("held", cached.held), ("partial", cached.partial)) if holds]
    return ",".join(words)


def _version_json(cached: CachedVersion) -> dict[str, Any]:
    return {
        "store": cached.store,
        "name": cached.name,
        "version": cached.version,
        "path": str(cached.path),
        "size": cached.size,
        "files": cached.files,
        "last_used": cached.last_used.isoformat(),
        "held": cached.held,
        "partial": cached.partial,
    }


def _pruning_json(result: CachePruning, *, dry_run: bool) -> dict[str, Any]:
    return {
        "removed": _versions_json(result.removed),
        "kept": _versions_json(result.kept),
        "freed": result.freed,
        "size": result.size,
        "dry_run": dry_run,
    }


def _versions_json(versions: Sequence[CachedVersion]) -> list[dict[str, Any]]:
    return [_version_json(cached) for cached in versions]


def _print_table(versions: Iterable[CachedVersion]) -> None:
    now = datetime.now(UTC)
    rows = (
        (
            _label(cached),
            cached.store,
            human_bytes(cached.size),
            f"{human_duration(now - cached.last_used)} ago",
            _state(cached).replace(",", ", "),
        )
        for cached in versions
    )
    print_table(("Version", "Store", "Size", "Last used", ""), rows, right=("Size",))
