"""Definitions of the commands, their arguments and their options. `commands` contains the implementations."""

from __future__ import annotations

import gc
import io
import os
import signal
import sys
from collections.abc import Coroutine, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, NoReturn

import asyncclick as click

from aioassets._version import __version__
from aioassets.cli.alias_commands import alias
from aioassets.cli.cache_commands import cache
from aioassets.cli.copy_commands import copy, lock, sync
from aioassets.cli.escaping import escaped
from aioassets.cli.options import (
    ASSETS_DIR,
    DRY_RUN,
    FILES,
    JSON,
    PATH,
    PUSH,
    SINGLE_WRITER,
    STORE,
    YES,
    DefinitionOrder,
    Duration,
    KeyValue,
    PushOptions,
    StoreOptions,
    Work,
    grouped,
    on_exact_version,
    parse_plain_name,
)
from aioassets.cli.read_commands import cat, ls
from aioassets.cli.retention_commands import prune
from aioassets.cli.view_commands import diff, log, show, url
from aioassets.cli.watch_commands import watch
from aioassets.cli.withdrawal_commands import delete, unyank, yank

if TYPE_CHECKING:
    from aioassets.cli import commands, copies, output, process
    from aioassets.model import names as spec
    from aioassets.model.names import AssetSpec
else:

    class _LazyModule:
        """A module that is imported on first use, so that help, completion and usage errors are fast."""

        def __init__(self, name: str) -> None:
            self._name = name

        def __getattr__(self, attribute: str) -> Any:
            return getattr(import_module(self._name), attribute)

    commands = _LazyModule("aioassets.cli.commands")
    copies = _LazyModule("aioassets.cli.copies")
    output = _LazyModule("aioassets.cli.output")
    process = _LazyModule("aioassets.cli.process")
    spec = _LazyModule("aioassets.model.names")


EPILOG: Final = """
The environment variable that an option overrides is shown in brackets. Set AIOASSETS_DEBUG=1 to
see log messages and error tracebacks.

\b
Exit codes:
    0  success
    1  failure, or confirmation declined
    2  usage error
    3  asset, version, alias or path not found
    4  conflict: the asset or version already exists, an alias prevents the change, or something
     else is at the path of --to
    5  integrity error: content differs from what was pushed
    6  permission denied, or no valid credentials
    7  store unreachable or unsuitable
    8  success, but the result could not be written to standard output
  129  hangup (SIGHUP), after cleanup
  130  interrupted (SIGINT), after cleanup
  143  terminated (SIGTERM), after cleanup

\b
To enable shell completion, add this line to .bashrc (for zsh or fish, use zsh_source or
fish_source):
  eval "$(_AIOASSETS_COMPLETE=bash_source aioassets)"
"""


@click.group(
    cls=DefinitionOrder,
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
    """Push PATH as the first version of a new asset.

    PATH is a file, a directory, or the URL of an object or prefix. The command shows what will be pushed,
    asks for confirmation, and prints the new version. With --base, the store copies files that another version has.
    If PATH is -, standard input is pushed as a file, or with NAME[part] as a directory with this file.
    """
    parsed = spec.AssetSpec.parse(name)
    if replace(parsed, part=None) != spec.AssetSpec(parsed.name):
        _usage_error(f"A new asset always starts at its first version: write {parsed.name} instead of {name}.")
    _check_part(path, parsed, name)
    return partial(commands.new, path, parsed, push, store)


@cli.command(short_help="Push the next version of an asset.")
@PATH
@click.argument("name", metavar="NAME[:MAJOR]")
@click.option("--bump-major", is_flag=True, help="Start the next major version, such as 2.0 after 1.2.")
@click.option("--if-changed", is_flag=True, help="Push nothing if the latest version has the same content.")
@click.option("--no-base", is_flag=True, help="Upload all files, even those that the store could copy.")
@grouped(PushOptions, "push", *PUSH)
@grouped(StoreOptions, "store", *STORE, ASSETS_DIR, SINGLE_WRITER)
def update(path: str, name: str, bump_major: bool, if_changed: bool, push: PushOptions, store: StoreOptions) -> Work:
    """Push PATH as the next version of an asset, such as 1.3 after 1.2.

    PATH is a file, a directory, or the URL of an object or prefix. NAME:0 pushes the next 0.x version.
    The command shows what will be pushed, asks for confirmation, and prints the new version. With --if-changed, it
    prints the latest version, and asks nothing, if that has the same content. The store copies the files that didn't
    change since the latest version, or since the version that --base names. They are not uploaded.
    If PATH is -, standard input is pushed as a file, or with NAME[part] as a directory with this file.
    """
    asset = _parse_update_spec(name, bump_major)
    _check_part(path, asset, name)
    return partial(commands.update, path, asset, push, store, bump_major=bump_major, if_changed=if_changed)


@cli.command("list")
@click.argument("prefix", default="")
@click.option(
    "--label", "labels", type=KeyValue(), multiple=True, help="List only assets with this label. May be repeated."
)
@click.option("--alias", metavar="ALIAS", help="List only assets with this alias, and look at its version.")
@click.option("--long", "long_format", is_flag=True, help="Show the date, size, pusher and labels of the version.")
@JSON
@grouped(StoreOptions, "store", *STORE)
def list_assets(
    prefix: str,
    labels: tuple[tuple[str, str], ...],
    alias: str | None,
    long_format: bool,
    as_json: bool,
    store: StoreOptions,
) -> Work:
    """List assets with their versions, latest first.

    PREFIX limits the list to assets whose names start with it. --label and --long look at the latest version of
    each asset, or at that of --alias. If the versions of an asset cannot be read, the other assets are still
    listed, and the exit code is 7.
    """
    return partial(
        commands.list_assets,
        prefix,
        store,
        labels=dict(labels),
        alias=alias,
        long_format=long_format,
        as_json=as_json,
    )


@cli.command()
@click.argument("name", metavar="NAME[:MAJOR]")
@JSON
@grouped(StoreOptions, "store", *STORE)
def versions(name: str, as_json: bool, store: StoreOptions) -> Work:
    """List the versions of an asset, latest first, one per line.

    NAME:1 lists the 1.x versions. Yanked and deleted versions are not listed; `aioassets log` shows them.
    """
    return partial(commands.versions, spec.AssetSpec.series(name), store, as_json=as_json)


@cli.command()
@click.argument("specs", metavar="SPEC...", nargs=-1, required=True)
@click.option("--to", metavar="PATH", shell_complete=FILES, help="Put a copy of the file or directory at PATH.")
@click.option("--link/--copy", "link", help="Put a symbolic link to the cache at PATH, or a copy (default).")
@click.option("--discard-changes", is_flag=True, help="Replace what was put at PATH even if it was changed since.")
@click.option("--force-download", is_flag=True, help="Download again, and replace cached files that differ.")
@click.option("--verify", is_flag=True, help="Verify the digests of cached files, and download damaged files again.")
@click.option("--offline", is_flag=True, default=None, help="Use only the cache. [AIOASSETS_OFFLINE]")
@JSON
@grouped(StoreOptions, "store", *STORE, ASSETS_DIR)
def fetch(
    specs: tuple[str, ...],
    to: str | None,
    link: bool,
    discard_changes: bool,
    force_download: bool,
    verify: bool,
    offline: bool | None,
    as_json: bool,
    store: StoreOptions,
) -> Work:
    """Download assets to the local cache, and print their paths.

    SPEC is NAME, NAME:1, NAME:1.2 or NAME@ALIAS, optionally followed by a part, as in 'NAME:1[weights/w.bin]'.
    Several assets are downloaded concurrently; if one fails, the others are still downloaded. On a terminal,
    control characters in the paths are escaped. --to puts one asset at a path of your choice. It replaces only what
    aioassets put there before.
    """
    if to is None and (link or discard_changes):
        _usage_error("--link and --discard-changes need a path: add --to PATH.")
    if to is not None and len(specs) > 1:
        _usage_error("--to takes one asset: fetch each asset with a command of its own.")
    options: dict[str, Any] = {
        "force_download": force_download,
        "verify": verify,
        "offline": offline,
        "as_json": as_json,
    }
    if len(specs) == 1:
        return partial(commands.fetch, specs[0], store, to=to, link=link, discard_changes=discard_changes, **options)
    return partial(copies.fetch_many, specs, store, **options)


cli.add_command(watch)


@cli.command(short_help="Check a version against its manifest.")
@click.argument("spec")
@click.option("--cache", "cached", is_flag=True, help="Check the cached files, without using the network.")
@JSON
@grouped(StoreOptions, "store", *STORE, ASSETS_DIR)
def verify(spec: str, cached: bool, as_json: bool, store: StoreOptions) -> Work:
    """Read every file in a version and compare it with the manifest, without saving anything.

    SPEC is NAME, NAME:1, NAME:1.2 or NAME@ALIAS, optionally followed by a part. The command reports each damaged
    or missing file, and exits with code 5 if there are any.
    """
    return partial(commands.verify, spec, store, cached=cached, as_json=as_json)


for viewing in (show, log, diff, url):
    cli.add_command(viewing)

for reading in (ls, cat):
    cli.add_command(reading)


for withdrawing in (yank, unyank, delete, prune):
    cli.add_command(withdrawing)


@cli.command(short_help="Remove what interrupted pushes and fetches left behind.")
@click.argument("name", default="")
@click.option(
    "--older-than",
    type=Duration(),
    help="Remove anything that has been inactive for at least this long (for example 24h or 0s), rather than only "
    "what is known to be abandoned. Caution: a short duration can break pushes that are in progress.",
)
@click.option("--legacy", is_flag=True, help="Also remove content that has no manifest and is at least a day old.")
@click.option(
    "--publish", metavar="NAME:VERSION", help="Add a complete but unlisted version to the index; remove nothing."
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
    """Show the leftovers of interrupted pushes and fetches, ask for confirmation, and remove them.

    Leftovers in the store are claims, the content of unpublished versions, interrupted yanks and deletions, and
    open uploads. Leftovers in the assets directory are unfinished downloads. NAME limits the command to one asset.
    Published versions are never removed. Running pushes are left alone unless they have been inactive for longer
    than --older-than.
    """
    if publish is not None:
        work = partial(commands.publish, store=store, as_json=as_json, dry_run=dry_run)
        return on_exact_version(publish, store, work)
    name = parse_plain_name(name)
    return partial(
        commands.clean, name, store, older_than=older_than, legacy=legacy, yes=yes, dry_run=dry_run, as_json=as_json
    )


for copying in (copy, lock, sync):
    cli.add_command(copying)

cli.add_command(alias)
cli.add_command(cache)


def _usage_error(message: str) -> NoReturn:
    raise click.UsageError(message, click.get_current_context())


def _check_part(path: str, parsed: AssetSpec, name: str) -> None:
    """Check that only standard input is pushed as a part, which is then the only file of a directory."""
    if parsed.part is not None and path != "-":
        _usage_error(f"Cannot push a part of an asset: write {replace(parsed, part=None)} instead of {name}.")


def _parse_update_spec(name: str, bump_major: bool) -> AssetSpec:
    """Parse `NAME[:MAJOR]`."""
    parsed = spec.AssetSpec.parse(name)
    if parsed.alias is not None or (parsed.version is not None and not parsed.version.isdecimal()):
        _usage_error(
            f"A push creates a new version: write {parsed.name}, or {parsed.name}:1 for the next 1.x version, "
            f"instead of {name}."
        )
    if parsed.version is not None and bump_major:
        _usage_error(f"--bump-major always starts a new major version: write {parsed.name} instead of {name}.")
    return parsed


def parse(args: Sequence[str] | None = None) -> Work | int:
    """Parse a command line.

    Args:
        args: the arguments without the program name. `None` means those of the current process.

    Returns:
        The command to run, or an exit code if help, shell completion or an error was printed instead.
    """
    try:
        work: Work | int = _run_without_loop(cli.main(args, prog_name="aioassets", standalone_mode=False))
        return work
    except click.ClickException as error:
        shown = io.StringIO()
        error.show(shown)
        return _print_usage_error(shown.getvalue(), error.exit_code)
    except OSError as error:  # help can't be written to standard output
        output.report_unwritten(error)
        return process.UNWRITTEN
    except click.Abort:
        raise KeyboardInterrupt from None
    except SystemExit as error:  # shell completion has finished, or the output pipe is closed
        return error.code if isinstance(error.code, int) else 1
    except Exception as error:
        return process.report_error(error, args)


def _print_usage_error(text: str, code: int) -> int:
    try:
        click.echo(escaped(text, keep="\n"), err=True, nl=False)
    except OSError:
        output.write_err("\n")  # this fails as well, and discards the stream
    return code


def _run_without_loop(parsing: Coroutine[Any, Any, Any]) -> Any:
    """Return the result of a coroutine that never waits. Importing asyncio would double the start-up time."""
    try:
        parsing.send(None)
    except StopIteration as done:
        return done.value
    raise RuntimeError(f"{parsing!r} must finish without suspending.")


def _reserve_standard_descriptors() -> None:
    """Replace closed standard streams with the null device, so that no file or socket reuses their descriptors."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # uses the lowest free descriptor


def main() -> NoReturn:
    """Run the command line of the current process, and exit."""
    _reserve_standard_descriptors()
    try:
        parsed = parse()
        code = parsed if isinstance(parsed, int) else process.run(parsed)
    except KeyboardInterrupt:  # while no signal handler is installed
        code = 128 + signal.SIGINT
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # no traceback while the interpreter shuts down
    gc.disable()
    gc.freeze()  # skips a final garbage collection, which takes a tenth of the time of a short command
    sys.exit(code)
