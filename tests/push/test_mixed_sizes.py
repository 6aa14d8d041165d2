"""Small and large files don't block each other, in whatever order they come."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator
from pathlib import Path

import anyio
import pytest
from tools.factories import ManagerFactory
from tools.inspection import contents
from tools.interposer import Interposer

from aioassets import Dispatcher, FileEntry, MemoryDriver
from aioassets.drivers.protocol import Revision
from aioassets.fetch.download import download
from aioassets.fetch.reader import FileReader
from aioassets.fetch.remote import RemoteFile
from aioassets.fetch.sinks import RANGES_AT_ONCE, DiskSink
from aioassets.model.files import FileTable
from aioassets.progress import Event, FileTransferred
from aioassets.runtime.budget import Budget
from aioassets.runtime.lanes import FILES_AT_ONCE

LARGE = 1000
"""Minimum size of a large file in these tests, in bytes."""


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make more large files than are transferred at once, and as many small ones around them."""
    monkeypatch.setattr("aioassets.runtime.lanes.LARGE", LARGE)
    folder = tmp_path / "tree"
    folder.mkdir()
    for number in range(FILES_AT_ONCE + 1):
        (folder / f"1-small-{number}").write_bytes(b"s")
        (folder / f"2-large-{number}").write_bytes(bytes(LARGE))
        (folder / f"3-small-{number}").write_bytes(b"s")
    return folder


class Last:
    """Hook that blocks files of one kind until all files of the other are done.

    Args:
        method: the calls that move a file.
        kind: a part of its name.
        others: how many files there are of the other kind.
    """

    def __init__(self, method: str, kind: str, others: int) -> None:
        self._method = method
        self._kind = kind
        self._left = others
        self._done = anyio.Event()

    async def __call__(self, moment: str, method: str, key: str) -> None:
        if method != self._method or "/0.0/" not in key:
            return
        if self._kind in key:
            await self._done.wait()
        elif moment == "after":
            self._left -= 1
            if self._left == 0:
                self._done.set()


@pytest.mark.parametrize("kind", ["large", "small"])
async def test_small_and_large_files_do_not_wait_for_each_other(
    memory: MemoryDriver, make_manager: ManagerFactory, tree: Path, kind: str
) -> None:
    others = sum(kind not in name for name in os.listdir(tree))
    with anyio.fail_after(60):
        writing = make_manager(Interposer(memory, Last("upload", kind, others)), max_requests=FILES_AT_ONCE)
        await writing.create_asset(tree, "model")
        reading = make_manager(Interposer(memory, Last("read_range", kind, others)), max_requests=FILES_AT_ONCE)
        fetched = await reading.fetch_asset("model")
    assert contents(fetched.path) == contents(tree)


RANGE = 64 * 1024
"""Bytes of a range in this test."""
RANGES = 25
"""Ranges of a large file."""
SMALL = 2000
"""Number of small files."""


class Slow(MemoryDriver):
    """Driver that serves one more range of large files whenever the test says so.

    Small files wait until all possible requests for large ones are in flight. Then one range is sent.
    """

    def __init__(self, budget: Budget, large: int) -> None:
        super().__init__(dispatcher=Dispatcher(budget))
        self._budget = budget
        self._asking = large * RANGES_AT_ONCE
        self._all_ask = anyio.Event()
        self._released = anyio.Semaphore(0)
        self._first = 1

    def release(self, count: int) -> None:
        for _ in range(count):
            self._released.release()

    async def read_range(
        self, key: str, start: int, stop: int, *, revision: Revision | None = None
    ) -> AsyncGenerator[bytes, None]:
        if key.startswith("small"):
            await self._all_ask.wait()
            self.release(self._first)
            self._first = 0
        else:
            self._asking -= 1
            if not self._asking:
                self._all_ask.set()
        async with self._budget.slot(stop - start):
            if key.startswith("large"):
                await self._released.acquire()
            yield bytes(min(stop, size_of(key)) - start)


def size_of(key: str) -> int:
    return RANGES * RANGE if key.startswith("large") else 4096


async def test_thousands_of_small_files_pass_once_one_range_of_a_large_file_has_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other ranges still fill the budget or wait for it."""
    monkeypatch.setattr("aioassets.fetch.sinks.RANGE", RANGE)
    driver = Slow(Budget(requests=FILES_AT_ONCE, nbytes=4 * RANGE), large=5)
    entries = [FileEntry(key, size_of(key), {}) for key in [*map("large{}".format, range(5)), *small_keys()]]
    left = set(small_keys())

    def report(event: Event) -> None:
        if isinstance(event, FileTransferred) and event.path.startswith("small"):
            left.discard(event.path)
            if not left:
                driver.release(5 * RANGES - 1)

    def locate(entry: FileEntry) -> RemoteFile:
        return RemoteFile(entry, entry.path, entry.path, entry.size or 0)

    def sink(entry: FileEntry) -> DiskSink:
        return DiskSink(str(tmp_path / entry.path))

    with anyio.fail_after(60):
        await download(
            FileReader(driver, "model", report),
            FileTable(entries),
            locate,
            sink,
        )
    assert {path.name: path.stat().st_size for path in tmp_path.iterdir()} == {
        entry.path: entry.size for entry in entries
    }


def small_keys() -> list[str]:
    return [f"small{number}" for number in range(SMALL)]
