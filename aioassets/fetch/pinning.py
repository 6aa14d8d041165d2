"""Locking specs to exact versions, and fetching exactly these versions."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path

from aioassets.errors import BulkError, BulkFetchError, NotFound, UsageError
from aioassets.fetch.fetched import FetchedAsset
from aioassets.fetch.many import ASSETS_AT_ONCE, fetch_each
from aioassets.fetch.selection import Selection
from aioassets.model.arguments import check_list
from aioassets.model.lockfile import Lock, LockedAsset
from aioassets.model.names import AssetSpec
from aioassets.model.versioning import VersioningScheme
from aioassets.runtime.disk import DENIED, denied, reason
from aioassets.runtime.tasks import for_each
from aioassets.runtime.threads import in_thread
from aioassets.store.documents import AssetStore
from aioassets.store.resolve import SealedVersion, find_version


async def lock_specs(store: AssetStore, scheme: VersioningScheme, specs: Iterable[str | AssetSpec]) -> Lock:
    """Resolve specs concurrently, and pin each to the version that it refers to now.

    Raises:
        UsageError: if `specs` isn't a list.
        BulkError: if any spec is invalid or doesn't refer to a version.
    """
    check_list(specs, "specs")
    locked: dict[AssetSpec, LockedAsset] = {}
    failed: dict[str, Exception] = {}

    async def lock(given: str | AssetSpec) -> None:
        try:
            spec = given if isinstance(given, AssetSpec) else AssetSpec.parse(given)
            found = await find_version(store, scheme, spec)
            locked[spec] = await in_thread(_locked, spec, found)
        except Exception as error:
            failed[str(given)] = error

    await for_each(given := tuple(dict.fromkeys(specs)), lock, limit=ASSETS_AT_ONCE)
    if failed:
        ordered = {str(spec): failed[str(spec)] for spec in given if str(spec) in failed}
        raise BulkError(len(locked), ordered, "locked")
    return Lock.of(locked.values())


def _locked(spec: AssetSpec, found: SealedVersion) -> LockedAsset:
    Selection.of(found.manifest, spec, found.version)  # raises PartNotFound
    return LockedAsset.of(spec, found.version, found.manifest)


async def fetch_locked(lock: Lock, fetch: Callable[[LockedAsset], Awaitable[FetchedAsset]]) -> dict[str, FetchedAsset]:
    """Fetch all assets of a lock concurrently, and return the results by spec, in the order of the lock.

    Raises:
        BulkFetchError: if any of them can't be fetched. The others are fetched nevertheless.
    """
    fetched, failed = await fetch_each(lock.assets, fetch)
    results = {str(asset.spec): fetched[asset] for asset in lock.assets if asset in fetched}
    if failed:
        raise BulkFetchError(results, {str(asset.spec): failed[asset] for asset in lock.assets if asset in failed})
    return results


async def read_lock(source: str | os.PathLike[str]) -> Lock:
    """Parse a lock, given as a text or as the path of a file. A string without a line break is a path.

    Raises:
        UsageError: if it isn't a valid lock, or neither a text nor a path.
        NotFound: if the file doesn't exist.
        AccessDenied: if the file can't be read.
    """
    if isinstance(source, str) and "\n" in source:
        return Lock.parse(source, "the lock")
    try:
        path = os.fspath(source)
    except TypeError:
        raise UsageError(f"Pass the path or the text of a lock file, not {type(source).__name__}.") from None
    return Lock.parse(await in_thread(read_text, path, "Write it with `aioassets lock`."), path)


def read_text(path: str, advice: str) -> str:
    """Return the content of a file that a user wrote. Blocking.

    Args:
        path: the path of the file.
        advice: what to do if there is no such file.

    Raises:
        NotFound: if the file doesn't exist.
        AccessDenied: if it can't be read.
        UsageError: if it isn't a text file.
    """
    try:
        return Path(path).read_text(encoding="utf-8-sig")
    except (FileNotFoundError, NotADirectoryError):
        raise NotFound(f"Cannot read {path!r}: no such file. {advice}") from None
    except OSError as error:
        if error.errno in DENIED:
            raise denied(path, f"read {path!r}", error) from error
        raise UsageError(f"Cannot read {path!r}: {reason(error)}.") from error
    except ValueError:
        raise UsageError(f"Cannot read {path!r}: it isn't a text file in UTF-8.") from None
