"""Writing of large files to the disk."""

from __future__ import annotations

import hashlib
import os
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

from aioassets import FileEntry, MemoryDriver
from aioassets.drivers.protocol import Revision
from aioassets.fetch.download import download
from aioassets.fetch.reader import FileReader
from aioassets.fetch.remote import RemoteFile
from aioassets.fetch.sinks import RANGE, WRITE, DiskSink
from aioassets.model.files import FileTable
from aioassets.progress import ignore
from aioassets.runtime.threads import in_thread

PIECE = WRITE // 3 + 1
SIZE = 2 * RANGE + 5


class InPieces(MemoryDriver):
    """Store that sends pieces as a connection does, and keeps a reference to each."""

    def __init__(self, content: bytes) -> None:
        super().__init__()
        self._content = content
        self.sent: list[bytes] = []

    async def read_range(
        self, key: str, start: int, stop: int, *, revision: Revision | None = None
    ) -> AsyncGenerator[bytes, None]:
        stop = min(stop, len(self._content))
        for offset in range(start, stop, PIECE):
            self.sent.append(self._content[offset : min(offset + PIECE, stop)])
            yield self.sent[-1]


async def test_chunks_are_written_uncopied_and_in_large_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No byte is copied in memory, and there is about one thread call per MiB."""
    data = os.urandom(SIZE)
    driver = InPieces(data)
    written: list[object] = []
    works: list[str] = []
    pwrite = os.pwrite

    def note_write(descriptor: int, view: memoryview, offset: int) -> int:
        written.append(view.obj)
        return pwrite(descriptor, view, offset)

    def note_work(work: Any, *args: object) -> Any:
        works.append(getattr(work, "__name__", ""))
        return in_thread(work, *args)

    monkeypatch.setattr(os, "pwrite", note_write)
    monkeypatch.setattr("aioassets.fetch.sinks.in_thread", note_work)
    entry = FileEntry("a", SIZE, {"sha256": hashlib.sha256(data).hexdigest()})
    file = RemoteFile(entry, "a", "model:0.0[a]", SIZE)
    await download(
        FileReader(driver, "model", ignore),
        FileTable([entry]),
        lambda _: file,
        lambda _: DiskSink(str(tmp_path / "a")),
    )
    assert (tmp_path / "a").read_bytes() == data
    assert {id(piece) for piece in written} == {id(piece) for piece in driver.sent}
    assert works.count("write_all_at") <= 2 * (RANGE // WRITE) + 1
