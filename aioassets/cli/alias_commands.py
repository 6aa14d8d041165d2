"""Definitions of the commands that read and move aliases. `aliases` implements them."""

from __future__ import annotations

from functools import partial
from typing import Final, NoReturn

import asyncclick as click

from aioassets.cli.options import (
    ASSETS_DIR,
    JSON,
    SINGLE_WRITER,
    STORE,
    DefinitionOrder,
    StoreOptions,
    Work,
    grouped,
    on_exact_version,
)

REASON: Final = click.option("--reason", metavar="TEXT", help="Reason to record in the history.")
CHANGING: Final = (*STORE, ASSETS_DIR, SINGLE_WRITER)


@click.group(cls=DefinitionOrder, short_help="Point aliases, such as prod, at versions.")
def alias() -> None:
    """Point aliases, such as prod, at versions, and show where they pointed before.

    NAME@ALIAS can be given wherever a version can be given, as in `aioassets fetch team/model@prod`.
    """


@alias.command("set", short_help="Point an alias at a version.")
@click.argument("version", metavar="NAME:VERSION")
@click.argument("alias")
@click.option(
    "--expect",
    metavar="VERSION|none",
    help="Move the alias only if it points at this version now or, with `none`, if it does not exist.",
)
@REASON
@JSON
@grouped(StoreOptions, "store", *CHANGING)
def set_alias(
    version: str, alias: str, expect: str | None, reason: str | None, as_json: bool, store: StoreOptions
) -> Work:
    """Point ALIAS at a version, and print NAME:VERSION.

    The version must be complete and must not be yanked. If the alias does not point at the version that --expect
    requires, nothing is changed and the exit code is 4.
    """
    from aioassets.cli import aliases  # noqa: PLC0415 - slow to import, and not needed for `--help`

    work = partial(aliases.set_alias, alias=alias, store=store, expect=expect, reason=reason, as_json=as_json)
    return on_exact_version(version, store, work)


@alias.command("remove", short_help="Remove an alias.")
@click.argument("name")
@click.argument("alias")
@click.option("--expect", metavar="VERSION", help="Remove the alias only if it points at this version now.")
@REASON
@JSON
@grouped(StoreOptions, "store", *CHANGING)
def remove_alias(
    name: str, alias: str, expect: str | None, reason: str | None, as_json: bool, store: StoreOptions
) -> Work:
    """Remove ALIAS, and print NAME:VERSION for the version that it pointed at. `alias rollback` restores it."""
    from aioassets.cli import aliases  # noqa: PLC0415 - slow to import, and not needed for `--help`

    return partial(aliases.remove_alias, _name(name), alias, store, expect=expect, reason=reason, as_json=as_json)


@alias.command("list", short_help="List the aliases of an asset.")
@click.argument("name")
@JSON
@grouped(StoreOptions, "store", *STORE)
def list_aliases(name: str, as_json: bool, store: StoreOptions) -> Work:
    """List the aliases of an asset: the version that each points at, and when, by whom and why it was moved."""
    from aioassets.cli import aliases  # noqa: PLC0415 - slow to import, and not needed for `--help`

    return partial(aliases.list_aliases, _name(name), store, as_json=as_json)


@alias.command("history", short_help="List the moves of aliases.")
@click.argument("name")
@click.argument("alias", required=False)
@JSON
@grouped(StoreOptions, "store", *STORE)
def alias_history(name: str, alias: str | None, as_json: bool, store: StoreOptions) -> Work:
    """List the moves of ALIAS or of all aliases of an asset, latest first. The last 100 moves are kept."""
    from aioassets.cli import aliases  # noqa: PLC0415 - slow to import, and not needed for `--help`

    return partial(aliases.alias_history, _name(name), alias, store, as_json=as_json)


@alias.command("rollback", short_help="Point an alias back at its previous version.")
@click.argument("name")
@click.argument("alias")
@REASON
@JSON
@grouped(StoreOptions, "store", *CHANGING)
def rollback_alias(name: str, alias: str, reason: str | None, as_json: bool, store: StoreOptions) -> Work:
    """Point ALIAS at the version that it pointed at before its last move, and print NAME:VERSION.

    An alias that was removed is restored. A second rollback undoes the first one.
    """
    from aioassets.cli import aliases  # noqa: PLC0415 - slow to import, and not needed for `--help`

    return partial(aliases.rollback_alias, _name(name), alias, store, reason=reason, as_json=as_json)


def _name(text: str) -> str:
    """Parse `NAME`."""
    from aioassets.model.names import AssetSpec  # noqa: PLC0415 - not needed for `--help`

    parsed = AssetSpec.parse(text)
    if parsed != AssetSpec(parsed.name):
        _usage_error(f"Give the name of an asset: write {parsed.name} instead of {text}.")
    return parsed.name


def _usage_error(message: str) -> NoReturn:
    raise click.UsageError(message, click.get_current_context())
