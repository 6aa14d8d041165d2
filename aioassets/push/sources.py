"""The interface for source files of pushes, and its implementation for local files."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
from abc import ABC, abstractmethod
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, Protocol

from aioassets.drivers.protocol import Data, Driver, Revision, Source
from aioassets.errors import SourceChanged, SourceError
from aioassets.model.chunks import ChunkList
from aioassets.model.digests import SHA256, new_hash
from aioassets.model.files import FileTable, Table
from aioassets.runtime.batches import SMALL, in_batch
from aioassets.runtime.chunking import ContentHash
from aioassets.runtime.digests import hash_range, update_digest
from aioassets.runtime.disk import DENIED, READING, copy_range, reason
from aioassets.runtime.effects import Effects
from aioassets.runtime.known_hashes import FileState, TreeState
from aioassets.runtime.memory import pages
from aioassets.runtime.tasks import gather2
from aioassets.runtime.threads import in_thread

READ_CHUNK: Final = 8 * 1024 * 1024
"""Number of bytes to hash at once. Hashing can be cancelled in between."""
MAPPED: Final = 128 * 1024
"""Minimum size in bytes of a read for which separate memory pages are allocated."""
MISSTATED: Final = "its reported size doesn't match its content, as for files in /proc; push a copy of it instead"
_64_BITS: Final = 2**64 - 1


def nothing() -> None:
    """Do nothing. This is the default for `check`."""


class HashedSource(Source, Protocol):
    """A `Source` that hashes its content as it is read."""

    @property
    def chunks(self) -> ChunkList | None:
        """The chunks of a large file, once all bytes were read; `None` if it isn't divided."""

    async def finish(self, check: Callable[[], None] = nothing) -> Mapping[str, str]:
        """Hash the rest of the content.

        Args:
            check: a function that is called before each piece is read. To stop, it may raise an exception.

        Returns:
            The digests of the whole content.

        Raises:
            SourceChanged: if the content has changed since the scan.
        """


@dataclass(frozen=True, slots=True)
class Copied:
    """A copy of a file that the store made.

    Attributes:
        digests: the digests of the copy.
        revision: its revision.
    """

    digests: Mapping[str, str]
    revision: Revision


@dataclass(frozen=True, slots=True)
class Divided:
    """The digest of a file, and its chunks, which were computed in one pass.

    Attributes:
        sha256: the SHA-256 in lowercase hexadecimal.
        chunks: the chunks; `None` if the file isn't divided.
    """

    sha256: str
    chunks: ChunkList | None


class SourceFile(Protocol):
    """A file in the source of a push."""

    @property
    def path(self) -> str:
        """The path relative to the asset, with `/` as the separator; empty for a file asset."""

    @property
    def source(self) -> str:
        """The path or URL of the file, for messages."""

    @property
    def size(self) -> int:
        """The size in bytes at the time of the scan."""

    @property
    def executable(self) -> bool:
        """Whether the file's owner may execute it."""

    @property
    def identity(self) -> str:
        """A string that changes when the content changes."""

    def opened(self) -> HashedSource:
        """Return a source for reading the content, which may be read several times."""

    def changed(self) -> bool:
        """Return whether the file is known to have changed since the scan. May block."""

    async def hashed(self, algorithm: str) -> str | None:
        """Return a digest of the content, or `None` if the content would have to be downloaded for it.

        Raises:
            SourceChanged: if the content has changed since the scan.
            SourceError: if the file can't be read.
        """

    async def divided(self) -> Divided | None:
        """Return the digest and the chunks of a large file, or `None` if it would have to be downloaded for them.

        Raises:
            SourceChanged: if the content has changed since the scan.
            SourceError: if the file can't be read.
        """

    async def copied(self, driver: Driver, key: str, effects: Effects) -> Copied | None:
        """Ask the store to make a server-side copy of the file at the given key.

        Args:
            driver: the driver of the store.
            key: the key to copy to.
            effects: the record of requests whose effect is unknown.

        Returns:
            The copy, or `None` if the file must be uploaded.
        """


@dataclass(frozen=True, slots=True)
class Stamp:
    """The state of a file, for detecting changes.

    Attributes:
        size: the size in bytes.
        mtime_ns: the modification time in nanoseconds, modulo 2**64, because some file systems report more.
        inode: the inode number.
    """

    size: int
    mtime_ns: int
    inode: int

    @classmethod
    def of(cls, status: os.stat_result) -> Stamp:
        """Return the state of a file from its status."""
        return cls(status.st_size, status.st_mtime_ns & _64_BITS, status.st_ino)


@dataclass(frozen=True, slots=True)
class LocalFile:
    """A local file in the source of a push.

    Attributes:
        root: the local path of the asset.
        path: the path relative to the asset, with `/` as the separator; empty for a file asset.
        stamp: the state of the file at the time of the scan.
        executable: whether the file's owner may execute it.
    """

    root: str
    path: str
    stamp: Stamp
    executable: bool

    @property
    def source(self) -> str:
        return os.path.join(self.root, self.path) if self.path else self.root

    @property
    def size(self) -> int:
        return self.stamp.size

    @property
    def identity(self) -> str:
        return f"{self.stamp.size} {self.stamp.mtime_ns}"

    def opened(self) -> LocalSource:
        return LocalSource(self)

    def changed(self) -> bool:
        try:
            return Stamp.of(os.stat(self.source)) != self.stamp
        except OSError:
            return True

    async def hashed(self, algorithm: str) -> str | None:
        return await (in_batch if self.size <= SMALL else in_thread)(self._hashed, algorithm)

    def _hashed(self, algorithm: str) -> str:
        digest = new_hash(algorithm)
        with _opened(self) as descriptor:
            hash_range(digest, descriptor, 0, self.size)
        return digest.hexdigest()

    async def divided(self) -> Divided | None:
        return await in_thread(self._divided)

    def _divided(self) -> Divided:
        content = ContentHash(self.size)
        with _opened(self) as descriptor:
            hash_range(content, descriptor, 0, self.size)
        return Divided(content.hexdigest(), content.chunks)

    async def copied(self, driver: Driver, key: str, effects: Effects) -> Copied | None:
        """Return `None`, because stores can't copy a local file."""


@dataclass(frozen=True, slots=True)
class PlacedFile(LocalFile):
    """A local file that is pushed under another path.

    Attributes:
        location: its local path.
    """

    location: str

    @property
    def source(self) -> str:
        return self.location


class LocalFiles(Table[LocalFile]):
    """Scanned local files, stored in columns. A row takes 41 bytes plus its path.

    Args:
        root: the local path of the asset.
    """

    __slots__ = ("_ctimes", "_devices", "_executable", "_inodes", "_mtimes", "_root", "_sizes")

    def __init__(self, root: str) -> None:
        super().__init__()
        self._root = root
        self._sizes, self._mtimes, self._inodes = array("Q"), array("Q"), array("Q")
        self._devices, self._ctimes = array("Q"), array("Q")
        self._executable = bytearray()

    def add(self, path: str, status: os.stat_result) -> None:
        """Add a file with the given status. Files must be added in the order of their paths."""
        stamp = Stamp.of(status)
        self._paths.append(path)
        self._sizes.append(stamp.size)
        self._mtimes.append(stamp.mtime_ns)
        self._inodes.append(stamp.inode)
        self._devices.append(status.st_dev & _64_BITS)
        self._ctimes.append(status.st_ctime_ns & _64_BITS)
        self._executable.append(bool(status.st_mode & stat.S_IXUSR))

    @property
    def sizes(self) -> Sequence[int]:
        """The sizes of all files in bytes."""
        return self._sizes

    def is_like(self, table: FileTable) -> bool:
        """Return whether a version has files with the same paths, sizes and modes in the same order."""
        return table.has_columns(self._paths, self._sizes, self._executable)

    def tree_state(self) -> TreeState:
        """Return the state of all files together at the time of the scan. Blocking."""
        identity = hashlib.blake2b("\0".join(self._paths).encode(errors="surrogateescape"), digest_size=32)
        for column in (self._sizes, self._mtimes, self._inodes, self._devices, self._ctimes):
            identity.update(column)
        changed_ns = max(*self._mtimes, *self._ctimes, 0)
        return TreeState(os.path.abspath(self._root), identity.digest(), changed_ns)

    def states(self, numbers: Iterable[int]) -> Iterator[FileState]:
        """Iterate over the states of files at the time of the scan."""
        root = os.path.abspath(self._root)
        for number in numbers:
            yield FileState(
                os.path.join(root, self._paths[number]),
                self._devices[number],
                self._inodes[number],
                self._sizes[number],
                self._mtimes[number],
                self._ctimes[number],
            )

    def _row(self, number: int) -> LocalFile:
        stamp = Stamp(self._sizes[number], self._mtimes[number], self._inodes[number])
        return LocalFile(self._root, self._paths[number], stamp, bool(self._executable[number]))


class HashingSource(ABC):
    """A base class for `HashedSource` implementations. It hashes bytes that are read in order.

    Args:
        size: the size in bytes.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._hash = ContentHash(size)
        self._hashed = 0

    @property
    def size(self) -> int:
        return self._size

    @property
    def digests(self) -> Mapping[str, str]:
        return {SHA256: self._hash.hexdigest()} if self._hashed == self.size else {}

    @property
    def chunks(self) -> ChunkList | None:
        return self._hash.chunks

    @abstractmethod
    async def read(self, offset: int, size: int) -> Data:
        """Read `size` bytes at `offset`, as `Source.read` does."""

    async def finish(self, check: Callable[[], None] = nothing) -> Mapping[str, str]:
        while self._hashed < self.size:
            check()
            await self.read(self._hashed, min(READ_CHUNK, self.size - self._hashed))
        return self.digests


class LocalSource(HashingSource):
    """A `HashedSource` that reads a local file and detects changes to it.

    Args:
        file: the file as it was scanned.
    """

    def __init__(self, file: LocalFile) -> None:
        super().__init__(file.size)
        self._file = file

    async def read(self, offset: int, size: int) -> Data:
        return await (in_batch if size <= SMALL else in_thread)(self._read, offset, size)

    async def copy_to(self, descriptor: int, offset: int, size: int) -> bool:
        copied, _ = await gather2(
            partial(in_thread, self._copy, descriptor, offset, size),
            partial(in_thread, self._hash_copy, descriptor, offset),
        )
        if copied and offset + size == self.size:
            await in_thread(self._hash_copy, descriptor, self.size)
        return copied

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
                raise SourceError(self._file.source, MISSTATED)
        if offset == self._hashed:
            update_digest(self._hash, data)
            self._hashed += len(data)
        return data


def _read_exactly(descriptor: int, offset: int, size: int) -> Data:
    """Read `size` bytes, or fewer if the file ends before that."""
    if size < MAPPED:
        data = os.pread(descriptor, size, offset)
        while len(data) < size and (more := os.pread(descriptor, size - len(data), offset + len(data))):
            data += more
        return data
    buffer = memoryview(pages(size))
    filled = 0
    while filled < size and (count := os.preadv(descriptor, [buffer[filled:]], offset + filled)):
        filled += count
    return buffer[:filled]


@contextlib.contextmanager
def _opened(file: LocalFile) -> Iterator[int]:
    """Open a scanned file and yield its descriptor. Raise `SourceChanged` if the file has changed."""
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
    return SourceError(file.source, explained(error))


def _check_unchanged(file: LocalFile, descriptor: int) -> None:
    if Stamp.of(os.fstat(descriptor)) != file.stamp:
        raise SourceChanged(file.source)


def explained(error: OSError) -> str:
    """Return the reason why a source can't be read, for a message."""
    if error.errno == errno.ELOOP:
        return "it is part of a loop of symbolic links"
    return reason(error)
