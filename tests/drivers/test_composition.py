"""Which ranges of a composed object the store copies, and which are uploaded."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioassets.drivers.composition import UNLIMITED, Limits, Piece, copied_bytes, copied_runs, pieces_of
from aioassets.drivers.protocol import ObjectInfo, Revision, Run

LIMITS = Limits(least=5, most_sent=8, most_copied=64, parts=100)
S3 = Limits(least=5 * 2**20, most_sent=8 * 2**20, most_copied=64 * 2**20, parts=10_000)
AZURE = Limits(least=2**18, most_sent=8 * 2**20, most_copied=64 * 2**20, parts=50_000)
ORIGINALS = [ObjectInfo(key, 10_000, Revision(key), datetime.now(UTC)) for key in ("one", "other")]


@st.composite
def composed(draw: st.DrawFn) -> tuple[int, list[Run]]:
    """Return the size of an object, and runs in it."""
    runs: list[Run] = []
    offset = 0
    for gap, size in draw(st.lists(st.tuples(st.integers(0, 12), st.integers(1, 90)), max_size=8)):
        original = draw(st.sampled_from(ORIGINALS))
        follows = runs and not gap and runs[-1].info == original and draw(st.booleans())
        start = runs[-1].start + runs[-1].size if follows else draw(st.integers(0, 100))
        runs.append(Run(offset + gap, size, original, start))
        offset += gap + size
    return offset + draw(st.integers(0, 12)), runs


@given(composed())
def test_the_pieces_cover_the_object_within_the_limits(case: tuple[int, list[Run]]) -> None:
    size, runs = case
    pieces = pieces_of(size, runs, LIMITS)
    assert [piece.offset for piece in pieces] == [0, *(piece.stop for piece in pieces)][:-1] if pieces else size == 0
    assert sum(piece.size for piece in pieces) == size
    limits = LIMITS.fitting(size)
    assert all(piece.size >= limits.least for piece in pieces[:-1])
    assert all(0 < piece.size <= (limits.most_copied if piece.run else 2 * limits.least + 8) for piece in pieces)
    assert len(pieces) <= limits.parts


@given(composed(), st.sampled_from([LIMITS, UNLIMITED]))
def test_copied_bytes_are_those_of_the_runs(case: tuple[int, list[Run]], limits: Limits) -> None:
    """Each byte is copied from where a run has it."""
    size, runs = case
    whence = {run.offset + n: (run.info.key, run.start + n) for run in runs for n in range(run.size)}
    for piece in pieces_of(size, runs, limits):
        if piece.run is not None:
            start, stop = piece.span
            found = [(piece.run.info.key, n) for n in range(start, stop)]
            assert found == [whence[n] for n in range(piece.offset, piece.stop)]


@given(composed(), st.sampled_from([LIMITS, UNLIMITED]))
def test_the_ranges_to_copy_are_told_in_advance(case: tuple[int, list[Run]], limits: Limits) -> None:
    """Composing an object of these ranges copies all of them."""
    size, runs = case
    told = copied_runs(size, runs, limits)
    copied = [piece for piece in pieces_of(size, runs, limits) if piece.run is not None]
    assert sum(run.size for run in told) == copied_bytes(copied)
    assert copied_runs(size, told, limits) == told


@given(composed())
def test_little_of_long_runs_is_uploaded(case: tuple[int, list[Run]]) -> None:
    """Of a run of twice the minimum or more, less than the minimum is uploaded at either end."""
    size, runs = case
    lost = sum(run.size - min(run.size, max(0, run.size - 2 * 4) if run.size >= 10 else 0) for run in runs)
    outside = size - sum(run.size for run in runs)
    assert size - copied_bytes(pieces_of(size, runs, LIMITS)) <= outside + lost


@given(composed())
def test_without_limits_exactly_the_runs_are_copied(case: tuple[int, list[Run]]) -> None:
    size, runs = case
    assert copied_bytes(pieces_of(size, runs, UNLIMITED)) == sum(run.size for run in runs)


def test_the_number_of_parts_is_limited() -> None:
    """Many short runs in a large object become fewer parts."""
    size = 10**6
    runs = [Run(offset, 90, ORIGINALS[0], offset) for offset in range(0, size, 100)]
    assert len(pieces_of(size, runs, Limits(1, 10**6, 10**6, parts=100))) <= 100


@pytest.mark.parametrize(
    "runs",
    [
        [Run(0, 5, ORIGINALS[0], 0), Run(4, 5, ORIGINALS[0], 0)],
        [Run(5, 5, ORIGINALS[0], 0), Run(0, 5, ORIGINALS[0], 0)],
        [Run(6, 5, ORIGINALS[0], 0)],
        [Run(0, 0, ORIGINALS[0], 0)],
        [Run(0, 5, ORIGINALS[0], -1)],
        [Run(-1, 5, ORIGINALS[0], 0)],
    ],
    ids=["overlapping", "out of order", "beyond the end", "empty", "before the original", "before the object"],
)
def test_invalid_runs_are_refused(runs: Sequence[Run]) -> None:
    with pytest.raises(ValueError, match="overlaps another, or doesn't fit"):
        pieces_of(10, runs, LIMITS)


@pytest.mark.parametrize(("limits", "most"), [(S3, 0.0105), (AZURE, 0.0105)], ids=["s3", "azure"])
def test_of_a_large_file_changed_in_five_regions_little_is_uploaded(limits: Limits, most: float) -> None:
    """1% of 4 GiB changed: hardly more than that is uploaded."""
    size, region = 4 * 2**30, 4 * 2**30 // 500
    changed = [n * size // 5 + 12_345 for n in range(5)]
    edges = [0, *(edge for start in changed for edge in (start, start + region)), size]
    runs = [Run(start, stop - start, ORIGINALS[0], start) for start, stop in list(pairwise(edges))[::2]]
    pieces = pieces_of(size, runs, limits)
    assert 0.01 <= 1 - copied_bytes(pieces) / size <= most
    assert len(pieces) < 100


def test_of_a_large_file_with_an_insertion_one_part_is_uploaded() -> None:
    size, at = 4 * 2**30 + 1000, 100_000_000
    runs = [Run(0, at, ORIGINALS[0], 0), Run(at + 1000, size - at - 1000, ORIGINALS[0], at)]
    assert size - copied_bytes(pieces_of(size, runs, S3)) == S3.least


def test_a_short_run_at_the_end_is_the_last_part() -> None:
    assert pieces_of(13, [Run(10, 3, ORIGINALS[0], 0)], LIMITS) == [
        Piece(0, 5),
        Piece(5, 5),
        Piece(10, 3, Run(10, 3, ORIGINALS[0], 0)),
    ]
