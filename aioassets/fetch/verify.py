"""Checking a version against its manifest, in the store or in the assets directory, without keeping anything."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import anyio

from aioassets.errors import IntegrityError
from aioassets.fetch.cache import CacheEntry, verify_file
from aioassets.fetch.download import RANGE, Download, Downloader, digest_of_content, hash_for
from aioassets.model.digests import best_of
from aioassets.model.files import FileEntry
from aioassets.model.manifest import Manifest
from aioassets.runtime.batches import in_batch
from aioassets.runtime.tasks import for_each
from aioassets.runtime.threads import in_thread

__all__ = ["Verification"]

RANGES_IN_MEMORY: Final = 4
"""Ranges that wait for those before them to be hashed, over all files: 32 MiB beside the budget."""


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


@dataclass(frozen=True)
class Checker(Downloader):
    """Reads and verifies files like a `Downloader`, but keeps none of them.

    Attributes:
        problems: what was found, by path.
    """

    problems: dict[str, IntegrityError] = field(default_factory=dict)
    _in_memory: anyio.Semaphore = field(default_factory=lambda: anyio.Semaphore(RANGES_IN_MEMORY))

    async def _fetch(self, entry: FileEntry, planned: Callable[[FileEntry], Download]) -> None:
        """Note what is wrong with a file, instead of raising it."""
        try:
            await super()._fetch(entry, planned)
        except IntegrityError as error:
            self.problems[entry.path] = error

    async def _discard(self, download: Download) -> None:
        """There is nothing to discard: what was read is kept nowhere."""

    async def _small(self, download: Download) -> str:
        data = await self._whole(download, 0, download.size)
        return await in_batch(digest_of_content, data, download.entry)

    async def _large(self, download: Download) -> str:
        """Ranges in parallel, each hashed when those before it were."""
        digest = await in_thread(hash_for, download.entry)
        turns = {0: anyio.Event()}
        turns[0].set()

        async def check(start: int) -> None:
            stop = min(start + RANGE, download.size)
            mine = turns.setdefault(start, anyio.Event())
            async with self._in_memory:
                data = await self._whole(download, start, stop)
                await mine.wait()
                del turns[start]
                if digest is not None:
                    await in_thread(digest.update, data)
                turns.setdefault(stop, anyio.Event()).set()

        await for_each(range(0, download.size, RANGE), check, limit=RANGES_IN_MEMORY)
        return digest.hexdigest() if digest is not None else ""


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
