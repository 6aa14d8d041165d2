"""Uploads of streams for drivers that must know the size of what they upload: by a temporary file."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from typing import BinaryIO, Final, Protocol

from aioassets.drivers.protocol import Data, Expect, Source, Stream, Uploaded
from aioassets.errors import StoreError
from aioassets.runtime.disk import reason, write_at
from aioassets.runtime.effects import Effects
from aioassets.runtime.threads import in_thread

CHUNK: Final = 1024 * 1024


class _Uploader(Protocol):
    @property
    def url(self) -> str: ...

    async def upload(
        self,
        key: str,
        source: Source,
        *,
        expected: Expect = Expect.ABSENT,
        resume: bool = False,
        effects: Effects | None = None,
    ) -> Uploaded: ...


class NoStreams:
    """Base class for drivers for stores that must know the size of an object when its upload begins."""

    async def upload_stream(
        self: _Uploader, key: str, stream: Stream, *, expected: Expect = Expect.ABSENT, effects: Effects | None = None
    ) -> Uploaded:
        """Write the stream to a temporary file, and then upload that by `upload`."""
        try:
            file: BinaryIO = await in_thread(tempfile.TemporaryFile)
        except OSError as error:
            raise _unwritable(error, self.url, key) from error
        try:
            await _write(stream, file, f"{self.url}/{key}")
            return await self.upload(key, _Spooled(stream, file), expected=expected, effects=effects)
        finally:
            file.close()  # nothing is buffered: only descriptors are used


async def _write(stream: Stream, file: BinaryIO, url: str) -> None:
    buffer = memoryview(bytearray(CHUNK))
    while count := await stream.readinto(buffer):
        try:
            await in_thread(write_at, file.fileno(), buffer[:count], stream.size - count)
        except OSError as error:
            raise _unwritable(error, url) from error


def _unwritable(error: OSError, *parts: str) -> StoreError:
    folder = tempfile.gettempdir()
    return StoreError(f"Cannot upload {'/'.join(parts)}: cannot write a temporary file to {folder!r}: {reason(error)}.")


class _Spooled:
    """A `Source` that reads a temporary file with the content of a stream."""

    def __init__(self, stream: Stream, file: BinaryIO) -> None:
        self._stream = stream
        self._file = file

    @property
    def size(self) -> int:
        return self._stream.size

    @property
    def digests(self) -> Mapping[str, str]:
        return self._stream.digests

    async def read(self, offset: int, size: int) -> Data:
        return await in_thread(os.pread, self._file.fileno(), size, offset)

    async def copy_to(self, descriptor: int, offset: int, size: int) -> bool:
        return False
