"""Reuse of the files of a base: finding equal files, and having the store copy them."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from aioassets.drivers.protocol import Driver, ObjectInfo, Run
from aioassets.errors import AioAssetsError, CannotCompose, ObjectNotFound, PreconditionFailed
from aioassets.model.chunks import ChunkList
from aioassets.model.digests import SHA256
from aioassets.push.base import Base, BaseChunks
from aioassets.push.hashes import Hashes
from aioassets.push.sources import Copied, SourceFile
from aioassets.runtime.chunking import can_chunk, has_chunks
from aioassets.runtime.effects import Effects
from aioassets.runtime.lanes import side_by_side
from aioassets.runtime.threads import THREADS, in_thread

logger = logging.getLogger(__name__)


class BaseDiffers(Exception):
    """Raised when a copy has other content than the manifest of the base says. Never leaves the package."""


MIN_SHARE: Final = 0.25
"""Minimum share of a file's bytes that a base must have. Below it, the file is uploaded in one piece."""


class Reuse:
    """The files of a push that the store may copy from a base, or compose of its files.

    Args:
        files: the files of the push.
        hashes: their digests.
        read_base: a function that returns the base, or `None` if there is none. It is called once, by `prepare`.
        composable: the function of the store's driver that tells which ranges of an object the store would copy.
    """

    def __init__(
        self,
        files: Sequence[SourceFile],
        hashes: Hashes,
        read_base: Callable[[], Awaitable[Base | None]],
        composable: Callable[[int, Sequence[Run]], Sequence[Run]],
    ) -> None:
        self._files = files
        self._hashes = hashes
        self._composable = composable
        self._read_base: Callable[[], Awaitable[Base | None]] | None = read_base
        self._base: Base | None = None
        self._composes = self._has_ended = False

    @property
    def base(self) -> str | None:
        """The name of the base, such as `model:1.2`; `None` if there is none."""
        return None if self._base is None else self._base.label

    async def prepare(self) -> None:
        """Read the base, unless this was done before, and look up the digests that are known from earlier."""
        if self._read_base is None:
            return
        base, self._read_base = await self._read_base(), None
        if base is not None and await in_thread(self._has_large_files):
            base = await base.with_chunks() if await in_thread(can_chunk) else base
        self._base = base
        self._composes = base is not None and base.chunks is not None and self._can_compose(base.chunks)
        if base is not None:
            await self._hashes.recall(await in_thread(self._candidates, base))

    def _has_large_files(self) -> bool:
        return any(has_chunks(file.size) for file in self._files)

    def _candidates(self, base: Base) -> Sequence[int]:
        """Return the numbers of the files that may have bytes in common with a base. Blocking."""
        sizes, divided = base.sizes, self._composes
        return [
            number
            for number, file in enumerate(self._files)
            if file.size in sizes or (divided and has_chunks(file.size))
        ]

    def end(self, reason: object) -> None:
        """Upload all further files."""
        if not self._has_ended:
            logger.debug("Copying no more files from %s: %s", self.base, reason)
        self._has_ended = True

    async def size(self) -> int:
        """Return the total size in bytes of the files that the base has.

        Raises:
            SourceChanged: if the source has changed since the scan.
            SourceError: if a file can't be read.
        """
        if self._base is None:
            return 0
        found, numbers = 0, await in_thread(self._candidates, self._base)

        async def look(count: int) -> None:
            nonlocal found
            number = numbers[count]
            if await self.find(number) is not None:
                found += self._files[number].size
            else:
                found += sum(run.size for run in await self.runs(number))

        await side_by_side((self._files[number].size for number in numbers), len(numbers), look, THREADS)
        await self._hashes.keep()
        return found

    async def find(self, number: int) -> ObjectInfo | None:
        """Return the object of the base that has the content of a file. Hash the file only if a size is equal.

        Raises:
            SourceChanged: if the file has changed since the scan.
            SourceError: if the file can't be read.
        """
        base, size = self._base, self._files[number].size
        if base is None or self._has_ended or size not in base.sizes:
            return None
        if self._hashes.at_hand(number) is None and self._is_divided(number):
            await self._hashes.chunks(number)  # which computes the digest, too
        digest = await self._hashes.of(number)
        return None if digest is None else base.find(size, digest)

    async def runs(self, number: int) -> Sequence[Run]:
        """Return the runs of a large file that the store can copy from the base; none if they are too few.

        Raises:
            SourceChanged: if the file has changed since the scan.
            SourceError: if the file can't be read.
        """
        old, file = None if self._base is None else self._base.chunks, self._files[number]
        if old is None or not self._is_divided(number):
            return ()
        chunks = await self._hashes.chunks(number)
        if chunks is None:
            return ()
        runs = await in_thread(lambda: self._composable(file.size, old.runs(chunks, file.path)))
        return runs if sum(run.size for run in runs) >= MIN_SHARE * file.size else ()

    def note_not_composed(self, error: CannotCompose) -> None:
        """Compose no further files if the store would refuse this again with other files."""
        lasting = error.__cause__ is not None and not isinstance(error.__cause__, (ObjectNotFound, PreconditionFailed))
        self._composes = self._composes and not lasting

    def _is_divided(self, number: int) -> bool:
        """Return whether to look for chunks of a file in the base."""
        return self._composes and not self._has_ended and has_chunks(self._files[number].size)

    def _can_compose(self, chunks: BaseChunks) -> bool:
        """Return whether the store can compose objects at all."""
        original = next(iter(chunks.objects.values()))
        return bool(self._composable(original.size, [Run(0, original.size, original, 0)]))

    def sha256(self, number: int) -> str | None:
        """Return the SHA-256 of a file if it is known."""
        return self._hashes.at_hand(number)

    def chunks(self, number: int, original: ObjectInfo | None = None) -> ChunkList | None:
        """Return the chunks of a file if they are known.

        Args:
            number: the number of the file.
            original: the object of the base with the same content, if there is one.
        """
        found = self._hashes.chunks_at_hand(number)
        if found is None and original is not None and self._base is not None:
            return self._base.chunks_of(original)
        return found

    async def copy(self, original: ObjectInfo, driver: Driver, key: str, effects: Effects) -> Copied | None:
        """Have the store copy an object of the base. Return `None` if the file must be uploaded.

        A copy with an unknown effect does no harm: it may only create an object with the content of the file.

        Args:
            original: the object.
            driver: the driver of the store.
            key: the key to copy to.
            effects: the record of requests whose effect is unknown.

        Raises:
            BaseDiffers: if the store made a copy, but with other content.
        """
        try:
            copy = await driver.copy(driver, original, key, effects=effects)
        except BaseException as error:
            effects.note_error(error)
            if not isinstance(error, AioAssetsError):
                raise
            self._note_failure(original, error)
            return None
        return _checked(original, copy)

    def _note_failure(self, original: ObjectInfo, error: AioAssetsError) -> None:
        logger.debug("Uploading a file instead of copying %s: %s", original.key, error)
        if not isinstance(error, (ObjectNotFound, PreconditionFailed)):  # it would happen again with other files
            self.end(error)


def _checked(original: ObjectInfo, copy: ObjectInfo) -> Copied:
    expected = original.size, original.checksums[SHA256]
    if (copy.size, copy.checksums.get(SHA256, expected[1])) != expected:
        raise BaseDiffers(original.key)
    return Copied({SHA256: expected[1]}, copy.revision)
