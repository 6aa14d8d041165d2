"""Definitions of the commands that copy and lock versions. `copies` and `locking` implement them."""

from __future__ import annotations

from functools import partial

import asyncclick as click

from aioassets.cli.options import (
    ASSETS_DIR,
    DRY_RUN,
    FILES,
    JSON,
    SINGLE_WRITER,
    STORE,
    YES,
    CopyTarget,
    StoreOptions,
    Work,
    grouped,
)


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


@click.command(short_help="Pin the versions of assets in a lock file.")
@click.argument("path", metavar="[FILE]", default="assets.toml", shell_complete=FILES)
@click.option("--check", is_flag=True, help="Write nothing; exit with 1 if the lock file is out of date.")
@JSON
@grouped(StoreOptions, "store", *STORE, ASSETS_DIR)
def lock(path: str, check: bool, as_json: bool, store: StoreOptions) -> Work:
    """Pin the specs in FILE (default: assets.toml) to the versions that they refer to now.

    FILE contains a list such as assets = ["team/model@prod", "team/index:1"]. The versions and their digests
    are written to a file beside it that ends in .lock. Commit both files to version control.
    """
    from aioassets.cli import locking  # noqa: PLC0415 - slow to import, and not needed for `--help`

    return partial(locking.lock, path, store, check=check, as_json=as_json)


@click.command(short_help="Fetch exactly the versions in a lock file.")
@click.argument("path", metavar="[FILE]", default="assets.lock", shell_complete=FILES)
@click.option("--force-download", is_flag=True, help="Download again, and replace cached files that differ.")
@click.option("--verify", is_flag=True, help="Verify the digests of cached files, and download damaged files again.")
@click.option("--offline", is_flag=True, default=None, help="Use only the cache. [AIOASSETS_OFFLINE]")
@JSON
@grouped(StoreOptions, "store", *STORE, ASSETS_DIR)
def sync(
    path: str, force_download: bool, verify: bool, offline: bool | None, as_json: bool, store: StoreOptions
) -> Work:
    """Download exactly the versions in FILE (default: assets.lock) to the local cache, and print their paths.

    A version whose digest differs from that in the lock file is an integrity error.
    """
    from aioassets.cli import locking  # noqa: PLC0415 - slow to import, and not needed for `--help`

    return partial(
        locking.sync, path, store, force_download=force_download, verify=verify, offline=offline, as_json=as_json
    )
