"""Open files for code without an event loop."""

from __future__ import annotations

import contextlib
import functools
import io
import os
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, Protocol, TypeVar

from aioassets.errors import ManagerStateError
from aioassets.model.files import FileEntry
from aioassets.read.file import AssetFile

T = TypeVar("T")


class BlockingRun(Protocol):
    """A function that runs a coroutine function on another thread, and waits for its result."""

    def __call__(self, work: Callable[[], Coroutine[Any, Any, T]], /) -> T:
        """Run the function."""


class BlockingFile(io.RawIOBase):
    """One file of a version, open for reading by blocking calls. `blocking.AssetsManager.open` returns it.

    It is a raw binary file without a buffer. For many small reads, wrap it in `io.BufferedReader`. It reads what
    `aioassets.AssetFile` reads, verifies it in the same way, and has the same attributes.

    Use it as a context manager, or close it with `close`.

    Args:
        run: a function that runs a call of the manager.
        file: the file, open on the event loop of the manager.
    """

    def __init__(self, run: BlockingRun, file: AssetFile) -> None:
        super().__init__()
        self._run = run
        self._file = file

    @property
    def name(self) -> str:
        """The asset's name."""
        return self._file.name

    @property
    def version(self) -> str:
        """The version that the spec resolved to."""
        return self._file.version

    @property
    def path(self) -> str:
        """The path of the file in the version; empty for a file asset."""
        return self._file.path

    @property
    def size(self) -> int:
        """The size in bytes."""
        return self._file.size

    @property
    def entry(self) -> FileEntry:
        """The file's entry in the manifest."""
        return self._file.entry

    @property
    def from_cache(self) -> bool:
        """Whether the file is read from the cache."""
        return self._file.from_cache

    @property
    def verified(self) -> bool:
        """Whether all bytes that the file has returned were verified. See `aioassets.AssetFile.verified`."""
        return self._file.verified

    def readable(self) -> bool:
        """Return `True`."""
        return True

    def seekable(self) -> bool:
        """Return `True`."""
        return True

    def readinto(self, buffer: Any, /) -> int:
        """Read bytes into a buffer, and return their number, which is only smaller at the end of the file."""
        with memoryview(buffer) as view:
            return self._run(functools.partial(self._file.readinto, view))

    def readall(self) -> bytes:
        """Read up to the end of the file. All of it is kept in memory."""
        return self._run(self._file.read)

    def read(self, size: int | None = -1, /) -> bytes:
        """Read up to `size` bytes, or up to the end of the file. Return fewer only at the end of the file."""
        return self._run(functools.partial(self._file.read, size))

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Change the position, and return the new one. See `aioassets.AssetFile.seek`."""
        return self._run(functools.partial(self._file.seek, offset, whence))

    def tell(self) -> int:
        """Return the position: the number of bytes before the next one to read."""
        return self._run(self._file.tell)

    def read_ranges(self, ranges: Iterable[tuple[int, int]], /) -> list[bytes]:
        """Read many ranges in parallel. See `aioassets.AssetFile.read_ranges`."""
        return self._run(functools.partial(self._file.read_ranges, ranges))

    def write(self, data: Any, /) -> int:
        """Raise `io.UnsupportedOperation`, because versions don't change."""
        raise io.UnsupportedOperation("write")

    def __repr__(self) -> str:
        return f"<BlockingFile {self._file!r}>"

    def close(self) -> None:
        """Close the file. This method can safely be called more than once."""
        if not self.closed:
            super().close()
            with contextlib.suppress(ManagerStateError):  # a manager closes its files when it is closed itself
                self._run(self._file.aclose)

    def __del__(self) -> None:
        """Do nothing: an object may be garbage-collected in the thread of the event loop, which must not wait."""
