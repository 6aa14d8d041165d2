"""Incremental reading and writing of JSON."""

from __future__ import annotations

import hashlib
import json
import tracemalloc
from functools import partial
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from aioassets.model.jsontext import Reader, dump, load
from aioassets.runtime.threads import CHUNK_SIZE
from aioassets.store.streamed import StreamedJson, encoded

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)
OBJECTS = st.dictionaries(TEXT, VALUES, max_size=4)
STYLES = st.fixed_dictionaries({"indent": st.sampled_from([None, 1, "\t"]), "ensure_ascii": st.booleans()})
SIZES = st.sampled_from([1, 2, 3, 7, 64, 1024])


def reading(data: bytes, size: int) -> dict[str, Any]:
    """Parse in chunks of this size."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("aioassets.model.jsontext._CHUNK", size)
        return load(data)


@given(OBJECTS, STYLES, SIZES)
def test_reading_in_chunks_equals_reading_at_once(value: dict[str, Any], style: dict[str, Any], size: int) -> None:
    assert reading(json.dumps(value, **style).encode(), size) == value


@given(OBJECTS, st.data(), SIZES)
def test_damaged_json_is_read_as_by_the_standard_library_or_refused(
    value: dict[str, Any], data: st.DataObject, size: int
) -> None:
    text = json.dumps(value).encode()
    at = data.draw(st.integers(0, len(text)))
    damaged = text[:at] + data.draw(st.binary(max_size=2)) + text[at + data.draw(st.integers(0, 2)) :]
    try:
        expected = json.loads(damaged.decode())
    except ValueError:
        expected = None
    if not isinstance(expected, dict) or not storable(expected):
        with pytest.raises(ValueError, match=r"^it (isn't|holds|is nested)"):
            reading(damaged, size)
    else:
        assert reading(damaged, size) == expected


def storable(value: Any) -> bool:
    """Return whether a value can be encoded as strict JSON."""
    try:
        return bool(json.dumps(value, allow_nan=False, ensure_ascii=False).encode())
    except ValueError:
        return False


@given(st.lists(VALUES, max_size=5), OBJECTS, SIZES)
@example([], {}, 1)
def test_lists_are_read_item_by_item(items: list[Any], others: dict[str, Any], size: int) -> None:

    text = json.dumps({"before": others, "items": items, "after": others}).encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("aioassets.model.jsontext._CHUNK", size)
        reader = Reader(text)
        found: dict[str, Any] = {}
        for key in reader.fields():
            rows = reader.items() if key == "items" else None
            found[key] = reader.value() if rows is None else [*rows]
    assert found == {"before": others, "items": items, "after": others}


def test_items_is_none_if_the_value_is_not_a_list() -> None:
    reader = Reader(b'{"a": {}}')
    for _ in reader.fields():
        assert reader.items() is None
        assert reader.value() == {}


@given(OBJECTS)
def test_encoding_equals_that_of_the_standard_library(value: dict[str, Any]) -> None:
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
    assert encoded(lambda: value) == dump(value) == text


def rows(count: int) -> dict[str, Any]:
    return {"items": ({"path": f"folder/{number}", "size": number} for number in range(count))}


def test_a_short_document_is_encoded_once() -> None:
    made: list[dict[str, Any]] = []

    def make() -> dict[str, Any]:
        made.append(rows(3))
        return made[-1]

    assert encoded(make) == dump(rows(3))
    assert len(made) == 1


def test_a_long_document_is_encoded_each_time_it_is_read() -> None:
    text, whole = encoded(partial(rows, 100_000)), dump(rows(100_000))
    assert isinstance(text, StreamedJson)
    assert [*text] == [*text]
    assert max(map(len, text)) < CHUNK_SIZE / 10
    assert bytes(text) == whole
    assert (len(text), text.sha256) == (len(whole), hashlib.sha256(whole).hexdigest())


def test_reading_and_writing_need_little_more_memory_than_the_document() -> None:

    text = dump(rows(100_000))

    def taken(work: Any) -> int:
        tracemalloc.start()
        try:
            work()
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    def read() -> None:
        reader = Reader(text)
        for _ in reader.fields():
            assert sum(1 for _ in reader.items() or ()) == 100_000

    def write() -> None:
        made = encoded(partial(rows, 100_000))
        assert isinstance(made, StreamedJson)
        assert sum(map(len, made)) == len(text)

    assert len(text) > 3.5 * CHUNK_SIZE
    assert taken(read) < 2 * len(text)
    assert taken(write) < 3.2 * CHUNK_SIZE
