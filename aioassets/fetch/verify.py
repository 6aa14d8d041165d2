"""Verifying a version against its manifest, in the store or in the assets directory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from aioassets.errors import IntegrityError
from aioassets.fetch.lookup import CachedFiles
from aioassets.fetch.reader import FileReader
from aioassets.fetch.remote import RemoteVersion
from aioassets.fetch.reporting import Reporter
from aioassets.fetch.sinks import NullSink
from aioassets.model.digests import best_of
from aioassets.model.files import FileTable
from aioassets.model.manifest import Manifest
from aioassets.model.marks import Mark
from aioassets.runtime.lanes import side_by_side
from aioassets.runtime.threads import in_thread

__all__ = ["Verification"]


@dataclass(frozen=True, slots=True)
class Verification:
    """The result of verifying a version or a part of it.

    Attributes:
        name: the asset's name.
        version: the version that the spec resolved to.
        part: the part in the spec, or `None` for the whole version.
        files: the number of files that were checked.
        size: their total size in bytes, as recorded in the manifest; `None` for versions pushed by modelkit.
        verified_by: the algorithms of the digests that were compared, strongest first.
        unverifiable: the number of files without a known digest. Only the presence and size of these were checked.
        problems: the errors for damaged and missing files, in the order of the manifest.
        yanked: who yanked the version, when and why; `None` if it isn't yanked. For cached files, this is the state
            when they were downloaded.
    """

    name: str
    version: str
    part: str | None
    files: int
    size: int | None
    verified_by: tuple[str, ...]
    unverifiable: int
    problems: tuple[IntegrityError, ...]
    yanked: Mark | None = None

    @property
    def ok(self) -> bool:
        """Whether no problems were found."""
        return not self.problems

    @classmethod
    def of(
        cls, name: str, version: str, part: str | None, manifest: Manifest, problems: Sequence[IntegrityError]
    ) -> Verification:
        """Return the result, given the problems that were found. Blocking.

        Args:
            name: the asset's name.
            version: the version.
            part: the part in the spec, or `None` for the whole version.
            manifest: the manifest, reduced to the files that were checked.
            problems: the errors for damaged and missing files.
        """
        return cls(
            name=name,
            version=version,
            part=part,
            files=len(manifest.files),
            size=manifest.size,
            verified_by=manifest.verified_by,
            unverifiable=sum(best_of(file.digests) is None for file in manifest.files),
            problems=tuple(problems),
            yanked=manifest.yanked,
        )


def check_cached(found: CachedFiles, part: str | None) -> Verification:
    """Verify files in the assets directory. Blocking."""
    checked = replace(found.manifest, files=found.selection.files)
    return Verification.of(found.entry.name, found.entry.version, part, checked, list(found.problems()))


async def check_stored(remote: RemoteVersion, files: FileTable, part: str | None, report: Reporter) -> Verification:
    """Verify files in the store without saving them to disk."""
    checked = replace(remote.manifest, files=files)
    if checked.size is None:
        remote = await remote.with_sizes()
    with report.transfer(remote.name, remote.version, len(files), checked.size):
        problems = await _problems(remote, files, report)
    return await in_thread(_verification, remote, part, checked, problems)


async def _problems(remote: RemoteVersion, files: FileTable, report: Reporter) -> dict[str, IntegrityError]:
    """Read and verify files. Return the errors for damaged and missing files by path."""
    problems: dict[str, IntegrityError] = {}
    reader = FileReader(remote.store.driver, remote.name, report)
    sink = NullSink()

    async def check(number: int) -> None:
        entry = files[number]
        try:
            await reader.read(remote.file(entry), sink)
        except IntegrityError as error:
            problems[entry.path] = error

    await side_by_side(files.sizes, len(files), check, remote.store.files_at_once)
    return problems


def _verification(
    remote: RemoteVersion, part: str | None, checked: Manifest, problems: Mapping[str, IntegrityError]
) -> Verification:
    sorted_problems = [problems[path] for path in checked.table.paths if path in problems]
    return Verification.of(remote.name, remote.version, part, checked, sorted_problems)
