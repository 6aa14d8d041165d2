"""The in-memory driver, for tests and examples."""

from __future__ import annotations

import hashlib
import itertools
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from anyio.lowlevel import checkpoint

from aioassets.drivers.bodies import check_document, joined
from aioassets.drivers.composition import UNLIMITED, Piece, compose_by, copied_runs
from aioassets.drivers.contents import find_same
from aioassets.drivers.protocol import (
    MAX_DOCUMENT,
    CommonPrefix,
    Data,
    Document,
    Driver,
    Expect,
    NoLocalFiles,
    NoObjectVersions,
    NoOpenUploads,
    NoPresigning,
    ObjectInfo,
    Revision,
    Run,
    Source,
    Stream,
    StreamedDocument,
    Uploaded,
)
from aioassets.errors import CannotCompose, NotSameStore, ObjectNotFound, PreconditionFailed
from aioassets.model.digests import SHA256
from aioassets.runtime.dispatch import Dispatcher
from aioassets.runtime.effects import Effects

__all__ = ["MemoryDriver"]

CHUNK = 1024 * 1024


@dataclass(frozen=True, slots=True)
class _Object:
    data: bytes
    revision: Revision
    modified: datetime
    sha256: str


class MemoryDriver(NoLocalFiles, NoOpenUploads, NoObjectVersions, NoPresigning):
    """An in-memory store that lives as long as this object.

    Args:
        name: the name to use in the URL, `memory://name`.
        dispatcher: the dispatcher whose budget limits uploads and reads.
    """

    def __init__(self, name: str = "memory", *, dispatcher: Dispatcher | None = None) -> None:
        self.url = f"memory://{name}"
        self.identity = f"{self.url}#{secrets.token_hex(8)}"  # an `id` could recur in another process
        self._dispatcher = dispatcher or Dispatcher()
        self._objects: dict[str, _Object] = {}
        self._generations = itertools.count(1)

    async def read(self, key: str, *, limit: int = MAX_DOCUMENT) -> Document:
        await checkpoint()
        found = self._get(key)
        check_document(len(found.data), limit, self._url(key))
        return Document(found.data, found.revision, found.modified, datetime.now(UTC))

    async def write(
        self, key: str, data: bytes | StreamedDocument, *, expected: Revision | Expect, effects: Effects | None = None
    ) -> Revision:
        content = await joined(data)
        await checkpoint()
        found = self._objects.get(key)
        if expected is Expect.ABSENT:
            refused = found is not None
        else:
            refused = expected is not Expect.ANYTHING and (found is None or found.revision != expected)
        if refused:
            raise PreconditionFailed(self._url(key))
        return self._put(key, content).revision

    async def stat(self, key: str) -> ObjectInfo:
        await checkpoint()
        return self._info(key)

    async def upload(
        self,
        key: str,
        source: Source,
        *,
        expected: Expect = Expect.ABSENT,
        resume: bool = False,
        effects: Effects | None = None,
    ) -> Uploaded:
        if resume and expected is Expect.ABSENT and (found := await find_same(self, key, source)) is not None:
            return Uploaded(created=False, revision=found.revision)
        async with self._dispatcher.budget.slot(source.size):
            pieces = [
                await source.read(offset, min(CHUNK, source.size - offset)) for offset in range(0, source.size, CHUNK)
            ]
            return self._created(key, b"".join(pieces), expected)

    async def upload_stream(
        self, key: str, stream: Stream, *, expected: Expect = Expect.ABSENT, effects: Effects | None = None
    ) -> Uploaded:
        content, buffer = bytearray(), memoryview(bytearray(CHUNK))
        while count := await stream.readinto(buffer):
            content += buffer[:count]
            await checkpoint()
        return self._created(key, bytes(content), expected)

    def _created(self, key: str, data: bytes, expected: Expect) -> Uploaded:
        present = self._objects.get(key)
        if present is not None and expected is Expect.ABSENT:
            if present.data != data:
                raise PreconditionFailed(self._url(key))
            return Uploaded(created=False, revision=present.revision)
        return Uploaded(created=True, revision=self._put(key, data).revision)

    async def compose(
        self,
        key: str,
        source: Source,
        runs: Sequence[Run],
        *,
        expected: Expect = Expect.ABSENT,
        resume: bool = False,
        effects: Effects | None = None,
    ) -> Uploaded:
        return await compose_by(self._composed, self, key, source, runs, expected, limits=UNLIMITED)

    def composable(self, size: int, runs: Sequence[Run]) -> Sequence[Run]:
        return copied_runs(size, runs, UNLIMITED)

    async def _composed(self, pieces: Sequence[Piece], key: str, source: Source, expected: Expect) -> Revision:
        async with self._dispatcher.budget.slot(source.size):
            data = b"".join([await self._bytes_of(piece, source) for piece in pieces])
            if source.digests.get(SHA256) != hashlib.sha256(data).hexdigest():
                raise CannotCompose(self._url(key))
            if expected is Expect.ABSENT and key in self._objects:
                raise PreconditionFailed(self._url(key))
            return self._put(key, data).revision

    async def _bytes_of(self, piece: Piece, source: Source) -> Data:
        if piece.run is None:
            return await source.read(piece.offset, piece.size)
        original = self._objects.get(piece.run.info.key)
        if original is None or original.revision != piece.run.info.revision:
            raise CannotCompose(self._url(piece.run.info.key))
        start, stop = piece.span
        return original.data[start:stop]

    async def read_range(
        self, key: str, start: int, stop: int, *, revision: Revision | None = None
    ) -> AsyncGenerator[bytes, None]:
        async with self._dispatcher.budget.slot(stop - start):
            found = self._get(key)
            if revision is not None and found.revision != revision:
                raise PreconditionFailed(self._url(key))
            stop = min(stop, len(found.data))
            for offset in range(start, stop, CHUNK):
                await checkpoint()
                yield found.data[offset : min(offset + CHUNK, stop)]

    async def copy(self, source: Driver, info: ObjectInfo, key: str, *, effects: Effects | None = None) -> ObjectInfo:
        """Copy an object between memory drivers; see `Driver.copy`."""
        await checkpoint()
        if not isinstance(source, MemoryDriver):
            raise NotSameStore(f"{source.url}/{info.key}")
        original = source._get(info.key)  # noqa: SLF001 - an instance of the same class
        if original.revision != info.revision:
            raise PreconditionFailed(f"{source.url}/{info.key}")
        present = self._objects.get(key)
        if present is None:
            self._put(key, original.data)
        elif present.data != original.data:
            raise PreconditionFailed(self._url(key))
        return self._info(key)

    async def list(self, prefix: str, *, delimiter: str | None = None) -> AsyncIterator[ObjectInfo | CommonPrefix]:
        await checkpoint()
        folded = ""
        for key in sorted(key for key in self._objects if key.startswith(prefix)):
            head, found, _ = key[len(prefix) :].partition(delimiter) if delimiter else (key, "", "")
            if found:
                if prefix + head + found != folded:
                    folded = prefix + head + found
                    yield CommonPrefix(folded)
            elif key in self._objects:
                yield self._info(key)

    async def delete(self, keys: Iterable[str], *, effects: Effects | None = None) -> None:
        await checkpoint()
        for key in keys:
            self._objects.pop(key, None)

    async def aclose(self) -> None:
        """Do nothing: the objects are kept."""

    def _url(self, key: str) -> str:
        return f"{self.url}/{key}"

    def _get(self, key: str) -> _Object:
        try:
            return self._objects[key]
        except KeyError:
            raise ObjectNotFound(self._url(key)) from None

    def _info(self, key: str) -> ObjectInfo:
        found = self._get(key)
        return ObjectInfo(key, len(found.data), found.revision, found.modified, {"sha256": found.sha256})

    def _put(self, key: str, data: Data) -> _Object:
        revision = Revision(str(next(self._generations)))
        made = _Object(bytes(data), revision, datetime.now(UTC), hashlib.sha256(data).hexdigest())
        self._objects[key] = made
        return made
