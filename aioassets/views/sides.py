"""Sides of a comparison: telling specs from local paths, and reading the files of a version."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace

from aioassets.drivers.protocol import ObjectInfo
from aioassets.drivers.spelling import SCHEME
from aioassets.errors import UsageError
from aioassets.fetch.selection import select
from aioassets.model.diff import DiffSide
from aioassets.model.files import FileEntry, FileTable
from aioassets.model.manifest import Manifest
from aioassets.model.names import AssetSpec
from aioassets.model.versioning import VersioningScheme
from aioassets.runtime.notices import NOTICE
from aioassets.runtime.threads import in_thread
from aioassets.store.documents import AssetStore
from aioassets.store.resolve import find_version

logger = logging.getLogger(__name__)

Side = str | os.PathLike[str] | AssetSpec
"""A spec, or a local path."""


async def spec_or_path(store: AssetStore, side: Side) -> AssetSpec | str:
    """Return a side as a parsed spec, or as a local path.

    A string is a path if it is `.` or `..`, begins with `/`, `./` or `../`, or ends with `/`. If it names an existing
    file or folder, it is also a path if it isn't a valid spec, or there is no such asset. Any other string is a spec.
    If it could be both, the store is asked, and a warning says what was chosen.

    Raises:
        UsageError: if it is a URL, has another type, or is neither a valid spec nor an existing path.
    """
    if isinstance(side, AssetSpec):
        return side
    if not isinstance(side, str):
        return _path_of(side)
    if side in (".", "..") or side.startswith(("/", "./", "../")) or side.endswith("/"):
        return side
    if SCHEME.match(side):
        raise UsageError(f"Cannot compare the URL {side!r}. Compare versions (name:1.2) and local paths (./path).")
    exists = await in_thread(_exists, side)
    try:
        spec = AssetSpec.parse(side)
    except UsageError:
        if exists:
            return side
        raise
    return await _chosen(store, side, spec) if exists else spec


async def _chosen(store: AssetStore, side: str, spec: AssetSpec) -> AssetSpec | str:
    """Return the asset if it exists, otherwise the local path."""
    path = os.path.join(".", side)
    if not (await store.read_index(spec.name)).exists:
        logger.warning("%r is compared as the local path %s, since there is no such asset.", side, path, extra=NOTICE)
        return path
    logger.warning(
        "%r is compared as an asset. To compare the local path of this name, write %s.", side, path, extra=NOTICE
    )
    return spec


def _path_of(side: object) -> str:
    path = os.fspath(side) if isinstance(side, os.PathLike) else side
    if isinstance(path, str):
        return path
    raise UsageError(f"Cannot compare a value of type {type(side).__name__}. Compare specs (name:1.2) and local paths.")


def _exists(path: str) -> bool:
    try:
        return os.path.lexists(path)
    except ValueError:  # the path contains a NUL character
        return False


@dataclass(frozen=True, slots=True)
class VersionSide:
    """A version, or a part of one, as a side of a comparison.

    Attributes:
        spec: the spec with the exact version.
        manifest: the manifest.
        side: the files, with paths relative to the part.
    """

    spec: AssetSpec
    manifest: Manifest
    side: DiffSide

    def has_content_of(self, other: VersionSide) -> bool:
        """Return whether both sides are the same version or have the same content digest, so that no files differ."""
        if self.spec.part != other.spec.part:
            return False
        digest = self.manifest.content_digest
        return self.spec == other.spec or (digest is not None and digest == other.manifest.content_digest)

    @classmethod
    async def find(cls, store: AssetStore, scheme: VersioningScheme, spec: AssetSpec) -> VersionSide:
        """Resolve a spec, and read the manifest. If it has no sizes, list the objects of the version."""
        found = await find_version(store, scheme, spec)
        exact = replace(spec, version=found.version, alias=None)
        selection = await select(found.manifest, spec, found.version)
        if selection.files.total is None:
            listed = {info.key: info async for info in store.content(found.name, found.version)}
            files = await in_thread(_with_sizes, store, exact, selection.files, listed)
            selection = replace(selection, files=files)
        if spec.part is not None:
            selection = await in_thread(selection.relative_to, spec.part)
        return cls(exact, found.manifest, DiffSide(str(exact), selection.files, selection.folders))


def _with_sizes(store: AssetStore, spec: AssetSpec, files: FileTable, listed: Mapping[str, ObjectInfo]) -> FileTable:
    """Return the files with the sizes and digests that the store reports where the manifest has none. Blocking."""
    version = spec.version or ""

    def completed(file: FileEntry) -> FileEntry:
        info = listed.get(store.layout.content(spec.name, version, file.path))
        if info is None or file.size is not None:
            return file
        return replace(file, size=info.size, digests=file.digests or info.checksums)

    return FileTable(map(completed, files))
