"""A blocking key-value store in a folder. `local` wraps it in a driver."""

from __future__ import annotations

import contextlib
import errno
import filecmp
import hashlib
import os
import secrets
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Final

from aioassets.drivers.locking import FolderLocks, current_mount
from aioassets.drivers.protocol import (
    CommonPrefix,
    Data,
    Document,
    Expect,
    ObjectInfo,
    OpenUpload,
    Revision,
    StreamedDocument,
    Uploaded,
)
from aioassets.errors import StoreUnsuitable
from aioassets.model.keys import MAX_KEY_BYTES
from aioassets.runtime.clocks import utc
from aioassets.runtime.disk import BUFFER, READING, again_if_stale, copy_range, open_making_folder, write_at
from aioassets.runtime.threads import coalesced

OURS: Final = ".aioassets"
"""The subfolder for temporary files and locks. It is on the same file system as the objects, and is never listed."""
JITTER_NS: Final = 1_000_000
"""Maximum number of nanoseconds to add to a modification time to make it unique. File system clocks are coarse."""
RETRIES: Final = 100
"""Maximum number of attempts to create a file while other processes keep removing its folder."""
_NO_LINKS: Final = frozenset({errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EMLINK})
"""Error numbers that `link` reports on file systems without hard links. They can also have other causes."""
_BEFORE_DIGEST: Final = "-sha256:"


class Folder:
    """A folder that stores objects as files, whose relative paths are the keys.

    Objects are created with `link(2)`, which fails if the name is taken. They are replaced and deleted
    under an `flock(2)` lock, which is optional except for conditional writes. Methods raise `OSError`;
    `FileExistsError` means that the condition is not met.

    Args:
        root: the absolute path of the folder.
    """

    def __init__(self, root: str) -> None:
        self.root = root
        self._temporary_folder = os.path.join(root, OURS, "tmp")
        self._locks = FolderLocks(root, os.path.join(root, OURS))

    def exists(self) -> bool:
        """Return whether the folder exists."""
        try:
            return stat.S_ISDIR(again_if_stale(os.stat, self.root).st_mode)
        except OSError:
            return False

    def is_occupied(self) -> bool:
        """Return whether the path of the folder, or of one that it is in, is that of something else, such as a file."""
        try:
            return not stat.S_ISDIR(os.stat(self.root).st_mode)
        except FileNotFoundError:
            return os.path.islink(self.root)
        except NotADirectoryError:
            return True
        except OSError:
            return False

    def path(self, key: str) -> str:
        """Return the path of an object."""
        segments = key.split("/")
        if not {"", ".", ".."}.isdisjoint(segments) or segments[0] == OURS:
            raise OSError(errno.EINVAL, "the key contains an empty or reserved segment")
        return os.path.join(self.root, *segments)

    def temporary_path(self) -> str:
        """Return a new path for a temporary file."""
        return os.path.join(self._temporary_folder, secrets.token_hex(16))

    def temporaries(self) -> list[OpenUpload]:
        """Return the temporary files of all processes, including those that were killed."""
        found: list[OpenUpload] = []
        with contextlib.suppress(FileNotFoundError), os.scandir(self._temporary_folder) as entries:
            for entry in entries:
                with contextlib.suppress(FileNotFoundError):
                    found.append(OpenUpload("", entry.name, utc(entry.stat().st_mtime)))
        return found

    def remove_temporary(self, name: str) -> None:
        """Remove a temporary file, given its ID from `temporaries`."""
        unlink(os.path.join(self._temporary_folder, os.path.basename(name)))

    def read(self, key: str, check: Callable[[int], None]) -> Document:
        """Read a whole object.

        Args:
            key: the object's key.
            check: a function that is called with the size before the object is read. It may raise an exception.
        """
        with open(self.path(key), "rb", opener=opener) as file:
            status = os.fstat(file.fileno())
            check(status.st_size)
            data = file.read()
        revision = _document_revision(status, hashlib.sha256(data).hexdigest())
        return Document(data, revision, utc(status.st_mtime), self._now())

    def stat(self, key: str) -> ObjectInfo:
        """Return the metadata of an object."""
        path = self.path(key)
        status = os.stat(path)
        _check_regular(status)
        return _info(key, status)

    def open_pinned(self, key: str, revision: Revision) -> int:
        """Open an object for reading, and return its descriptor.

        Raises:
            FileExistsError: the object has a different revision.
        """
        descriptor = opener(self.path(key), os.O_RDONLY)
        try:
            if not is_pinned_to(os.fstat(descriptor), revision):
                raise FileExistsError(errno.EEXIST, "it has a different revision")
        except OSError:
            os.close(descriptor)
            raise
        return descriptor

    def create(self, temporary: str) -> int:
        """Create a temporary file, and return a descriptor that is open for reading and writing."""
        return open_making_folder(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC)

    def append(self, temporary: str, data: Data | StreamedDocument) -> None:
        """Append to a temporary file, creating it if necessary."""
        with contextlib.suppress(FileNotFoundError):
            return _append(temporary, data)
        os.makedirs(os.path.dirname(temporary), exist_ok=True)
        return _append(temporary, data)

    def write(self, key: str, data: bytes | StreamedDocument, expected: Revision | Expect) -> Revision:
        """Write an object if its current state is the expected one.

        Raises:
            StoreUnsuitable: the file system doesn't support the required locks or hard links.
        """
        if expected is not Expect.ANYTHING:
            self._locks.require()
        for _ in range(RETRIES):
            temporary = self.temporary_path()
            try:
                return self._write(temporary, key, data, expected)
            except FileNotFoundError:
                if os.path.lexists(temporary):
                    raise
            finally:
                unlink(temporary)
        raise OSError(errno.EAGAIN, "other processes keep removing its temporary files")

    def _write(self, temporary: str, key: str, data: bytes | StreamedDocument, expected: Revision | Expect) -> Revision:
        digest = hashlib.sha256(data).hexdigest() if isinstance(data, bytes) else data.sha256
        self.append(temporary, data)
        status = _touch(temporary, after=0)
        if expected is Expect.ABSENT:
            self._link(temporary, key)
        else:
            with self._locks.holding(key, optional=expected is Expect.ANYTHING):
                status = self._swap(temporary, key, status, expected)
        return _document_revision(status, digest)

    def place(self, temporary: str, key: str, expected: Expect) -> Uploaded:
        """Turn a temporary file into an object, unless the object already exists with the same contents."""
        made = Uploaded(created=True, revision=revision_of(os.stat(temporary)))
        if expected is Expect.ANYTHING:
            with self._locks.holding(key, optional=True):
                os.makedirs(os.path.dirname(self.path(key)), exist_ok=True)
                os.replace(temporary, self.path(key))
            return made
        try:
            self._link(temporary, key)
        except FileExistsError:
            path = self.path(key)
            if not (os.path.isfile(path) and filecmp.cmp(temporary, path, shallow=False)):
                raise
            return Uploaded(created=False, revision=revision_of(os.stat(path)))
        return made

    def delete(self, keys: Iterable[str]) -> tuple[str, OSError] | None:
        """Delete objects, and folders that become empty. Return the first key that can't be deleted, and the error."""
        if not self.exists():
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        failed: list[tuple[str, OSError]] = []
        for key in keys:
            try:
                again_if_stale(self._delete, key)
            except OSError as error:
                failed.append((key, error))
        return failed[0] if failed else None

    def _delete(self, key: str) -> None:
        path = self.path(key)
        with self._locks.holding(key, optional=True), contextlib.suppress(NotADirectoryError, IsADirectoryError):
            unlink(path)
        self._prune(os.path.dirname(path))

    def walk(self, prefix: str, *, deep: bool) -> Iterator[ObjectInfo | CommonPrefix]:
        """Iterate over objects in ascending order of their keys.

        Args:
            prefix: the prefix of the keys.
            deep: whether to list all objects. If not, keys are grouped by common prefix up to the next `/`.
        """
        if not self.exists():
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        base, slash, start = prefix.rpartition("/")
        if ".." in base.split("/"):
            raise OSError(errno.EINVAL, "the prefix leads outside the folder")
        yield from self._walk(base + slash, start, deep=deep)

    def _walk(self, base: str, start: str, *, deep: bool) -> Iterator[ObjectInfo | CommonPrefix]:
        if len(base) > MAX_KEY_BYTES:
            return  # no key is this long
        for entry in again_if_stale(_sorted_entries, os.path.join(self.root, base)):
            if not entry.name.startswith(start) or (not base and entry.name == OURS):
                continue
            key = base + entry.name
            if not entry.is_dir():
                with contextlib.suppress(FileNotFoundError):
                    yield _info(key, again_if_stale(entry.stat))
            elif deep:
                yield from self._walk(f"{key}/", "", deep=True)
            elif next(self._walk(f"{key}/", "", deep=True), None) is not None:
                yield CommonPrefix(f"{key}/")

    def _link(self, temporary: str, key: str) -> None:
        path = self.path(key)
        for _ in range(RETRIES):
            try:
                os.link(temporary, path)
            except FileNotFoundError:  # the folder does not exist, or another process has just removed it
                if not os.path.lexists(temporary):
                    raise
            except OSError as error:
                self._check_links(temporary, error)
                raise
            else:
                return
            with contextlib.suppress(FileNotFoundError):
                os.makedirs(os.path.dirname(path), exist_ok=True)
        raise OSError(errno.EAGAIN, "other processes keep removing its folder")

    def _check_links(self, temporary: str, error: OSError) -> None:
        """Raise `StoreUnsuitable` if creating a link failed because the file system has no hard links."""
        other = self.temporary_path()
        if error.errno not in _NO_LINKS:
            return
        try:
            os.link(temporary, other)
        except OSError as second:
            if second.errno == error.errno:
                mount = current_mount(self.root)
                kind = "" if mount is None else f" ({mount.kind})"
                observed = f"its file system{kind} has no hard links: {error.strerror}"
                raise StoreUnsuitable(Path(self.root).as_uri(), observed) from error
        else:
            unlink(other)

    def _swap(self, temporary: str, key: str, status: os.stat_result, expected: Revision | Expect) -> os.stat_result:
        path = self.path(key)
        try:
            present = os.stat(path)
        except (FileNotFoundError, NotADirectoryError):
            if expected is not Expect.ANYTHING:
                raise FileExistsError(errno.EEXIST, "it no longer exists") from None
            os.makedirs(os.path.dirname(path), exist_ok=True)
        else:
            if not isinstance(expected, Expect) and not _is_at(path, present, expected):
                raise FileExistsError(errno.EEXIST, "it has a different revision")
            status = _touch(temporary, after=present.st_mtime_ns)
        os.replace(temporary, path)
        return status

    def _prune(self, directory: str) -> None:
        with contextlib.suppress(OSError):  # not empty, or another process has removed it
            while directory.startswith(self.root + os.sep):
                os.rmdir(directory)
                directory = os.path.dirname(directory)

    def _now(self) -> datetime:
        """Return the file system's current time, or this machine's if the file system isn't writable."""
        probe = self.temporary_path()
        try:
            descriptor = os.open(probe, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        except OSError:
            return utc(time.time())
        try:
            return utc(os.fstat(descriptor).st_mtime)
        finally:
            os.close(descriptor)
            unlink(probe)


def revision_of(status: os.stat_result) -> Revision:
    """Return the revision of a file as `stat` and listings report it, without reading the file."""
    return Revision(f"{status.st_ino:x}-{status.st_mtime_ns:x}-{status.st_size:x}")


def is_pinned_to(status: os.stat_result, revision: Revision) -> bool:
    """Return whether a file has the given revision, in either of the two formats."""
    return revision.partition(_BEFORE_DIGEST)[0] == revision_of(status)


def _document_revision(status: os.stat_result, sha256: str) -> Revision:
    """Return the revision of a document, which includes a digest of its contents."""
    return Revision(f"{revision_of(status)}{_BEFORE_DIGEST}{sha256}")


def _is_at(path: str, status: os.stat_result, expected: Revision) -> bool:
    if not is_pinned_to(status, expected):
        return False  # in most cases, the file need not be read
    with open(path, "rb", opener=opener) as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return _document_revision(status, digest) == expected


def unlink(path: str) -> None:
    """Remove a file if it exists."""
    with contextlib.suppress(FileNotFoundError):
        again_if_stale(os.unlink, path)


def copy_bytes(source: int, target: int, start: int, stop: int, to: int) -> None:
    """Copy the bytes of an open object from `start` up to `stop` to the offset `to` of another open file.

    Raises:
        FileExistsError: the object ends before that.
    """
    if copy_range(source, target, start, stop, to=to):
        return
    while start < stop:  # find out why it failed
        data = os.pread(source, min(BUFFER, stop - start), start)
        if not data:
            raise FileExistsError(errno.EEXIST, "it is too short")
        write_at(target, data, to)
        start, to = start + len(data), to + len(data)


def _append(path: str, data: Data | StreamedDocument) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        for piece in [data] if isinstance(data, Data) else coalesced(data):
            view = memoryview(piece)
            while view:
                view = view[os.write(descriptor, view) :]
    finally:
        os.close(descriptor)


def opener(path: str, flags: int) -> int:
    """Open a regular file for reading, without blocking if the path leads to another kind of file, such as a pipe."""
    descriptor = os.open(path, flags | READING)
    try:
        _check_regular(os.fstat(descriptor))
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _check_regular(status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))


def _touch(path: str, *, after: int) -> os.stat_result:
    """Set a unique modification time later than `after`, so that the file's revision is unique."""
    status = os.stat(path)
    mtime = max(status.st_mtime_ns, after) + 1 + secrets.randbelow(JITTER_NS)
    os.utime(path, ns=(status.st_atime_ns, mtime))
    return os.stat(path)


def _sorted_entries(directory: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(directory) as entries:
            return sorted(entries, key=lambda entry: f"{entry.name}/" if entry.is_dir() else entry.name)
    except (FileNotFoundError, NotADirectoryError):
        return []


def _info(key: str, status: os.stat_result) -> ObjectInfo:
    return ObjectInfo(key, status.st_size, revision_of(status), utc(status.st_mtime))
