"""Checking a version against its manifest, in the store or in the assets directory, without keeping anything."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from aioassets.errors import IntegrityError
from aioassets.fetch.cache import CacheEntry
from aioassets.fetch.digests import verify_file
from aioassets.fetch.download import Locate
from aioassets.fetch.reader import FileReader
from aioassets.fetch.sinks import NullSink
from aioassets.model.digests import best_of
from aioassets.model.files import FileEntry, FileTable
from aioassets.model.manifest import Manifest
from aioassets.runtime.lanes import FILES_AT_ONCE, side_by_side

__all__ = ["Verification"]


@dataclass(frozen=True, slots=True)
class Verification:
    """What a check found.

    Attributes:
        name: the asset.
        version: the version that the spec resolved to.
        part: the sub-part that was asked for.
        files: how many files were checked.
        size: how many bytes their manifest says they hold; `None` where modelkit pushed them.
        verified_by: the algorithms of the digests that were compared, strongest first.
        unverifiable: how many files have no digest that is known here, so that only their presence and
            size were checked.
        problems: what isn't as it was pushed, in the order of the files.
    """

    name: str
    version: str
    part: str | None
    files: int
    size: int | None
    verified_by: tuple[str, ...]
    unverifiable: int
    problems: tuple[IntegrityError, ...]

    @property
    def ok(self) -> bool:
        """Whether all is as it was pushed, as far as it can be told."""
        return not self.problems

    @classmethod
    def of(
        cls, slot: CacheEntry, part: str | None, manifest: Manifest, problems: Sequence[IntegrityError]
    ) -> Verification:
        """Put a result together.

        Args:
            manifest: with the files that were checked, and no others.
        """
        return cls(
            name=slot.name,
            version=slot.version,
            part=part,
            files=len(manifest.files),
            size=manifest.size,
            verified_by=manifest.verified_by,
            unverifiable=sum(best_of(file.digests) is None for file in manifest.files),
            problems=tuple(problems),
        )


async def check_stored(
    reader: FileReader, files: FileTable, locate: Locate, *, at_once: int = FILES_AT_ONCE
) -> dict[str, IntegrityError]:
    """Read and verify files of a version in the store, and keep none of them.

    Args:
        reader: reads from the store.
        files: the files to check.
        locate: finds each of them in the store.
        at_once: files to check at once.

    Returns:
        The errors of damaged and missing files, by path.
    """
    problems: dict[str, IntegrityError] = {}
    sink = NullSink()

    async def check(number: int) -> None:
        entry = files[number]
        try:
            await reader.read(locate(entry), sink)
        except IntegrityError as error:
            problems[entry.path] = error

    await side_by_side(files.sizes, len(files), check, at_once)
    return problems


def check_cached(slot: CacheEntry, *, parts: bool, entries: Sequence[FileEntry]) -> list[IntegrityError]:
    """Hash files of a version in the assets directory. Blocking.

    Args:
        parts: whether single files are meant, not the whole version.
    """
    problems: list[IntegrityError] = []
    for entry in entries:
        try:
            verify_file((slot.parts if parts else slot.payload) / entry.path, entry, slot.what(entry))
        except IntegrityError as error:
            problems.append(error)
    return problems
