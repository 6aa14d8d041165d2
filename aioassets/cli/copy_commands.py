"""Definitions of the commands that copy and lock versions. `copies` implements them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

import asyncclick as click

from aioassets.cli.options import (
    ASSETS_DIR,
    DRY_RUN,
    JSON,
    SINGLE_WRITER,
    STORE,
    YES,
    CopyTarget,
    StoreOptions,
    grouped,
)

Work = Callable[[], Awaitable[int | None]]


@click.command("copy", short_help="Copy a version to another store, prefix or name.")
@click.argument("spec")
@click.option("--to", metavar="BUCKET", help="Bucket or folder to copy to (default: the same).")
@click.option("--to-prefix", metavar="PREFIX", help="Prefix of all keys there (default: the same).")
@click.option("--name", help="Name of the asset there (default: the same).")
@click.option("--renumber", is_flag=True, help="Take the next free number if other content has the version's number.")
@click.option("--alias", metavar="ALIAS", help="Alias to point at the copy.")
@YES
@DRY_RUN
@JSON
@grouped(CopyTarget, "target")
@grouped(StoreOptions, "store", *STORE, ASSETS_DIR, SINGLE_WRITER)
def copy(spec: str, yes: bool, dry_run: bool, as_json: bool, target: CopyTarget, store: StoreOptions) -> Work:
    """Copy a version to another store, prefix or name, under the same number.

    The store copies the files itself where it can. Otherwise they are streamed. If the version is there
    already with the same content, nothing is copied. Storage options of another provider than that of
    --bucket need its name, as in 'azure.account_name=…'.
    """
    from aioassets.cli import copies  # noqa: PLC0415 - slow to import, and not needed for `--help`

    return partial(copies.copy, spec, store, target, yes=yes, dry_run=dry_run, as_json=as_json)
