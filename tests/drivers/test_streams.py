"""Streams that are uploaded in parts: how large the parts are, and what of them stays in memory."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from itertools import pairwise
from pathlib import Path

import anyio
import pytest
from anyio.lowlevel import checkpoint

from aioassets import Budget, Dispatcher, MemoryDriver, StoreError, StoreUnavailable
from aioassets.drivers.parts import UploadDropped
from aioassets.drivers.protocol import Expect, Revision, Stream
from aioassets.drivers.spooling import NoStreams
from aioassets.drivers.streams import HEAD, PartStream, send_as_read, upload_stream_by
from aioassets.testing.requests import read_all
from aioassets.testing.sources import BrokenSource, BytesSource, BytesStream

pytestmark = pytest.mark.once

MIB = 1024 * 1024
PART = 2 * HEAD
TIB = 1024**4


class Endless:
    """Stream of a given size whose bytes are never touched, so that it takes no time."""

    def __init__(self, size: int) -> None:
        self.size = 0
        self.left = size

    @property
    def digests(self) -> Mapping[str, str]:
        return {}

    async def readinto(self, buffer: memoryview) -> int:
        count = min(len(buffer), self.left)
        self.left -= count
        self.size += count
        return count


async def read_parts(stream: Stream, part_size: int, max_parts: int | None = None) -> list[int]:
    """Return the sizes of the parts, each of which is acknowledged before the next one is read."""
    async with PartStream(stream, Budget(nbytes=MIB), part_size, max_parts) as parts:
        while not parts.has_ended:
            parts.acknowledge(parts.pieces[-1].offset)
            await parts.advance()
    return [piece.size for piece in parts.pieces]


@pytest.mark.parametrize("rest", [-1, 0, 1, HEAD, PART - 1])
async def test_all_parts_but_the_last_have_the_same_size(rest: int) -> None:
    assert await read_parts(Endless(2 * PART + rest), PART) == [PART] * (2 if rest > 0 else 1) + [
        PART + rest if rest <= 0 else rest
    ]


async def test_a_stream_of_the_largest_size_fits_into_the_allowed_parts() -> None:
    """The first parts have the usual size, and the largest isn't more than S3 allows, which is 5 GiB."""
    sizes = await read_parts(Endless(5 * TIB), 5 * MIB, max_parts=10_000)
    assert len(sizes) <= 10_000
    assert sizes[:1000] == [5 * MIB] * 1000
    assert all(before <= after for before, after in pairwise(sizes[:-1]))
    assert max(sizes) <= 5 * 1024 * MIB


async def test_a_part_is_kept_until_it_and_all_before_it_are_acknowledged() -> None:
    memory = Budget(nbytes=10 * PART)
    async with PartStream(Endless(5 * PART), memory, PART) as parts:
        await parts.advance()
        await parts.advance()
        parts.acknowledge(PART)
        assert memory.bytes_in_flight == 3 * PART
        assert len(await parts.read(PART, PART)) == PART
        parts.acknowledge(0)
        assert memory.bytes_in_flight == PART
        with pytest.raises(RuntimeError, match="not in memory"):
            await parts.read(0, 1)
    assert memory.bytes_in_flight == 0


async def test_streams_share_a_limit_on_memory() -> None:
    """They read on when the store has acknowledged parts."""
    memory, sent = Budget(nbytes=4 * PART), list[int]()
    go_on = anyio.Event()

    async def send(number: int, offset: int, has_read: Callable[[], None]) -> None:
        has_read()
        sent.append(number)
        await go_on.wait()

    async def upload(stream: Stream) -> None:
        async with PartStream(stream, memory, PART) as parts:
            await send_as_read(parts, send, 0)

    streams = [Endless(50 * PART) for _ in range(3)]
    async with anyio.create_task_group() as tasks:
        for stream in streams:
            tasks.start_soon(upload, stream)
        for _ in range(100):
            await checkpoint()
            assert memory.bytes_in_flight <= 4 * PART
        assert len(sent) == 4
        assert sum(stream.size for stream in streams) <= 4 * PART + 3 * HEAD
        go_on.set()
    assert len(sent) == 150
    assert memory.bytes_in_flight == 0


async def test_a_stream_that_fails_frees_its_memory() -> None:
    memory = Budget(nbytes=4 * PART)
    for stop in (100, PART + 100):
        with pytest.raises(BrokenSource):
            async with PartStream(BytesStream(bytes(3 * PART), stop), memory, PART) as parts:
                await parts.advance()
        assert memory.bytes_in_flight == 0


async def test_short_streams_do_not_wait_for_memory() -> None:
    memory = Budget(nbytes=PART)
    await memory.acquire(PART, urgent=False)
    async with PartStream(Endless(HEAD - 1), memory, PART) as parts:
        assert parts.has_ended


@pytest.mark.parametrize("completed", [False, True])
async def test_a_dropped_upload_can_not_be_restarted(completed: bool) -> None:
    """Unless it was completed, and the response was lost."""
    driver, data = MemoryDriver(dispatcher=Dispatcher()), bytes(2 * PART)

    async def send() -> Revision:
        while not parts.has_ended:
            await parts.advance()
        if completed:
            await driver.upload("key", BytesSource(data))
        raise UploadDropped

    async with PartStream(BytesStream(data), Budget(nbytes=MIB), PART) as parts:
        upload = partial(upload_stream_by, send, driver, "key", parts, Expect.ABSENT, None)
        if completed:
            assert (await upload()).revision == (await driver.stat("key")).revision
            return
        with pytest.raises(StoreUnavailable, match="it dropped the upload of a stream, which can't be read again"):
            await upload()


class Spooling(NoStreams, MemoryDriver):
    """Driver that can't upload streams, as those of other packages."""


async def test_a_driver_without_streams_uploads_a_temporary_file() -> None:
    driver, data = Spooling(dispatcher=Dispatcher()), bytes(range(256)) * 12_000
    assert (await driver.upload_stream("key", BytesStream(data))).created
    assert await read_all(driver, "key", 0, len(data)) == data


async def test_a_temporary_file_that_can_not_be_written_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    with pytest.raises(StoreError, match=r"Cannot upload memory://memory/key: .*missing': No such file"):
        await Spooling(dispatcher=Dispatcher()).upload_stream("key", BytesStream(b""))
