"""Digests of a source's files before they are uploaded."""

from __future__ import annotations

from collections.abc import Sequence

from aioassets.model.digests import SHA256
from aioassets.model.files import DigestColumn
from aioassets.push.sources import SourceFile


class Hashes:
    """The digests of a source's files, each of which is computed on first use.

    A push, its plan and `if_changed` share them, so that no file is hashed twice.

    Args:
        files: the files.
    """

    def __init__(self, files: Sequence[SourceFile]) -> None:
        self._files = files
        self._known: DigestColumn | None = None

    async def of(self, number: int, algorithm: str = SHA256) -> str | None:
        """Return a digest of the file with the given number, or `None` if it would have to be downloaded.

        Raises:
            SourceChanged: if the file has changed since the scan.
            SourceError: if the file can't be read.
        """
        if self._known is None:
            self._known = DigestColumn(len(self._files))
        known = self._known[number]
        if algorithm in known:
            return known[algorithm]
        digest = await self._files[number].hashed(algorithm)
        if digest is not None:
            self._known[number] = {**self._known[number], algorithm: digest}
        return digest
