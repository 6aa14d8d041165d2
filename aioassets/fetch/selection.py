"""Selections: the files and folders of a version that a spec refers to."""

from __future__ import annotations

from dataclasses import dataclass, replace

from aioassets.errors import PartNotFound
from aioassets.model.files import FileTable
from aioassets.model.manifest import Manifest
from aioassets.model.names import AssetSpec
from aioassets.model.paths import inner_folders
from aioassets.runtime.threads import in_thread


@dataclass(frozen=True, slots=True)
class Selection:
    """The selected files and empty folders of a version.

    Attributes:
        files: the files.
        folders: the paths of the empty folders.
    """

    files: FileTable
    folders: tuple[str, ...]

    @classmethod
    def of(cls, manifest: Manifest, spec: AssetSpec, version: str) -> Selection:
        """Select the whole version, or everything at or below the path of the spec's part. Blocking.

        Raises:
            PartNotFound: if nothing matches the part.
        """
        if spec.part is None:
            return cls(manifest.table, manifest.empty_directories)
        inside = f"{spec.part}/"
        paths = enumerate(manifest.table.paths)
        numbers = (number for number, path in paths if path == spec.part or path.startswith(inside))
        files = FileTable(map(manifest.table.__getitem__, numbers))
        folders = tuple(path for path in manifest.empty_directories if path == spec.part or path.startswith(inside))
        if not (files or folders):
            raise PartNotFound(spec.name, version, spec.part)
        return cls(files, folders)

    def relative_to(self, part: str) -> Selection:
        """Return the selection with paths relative to its part. The path of a single file is empty. Blocking."""
        start = len(part) + 1
        files = FileTable(replace(file, path=file.path[start:]) for file in self.files)
        return Selection(files, tuple(folder[start:] for folder in self.folders if folder != part))

    def all_folders(self) -> list[str]:
        """Return all folders that must exist, parents first."""
        return sorted({*self.folders, *inner_folders(self.files.paths, self.folders)})


async def select(manifest: Manifest, spec: AssetSpec, version: str) -> Selection:
    """Return the result of `Selection.of`, computed in a thread if all paths have to be compared."""
    if spec.part is None:
        return Selection.of(manifest, spec, version)
    return await in_thread(Selection.of, manifest, spec, version)
