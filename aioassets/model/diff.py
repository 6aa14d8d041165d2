"""Differences between two versions, or between a version and a local path."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from aioassets.model.digests import PREFERRED, SHA256
from aioassets.model.files import FileEntry, FileTable
from aioassets.model.jsontext import no_check

__all__ = ["FileChange", "VersionDiff"]

CHECKED_EVERY: Final = 1024
"""Number of files to compare between two checks for cancellation."""


@dataclass(frozen=True, slots=True)
class FileChange:
    """A file that differs between two sides.

    Attributes:
        before: the file on the first side.
        after: the file on the second side. Its path differs only if the file was renamed.
    """

    before: FileEntry
    after: FileEntry


@dataclass(frozen=True, slots=True)
class VersionDiff:
    """Differences between two sides, each of which is a version, a part of one, or a local path.

    All files are sorted by path. The paths of a part are relative to the part.

    Attributes:
        a: the first side: a spec with the exact version, or a path.
        b: the second side.
        added: the files that only `b` has.
        removed: the files that only `a` has.
        changed: the files with different content, of which the executable bit may differ as well.
        renamed: the files that have other paths in `b`, with the same size and SHA-256.
        mode_changed: the files of which only the executable bit differs.
        unknown: the files whose content may differ. Their sizes are equal or unknown, and they have no common digest.
        added_directories: the empty directories that only `b` has.
        removed_directories: the empty directories that only `a` has.
        unchanged: the number of files that are equal.
    """

    a: str
    b: str
    added: tuple[FileEntry, ...] = ()
    removed: tuple[FileEntry, ...] = ()
    changed: tuple[FileChange, ...] = ()
    renamed: tuple[FileChange, ...] = ()
    mode_changed: tuple[FileChange, ...] = ()
    unknown: tuple[FileChange, ...] = ()
    added_directories: tuple[str, ...] = ()
    removed_directories: tuple[str, ...] = ()
    unchanged: int = 0

    @property
    def is_equal(self) -> bool:
        """Whether both sides are known to have the same content."""
        files = self.added or self.removed or self.changed or self.renamed or self.mode_changed or self.unknown
        return not (files or self.added_directories or self.removed_directories)

    @property
    def bytes_added(self) -> int | None:
        """The total size of added files and of changed files in `b`; `None` if any size is unknown."""
        return _total([*self.added, *(change.after for change in self.changed)])

    @property
    def bytes_removed(self) -> int | None:
        """The total size of removed files and of changed files in `a`; `None` if any size is unknown."""
        return _total([*self.removed, *(change.before for change in self.changed)])


@dataclass(frozen=True, slots=True)
class DiffSide:
    """One side of a comparison.

    Attributes:
        label: a spec with the exact version, or a path.
        files: the files.
        folders: the empty directories.
    """

    label: str
    files: FileTable
    folders: Sequence[str] = ()


def diff(a: DiffSide, b: DiffSide, check: Callable[[], None] = no_check) -> VersionDiff:
    """Return the differences between two sides.

    Args:
        a: the first side.
        b: the second side.
        check: a function that is called regularly and may raise an exception to stop.
    """
    rows = {path: number for number, path in enumerate(b.files.paths)}
    removed: list[FileEntry] = []
    pairs: dict[str, list[FileChange]] = {"changed": [], "mode_changed": [], "unknown": []}
    unchanged = 0
    for count, before in enumerate(a.files):
        if not count % CHECKED_EVERY:
            check()
        number = rows.pop(before.path, None)
        if number is None:
            removed.append(before)
        elif (kind := _kind_of(change := FileChange(before, b.files[number]))) is not None:
            pairs[kind].append(change)
        else:
            unchanged += 1
    added = [b.files[number] for number in rows.values()]
    check()
    renamed = list(_renamed(removed, added))
    gone, new = ({getattr(change, side).path for change in renamed} for side in ("before", "after"))
    return VersionDiff(
        a.label,
        b.label,
        added=_sorted(file for file in added if file.path not in new),
        removed=_sorted(file for file in removed if file.path not in gone),
        renamed=_by_path(renamed),
        **{kind: _by_path(changes) for kind, changes in pairs.items()},
        added_directories=tuple(sorted(set(b.folders) - set(a.folders))),
        removed_directories=tuple(sorted(set(a.folders) - set(b.folders))),
        unchanged=unchanged,
    )


def is_same_content(before: FileEntry, after: FileEntry) -> bool | None:
    """Return whether two files have the same content; `None` if their sizes and digests don't tell."""
    if None not in (before.size, after.size) and before.size != after.size:
        return False
    common = next((name for name in PREFERRED if name in before.digests and name in after.digests), None)
    return None if common is None else before.digests[common] == after.digests[common]


def _kind_of(change: FileChange) -> str | None:
    same = is_same_content(change.before, change.after)
    if same is None:
        return "unknown"
    if not same:
        return "changed"
    return "mode_changed" if change.before.executable != change.after.executable else None


def _renamed(removed: Sequence[FileEntry], added: Sequence[FileEntry]) -> Iterator[FileChange]:
    """Pair removed files with added files of the same content, in the order of their paths."""
    sources: dict[tuple[int, str], list[FileEntry]] = {}
    for file in _sorted(removed)[::-1]:
        if (content := _content_of(file)) is not None:
            sources.setdefault(content, []).append(file)
    for file in _sorted(added):
        content = _content_of(file)
        if content is not None and sources.get(content):
            yield FileChange(sources[content].pop(), file)


def _content_of(file: FileEntry) -> tuple[int, str] | None:
    sha256 = file.digests.get(SHA256)
    return None if file.size is None or sha256 is None else (file.size, sha256)


def _sorted(files: Iterable[FileEntry]) -> tuple[FileEntry, ...]:
    return tuple(sorted(files, key=lambda file: file.path))


def _by_path(changes: Iterable[FileChange]) -> tuple[FileChange, ...]:
    return tuple(sorted(changes, key=lambda change: change.after.path))


def _total(files: Sequence[FileEntry]) -> int | None:
    sizes = [file.size for file in files if file.size is not None]
    return sum(sizes) if len(sizes) == len(files) else None
