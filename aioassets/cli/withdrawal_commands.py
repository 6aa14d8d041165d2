"""Definitions of the commands that yank, restore and delete versions. `withdrawals` implements them."""

from __future__ import annotations

from functools import partial

import asyncclick as click

from aioassets.cli.options import (
    ASSETS_DIR,
    DRY_RUN,
    JSON,
    SINGLE_WRITER,
    STORE,
    YES,
    StoreOptions,
    Work,
    grouped,
    on_exact_version,
)


@click.command(short_help="Withdraw a version, so that it is no longer the latest.")
@click.argument("spec", metavar="NAME:VERSION")
@click.option("--reason", metavar="TEXT", required=True, help="Reason to record, and to show to users of the version.")
@JSON
@grouped(StoreOptions, "store", *STORE, ASSETS_DIR, SINGLE_WRITER)
def yank(spec: str, reason: str, as_json: bool, store: StoreOptions) -> Work:
    """Withdraw a version: it is no longer listed, nor fetched as the latest version.

    It can still be fetched by its exact version, with a warning. `aioassets unyank` restores it. A version that an
    alias points at cannot be yanked.
    """
    from aioassets.cli import withdrawals  # noqa: PLC0415 - slow to import, and not needed for `--help`

    return on_exact_version(spec, store, partial(withdrawals.yank, reason=reason, store=store, as_json=as_json))


@click.command(short_help="Restore a yanked version.")
@click.argument("spec", metavar="NAME:VERSION")
@JSON
@grouped(StoreOptions, "store", *STORE, ASSETS_DIR, SINGLE_WRITER)
def unyank(spec: str, as_json: bool, store: StoreOptions) -> Work:
    """Restore a yanked version, so that it is listed again."""
    from aioassets.cli import withdrawals  # noqa: PLC0415 - slow to import, and not needed for `--help`

    return on_exact_version(spec, store, partial(withdrawals.unyank, store=store, as_json=as_json), yanked=True)


@click.command(short_help="Delete a version and its files.")
@click.argument("spec", metavar="NAME:VERSION")
@click.option("--reason", metavar="TEXT", help="Reason to record.")
@YES
@DRY_RUN
@JSON
@grouped(StoreOptions, "store", *STORE, ASSETS_DIR, SINGLE_WRITER)
def delete(spec: str, reason: str | None, yes: bool, dry_run: bool, as_json: bool, store: StoreOptions) -> Work:
    """Delete a version and all its files. This cannot be undone.

    The command shows how many files and bytes it would delete, and asks for confirmation. The version number is
    never used again. A version that an alias points at cannot be deleted.
    """
    from aioassets.cli import withdrawals  # noqa: PLC0415 - slow to import, and not needed for `--help`

    work = partial(withdrawals.delete, reason=reason, store=store, yes=yes, dry_run=dry_run, as_json=as_json)
    return on_exact_version(spec, store, work)
