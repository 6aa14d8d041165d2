"""The record of one push's uploads."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence

from aioassets.drivers.protocol import Revision
from aioassets.model.chunks import ChunkList
from aioassets.model.files import DigestColumn, FileTable, RevisionColumn
from aioassets.push.base import is_copied
from aioassets.push.sources import SourceFile


class UploadLedger:
    """A record of one push's uploads, which remains valid after a failure.

    It takes 34 bytes per file, and some more for a file whose revision is recorded.

    Args:
        files: the files to upload.

    Attributes:
        uploaded: the number of bytes that were uploaded.
        copied: the number of bytes that the store copied.
        chunks: the chunks of large files by path.
        chunks_digest: the digest of the version's `.chunks`; `None` if it has none.
        created_chunks: whether this push created the `.chunks`.
    """

    def __init__(self, files: Sequence[SourceFile]) -> None:
        self.uploaded = self.copied = 0
        self.chunks: dict[str, ChunkList] = {}
        self.chunks_digest: str | None = None
        self.created_chunks = False
        self._files = files
        self._digests = DigestColumn(len(files))
        self._revisions = RevisionColumn()
        self._created = bytearray(len(files))
        self._stored = bytearray(len(files))

    def note_created(self, number: int) -> None:
        """Record that this push created a file's object."""
        self._created[number] = True

    def note_stored(self, number: int, digests: Mapping[str, str], revision: Revision | None) -> None:
        """Record the digests of a file that is now in the store, and its revision if the file is large enough."""
        self._digests[number] = digests
        self._stored[number] = True
        if is_copied(self._files[number].size):
            self._revisions[number] = revision

    def note_chunks(self, number: int, chunks: ChunkList | None) -> None:
        """Record the chunks of a large file if they are known."""
        if chunks is not None:
            self.chunks[self._files[number].path] = chunks

    @property
    def digests(self) -> DigestColumn:
        """The digests of all files."""
        return self._digests

    @property
    def has_stored(self) -> bool:
        """Whether any file is in the store."""
        return any(self._stored)

    def created(self) -> Iterator[SourceFile]:
        """Iterate over the files whose objects this push created."""
        return (self._files[number] for number in itertools.compress(itertools.count(), self._created))

    def entries(self) -> FileTable:
        """Return all files with their digests, or raise `RuntimeError` if any file isn't stored."""
        if not all(self._stored):
            raise RuntimeError("not all files are stored")  # a bug must not seal an incomplete version
        return FileTable.of(self._files, self._digests, self._revisions)
