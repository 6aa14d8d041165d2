"""Implementations of the commands that show, log and compare versions."""

from __future__ import annotations

import itertools
import sys
from typing import Any

from aioassets.cli.descriptions import (
    FILE_TITLES,
    LOG_TITLES,
    description_json,
    directory_row,
    fact_lines,
    file_json,
    file_row,
    log_row,
)
from aioassets.cli.differences import DIFF_TITLES, diff_json, diff_rows, diff_summary
from aioassets.cli.display import progress_display
from aioassets.cli.options import StoreOptions
from aioassets.cli.output import echo, echo_err, echo_json, echo_listed, is_terminal
from aioassets.cli.process import DONE, FAILED, report_error
from aioassets.cli.tables import no_versions_text, print_rows
from aioassets.model.description import VersionDescription
from aioassets.model.names import AssetSpec


async def show(spec: str, store: StoreOptions, *, with_files: bool, as_json: bool) -> None:
    """Describe a version."""
    async with store.manager() as manager, progress_display(f"Reading {spec}"):
        found = await manager.describe_asset(spec)
    if as_json:
        echo_json({**description_json(found), **(_entries(found) if with_files else {})}, is_listing=with_files)
    else:
        _print_facts(found)
        if with_files:
            _print_files(found)


def _entries(found: VersionDescription) -> dict[str, Any]:
    return {
        "entries": [file_json(file) for file in found.files],
        "empty_directories": list(found.empty_directories),
    }


def _print_facts(found: VersionDescription) -> None:
    """Print aligned facts on a terminal, otherwise a name, a tab and a value per line."""
    for_people = is_terminal(sys.stdout)
    for name, text in fact_lines(found, for_people=for_people):
        if for_people:
            echo(f"{name:<16}{text}")
        else:
            echo_listed(name, text)


def _print_files(found: VersionDescription) -> None:
    if not is_terminal(sys.stdout):
        for file in found.files:
            echo_listed("file", *file_row(file, for_people=False))
        for path in found.empty_directories:
            echo_listed("directory", *directory_row(path))
        return
    echo()
    files = (file_row(file, for_people=True) for file in found.files)
    print_rows(FILE_TITLES, itertools.chain(files, map(directory_row, found.empty_directories)))


async def log(spec: AssetSpec, store: StoreOptions, *, limit: int, deleted: bool, as_json: bool) -> int:
    """List the latest versions of an asset with their details."""
    async with store.manager() as manager, progress_display(f"Reading the versions of {spec}"):
        found = await manager.log_versions(spec, limit, deleted=deleted)
    if as_json:
        echo_json({"name": spec.name, "versions": [description_json(each) for each in found]}, is_listing=True)
    elif found:
        for_people = is_terminal(sys.stdout)
        print_rows(LOG_TITLES, (log_row(each, for_people=for_people) for each in found))
    else:
        echo_err(no_versions_text(spec.name, []))
    codes = [report_error(each.error) for each in found if each.error is not None]
    return codes[0] if codes else DONE


async def diff(a: str, b: str, store: StoreOptions, *, as_json: bool) -> int:
    """Compare two versions, or a version with a local path."""
    async with store.manager() as manager, progress_display(f"Comparing {a} with {b}"):
        found = await manager.diff_versions(a, b)
    if as_json:
        echo_json(diff_json(found), is_listing=True)
    elif not found.is_equal:
        for_people = is_terminal(sys.stdout)
        print_rows(DIFF_TITLES, diff_rows(found, for_people=for_people))
    echo_err(diff_summary(found))
    return DONE if found.is_equal else FAILED
