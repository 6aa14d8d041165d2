"""Tables of files."""

from __future__ import annotations

import tracemalloc
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioassets import FileEntry
from aioassets.model.files import DigestColumn, FileTable

SHA256 = st.binary(min_size=32, max_size=32).map(bytes.hex)
DIGESTS: st.SearchStrategy[dict[str, str]] = st.one_of(
    st.just({}),
    SHA256.map(lambda digest: {"sha256": digest}),
    st.just({"sha256": "0" * 64}),
    st.dictionaries(st.sampled_from(["sha256", "md5", "crc32c"]), st.text("0123456789abcdefx ", max_size=64)),
)
ENTRIES = st.lists(st.builds(FileEntry, st.text(), st.none() | st.integers(0, 2**63 - 1), DIGESTS, st.booleans()))


@given(ENTRIES)
def test_a_table_is_the_sequence_of_its_entries(entries: list[FileEntry]) -> None:
    table = FileTable(entries)

    assert [*table] == entries
    assert len(table) == len(entries)
    assert table[1:] == tuple(entries[1:])
    assert [table[number] for number in range(-len(entries), len(entries))] == entries * 2
    assert table.paths == [entry.path for entry in entries]
    assert [*table.sizes] == [entry.size for entry in entries]
    sizes = [entry.size for entry in entries]
    assert table.total == (None if None in sizes else sum(size or 0 for size in sizes))
    assert table.algorithms == {tuple(entry.digests) for entry in entries}


@given(ENTRIES, ENTRIES)
def test_tables_are_equal_if_their_entries_are(these: list[FileEntry], those: list[FileEntry]) -> None:
    assert (FileTable(these) == FileTable(those)) == (these == those)
    assert FileTable(these) == FileTable(these)
    assert FileTable(these) != these


def test_indexing_beyond_the_end_raises() -> None:
    with pytest.raises(IndexError):
        FileTable([FileEntry("a")])[1]


@given(ENTRIES, st.randoms())
def test_digests_can_be_set_in_any_order(entries: list[FileEntry], random: st.DrawFn) -> None:
    column = DigestColumn(len(entries))
    for final in (False, True):  # the second pass overwrites the first
        for number in sorted(range(len(entries)), key=lambda _: random.random()):  # type: ignore[attr-defined]
            column[number] = entries[number if final else -1].digests

    assert FileTable.of(entries, column) == FileTable(entries)


@dataclass(frozen=True, slots=True)
class Known:
    path: str
    size: int = 1
    executable: bool = False


def test_a_row_takes_less_than_60_bytes_beside_its_path() -> None:
    files = [Known(f"folder/{number}") for number in range(10_000)]
    digests = {"sha256": "ab" * 32}
    tracemalloc.start()
    try:
        column = DigestColumn(len(files))
        for number in range(len(files)):
            column[number] = digests
        table = FileTable.of(files, column)
        taken = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()

    assert table[9_999] == FileEntry("folder/9999", 1, digests)
    assert taken / len(files) < 60
