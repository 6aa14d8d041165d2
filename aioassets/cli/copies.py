"""Implementations of the commands that fetch several assets, and that copy versions."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from aioassets.cli.commands import fetch_json, report_fetched
from aioassets.cli.display import progress_display
from aioassets.cli.options import CopyTarget, StoreOptions
from aioassets.cli.output import echo, echo_err, echo_json, echo_path
from aioassets.cli.process import DONE, FAILED, report_error
from aioassets.cli.questions import confirmed
from aioassets.cli.tables import copy_lines
from aioassets.errors import BulkFetchError
from aioassets.fetch.fetched import FetchedAsset
from aioassets.manager import AssetsManager
from aioassets.push.copy import CopyResult


async def fetch_many(
    specs: Sequence[str],
    store: StoreOptions,
    *,
    force_download: bool,
    verify: bool,
    offline: bool | None,
    as_json: bool,
) -> int:
    """Download several assets to the local cache, and print their paths in the order of the specs."""
    async with store.manager() as manager, progress_display("Resolving", "Downloading", len(specs)) as tally:
        fetched, failed = await outcome(
            lambda: manager.fetch_assets(
                specs, force_download=force_download, verify=verify, offline=offline, progress=tally.receive
            )
        )
    return print_fetched(specs, fetched, failed, as_json=as_json)


async def copy(spec: str, store: StoreOptions, target: CopyTarget, *, yes: bool, dry_run: bool, as_json: bool) -> int:
    """Copy a version to another store, prefix or name."""
    settings = store.settings()
    async with AssetsManager(settings=settings) as manager, target.manager(settings) as to:
        async with progress_display(f"Reading {spec} and {to.url}"):
            forecast = await manager.copy_version(spec, to, dry_run=True, **target.details())
        for line in copy_lines(forecast, str(manager.url), str(to.url)):
            echo_err(line)
        if dry_run:
            echo_err("Dry run: nothing was copied.")
            result = forecast
        elif not (yes or await confirmed(f"Copy {forecast.source} to {forecast.name}:{forecast.version}?")):
            echo_err("Declined: nothing was copied.")
            return FAILED
        else:
            result = await _copy(forecast, manager, to, target)
    if as_json:
        echo_json(_copy_json(result))
    elif not dry_run:
        echo(f"{result.name}:{result.version}")
    return DONE


async def _copy(forecast: CopyResult, manager: AssetsManager, to: AssetsManager, target: CopyTarget) -> CopyResult:
    """Copy the version that was shown, even if the spec has another one by now."""
    async with progress_display(f"Preparing {forecast.name}", "Copying") as tally:
        result = await manager.copy_version(forecast.source, to, progress=tally.receive, **target.details())
    if result.version != forecast.version:
        echo_err(f"Version {forecast.version} was taken by a concurrent push.")
    return result


def _copy_json(result: CopyResult) -> dict[str, Any]:
    return {
        "name": result.name,
        "version": result.version,
        "url": result.url,
        "files": result.files,
        "size": result.size,
        "source": result.source,
        "content_digest": result.content_digest,
        "unchanged": result.unchanged,
        "alias": result.alias,
        "dry_run": result.dry_run,
        "streamed": None if result.dry_run else result.streamed,
        "copied": None if result.dry_run else result.copied,
    }


async def outcome(
    call: Callable[[], Awaitable[Mapping[str, FetchedAsset]]],
) -> tuple[Mapping[str, FetchedAsset], Mapping[str, Exception]]:
    """Return the results and the errors of a call that fetches several assets."""
    try:
        return await call(), {}
    except BulkFetchError as error:
        return error.fetched, error.failed


def print_fetched(
    specs: Sequence[str],
    fetched: Mapping[str, FetchedAsset],
    failed: Mapping[str, Exception],
    *,
    as_json: bool,
) -> int:
    """Print fetched paths and errors, and return the exit code of the first error."""
    codes = [report_error(error) for error in failed.values()]
    for each in fetched.values():
        report_fetched(each)
    if as_json:
        echo_json({"assets": [_fetched_row(spec, fetched.get(spec), failed.get(spec)) for spec in specs]})
    else:
        for spec in specs:
            if spec in fetched:
                echo_path(fetched[spec].path)
    return codes[0] if codes else DONE


def _fetched_row(spec: str, fetched: FetchedAsset | None, error: Exception | None) -> dict[str, Any]:
    found = {"path": None} if fetched is None else fetch_json(fetched)
    return {"spec": spec, **found, "error": None if error is None else str(error)}
