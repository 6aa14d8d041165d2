"""A reader that passes individual files from the store to a sink, and verifies them."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Protocol

from aioassets.drivers.protocol import Data, Driver
from aioassets.errors import IntegrityError, ObjectNotFound, PreconditionFailed
from aioassets.fetch.digests import check_digest
from aioassets.fetch.remote import RemoteFile
from aioassets.progress import BytesTransferred, FileTransferred, Progress

logger = logging.getLogger(__name__)


class Sink(Protocol):
    """A destination for the contents of files."""

    async def consume(self, reader: FileReader, file: RemoteFile) -> str:
        """Read a whole file with the reader.

        Returns:
            Its digest, computed with the algorithm that `hash_for` selects, or an empty string if there is none.
        """

    async def discard(self) -> None:
        """Remove everything that an earlier `consume` wrote."""


@dataclass(frozen=True, slots=True)
class FileReader:
    """A reader for the files of one asset. It verifies what it reads.

    Attributes:
        driver: the driver to read from.
        asset: the asset's name, for events.
        report: the callback that receives events.
    """

    driver: Driver
    asset: str
    report: Progress

    async def read(self, file: RemoteFile, sink: Sink) -> None:
        """Read a file into a sink and verify it. If it arrives damaged, read it once more.

        Raises:
            IntegrityError: if the file differed from the manifest both times, or doesn't exist.
        """
        try:
            try:
                await self._read_once(file, sink)
            except IntegrityError as error:  # an unencrypted connection may have damaged it
                logger.warning("Reading a damaged file again from %s: %s", self.driver.url, error)
                await sink.discard()
                await self._read_once(file, sink)
        except ObjectNotFound as error:
            raise IntegrityError(file.label, f"{file.size} bytes", "nothing") from error
        except PreconditionFailed as error:
            raise IntegrityError(file.label, f"revision {file.revision}", "a different revision") from error
        self.report(FileTransferred(self.asset, file.entry.path, file.size))

    async def _read_once(self, file: RemoteFile, sink: Sink) -> None:
        check_digest(file.label, file.entry, await sink.consume(self, file))

    async def content(self, file: RemoteFile, start: int, stop: int) -> bytes:
        """Return the bytes in a range of a file."""
        async with contextlib.aclosing(self.chunks(file, start, stop)) as chunks:
            return b"".join([chunk async for chunk in chunks])

    async def chunks(self, file: RemoteFile, start: int, stop: int) -> AsyncGenerator[Data, None]:
        """Yield a range of a file in chunks. Raise `IntegrityError` if there are too few or too many bytes.

        For the last range of a file, one extra byte is requested to detect objects that are too long.
        """
        offset = start
        last = stop + 1 if stop == file.size else stop
        chunks = self.driver.read_range(file.key, start, last, revision=file.revision)
        async with contextlib.aclosing(chunks):
            async for chunk in chunks:
                offset += len(chunk)
                if offset > stop:
                    raise IntegrityError(file.label, f"{file.size} bytes", "more")
                self.report_bytes(len(chunk))
                yield chunk
        if offset < stop:
            found = str(offset) if offset > start or start == 0 else "fewer"
            raise IntegrityError(file.label, f"{file.size} bytes", found)

    def report_bytes(self, nbytes: int) -> None:
        """Report the number of bytes that have arrived."""
        self.report(BytesTransferred(self.asset, nbytes))
