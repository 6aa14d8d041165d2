"""The files of a version, without their content."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from aioassets.fetch.remote import RemoteVersion
from aioassets.fetch.selection import Selection
from aioassets.model.files import FileEntry, FileTable
from aioassets.model.manifest import Manifest
from aioassets.model.names import AssetSpec

__all__ = ["VersionFiles"]


@dataclass(frozen=True, slots=True)
class VersionFiles:
    """The files of a version, or of a part of one.

    Attributes:
        name: the asset's name.
        version: the version that the spec resolved to.
        part: the part in the spec, or `None` for the whole version.
        is_directory: whether the asset is a directory. A file asset has one file, whose path is empty.
        files: the files, sorted by path. Paths are relative to the asset, with and without a part.
        empty_directories: the paths of empty directories.
        from_cache: whether the list comes from the cache, without asking the store for it.
    """

    name: str
    version: str
    part: str | None
    is_directory: bool
    files: Sequence[FileEntry]
    empty_directories: tuple[str, ...]
    from_cache: bool

    @classmethod
    def of(
        cls, spec: AssetSpec, version: str, manifest: Manifest, selection: Selection, *, from_cache: bool
    ) -> VersionFiles:
        """Return the selected files of a version."""
        files, folders = selection.files, selection.folders
        return cls(spec.name, version, spec.part, manifest.is_directory, files, folders, from_cache)

    @property
    def size(self) -> int | None:
        """The total size in bytes; `None` if a size is unknown, because modelkit pushed the cached version."""
        return (self.files if isinstance(self.files, FileTable) else FileTable(self.files)).total


async def with_sizes(remote: RemoteVersion, selection: Selection) -> Selection:
    """Return a selection with the sizes of files that modelkit pushed, which the store lists."""
    if selection.files.total is not None:
        return selection
    listed = await remote.with_sizes()
    files = FileTable(replace(file, size=listed.size_of(file)) for file in selection.files)
    return replace(selection, files=files)
