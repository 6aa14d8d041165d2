"""Comparing two versions, or a version with a local path."""

from __future__ import annotations

from functools import partial

from aioassets.errors import SourceChanged, SourceError, SourceNotFound, UsageError
from aioassets.model.diff import DiffSide, VersionDiff, diff
from aioassets.model.names import AssetSpec
from aioassets.model.versioning import VersioningScheme
from aioassets.push.compare import entries_of
from aioassets.push.hashes import Hashes
from aioassets.push.scan import scan
from aioassets.runtime.known_hashes import KnownHashes
from aioassets.runtime.tasks import gather2
from aioassets.runtime.threads import check_cancelled, in_thread
from aioassets.store.documents import AssetStore
from aioassets.views.sides import Side, VersionSide, spec_or_path


async def compare(
    store: AssetStore, scheme: VersioningScheme, a: Side, b: Side, known: KnownHashes | None = None
) -> VersionDiff:
    """Return the differences between two versions, or between a version and a local path.

    Args:
        store: the store of the versions.
        scheme: the versioning scheme.
        a: the first side.
        b: the second side.
        known: the digests of local files from earlier calls; `None` to use none.

    Raises:
        UsageError: if both sides are local paths, or one is invalid.
        NotFound: if a version, part or path doesn't exist.
        SourceError: if the local path can't be read, or changes in the meantime.
    """
    try:
        return await _compare(store, scheme, a, b, known)
    except SourceNotFound as error:
        raise SourceNotFound(error.path, doing="read") from error
    except SourceChanged as error:
        raise SourceChanged(error.path, doing="read") from error
    except SourceError as error:
        raise SourceError(error.path, error.reason, doing="read") from error


async def _compare(
    store: AssetStore, scheme: VersioningScheme, a: Side, b: Side, known: KnownHashes | None
) -> VersionDiff:
    first, second = await spec_or_path(store, a), await spec_or_path(store, b)
    find = partial(VersionSide.find, store, scheme)
    if isinstance(first, AssetSpec) and isinstance(second, AssetSpec):
        return await _versions(*await gather2(partial(find, first), partial(find, second)))
    if isinstance(second, AssetSpec):
        found = await _with_path(store, scheme, second, str(first), known)
        return await in_thread(diff, *found[::-1], check_cancelled)
    if isinstance(first, AssetSpec):
        return await in_thread(diff, *await _with_path(store, scheme, first, second, known), check_cancelled)
    raise UsageError("Both sides are local paths. Compare a version (name:1.2) with a version or a path.")


async def _versions(a: VersionSide, b: VersionSide) -> VersionDiff:
    if a.has_content_of(b):
        return VersionDiff(a.side.label, b.side.label, unchanged=len(a.side.files))
    return await in_thread(diff, a.side, b.side, check_cancelled)


async def _with_path(
    store: AssetStore, scheme: VersioningScheme, spec: AssetSpec, path: str, known: KnownHashes | None
) -> tuple[DiffSide, DiffSide]:
    """Return a version and a local path as sides. The path's files are hashed where their sizes don't tell."""
    tree, found = await gather2(partial(scan, path), partial(VersionSide.find, store, scheme, spec))
    files = await entries_of(tree, found.side.files, Hashes(tree.files, known))
    return found.side, DiffSide(path, files, tree.empty_directories)
