"""Deltas between old and new files."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioassets.model.chunks import ChunkList
from aioassets.model.deltas import ChunkIndex, Delta, Gap, Run

LONGEST = 12


def divided(data: bytes) -> ChunkList:
    """Return chunks that end after every eighth byte value on average, or after `LONGEST` bytes."""
    lengths, digests, start = [], b"", 0
    for stop in range(1, len(data) + 1):
        if data[stop - 1] % 8 == 0 or stop - start == LONGEST or stop == len(data):
            lengths.append(stop - start)
            digests += hashlib.sha256(data[start:stop]).digest()
            start = stop
    return ChunkList(lengths, digests)


def delta_of(new: bytes, path: str = "old", **old: bytes) -> Delta:
    return ChunkIndex({name: divided(data) for name, data in old.items()}).delta(divided(new), path)


def applied(delta: Delta, new: bytes, old: Mapping[str, bytes]) -> bytes:
    """Assemble a file: bytes of gaps come from the new file, as they would be sent, and all others from old files."""
    found = b""
    for piece in delta.pieces():
        assert piece.start == len(found)
        if isinstance(piece, Gap):
            found += new[piece.start : piece.stop]
        else:
            found += old[piece.source][piece.source_start : piece.source_start + piece.length]
    return found


FEW_VALUES = st.lists(st.integers(0, 3), max_size=200).map(bytes)
"""Content that repeats itself, so that many chunks are equal."""
CONTENT = st.binary(max_size=200) | FEW_VALUES
PLACE = st.floats(0, 1)
EDITS: dict[str, Callable[[bytes, int, int, bytes], bytes]] = {
    "insert": lambda data, start, _, new: data[:start] + new + data[start:],
    "delete": lambda data, start, stop, _: data[:start] + data[stop:],
    "move": lambda data, start, stop, _: data[stop:] + data[start:stop] + data[:start],
    "overwrite": lambda data, start, _, new: data[:start] + new + data[start + len(new) :],
    "truncate": lambda data, start, *_: data[:start],
    "append": lambda data, _, __, new: data + new,
}


@st.composite
def edited(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """Draw a file, and what random edits make of it."""
    old = data = draw(CONTENT)
    for name in draw(st.lists(st.sampled_from(sorted(EDITS)), max_size=4)):
        start, stop = sorted(int(draw(PLACE) * len(data)) for _ in range(2))
        data = EDITS[name](data, start, stop, draw(st.binary(max_size=20)))
    return old, data


def check(delta: Delta, new: bytes, old: Mapping[str, bytes]) -> None:
    """Check that a delta covers the new file in order, and gives its very bytes."""
    assert applied(delta, new, old) == new
    assert delta.sent + delta.reused == delta.size == len(new)
    assert sum(gap.length for gap in delta.gaps) == delta.sent
    assert all(piece.length > 0 for piece in delta.pieces())


@given(edited(), st.integers(0, 60), st.integers(0, 60))
def test_random_edits_give_the_very_bytes(pair: tuple[bytes, bytes], shortest: int, least: int) -> None:
    old, new = pair
    delta = delta_of(new, old=old)

    for each in (delta, delta.joined(shortest), delta.with_minimum(least), delta.joined(shortest).with_minimum(least)):
        check(each, new, {"old": old})


@given(edited(), CONTENT, st.sampled_from(["old", "other", "none"]))
def test_any_of_several_old_files_may_be_the_base(pair: tuple[bytes, bytes], other: bytes, path: str) -> None:
    old, new = pair

    check(delta_of(new, path, old=old, other=other), new, {"old": old, "other": other})


@given(edited(), st.integers(1, 60))
def test_all_pieces_but_the_last_have_the_minimum_length(pair: tuple[bytes, bytes], least: int) -> None:
    old, new = pair
    pieces = list(delta_of(new, old=old).with_minimum(least).pieces())

    assert [piece for piece in pieces[:-1] if piece.length < least] == []


@given(edited(), st.integers(1, 60))
def test_no_joined_run_between_two_gaps_is_short(pair: tuple[bytes, bytes], shortest: int) -> None:
    old, new = pair
    pieces = list(delta_of(new, old=old).joined(shortest).pieces())

    for before, piece, after in zip(pieces, pieces[1:], pieces[2:], strict=False):
        if isinstance(before, Gap) and isinstance(after, Gap):
            assert piece.length >= shortest


@given(CONTENT)
def test_an_unchanged_file_is_one_run(data: bytes) -> None:
    assert delta_of(data, old=data).runs == ((Run(0, len(data), "old", 0),) if data else ())


@given(FEW_VALUES)
def test_a_file_that_repeats_itself_is_one_run_of_the_file_it_was_renamed_from(data: bytes) -> None:
    assert len(delta_of(data, "new", old=data).runs) == bool(data)


def test_the_file_of_the_same_path_is_preferred_among_equal_ones() -> None:
    data = bytes(range(100))

    assert delta_of(data, "b", a=data, b=data).runs == (Run(0, 100, "b", 0),)


def test_a_run_goes_on_at_the_same_distance_after_a_change() -> None:
    """Equal chunks occur before, but taking them from there would end the run."""
    old = bytes(50) + bytes(range(1, 200)) + bytes(50)
    new = old[:100] + b"\xff" + old[101:]

    assert {run.source_start - run.start for run in delta_of(new, old=old).runs} == {0}


def test_bytes_that_were_inserted_move_the_rest() -> None:
    old = bytes(range(250))
    new = old[:100] + b"inserted" + old[100:]
    delta = delta_of(new, old=old)

    assert [run.source_start - run.start for run in delta.runs] == [0, -8]
    assert delta.sent <= 8 + 2 * LONGEST


def test_a_list_that_lies_about_a_length_is_not_trusted() -> None:
    new = divided(b"abcdefgh")
    old = ChunkList([2], new[0].digest)

    assert ChunkIndex({"old": old}).delta(new, "old").runs == ChunkIndex({"old": old}).delta(new, "x").runs == ()


def runs(*pieces: tuple[int, int]) -> tuple[Run, ...]:
    return tuple(Run(start, stop - start, "old", start) for start, stop in pieces)


JOINED = {
    "a short run between gaps": (runs((10, 12)), ()),
    "a long run": (runs((10, 20)), runs((10, 20))),
    "a short run at the start": (runs((0, 2)), runs((0, 2))),
    "a short run at the end": (runs((98, 100)), runs((98, 100))),
    "a short run after a short one": (runs((10, 12), (14, 16)), ()),
    "a short run next to another": (runs((10, 20), (20, 22)), runs((10, 20), (20, 22))),
}


@pytest.mark.parametrize(("before", "after"), JOINED.values(), ids=JOINED.keys())
def test_gaps_with_a_short_run_between_them_are_joined(before: tuple[Run, ...], after: tuple[Run, ...]) -> None:
    assert Delta(100, before).joined(10) == Delta(100, after)


MINIMUM = {
    "short runs are sent": (runs((20, 25), (40, 60)), runs((40, 60))),
    "a short run at the end is kept": (runs((98, 100)), runs((98, 100))),
    "a gap takes bytes from the run after it": (runs((0, 20), (22, 60)), runs((0, 20), (30, 60))),
    "the first gap takes bytes from the run after it": (
        runs(
            (1, 60),
        ),
        runs((10, 60)),
    ),
    "a gap takes bytes from the run before it": (runs((0, 20), (22, 33)), runs((0, 12), (22, 33))),
    "a gap takes the whole run after it": (runs((0, 10), (12, 23), (40, 60)), runs((0, 10), (40, 60))),
    "a gap takes all but one byte of the last run": (runs((0, 20), (91, 100)), runs((0, 20), (91, 100))),
    "a gap takes bytes of the last run": (runs((0, 90), (95, 100)), runs((0, 85), (95, 100))),
    "a gap takes one byte of the run before the last": (runs((0, 90), (99, 100)), runs((0, 89), (99, 100))),
    "a gap takes the last run": (runs((0, 10), (19, 20)), runs((0, 10))),
    "the last gap may be short": (runs((0, 99)), runs((0, 99))),
}


@pytest.mark.parametrize(("before", "after"), MINIMUM.values(), ids=MINIMUM.keys())
def test_pieces_are_merged_for_a_minimum_length(before: tuple[Run, ...], after: tuple[Run, ...]) -> None:
    size = 20 if before[-1].stop == 20 else 100

    assert Delta(size, before).with_minimum(10) == Delta(size, after)
