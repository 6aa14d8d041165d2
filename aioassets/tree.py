"""Scanning and reading a local source."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import mmap
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol

from aioassets.concurrency import both
from aioassets.digests import SHA256, feed, hash_range
from aioassets.disk import DENIED, READING, copy_range, reason
from aioassets.drivers.protocol import MAX_DOCUMENT, Data, Driver, Source
from aioassets.errors import SourceChanged, SourceError, SourceNotFound
from aioassets.manifest import inner_folders, path_problem
from aioassets.threads import SMALL, check_cancelled, in_batch, in_thread

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec

READ_CHUNK: Final = 8 * 1024 * 1024
"""Bytes hashed in one go, between which the work can be ended."""
MAPPED: Final = 128 * 1024
"""Bytes from which on a read gets memory pages of its own."""
MANIFEST_ROW: Final = 512
"""Bytes that a file takes in a manifest beside its path, with every digest that there may be."""

_MISSTATED: Final = "its size isn't that of its content, as in /proc; push a copy of it"


def nothing() -> None:
    """A check that never ends anything."""


@dataclass(frozen=True, slots=True)
class Stamp:
    """By what a change of a file is noticed.

    Attributes:
        size: in bytes.
        mtime_ns: when it was last written.
        inode: which file it is.
    """

    size: int
    mtime_ns: int
    inode: int

    @classmethod
    def of(cls, status: os.stat_result) -> Stamp:
        """The stamp of a file at this moment."""
        return cls(status.st_size, status.st_mtime_ns, status.st_ino)


@dataclass(frozen=True, slots=True)
class LocalFile:
    """One file to push.

    Attributes:
        root: where the asset is on disk.
        path: relative to the asset, with `/`; empty for a file asset.
        stamp: its state when it was scanned.
        executable: whether its owner may execute it.
    """

    root: str
    path: str
    stamp: Stamp
    executable: bool

    @property
    def source(self) -> str:
        """See `SourceFile.source`: where it is on disk."""
        return os.path.join(self.root, self.path) if self.path else self.root

    @property
    def size(self) -> int:
        """See `SourceFile.size`."""
        return self.stamp.size

    @property
    def identity(self) -> str:
        """See `SourceFile.identity`."""
        return f"{self.stamp.size} {self.stamp.mtime_ns}"

    def opened(self) -> LocalSource:
        """See `SourceFile.opened`."""
        return LocalSource(self)

    def changed(self) -> bool:
        """See `SourceFile.changed`."""
        try:
            return Stamp.of(os.stat(self.source)) != self.stamp
        except OSError:
            return True

    async def copied(self, driver: Driver, key: str) -> Mapping[str, str] | None:
        """See `SourceFile.copied`: no store can reach a file here."""


class HashedSource(Source, Protocol):
    """A `Source` that hashes what passes."""

    async def finish(self, check: Callable[[], None] = nothing) -> Mapping[str, str]:
        """Hash what wasn't read yet.

        Args:
            check: is called before each piece, and may raise to end it.

        Returns:
            The digests of the whole content.

        Raises:
            SourceChanged: it isn't any more what was scanned.
        """


class SourceFile(Protocol):
    """One file of a tree, wherever it is."""

    @property
    def path(self) -> str:
        """Relative to the asset, with `/`; empty for a file asset."""

    @property
    def source(self) -> str:
        """Where it is, for people."""

    @property
    def size(self) -> int:
        """Its size in bytes when it was scanned."""

    @property
    def executable(self) -> bool:
        """Whether its owner may execute it."""

    @property
    def identity(self) -> str:
        """What changes when its content does."""

    def opened(self) -> HashedSource:
        """Its content, to be read once or more."""

    def changed(self) -> bool:
        """Whether it isn't any more what was scanned, as far as can be told; may block."""

    async def copied(self, driver: Driver, key: str) -> Mapping[str, str] | None:
        """Let the store copy it to this key without its bytes passing through here.

        Returns:
            The digests that the store vouches for, or `None` where it has to be uploaded.
        """


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
    files: tuple[SourceFile, ...]
    empty_directories: tuple[str, ...]
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
        raise SourceError(root, _reason(error)) from error
    if stat.S_ISREG(status.st_mode):
        return tree_of_file(root, _local_file(root, "", status))
    if not stat.S_ISDIR(status.st_mode):
        raise SourceError(root, "it is neither a file nor a directory")
    walk = _Walk(root, Filter(include, exclude), _identity_of(store))
    walk.visit(root, "", status)
    return tree_of_directory(root, walk.files, walk.empty_directories)


def tree_of_file(root: str, file: SourceFile) -> Tree:
    """The tree of a file asset."""
    return _tree(root, False, (file,), ())


def tree_of_directory(root: str, files: Iterable[SourceFile], empty_directories: Iterable[str]) -> Tree:
    """The tree of a directory; raises `SourceError` where it has more than can be fetched again. Blocking."""
    ordered = tuple(sorted(files, key=lambda file: file.path))
    folders = tuple(sorted(empty_directories))
    try:
        inner_folders([file.path for file in ordered], folders)
    except ValueError as error:
        raise SourceError(root, f"{error}; push it in several assets, or pack it") from None
    return _tree(root, True, ordered, folders)


def _tree(root: str, is_directory: bool, files: tuple[SourceFile, ...], empty_directories: tuple[str, ...]) -> Tree:
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


@dataclass(slots=True)
class _Walk:
    root: str
    wanted: Filter
    store: tuple[int, int] | None
    files: list[LocalFile] = field(default_factory=list)
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
        for name in entries:
            self._entry(os.path.join(directory, name), f"{relative}/{name}" if relative else name)
        if not entries and relative and self.wanted.wants_empty_directory(relative):
            self.empty_directories.append(checked(directory, relative))
        del self._above[identity]

    def _entry(self, source: str, path: str) -> None:
        try:
            status = _status(source)
        except SourceError:
            if self.wanted.wants_file(path):
                raise
            return
        if stat.S_ISDIR(status.st_mode):
            if self.wanted.wants_directory(path):
                self.visit(source, path, status)
        elif self.wanted.wants_file(path):
            if not stat.S_ISREG(status.st_mode):
                raise SourceError(source, "it is neither a file nor a directory")
            self.files.append(_local_file(self.root, checked(source, path), status))


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
        raise SourceError(directory, _reason(error)) from error


def _status(source: str) -> os.stat_result:
    try:
        return os.stat(source)
    except FileNotFoundError:
        raise SourceError(source, "it is a broken link, or vanished while it was scanned") from None
    except OSError as error:
        raise SourceError(source, _reason(error)) from error


def _reason(error: OSError) -> str:
    if error.errno == errno.ELOOP:
        return "it is a link into a loop"
    return reason(error)


def checked(source: str, path: str) -> str:
    """The path, if a store and modelkit's readers can take it; raises `SourceError`."""
    problem = path_problem(path)
    if problem is None and path.endswith(".versions"):
        problem = "its name ends in '.versions', which would be taken for an asset"
    if problem is not None:
        raise SourceError(source, f"{problem}; rename or exclude it")
    return path


def _local_file(root: str, path: str, status: os.stat_result) -> LocalFile:
    file = LocalFile(root, path, Stamp.of(status), bool(status.st_mode & stat.S_IXUSR))
    if not file.size:
        _check_empty(file.source)
    return file


def _check_empty(source: str) -> None:
    try:
        descriptor = os.open(source, READING)
        try:
            found, size = os.read(descriptor, 1), os.fstat(descriptor).st_size
        finally:
            os.close(descriptor)
    except OSError as error:
        raise SourceError(source, _reason(error)) from error
    if found:
        raise SourceChanged(source) if size else SourceError(source, _MISSTATED)


class LocalSource:
    """A `Source` that reads a scanned file, hashes what passes, and notices changes.

    Args:
        file: as it was scanned.
    """

    def __init__(self, file: LocalFile) -> None:
        self._file = file
        self._hash = hashlib.sha256()
        self._hashed = 0

    @property
    def size(self) -> int:
        """See `Source.size`."""
        return self._file.size

    @property
    def digests(self) -> Mapping[str, str]:
        """See `Source.digests`."""
        return {SHA256: self._hash.hexdigest()} if self._hashed == self.size else {}

    async def read(self, offset: int, size: int) -> Data:
        """See `Source.read`."""
        return await (in_batch if size <= SMALL else in_thread)(self._read, offset, size)

    async def copy_to(self, descriptor: int, offset: int, size: int) -> bool:
        """See `Source.copy_to`: each piece is hashed while the next one is copied."""
        copied, _ = await both(
            partial(in_thread, self._copy, descriptor, offset, size),
            partial(in_thread, self._hash_copy, descriptor, offset),
        )
        if copied and offset + size == self.size:
            await in_thread(self._hash_copy, descriptor, self.size)
        return copied

    async def finish(self, check: Callable[[], None] = nothing) -> Mapping[str, str]:
        """See `HashedSource.finish`."""
        while self._hashed < self.size:
            check()
            await in_thread(self._read, self._hashed, min(READ_CHUNK, self.size - self._hashed))
        return self.digests

    def _copy(self, descriptor: int, offset: int, size: int) -> bool:
        with _opened(self._file) as source:
            return copy_range(source, descriptor, offset, offset + size)

    def _hash_copy(self, descriptor: int, stop: int) -> None:
        if self._hashed < stop:
            hash_range(self._hash, descriptor, self._hashed, stop)
            self._hashed = stop

    def _read(self, offset: int, size: int) -> Data:
        with _opened(self._file) as descriptor:
            data = _read_exactly(descriptor, offset, size)
            if len(data) < size:
                _check_unchanged(self._file, descriptor)
                raise SourceError(self._file.source, _MISSTATED)
        if offset == self._hashed:
            feed(self._hash, data)
            self._hashed += len(data)
        return data


def _read_exactly(descriptor: int, offset: int, size: int) -> Data:
    """Read `size` bytes, fewer only at the end of the file."""
    if size < MAPPED:
        data = os.pread(descriptor, size, offset)
        while len(data) < size and (more := os.pread(descriptor, size - len(data), offset + len(data))):
            data += more
        return data
    buffer = memoryview(_pages(size))
    filled = 0
    while filled < size and (count := os.preadv(descriptor, [buffer[filled:]], offset + filled)):
        filled += count
    return buffer[:filled]


def _pages(size: int) -> mmap.mmap:
    """Memory of its own, which goes back to the system at once; malloc's arenas keep what parts leave behind."""
    pages = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with contextlib.suppress(AttributeError, OSError):  # not all systems have them; a fifth of the time to fill
        pages.madvise(mmap.MADV_HUGEPAGE)
    return pages


@contextlib.contextmanager
def _opened(file: LocalFile) -> Iterator[int]:
    """Open a scanned file, which must be unchanged afterwards; yields its descriptor."""
    try:
        descriptor = os.open(file.source, READING)
    except OSError as error:
        raise _unreadable(file, error) from error
    try:
        yield descriptor
        _check_unchanged(file, descriptor)
    except OSError as error:
        raise _unreadable(file, error) from error
    finally:
        os.close(descriptor)


def _unreadable(file: LocalFile, error: OSError) -> SourceError:
    if error.errno not in DENIED and file.changed():
        return SourceChanged(file.source)
    return SourceError(file.source, _reason(error))


def _check_unchanged(file: LocalFile, descriptor: int) -> None:
    if Stamp.of(os.fstat(descriptor)) != file.stamp:
        raise SourceChanged(file.source)
