"""Digests of a source's files before they are uploaded."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from aioassets.model.chunks import ChunkList
from aioassets.model.digests import SHA256
from aioassets.model.files import SHA256_BYTES, DigestColumn, FileTable
from aioassets.push.sources import LocalFiles, SourceFile
from aioassets.runtime.known_hashes import KnownHashes
from aioassets.runtime.threads import in_thread

MIN_TREE: Final = 100
"""Minimum number of files in a tree whose digests are also remembered together, which is faster to look up."""
MIN_REMEMBERED: Final = 64 * 1024
"""Minimum size in bytes of a file in such a tree whose digest is remembered by itself after a push."""
_TREE: Final = "sha256 of a tree"


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
        self._chunks: dict[int, ChunkList] = {}
        self._is_new_tree = self._is_known_tree = False
        self._began = KnownHashes.now()

    async def recall(self, numbers: Iterable[int] | None = None) -> None:
        """Look up the SHA-256 digests that are known from earlier.

        Args:
            numbers: the numbers of the files to look up at least; `None` for all of them.
        """
        if self._known is not None and self._local is not None:
            await in_thread(self._recall, self._known, self._local, None if numbers is None else list(numbers))

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
        if digest is not None and algorithm == SHA256:
            self._note(number, digest)
        elif digest is not None:
            self._add(number, algorithm, digest)
        return digest

    async def chunks(self, number: int) -> ChunkList | None:
        """Return the chunks of the large file with the given number. Its digest is then at hand, too.

        Returns:
            The chunks; `None` if the file would have to be downloaded, or can't be divided.

        Raises:
            SourceChanged: if the file has changed since the scan.
            SourceError: if the file can't be read.
        """
        if number in self._chunks:
            return self._chunks[number]
        divided = await self._files[number].divided()
        if divided is None or divided.chunks is None:
            return None
        if self.at_hand(number) is None:
            self._note(number, divided.sha256)
        self._chunks[number] = divided.chunks
        return divided.chunks

    def chunks_at_hand(self, number: int) -> ChunkList | None:
        """Return the chunks of a file if `chunks` has computed them, or `None`."""
        return self._chunks.get(number)

    def are_those_of(self, table: FileTable) -> bool:
        """Return whether all digests at hand are those of a version's files, in the same order. Blocking."""
        return self._column is not None and table.has_digests(self._column)

    async def keep(self) -> None:
        """Remember the SHA-256 digests that were computed, for later calls."""
        if self._known is not None and self._local is not None and (self._computed or self._is_new_tree):
            await in_thread(self._keep, self._known, self._local)

    async def keep_all(self, digests: DigestColumn) -> None:
        """Remember the digests of all files, which a push has computed in the meantime.

        In a tree of many files, single small files are left out. Hashing them again takes little longer than a look-up.
        """
        if self._known is not None and self._local is not None:
            await in_thread(self._keep_all, self._known, self._local, digests)

    def _keep_all(self, known: KnownHashes, local: LocalFiles, digests: DigestColumn) -> None:
        if digests.all_sha256 is None:
            return
        is_large_tree = len(self._files) >= MIN_TREE
        least = MIN_REMEMBERED if is_large_tree else 0
        large = (number for number, size in enumerate(local.sizes) if size >= least)
        self._computed += (number for number in large if self.at_hand(number) is None)
        self._is_new_tree = self._is_new_tree or (is_large_tree and not self._is_known_tree)
        self._column = digests
        if self._computed or self._is_new_tree:
            self._keep(known, local)

    def _note(self, number: int, sha256: str) -> None:
        self._add(number, SHA256, sha256)
        self._computed.append(number)

    def _recall(self, known: KnownHashes, local: LocalFiles, numbers: Sequence[int] | None) -> None:
        if len(local) >= MIN_TREE:
            [found] = known.find(_TREE, [local.tree_state()])
            if found is not None and len(found) == SHA256_BYTES * len(local):
                self._column = DigestColumn.of_sha256(found)
                self._is_known_tree = True
                return
            self._is_new_tree = numbers is None
        numbers = range(len(local)) if numbers is None else numbers
        digests = known.find(SHA256, list(local.states(numbers)))
        for number, digest in zip(numbers, digests, strict=True):
            if digest is not None:
                self._add(number, SHA256, digest.hex())

    def _keep(self, known: KnownHashes, local: LocalFiles) -> None:
        computed, self._computed = self._computed, []
        digests = (bytes.fromhex(self.at_hand(number) or "") for number in computed)
        known.remember(SHA256, zip(local.states(computed), digests, strict=True), self._began)
        is_new, self._is_new_tree = self._is_new_tree, False
        if is_new and self._column is not None and (packed := self._column.all_sha256) is not None:
            known.remember(_TREE, [(local.tree_state(), packed)], self._began)

    def _add(self, number: int, algorithm: str, digest: str) -> None:
        if self._column is None:
            self._column = DigestColumn(len(self._files))
        self._column[number] = {**self._column[number], algorithm: digest}
