"""A small database of the digests of local files, so that unchanged files aren't read again.

Several processes may use it at the same time, and it may be deleted at any time. If it can't be used, for example
because its folder is read-only or has no locks, files are hashed as if they weren't known.
`docs/adr/0036-known-hashes.md` says when a digest is trusted.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import struct
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from aioassets.runtime.threads import check_cancelled

if TYPE_CHECKING:
    from sqlite3 import Connection

logger = logging.getLogger(__name__)

MARGIN: Final = 2 * 10**9
"""Minimum age in nanoseconds of a file's last change when it is hashed: two seconds, the resolution of times on FAT. No
file system in use has a coarser one. Within it, another change could leave the times as they are."""
MAX_BYTES: Final = 256 * 1024 * 1024
"""Size in bytes above which the least recently used quarter of the digests is removed: those of about 2.5 million."""
BUSY_TIMEOUT: Final = 1.0
"""Number of seconds to wait while other processes write."""
_SCHEMA: Final = 1
"""Number of the schema. A database with another one is discarded."""
_BATCH: Final = 500
"""Number of rows per statement."""
_DAY: Final = 86_400
_64_BITS: Final = 2**64 - 1
_NUMBERS: Final = struct.Struct(">5Q")
_CREATE: Final = """
    CREATE TABLE IF NOT EXISTS hashes (key BLOB PRIMARY KEY, seal BLOB, digest BLOB, used INTEGER) WITHOUT ROWID
"""


class State(Protocol):
    """A state that a digest belongs to."""

    @property
    def path(self) -> str:
        """The absolute path of a file, or of the folder of a tree."""

    @property
    def identity(self) -> bytes:
        """Bytes that no other state at the same path has."""

    @property
    def changed_ns(self) -> int:
        """The time of the last change in nanoseconds."""


class FileState(NamedTuple):
    """The identity of a local file's content, as far as its status tells.

    Attributes:
        path: the absolute path.
        device: the number of the device.
        inode: the inode number.
        size: the size in bytes.
        mtime_ns: the modification time in nanoseconds.
        ctime_ns: the time of the last change of the content or of the status, in nanoseconds. Programs can't set it.
    """

    path: str
    device: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int

    @property
    def identity(self) -> bytes:
        """The numbers as bytes."""
        return _NUMBERS.pack(
            self.device & _64_BITS,
            self.inode & _64_BITS,
            self.size,
            self.mtime_ns & _64_BITS,
            self.ctime_ns & _64_BITS,
        )

    @property
    def changed_ns(self) -> int:
        """The later one of the times in nanoseconds."""
        return max(self.mtime_ns, self.ctime_ns)


class TreeState(NamedTuple):
    """The identity of the content of all files in a folder.

    Attributes:
        path: the absolute path of the folder.
        identity: a digest of the paths and states of the files.
        changed_ns: the time of the last change of any file in nanoseconds.
    """

    path: str
    identity: bytes
    changed_ns: int


def _key(kind: str, state: State) -> bytes:
    return hashlib.blake2b(f"{kind}\0{state.path}".encode(errors="surrogateescape"), digest_size=16).digest()


def _seal(key: bytes, state: State, digest: bytes) -> bytes:
    """Return a checksum that no other state and no damaged digest has."""
    return hashlib.blake2b(key + state.identity + digest, digest_size=16).digest()


class KnownHashes:
    """A database of the digests of local files. Methods block.

    Args:
        file: the database file. It is created when the first digest is remembered.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._has_failed = False

    @staticmethod
    def now() -> int:
        """Return the current time in nanoseconds. Ask for it before files are hashed."""
        return time.time_ns()

    def find(self, kind: str, states: Sequence[State]) -> list[bytes | None]:
        """Return the digests of files, with `None` for each one that isn't known.

        Args:
            kind: the kind of digest, such as `sha256`.
            states: the current states of the files or trees.
        """
        found: list[bytes | None] = [None] * len(states)
        if not os.path.exists(self._file):
            return found
        with self._usable(), self._opened() as connection:
            today = _today()
            old: list[bytes] = []
            for start in range(0, len(states), _BATCH):
                check_cancelled()
                keys = {_key(kind, states[n]): n for n in range(start, min(start + _BATCH, len(states)))}
                for key, seal, digest, used in _rows(connection, list(keys)):
                    number = keys[key]
                    if isinstance(digest, bytes) and _seal(key, states[number], digest) == seal:
                        found[number] = digest
                        if used != today:
                            old.append(key)
            if old:
                _note_use(connection, old, today)
        return found

    def remember(self, kind: str, digests: Iterable[tuple[State, bytes]], now_ns: int) -> None:
        """Remember the digests of files, except of those that have changed too recently.

        Args:
            kind: the kind of digest, such as `sha256`.
            digests: the states of the files before they were hashed, and the digests.
            now_ns: a time before the files were hashed; see `now`.
        """
        today = _today()
        rows = []
        for state, digest in digests:
            if state.changed_ns < now_ns - MARGIN:
                key = _key(kind, state)
                rows.append((key, _seal(key, state, digest), digest, today))
        if not rows:
            return
        rows.sort()
        with self._usable(), self._opened() as connection, _transaction(connection):
            connection.executemany("INSERT OR REPLACE INTO hashes VALUES (?, ?, ?, ?)", rows)
            _shrink(connection)

    @contextlib.contextmanager
    def _opened(self) -> Iterator[Connection]:
        """Open the database, which is created or replaced if necessary."""
        import sqlite3  # noqa: PLC0415 - takes a while, and some builds of Python lack it

        self._file.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(self._file, timeout=BUSY_TIMEOUT, isolation_level=None)
        with contextlib.closing(connection):
            connection.execute("PRAGMA synchronous = OFF")  # seals tell damage by a power failure
            if _version(connection) != _SCHEMA:
                self._prepare(connection)
            yield connection

    def _prepare(self, connection: Connection) -> None:
        """Create the table, instead of those of any other schema."""
        connection.execute("PRAGMA journal_mode = WAL")  # has no effect where the file system can't share memory
        with _transaction(connection):
            if _version(connection) == _SCHEMA:  # another process was faster
                return
            connection.execute("DROP TABLE IF EXISTS hashes")
            connection.execute(_CREATE)
            connection.execute(f"PRAGMA user_version = {_SCHEMA}")

    @contextlib.contextmanager
    def _usable(self) -> Iterator[None]:
        """Go on without the database if it can't be used. Delete it if it is damaged."""
        try:
            yield
        except ImportError as error:
            self._note(error)
        except OSError as error:
            self._note(error)
        except Exception as error:
            import sqlite3  # noqa: PLC0415

            if not isinstance(error, sqlite3.Error):
                raise
            self._note(error)
            if not isinstance(error, sqlite3.OperationalError):  # not a database, or malformed
                self._discard()

    def _note(self, error: Exception) -> None:
        if not self._has_failed:
            logger.debug("Cannot use the known hashes in %r: %s", os.fspath(self._file), error)
        self._has_failed = True

    def _discard(self) -> None:
        for suffix in ("", "-wal", "-shm"):
            with contextlib.suppress(OSError):
                os.unlink(f"{self._file}{suffix}")


def _today() -> int:
    return int(time.time() // _DAY)


def _version(connection: Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


@contextlib.contextmanager
def _transaction(connection: Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def _rows(connection: Connection, keys: Sequence[bytes]) -> Iterator[tuple[bytes, object, object, object]]:
    marks = ",".join("?" * len(keys))
    yield from connection.execute(f"SELECT key, seal, digest, used FROM hashes WHERE key IN ({marks})", keys)  # noqa: S608


def _note_use(connection: Connection, keys: Sequence[bytes], today: int) -> None:
    with _transaction(connection):
        connection.executemany("UPDATE hashes SET used = ? WHERE key = ?", ((today, key) for key in keys))


def _shrink(connection: Connection) -> None:
    """Remove the least recently used quarter of the digests if they take too much space."""
    pages, unused, nbytes = (
        connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
    )
    if (pages - unused) * nbytes > MAX_BYTES:
        connection.execute(
            "DELETE FROM hashes WHERE key IN "
            "(SELECT key FROM hashes ORDER BY used LIMIT (SELECT count(*) / 4 FROM hashes))"
        )
