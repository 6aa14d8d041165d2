"""Composing objects: which ranges the store copies from existing objects, and which are uploaded."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from aioassets.drivers.bodies import MIB
from aioassets.drivers.contents import has_bytes_of, present, upload_by
from aioassets.drivers.protocol import Driver, Expect, ObjectInfo, Revision, Run, Source, Uploaded
from aioassets.errors import AccessDenied, CannotCompose
from aioassets.runtime.tasks import for_each

COPIED_PART: Final = 64 * MIB
"""Maximum size in bytes of a part that the store copies. Larger parts take long without showing progress."""
COPIES_AT_ONCE: Final = 8
"""Maximum number of parts of an object that the store copies concurrently."""

Send = Callable[[Sequence["Piece"], str, Source, Expect], Awaitable[Revision]]
"""A function that composes an object of pieces, and returns its revision, or raises `PreconditionFailed`."""


@dataclass(frozen=True, slots=True)
class Limits:
    """A store's limits on the parts of an object.

    Attributes:
        least: the minimum size in bytes of every part but the last.
        most_sent: the size in bytes above which uploaded bytes are split into several parts.
        most_copied: the same for copied bytes; at least twice `least`.
        parts: the maximum number of parts.
    """

    least: int
    most_sent: int
    most_copied: int
    parts: int

    def fitting(self, size: int) -> Limits:
        """Return limits for an object of this size, so that parts of the minimum size are not too many."""
        least = max(self.least, -(-size // (self.parts - 1)))
        return replace(self, least=least, most_copied=max(self.most_copied, 2 * least))


UNLIMITED: Final = Limits(least=1, most_sent=sys.maxsize, most_copied=sys.maxsize, parts=sys.maxsize)
"""Limits of stores on this machine."""


@dataclass(frozen=True, slots=True)
class Piece:
    """One part of a composed object.

    Attributes:
        offset: the offset in the object.
        size: the size in bytes.
        run: the run that it is copied from, or `None` if it is uploaded.
    """

    offset: int
    size: int
    run: Run | None = None

    @property
    def stop(self) -> int:
        """The offset in the object after the last byte."""
        return self.offset + self.size

    @property
    def span(self) -> tuple[int, int]:
        """The range in the original to copy: the offset of the first byte, and the offset after the last one."""
        assert self.run is not None  # noqa: S101 - only called for pieces that are copied
        start = self.run.start + self.offset - self.run.offset
        return start, start + self.size


def pieces_of(size: int, runs: Iterable[Run], limits: Limits) -> Sequence[Piece]:
    """Return the pieces of which to compose an object, in ascending order and without gaps.

    A run that is too short for a part is uploaded, together with the bytes around it. If the bytes between two
    copied ranges are too few for a part, they are extended by bytes of these ranges. So a run of twice the
    minimum or more is always copied, except for less than the minimum at either end.

    Args:
        size: the size of the object in bytes.
        runs: the runs that the store could copy, in ascending order of their offsets.
        limits: the store's limits.

    Raises:
        ValueError: the runs overlap, or extend beyond the object.
    """
    limits = limits.fitting(size)
    pieces: list[Piece] = []
    offset = 0
    for copied in [*_copied(size, runs, limits.least), Piece(size, 0)]:
        pieces += _split(Piece(offset, copied.offset - offset), limits.least, limits.most_sent)
        pieces += _split(copied, limits.least, limits.most_copied)
        offset = copied.stop
    return pieces


def copied_runs(size: int, runs: Iterable[Run], limits: Limits) -> Sequence[Run]:
    """Return the ranges that are copied if an object is composed of the pieces that `pieces_of` returns.

    Raises:
        ValueError: the runs overlap, or extend beyond the object.
    """
    return [
        Run(piece.offset, piece.size, piece.run.info, piece.span[0])
        for piece in _copied(size, runs, limits.fitting(size).least)
        if piece.run is not None
    ]


def _copied(size: int, runs: Iterable[Run], least: int) -> Sequence[Piece]:
    """Return the ranges to copy. Each, and the bytes before each, are long enough for a part."""
    copied: list[Piece] = []
    for run in _joined(size, runs):
        before = copied[-1] if copied else Piece(0, 0)
        gap = run.offset - before.stop
        missing = max(0, least - gap) if gap else 0
        from_before = min(missing, max(0, before.size - least))
        offset = run.offset + missing - from_before
        rest = run.offset + run.size - offset
        is_last = offset + rest == size
        if rest > from_before and (rest >= least or is_last):
            if from_before:
                copied[-1] = replace(before, size=before.size - from_before)
            copied.append(Piece(offset, rest, run))
    return copied


def _joined(size: int, runs: Iterable[Run]) -> Iterator[Run]:
    """Check runs, and join those that continue each other."""
    last: Run | None = None
    for run in runs:
        stop = 0 if last is None else last.offset + last.size
        if run.size <= 0 or run.start < 0 or run.offset < stop or run.offset + run.size > size:
            raise ValueError(f"the run of {run.size} bytes at {run.offset} overlaps another, or doesn't fit")
        if last is not None and (run.offset, run.start, run.info) == (stop, last.start + last.size, last.info):
            last = replace(last, size=last.size + run.size)
            continue
        if last is not None:
            yield last
        last = run
    if last is not None:
        yield last


def in_parts(size: int, part_size: int) -> Sequence[Piece]:
    """Return the pieces of an object that is uploaded in parts of the same size."""
    return [Piece(offset, min(part_size, size - offset)) for offset in range(0, size, part_size)]


def _split(piece: Piece, least: int, most: int) -> Iterator[Piece]:
    """Split a piece evenly into pieces of at most `most` bytes, unless they would have fewer than `least`."""
    count = min(-(-piece.size // most), max(1, piece.size // least))
    offset = piece.offset
    for number in range(count):
        size = piece.size // count + (number < piece.size % count)
        yield replace(piece, offset=offset, size=size)
        offset += size


def planned(url: str, size: int, runs: Iterable[Run], limits: Limits) -> Sequence[Piece]:
    """Return the pieces of which to compose an object, as `pieces_of` does.

    Raises:
        CannotCompose: there is nothing to copy.
        ValueError: the runs overlap, or extend beyond the object.
    """
    pieces = pieces_of(size, runs, limits)
    if not copied_bytes(pieces):
        raise CannotCompose(url)
    return pieces


def copied_bytes(pieces: Iterable[Piece]) -> int:
    """Return the number of bytes that are copied rather than uploaded."""
    return sum(piece.size for piece in pieces if piece.run is not None)


async def compose_by(
    send: Send,
    driver: Driver,
    key: str,
    source: Source,
    runs: Iterable[Run],
    expected: Expect,
    *,
    limits: Limits,
    compare: Callable[[ObjectInfo, Source, Sequence[Piece]], Awaitable[bool]] | None = None,
) -> Uploaded:
    """Compose an object. It is not an error if the object already exists with the same contents.

    Args:
        send: a function that composes the object.
        driver: the store.
        key: the object's key.
        source: the contents of the object.
        runs: the runs that the store could copy, in ascending order of their offsets.
        expected: the expected current state of the object.
        limits: the store's limits.
        compare: a function that compares an object with the source, given the pieces of which it would be composed;
            `has_bytes_of` by default.

    Raises:
        CannotCompose: there is nothing to copy, or an original doesn't exist in its given state.
        PreconditionFailed: the object already exists with different contents.
    """
    pieces = planned(f"{driver.url}/{key}", source.size, runs, limits)
    await check_originals(driver, pieces)

    async def matches(found: ObjectInfo, source: Source) -> bool:
        return await (has_bytes_of(driver, found, source) if compare is None else compare(found, source, pieces))

    async def composed(key: str, source: Source, expected: Expect) -> Revision:
        return await send(pieces, key, source, expected)

    made = await upload_by(composed, driver, key, source, expected, look_first=True, compare=matches)
    return replace(made, copied=copied_bytes(pieces)) if made.created else made


async def check_originals(driver: Driver, pieces: Iterable[Piece]) -> None:
    """Check that all objects to copy from exist in their given states.

    Some stores ignore the condition on the original. So check before the first copy and after the last one.

    Raises:
        CannotCompose: an original was deleted or replaced, or a range extends beyond it.
    """

    async def check(item: tuple[tuple[str, Revision], int]) -> None:
        (key, revision), stop = item
        try:
            found: ObjectInfo | None = await present(driver, key)
        except AccessDenied as error:  # also the response to a missing key, if the credentials can't list objects
            raise CannotCompose(f"{driver.url}/{key}") from error
        if found is None or found.revision != revision or found.size < stop:
            raise CannotCompose(f"{driver.url}/{key}")

    stops: dict[tuple[str, Revision], int] = {}
    for piece in pieces:
        if piece.run is not None:
            original = (piece.run.info.key, piece.run.info.revision)
            stops[original] = max(stops.get(original, 0), piece.span[1])
    await for_each(stops.items(), check, limit=COPIES_AT_ONCE)
