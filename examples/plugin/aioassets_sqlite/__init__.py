"""A driver for `sqlite://team`: the objects are rows of the SQLite database `team.db`."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import secrets
import shutil
import sqlite3
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import IO, Any, Final, TypeVar
from urllib.parse import quote

from aioassets.drivers import (
    MAX_DOCUMENT,
    SMALL_DOCUMENT,
    AccessDenied,
    AioAssetsError,
    BucketNotFound,
    CommonPrefix,
    Dispatcher,
    Document,
    DocumentTooLarge,
    Driver,
    Effects,
    Expect,
    NoComposition,
    NoLocalFiles,
    NoObjectVersions,
    NoOpenUploads,
    NoPresigning,
    NoStreams,
    NotSameStore,
    ObjectInfo,
    ObjectNotFound,
    PreconditionFailed,
    Revision,
    Source,
    StoreCorrupt,
    StoreError,
    StoreUnavailable,
    StreamedDocument,
    Uploaded,
    in_thread,
)

T = TypeVar("T")

CHUNK: Final = 1024 * 1024
PAGE: Final = 1000
TABLE: Final = """CREATE TABLE IF NOT EXISTS objects
    (key TEXT PRIMARY KEY, size INTEGER, revision TEXT, modified TEXT, sha256 TEXT, data BLOB)"""
COLUMNS: Final = "key, size, revision, modified, sha256"


class SqliteDriver(NoLocalFiles, NoOpenUploads, NoObjectVersions, NoComposition, NoStreams, NoPresigning):
    """A database with one row for each object. SQLite allows up to 1 GB in a row.

    Args:
        bucket: the database's name, which follows `sqlite://`.
        dispatcher: the budget and retries to use; aioassets passes it.
        folder: the folder of the database, from `-o folder=…` or `AIOASSETS_SQLITE_FOLDER`.
    """

    def __init__(self, bucket: str, *, dispatcher: Dispatcher | None = None, folder: str = ".") -> None:
        path = os.path.join(os.path.abspath(folder), f"{bucket}.db")
        self.url = f"sqlite://{bucket}"
        self.identity = f"{self.url}@{path}"  # databases of the same name in two folders are two stores
        self._file = f"file:{quote(path)}"
        self._dispatcher = dispatcher or Dispatcher()

    async def read(self, key: str, *, limit: int = MAX_DOCUMENT) -> Document:
        def work(db: sqlite3.Connection) -> Document:
            info = self._info(db, key)
            if info.size > limit:
                raise DocumentTooLarge(self._url(key), info.size, limit)
            (data,) = db.execute("SELECT data FROM objects WHERE key = ?", (key,)).fetchone()
            return Document(data, info.revision, info.modified, datetime.now(UTC))

        is_small = limit <= SMALL_DOCUMENT
        return await self._send(work, nbytes=0 if is_small else limit, urgent=is_small)

    async def write(
        self, key: str, data: bytes | StreamedDocument, *, expected: Revision | Expect, effects: Effects | None = None
    ) -> Revision:
        content = data if isinstance(data, bytes) else await in_thread(bytes, data)
        sha256 = await in_thread(lambda: hashlib.sha256(content).hexdigest())

        def work(db: sqlite3.Connection) -> Revision:
            return self._put(db, key, io.BytesIO(content), len(content), sha256, expected)

        return await self._change(work, effects, nbytes=len(content), urgent=True)

    async def stat(self, key: str) -> ObjectInfo:
        return await self._send(lambda db: self._info(db, key))

    async def upload(
        self,
        key: str,
        source: Source,
        *,
        expected: Expect = Expect.ABSENT,
        resume: bool = False,
        effects: Effects | None = None,
    ) -> Uploaded:
        # A transaction would lock the database while the source is read, so the bytes are gathered first. A killed
        # upload leaves nothing: neither the temporary file nor the transaction outlives the process.
        with await in_thread(_temporary_file) as file:
            for start in range(0, source.size, CHUNK):
                size = min(CHUNK, source.size - start)
                async with self._dispatcher.budget.slot(size):
                    await in_thread(file.write, await source.read(start, size))
            sha256 = source.digests["sha256"]

            def work(db: sqlite3.Connection) -> Uploaded:
                found = self._find(db, key)
                if found is not None and expected is Expect.ABSENT and found.checksums["sha256"] == sha256:
                    return Uploaded(created=False, revision=found.revision)
                return Uploaded(created=True, revision=self._put(db, key, file, source.size, sha256, expected))

            return await self._change(work, effects)

    async def read_range(
        self, key: str, start: int, stop: int, *, revision: Revision | None = None
    ) -> AsyncGenerator[bytes, None]:
        info = await self.stat(key)
        if revision not in (None, info.revision):
            raise PreconditionFailed(self._url(key))
        stop = min(stop, info.size)
        for offset in range(start, stop, CHUNK):
            yield await self._part(key, offset, min(CHUNK, stop - offset), info.revision)

    async def _part(self, key: str, start: int, size: int, revision: Revision) -> bytes:
        query = "SELECT substr(data, ?, ?) FROM objects WHERE key = ? AND revision = ?"
        values = (start + 1, size, key, revision)
        row = await self._send(lambda db: db.execute(query, values).fetchone(), nbytes=size)
        if row is None:
            raise PreconditionFailed(self._url(key))
        return bytes(row[0])

    async def copy(self, source: Driver, info: ObjectInfo, key: str, *, effects: Effects | None = None) -> ObjectInfo:
        if source.identity != self.identity:
            raise NotSameStore(f"{source.url}/{info.key}")

        def work(db: sqlite3.Connection) -> ObjectInfo:
            original, found = self._info(db, info.key), self._find(db, key)
            if original.revision != info.revision:
                raise PreconditionFailed(self._url(info.key))
            if found is None:
                query = "INSERT INTO objects SELECT ?, size, ?, ?, sha256, data FROM objects WHERE key = ?"
                db.execute(query, (key, secrets.token_hex(), datetime.now(UTC).isoformat(), info.key))
            elif found.checksums != original.checksums:
                raise PreconditionFailed(self._url(key))
            return self._info(db, key)

        return await self._change(work, effects)

    async def list(self, prefix: str, *, delimiter: str | None = None) -> AsyncIterator[ObjectInfo | CommonPrefix]:
        after, folded = "", ""
        while page := await self._page(prefix, after):
            for info in page:
                head, found, _ = info.key[len(prefix) :].partition(delimiter) if delimiter else ("", "", "")
                if not found:
                    yield info
                elif folded != prefix + head + found:
                    folded = prefix + head + found
                    yield CommonPrefix(folded)
            after = page[-1].key

    async def _page(self, prefix: str, after: str) -> Sequence[ObjectInfo]:
        query = f"""SELECT {COLUMNS} FROM objects WHERE key >= :prefix AND key > :after
            AND substr(key, 1, length(:prefix)) = :prefix ORDER BY key LIMIT {PAGE}"""
        values = {"prefix": prefix, "after": after}
        return await self._send(lambda db: [_parse(row) for row in db.execute(query, values)])

    async def delete(self, keys: Iterable[str], *, effects: Effects | None = None) -> None:
        rows = [(key,) for key in keys]
        await self._change(lambda db: db.executemany("DELETE FROM objects WHERE key = ?", rows), effects, urgent=True)

    async def aclose(self) -> None:
        """Do nothing: each request has a connection of its own."""

    def _url(self, key: str) -> str:
        return f"{self.url}/{key}"

    async def _send(self, work: Callable[[sqlite3.Connection], T], *, nbytes: int = 0, urgent: bool = False) -> T:
        return await self._dispatcher.send(lambda: in_thread(self._transact, work, "rw"), nbytes=nbytes, urgent=urgent)

    async def _change(
        self,
        work: Callable[[sqlite3.Connection], T],
        effects: Effects | None,
        *,
        nbytes: int = 0,
        urgent: bool = False,
    ) -> T:
        request = partial(in_thread, self._transact, work, "rwc")  # the first change creates the database
        return await self._dispatcher.send(request, nbytes=nbytes, urgent=urgent, effects=effects)

    def _transact(self, work: Callable[[sqlite3.Connection], T], mode: str) -> T:
        try:
            with contextlib.closing(sqlite3.connect(f"{self._file}?mode={mode}", uri=True, isolation_level=None)) as db:
                db.execute(TABLE)
                db.execute("BEGIN IMMEDIATE" if mode == "rwc" else "BEGIN")
                result = work(db)
                db.execute("COMMIT")  # closing the connection without it undoes everything
                return result
        except sqlite3.Error as error:
            raise self._translated(error) from error

    def _translated(self, error: sqlite3.Error) -> AioAssetsError:
        match getattr(error, "sqlite_errorcode", 0) & 0xFF:  # the bits above tell variants
            case sqlite3.SQLITE_CANTOPEN:
                return BucketNotFound(self.url, creatable=True)
            case sqlite3.SQLITE_BUSY:
                return StoreUnavailable(self.url, "another process is writing to it.", uncertain=False)
            case sqlite3.SQLITE_IOERR:
                return StoreUnavailable(self.url, f"{error}.", uncertain=True)
            case sqlite3.SQLITE_PERM | sqlite3.SQLITE_READONLY:
                return AccessDenied(self.url, "write", f"{error}.", "Check the permissions of the file.")
            case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
                return StoreCorrupt(self.url, f"{error}")
        return StoreError(f"{self.url} can't be used: {error}.")

    def _info(self, db: sqlite3.Connection, key: str) -> ObjectInfo:
        found = self._find(db, key)
        if found is None:
            raise ObjectNotFound(self._url(key))
        return found

    def _find(self, db: sqlite3.Connection, key: str) -> ObjectInfo | None:
        row = db.execute(f"SELECT {COLUMNS} FROM objects WHERE key = ?", (key,)).fetchone()
        return row and _parse(row)

    def _put(
        self, db: sqlite3.Connection, key: str, file: IO[bytes], size: int, sha256: str, expected: Revision | Expect
    ) -> Revision:
        found = self._find(db, key)
        if expected not in (Expect.ANYTHING, Expect.ABSENT if found is None else found.revision):
            raise PreconditionFailed(self._url(key))
        revision = Revision(secrets.token_hex())  # no two states of an object may have the same one
        row = (key, size, revision, datetime.now(UTC).isoformat(), sha256, size)
        query = "INSERT OR REPLACE INTO objects VALUES (?, ?, ?, ?, ?, zeroblob(?)) RETURNING rowid"
        ((rowid,),) = db.execute(query, row).fetchall()
        file.seek(0)  # a retry finds it at its end
        with db.blobopen("objects", "data", rowid) as blob:
            shutil.copyfileobj(file, blob, CHUNK)
        return revision


def _temporary_file() -> IO[bytes]:
    return tempfile.TemporaryFile()


def _parse(row: tuple[Any, ...]) -> ObjectInfo:
    key, size, revision, modified, sha256 = row
    return ObjectInfo(key, size, Revision(revision), datetime.fromisoformat(modified), {"sha256": sha256})
