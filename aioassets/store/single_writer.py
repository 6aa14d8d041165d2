"""A driver for stores without conditional writes."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterable

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
    Source,
    StreamedDocument,
    Uploaded,
)
from aioassets.errors import PreconditionFailed
from aioassets.runtime.effects import Effects
from aioassets.store.probe import read_if_there


class SingleWriter:
    """A driver for stores without conditional writes: looks before it writes.

    That is only safe while nobody else writes, which the user has declared.

    Args:
        driver: the driver to write by.
    """

    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    @property
    def url(self) -> str:
        """See `Driver.url`."""
        return self._driver.url

    @property
    def identity(self) -> str:
        """See `Driver.identity`."""
        return self._driver.identity

    async def read(self, key: str, *, limit: int = MAX_DOCUMENT) -> Document:
        """See `Driver.read`."""
        return await self._driver.read(key, limit=limit)

    async def write(
        self, key: str, data: bytes | StreamedDocument, *, expected: Revision | Expect, effects: Effects | None = None
    ) -> Revision:
        """See `Driver.write`."""
        found = await read_if_there(self._driver, key)
        present = Expect.ABSENT if found is None else found.revision
        if expected not in (present, Expect.ANYTHING):
            raise PreconditionFailed(f"{self.url}/{key}")
        return await self._driver.write(key, data, expected=Expect.ANYTHING, effects=effects)

    async def stat(self, key: str) -> ObjectInfo:
        """See `Driver.stat`."""
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
        """See `Driver.upload`."""
        if expected is Expect.ABSENT and (found := await present(self._driver, key)) is not None:
            if await has_bytes_of(self._driver, found, source):
                return Uploaded(created=False)
            raise PreconditionFailed(f"{self.url}/{key}")
        return await self._driver.upload(key, source, expected=Expect.ANYTHING, resume=resume, effects=effects)

    def read_range(
        self, key: str, start: int, stop: int, *, revision: Revision | None = None
    ) -> AsyncGenerator[Data, None]:
        """See `Driver.read_range`."""
        return self._driver.read_range(key, start, stop, revision=revision)

    def local_path(self, key: str) -> str | None:
        """See `Driver.local_path`."""
        return self._driver.local_path(key)

    async def copy(self, source: Driver, info: ObjectInfo, key: str, *, effects: Effects | None = None) -> ObjectInfo:
        """See `Driver.copy`."""
        return await self._driver.copy(source, info, key, effects=effects)

    def list(self, prefix: str, *, delimiter: str | None = None) -> AsyncIterator[ObjectInfo | CommonPrefix]:
        """See `Driver.list`."""
        return self._driver.list(prefix, delimiter=delimiter)

    async def delete(self, keys: Iterable[str], *, effects: Effects | None = None) -> None:
        """See `Driver.delete`."""
        await self._driver.delete(keys, effects=effects)

    def open_uploads(self, prefix: str) -> AsyncIterator[OpenUpload]:
        """See `Driver.open_uploads`."""
        return self._driver.open_uploads(prefix)

    async def abort(self, upload: OpenUpload) -> None:
        """See `Driver.abort`."""
        await self._driver.abort(upload)

    async def aclose(self) -> None:
        """See `Driver.aclose`."""
        await self._driver.aclose()
