"""Contents of files in memory, and files for the values that a push accepts instead of paths."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from aioassets.drivers.protocol import Data, Driver
from aioassets.errors import SourceError, UsageError
from aioassets.model.chunks import ChunkList
from aioassets.model.digests import SHA256, new_hash
from aioassets.push.sources import READ_CHUNK, Copied, Divided, SourceFile, nothing
from aioassets.push.streams import StreamFile, is_blocking_file, read_async_file, read_file, read_iterable
from aioassets.runtime.chunking import ContentHash
from aioassets.runtime.effects import Effects
from aioassets.runtime.threads import check_cancelled, in_thread

ACCEPTED: Final = "pass bytes, a path, a URL, an async iterator of bytes, or a binary file object"


@dataclass(frozen=True, slots=True)
class BytesFile:
    """A file in the source of a push whose content is in memory.

    Attributes:
        path: the path relative to the asset, with `/` as the separator; empty for a file asset.
        source: the name of the file, for messages.
        data: the content, which never changes.
        content: its digest and its chunks.
    """

    path: str
    source: str
    data: memoryview
    content: Divided

    @property
    def size(self) -> int:
        return len(self.data)

    @property
    def executable(self) -> bool:
        return False

    @property
    def identity(self) -> str:
        return self.content.sha256

    def opened(self) -> BytesSource:
        return BytesSource(self)

    def changed(self) -> bool:
        return False

    async def hashed(self, algorithm: str) -> str | None:
        return self.content.sha256 if algorithm == SHA256 else await in_thread(self._hashed, algorithm)

    def _hashed(self, algorithm: str) -> str:
        digest = new_hash(algorithm)
        digest.update(self.data)
        return digest.hexdigest()

    async def divided(self) -> Divided | None:
        return self.content

    async def copied(self, driver: Driver, key: str, effects: Effects) -> Copied | None:
        """Return `None`, because no store has the content."""


class BytesSource:
    """A `HashedSource` of content in memory, which was hashed before. Nothing is copied.

    Args:
        file: the file.
    """

    def __init__(self, file: BytesFile) -> None:
        self._file = file

    @property
    def size(self) -> int:
        return self._file.size

    @property
    def digests(self) -> Mapping[str, str]:
        return {SHA256: self._file.content.sha256}

    @property
    def chunks(self) -> ChunkList | None:
        return self._file.content.chunks

    async def read(self, offset: int, size: int) -> Data:
        return self._file.data[offset : offset + size]

    async def copy_to(self, descriptor: int, offset: int, size: int) -> bool:
        return False

    async def finish(self, check: Callable[[], None] = nothing) -> Mapping[str, str]:
        return self.digests


def content_file(path: str, source: str, value: Any) -> SourceFile:
    """Return a file with the content of a value that isn't a path or URL. Blocking.

    Args:
        path: the path relative to the asset; empty for a file asset.
        source: the name of the file, for messages.
        value: a bytes-like object, an async iterable of bytes, or a file object.

    Raises:
        UsageError: if the value has another type.
        SourceError: if it is a stream that was used already, a closed file, or a file in text mode.
    """
    read = getattr(value, "read", None)
    if isinstance(value, bytes | bytearray | memoryview):
        return _bytes_file(path, source, value)
    if not isinstance(value, type) and callable(read):
        return _of_file(path, source, value)
    if not isinstance(value, type) and hasattr(value, "__aiter__"):
        return StreamFile.of(path, source, value, read_iterable)
    buffer: Any = value
    try:
        return _bytes_file(path, source, memoryview(buffer))  # for example, a NumPy array
    except TypeError:
        raise UsageError(f"Cannot push a value of type {type(value).__name__} as {source!r}: {ACCEPTED}.") from None


def _of_file(path: str, source: str, file: Any) -> StreamFile:
    if isinstance(file, io.TextIOBase):
        raise SourceError(source, "its file object is in text mode; open the file in binary mode ('rb')")
    if getattr(file, "closed", False) is True:
        raise SourceError(source, "its file object is closed")
    if not is_blocking_file(file):
        return StreamFile.of(path, source, file, read_async_file)
    if isinstance(file, io.IOBase) and not file.readable():
        raise SourceError(source, "its file object isn't open for reading")
    return StreamFile.of(path, source, file, read_file)


def _bytes_file(path: str, source: str, value: bytes | bytearray | memoryview) -> BytesFile:
    owner = value.obj if isinstance(value, memoryview) and value.contiguous else value
    data = memoryview(value if isinstance(owner, bytes) else bytes(value)).cast("B")
    digest = ContentHash(len(data))
    for start in range(0, len(data), READ_CHUNK):
        check_cancelled()
        digest.update(data[start : start + READ_CHUNK])
    return BytesFile(path, source, data, Divided(digest.hexdigest(), digest.chunks))
