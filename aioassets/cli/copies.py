"""Implementations of the commands that fetch several assets, and that lock and copy versions."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from aioassets.cli.commands import fetch_json, report_fetched
from aioassets.cli.display import progress_display
from aioassets.cli.options import StoreOptions
from aioassets.cli.output import echo_json, echo_path
from aioassets.cli.process import DONE, report_error
from aioassets.errors import BulkFetchError
from aioassets.fetch.fetched import FetchedAsset


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
        fetched, failed = await _outcome(
            lambda: manager.fetch_assets(
                specs, force_download=force_download, verify=verify, offline=offline, progress=tally.receive
            )
        )
    return _print_fetched(specs, fetched, failed, as_json=as_json)


async def _outcome(
    call: Callable[[], Awaitable[Mapping[str, FetchedAsset]]],
) -> tuple[Mapping[str, FetchedAsset], Mapping[str, Exception]]:
    try:
        return await call(), {}
    except BulkFetchError as error:
        return error.fetched, error.failed


def _print_fetched(
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
