"""Definitions of the commands that list and read the files of a version. `reads` implements them."""

from __future__ import annotations

from functools import partial

import asyncclick as click

from aioassets.cli.options import ASSETS_DIR, JSON, STORE, StoreOptions, Work, grouped

_OFFLINE = click.option("--offline", is_flag=True, default=None, help="Use only the cache. [AIOASSETS_OFFLINE]")


@click.command(short_help="List the files of a version.")
@click.argument("spec")
@_OFFLINE
@JSON
@grouped(StoreOptions, "store", *STORE, ASSETS_DIR)
def ls(spec: str, offline: bool | None, as_json: bool, store: StoreOptions) -> Work:
    """List the files of a version, or of a part of it: path, size, SHA-256, and whether they are executable.

    SPEC is NAME, NAME:1, NAME:1.2 or NAME@ALIAS, optionally followed by a part. The paths are those that `cat` and
    `fetch` take in brackets. The command reads the manifest, but not the content of the version.
    """
    from aioassets.cli import reads  # noqa: PLC0415 - slow to import, and not needed for `--help`

    return partial(reads.ls, spec, store, offline=offline, as_json=as_json)


@click.command(short_help="Write a file of a version to standard output.")
@click.argument("spec")
@_OFFLINE
@JSON
@grouped(StoreOptions, "store", *STORE, ASSETS_DIR)
def cat(spec: str, offline: bool | None, as_json: bool, store: StoreOptions) -> Work:
    """Write the content of one file of a version to standard output, without adding it to the cache.

    SPEC is NAME, NAME:1, NAME:1.2 or NAME@ALIAS, followed by the path of a file unless the asset is a file, as in
    'NAME:1[weights/w.bin]'. The content is verified. If it differs from what was pushed, the exit code is 5, but bytes
    may have been written before that was known: use the output only if the exit code is 0.
    """
    from aioassets.cli import reads  # noqa: PLC0415 - slow to import, and not needed for `--help`

    if as_json:
        raise click.UsageError(
            "`cat` writes the content of a file as it is. `ls --json` describes the file.", click.get_current_context()
        )
    return partial(reads.cat, spec, store, offline=offline)
