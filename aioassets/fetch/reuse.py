"""Reusing files of other cached versions of the asset, instead of downloading them.

See `docs/adr/0038-reuse-of-cached-files.md`.
"""

from __future__ import annotations

import logging
from array import array
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

from aioassets.errors import CacheError
from aioassets.fetch.bases import Base
from aioassets.fetch.deltas import CachedVersion
from aioassets.fetch.local_copy import copy_verified
from aioassets.fetch.staging import Staging
from aioassets.model.files import FileEntry, FileTable
from aioassets.runtime.batches import SMALL, in_batch
from aioassets.runtime.disk import FULL, free_bytes, reason
from aioassets.runtime.lanes import FILES_AT_ONCE, side_by_side
from aioassets.runtime.threads import in_thread

logger = logging.getLogger(__name__)

MAX_RECORDS: Final = 3
"""Maximum number of records to read per fetch. Reading one of 20,000 files takes about 0.1 s of CPU time."""


@dataclass(frozen=True, slots=True)
class Matches:
    """Pairs of a missing file and a file of a base that should have the same content.

    Attributes:
        base: the base.
        missing: the row of the missing file in its table, for each pair.
        cached: the row of the cached file in the base, for each pair.
        may_copy: whether the copies may take space on the disk.
    """

    base: CachedVersion
    missing: array[int] = field(default_factory=lambda: array("L"))
    cached: array[int] = field(default_factory=lambda: array("L"))
    may_copy: bool = True

    def path(self, number: int) -> str:
        """Return the path of the cached file of a pair."""
        return self.base.path(self.base.manifest.table.paths[self.cached[number]])


class Reuse:
    """The reuse of cached files by one fetch.

    If a base is evicted, replaced or changed at any moment, its files are downloaded instead.

    Args:
        staging: the staging folder, in which all folders exist.
        missing: the files that aren't staged yet. Their sizes are known.
        report: a function to call with each file that was staged.
    """

    def __init__(self, staging: Staging, missing: FileTable, report: Callable[[FileEntry], None]) -> None:
        self._staging = staging
        self._missing = missing
        self._report = report
        self._records_read = 0
        self._is_full = False
        self.staged: set[str] = set()
        """The paths of the files that were staged and verified. Nothing was left at the paths of the others."""
        self.nbytes = 0
        """The total size of the staged files in bytes."""
        self.bases: list[CachedVersion] = []
        """The cached versions whose records were read, most recently recorded first."""

    async def run(self) -> None:
        """Stage the missing files whose size and SHA-256 equal those of a cached file."""
        for base in await in_thread(Base.all_for, self._staging.entry):
            await self._take_from(base)
        if self.staged:
            logger.info("Reused %d cached files for %s", len(self.staged), self._staging.entry.label)

    async def _take_from(self, base: Base) -> None:
        left = (self._missing.total or 0) - self.nbytes
        if base.record_bytes >= left or self._records_read == MAX_RECORDS or self._is_full:
            return  # reading another record could cost more than it saves
        self._records_read += 1
        matches = await in_thread(self._matches, base, left)
        if matches is None:
            return

        async def take(number: int) -> None:
            file = self._missing[matches.missing[number]]
            run = in_batch if (file.size or 0) <= SMALL else in_thread
            if await run(self._stage, file, matches.path(number), matches.may_copy):
                self.nbytes += file.size or 0
                self._report(file)

        sizes = (self._missing[row].size for row in matches.missing)
        await side_by_side(sizes, len(matches.missing), take, FILES_AT_ONCE)

    def _matches(self, base: Base, left: int) -> Matches | None:
        """Return the missing files that a base should contain; `None` if it can't be used any more. Blocking."""
        try:
            found = base.read()
        except (OSError, CacheError) as error:
            logger.info("Not reusing files of %s: %s", base.entry.label, error)
            return None
        if found is None:
            return None
        self.bases.append(found)
        free = free_bytes(self._staging.folder)
        matches = Matches(found, may_copy=free is None or free >= left)
        matched: set[int] = set()
        for number, sha256 in enumerate(found.manifest.table.sha256s):
            for row in self._wanted.get(sha256 or "", ()):
                if row not in matched and self._missing.paths[row] not in self.staged:
                    matched.add(row)
                    matches.missing.append(row)
                    matches.cached.append(number)
        return matches

    @cached_property
    def _wanted(self) -> dict[str, list[int]]:
        """The rows of the missing files by SHA-256. Empty files are written without a request anyway."""
        wanted: dict[str, list[int]] = {}
        for row, (size, sha256) in enumerate(zip(self._missing.sizes, self._missing.sha256s, strict=True)):
            if size and sha256 is not None:
                wanted.setdefault(sha256, []).append(row)
        return wanted

    def _stage(self, file: FileEntry, cached: str, may_copy: bool) -> bool:
        try:
            is_staged = not self._is_full and copy_verified(
                file, cached, str(self._staging.path_of(file)), may_copy=may_copy
            )
        except OSError as error:
            if error.errno not in FULL:
                raise
            self._is_full = True
            logger.info("Downloading what can't be copied from %r: %s", cached, reason(error))
            return False
        if is_staged:
            self.staged.add(file.path)  # here, because the caller may be cancelled
        return is_staged
