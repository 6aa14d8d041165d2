"""Definition of the command that deletes versions by rules. `retention` implements it."""

from __future__ import annotations

from datetime import timedelta
from functools import partial

import asyncclick as click

from aioassets.cli.options import (
    DRY_RUN,
    JSON,
    SINGLE_WRITER,
    STORE,
    YES,
    Duration,
    StoreOptions,
    Work,
    grouped,
    parse_plain_name,
)


@click.command(short_help="Delete versions by rules.")
@click.argument("name", default="")
@click.option("--keep-last", type=click.IntRange(min=1), metavar="N", help="Keep the last N versions of each major.")
@click.option("--keep-within", type=Duration(), help="Keep versions that are not older than this, such as 12w or 90d.")
@YES
@DRY_RUN
@JSON
@grouped(StoreOptions, "store", *STORE, SINGLE_WRITER)
def prune(
    name: str,
    keep_last: int | None,
    keep_within: timedelta | None,
    yes: bool,
    dry_run: bool,
    as_json: bool,
    store: StoreOptions,
) -> Work:
    """Show which versions the rules keep, ask for confirmation, and delete all others for good.

    NAME limits the command to one asset. Give at least one rule. A version is kept if any rule applies. The latest
    version of each asset and versions that an alias points at are always kept. The command prints the deleted
    versions.
    """
    from aioassets.cli import retention  # noqa: PLC0415 - slow to import, and not needed for `--help`

    return partial(
        retention.prune,
        parse_plain_name(name),
        store,
        keep_last=keep_last,
        keep_within=keep_within,
        yes=yes,
        dry_run=dry_run,
        as_json=as_json,
    )
