"""Scanning local sources."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

from aioassets.drivers.protocol import MAX_DOCUMENT
from aioassets.errors import SourceChanged, SourceError, SourceNotFound
from aioassets.model.keys import MAX_KEY_BYTES
from aioassets.model.paths import inner_folders, path_problem
from aioassets.push.sources import MISSTATED, LocalFiles, SourceFile, explained
from aioassets.runtime.disk import READING
from aioassets.runtime.threads import check_cancelled, in_thread

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec


MAX_DEPTH: Final = MAX_KEY_BYTES // 2
"""Maximum nesting depth of folders, which follows from the maximum length of keys."""
MANIFEST_ROW: Final = 512
"""Maximum size in bytes of one file's entry in a manifest, including all digests but not the path."""


@dataclass(frozen=True, slots=True)
class Tree:
    """A scanned source.

    Attributes:
        root: the path or URL as it was given.
        is_directory: whether the source is a directory.
        files: the files, sorted by path.
        empty_directories: the relative paths of empty directories, sorted.
        size: the total size of the files in bytes.
        longest_path: the length of the longest path in UTF-8 bytes.
        largest: the size of the largest file in bytes; 0 if there are no files.
        fingerprint: a digest of the paths, sizes and modification times (or revisions, for objects in a store).
        streams: the number of files whose size is unknown, because they are read while they are uploaded. They count
            as empty in `size` and `largest`.
    """

    root: str
    is_directory: bool
    files: Sequence[SourceFile] = field(repr=False)  # asyncio.run would format all rows
    empty_directories: tuple[str, ...] = field(repr=False)
    size: int
    longest_path: int
    largest: int
    fingerprint: str
    streams: int = 0

    def check_unchanged(self) -> None:
        """Raise `SourceChanged` if any file has changed since the scan. Blocking."""
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
    """Scan a file or directory in a thread.

    Hidden files and empty directories are included, and symbolic links are followed.

    Args:
        root: a file or directory.
        include: gitignore-style patterns for files to include; empty for all files.
        exclude: gitignore-style patterns for files and folders to leave out.
        store: the folder of the store to push to. The source must not contain it.

    Raises:
        SourceNotFound: if `root` doesn't exist.
        SourceError: if the source can't be pushed, for example because a link is broken, a file can't be read, or
            there are too many files for one version.
    """
    return await in_thread(_scan, os.fspath(root), include, exclude, store)


def _scan(root: str, include: Sequence[str], exclude: Sequence[str], store: str | None) -> Tree:
    try:
        status = os.stat(root)
    except FileNotFoundError:
        raise SourceNotFound(root) from None
    except OSError as error:
        raise SourceError(root, explained(error)) from error
    except ValueError:
        raise SourceError(
            root, "the path contains a NUL character, or characters that the file system can't encode"
        ) from None
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
    """Return the tree of a file asset, which has one file with an empty path."""
    return _tree(root, False, files, ())


def tree_of_directory(
    root: str, files: Sequence[SourceFile], paths: Sequence[str], empty_directories: Iterable[str]
) -> Tree:
    """Return the tree of a directory asset. Blocking.

    Args:
        root: the path or URL of the directory.
        files: the files, sorted by path.
        paths: the paths of the files.
        empty_directories: the relative paths of empty directories.

    Raises:
        SourceError: if the directory has too many files or folders, or its paths are too long in total.
    """
    folders = tuple(sorted(empty_directories))
    try:
        inner_folders(paths, folders)
    except ValueError as error:
        raise SourceError(root, f"{error}; split it into several assets, or pack it into an archive file") from None
    return _tree(root, True, files, folders)


def _tree(root: str, is_directory: bool, files: Sequence[SourceFile], empty_directories: tuple[str, ...]) -> Tree:
    fingerprint = hashlib.sha256(b"directory" if is_directory else b"file")
    size = longest_path = largest = in_manifest = 0
    for file in files:
        row = (file.path, file.identity, file.executable)
        fingerprint.update(repr(row).encode(errors="surrogatepass"))
        path = len(file.path.encode())
        size += file.size
        longest_path = max(longest_path, path)
        largest = max(largest, file.size)
        in_manifest += 2 * path + MANIFEST_ROW
    fingerprint.update(repr(empty_directories).encode(errors="surrogatepass"))
    if in_manifest > MAX_DOCUMENT:
        raise SourceError(
            root,
            "its paths are too long in total for one manifest; "
            "split it into several assets, or pack it into an archive file",
        )
    return Tree(root, is_directory, files, empty_directories, size, longest_path, largest, fingerprint.hexdigest())


class Filter:
    """A filter for the paths in a source.

    Args:
        include: gitignore-style patterns for files to include; empty for all files.
        exclude: gitignore-style patterns for files and folders to leave out.
    """

    def __init__(self, include: Sequence[str], exclude: Sequence[str]) -> None:
        self._include = _patterns(include)
        self._exclude = _patterns(exclude)

    def wants_file(self, path: str) -> bool:
        """Return whether to include a file."""
        if self._exclude is not None and self._exclude.match_file(path):
            return False
        return self._include is None or self._include.match_file(path)

    def wants_directory(self, path: str) -> bool:
        """Return whether to descend into a folder."""
        return self._exclude is None or not self._exclude.match_file(f"{path}/")

    def wants_empty_directory(self, path: str) -> bool:
        """Return whether to include an empty folder."""
        return self._include is None or self._include.match_file(f"{path}/")


def _patterns(patterns: Sequence[str]) -> GitIgnoreSpec | None:
    if not patterns:
        return None
    from pathspec import GitIgnoreSpec  # noqa: PLC0415 - only needed if patterns are used

    return GitIgnoreSpec.from_lines(patterns)


class _Folder(NamedTuple):
    source: str
    path: str
    status: os.stat_result


@dataclass(slots=True)
class _Walk:
    """A traversal of a directory in the order of its paths, so that the files needn't be sorted afterwards."""

    files: LocalFiles
    wanted: Filter
    store: tuple[int, int] | None
    empty_directories: list[str] = field(default_factory=list)
    _above: dict[tuple[int, int], str] = field(default_factory=dict)

    def visit(self, directory: str, relative: str, status: os.stat_result) -> None:
        identity = (status.st_dev, status.st_ino)
        if identity == self.store:
            raise SourceError(
                directory, "it is the store that you are pushing to; push another folder, or exclude this one"
            )
        if identity in self._above:
            raise SourceError(directory, f"it is a link that forms a loop with {self._above[identity]!r}")
        if len(self._above) > MAX_DEPTH:
            raise SourceError(
                directory[:80] + "…",
                f"its folders are nested more than {MAX_DEPTH} levels deep; "
                "exclude them, or pack them into an archive file",
            )
        self._above[identity] = directory
        check_cancelled()
        entries = sorted(_entries(directory))
        folders: list[_Folder] = []  # found but not visited yet: `a/…` sorts after `a-b` and before `a0`
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
        """Add an entry that is a file, or return the status of an entry that is a folder to visit."""
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
        raise SourceError(directory, "it was removed during the scan") from None
    except OSError as error:
        raise SourceError(directory, explained(error)) from error


def _status(source: str) -> os.stat_result:
    try:
        return os.stat(source)
    except FileNotFoundError:
        raise SourceError(source, "it is a broken link, or was removed during the scan") from None
    except OSError as error:
        raise SourceError(source, explained(error)) from error


def checked(source: str, path: str) -> str:
    """Return the path, or raise `SourceError` if a store or modelkit couldn't handle it."""
    problem = path_problem(path)
    if problem is None and path.endswith(".versions"):
        problem = "its name ends in '.versions', so it would look like the index of an asset"
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
