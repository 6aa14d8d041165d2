"""Implementations of the commands."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any, TypeVar

import anyio

from aioassets.cli.descriptions import description_json, optional_mark_json
from aioassets.cli.display import progress_display
from aioassets.cli.options import PushOptions, StoreOptions
from aioassets.cli.output import echo, echo_err, echo_json, echo_listed, echo_path
from aioassets.cli.process import DONE, FAILED, exit_code_of, report_error
from aioassets.cli.questions import confirmed
from aioassets.cli.stdin import NAME, STDIN, check_stdin, stdin_source
from aioassets.cli.tables import (
    forecast_lines,
    leftover_label,
    leftover_lines,
    leftover_text,
    no_versions_text,
    print_assets,
)
from aioassets.cli.units import human_bytes
from aioassets.fetch.fetched import FetchedAsset
from aioassets.fetch.selection import Selection
from aioassets.fetch.verify import Verification
from aioassets.manager import AssetsManager, AssetVersions
from aioassets.model.digests import SHA256
from aioassets.model.leftovers import CleaningPlan, CleaningResult
from aioassets.model.names import AssetSpec
from aioassets.model.withdrawals import NAMED
from aioassets.push.accepted import AssetSource
from aioassets.push.plan import PushPlan, PushResult

T = TypeVar("T")


async def new(path: str, asset: AssetSpec, push: PushOptions, store: StoreOptions) -> int:
    """Push the first version of an asset."""
    source, label = await _source(path, asset, push, if_changed=False)
    return await _push(label, store, push, lambda manager: manager.plan_create(source, asset.name, **push.details()))


async def update(
    path: str, asset: AssetSpec, push: PushOptions, store: StoreOptions, *, bump_major: bool, if_changed: bool
) -> int:
    """Push the next version of an asset."""
    source, label = await _source(path, asset, push, if_changed=if_changed)
    return await _push(
        label,
        store,
        push,
        lambda manager: manager.plan_update(
            source, asset.name, bump_major, asset.version, if_changed=if_changed, **push.details()
        ),
    )


async def _source(path: str, asset: AssetSpec, push: PushOptions, *, if_changed: bool) -> tuple[AssetSource, str]:
    """Return the source of a push, and its name for messages."""
    if path != STDIN:
        return path, path
    check_stdin(push, if_changed=if_changed)
    async with progress_display("Waiting for standard input"):
        return await stdin_source(asset.part, push), NAME


async def list_assets(
    prefix: str,
    store: StoreOptions,
    *,
    labels: dict[str, str],
    alias: str | None,
    long_format: bool,
    as_json: bool,
) -> int:
    """List assets with their versions."""
    async with store.manager() as manager:
        async with progress_display("Listing assets"):
            assets = await _collect(manager.list_assets(prefix, labels=labels, alias=alias, describe=long_format))
        if as_json:
            describes = bool(labels or alias is not None or long_format)
            echo_json({"assets": [_asset_json(asset, describes) for asset in assets]}, is_listing=True)
        elif assets:
            print_assets(assets, long_format=long_format)
        else:
            wanted = [f"names that start with {prefix!r}"] if prefix else []
            wanted += [f"the alias {alias!r}"] if alias is not None else []
            wanted += ["these labels"] if labels else []
            echo_err(f"No assets in {manager.url}" + (f" have {' and '.join(wanted)}." if wanted else "."))
    codes = [report_error(asset.error) for asset in assets if asset.error is not None]
    return codes[0] if codes else DONE


async def versions(spec: AssetSpec, store: StoreOptions, *, as_json: bool) -> None:
    """List the versions of an asset."""
    async with store.manager() as manager, progress_display(f"Reading the versions of {spec}"):
        found = await manager.list_versions(spec)
        withdrawn = [] if found else await manager.log_versions(spec, NAMED + 1)
    if not found:
        echo_err(no_versions_text(spec.name, [each.version for each in withdrawn if each.yanked is not None]))
    if as_json:
        echo_json({"name": spec.name, "versions": found}, is_listing=True)
    else:
        for version in found:
            echo_listed(version)


async def fetch(
    spec: str,
    store: StoreOptions,
    *,
    to: str | None,
    link: bool,
    discard_changes: bool,
    force_download: bool,
    verify: bool,
    offline: bool | None,
    as_json: bool,
) -> None:
    """Download an asset to the local cache, put it at a path if one is given, and print its path."""
    async with store.manager() as manager, progress_display(f"Resolving {spec}", "Downloading") as tally:
        fetched = await manager.fetch_asset(
            spec,
            to=to,
            link=link,
            discard_changes=discard_changes,
            force_download=force_download,
            verify=verify,
            offline=offline,
            progress=tally.receive,
        )
    report_fetched(fetched)
    if as_json:
        echo_json(fetch_json(fetched))
    else:
        echo_path(fetched.path)


def report_fetched(fetched: FetchedAsset) -> None:
    """Report repaired and reused files, and files that were not verified by SHA-256."""
    if fetched.repaired:
        echo_err(_repaired_text(fetched))
    elif fetched.reused:
        echo_err(_reused_text(fetched))
    if not fetched.verified:
        echo_err(
            f"{fetched.name}:{fetched.version} was not verified: its manifest has no digests that aioassets supports."
        )
    elif store_digests := [algorithm for algorithm in fetched.verified_by if algorithm != SHA256]:
        echo_err(
            f"{fetched.name}:{fetched.version} was verified by the {' and '.join(store_digests)} digests that the "
            "store reported, not by SHA-256."
        )


async def verify(spec: str, store: StoreOptions, *, cached: bool, as_json: bool) -> int:
    """Check a version against its manifest."""
    async with store.manager() as manager, progress_display(f"Resolving {spec}", "Verifying") as tally:
        found = await manager.verify_asset(spec, cached=cached, progress=tally.receive)
    for problem in found.problems:
        report_error(problem)
    label = str(AssetSpec(found.name, found.version, found.part))
    if found.unverifiable:
        echo_err(f"{found.unverifiable:,} files have no digest that aioassets supports: only their sizes were checked.")
    if as_json:
        echo_json(_verification_json(found))
    elif found.ok:
        echo(label)
    return DONE if found.ok else exit_code_of(found.problems[0])


def _verification_json(found: Verification) -> dict[str, Any]:
    return {
        "name": found.name,
        "version": found.version,
        "part": found.part,
        "files": found.files,
        "size": found.size,
        "verified_by": list(found.verified_by),
        "unverifiable": found.unverifiable,
        "ok": found.ok,
        "yanked": optional_mark_json(found.yanked),
        "problems": [
            {"what": problem.what, "expected": problem.expected, "found": problem.found} for problem in found.problems
        ],
    }


async def clean(
    name: str,
    store: StoreOptions,
    *,
    older_than: timedelta | None,
    legacy: bool,
    yes: bool,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Remove what interrupted pushes and fetches left behind."""
    async with store.manager() as manager:
        async with progress_display("Looking for leftovers"):
            plan = await manager.plan_clean(name or None, older_than=older_than, legacy=legacy)
        for line in leftover_lines(plan):
            echo_err(line)
        codes = [report_error(error) for error in plan.errors]
        question = "Remove it?" if len(plan.removable) == 1 else f"Remove {len(plan.removable)} leftovers?"
        if not dry_run and plan.removable and not (yes or await confirmed(question)):
            echo_err("Declined: nothing was removed.")
            return FAILED
        result = None
        if not dry_run and plan.removable:
            async with progress_display("Removing"):
                result = await manager.clean(plan)
    if dry_run:
        echo_err("Dry run: nothing was removed.")
    for leftover in result.kept if result else ():
        echo_err(f"{leftover_label(leftover)} was not removed: it is in use, or has changed since it was listed.")
    for leftover, error in result.failed if result else ():
        codes.append(report_error(error))
        echo_err(f"Not removed: {leftover_text(leftover)}")
    if as_json:
        echo_json({**_cleaning_json(plan, result), "dry_run": dry_run})
    else:
        for leftover in result.removed if result else ():
            echo(leftover.where)
    return codes[0] if codes else DONE


async def publish(name: str, version: str, store: StoreOptions, *, as_json: bool, dry_run: bool) -> int:
    """Add a complete but unlisted version to the index."""
    label = f"{name}:{version}"
    if dry_run:
        echo_err(f"Dry run: {label} was not added to the index.")
    else:
        async with store.manager() as manager, progress_display(f"Adding {label} to the index"):
            await manager.publish_version(name, version)
    if as_json:
        echo_json({"name": name, "version": version, "dry_run": dry_run})
    elif not dry_run:
        echo(label)
    return DONE


def _cleaning_json(plan: CleaningPlan, result: CleaningResult | None) -> dict[str, Any]:
    removed = set(result.removed) if result else set()
    errors = {leftover.where: str(error) for leftover, error in result.failed} if result else {}
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
            "error": errors.get(leftover.where, None if leftover.error is None else str(leftover.error)),
            "advice": leftover.advice or None,
        }
        for leftover in plan.leftovers
    ]
    return {"leftovers": rows}


async def _push(
    path: str, store: StoreOptions, push: PushOptions, planned: Callable[[AssetsManager], Awaitable[PushPlan]]
) -> int:
    """Plan a push, show the plan, ask for confirmation, and push."""
    async with store.manager() as manager:
        async with progress_display(f"Reading {path} and {manager.url}"):
            plan = await planned(manager)
        if plan.unchanged:
            return _unchanged(plan, path, push)
        for line in forecast_lines(plan, path, str(manager.url)):
            echo_err(line)
        if push.dry_run:
            return _dry_run(plan, push)
        if not (push.yes or await confirmed(f"Push {plan.name}:{plan.version}?")):
            echo_err("Declined: nothing was pushed.")
            return FAILED
        result = await _push_plan(manager, plan)
    if result.version != plan.version:
        echo_err(f"Version {plan.version} was taken by an earlier or concurrent push.")
    if push.as_json:
        echo_json(_push_json(result, dry_run=False))
    else:
        echo(f"{result.name}:{result.version}")
    return DONE


def _unchanged(plan: PushPlan, path: str, push: PushOptions) -> int:
    echo_err(f"Nothing to push: {plan.name}:{plan.version} already has the content of {path}.")
    if push.as_json:
        echo_json(_push_json(plan, dry_run=push.dry_run))
    else:
        echo(f"{plan.name}:{plan.version}")
    return DONE


def _dry_run(plan: PushPlan, push: PushOptions) -> int:
    echo_err("Dry run: nothing was pushed.")
    if push.as_json:
        echo_json(_push_json(plan, dry_run=True))
    return DONE


async def _push_plan(manager: AssetsManager, plan: PushPlan) -> PushResult:
    async with progress_display(f"Preparing {plan.name}", "Uploading") as tally:
        try:
            return await manager.push(plan, progress=tally.receive)
        except anyio.get_cancelled_exc_class():
            if tally.finished is not None:  # cancelled after the version was sealed
                echo_err(f"{plan.name}:{tally.finished} was published before the interruption.")
            raise


def _push_json(pushed: PushPlan | PushResult, *, dry_run: bool) -> dict[str, Any]:
    return {
        "name": pushed.name,
        "version": pushed.version,
        "url": pushed.url,
        "files": pushed.files,
        "size": None if pushed.streams else pushed.size,
        "dry_run": dry_run,
        "unchanged": pushed.unchanged,
        "uploaded": None if pushed.streams else pushed.uploaded,
        "copied": pushed.copied,
        "base": pushed.base,
    }


def _asset_json(asset: AssetVersions, describes: bool) -> dict[str, Any]:
    error = None if asset.error is None else str(asset.error)
    value = {"name": asset.name, "versions": asset.versions, "error": error}
    if not describes:
        return value
    return {**value, "described": None if asset.described is None else description_json(asset.described)}


def _repaired_text(fetched: FetchedAsset) -> str:
    paths = [path for path in fetched.repaired if path]
    named = ", ".join(map(repr, paths[:3])) + (f" and {len(paths) - 3:,} more" if len(paths) > 3 else "")
    label = f"{fetched.name}:{fetched.version}"
    return f"Repaired {label} in the cache: replaced {named or 'it'} (damaged or missing)."


def _reused_text(fetched: FetchedAsset) -> str:
    downloaded, reused = human_bytes(fetched.downloaded), human_bytes(fetched.reused)
    total = human_bytes(fetched.downloaded + fetched.reused)
    return f"Downloaded {downloaded} of {total} for {fetched.name}:{fetched.version}; {reused} reused from the cache."


def fetch_json(fetched: FetchedAsset) -> dict[str, Any]:
    """Return the JSON document of a fetched asset."""
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
        "downloaded": fetched.downloaded,
        "reused": fetched.reused,
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
        "yanked": optional_mark_json(manifest.yanked),
    }


async def _collect(items: AsyncIterator[T]) -> list[T]:
    return [item async for item in items]
