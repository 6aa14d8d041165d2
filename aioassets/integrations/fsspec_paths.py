"""Paths of the filesystem `aioassets://`, and what they name in a version."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from aioassets.errors import InvalidSpec
from aioassets.model.digests import SHA256
from aioassets.model.files import FileEntry
from aioassets.model.names import AssetSpec
from aioassets.read.listing import VersionFiles

LATEST: Final = "latest"
"""The alias that stands for the latest version in paths. No asset can have an alias of this name."""

Info = dict[str, Any]
"""A description of a file or folder as fsspec defines it: `name`, `size`, `type` and more."""


@dataclass(frozen=True, slots=True)
class AssetPath:
    """A path in a version: `team/model:1.2/weights/w.bin`.

    Attributes:
        root: the path of the version, such as `team/model:1.2` or `team/model@prod`.
        spec: the version that it refers to.
        inside: the path within the version; empty for the version itself.
    """

    root: str
    spec: AssetSpec
    inside: str

    @classmethod
    def parse(cls, path: str) -> AssetPath | None:
        """Parse a path, or return `None` if it has no version, and so names a folder of assets.

        Names of assets contain neither `:` nor `@`, so the first segment that does ends the name.

        Raises:
            UsageError: if the name, the version or the alias is invalid.
        """
        segments = path.split("/")
        for number, segment in enumerate(segments, 1):
            if ":" in segment or "@" in segment:
                root = "/".join(segments[:number])
                return cls(root, _spec_of(root), "/".join(segments[number:]))
        return None

    def info(self, files: VersionFiles) -> Info | None:
        """Describe what the path names, or return `None` if there is no such file or folder."""
        if not files.is_directory:
            return None if self.inside else self._file(files, files.files[0])
        if not self.inside:
            return directory(self.root)
        rows, position = files.files, _position(files.files, self.inside)
        if position < len(rows) and rows[position].path == self.inside:
            return self._file(files, rows[position])
        inner = f"{self.inside}/"
        position = _position(rows, inner)
        has_files = position < len(rows) and rows[position].path.startswith(inner)
        if has_files or any(f"{each}/".startswith(inner) for each in files.empty_directories):
            return directory(f"{self.root}/{self.inside}")
        return None

    def children(self, files: VersionFiles) -> list[Info]:
        """Describe the files and folders directly below the path. Blocking, because there may be many."""
        prefix = f"{self.inside}/" if self.inside else ""
        found = {info["name"]: info for info in self._children(files, prefix)}
        for path in files.empty_directories:
            if path.startswith(prefix):
                name = f"{self.root}/{prefix}{path[len(prefix) :].partition('/')[0]}"
                found.setdefault(name, directory(name))
        return [info for _, info in sorted(found.items())]

    def _children(self, files: VersionFiles, prefix: str) -> Iterator[Info]:
        rows = files.files
        position = _position(rows, prefix)
        while position < len(rows) and (row := rows[position]).path.startswith(prefix):
            segment, is_inner, _ = row.path[len(prefix) :].partition("/")
            if not is_inner:
                yield self._file(files, row)
                position += 1
            else:
                yield directory(f"{self.root}/{prefix}{segment}")
                position = _position(rows, f"{prefix}{segment}0")  # "0" follows "/", so this is after the folder

    def _file(self, files: VersionFiles, row: FileEntry) -> Info:
        name = f"{self.root}/{row.path}" if row.path else self.root
        digest = row.digests.get(SHA256)
        return {"name": name, "size": row.size, "type": "file", "version": files.version, "sha256": digest}


def directory(name: str) -> Info:
    """Describe a folder."""
    return {"name": name, "size": 0, "type": "directory"}


def _spec_of(root: str) -> AssetSpec:
    name, _, alias = root.partition("@")
    if alias == LATEST:
        return AssetSpec(name)
    if (spec := AssetSpec.parse(root)).part is not None:
        raise InvalidSpec(root, f"in a path, write a slash before a file: {replace(spec, part=None)}/{spec.part}")
    return spec


def _position(rows: Sequence[FileEntry], path: str) -> int:
    """Return the number of rows before a path. Rows are sorted."""
    return bisect_left(rows, path, key=lambda row: row.path)
