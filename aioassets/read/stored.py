"""Files in the store, read by ranges that are pinned at the revision of the object."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from typing import Final

from aioassets.drivers.protocol import Revision
from aioassets.errors import IntegrityError, ObjectNotFound, PreconditionFailed
from aioassets.fetch.labels import file_label
from aioassets.fetch.reader import FileReader
from aioassets.fetch.remote import RemoteFile, RemoteVersion
from aioassets.model.files import FileEntry
from aioassets.progress import ignore

logger = logging.getLogger(__name__)

SMALL_FILE: Final = 1024 * 1024
"""Maximum size in bytes of a file that is read and verified as a whole. That takes little longer than a round trip."""


_REPLACED: Final = (
    "a different one, because the object was replaced or the store was moved; fetch_asset (aioassets fetch) verifies "
    "the file as a whole"
)


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file in the store, pinned at a revision of its object.

    Attributes:
        remote: its version.
        file: the file.
        forget: a function to call if the store doesn't contain what the manifest says.
    """

    remote: RemoteVersion
    file: RemoteFile
    forget: Callable[[], None]

    @classmethod
    async def find(cls, remote: RemoteVersion, entry: FileEntry, forget: Callable[[], None]) -> StoredFile:
        """Find a file of a version. A request is only sent if the manifest lacks the size, or the revision to pin.

        Raises:
            IntegrityError: if the store was asked and has no such file.
            VersionDeleted: if the version was deleted.
        """
        key = remote.store.layout.content(remote.name, remote.version, entry.path)
        label = file_label(remote.name, remote.version, entry.path)
        pinned = None if entry.revision is None else Revision(entry.revision)
        found = cls(remote, RemoteFile(entry, key, label, entry.size or 0, pinned), forget)
        if entry.size is not None and (entry.size <= SMALL_FILE or pinned is not None):
            return found
        async with found.explained():
            info = await remote.store.driver.stat(key)
            if entry.size not in (None, info.size):
                raise IntegrityError(label, f"{entry.size} bytes", f"{info.size}")
        return cls(remote, RemoteFile(entry, key, label, info.size, info.revision), forget)

    async def repinned(self) -> StoredFile:
        """Return the file, pinned at the present revision of its object, which may be other bytes.

        Raises:
            IntegrityError: if the object has another size.
        """
        info = await self.remote.store.driver.stat(self.file.key)
        if info.size != self.file.size:
            raise IntegrityError(self.file.label, f"{self.file.size} bytes", f"{info.size}")
        logger.warning("%s was replaced in %s, or the store was moved", self.file.label, self.remote.store.url)
        return replace(self, file=replace(self.file, revision=info.revision))

    async def content(self, start: int, stop: int) -> bytes:
        """Read a range. Call this within `explained`."""
        return await FileReader(self.remote.store.driver, self.remote.name, ignore).content(self.file, start, stop)

    @contextlib.asynccontextmanager
    async def explained(self) -> AsyncIterator[None]:
        """Explain why reading failed within a `with` block.

        Raises:
            IntegrityError: if the object doesn't exist, has been replaced, or isn't what was pushed.
            VersionDeleted: if the version was deleted.
        """
        file = self.file
        error: Exception
        try:
            yield
            return
        except IntegrityError as found:
            error = found
        except ObjectNotFound as found:
            error = IntegrityError(file.label, f"{file.entry.size or 'some'} bytes", "nothing")
            error.__cause__ = found
        except PreconditionFailed as found:
            error = IntegrityError(file.label, f"revision {file.revision}", _REPLACED)
            error.__cause__ = found
        self.forget()
        await self.remote.check_undeleted()
        raise error
