"""The command line: what may be asked of it. What is done then is in `commands`."""

from __future__ import annotations

import gc
import io
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, NoReturn

import asyncclick as click

from aioassets._version import __version__
from aioassets.cli.escaping import escaped
from aioassets.cli.options import (
    ASSETS_DIR,
    DRY_RUN,
    JSON,
    PATH,
    PUSH,
    SINGLE_WRITER,
    STORE,
    YES,
    Duration,
    PushOptions,
    StoreOptions,
    grouped,
)

if TYPE_CHECKING:
    from aioassets.cli import commands, process
    from aioassets.model import names as spec
    from aioassets.model.names import AssetSpec
else:

    class _LazyModule:
        """A module that is imported when something of it is used: help, completion and usage errors need none."""

        def __init__(self, name: str) -> None:
            self._name = name

        def __getattr__(self, attribute: str) -> Any:
            return getattr(import_module(self._name), attribute)

    commands = _LazyModule("aioassets.cli.commands")
    process = _LazyModule("aioassets.cli.process")
    spec = _LazyModule("aioassets.model.names")


Work = Callable[[], Awaitable[int | None]]
"""What a command does, returning the exit code; it needs an event loop."""

EPILOG: Final = """
Every setting may come from the environment: each option names its variable. An option beats it.
AIOASSETS_DEBUG=1 shows the traceback of an error.

\b
Exit codes:
    0  done
    1  failed, or declined
    2  usage
    3  asset, version or path not found
    4  conflict: it exists already
    5  integrity: what was fetched is not what was pushed
    6  permission or credentials
    7  store unreachable or unsuitable
  130  interrupted (SIGINT), with the cleanup done
  143  terminated (SIGTERM), with the cleanup done

\b
Shell completion, for .bashrc (likewise zsh_source and fish_source):
  eval "$(_AIOASSETS_COMPLETE=bash_source aioassets)"
"""


class _DefinitionOrder(click.Group):
    """Lists its commands as they are written here."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """See `click.Group.list_commands`."""
        return list(self.commands)


@click.group(
    cls=_DefinitionOrder,
    epilog=EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="aioassets", message="%(prog)s %(version)s")
def cli() -> None:
    """Versioned assets (files and directory trees) on object stores."""


@cli.command("new", short_help="Push the first version of a new asset.")
@PATH
@click.argument("name")
@grouped(PushOptions, "push", *PUSH)
@grouped(StoreOptions, "store", *STORE, ASSETS_DIR, SINGLE_WRITER)
def new(path: str, name: str, push: PushOptions, store: StoreOptions) -> Work:
    """Push PATH, a file or a directory (or the URL of an object or prefix), as the first version of a new asset.

    Shows what would be pushed where, and asks. Prints the new version.
    """
    parsed = spec.AssetSpec.parse(name)
    if parsed.version is not None or parsed.part is not None:
        _usage_error(f"A new asset gets its first version by itself: write {parsed.name} instead of {name}.")
    return partial(commands.new, path, name, push, store)


@cli.command(short_help="Push the next version of an asset.")
@PATH
@click.argument("name", metavar="NAME[:MAJOR]")
@click.option("--bump-major", is_flag=True, help="Begin the next major: 1.2 is followed by 2.0.")
@grouped(PushOptions, "push", *PUSH)
@grouped(StoreOptions, "store", *STORE, ASSETS_DIR, SINGLE_WRITER)
def update(path: str, name: str, bump_major: bool, push: PushOptions, store: StoreOptions) -> Work:
    """Push PATH, a file or a directory (or the URL of an object or prefix), as the next version of an asset.

    1.2 is followed by 1.3; NAME:0 goes on with major 0. Shows what would be pushed where, and
    asks. Prints the new version.
    """
    return partial(commands.update, path, _parse_update_spec(name, bump_major), bump_major, push, store)


@cli.command("list")
@click.argument("prefix", default="")
@JSON
@grouped(StoreOptions, "store", *STORE)
def list_assets(prefix: str, as_json: bool, store: StoreOptions) -> Work:
    """List assets with their versions, latest first.

    With PREFIX, only those whose names begin with it. Where the versions of one can't be read,
    the others are listed, and the exit code is 7.
    """
    return partial(commands.list_assets, prefix, store, as_json=as_json)


@cli.command()
@click.argument("name")
@JSON
@grouped(StoreOptions, "store", *STORE)
def versions(name: str, as_json: bool, store: StoreOptions) -> Work:
    """List the versions of an asset, latest first, a line each."""
    return partial(commands.versions, name, store, as_json=as_json)


@cli.command()
@click.argument("spec")
@click.option("--force-download", is_flag=True, help="Download anew, and replace what differs.")
@click.option("--verify", is_flag=True, help="Hash what is cached, instead of trusting its record.")
@click.option("--offline", is_flag=True, default=None, help="Use only what is cached. [AIOASSETS_OFFLINE]")
@JSON
@grouped(StoreOptions, "store", *STORE, ASSETS_DIR)
def fetch(
    spec: str, force_download: bool, verify: bool, offline: bool | None, as_json: bool, store: StoreOptions
) -> Work:
    """Bring an asset to the local disk, and print its path.

    SPEC is NAME, NAME:1 or NAME:1.2, each with an optional sub-part: 'NAME:1[weights/w.bin]'. A
    terminal shows control characters in the path escaped; programs get its exact bytes.
    """
    return partial(
        commands.fetch, spec, store, force_download=force_download, verify=verify, offline=offline, as_json=as_json
    )


@cli.command(short_help="Check a version against its manifest.")
@click.argument("spec")
@click.option("--cache", "cached", is_flag=True, help="Check what is in the assets directory, without the network.")
@JSON
@grouped(StoreOptions, "store", *STORE, ASSETS_DIR)
def verify(spec: str, cached: bool, as_json: bool, store: StoreOptions) -> Work:
    """Read every file of a version, compare it with what was pushed, and keep nothing.

    SPEC is NAME, NAME:1 or NAME:1.2, each with an optional sub-part. Names all that is damaged or
    missing, and then ends with code 5.
    """
    return partial(commands.verify, spec, store, cached=cached, as_json=as_json)


@cli.command(short_help="Remove what dead pushes and fetches left behind.")
@click.argument("name", default="")
@click.option(
    "--older-than",
    type=Duration(),
    help="Remove what gave no sign of life for so long, like 0s or 24h, instead of what is known to be dead. "
    "A short time stops pushes that are under way.",
)
@click.option("--legacy", is_flag=True, help="Also content without a manifest, if it is a day old.")
@click.option(
    "--publish", metavar="NAME:VERSION", help="List a complete version that isn't listed, and do nothing else."
)
@YES
@DRY_RUN
@JSON
@grouped(StoreOptions, "store", *STORE, ASSETS_DIR, SINGLE_WRITER)
def clean(
    name: str,
    older_than: timedelta | None,
    legacy: bool,
    publish: str | None,
    yes: bool,
    dry_run: bool,
    as_json: bool,
    store: StoreOptions,
) -> Work:
    """Show what dead pushes and fetches left behind, ask, and remove it.

    In the store: claims, content of versions that were never published, open uploads. In the assets
    directory: unfinished downloads. With NAME, only of that asset. Nothing of a published version is
    removed, and pushes under way are left alone.
    """
    if publish is not None:
        name, version = _parse_exact_version(publish)
        return partial(commands.publish, name, version, store, as_json=as_json, dry_run=dry_run)
    return partial(
        commands.clean, name, store, older_than=older_than, legacy=legacy, yes=yes, dry_run=dry_run, as_json=as_json
    )


def _usage_error(message: str) -> NoReturn:
    raise click.UsageError(message, click.get_current_context())


def _parse_update_spec(name: str, bump_major: bool) -> AssetSpec:
    """Parse `NAME[:MAJOR]`."""
    parsed = spec.AssetSpec.parse(name)
    if parsed.part is not None:
        _usage_error(f"A part of an asset can't be pushed: write {replace(parsed, part=None)} instead of {name}.")
    if parsed.version is not None and not parsed.version.isdecimal():
        _usage_error(
            f"A push makes a new version: write {parsed.name}, or {parsed.name}:1 for major 1, instead of {name}."
        )
    if parsed.version is not None and bump_major:
        _usage_error(f"--bump-major begins the next major of all: write {parsed.name} instead of {name}.")
    return parsed


def _parse_exact_version(text: str) -> tuple[str, str]:
    """Parse `NAME:VERSION`."""
    parsed = spec.AssetSpec.parse(text)
    if parsed.version is None or parsed.part is not None:
        _usage_error(f"Name the version to list exactly, like {parsed.name}:1.2, instead of {text}.")
    return parsed.name, parsed.version


def parse(args: Sequence[str] | None = None) -> Work | int:
    """Read a command line.

    Args:
        args: without the program's name; `None` for those of this process.

    Returns:
        What it asks for; or the exit code, where help, a completion or an error was printed and that is all.
    """
    try:
        asked: Work | int = _run_without_loop(cli.main(args, prog_name="aioassets", standalone_mode=False))
        return asked
    except click.ClickException as error:
        shown = io.StringIO()
        error.show(shown)
        click.echo(escaped(shown.getvalue(), keep="\n"), err=True, nl=False)
        return error.exit_code
    except click.Abort:
        raise KeyboardInterrupt from None
    except SystemExit as error:  # completion done, or nobody reads what is printed
        return error.code if isinstance(error.code, int) else 1
    except Exception as error:
        return process.report_error(error, args)


def _run_without_loop(parsing: Coroutine[Any, Any, Any]) -> Any:
    """The result of a coroutine that waits for nothing: a loop would take longer to import than all the rest."""
    try:
        parsing.send(None)
    except StopIteration as done:
        return done.value
    raise RuntimeError(f"{parsing!r} waits for something.")


def main() -> NoReturn:
    """Run the command line of this process, and end it."""
    try:
        parsed = parse()
        code = parsed if isinstance(parsed, int) else process.run(parsed)
    except KeyboardInterrupt:  # before or after signals are heeded
        code = 128 + signal.SIGINT
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # no traceback while the interpreter shuts down
    gc.disable()
    gc.freeze()  # nor a search for garbage in all that was imported, which takes a tenth of a short command
    sys.exit(code)
