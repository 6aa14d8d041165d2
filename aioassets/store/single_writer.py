"""A driver for stores that don't support conditional writes."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Sequence
from datetime import timedelta

from aioassets.drivers.contents import has_bytes_of, present
from aioassets.drivers.protocol import (
    MAX_DOCUMENT,
    CommonPrefix,
    Data,
    Document,
    Driver,
    Expect,
    ObjectInfo,
    OpenUpload,
    Revision,
    Run,
    Source,
    Stream,
    StreamedDocument,
    Uploaded,
)
from aioassets.errors import BucketNotFound, ObjectNotFound, PreconditionFailed
from aioassets.runtime.effects import Effects
from aioassets.store.documents import read_small_first


class SingleWriter:
    """A driver for stores that don't support conditional writes. It checks the conditions itself before each write.

    This is only safe while there is no other writer, which the user has to ensure.

    Args:
        driver: the underlying driver, whose methods are called.
    """

    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    @property
    def url(self) -> str:
        return self._driver.url

    @property
    def identity(self) -> str:
        return self._driver.identity

    async def read(self, key: str, *, limit: int = MAX_DOCUMENT) -> Document:
        return await self._driver.read(key, limit=limit)

    async def write(
        self, key: str, data: bytes | StreamedDocument, *, expected: Revision | Expect, effects: Effects | None = None
    ) -> Revision:
        if expected is not Expect.ANYTHING and expected != await self._revision(key):
            raise PreconditionFailed(f"{self.url}/{key}")
        return await self._driver.write(key, data, expected=Expect.ANYTHING, effects=effects)

    async def _revision(self, key: str) -> Revision | Expect:
        """Return the revision of a document, or `Expect.ABSENT`. Don't use `stat`, which may report a different one."""

        async def read(size: int) -> Document:
            return await self._driver.read(key, limit=size)

        try:
            return (await read_small_first(read, MAX_DOCUMENT, "a document")).revision
        except ObjectNotFound:
            return Expect.ABSENT
        except BucketNotFound as error:
            if error.creatable:  # the first write creates it
                return Expect.ABSENT
            raise

    async def stat(self, key: str) -> ObjectInfo:
        return await self._driver.stat(key)

    async def upload(
        self,
        key: str,
        source: Source,
        *,
        expected: Expect = Expect.ABSENT,
        resume: bool = False,
        effects: Effects | None = None,
    ) -> Uploaded:
        if expected is Expect.ABSENT and (found := await self._same(key, source)) is not None:
            return Uploaded(created=False, revision=found.revision)
        return await self._driver.upload(key, source, expected=Expect.ANYTHING, resume=resume, effects=effects)

    async def upload_stream(
        self, key: str, stream: Stream, *, expected: Expect = Expect.ABSENT, effects: Effects | None = None
    ) -> Uploaded:
        if expected is Expect.ABSENT and await present(self._driver, key) is not None:
            raise PreconditionFailed(f"{self.url}/{key}")
        return await self._driver.upload_stream(key, stream, expected=Expect.ANYTHING, effects=effects)

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
        if expected is Expect.ABSENT and (found := await self._same(key, source)) is not None:
            return Uploaded(created=False, revision=found.revision)
        return await self._driver.compose(key, source, runs, expected=Expect.ANYTHING, resume=resume, effects=effects)

    def composable(self, size: int, runs: Sequence[Run]) -> Sequence[Run]:
        return self._driver.composable(size, runs)

    async def _same(self, key: str, source: Source) -> ObjectInfo | None:
        """Return the object with this key if it has the contents of the source, or `None` if there is no object.

        Raises:
            PreconditionFailed: the contents differ.
        """
        found = await present(self._driver, key)
        if found is not None and not await has_bytes_of(self._driver, found, source):
            raise PreconditionFailed(f"{self.url}/{key}")
        return found

    def read_range(
        self, key: str, start: int, stop: int, *, revision: Revision | None = None
    ) -> AsyncGenerator[Data, None]:
        return self._driver.read_range(key, start, stop, revision=revision)

    def local_path(self, key: str) -> str | None:
        return self._driver.local_path(key)

    async def copy(self, source: Driver, info: ObjectInfo, key: str, *, effects: Effects | None = None) -> ObjectInfo:
        return await self._driver.copy(source, info, key, effects=effects)

    def list(self, prefix: str, *, delimiter: str | None = None) -> AsyncIterator[ObjectInfo | CommonPrefix]:
        return self._driver.list(prefix, delimiter=delimiter)

    async def delete(self, keys: Iterable[str], *, effects: Effects | None = None) -> None:
        await self._driver.delete(keys, effects=effects)

    def open_uploads(self, prefix: str) -> AsyncIterator[OpenUpload]:
        return self._driver.open_uploads(prefix)

    async def abort(self, upload: OpenUpload) -> None:
        await self._driver.abort(upload)

    async def presign(self, key: str, expires: timedelta) -> str:
        return await self._driver.presign(key, expires)

    async def keeps_deleted(self) -> bool | None:
        return await self._driver.keeps_deleted()

    async def aclose(self) -> None:
        await self._driver.aclose()
