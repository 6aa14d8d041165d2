"""Plans for reading many ranges of a file: which requests to send, and which of their bytes each range gets."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

from aioassets.errors import UsageError
from aioassets.read.pieces import Piece, Pieces, Span
from aioassets.runtime.tasks import for_each
from aioassets.runtime.threads import in_thread

GAP: Final = 256 * 1024
"""Maximum number of unneeded bytes to read between two ranges. A request takes about 0.4 ms of CPU time, in which about
as many bytes arrive."""
LONGEST: Final = 8 * 1024 * 1024
"""Maximum number of bytes per request. Transferring that many takes much longer than a round trip."""


def checked_ranges(ranges: Iterable[Span], size: int, label: str) -> list[Span]:
    """Return ranges as a list, cut off at the end of the file.

    Raises:
        UsageError: if a range isn't a pair of integers, or they aren't in ascending order from 0.
    """
    found: list[Span] = []
    for each in ranges:
        try:
            start, stop = each
            is_valid = 0 <= start <= stop and not isinstance(start + stop, float)
        except (TypeError, ValueError):
            is_valid = False
        if not is_valid:
            raise UsageError(
                f"Cannot read the range {each!r} of {label}: write (start, stop), with 0 <= start <= stop, in bytes."
            )
        found.append((min(start, size), min(stop, size)))
    return found


def joined(spans: Iterable[Span], gap: int = GAP) -> Iterator[Span]:
    """Join spans that overlap, or that are at most `gap` bytes apart. Empty spans are left out."""
    reached: Span | None = None
    for start, stop in sorted(span for span in spans if span[0] < span[1]):
        if reached is not None and start <= reached[1] + gap:
            reached = reached[0], max(reached[1], stop)
            continue
        if reached is not None:
            yield reached
        reached = start, stop
    if reached is not None:
        yield reached


def divided(spans: Iterable[Span], ceil: Callable[[int], int], longest: int = LONGEST) -> Iterator[Span]:
    """Divide long spans, so that their parts can be read in parallel.

    Args:
        spans: the spans.
        ceil: a function that returns the first offset from a given one at which they can be divided.
        longest: the length in bytes from which spans are divided.
    """
    for first, last in spans:
        start = first
        while start < last:
            stop = min(last, ceil(start + longest))
            yield start, stop
            start = stop


class Plan:
    """The spans to read for some ranges, and the ranges that get bytes of each span.

    Args:
        ranges: the ranges.
        pieces: the content of the file.
    """

    def __init__(self, ranges: Sequence[Span], pieces: Pieces) -> None:
        wanted = [(pieces.floor(start), pieces.ceil(stop)) for start, stop in ranges if start < stop]
        self._ranges = ranges
        self.spans = list(divided(joined(wanted), pieces.ceil))
        self._takers: list[list[int]] = [[] for _ in self.spans]
        self._parts: list[dict[int, bytes]] = [{} for _ in ranges]
        starts = [start for start, _ in self.spans]
        for number, (start, stop) in enumerate(ranges):
            if start < stop:
                for span in range(bisect_right(starts, start) - 1, bisect_left(starts, stop)):
                    self._takers[span].append(number)

    def take(self, span: int, piece: Piece) -> None:
        """Copy the bytes of a span to the ranges that contain some of them."""
        first, last = self.spans[span]
        for number in self._takers[span]:
            start, stop = self._ranges[number]
            self._parts[number][span] = bytes(piece.view(max(start, first), min(stop, last)))

    def results(self) -> list[bytes]:
        """Return the bytes of all ranges. Blocking."""
        return [_concatenated([parts[span] for span in sorted(parts)]) for parts in self._parts]


def _concatenated(parts: list[bytes]) -> bytes:
    return parts[0] if len(parts) == 1 else b"".join(parts)


async def read_ranges(pieces: Pieces, ranges: Sequence[Span], at_once: int) -> tuple[list[bytes], bool]:
    """Read ranges in parallel.

    Args:
        pieces: the content of the file.
        ranges: the ranges, which end within the file.
        at_once: the maximum number of requests in parallel. The budget of the manager limits them, too.

    Returns:
        The bytes of each range, and whether all of them were verified.
    """
    if len(ranges) > 1 or any(stop - start > LONGEST for start, stop in ranges):
        await pieces.prepare()  # a single request is sent at the same time
    plan = await in_thread(Plan, ranges, pieces)
    is_verified = True

    async def read(number: int) -> None:
        nonlocal is_verified
        piece = await pieces.piece(*plan.spans[number])
        plan.take(number, piece)
        is_verified &= piece.verified

    await for_each(range(len(plan.spans)), read, limit=at_once)
    return await in_thread(plan.results), is_verified
