"""Deltas: which bytes of a new file are in files that are already there, and which have to be sent."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import accumulate

from aioassets.model.chunks import Chunk, ChunkList


@dataclass(frozen=True, slots=True)
class Run:
    """A range of a new file that an old file also has, perhaps at another offset.

    Attributes:
        start: the offset in the new file in bytes.
        length: the length in bytes.
        source: the path of the old file.
        source_start: the offset in the old file in bytes.
    """

    start: int
    length: int
    source: str
    source_start: int

    @property
    def stop(self) -> int:
        """The offset in the new file of the first byte after the run."""
        return self.start + self.length

    def without_first(self, count: int) -> Run:
        """Return the run without its first bytes."""
        return Run(self.start + count, self.length - count, self.source, self.source_start + count)

    def without_last(self, count: int) -> Run:
        """Return the run without its last bytes."""
        return replace(self, length=self.length - count)

    def precedes(self, other: Run) -> bool:
        """Return whether another run continues this one, in the new file and in the old one."""
        ends = (self.stop, self.source, self.source_start + self.length)
        return ends == (other.start, other.source, other.source_start)


@dataclass(frozen=True, slots=True)
class Gap:
    """A range of a new file that no old file is known to have.

    Attributes:
        start: the offset in bytes.
        stop: the offset of the first byte after it.
    """

    start: int
    stop: int

    @property
    def length(self) -> int:
        """The length in bytes."""
        return self.stop - self.start


@dataclass(frozen=True, slots=True)
class Delta:
    """A plan for assembling a file from runs of old files, and from gaps that have to be sent.

    Attributes:
        size: the size of the file in bytes.
        runs: the runs, in order and without overlaps.
    """

    size: int
    runs: tuple[Run, ...] = ()

    @property
    def reused(self) -> int:
        """The number of bytes in runs."""
        return sum(run.length for run in self.runs)

    @property
    def sent(self) -> int:
        """The number of bytes in gaps."""
        return self.size - self.reused

    def pieces(self) -> Iterator[Run | Gap]:
        """Iterate over the runs and the gaps between them, from the start of the file to its end."""
        reached = 0
        for run in self.runs:
            if run.start > reached:
                yield Gap(reached, run.start)
            yield run
            reached = run.stop
        if reached < self.size:
            yield Gap(reached, self.size)

    def within(self, start: int, stop: int) -> Iterator[Run | Gap]:
        """Iterate over the runs and gaps in a range of the file, cut to that range."""
        reached = start
        for number in range(bisect_right(self.runs, start, key=_stop_of), len(self.runs)):
            run = self.runs[number]
            if run.start >= stop:
                break
            if run.start > reached:
                yield Gap(reached, run.start)
            yield run.without_first(max(0, start - run.start)).without_last(max(0, run.stop - stop))
            reached = run.stop
        if reached < stop:
            yield Gap(reached, stop)

    @property
    def gaps(self) -> tuple[Gap, ...]:
        """The gaps, in order."""
        return tuple(piece for piece in self.pieces() if isinstance(piece, Gap))

    def joined(self, shortest: int) -> Delta:
        """Return the delta without short runs between two gaps, so that fewer and longer ranges are sent.

        Args:
            shortest: the minimum length in bytes of a run between two gaps.
        """
        kept: list[Run] = []
        for run, following in zip(self.runs, (*(run.start for run in self.runs[1:]), self.size), strict=False):
            reached = kept[-1].stop if kept else 0
            if run.length >= shortest or run.start == reached or run.stop == following:
                kept.append(run)
        return Delta(self.size, tuple(kept))

    def with_minimum(self, least: int) -> Delta:
        """Return a delta whose runs and gaps all have at least a given length, except the last piece of the file.

        Short runs are sent. A short gap takes bytes from a run next to it, or the whole following run.

        Args:
            least: the minimum length in bytes, such as that of the parts of a multipart upload.
        """
        kept: list[Run] = []
        for run in self.runs:
            is_last = run.stop == self.size
            if run.length < least and not is_last:
                continue
            gap = run.start - (kept[-1].stop if kept else 0)
            lacking = least - gap if gap else 0
            if lacking <= 0:
                kept.append(run)
            elif run.length - lacking >= (1 if is_last else least):
                kept.append(run.without_first(lacking))
            elif kept and kept[-1].length - lacking >= least:
                kept[-1:] = [kept[-1].without_last(lacking), run]
        return Delta(self.size, tuple(kept))


def _stop_of(run: Run) -> int:
    return run.stop


class ChunkIndex:
    """An index of the chunks of old files.

    Chunks are looked up by their digests, so only lists with the same digest algorithm may be combined. The index takes
    about 200 bytes per chunk.

    Args:
        files: the chunks of the old files by path.
    """

    def __init__(self, files: Mapping[str, ChunkList]) -> None:
        self._files = dict(files)
        self._paths = list(self._files)
        self._firsts = list(accumulate(map(len, self._files.values()), initial=0))
        self._numbers: dict[bytes, int] = {}
        for first, chunks in zip(self._firsts, self._files.values(), strict=False):
            for number in range(len(chunks)):
                self._numbers.setdefault(chunks.digest(number), first + number)

    def delta(self, new: ChunkList, path: str) -> Delta:
        """Return the delta for a new file.

        Where equal chunks occur several times, the one that continues the current run is preferred, so that runs are
        long.

        Args:
            new: the chunks of the new file.
            path: the path of the old file that is probably the most similar one; it needn't exist.
        """
        runs: list[Run] = []
        source, shift = path, 0
        for chunk in new:
            found = self._continued(source, chunk, shift) or self._anywhere(chunk)
            if found is None:
                continue
            source, shift = found.source, found.source_start - found.start
            if runs and runs[-1].precedes(found):
                runs[-1] = replace(runs[-1], length=runs[-1].length + found.length)
            else:
                runs.append(found)
        return Delta(new.size, tuple(runs))

    def _continued(self, source: str, chunk: Chunk, shift: int) -> Run | None:
        """Return a run of one chunk if an old file has the chunk at the given distance from its offset."""
        chunks = self._files.get(source)
        start = chunk.offset + shift
        if chunks is None or start < 0:
            return None
        number = bisect_left(chunks.offsets, start)
        if number == len(chunks) or chunks.offsets[number] != start:
            return None
        return _run(chunk, source, chunks[number])

    def _anywhere(self, chunk: Chunk) -> Run | None:
        """Return a run of one chunk if any old file has the chunk."""
        number = self._numbers.get(chunk.digest)
        if number is None:
            return None
        place = bisect_right(self._firsts, number) - 1
        source = self._paths[place]
        return _run(chunk, source, self._files[source][number - self._firsts[place]])


def _run(chunk: Chunk, source: str, old: Chunk) -> Run | None:
    """Return a run of one chunk, or `None` if the chunks differ. Lists from a store may be wrong."""
    if (chunk.length, chunk.digest) != (old.length, old.digest):
        return None
    return Run(chunk.offset, chunk.length, source, old.offset)
