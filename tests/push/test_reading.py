"""Small local files are read before their turn, several in one thread."""

from __future__ import annotations

import threading
from pathlib import Path

import anyio
import pytest
from tools.relay import settled

from aioassets import SourceChanged
from aioassets.push.reading import BYTES_AHEAD, FILES_AHEAD, ReadAhead
from aioassets.push.scan import scan
from aioassets.push.sources import HashedSource, LocalSource, SourceFile
from aioassets.runtime.batches import SMALL

COUNT = 3 * FILES_AHEAD


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The paths of the files that are read, in this order."""
    paths: list[str] = []
    original = LocalSource._read  # noqa: SLF001 - the only place that reads a file

    def read(self: LocalSource, offset: int, size: int) -> object:
        paths.append(self._file.path)
        return original(self, offset, size)

    monkeypatch.setattr(LocalSource, "_read", read)
    return paths


async def scanned(folder: Path, sizes: dict[int, int] | None = None) -> list[SourceFile]:
    folder.mkdir()
    for number in range(COUNT):
        size = (sizes or {}).get(number, 10)
        (folder / f"{number:02}").write_bytes(f"{number:02}".encode() * (size // 2))
    return [*(await scan(folder)).files]


def open_all(files: list[SourceFile]) -> tuple[ReadAhead, list[HashedSource]]:
    ahead = ReadAhead(files)
    return ahead, [ahead.opened(number, file) for number, file in enumerate(files)]


async def content(source: HashedSource) -> bytes:
    return bytes(await source.read(0, source.size))


async def test_files_are_read_before_their_turn(tmp_path: Path, reads: list[str]) -> None:
    ahead = ReadAhead(files := await scanned(tmp_path / "folder"))
    for number, file in enumerate(files):
        source = ahead.opened(number, file)
        assert await content(source) == f"{number:02}".encode() * 5
        assert (await source.finish())["sha256"]
        assert len(reads) == min(COUNT, number + 1 + FILES_AHEAD - number % (FILES_AHEAD + 1))
    assert reads == sorted(set(reads))


async def test_no_more_is_read_ahead_until_all_of_it_was_used(tmp_path: Path, reads: list[str]) -> None:
    """So its memory, which the budget doesn't count, is limited."""
    ahead = ReadAhead(files := await scanned(tmp_path / "folder"))
    await ahead.opened(0, files[0]).read(0, 10)
    sources = [ahead.opened(number, files[number]) for number in range(1, COUNT - 1)]
    reads.clear()
    await sources[FILES_AHEAD].read(0, 10)
    assert reads == [files[FILES_AHEAD + 1].path]
    for source in sources[:FILES_AHEAD]:
        await source.read(0, 10)
    await sources[FILES_AHEAD + 1].read(0, 10)
    assert reads[1:] == [files[FILES_AHEAD + 2].path, files[-1].path]


@pytest.mark.parametrize("size", [BYTES_AHEAD + 2, SMALL + 2])
async def test_large_files_are_not_read_ahead(tmp_path: Path, reads: list[str], size: int) -> None:
    ahead = ReadAhead(files := await scanned(tmp_path / "folder", {2: size}))
    await ahead.opened(0, files[0]).read(0, 10)
    assert reads == ["00", "01"]


async def test_an_error_is_raised_for_its_own_file_only(tmp_path: Path) -> None:
    ahead = ReadAhead(files := await scanned(tmp_path / "folder"))
    (tmp_path / "folder/01").write_text("changed")
    assert await content(ahead.opened(0, files[0])) == b"0000000000"
    with pytest.raises(SourceChanged, match="01"):
        await content(ahead.opened(1, files[1]))
    assert await content(ahead.opened(2, files[2])) == b"0202020202"


async def test_a_repeated_read_reads_the_file_again(tmp_path: Path) -> None:
    """A retried request must see a change, and not keep the content of the first attempt in memory."""
    ahead = ReadAhead(files := await scanned(tmp_path / "folder"))
    source = ahead.opened(0, files[0])
    await content(source)
    (tmp_path / "folder/00").write_text("changed")
    with pytest.raises(SourceChanged):
        await content(source)


async def test_concurrent_reads_get_their_own_files(tmp_path: Path, reads: list[str]) -> None:
    _, sources = open_all(await scanned(tmp_path / "folder"))
    found: dict[int, bytes] = {}

    async def read(number: int) -> None:
        found[number] = await content(sources[number])

    async with anyio.create_task_group() as tasks:
        for number in range(COUNT):
            tasks.start_soon(read, number)
    assert found == {number: f"{number:02}".encode() * 5 for number in range(COUNT)}
    assert sorted(reads) == [f"{number:02}" for number in range(COUNT)]


async def test_a_read_succeeds_after_another_one_was_cancelled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ahead = ReadAhead(files := await scanned(tmp_path / "folder"))
    first = ahead.opened(0, files[0])
    begun, go_on = threading.Event(), threading.Event()
    original = LocalSource._read  # noqa: SLF001 - the only place that reads a file

    def slow(self: LocalSource, offset: int, size: int) -> object:
        begun.set()
        go_on.wait()
        return original(self, offset, size)

    monkeypatch.setattr(LocalSource, "_read", slow)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(first.read, 0, 10)
        await settled()
        tasks.cancel_scope.cancel()
        go_on.set()
    second = ahead.opened(1, files[1])
    assert await content(second) == b"0101010101"


async def test_a_read_succeeds_after_another_one_was_cancelled_early(tmp_path: Path) -> None:
    """Its thread has not started then."""
    ahead = ReadAhead(files := await scanned(tmp_path / "folder"))
    first = ahead.opened(0, files[0])
    async with anyio.create_task_group() as tasks:
        tasks.cancel_scope.cancel()
        tasks.start_soon(first.read, 0, 10)
    assert await content(ahead.opened(1, files[1])) == b"0101010101"
