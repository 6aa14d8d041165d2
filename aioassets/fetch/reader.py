"""A reader that verifies single files of the store on their way into a sink."""

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
    """Destination of the bytes of a file."""

    async def consume(self, reader: FileReader, file: RemoteFile) -> str:
        """Read all of a file.

        Returns:
            Its digest by the algorithm of `hash_for`, or an empty string where there is none.
        """

    async def discard(self) -> None:
        """Remove all that an earlier `consume` has written."""


@dataclass(frozen=True, slots=True)
class FileReader:
    """Reads files of one asset from a driver, and verifies them.

    Attributes:
        driver: the store to read from.
        asset: the asset's name, for events.
        report: receives events.
    """

    driver: Driver
    asset: str
    report: Progress

    async def read(self, file: RemoteFile, sink: Sink) -> None:
        """Read a file into a sink and verify it; repeat that once if the file arrives damaged.

        Raises:
            IntegrityError: both times, the file differed from its manifest.
        """
        try:
            try:
                await self._read_once(file, sink)
            except IntegrityError as error:  # an unencrypted connection may damage bytes
                logger.warning("Reading a damaged file again from %s: %s", self.driver.url, error)
                await sink.discard()
                await self._read_once(file, sink)
        except ObjectNotFound as error:
            raise IntegrityError(file.label, f"{file.size} bytes", "nothing") from error
        except PreconditionFailed as error:
            raise IntegrityError(file.label, f"revision {file.revision}", "another one") from error
        self.report(FileTransferred(self.asset, file.entry.path, file.size))

    async def _read_once(self, file: RemoteFile, sink: Sink) -> None:
        check_digest(file.label, file.entry, await sink.consume(self, file))

    async def content(self, file: RemoteFile, start: int, stop: int) -> bytes:
        """Return the bytes of a range."""
        async with contextlib.aclosing(self.chunks(file, start, stop)) as chunks:
            return b"".join([chunk async for chunk in chunks])

    async def chunks(self, file: RemoteFile, start: int, stop: int) -> AsyncGenerator[Data, None]:
        """Yield exactly the bytes of a range, whatever the store sends.

        The last range of a file asks for one byte more, to detect objects that are too long.
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
        """Report bytes that have arrived."""
        self.report(BytesTransferred(self.asset, nbytes))
