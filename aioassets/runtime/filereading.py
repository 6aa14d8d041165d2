"""Reading binary file objects in threads."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from typing import Any

import anyio

from aioassets.runtime.threads import in_waiting_thread


class Moved(Exception):
    """Raised if the position of a file object isn't the one at which the last read ended."""


class FileReader:
    """A reader for a binary file object, from its current position.

    Each read is a call in a worker thread. Before reading a pipe or a terminal, it waits on the event loop until there
    are bytes, so that it can be cancelled.

    Args:
        file: the file object. The reader never closes it.
    """

    def __init__(self, file: Any) -> None:
        self._file = file
        self._read = _read_into(file)
        self._position: int | None = None
        self._waits_on = _pipe_of(file)

    async def readinto(self, buffer: memoryview, update: Callable[[memoryview], None]) -> int:
        """Read bytes into a buffer that isn't empty.

        Args:
            buffer: the buffer.
            update: a function that is called in the same thread with the bytes.

        Returns:
            The number of bytes; 0 at the end.

        Raises:
            Moved: if something else has read the file, or moved its position.
            TypeError: if the file didn't return bytes.
            OSError, ValueError: raised by the file, for example because it is closed.
        """
        while True:
            await self._wait()
            count = await in_waiting_thread(self._step, buffer, update)
            if count is not None:
                return count
            if self._waits_on is None:
                raise BlockingIOError("it is in non-blocking mode")

    async def _wait(self) -> None:
        if self._waits_on is None:
            return
        try:
            await anyio.wait_readable(self._waits_on)
        except (OSError, NotImplementedError):  # not every device can be waited for, such as /dev/null
            self._waits_on = None

    def _step(self, buffer: memoryview, update: Callable[[memoryview], None]) -> int | None:
        if self._position is not None and self._file.tell() != self._position:
            raise Moved
        count = self._read(buffer)
        if count:
            update(buffer[:count])
        self._position = position_of(self._file)
        return count


def position_of(file: Any) -> int | None:
    """Return the position of a file object, or `None` if it can't be moved. Blocking."""
    try:
        return int(file.tell()) if file.seekable() else None
    except (AttributeError, OSError, ValueError):  # for example, it was closed
        return None


def _read_into(file: Any) -> Callable[[memoryview], int | None]:
    for name in ("readinto1", "readinto"):  # the first one waits for no more bytes than there are
        if (method := getattr(file, name, None)) is not None:
            return method  # type: ignore[no-any-return]

    def read(buffer: memoryview) -> int | None:
        data = file.read(len(buffer))
        if data is None:
            return None
        if not isinstance(data, bytes | bytearray | memoryview) or len(data) > len(buffer):
            raise TypeError(f"its read method returned {type(data).__name__} instead of at most {len(buffer)} bytes")
        buffer[: len(data)] = data
        return len(data)

    return read


def _pipe_of(file: Any) -> int | None:
    """Return the descriptor of a pipe or a character device such as a terminal, or `None` for any other file."""
    try:
        descriptor = file.fileno()
        mode = os.fstat(descriptor).st_mode
    except (AttributeError, OSError, TypeError, ValueError):
        return None
    return int(descriptor) if stat.S_ISFIFO(mode) or stat.S_ISCHR(mode) else None
