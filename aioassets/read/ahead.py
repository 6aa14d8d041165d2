"""Reading ahead of a program that reads a file in order."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final

import anyio

from aioassets.errors import IntegrityError, UsageError
from aioassets.fetch.digests import check_digest
from aioassets.model.digests import Hash
from aioassets.model.files import FileEntry
from aioassets.read.pieces import Piece, Pieces
from aioassets.runtime.digests import update_digest
from aioassets.runtime.tasks import supervised
from aioassets.runtime.threads import in_thread

SHORTEST: Final = 256 * 1024
"""Minimum number of bytes to read at once. A request takes about as much CPU time as their transfer."""
LONGEST: Final = 8 * 1024 * 1024
"""Maximum number of bytes to read at once. Transferring that many takes much longer than a round trip."""


class Allowance:
    """The memory in which all files of a manager may read ahead.

    Args:
        nbytes: its size in bytes.
    """

    def __init__(self, nbytes: int) -> None:
        self.size = nbytes
        """The size in bytes."""
        self.left = nbytes
        """The number of bytes that aren't taken."""

    @property
    def longest(self) -> int:
        """The maximum number of bytes to read at once, so that four requests can run in parallel."""
        return min(LONGEST, max(SHORTEST, self.size // 4))

    def take(self, nbytes: int) -> bool:
        """Take some bytes, and return whether so many were left."""
        if nbytes > self.left:
            return False
        self.left -= nbytes
        return True

    def give_back(self, nbytes: int) -> None:
        """Give back bytes that were taken."""
        self.left += nbytes


class OrderedHash:
    """The hash of a file whose pieces are read in order.

    Args:
        label: the name of the file for error messages.
        entry: the file's entry in the manifest.
        digest: a new hash object.
        size: the size of the file in bytes.
    """

    def __init__(self, label: str, entry: FileEntry, digest: Hash, size: int) -> None:
        self._label = label
        self._entry = entry
        self._digest = digest
        self._size = size
        self._reached = 0
        self.damage: IntegrityError | None = None
        """The error after which the file can't be trusted."""

    def update(self, piece: Piece) -> None:
        """Hash the bytes of the next piece. After the last one, compare the digest. Blocking.

        Raises:
            IntegrityError: if the file differs from its entry.
        """
        update_digest(self._digest, piece.view(self._reached, piece.stop))
        self._reached = piece.stop
        if piece.stop >= self._size:
            try:
                check_digest(self._label, self._entry, self._digest.hexdigest())
            except IntegrityError as error:
                self.damage = error
                raise


class Segment:
    """A range of a file that a task reads.

    Args:
        pieces: the content of the file.
        start: the offset of the first byte.
        stop: the offset after the last byte.
        previous: the segment before this one; `None` if it is the first.
        digest: the hash of the file, if everything is hashed in order.
    """

    def __init__(self, pieces: Pieces, start: int, stop: int, previous: Segment | None, digest: OrderedHash | None):
        self.start = start
        self.stop = stop
        self.taken = 0
        self._pieces = pieces
        self._previous = previous
        self._digest = digest
        self._task = asyncio.get_running_loop().create_task(supervised(self._read))
        self._task.add_done_callback(_retrieved)

    async def piece(self) -> Piece:
        """Wait for the piece that contains the range. If this call is cancelled, the task goes on."""
        await asyncio.wait([self._task])
        if self._task.cancelled():
            raise UsageError("The file was closed while it was being read.")
        return self._task.result()

    async def _read(self) -> Piece:
        piece = await self._pieces.piece(self.start, self.stop)
        self.stop = piece.stop
        if self._digest is not None and not piece.verified:
            if self._previous is not None:
                await self._previous.piece()  # after an error, nothing can be verified
            await in_thread(self._digest.update, piece)
        self._previous = None  # otherwise, all pieces would be kept
        return piece

    async def cancel(self) -> None:
        """Cancel the task, and wait for its end."""
        self._task.cancel()
        with anyio.CancelScope(shield=True):
            await asyncio.wait([self._task])


def _retrieved(task: asyncio.Task[Piece]) -> None:
    """Mark the error of a task as retrieved, so that asyncio doesn't log it if no call asks for the piece."""
    if not task.cancelled():
        task.exception()


class Ahead:
    """The segments of a file from some offset on. It reads ahead as much as was read in order before.

    Args:
        pieces: the content of the file.
        size: the size of the file in bytes.
        start: the offset of the first byte.
        allowance: the memory for reading ahead.
        digest: the hash of the file, if everything is read in order from its start.
    """

    def __init__(self, pieces: Pieces, size: int, start: int, allowance: Allowance, digest: OrderedHash | None) -> None:
        self._pieces = pieces
        self._size = size
        self._origin = start
        self._end = start
        self._allowance = allowance
        self._digest = digest
        self._segments: deque[Segment] = deque()
        self._last: Segment | None = None

    def has(self, position: int) -> bool:
        """Return whether reading can go on at an offset without leaving anything out."""
        return (self._segments[0].start if self._segments else self._end) <= position <= self._end

    async def piece(self, position: int, wanted: int) -> Piece:
        """Return a piece that contains the byte at an offset, for which `has` returns true.

        Args:
            position: the offset. The file doesn't end there.
            wanted: the number of bytes that are asked for.
        """
        self._drop_before(position)
        self._begin(position, max(1, wanted))
        segment = self._segments[0]
        piece = await segment.piece()
        if segment is self._last:
            self._end = segment.stop
        return piece

    def _drop_before(self, position: int) -> None:
        while self._segments and self._segments[0].stop <= position:
            self._allowance.give_back(self._segments.popleft().taken)

    def _begin(self, position: int, wanted: int) -> None:
        read = position - self._origin
        last = min(self._size, position + wanted + min(read, self._allowance.size))
        while self._end < last and (not self._segments or self._pieces.is_ready):
            stop = self._end_of(max(wanted, read))
            is_taken = self._allowance.take(stop - self._end)
            if not is_taken and self._segments:
                break
            if not is_taken:
                stop = self._end_of(wanted)
            self._last = Segment(self._pieces, self._end, stop, self._last, self._digest)
            self._last.taken = stop - self._end if is_taken else 0
            self._segments.append(self._last)
            self._end = stop

    def _end_of(self, wanted: int) -> int:
        """Return the end of the next segment. Large ones end near multiples of half their length, as parts may do."""
        length = min(self._allowance.longest, max(SHORTEST, wanted))
        grain = 1 << (length // 2).bit_length() - 1
        stop = self._pieces.ceil((self._end + length) // grain * grain)
        return stop if stop + SHORTEST < self._size else self._size

    def __del__(self) -> None:
        """Give back what was taken, if the file was never closed."""
        self._allowance.give_back(sum(segment.taken for segment in self._segments))

    async def aclose(self) -> None:
        """Cancel what is being read."""
        segments, self._segments = self._segments, deque()
        for segment in segments:
            self._allowance.give_back(segment.taken)
            await segment.cancel()
