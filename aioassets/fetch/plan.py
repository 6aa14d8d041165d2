"""Download plans: the missing files and their total size."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from aioassets.model.files import FileTable


@dataclass(frozen=True, slots=True)
class DownloadPlan:
    """A plan of the files to download.

    Attributes:
        files: the files.
        nbytes: their total size in bytes; `None` if the manifest doesn't record it.
    """

    files: FileTable
    nbytes: int | None

    @classmethod
    def of(cls, files: FileTable, staged: AbstractSet[str] = frozenset()) -> DownloadPlan:
        """Plan the download of all files whose paths aren't already staged. Blocking."""
        missing = FileTable(file for file in files if file.path not in staged) if staged else files
        return cls(missing, missing.total)
