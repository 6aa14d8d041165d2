"""Chunk lists and `.chunks` documents, which come from a store and are untrusted."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioassets.model import chunks as module
from aioassets.model.chunks import CHUNKING, DIGEST_BYTES, Chunk, Chunking, ChunkList, ChunkTable, document_digest


def chunk_list(*lengths: int) -> ChunkList:
    return ChunkList(lengths, b"".join(hashlib.sha256(b"%d" % length).digest() for length in lengths))


TABLE = ChunkTable({"b/w.bin": chunk_list(3, 5, 2), "a.bin": chunk_list(7)})


def document() -> dict[str, Any]:
    """Return the fields of a valid document, to be damaged."""
    fields: dict[str, Any] = json.loads(TABLE.to_json())
    return fields


def test_a_list_is_a_sequence_of_contiguous_chunks() -> None:
    chunks = chunk_list(3, 5, 2)

    assert [(chunk.offset, chunk.length, chunk.stop) for chunk in chunks] == [(0, 3, 3), (3, 5, 8), (8, 2, 10)]
    assert (len(chunks), chunks.size, chunks.longest, list(chunks.offsets)) == (3, 10, 5, [0, 3, 8])
    assert chunks[-1] == Chunk(8, 2, hashlib.sha256(b"2").digest())
    assert chunks[1:] == (chunks[1], chunks[2])
    assert chunks != chunk_list(3, 2, 5)


def test_an_empty_list_is_that_of_an_empty_file() -> None:
    assert (list(chunk_list()), chunk_list().size, chunk_list().longest) == ([], 0, 0)


LISTS = st.lists(st.integers(1, 2**32 - 1), max_size=20).flatmap(
    lambda lengths: st.binary(min_size=DIGEST_BYTES * len(lengths), max_size=DIGEST_BYTES * len(lengths)).map(
        lambda digests: ChunkList(lengths, digests)
    )
)
RULES = replace(CHUNKING, max_size=2**32 - 1)


@given(st.dictionaries(st.sampled_from(["", "a", "b/c", "é"]), LISTS))
def test_a_table_survives_encoding_and_parsing(files: dict[str, ChunkList]) -> None:
    table = ChunkTable(files, RULES)
    data = table.to_json()

    assert ChunkTable.from_json(data) == table
    assert ChunkTable.recorded(data, document_digest(data)) == table


def test_equal_tables_are_equal_documents() -> None:
    """Otherwise a resumed push would meet its own document as a foreign one."""
    reordered = ChunkTable({path: TABLE.files[path] for path in reversed(list(TABLE.files))})

    assert reordered.to_json() == TABLE.to_json()


def test_a_document_takes_less_than_a_fiftieth_percent_of_its_files() -> None:
    chunks = chunk_list(*[CHUNKING.average_size] * 4096)

    assert len(ChunkTable({"": chunks}).to_json()) < chunks.size / 5000


def test_a_document_other_than_the_recorded_one_is_refused() -> None:
    with pytest.raises(ValueError, match="but the manifest records 'abc'"):
        ChunkTable.recorded(TABLE.to_json(), "abc")


def test_chunks_of_a_file_of_another_size_are_not_used() -> None:
    assert TABLE.of("a.bin", 7) is TABLE.files["a.bin"]
    assert (TABLE.of("a.bin", 8), TABLE.of("a.bin", None), TABLE.of("c", 7)) == (None, None, None)


def test_only_tables_with_the_same_digest_algorithm_can_be_compared() -> None:
    assert TABLE.is_comparable(ChunkTable(chunking=replace(CHUNKING, algorithm="other", min_size=1)))
    assert not TABLE.is_comparable(ChunkTable(chunking=replace(CHUNKING, digest="sha256")))


def test_fields_of_later_versions_are_ignored() -> None:
    value = {**document(), "new": [1]}
    value["files"][0]["new"] = value["chunking"]["new"] = {}

    assert ChunkTable.from_json(json.dumps(value).encode()) == TABLE


def row(**fields: object) -> Callable[[dict[str, Any]], object]:
    return lambda value: value["files"][0].update(fields)


def rules(**fields: object) -> Callable[[dict[str, Any]], object]:
    return lambda value: value["chunking"].update(fields)


DAMAGE: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "no rules": (lambda value: value.pop("chunking"), "its chunking must be an object"),
    "files as an object": (lambda value: value.update(files={}), "its files must be a list"),
    "a row that is a list": (lambda value: value["files"].append([]), "its file entry must be an object"),
    "a path twice": (lambda value: value["files"].append(value["files"][0]), "it lists the path 'a.bin' twice"),
    "a path outside": (row(path="../x"), "it lists the path '../x': it must be a relative path"),
    "a path with control characters": (row(path="a\x1b[2J"), "it contains a control character"),
    "a path that is a number": (row(path=1), "its file path must be a string"),
    "no path": (lambda value: value["files"][0].pop("path"), "its file path must be a string"),
    "a gap": (row(size=9), "its chunks have 7 bytes in total, which isn't the size of their file"),
    "a negative size": (row(size=-1), "its chunks have 7 bytes in total"),
    "a size that is a fraction": (row(size=7.0), "its file size must be an integer"),
    "lengths as a text": (row(lengths="7"), "its lengths must be a list"),
    "a length of zero": (row(lengths=[0]), "it lists a chunk without bytes"),
    "a negative length": (row(lengths=[-7]), "it lists a length of a chunk that isn't between 1 and 2[*][*]32 - 1"),
    "a huge length": (row(lengths=[2**40]), "it lists a length of a chunk that isn't between"),
    "a length that is a fraction": (row(lengths=[7.0]), "its lengths must be integers"),
    "a length that is a Boolean": (row(lengths=[True]), "its lengths must be integers"),
    "a length more": (row(lengths=[3, 4]), "it lists more or fewer digests than lengths of chunks"),
    "a digest more": (row(digests=base64.b64encode(bytes(64)).decode()), "it lists more or fewer digests"),
    "digests in other characters": (row(digests="?" * 44), "its digests aren't valid base64"),
    "digests that aren't ASCII": (row(digests="é" * 44), "its digests aren't valid base64"),
    "digests as a list": (row(digests=[]), "its digests must be a string"),
    "a chunk above the maximum": (
        rules(min_size=1, average_size=1, max_size=6),
        "it lists a chunk of more than 6 bytes",
    ),
    "sizes out of order": (rules(min_size=2**21), "its sizes of chunks are not in ascending order"),
    "a size of zero": (rules(min_size=0), "its sizes of chunks are not in ascending order"),
    "a huge maximum": (rules(max_size=2**32), "its sizes of chunks are not in ascending order"),
    "no threshold": (rules(threshold=None), "its threshold must be an integer"),
    "a negative threshold": (rules(threshold=-1), "its threshold is negative"),
    "an algorithm to print": (rules(algorithm="\x1b[2J"), r"its algorithm is not a valid name: '\\x1b\[2J'"),
    "a long algorithm": (rules(digest="x" * 5000), "its digest is not a valid name: 'xxx"),
}


@pytest.mark.parametrize(("damage", "message"), DAMAGE.values(), ids=DAMAGE.keys())
def test_a_damaged_document_is_refused_with_a_short_printable_reason(
    damage: Callable[[dict[str, Any]], object], message: str
) -> None:
    value = document()
    damage(value)

    with pytest.raises(ValueError, match=message) as caught:
        ChunkTable.from_json(json.dumps(value).encode())

    assert f"{caught.value}".isprintable()
    assert len(f"{caught.value}") < 250


def test_a_document_with_too_many_chunks_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    data = TABLE.to_json()
    monkeypatch.setattr(module, "MAX_CHUNKS", 3)

    with pytest.raises(ValueError, match="or 3 chunks"):
        ChunkTable.from_json(data)
    with pytest.raises(ValueError, match="it has more than 3 chunks"):
        ChunkTable(TABLE.files)


def test_a_document_with_too_many_files_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_ENTRIES", 1)

    with pytest.raises(ValueError, match="it has more than 1 files"):
        ChunkTable.from_json(TABLE.to_json())


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.just("\ud800"),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
        max_leaves=8,
    ),
    st.sampled_from(["files", "chunking", "path", "size", "lengths", "digests", "max_size", "algorithm"]),
)
def test_any_value_in_any_field_is_either_valid_or_refused_by_a_value_error(value: Any, name: str) -> None:
    fields = document()
    for place in (fields, fields["files"][0], fields["chunking"]):
        if name in place:
            place[name] = value
    with contextlib.suppress(ValueError):
        table = ChunkTable.from_json(json.dumps(fields).encode())
        assert ChunkTable.from_json(table.to_json()) == table


@given(st.binary(max_size=40))
def test_arbitrary_bytes_are_refused_by_a_value_error(data: bytes) -> None:
    with pytest.raises(ValueError, match="it "):
        ChunkTable.from_json(data)


def test_the_rules_survive_encoding_and_parsing() -> None:
    assert Chunking.from_value(CHUNKING.to_json()) == CHUNKING
