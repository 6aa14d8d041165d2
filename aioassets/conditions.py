"""Whether a store honours conditional writes, and how to do without."""

from __future__ import annotations

import contextlib
import hashlib
import json
import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable
from pathlib import Path
from typing import Final

import anyio

from aioassets.cache import write_atomically
from aioassets.concurrency import tidying
from aioassets.drivers._contents import has_bytes_of, present
from aioassets.drivers.protocol import (
    MAX_DOCUMENT,
    SMALL_DOCUMENT,
    CommonPrefix,
    Data,
    Document,
    Driver,
    Expect,
    ObjectInfo,
    OpenUpload,
    Revision,
    Source,
    Text,
    Uploaded,
)
from aioassets.errors import (
    AioAssetsError,
    BucketNotFound,
    DocumentTooLarge,
    ObjectNotFound,
    PreconditionFailed,
    StoreUnsuitable,
)
from aioassets.layout import Layout
from aioassets.threads import in_thread

REMEMBER: Final = 7 * 24 * 3600.0
"""Seconds that a store is taken to stay as it was found."""


async def probe(driver: Driver, layout: Layout) -> None:
    """Try on a scratch key whether the store refuses what must be refused.

    What can't be tried is whether it does so atomically.

    Raises:
        StoreUnsuitable: it doesn't, and says what it did instead.
    """
    key = layout.scratch(secrets.token_hex(16))
    try:
        first = await _must_succeed(driver, key, b"1", Expect.ABSENT, "create a new object")
        await _must_be_refused(driver, key, b"2", Expect.ABSENT, "it created an object that existed already")
        await _must_succeed(driver, key, b"3", first, "replace an object at the very revision it had given")
        await _must_be_refused(driver, key, b"4", first, "it replaced an object that was at another revision")
    finally:
        # What was found out matters more than whether the scratch object could be removed.
        with tidying(), contextlib.suppress(AioAssetsError):
            await driver.delete([key])


class Verdicts:
    """Remembers for a week which stores were found suitable.

    Args:
        folder: where; one that can't be written is no error.
        now: the time, in seconds since the epoch.
    """

    def __init__(self, folder: Path, *, now: Callable[[], float] = time.time) -> None:
        self._folder = folder
        self._now = now
        self._suitable: set[str] = set()
        self._probing = anyio.Lock()

    async def require(self, driver: Driver, layout: Layout) -> None:
        """Probe a store, unless that was done lately.

        Raises:
            StoreUnsuitable: it doesn't honour conditions.
        """
        identity = f"{driver.identity}/{layout.prefix}"
        async with self._probing:
            if identity in self._suitable:
                return
            note = self._folder / f"{hashlib.sha256(identity.encode()).hexdigest()[:32]}.json"
            if not await in_thread(self._is_fresh, note):
                await probe(driver, layout)
                await in_thread(self._remember, note, identity)
            self._suitable.add(identity)

    def _is_fresh(self, note: Path) -> bool:
        try:
            probed = float(json.loads(note.read_bytes())["probed"])
        except (OSError, ValueError, KeyError, TypeError):
            return False
        return 0 <= self._now() - probed < REMEMBER

    def _remember(self, note: Path, identity: str) -> None:
        with contextlib.suppress(OSError):
            for old in self._folder.glob("*.json"):
                if not self._is_fresh(old):
                    old.unlink(missing_ok=True)
            self._folder.mkdir(parents=True, exist_ok=True)
            data = json.dumps({"store": identity, "probed": self._now()}).encode()
            write_atomically(note, lambda file: file.write(data))


async def _must_succeed(driver: Driver, key: str, data: bytes, expected: Revision | Expect, what: str) -> Revision:
    try:
        return await driver.write(key, data, expected=expected)
    except PreconditionFailed:
        # Perhaps our own write, whose answer was lost and which was sent again.
        found = await _read(driver, key)
        if found is None or found.data != data:
            raise StoreUnsuitable(driver.url, f"it refused to {what}") from None
        return found.revision


async def _must_be_refused(driver: Driver, key: str, data: bytes, expected: Revision | Expect, what: str) -> None:
    try:
        await driver.write(key, data, expected=expected)
    except PreconditionFailed:
        return
    raise StoreUnsuitable(driver.url, what)


async def _read(driver: Driver, key: str) -> Document | None:
    try:
        return await _read_any(driver, key)
    except ObjectNotFound:
        return None
    except BucketNotFound as error:
        if error.creatable:  # by the write that follows
            return None
        raise


async def _read_any(driver: Driver, key: str) -> Document:
    try:
        return await driver.read(key, limit=SMALL_DOCUMENT)
    except DocumentTooLarge:
        return await driver.read(key, limit=MAX_DOCUMENT)


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

    async def write(self, key: str, data: bytes | Text, *, expected: Revision | Expect) -> Revision:
        """See `Driver.write`."""
        found = await _read(self._driver, key)
        present = Expect.ABSENT if found is None else found.revision
        if expected not in (present, Expect.ANYTHING):
            raise PreconditionFailed(f"{self.url}/{key}")
        return await self._driver.write(key, data, expected=Expect.ANYTHING)

    async def stat(self, key: str) -> ObjectInfo:
        """See `Driver.stat`."""
        return await self._driver.stat(key)

    async def upload(
        self, key: str, source: Source, *, expected: Expect = Expect.ABSENT, resume: bool = False
    ) -> Uploaded:
        """See `Driver.upload`."""
        if expected is Expect.ABSENT and (found := await present(self._driver, key)) is not None:
            if await has_bytes_of(self._driver, found, source):
                return Uploaded(created=False)
            raise PreconditionFailed(f"{self.url}/{key}")
        return await self._driver.upload(key, source, expected=Expect.ANYTHING, resume=resume)

    def read_range(
        self, key: str, start: int, stop: int, *, revision: Revision | None = None
    ) -> AsyncGenerator[Data, None]:
        """See `Driver.read_range`."""
        return self._driver.read_range(key, start, stop, revision=revision)

    def local_path(self, key: str) -> str | None:
        """See `Driver.local_path`."""
        return self._driver.local_path(key)

    async def copy(self, source: Driver, info: ObjectInfo, key: str) -> ObjectInfo:
        """See `Driver.copy`."""
        return await self._driver.copy(source, info, key)

    def list(self, prefix: str, *, delimiter: str | None = None) -> AsyncIterator[ObjectInfo | CommonPrefix]:
        """See `Driver.list`."""
        return self._driver.list(prefix, delimiter=delimiter)

    async def delete(self, keys: Iterable[str]) -> None:
        """See `Driver.delete`."""
        await self._driver.delete(keys)

    def open_uploads(self, prefix: str) -> AsyncIterator[OpenUpload]:
        """See `Driver.open_uploads`."""
        return self._driver.open_uploads(prefix)

    async def abort(self, upload: OpenUpload) -> None:
        """See `Driver.abort`."""
        await self._driver.abort(upload)

    async def aclose(self) -> None:
        """See `Driver.aclose`."""
        await self._driver.aclose()
