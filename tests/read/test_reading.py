"""Files of versions are read where they are, in order or by ranges, and `verified` tells what was verified."""

from __future__ import annotations

import io
import os
import random
from collections.abc import Mapping

import pytest
from tools.interposer import Interposer

from aioassets import AssetFile, AssetsManager, UsageError
from aioassets.errors import ManagerStateError
from aioassets.read.pieces import Anywhere, Piece
from aioassets.read.ranges import GAP, LONGEST, divided, joined, read_ranges

pytestmark = pytest.mark.once

MIB = 1024 * 1024
Content = Mapping[str, bytes]


async def read_in_order(file: AssetFile, size: int) -> bytes:
    """Read a file by calls for `size` bytes."""
    pieces = []
    while piece := await file.read(size):
        pieces.append(piece)
        assert len(piece) == size or sum(map(len, pieces)) == file.size or size < 0
        assert await file.tell() == sum(map(len, pieces))
    return b"".join(pieces)


@pytest.mark.parametrize("cached", [False, True])
async def test_a_file_that_is_read_in_order_is_verified(manager: AssetsManager, files: Content, cached: bool) -> None:
    if cached:
        await manager.fetch_asset("model")
    for path, content in files.items():
        for size in (-1, 100_000, 3 * MIB):
            async with manager.open(f"model[{path}]") as file:
                assert await read_in_order(file, size) == content
                assert file.verified
                assert file.from_cache is cached
                assert (file.name, file.version, file.path, file.size) == ("model", "0.0", path, len(content))
            async with manager.open(f"model[{path}]", verify=False) as file:
                assert await read_in_order(file, size) == content
                assert file.verified is cached


async def test_parts_are_verified_if_a_file_has_chunks_or_is_small(manager: AssetsManager, files: Content) -> None:
    numbers = random.Random(3)
    for path, content in files.items():
        for verify in (True, False):
            async with manager.open(f"model:0.0[{path}]", verify=verify) as file:
                for count in (0, 1, 2, 50):
                    ends = [sorted(numbers.choices(range(len(content) + 9), k=2)) for _ in range(count)]
                    ranges = [(start, stop) for start, stop in ends]
                    assert await file.read_ranges(ranges) == [content[start:stop] for start, stop in ranges]
                assert file.verified is (verify and path != "sub/plain")
                assert await file.tell() == 0


async def test_verify_false_reads_just_the_bytes(manager: AssetsManager, driver: Interposer, files: Content) -> None:
    async with manager.open("model[large]", verify=False) as file:
        driver.calls.clear()
        assert await file.read_ranges([(MIB, MIB + 10), (3 * MIB, 3 * MIB + 10)]) == [
            files["large"][MIB : MIB + 10],
            files["large"][3 * MIB : 3 * MIB + 10],
        ]
        assert driver.calls == [("read_range", "assets/model/0.0/large")] * 2


async def test_a_file_that_is_not_read_in_order_is_not_verified(manager: AssetsManager, files: Content) -> None:
    content = files["sub/plain"]
    async with manager.open("model[sub/plain]") as file:
        assert await file.read(10) == content[:10]
        assert [file.verified] == [False]
        await file.seek(5)
        assert await file.read() == content[5:]  # those 10 bytes are still in memory, and hashed
        assert [file.verified] == [True]
        await file.seek(-10, os.SEEK_END)
        assert await file.read(20) == content[-10:]
        assert [file.verified] == [True]
        await file.seek(1)
        assert await file.read(5) == content[1:6]
        assert [file.verified] == [False]


async def test_seek_and_readinto(manager: AssetsManager, files: Content) -> None:
    content = files["large"]
    async with manager.open("model[large]") as file:
        assert await file.seek(-7, os.SEEK_END) == len(content) - 7
        assert await file.seek(-3, os.SEEK_CUR) == len(content) - 10
        buffer = bytearray(b"x" * 20)
        assert await file.readinto(buffer) == 10
        assert buffer == content[-10:] + b"x" * 10
        assert await file.readinto(buffer) == 0
        assert await file.seek(len(content) + 5) == await file.tell() == len(content) + 5
        assert await file.read() == b""
        with pytest.raises(UsageError, match="seek to -1"):
            await file.seek(-1)
        with pytest.raises(UsageError, match="whence=9"):
            await file.seek(0, 9)
        for value in ("1", 1.0):
            with pytest.raises(UsageError, match="must be an integer, not"):
                await file.read(value)  # type: ignore[arg-type]
            with pytest.raises(UsageError, match="must be an integer, not"):
                await file.seek(value)  # type: ignore[arg-type]
        for other in (b"bytes", "text", memoryview(bytearray(4))[::2]):
            with pytest.raises(UsageError, match="Cannot read into"):
                await file.readinto(other)  # type: ignore[arg-type]


@pytest.mark.parametrize("path", ["large", "sub/plain"])
async def test_any_calls_give_what_a_local_file_gives(manager: AssetsManager, files: Content, path: str) -> None:
    numbers, content = random.Random(2), files[path]
    for verify in (True, False):
        expected = io.BytesIO(content)
        async with manager.open(f"model:0.0[{path}]", verify=verify) as file:
            for _ in range(60):
                offset = numbers.randrange(len(content) + 9)
                size = numbers.choice([-1, 0, 1, 10, 70_000, 300_000])
                if numbers.random() < 0.3:
                    assert await file.seek(offset) == expected.seek(offset)
                assert await file.read(size) == expected.read(size)
                assert await file.tell() == expected.tell()


class TestArguments:
    @pytest.mark.parametrize("ranges", [[(2, 1)], [(-1, 3)], [(1,)], [5], [(0.5, 3)], [("a", "b")], [None]])
    async def test_a_range_is_a_pair_of_integers(self, manager: AssetsManager, ranges: list[tuple[int, int]]) -> None:
        async with manager.open("model[small]") as file:
            with pytest.raises(UsageError, match="Cannot read the range"):
                await file.read_ranges(ranges)

    async def test_a_closed_file_cannot_be_read(self, manager: AssetsManager) -> None:
        file = await manager.open("model[small]")
        await file.aclose()
        await file.aclose()
        assert file.closed
        for call in (file.read, file.tell, lambda: file.seek(0), lambda: file.read_ranges([])):
            with pytest.raises(UsageError, match=r"model:0\.0\[small\] is closed"):
                await call()

    async def test_a_closed_manager_closes_its_files(self, manager: AssetsManager) -> None:
        file = await manager.open("model[large]")
        await file.read(10)
        await manager.aclose()
        assert file.closed
        with pytest.raises(ManagerStateError):
            await manager.open("model[large]")


class TestRanges:
    def test_ranges_with_small_gaps_are_joined(self) -> None:
        spans = [(10, 20), (0, 5), (15, 30), (30 + GAP, 31 + GAP), (32 + 2 * GAP, 40 + 2 * GAP), (7, 7)]
        assert list(joined(spans)) == [(0, 31 + GAP), (32 + 2 * GAP, 40 + 2 * GAP)]

    def test_long_ranges_are_divided(self) -> None:
        spans = [(0, 1), (5, 2 * LONGEST + 6)]
        assert list(divided(spans, lambda offset: offset)) == [
            (0, 1),
            (5, LONGEST + 5),
            (LONGEST + 5, 2 * LONGEST + 5),
            (2 * LONGEST + 5, 2 * LONGEST + 6),
        ]

    async def test_a_range_of_several_requests_is_whole(self, monkeypatch: pytest.MonkeyPatch) -> None:
        content = random.Random(5).randbytes(5000)
        read: list[tuple[int, int]] = []

        class InMemory(Anywhere):
            async def piece(self, start: int, stop: int) -> Piece:
                read.append((start, stop))
                return Piece(start, content[start:stop], verified=True)

            async def aclose(self) -> None:
                """Do nothing."""

        monkeypatch.setattr("aioassets.read.ranges.divided.__defaults__", (1000,))
        ranges = [(10, 4500), (0, 5), (999, 3001), (4000, 4000)]
        found, verified = await read_ranges(InMemory(), ranges, 4)
        assert found == [content[start:stop] for start, stop in ranges]
        assert verified
        assert len(read) == 5
