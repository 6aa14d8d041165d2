"""Sources that report the bytes that are read, and stop a push."""

from __future__ import annotations

import contextlib
import itertools
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence

from aioassets.drivers.protocol import Data, Run, Stream
from aioassets.model.digests import SHA256
from aioassets.push.sources import HashedSource


class WatchedSource:
    """A source that reports bytes when they are first read, and raises an exception once the push should stop.

    Args:
        source: the source.
        check: a function that raises an exception once the push should stop.
        report: a function that receives the number of bytes that are read for the first time.
        reported: the number of bytes that aren't reported any more.

    Attributes:
        error: the last error raised by the source or a callback, as opposed to the store.
    """

    def __init__(
        self, source: HashedSource, check: Callable[[], None], report: Callable[[int], None], reported: int = 0
    ) -> None:
        self._source = source
        self._check = check
        self._report = report
        self._reported = reported
        self.error: BaseException | None = None

    @property
    def size(self) -> int:
        return self._source.size

    @property
    def digests(self) -> Mapping[str, str]:
        return self._source.digests

    async def read(self, offset: int, size: int) -> Data:
        try:
            self._check()
            data = await self._source.read(offset, size)
            self._passed(offset, offset + len(data))
        except Exception as error:
            self.error = error
            raise
        return data

    async def copy_to(self, descriptor: int, offset: int, size: int) -> bool:
        try:
            self._check()
            copied = await self._source.copy_to(descriptor, offset, size)
            if copied:
                self._passed(offset, offset + size)
        except Exception as error:
            self.error = error
            raise
        return copied

    def _passed(self, start: int, stop: int) -> None:
        if fresh := max(0, stop - max(start, self._reported)):
            self._reported += fresh
            self._report(fresh)


class WatchedStream:
    """A stream that reports bytes when they are read, and stops waiting for its producer once the push should stop.

    Args:
        stream: the stream.
        waiting: a function that returns the context in which to wait for the producer.
        report: a function that receives numbers of bytes.

    Attributes:
        error: the last error raised by the stream or the context, as opposed to the store.
    """

    def __init__(
        self,
        stream: Stream,
        waiting: Callable[[], contextlib.AbstractContextManager[None]],
        report: Callable[[int], None],
    ) -> None:
        self._stream = stream
        self._waiting = waiting
        self._report = report
        self.error: BaseException | None = None

    @property
    def size(self) -> int:
        return self._stream.size

    @property
    def digests(self) -> Mapping[str, str]:
        return self._stream.digests

    async def readinto(self, buffer: memoryview) -> int:
        try:
            with self._waiting():
                count = await self._stream.readinto(buffer)
        except Exception as error:
            self.error = error
            raise
        self._report(count)
        return count


class ComposedSource(WatchedSource):
    """A source whose digest is known, for an object that is composed of runs and uploaded bytes.

    The driver reads the bytes to upload, and most stores' drivers read the runs to compare them with the copies.

    Args:
        source: the source.
        sha256: its digest.
        runs: the runs that the store could copy.
        check: a function that raises an exception once the push should stop.
        report: a function that receives the number of bytes in a range that is read for the first time, and how many
            of them are in runs.
    """

    def __init__(
        self,
        source: HashedSource,
        sha256: str,
        runs: Sequence[Run],
        check: Callable[[], None],
        report: Callable[[int, int], None],
    ) -> None:
        super().__init__(source, check, unreported)
        self._sha256 = sha256
        self._runs = runs
        self._report_range = report
        self._starts: set[int] = set()
        self.reported = 0

    @property
    def digests(self) -> Mapping[str, str]:
        return {SHA256: self._sha256}

    def _passed(self, start: int, stop: int) -> None:
        if start in self._starts:
            return
        self._starts.add(start)
        fresh = min(stop - start, self.size - self.reported)
        self.reported += fresh
        self._report_range(fresh, min(fresh, self._in_runs(start, stop)))

    def _in_runs(self, start: int, stop: int) -> int:
        following = map(self._runs.__getitem__, range(bisect_right(self._runs, start, key=_stop_of), len(self._runs)))
        found = itertools.takewhile(lambda run: run.offset < stop, following)
        return sum(min(stop, _stop_of(run)) - max(start, run.offset) for run in found)


def _stop_of(run: Run) -> int:
    return run.offset + run.size


def unreported(nbytes: int) -> None:
    """Ignore progress. This is the callback for files that are compared instead of being sent."""
