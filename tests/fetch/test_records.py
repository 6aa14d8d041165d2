"""Records of cached versions: they survive a round trip, and other content is refused."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from aioassets import FileEntry, Manifest
from aioassets.fetch.record import Record

MANIFEST = Manifest(datetime(2026, 1, 1, tzinfo=UTC), True, (FileEntry("a", 1, {"sha256": "ab"}),))
RECORD = Record("s3://bucket", MANIFEST, "model:0.0")


def written(record: Record) -> bytes:
    file = io.BytesIO()
    record.write_to(file)
    return file.getvalue()


WRITTEN = written(RECORD)


@pytest.mark.parametrize("source", ["s3://bucket", '","manifest":', ',"manifest":', "\\", '"}'])
def test_a_record_survives_a_round_trip(source: str) -> None:
    record = Record(source, MANIFEST, "model:0.0")
    found = Record.read_from(io.BytesIO(written(record)))

    assert found == record
    assert found.label == record.label


def test_a_record_names_a_payload_that_is_not_in_its_usual_place() -> None:
    found = Record.read_from(io.BytesIO(written(replace(RECORD, payload=".payload-01234567"))))

    assert found.payload == ".payload-01234567"
    head = Record.head_in(io.BytesIO(written(found)))
    assert (head.source, head.payload) == ("s3://bucket", ".payload-01234567")


@pytest.mark.parametrize(
    "payload", ["..", "/etc", ".payload-0123456/", "../.payload-01234567", ".payload-01234567\n", "x.payload-01234567"]
)
def test_a_payload_outside_the_own_folder_is_refused(payload: str) -> None:
    with pytest.raises(ValueError, match="payload"):
        Record.read_from(io.BytesIO(written(replace(RECORD, payload=payload))))


def test_a_record_is_one_json_document() -> None:
    document = json.loads(WRITTEN)

    assert set(document) == {"source", "asset", "files", "size", "manifest"}
    assert document["manifest"] == json.loads(MANIFEST.to_json())


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"[]",
        b'{"source":"s3://bucket"}',
        b'{"source":1,"manifest":{}}',
        b'{"source":"s3://bucket","asset":"0123456789abcdef"}',
        WRITTEN[:-1],
        WRITTEN[:40],
        WRITTEN[:-2],
        b"\xff" + WRITTEN,
    ],
    ids=range(10),
)
def test_other_content_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - of the parser, or of the record
        Record.read_from(io.BytesIO(data))
