"""Driver of the simulated store, with multipart uploads like S3 and a real dispatcher."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import TypeVar

from aioassets.drivers.contents import copied_before, present, revision_of_same, upload_by
from aioassets.drivers.parts import PartedUpload, UploadDropped, restarted
from aioassets.drivers.protocol import (
    MAX_DOCUMENT,
    CommonPrefix,
    Data,
    Document,
    Driver,
    Expect,
    NoComposition,
    NoLocalFiles,
    NoObjectVersions,
    NoPresigning,
    ObjectInfo,
    OpenUpload,
    Revision,
    Source,
    StreamedDocument,
    Uploaded,
)
from aioassets.drivers.spooling import NoStreams
from aioassets.errors import NotSameStore, PreconditionFailed, StoreUnavailable
from aioassets.runtime.dispatch import Dispatcher
from aioassets.runtime.effects import Effects
from simulation.network import URL, Network
from simulation.server import NoSuchUpload, Server

T = TypeVar("T")
PART = 8
"""Size of a part in bytes. Longer blobs are uploaded in several parts."""
CRITICAL = 3.0
"""Factor by which faults of document requests are more frequent, since the protocol relies on them."""


class SimulatedDriver(NoLocalFiles, NoObjectVersions, NoComposition, NoStreams, NoPresigning):
    """Connection of one process to the store.

    Args:
        server: the store.
        network: the simulated network.
        dispatcher: the budget and retries of the process.
        url: the URL of the store. Drivers with different URLs can't copy from each other, although they share a server.
    """

    def __init__(self, server: Server, network: Network, dispatcher: Dispatcher, url: str = URL) -> None:
        self.url = self.identity = url
        self._server = server
        self._network = network
        self._dispatcher = dispatcher

    async def _send(
        self, what: str, effect: Callable[[float], T], *, weight: float = 1.0, effects: Effects | None = None
    ) -> T:
        return await self._dispatcher.send(lambda: self._network.exchange(what, effect, weight=weight), effects=effects)

    async def read(self, key: str, *, limit: int = MAX_DOCUMENT) -> Document:
        return await self._send(f"read {key}", lambda skew: self._server.read(key, skew), weight=0.0)

    async def write(
        self, key: str, data: bytes | StreamedDocument, *, expected: Revision | Expect, effects: Effects | None = None
    ) -> Revision:
        content = bytes(data)
        what = self._network.described(key, content, expected)
        return await self._send(
            what, lambda skew: self._server.write(key, content, expected, skew), weight=CRITICAL, effects=effects
        )

    async def stat(self, key: str) -> ObjectInfo:
        return await self._send(f"stat {key}", lambda _: self._server.stat(key), weight=0.0)

    async def upload(
        self,
        key: str,
        source: Source,
        *,
        expected: Expect = Expect.ABSENT,
        resume: bool = False,
        effects: Effects | None = None,
    ) -> Uploaded:
        in_parts = source.size > PART and not key.endswith(".chunks")  # documents are small
        send = partial(self._put_in_parts if in_parts else self._put, effects=effects)
        if in_parts:  # like the S3 driver; the parts of a killed push might be completed late
            for upload in [each async for each in self.open_uploads(key)]:
                await self.abort(upload)
        return await upload_by(send, self, key, source, expected, look_first=in_parts or resume)

    async def _put(self, key: str, source: Source, expected: Expect, *, effects: Effects | None) -> Revision:
        data = bytes(await source.read(0, source.size))
        return await self._send(
            f"put {key} {data!r}", lambda skew: self._server.write(key, data, expected, skew), effects=effects
        )

    async def _put_in_parts(self, key: str, source: Source, expected: Expect, *, effects: Effects | None) -> Revision:
        def upload(_: int) -> Awaitable[Revision]:
            return _Parts(self, key, source, expected, effects).run()

        return await restarted(upload, partial(revision_of_same, self, key, source), self.url)

    async def begin(self, key: str) -> str:
        """Begin an upload in parts, and return its id."""
        return await self._step(f"begin {key}", lambda skew: self._server.begin(key, skew))

    async def send_part(self, upload: str, number: int, data: bytes) -> None:
        """Send a part of an upload."""
        await self._step(f"part {number} of {upload}", lambda _: self._server.send_part(upload, number, data))

    async def complete(self, key: str, upload: str, expected: Expect, effects: Effects | None) -> Revision:
        """Complete an upload."""
        return await self._send(
            f"complete {key} {upload}", lambda skew: self._server.complete(upload, expected, skew), effects=effects
        )

    async def _step(self, what: str, effect: Callable[[float], T]) -> T:
        """Send a request that can't create an object, so that its failure is certain."""

        async def exchange() -> T:
            try:
                return await self._network.exchange(what, effect, weight=1.0)
            except StoreUnavailable as error:
                raise StoreUnavailable(URL, "no answer.", uncertain=False, throttled=error.throttled) from error

        return await self._dispatcher.send(exchange)

    async def read_range(
        self, key: str, start: int, stop: int, *, revision: Revision | None = None
    ) -> AsyncGenerator[Data, None]:
        def effect(_: float) -> bytes:
            found = self._server.read(key, 0.0)
            if revision is not None and found.revision != revision:
                raise PreconditionFailed(key)
            return found.data[start:stop]

        if data := await self._send(f"get {key}", effect, weight=0.0):
            yield data

    async def copy(self, source: Driver, info: ObjectInfo, key: str, *, effects: Effects | None = None) -> ObjectInfo:
        if not isinstance(source, SimulatedDriver) or source.url != self.url:
            raise NotSameStore(info.key)
        try:
            return await self._copy(info, key, effects)
        except PreconditionFailed:  # on the original or the target, or an earlier attempt succeeded
            return await copied_before(source, info, self, partial(self.stat, key))

    async def _copy(self, info: ObjectInfo, key: str, effects: Effects | None) -> ObjectInfo:
        """Look first, as the S3 driver does, because the store may ignore the condition."""
        if await present(self, key) is not None:
            raise PreconditionFailed(key)
        return await self._send(
            f"copy {info.key} at {info.revision} to {key}",
            lambda skew: self._server.copy(info.key, info.revision, key, skew),
            effects=effects,
        )

    async def list(self, prefix: str, *, delimiter: str | None = None) -> AsyncIterator[ObjectInfo | CommonPrefix]:
        after, more = "", True
        while more:
            page = await self._list(prefix, delimiter, after)
            for item in page:
                yield item
                after = item.prefix if isinstance(item, CommonPrefix) else item.key
            more = len(page) > 0

    async def _list(self, prefix: str, delimiter: str | None, after: str) -> Sequence[ObjectInfo | CommonPrefix]:
        return await self._send(
            f"list {prefix} after {after!r}", lambda _: self._server.list(prefix, delimiter, after), weight=0.0
        )

    async def delete(self, keys: Iterable[str], *, effects: Effects | None = None) -> None:
        for key in keys:
            await self._delete(key, effects)

    async def _delete(self, key: str, effects: Effects | None) -> None:
        await self._send(f"delete {key}", lambda _: self._server.delete(key), effects=effects)

    async def open_uploads(self, prefix: str) -> AsyncIterator[OpenUpload]:
        found = await self._send(f"uploads {prefix}", lambda _: self._server.open_uploads(prefix), weight=0.0)
        for upload in found:
            yield upload

    async def abort(self, upload: OpenUpload) -> None:
        await self._send(f"abort {upload.key} {upload.id}", lambda _: self._server.abort(upload.id))

    async def aclose(self) -> None:
        pass


class _Parts(PartedUpload[Revision]):
    """Upload of one object in parts, like those of the S3 driver."""

    def __init__(
        self, driver: SimulatedDriver, key: str, source: Source, expected: Expect, effects: Effects | None
    ) -> None:
        self._driver = driver
        self._key = key
        self._source = source
        self._expected = expected
        self._effects = effects
        self._id: str | None = None
        self._has_parts = False

    @property
    def is_resumable(self) -> bool:
        return self._has_parts

    async def _open(self) -> None:
        self._id = await self._driver.begin(self._key)

    async def _send_parts(self) -> None:
        assert self._id is not None
        with _dropped():
            for number, offset in enumerate(range(0, self._source.size, PART)):
                data = bytes(await self._source.read(offset, min(PART, self._source.size - offset)))
                await self._driver.send_part(self._id, number, data)
                self._has_parts = True

    async def _complete(self) -> Revision:
        assert self._id is not None
        with _dropped():
            return await self._driver.complete(self._key, self._id, self._expected, self._effects)

    async def _remove_rest(self, *, completed: bool) -> None:
        async for upload in self._driver.open_uploads(self._key):
            if self._id in (None, upload.id):
                await self._driver.abort(upload)


@contextlib.contextmanager
def _dropped() -> Iterator[None]:
    """Raise `UploadDropped` where another process completed or aborted an upload."""
    try:
        yield
    except NoSuchUpload as error:
        raise UploadDropped from error
