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


async def spec_or_path(side: Side) -> AssetSpec | str:
    """Return a side as a parsed spec, or as a local path.

    A string is a path if it is `.` or `..`, begins with `/`, `./` or `../`, ends with `/`, or isn't a valid spec but
    names an existing file or folder. Any other string is a spec. If it names a file or folder, too, a warning says so.

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
    if exists:
        logger.warning(
            "%r is compared as an asset. To compare the local path of this name, write %s.",
            side,
            os.path.join(".", side),
            extra=NOTICE,
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
        files = selection.files
        if files.total is None:
            listed = {info.key: info async for info in store.content(found.name, found.version)}
            files = await in_thread(_with_sizes, store, exact, files, listed)
        side = DiffSide(str(exact), files, selection.folders)
        if spec.part is not None:
            side = await in_thread(_relative, side, spec.part)
        return cls(exact, found.manifest, side)


def _with_sizes(store: AssetStore, spec: AssetSpec, files: FileTable, listed: Mapping[str, ObjectInfo]) -> FileTable:
    """Return the files with the sizes and digests that the store reports where the manifest has none. Blocking."""
    version = spec.version or ""

    def completed(file: FileEntry) -> FileEntry:
        info = listed.get(store.layout.content(spec.name, version, file.path))
        if info is None or file.size is not None:
            return file
        return replace(file, size=info.size, digests=file.digests or info.checksums)

    return FileTable(map(completed, files))


def _relative(side: DiffSide, part: str) -> DiffSide:
    """Return one side of a comparison, with paths relative to a part, which is a folder or a file. Blocking."""
    start = len(part) + 1
    files = FileTable(replace(file, path=file.path[start:]) for file in side.files)
    return replace(side, files=files, folders=[folder[start:] for folder in side.folders if folder != part])
