"""Definitions of the commands that list and prune the cache. `caching` implements them."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import Any

import asyncclick as click

from aioassets.cli.options import ASSETS_DIR, DRY_RUN, JSON, YES, DefinitionOrder, Duration, Work


class Size(click.ParamType[int]):
    """Parameter type for sizes such as `20GB` or `500MiB`, which are converted to bytes."""

    name = "SIZE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Convert a value from the command line."""
        from aioassets.model.sizes import parse_size  # noqa: PLC0415 - slow to import, and not needed for `--help`

        try:
            return value if isinstance(value, int) else parse_size(value)
        except ValueError:
            self.fail(f"{value!r} is not a size. Examples: 20GB, 500MiB, 1000000 (bytes).", param, ctx)


@click.group(cls=DefinitionOrder, short_help="List and prune the fetched versions on this machine.")
def cache() -> None:
    """List and prune the versions that were fetched to the cache, from all stores.

    No bucket is needed, and the network is not used.
    """


@cache.command("list")
@JSON
@ASSETS_DIR
def list_cached(as_json: bool, assets_dir: str | None) -> Work:
    """List the cached versions with their size and last use, least recently used first.

    `held` marks versions that a running process uses.
    """
    from aioassets.cli import caching  # noqa: PLC0415 - slow to import, and not needed for `--help`

    return partial(caching.list_cached, assets_dir, as_json=as_json)


@cache.command()
@click.option("--limit", type=Size(), help="Size to reduce the cache to, such as 20GB. [AIOASSETS_CACHE_LIMIT]")
@click.option("--unused-for", type=Duration(), help="Remove all versions that were unused for this long, such as 30d.")
@YES
@DRY_RUN
@JSON
@ASSETS_DIR
def prune(
    limit: int | None, unused_for: timedelta | None, yes: bool, dry_run: bool, as_json: bool, assets_dir: str | None
) -> Work:
    """Show the least recently used versions, ask for confirmation, and remove them from the cache.

    Versions that a running process uses, or that were used within the last hour, are kept. The store is not
    changed: the next fetch downloads what is missing.
    """
    from aioassets.cli import caching  # noqa: PLC0415 - slow to import, and not needed for `--help`

    return partial(
        caching.prune, assets_dir, limit=limit, unused_for=unused_for, yes=yes, dry_run=dry_run, as_json=as_json
    )


@cache.command()
@JSON
@ASSETS_DIR
def size(as_json: bool, assets_dir: str | None) -> Work:
    """Print the size of the cached versions in bytes."""
    from aioassets.cli import caching  # noqa: PLC0415 - slow to import, and not needed for `--help`

    return partial(caching.size, assets_dir, as_json=as_json)
