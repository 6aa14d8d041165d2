"""Definition of the command that watches a spec. `watching` contains the implementation."""

from __future__ import annotations

from datetime import timedelta
from functools import partial

import asyncclick as click

from aioassets.cli.options import ASSETS_DIR, FILES, STORE, Duration, StoreOptions, WatchActions, Work, grouped


def on_command(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """Refuse an empty command, such as that of a variable that isn't set."""
    if value is not None and not value.strip():
        raise click.BadParameter("it is empty. Name a command, or leave the option out.", context, parameter)
    return value


ACTIONS = (
    click.option(
        "--exec", "command", metavar="COMMAND", callback=on_command, help="Shell command to run for each version."
    ),
    click.option("--to", metavar="PATH", shell_complete=FILES, help="Put a copy of each version at PATH."),
    click.option("--link/--copy", "link", help="Put a symbolic link to the cache at PATH, or a copy (default)."),
    click.option("--discard-changes", is_flag=True, help="Replace what was put at PATH even if it was changed since."),
)


@click.command(short_help="Download each new version of an asset, and run a command.")
@click.argument("spec")
@grouped(WatchActions, "actions", *ACTIONS)
@click.option(
    "--interval", type=Duration(), default=timedelta(seconds=30), help="Time between two looks (default: 30s)."
)
@click.option(
    "--jitter",
    type=click.FloatRange(0, 1),
    default=0.1,
    metavar="FRACTION",
    help="Part of the interval by which a pause may be shorter, at random (default: 0.1).",
)
@click.option("--wait", is_flag=True, help="Wait if no version exists yet.")
@click.option("--once", is_flag=True, help="Exit after the first version.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON document on one line for each version.")
@grouped(StoreOptions, "store", *STORE, ASSETS_DIR)
def watch(
    spec: str,
    actions: WatchActions,
    interval: timedelta,
    jitter: float,
    wait: bool,
    once: bool,
    as_json: bool,
    store: StoreOptions,
) -> Work:
    """Download a version, print its path, and do so again whenever SPEC refers to another version.

    SPEC is NAME, NAME:1 or NAME@ALIAS, optionally followed by a part. The command of --exec is run by /bin/sh, with the
    variables ASSET_PATH, ASSET_NAME, ASSET_VERSION and ASSET_PREVIOUS (the version before, or empty). It runs for the
    first version, too. A command that fails is reported, and doesn't end the watch; nor does an unreachable store.
    """
    from aioassets.cli import watching  # noqa: PLC0415 - slow to import, and not needed for `--help`

    if interval <= timedelta():
        raise click.UsageError("--interval must be at least 1s.", click.get_current_context())
    if actions.to is None and (actions.link or actions.discard_changes):
        raise click.UsageError("--link and --discard-changes need a path: add --to PATH.", click.get_current_context())
    return partial(
        watching.watch,
        spec,
        store,
        actions,
        interval=interval.total_seconds(),
        jitter=jitter,
        wait=wait,
        once=once,
        as_json=as_json,
    )
