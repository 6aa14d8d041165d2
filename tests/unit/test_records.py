"""Records of what is cached survive being written; anything else is none."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from aioassets import FileEntry, Manifest
from aioassets.cache import Record

MANIFEST = Manifest(datetime(2026, 1, 1, tzinfo=UTC), True, (FileEntry("a", 1, {"sha256": "ab"}),))
RECORD = Record("s3://bucket", MANIFEST, "model:0.0")


@pytest.mark.parametrize("source", ["s3://bucket", '","manifest":', ',"manifest":', "\\", '"}'])
def test_a_record_survives(source: str) -> None:
    record = Record(source, MANIFEST, "model:0.0")
    found = Record.from_json(record.to_json())

    assert found == record
    assert found.label == record.label


def test_a_record_is_one_json_document() -> None:
    document = json.loads(RECORD.to_json())

    assert set(document) == {"source", "asset", "manifest"}
    assert document["manifest"] == json.loads(MANIFEST.to_json())


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"[]",
        b'{"source":"s3://bucket"}',
        b'{"source":1,"manifest":{}}',
        RECORD.to_json()[:-1],
        RECORD.to_json()[:40],
        RECORD.to_json()[:-2],
        b"\xff" + RECORD.to_json(),
    ],
    ids=range(9),
)
def test_what_is_no_record_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - of the parser or ours: nobody is told
        Record.from_json(data)
