"""Digests of a source's files before they are uploaded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from aioassets.model.digests import SHA256
from aioassets.model.files import DigestColumn
from aioassets.push.sources import LocalFiles, SourceFile
from aioassets.runtime.known_hashes import FileState, KnownHashes
from aioassets.runtime.threads import in_thread


class Hashes:
    """The digests of a source's files, each of which is computed on first use unless it is known from earlier.

    A push, its plan and `if_changed` share them, so that no file is hashed twice.

    Args:
        files: the files, right after they were scanned.
        known: the digests of local files from earlier calls; `None` to use none.
    """

    def __init__(self, files: Sequence[SourceFile], known: KnownHashes | None = None) -> None:
        self._files = files
        self._local = files if isinstance(files, LocalFiles) else None
        self._known = known
        self._column: DigestColumn | None = None
        self._computed: list[int] = []
        self._began = KnownHashes.now()

    async def recall(self, numbers: Iterable[int] | None = None) -> None:
        """Look up the SHA-256 digests that are known from earlier.

        Args:
            numbers: the numbers of the files to look up; `None` for all of them.
        """
        if self._known is not None and self._local is not None:
            wanted = range(len(self._files)) if numbers is None else list(numbers)
            await in_thread(self._recall, self._known, self._local, wanted)

    def at_hand(self, number: int, algorithm: str = SHA256) -> str | None:
        """Return a digest of a file if it was computed or recalled, or `None`."""
        return None if self._column is None else self._column[number].get(algorithm)

    async def of(self, number: int, algorithm: str = SHA256) -> str | None:
        """Return a digest of the file with the given number, or `None` if it would have to be downloaded.

        Raises:
            SourceChanged: if the file has changed since the scan.
            SourceError: if the file can't be read.
        """
        if (digest := self.at_hand(number, algorithm)) is not None:
            return digest
        digest = await self._files[number].hashed(algorithm)
        if digest is not None:
            self._add(number, algorithm, digest)
            if algorithm == SHA256:
                self._computed.append(number)
        return digest

    async def keep(self) -> None:
        """Remember the SHA-256 digests that were computed, for later calls."""
        if self._computed and self._known is not None and self._local is not None:
            computed, self._computed = self._computed, []
            await in_thread(self._known.remember, SHA256, self._of_local(self._local, computed), self._began)

    def _recall(self, known: KnownHashes, local: LocalFiles, numbers: Sequence[int]) -> None:
        digests = known.find(SHA256, list(local.states(numbers)))
        for number, digest in zip(numbers, digests, strict=True):
            if digest is not None:
                self._add(number, SHA256, digest.hex())

    def _of_local(self, local: LocalFiles, numbers: Sequence[int]) -> Iterator[tuple[FileState, bytes]]:
        for number, state in zip(numbers, local.states(numbers), strict=True):
            yield state, bytes.fromhex(self.at_hand(number) or "")

    def _add(self, number: int, algorithm: str, digest: str) -> None:
        if self._column is None:
            self._column = DigestColumn(len(self._files))
        self._column[number] = {**self._column[number], algorithm: digest}
