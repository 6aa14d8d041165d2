"""Scanning and reading a local source."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

from aioassets.drivers.protocol import MAX_DOCUMENT
from aioassets.errors import SourceChanged, SourceError, SourceNotFound
from aioassets.model.paths import inner_folders, path_problem
from aioassets.push.sources import MISSTATED, LocalFiles, SourceFile, explained
from aioassets.runtime.disk import READING
from aioassets.runtime.threads import check_cancelled, in_thread

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec


MANIFEST_ROW: Final = 512
"""Bytes that a file takes in a manifest beside its path, with every digest that there may be."""


@dataclass(frozen=True, slots=True)
class Tree:
    """A scanned local source.

    Attributes:
        root: as it was given.
        is_directory: whether it is a directory.
        files: sorted by path.
        empty_directories: sorted relative paths.
        size: bytes in all.
        longest_path: bytes of the longest path, in UTF-8.
        fingerprint: a digest of paths, sizes and times of change: equal when a push is repeated unchanged.
    """

    root: str
    is_directory: bool
    files: Sequence[SourceFile] = field(repr=False)  # which asyncio would do to its main task's result
    empty_directories: tuple[str, ...] = field(repr=False)
    size: int
    longest_path: int
    fingerprint: str

    def check_unchanged(self) -> None:
        """Raise `SourceChanged` if any file isn't the one that was scanned. Blocking."""
        for file in self.files:
            check_cancelled()
            if file.changed():
                raise SourceChanged(file.source)


async def scan(
    root: str | os.PathLike[str],
    *,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    store: str | None = None,
) -> Tree:
    """Scan what is to be pushed, in a thread.

    Hidden files and empty directories are kept, symbolic links are followed.

    Args:
        root: a file or a directory.
        include: gitignore-style patterns; where given, only files that match one are kept.
        exclude: gitignore-style patterns; files and folders that match one are left out.
        store: a folder that must not be part of what is pushed, since it is pushed to.

    Raises:
        SourceNotFound: there is nothing at `root`.
        SourceError: a link is broken or leads into a loop, an entry is neither file nor
            directory or can't be read, a name can't be stored, or there is too much for a version.
    """
    return await in_thread(_scan, os.fspath(root), include, exclude, store)


def _scan(root: str, include: Sequence[str], exclude: Sequence[str], store: str | None) -> Tree:
    try:
        status = os.stat(root)
    except FileNotFoundError:
        raise SourceNotFound(root) from None
    except OSError as error:
        raise SourceError(root, explained(error)) from error
    files = LocalFiles(root)
    if stat.S_ISREG(status.st_mode):
        _add(files, "", root, status)
        return tree_of_file(root, files)
    if not stat.S_ISDIR(status.st_mode):
        raise SourceError(root, "it is neither a file nor a directory")
    walk = _Walk(files, Filter(include, exclude), _identity_of(store))
    walk.visit(root, "", status)
    return tree_of_directory(root, files, files.paths, walk.empty_directories)


def tree_of_file(root: str, files: Sequence[SourceFile]) -> Tree:
    """The tree of a file asset, which is one file without a path."""
    return _tree(root, False, files, ())


def tree_of_directory(
    root: str, files: Sequence[SourceFile], paths: Sequence[str], empty_directories: Iterable[str]
) -> Tree:
    """The tree of a directory; raises `SourceError` where it has more than can be fetched again. Blocking.

    Args:
        files: sorted by path.
        paths: theirs.
    """
    folders = tuple(sorted(empty_directories))
    try:
        inner_folders(paths, folders)
    except ValueError as error:
        raise SourceError(root, f"{error}; push it in several assets, or pack it") from None
    return _tree(root, True, files, folders)


def _tree(root: str, is_directory: bool, files: Sequence[SourceFile], empty_directories: tuple[str, ...]) -> Tree:
    fingerprint = hashlib.sha256(b"directory" if is_directory else b"file")
    size = longest_path = in_manifest = 0
    for file in files:
        row = (file.path, file.identity, file.executable)
        fingerprint.update(repr(row).encode(errors="surrogatepass"))
        path = len(file.path.encode())
        size += file.size
        longest_path = max(longest_path, path)
        in_manifest += 2 * path + MANIFEST_ROW
    fingerprint.update(repr(empty_directories).encode(errors="surrogatepass"))
    if in_manifest > MAX_DOCUMENT:
        raise SourceError(root, "its paths are too long for one manifest; push it in several assets, or pack it")
    return Tree(root, is_directory, files, empty_directories, size, longest_path, fingerprint.hexdigest())


class Filter:
    """Which paths of a tree are wanted.

    Args:
        include: gitignore-style patterns; where given, only files that match one are wanted.
        exclude: gitignore-style patterns of what isn't.
    """

    def __init__(self, include: Sequence[str], exclude: Sequence[str]) -> None:
        self._include = _patterns(include)
        self._exclude = _patterns(exclude)

    def wants_file(self, path: str) -> bool:
        """Whether a file is."""
        if self._exclude is not None and self._exclude.match_file(path):
            return False
        return self._include is None or self._include.match_file(path)

    def wants_directory(self, path: str) -> bool:
        """Whether a folder is to be looked into."""
        return self._exclude is None or not self._exclude.match_file(f"{path}/")

    def wants_empty_directory(self, path: str) -> bool:
        """Whether an empty folder is."""
        return self._include is None or self._include.match_file(f"{path}/")


def _patterns(patterns: Sequence[str]) -> GitIgnoreSpec | None:
    if not patterns:
        return None
    from pathspec import GitIgnoreSpec  # noqa: PLC0415 - only where patterns are used

    return GitIgnoreSpec.from_lines(patterns)


class _Folder(NamedTuple):
    source: str
    path: str
    status: os.stat_result


@dataclass(slots=True)
class _Walk:
    """Goes over a directory in the order of the paths in it, which need not be sorted then."""

    files: LocalFiles
    wanted: Filter
    store: tuple[int, int] | None
    empty_directories: list[str] = field(default_factory=list)
    _above: dict[tuple[int, int], str] = field(default_factory=dict)

    def visit(self, directory: str, relative: str, status: os.stat_result) -> None:
        identity = (status.st_dev, status.st_ino)
        if identity == self.store:
            raise SourceError(directory, "it is the store to push to; push what is beside it, or exclude it")
        if identity in self._above:
            raise SourceError(directory, f"it is a link into a loop, back to {self._above[identity]!r}")
        self._above[identity] = directory
        check_cancelled()
        entries = sorted(_entries(directory))
        folders: list[_Folder] = []  # seen, and still to be visited: `a` comes behind `a-b`, but before `a0`
        for name in entries:
            path = f"{relative}/{name}" if relative else name
            while folders and f"{folders[-1].path}/" < path:
                self.visit(*folders.pop())
            if (found := self._entry(os.path.join(directory, name), path)) is not None:
                folders.append(_Folder(os.path.join(directory, name), path, found))
        while folders:
            self.visit(*folders.pop())
        if not entries and relative and self.wanted.wants_empty_directory(relative):
            self.empty_directories.append(checked(directory, relative))
        del self._above[identity]

    def _entry(self, source: str, path: str) -> os.stat_result | None:
        """Add a file; of a folder that is wanted, the status."""
        try:
            status = _status(source)
        except SourceError:
            if self.wanted.wants_file(path):
                raise
            return None
        if stat.S_ISDIR(status.st_mode):
            return status if self.wanted.wants_directory(path) else None
        if self.wanted.wants_file(path):
            if not stat.S_ISREG(status.st_mode):
                raise SourceError(source, "it is neither a file nor a directory")
            _add(self.files, checked(source, path), source, status)
        return None


def _identity_of(folder: str | None) -> tuple[int, int] | None:
    try:
        status = os.stat(folder) if folder is not None else None
    except OSError:
        return None
    return (status.st_dev, status.st_ino) if status is not None else None


def _entries(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except FileNotFoundError:
        raise SourceError(directory, "it vanished while it was scanned") from None
    except OSError as error:
        raise SourceError(directory, explained(error)) from error


def _status(source: str) -> os.stat_result:
    try:
        return os.stat(source)
    except FileNotFoundError:
        raise SourceError(source, "it is a broken link, or vanished while it was scanned") from None
    except OSError as error:
        raise SourceError(source, explained(error)) from error


def checked(source: str, path: str) -> str:
    """The path, if a store and modelkit's readers can take it; raises `SourceError`."""
    problem = path_problem(path)
    if problem is None and path.endswith(".versions"):
        problem = "its name ends in '.versions', which would be taken for an asset"
    if problem is not None:
        raise SourceError(source, f"{problem}; rename or exclude it")
    return path


def _add(files: LocalFiles, path: str, source: str, status: os.stat_result) -> None:
    if not status.st_size:
        _check_empty(source)
    files.add(path, status)


def _check_empty(source: str) -> None:
    try:
        descriptor = os.open(source, READING)
        try:
            found, size = os.read(descriptor, 1), os.fstat(descriptor).st_size
        finally:
            os.close(descriptor)
    except OSError as error:
        raise SourceError(source, explained(error)) from error
    if found:
        raise SourceChanged(source) if size else SourceError(source, MISSTATED)
