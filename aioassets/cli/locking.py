"""Implementations of the commands that write lock files and fetch what they pin."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final

from aioassets.cli.copies import outcome, print_fetched
from aioassets.cli.display import progress_display
from aioassets.cli.options import StoreOptions
from aioassets.cli.output import echo_err, echo_json
from aioassets.cli.process import DONE, FAILED, report_error
from aioassets.cli.tables import print_rows
from aioassets.errors import BulkError, UsageError
from aioassets.fetch.pinning import read_lock, read_text
from aioassets.model.lockfile import Lock, LockedAsset, parse_dependencies
from aioassets.runtime.disk import DENIED, denied, reason, write_atomically
from aioassets.runtime.threads import in_thread

_EXAMPLE: Final = "List the specs there, for example: assets = ['team/model@prod', 'team/index:1']."


async def lock(path: str, store: StoreOptions, *, check: bool, as_json: bool) -> int:
    """Write the lock file of a list of specs, or check whether it is up to date."""
    specs = parse_dependencies(await in_thread(read_text, path, _EXAMPLE), path)
    target = Path(path).with_suffix(".lock")
    if target == Path(path):
        raise UsageError(f"Cannot lock {path!r}: it would be its own lock file. Name the list of specs, assets.toml.")
    try:
        async with store.manager() as manager, progress_display(f"Resolving the specs in {path}"):
            text = await manager.lock_assets(specs)
    except BulkError as error:
        codes = [report_error(each) for each in error.failed.values()]
        return codes[0]
    is_current = await in_thread(_present, target) == text
    if not (is_current or check):
        await in_thread(_write, target, text)
    echo_err(_message(str(target), is_current=is_current, check=check))
    assets = Lock.parse(text, str(target)).assets
    if as_json:
        echo_json({"path": str(target), "changed": not is_current, "assets": [_asset_json(each) for each in assets]})
    else:
        print_rows(("Spec", "Version"), ([str(each.spec), f"{each.spec.name}:{each.version}"] for each in assets))
    return FAILED if check and not is_current else DONE


def _message(target: str, *, is_current: bool, check: bool) -> str:
    if is_current:
        return f"{target} is up to date."
    return f"{target} is out of date. Update it with `aioassets lock`." if check else f"Wrote {target}."


def _asset_json(asset: LockedAsset) -> dict[str, Any]:
    digests = dict.fromkeys(("content_digest", "listing_digest")) | {asset.kind: asset.digest}
    return {"spec": str(asset.spec), "name": asset.spec.name, "version": asset.version, **digests}


def _present(path: Path) -> str | None:
    """Return the lock file that is there, or `None` if there is none that can be read as text. Blocking."""
    try:
        return path.read_bytes().decode()
    except (OSError, ValueError):
        return None


def _write(path: Path, text: str) -> None:
    """Write a file, or the file that a symbolic link points at. Blocking."""
    try:
        write_atomically(Path(os.path.realpath(path)), lambda file: file.write(text.encode()))
    except OSError as error:
        if error.errno in DENIED:
            raise denied(str(path), f"write {str(path)!r}", error) from error
        raise UsageError(f"Cannot write {str(path)!r}: {reason(error)}.") from error


async def sync(
    path: str, store: StoreOptions, *, force_download: bool, verify: bool, offline: bool | None, as_json: bool
) -> int:
    """Fetch exactly the versions in a lock file, and print their paths."""
    locked = await read_lock(Path(path))
    specs = [str(asset.spec) for asset in locked.assets]
    async with store.manager() as manager, progress_display("Resolving", "Downloading", len(specs)) as tally:
        fetched, failed = await outcome(
            lambda: manager.sync_assets(
                locked.to_toml(),
                force_download=force_download,
                verify=verify,
                offline=offline,
                progress=tally.receive,
            )
        )
    return print_fetched(specs, fetched, failed, as_json=as_json)
