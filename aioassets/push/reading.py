"""Read-ahead for small local files, several of which are read at a time in one thread."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import anyio

from aioassets.drivers.protocol import Data
from aioassets.push.sources import HashedSource, LocalFile, LocalSource, SourceFile
from aioassets.runtime.batches import SMALL, in_batch

FILES_AHEAD: Final = 7
"""Maximum number of files to read ahead. A round trip to a thread takes longer than reading a small file."""
BYTES_AHEAD: Final = 64 * 1024
"""Maximum number of bytes to read ahead. They don't count towards the budget."""


class ReadAhead:
    """Read-ahead for the files of a push, which are opened in roughly ascending order.

    When a small file is read, the same thread also reads the small files that follow it, because waking a
    thread for each file would take longer. No more files are read ahead until these have been used.

    Args:
        files: the files of the push.
    """

    def __init__(self, files: Sequence[SourceFile]) -> None:
        self._files = files
        self._next = 0
        self._ahead: dict[int, _Source] = {}
        self._ended = anyio.Event()

    def opened(self, number: int, file: SourceFile) -> HashedSource:
        """Return a source for the file with the given number."""
        self._next = max(self._next, number + 1)
        if number in self._ahead:
            return self._ahead[number]
        if isinstance(file, LocalFile) and file.size <= SMALL:
            return _Source(file, number, self)
        return file.opened()

    async def read(self, source: _Source) -> Data:
        """Return the whole content of a file. Also read others ahead, unless some are still waiting to be used."""
        if source.number in self._ahead:
            await self._ended.wait()
            del self._ahead[source.number]
        elif not self._ahead:
            await self._read_with_following(source)
        if not source.is_kept:
            await in_batch(source.keep)
        return source.take()

    async def _read_with_following(self, source: _Source) -> None:
        self._ahead = self._following()
        self._ended = anyio.Event()
        try:
            await in_batch(_keep_all, source, *self._ahead.values())
        finally:
            self._ended.set()

    def _following(self) -> dict[int, _Source]:
        nbytes = 0
        following = {}
        for number in range(self._next, min(self._next + FILES_AHEAD, len(self._files))):
            file = self._files[number]
            nbytes += file.size
            if not isinstance(file, LocalFile) or nbytes > BYTES_AHEAD:
                break
            following[number] = _Source(file, number, self)
        return following


class _Source(LocalSource):
    """A small local file that may be read ahead.

    Args:
        file: the file as it was scanned.
        number: its position in the push.
        ahead: the read-ahead for the push.
    """

    def __init__(self, file: LocalFile, number: int, ahead: ReadAhead) -> None:
        super().__init__(file)
        self.number = number
        self._ahead = ahead
        self._outcome: Data | Exception | None = None

    async def read(self, offset: int, size: int) -> Data:
        if (offset, size) == (0, self.size):
            return await self._ahead.read(self)
        return await super().read(offset, size)

    def keep(self) -> None:
        """Read the whole file, and keep its content or the error. Blocking."""
        try:
            self._outcome = self._read(0, self.size)
        except Exception as error:
            self._outcome = error

    @property
    def is_kept(self) -> bool:
        """Whether anything is kept, either content or an error."""
        return self._outcome is not None

    def take(self) -> Data:
        """Return the content and stop keeping it, or raise the error if the file couldn't be read."""
        outcome, self._outcome = self._outcome, None
        if isinstance(outcome, Exception):
            raise outcome
        assert outcome is not None  # noqa: S101 - `is_kept` was checked
        return outcome


def _keep_all(*sources: _Source) -> None:
    for source in sources:
        source.keep()
