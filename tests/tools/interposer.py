"""Driver with hooks before and after each call."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Sequence
from datetime import timedelta
from typing import Any, TypeVar

import anyio

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
from aioassets.errors import StoreError, StoreUnavailable
from aioassets.runtime.effects import Effects

T = TypeVar("T")
Hook = Callable[[str, str, str], Awaitable[None]]


async def nothing(moment: str, method: str, key: str) -> None:
    """Do nothing."""


class Interposer:
    """Driver that forwards each call, and awaits `hook("before" or "after", method, key)` around it.

    Attributes:
        calls: method and key of every call, in order.
        hook: may wait, and may raise.
    """

    def __init__(self, driver: Driver, hook: Hook = nothing) -> None:
        self.driver = driver
        self.hook = hook
        self.calls: list[tuple[str, str]] = []

    @property
    def url(self) -> str:
        return self.driver.url

    @property
    def identity(self) -> str:
        return self.driver.identity

    async def read(self, key: str, *, limit: int = MAX_DOCUMENT) -> Document:
        return await self._around("read", key, lambda: self.driver.read(key, limit=limit))

    async def write(
        self, key: str, data: bytes | StreamedDocument, *, expected: Revision | Expect, effects: Effects | None = None
    ) -> Revision:
        return await self._around(
            "write", key, lambda: self.driver.write(key, data, expected=expected, effects=effects)
        )

    async def stat(self, key: str) -> ObjectInfo:
        return await self._around("stat", key, lambda: self.driver.stat(key))

    async def upload(
        self,
        key: str,
        source: Source,
        *,
        expected: Expect = Expect.ABSENT,
        resume: bool = False,
        effects: Effects | None = None,
    ) -> Uploaded:
        return await self._around(
            "upload", key, lambda: self.driver.upload(key, source, expected=expected, resume=resume, effects=effects)
        )

    async def upload_stream(
        self, key: str, stream: Stream, *, expected: Expect = Expect.ABSENT, effects: Effects | None = None
    ) -> Uploaded:
        return await self._around(
            "upload_stream",
            key,
            lambda: self.driver.upload_stream(key, stream, expected=expected, effects=effects),
        )

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
        return await self._around(
            "compose",
            key,
            lambda: self.driver.compose(key, source, runs, expected=expected, resume=resume, effects=effects),
        )

    def composable(self, size: int, runs: Sequence[Run]) -> Sequence[Run]:
        return self.driver.composable(size, runs)

    async def read_range(
        self, key: str, start: int, stop: int, *, revision: Revision | None = None
    ) -> AsyncGenerator[Data, None]:
        self.calls.append(("read_range", key))
        await self.hook("before", "read_range", key)
        async for chunk in self.driver.read_range(key, start, stop, revision=revision):
            yield chunk
        await self.hook("after", "read_range", key)

    def local_path(self, key: str) -> str | None:
        """Return `None`, so that all reads pass the hooks."""

    async def copy(self, source: Driver, info: ObjectInfo, key: str, *, effects: Effects | None = None) -> ObjectInfo:
        inner = source.driver if isinstance(source, Interposer) else source
        return await self._around("copy", key, lambda: self.driver.copy(inner, info, key, effects=effects))

    async def list(self, prefix: str, *, delimiter: str | None = None) -> AsyncIterator[ObjectInfo | CommonPrefix]:
        self.calls.append(("list", prefix))
        await self.hook("before", "list", prefix)
        async for item in self.driver.list(prefix, delimiter=delimiter):
            yield item

    async def delete(self, keys: Iterable[str], *, effects: Effects | None = None) -> None:
        gone = list(keys)
        for key in gone:
            self.calls.append(("delete", key))
            await self.hook("before", "delete", key)
        await self.driver.delete(gone, effects=effects)

    async def open_uploads(self, prefix: str) -> AsyncIterator[OpenUpload]:
        self.calls.append(("open_uploads", prefix))
        await self.hook("before", "open_uploads", prefix)
        async for upload in self.driver.open_uploads(prefix):
            yield upload

    async def abort(self, upload: OpenUpload) -> None:
        await self._around("abort", upload.key, lambda: self.driver.abort(upload))

    async def presign(self, key: str, expires: timedelta) -> str:
        return await self._around("presign", key, lambda: self.driver.presign(key, expires))

    async def keeps_deleted(self) -> bool | None:
        return await self.driver.keeps_deleted()

    async def aclose(self) -> None:
        await self.driver.aclose()

    async def _around(self, method: str, key: str, call: Callable[[], Awaitable[T]]) -> T:
        self.calls.append((method, key))
        await self.hook("before", method, key)
        result = await call()
        await self.hook("after", method, key)
        return result


class Pause:
    """Hook that stops at one call until the test lets it continue.

    Args:
        moment: `before` or `after`.
        method: the driver's method.
        ending: the end of the key.
        nth: the number of the call among these.
        wait: what to do instead of waiting for the test.
    """

    def __init__(
        self,
        moment: str,
        method: str,
        ending: str,
        nth: int = 1,
        *,
        wait: Callable[[], Awaitable[object]] | None = None,
    ) -> None:
        self._where = (moment, method, ending)
        self._left = nth
        self.reached = anyio.Event()
        self.go_on = anyio.Event()
        self._wait = wait or self.go_on.wait

    async def __call__(self, moment: str, method: str, key: str) -> None:
        wanted_moment, wanted_method, ending = self._where
        if (moment, method) == (wanted_moment, wanted_method) and key.endswith(ending):
            self._left -= 1
            if self._left == 0:
                self.reached.set()
                await self._wait()

    async def reached_by(self, task: asyncio.Future[Any]) -> None:
        """Wait until the task reaches the call. If the task ends before that, raise its error."""
        reaching = asyncio.ensure_future(self.reached.wait())
        await asyncio.wait([task, reaching], return_when=asyncio.FIRST_COMPLETED)
        if not reaching.done():
            reaching.cancel()
            raise AssertionError(f"it ended before it was at {self._where}: {await task}")


def failure(*, uncertain: bool = False) -> StoreError:
    """Return an error of an available store, after which the push isn't retried."""
    error = StoreError("a test says so.")
    error.uncertain = uncertain
    return error


class Fail:
    """Hook that fails one call or several.

    Args:
        moment: `before` (the store gets no request) or `after` (its response is lost).
        method: the driver's method.
        ending: the end of the key.
        error: the error to raise.
        times: how many calls fail.
    """

    def __init__(self, moment: str, method: str, ending: str, error: Exception | None = None, times: int = 1) -> None:
        self._where = (moment, method, ending)
        self._error = error or StoreUnavailable("the store", "a test says so.", uncertain=moment == "after")
        self._times = times

    async def __call__(self, moment: str, method: str, key: str) -> None:
        wanted_moment, wanted_method, ending = self._where
        if (moment, method) == (wanted_moment, wanted_method) and key.endswith(ending) and self._times > 0:
            self._times -= 1
            raise self._error


class LostAnswers(Interposer):
    """Driver that sends every write and upload twice, like a retry after a lost response."""

    async def write(
        self, key: str, data: bytes | StreamedDocument, *, expected: Revision | Expect, effects: Effects | None = None
    ) -> Revision:
        await self.driver.write(key, data, expected=expected, effects=effects)
        return await self.driver.write(key, data, expected=expected, effects=effects)

    async def upload(
        self,
        key: str,
        source: Source,
        *,
        expected: Expect = Expect.ABSENT,
        resume: bool = False,
        effects: Effects | None = None,
    ) -> Uploaded:
        await self.driver.upload(key, source, expected=expected, effects=effects)
        return await self.driver.upload(key, source, expected=expected, effects=effects)
