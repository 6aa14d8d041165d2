"""Definitions of the commands that show, log and compare versions. `views` implements them."""

from __future__ import annotations

from datetime import timedelta
from functools import partial

import asyncclick as click

from aioassets.cli.options import JSON, STORE, Duration, StoreOptions, Work, grouped


@click.command(short_help="Describe a version.")
@click.argument("spec")
@click.option("--files", "with_files", is_flag=True, help="List the files and the empty directories, too.")
@JSON
@grouped(StoreOptions, "store", *STORE)
def show(spec: str, with_files: bool, as_json: bool, store: StoreOptions) -> Work:
    """Describe a version: when and by whom it was pushed, its size, digest, labels and aliases.

    SPEC is NAME, NAME:1, NAME:1.2 or NAME@ALIAS, optionally followed by a part, which limits the number of files,
    their size and --files. The command reads the manifest, but not the content of the version.
    """
    from aioassets.cli import views  # noqa: PLC0415 - slow to import, and not needed for `--help`

    return partial(views.show, spec, store, with_files=with_files, as_json=as_json)


@click.command(short_help="Print the URL of a version or a file in the store.")
@click.argument("spec")
@click.option(
    "--sign",
    "lifetime",
    type=Duration(),
    help="Print a signed HTTP URL of a file instead. Anyone who has it can read the file for this long, at most 7d.",
)
@JSON
@grouped(StoreOptions, "store", *STORE)
def url(spec: str, lifetime: timedelta | None, as_json: bool, store: StoreOptions) -> Work:
    """Print the URL of a version, or of a part of it, for tools that read the store themselves.

    SPEC is NAME, NAME:1, NAME:1.2 or NAME@ALIAS, optionally followed by a part in brackets. The URL of a directory is a
    prefix, and ends with a slash. A signed URL is a secret. Only S3, GCS and Azure have signed URLs.
    """
    from aioassets.cli import urls  # noqa: PLC0415 - slow to import, and not needed for `--help`

    return partial(urls.url, spec, store, lifetime=lifetime, as_json=as_json)


@click.command(short_help="List the latest versions of an asset with their details.")
@click.argument("name", metavar="NAME[:VERSION]")
@click.option(
    "-n", "--limit", type=click.IntRange(min=1), default=20, show_default=True, help="Maximum number of versions."
)
@click.option("--deleted", is_flag=True, help="Include deleted versions: when, by whom and why they were deleted.")
@JSON
@grouped(StoreOptions, "store", *STORE)
def log(name: str, limit: int, deleted: bool, as_json: bool, store: StoreOptions) -> Work:
    """List the latest versions of an asset, latest first: date, size, who pushed it, aliases and message.

    NAME:1 lists the 1.x versions, and NAME:1.2 only this version. Yanked versions are included, with the reason. If
    a manifest cannot be read, the other versions are still listed, and the exit code is that of the first error.
    """
    from aioassets.cli import views  # noqa: PLC0415 - slow to import, and not needed for `--help`
    from aioassets.model.names import AssetSpec  # noqa: PLC0415 - as above

    return partial(views.log, AssetSpec.series(name), store, limit=limit, deleted=deleted, as_json=as_json)


@click.command(short_help="Compare two versions, or a version with a local path.")
@click.argument("a")
@click.argument("b")
@JSON
@grouped(StoreOptions, "store", *STORE)
def diff(a: str, b: str, as_json: bool, store: StoreOptions) -> Work:
    """List the files that differ between A and B: two versions, or a version and a local path.

    A and B are SPECs such as NAME, NAME:1.2 or NAME@ALIAS, optionally followed by a part, or local paths such as
    ./model or /data/model. The path model without ./ is only compared if there is no asset of this name.
    `aioassets diff NAME ./model` shows what an update with ./model would change. The exit code is 0 if both have the
    same content, and 1 if they differ or may differ.
    """
    from aioassets.cli import views  # noqa: PLC0415 - slow to import, and not needed for `--help`

    return partial(views.diff, a, b, store, as_json=as_json)
