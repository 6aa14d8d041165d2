"""Manifests, claims and indexes survive being written and parsed; anything else is one clear error."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioassets import FileEntry, Manifest, Pusher
from aioassets.manifest import Claim, ClaimState, VersionIndex, parse_meta, path_problem

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
SEGMENT = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="/\\"), min_size=1, max_size=20
).filter(lambda segment: segment not in (".", ".."))
PATHS = st.lists(st.lists(SEGMENT, min_size=1, max_size=3).map("/".join), unique=True, max_size=6).filter(
    lambda paths: not any(other.startswith(f"{path}/") for path in paths for other in paths)
)
DATES = st.datetimes(timezones=st.just(UTC))


@st.composite
def manifests(draw: st.DrawFn) -> Manifest:
    files = tuple(
        FileEntry(path, draw(st.integers(0, 2**60)), {"sha256": draw(st.text("0123456789abcdef"))}, draw(st.booleans()))
        for path in sorted(draw(PATHS))
    )
    return Manifest(
        push_date=draw(DATES),
        is_directory=True,
        files=files,
        pushed_by=Pusher(draw(st.none() | TEXT), draw(st.none() | TEXT)),
        message=draw(st.none() | TEXT.filter(bool)),
        labels=draw(st.dictionaries(TEXT, TEXT, max_size=3)),
        token=draw(st.none() | TEXT.filter(bool)),
    )


@given(manifests())
def test_a_manifest_survives(manifest: Manifest) -> None:
    assert parse_meta(manifest.to_json()) == manifest


def test_a_file_is_one_entry_without_a_path() -> None:
    manifest = Manifest(datetime(2026, 1, 1, tzinfo=UTC), False, (FileEntry("", 3, {"sha256": "ab"}),))
    assert parse_meta(manifest.to_json()) == manifest
    assert "contents" not in json.loads(manifest.to_json())


@given(st.sampled_from(ClaimState), TEXT, TEXT, st.integers(0), st.integers(0))
def test_a_claim_survives_and_is_no_manifest(
    state: ClaimState, token: str, operation: str, pid: int, renewals: int
) -> None:
    claim = Claim(token, operation, "f", "m", pid, "1", Pusher("ann", None), state, renewals)
    assert parse_meta(claim.to_json()) == claim
    assert {"push_date", "is_directory", "contents"}.isdisjoint(json.loads(claim.to_json()))
    assert claim.renewed().to_json() != claim.to_json()


def test_what_modelkit_wrote_has_neither_sizes_nor_digests() -> None:
    file = parse_meta(b'{"push_date": "2024-05-06T07:08:09.123456+00:00", "is_directory": false}')
    assert isinstance(file, Manifest)
    assert (file.files, file.size, file.verifiable) == ((FileEntry(""),), None, False)
    folder = parse_meta(b'{"push_date": "2024-05-06T07:08:09Z", "is_directory": true, "contents": ["a", "b/c"]}')
    assert isinstance(folder, Manifest)
    assert [entry.path for entry in folder.files] == ["a", "b/c"]


DIRECTORY: dict[str, Any] = {"push_date": "2024-05-06T07:08:09Z", "is_directory": True, "contents": ["a"]}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"push_date": "yesterday"}, "push_date"),
        ({"push_date": 3}, "push_date"),
        ({"is_directory": "yes"}, "is_directory"),
        ({"contents": "a"}, "contents"),
        ({"contents": [1]}, "contents"),
        ({"contents": ["../a"]}, r"\.\./a"),
        ({"contents": ["/etc/passwd"]}, "/etc/passwd"),
        ({"contents": ["a\\b"]}, "backslash"),
        ({"contents": ["a\u0000"]}, "control"),
        ({"contents": ["a//b"]}, "a//b"),
        ({"contents": ["a", "a"]}, "twice"),
        ({"contents": ["a", "a/b"]}, "both as a file and as a folder"),
        ({"empty_directories": ["a"]}, "both as a file and as a folder"),
        ({"empty_directories": [".."]}, r"\.\."),
        ({"files": []}, "same paths"),
        ({"files": [{"path": "a", "size": -1}]}, "negative"),
        ({"files": [{"path": "a", "size": True}]}, "size"),
        ({"files": [{"path": "a", "size": 1, "digests": {"sha256": 1}}]}, "digest"),
        ({"labels": {"a": 1}}, "label"),
        ({"message": 1}, "message"),
    ],
)
def test_a_manifest_that_is_not_sound_is_refused(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse_meta(json.dumps(DIRECTORY | change).encode())


def test_a_file_has_no_folders() -> None:
    value = {"push_date": "2024-05-06T07:08:09Z", "is_directory": False, "empty_directories": ["/outside", "../up"]}
    with pytest.raises(ValueError, match="folders"):
        parse_meta(json.dumps(value).encode())


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[]", b"null", b"\xff", b"[" * 100_000, b'{"aioassets_claim": {}}', b"{}"]
)
def test_what_is_no_meta_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="it"):
        parse_meta(data)


def test_an_index_keeps_what_it_does_not_know() -> None:
    index = VersionIndex.from_json(b'{"versions": ["1.0", "0.0", "1.0"], "owner": {"team": "a"}}')
    assert index.versions == ("1.0", "0.0")
    assert json.loads(index.with_versions(["1.1"]).to_json()) == {"versions": ["1.1"], "owner": {"team": "a"}}


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b'{"versions": "1.0"}', b'{"versions": [1]}', b"\x00"])
def test_what_is_no_index_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="it"):
        VersionIndex.from_json(data)


@given(st.text())
def test_a_path_without_a_problem_stays_inside(path: str) -> None:
    if path_problem(path) is None:
        assert not path.startswith("/")
        assert {"", ".", ".."}.isdisjoint(path.split("/"))
        assert path.encode().decode() == path
