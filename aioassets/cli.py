"""The command line: its commands."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeVar

import anyio
import asyncclick as click

from aioassets._version import __version__
from aioassets.console import (
    ask,
    can_ask,
    described_leftovers,
    forecast,
    leftover_label,
    print_assets,
    say,
    shown,
)
from aioassets.digests import SHA256
from aioassets.errors import StoreError, UsageError
from aioassets.options import (
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
    gathered,
)
from aioassets.process import DONE, FAILED, exit_code_of, run
from aioassets.spec import AssetSpec

if TYPE_CHECKING:
    from aioassets.leftovers import CleaningPlan, CleaningResult
    from aioassets.manager import AssetsManager, AssetVersions
    from aioassets.push import PushPlan, PushResult
    from aioassets.retrieval import FetchedAsset
    from aioassets.verification import Verification

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

T = TypeVar("T")


class _InOrder(click.Group):
    """Lists its commands as they are written here."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """See `click.Group.list_commands`."""
        return list(self.commands)


@click.group(
    cls=_InOrder,
    epilog=EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="aioassets", message="%(prog)s %(version)s")
def cli() -> None:
    """Versioned assets (files and directory trees) on object stores."""


@cli.command(short_help="Push the first version of a new asset.")
@PATH
@click.argument("name")
@gathered(PushOptions, "push", *PUSH)
@gathered(StoreOptions, "store", *STORE, ASSETS_DIR, SINGLE_WRITER)
async def new(path: str, name: str, push: PushOptions, store: StoreOptions) -> int:
    """Push PATH, a file or a directory (or the URL of an object or prefix), as the first version of a new asset.

    Shows what would be pushed where, and asks. Prints the new version.
    """
    spec = AssetSpec.parse(name)
    if spec.version is not None or spec.part is not None:
        _refuse(f"A new asset gets its first version by itself: write {spec.name} instead of {name}.")
    return await _push(path, store, push, lambda manager: manager.plan_create(path, name, **push.details()))


@cli.command(short_help="Push the next version of an asset.")
@PATH
@click.argument("name", metavar="NAME[:MAJOR]")
@click.option("--bump-major", is_flag=True, help="Begin the next major: 1.2 is followed by 2.0.")
@gathered(PushOptions, "push", *PUSH)
@gathered(StoreOptions, "store", *STORE, ASSETS_DIR, SINGLE_WRITER)
async def update(path: str, name: str, bump_major: bool, push: PushOptions, store: StoreOptions) -> int:
    """Push PATH, a file or a directory (or the URL of an object or prefix), as the next version of an asset.

    1.2 is followed by 1.3; NAME:0 goes on with major 0. Shows what would be pushed where, and
    asks. Prints the new version.
    """
    spec = _updatable(name, bump_major)
    return await _push(
        path,
        store,
        push,
        lambda manager: manager.plan_update(path, spec.name, bump_major, spec.version, **push.details()),
    )


@cli.command("list")
@click.argument("prefix", default="")
@JSON
@gathered(StoreOptions, "store", *STORE)
async def list_assets(prefix: str, as_json: bool, store: StoreOptions) -> None:
    """List assets with their versions, latest first.

    With PREFIX, only those whose names begin with it. Where the versions of one can't be read,
    the others are listed, and the exit code is 7.
    """
    async with store.manager() as manager:
        async with shown("Listing assets"):
            assets = await _all(manager.list_assets(prefix))
        if as_json:
            _print_json({"assets": [_described_asset(asset) for asset in assets]})
        elif assets:
            print_assets(assets)
        else:
            say(f"There are no assets in {manager.url}" + (f" whose names begin with {prefix!r}." if prefix else "."))
    if errors := [str(asset.error) for asset in assets if asset.error is not None]:
        raise StoreError("\nError: ".join(errors))


@cli.command()
@click.argument("name")
@JSON
@gathered(StoreOptions, "store", *STORE)
async def versions(name: str, as_json: bool, store: StoreOptions) -> None:
    """List the versions of an asset, latest first, a line each."""
    async with store.manager() as manager, shown(f"Reading the versions of {name}"):
        found = await manager.list_versions(name)
    if as_json:
        _print_json({"name": name, "versions": found})
    else:
        for version in found:
            click.echo(version)


@cli.command()
@click.argument("spec")
@click.option("--force-download", is_flag=True, help="Download anew, and replace what differs.")
@click.option("--verify", is_flag=True, help="Hash what is cached, instead of trusting its record.")
@click.option("--offline", is_flag=True, default=None, help="Use only what is cached. [AIOASSETS_OFFLINE]")
@JSON
@gathered(StoreOptions, "store", *STORE, ASSETS_DIR)
async def fetch(
    spec: str, force_download: bool, verify: bool, offline: bool | None, as_json: bool, store: StoreOptions
) -> None:
    """Bring an asset to the local disk, and print its path.

    SPEC is NAME, NAME:1 or NAME:1.2, each with an optional sub-part: 'NAME:1[weights/w.bin]'.
    """
    async with store.manager() as manager, shown(f"Looking for {spec}", "Downloading") as tally:
        fetched = await manager.fetch_asset(
            spec, force_download=force_download, verify=verify, offline=offline, progress=tally.receive
        )
    if not fetched.verified:
        say(f"{fetched.name}:{fetched.version} has no digest that is known here, so its content couldn't be verified.")
    elif vouched := [algorithm for algorithm in fetched.verified_by if algorithm != SHA256]:
        say(f"{fetched.name}:{fetched.version} was verified by the {' and '.join(vouched)} that its store vouched for.")
    if as_json:
        _print_json(_described_fetch(fetched))
    else:
        click.echo(os.fsencode(fetched.path))  # as it is on disk, also where that isn't valid text


@cli.command(short_help="Check a version against its manifest.")
@click.argument("spec")
@click.option("--cache", "cached", is_flag=True, help="Check what is in the assets directory, without the network.")
@JSON
@gathered(StoreOptions, "store", *STORE, ASSETS_DIR)
async def verify(spec: str, cached: bool, as_json: bool, store: StoreOptions) -> int:
    """Read every file of a version, compare it with what was pushed, and keep nothing.

    SPEC is NAME, NAME:1 or NAME:1.2, each with an optional sub-part. Names all that is damaged or
    missing, and then ends with code 5.
    """
    async with store.manager() as manager, shown(f"Looking for {spec}", "Verifying") as tally:
        found = await manager.verify_asset(spec, cached=cached, progress=tally.receive)
    for problem in found.problems:
        say(f"Error: {problem}")
    label = str(AssetSpec(found.name, found.version, found.part))
    if found.unverifiable:
        say(f"{found.unverifiable:,} files have no digest that is known here, so only their sizes were checked.")
    if as_json:
        _print_json(_described_verification(found))
    elif found.ok:
        click.echo(label)
    return DONE if found.ok else exit_code_of(found.problems[0])


def _described_verification(found: Verification) -> dict[str, Any]:
    return {
        "name": found.name,
        "version": found.version,
        "part": found.part,
        "files": found.files,
        "size": found.size,
        "verified_by": list(found.verified_by),
        "unverifiable": found.unverifiable,
        "ok": found.ok,
        "problems": [
            {"what": problem.what, "expected": problem.expected, "found": problem.found} for problem in found.problems
        ],
    }


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
@gathered(StoreOptions, "store", *STORE, ASSETS_DIR, SINGLE_WRITER)
async def clean(
    name: str,
    older_than: timedelta | None,
    legacy: bool,
    publish: str | None,
    yes: bool,
    dry_run: bool,
    as_json: bool,
    store: StoreOptions,
) -> int:
    """Show what dead pushes and fetches left behind, ask, and remove it.

    In the store: claims, content of versions that were never published, open uploads. In the assets
    directory: unfinished downloads. With NAME, only of that asset. Nothing of a published version is
    removed, and pushes under way are left alone.
    """
    if publish is not None:
        return await _publish(publish, store, as_json=as_json, dry_run=dry_run)
    async with store.manager() as manager:
        async with shown("Looking for leftovers"):
            plan = await manager.plan_clean(name or None, older_than=older_than, legacy=legacy)
        for line in described_leftovers(plan):
            say(line)
        question = "Remove this?" if len(plan.removable) == 1 else f"Remove these {len(plan.removable)}?"
        if not dry_run and plan.removable and not (yes or await _agreed(question)):
            say("Declined: nothing was removed.")
            return FAILED
        result = None
        if not dry_run and plan.removable:
            async with shown("Removing"):
                result = await manager.clean(plan)
    if dry_run:
        say("Dry run: nothing was removed.")
    for leftover in result.kept if result else ():
        say(f"{leftover_label(leftover)} was left alone: it isn't any more what it was.")
    if as_json:
        _print_json({**_described_cleaning(plan, result), "dry_run": dry_run})
    else:
        for leftover in result.removed if result else ():
            click.echo(leftover.where)
    return DONE


async def _publish(spec: str, store: StoreOptions, *, as_json: bool, dry_run: bool) -> int:
    parsed = AssetSpec.parse(spec)
    if parsed.version is None or parsed.part is not None:
        _refuse(f"Name the version to list exactly, like {parsed.name}:1.2, instead of {spec}.")
    if dry_run:
        say(f"Dry run: {spec} was not listed.")
    else:
        async with store.manager() as manager, shown(f"Listing {spec}"):
            await manager.publish_version(parsed.name, parsed.version)
    if as_json:
        _print_json({"name": parsed.name, "version": parsed.version, "dry_run": dry_run})
    elif not dry_run:
        click.echo(spec)
    return DONE


def _described_cleaning(plan: CleaningPlan, result: CleaningResult | None) -> dict[str, Any]:
    removed = set(result.removed) if result else set()
    rows = [
        {
            "kind": leftover.kind.value,
            "where": leftover.where,
            "name": leftover.name or None,
            "version": leftover.version or None,
            "files": leftover.files,
            "size": leftover.size,
            "open_uploads": leftover.uploads,
            "age": leftover.age.total_seconds() if leftover.age is not None else None,
            "holder": str(leftover.holder) if leftover.holder is not None else None,
            "removable": leftover.removable,
            "removed": leftover in removed,
            "advice": leftover.advice or None,
        }
        for leftover in plan.leftovers
    ]
    return {"leftovers": rows}


def _refuse(message: str) -> NoReturn:
    raise click.UsageError(message, click.get_current_context())


def _updatable(name: str, bump_major: bool) -> AssetSpec:
    """Parse `NAME[:MAJOR]`."""
    spec = AssetSpec.parse(name)
    if spec.part is not None:
        _refuse(f"A part of an asset can't be pushed: write {AssetSpec(spec.name, spec.version)} instead of {name}.")
    if spec.version is not None and not spec.version.isdecimal():
        _refuse(f"A push makes a new version: write {spec.name}, or {spec.name}:1 for major 1, instead of {name}.")
    if spec.version is not None and bump_major:
        _refuse(f"--bump-major begins the next major of all: write {spec.name} instead of {name}.")
    return spec


async def _push(
    path: str, store: StoreOptions, push: PushOptions, planned: Callable[[AssetsManager], Awaitable[PushPlan]]
) -> int:
    """Look, show, ask, push."""
    async with store.manager() as manager:
        async with shown(f"Looking at {path} and {manager.url}"):
            plan = await planned(manager)
        for line in forecast(plan, path, str(manager.url)):
            say(line)
        if push.dry_run:
            return _dry_run(plan, push)
        if not (push.yes or await _agreed(f"Push {plan.name}:{plan.version}?")):
            say("Declined: nothing was pushed.")
            return FAILED
        result = await _pushed(manager, plan)
    if result.version != plan.version:
        say(f"{plan.version} was taken by another push meanwhile.")
    if push.as_json:
        _print_json(_described_push(result, dry_run=False))
    else:
        click.echo(f"{result.name}:{result.version}")
    return DONE


def _dry_run(plan: PushPlan, push: PushOptions) -> int:
    say("Dry run: nothing was pushed.")
    if push.as_json:
        _print_json(_described_push(plan, dry_run=True))
    return DONE


async def _agreed(question: str) -> bool:
    if not can_ask():
        raise UsageError("There is no terminal to ask for confirmation: say --yes, or look with --dry-run.")
    return await ask(question)


async def _pushed(manager: AssetsManager, plan: PushPlan) -> PushResult:
    async with shown(f"Preparing {plan.name}", "Uploading") as tally:
        try:
            return await manager.push(plan, progress=tally.receive)
        except anyio.get_cancelled_exc_class():
            if tally.finished is not None:  # it came too late
                say(f"{plan.name}:{tally.finished} was published all the same.")
            raise


def _described_push(pushed: PushPlan | PushResult, *, dry_run: bool) -> dict[str, Any]:
    return {
        "name": pushed.name,
        "version": pushed.version,
        "url": pushed.url,
        "files": pushed.files,
        "size": pushed.size,
        "dry_run": dry_run,
    }


def _described_asset(asset: AssetVersions) -> dict[str, Any]:
    error = None if asset.error is None else str(asset.error)
    return {"name": asset.name, "versions": asset.versions, "error": error}


def _described_fetch(fetched: FetchedAsset) -> dict[str, Any]:
    from aioassets.retrieval import Selection  # noqa: PLC0415 - what `--help` needn't wait for

    manifest = fetched.manifest
    spec = AssetSpec(fetched.name, fetched.version, fetched.part)
    files = Selection.of(manifest, spec, fetched.version).files
    sizes = [file.size for file in files if file.size is not None]
    return {
        "path": str(fetched.path),
        "name": fetched.name,
        "version": fetched.version,
        "part": fetched.part,
        "from_cache": fetched.from_cache,
        "verified": fetched.verified,
        "verified_by": list(fetched.verified_by),
        "files": len(files),
        "size": sum(sizes) if len(sizes) == len(files) else None,
        "is_directory": manifest.is_directory,
        "push_date": manifest.push_date.isoformat(),
        "pushed_by": manifest.pushed_by.to_json(),
        "tool": manifest.tool,
        "message": manifest.message,
        "labels": dict(manifest.labels),
    }


def _print_json(document: dict[str, Any]) -> None:
    click.echo(json.dumps(document, indent=2))


async def _all(items: AsyncIterator[T]) -> list[T]:
    return [item async for item in items]


def main() -> NoReturn:
    """Run the command line of this process, and end it."""
    try:
        code = anyio.run(run, cli)
    except KeyboardInterrupt:  # before or after signals are heeded
        code = 128 + signal.SIGINT
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # no traceback while the interpreter shuts down
    sys.exit(code)
