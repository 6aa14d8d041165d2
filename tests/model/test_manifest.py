"""Encoding and parsing of manifests, claims and indexes."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tools.rules import limit_entries

from aioassets import FileEntry, Manifest, Pusher
from aioassets.model.claim import Claim, ClaimState
from aioassets.model.documents import parse_meta
from aioassets.model.fields import MAX_ENTRIES
from aioassets.model.index import VersionIndex
from aioassets.model.jsontext import ROWS_PER_CHUNK
from aioassets.model.paths import inner_folders

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
        chunks_digest=draw(st.none() | st.just("0a" * 32)),
    )


@given(manifests())
def test_a_manifest_survives_encoding_and_parsing(manifest: Manifest) -> None:
    assert parse_meta(manifest.to_json()) == manifest


def many_files(count: int) -> Manifest:
    files = tuple(FileEntry(f"é/{n:06}", n, {"sha256": f"{n:064x}"}, executable=n % 2 == 0) for n in range(count))
    folders = tuple(f"empty/{n}" for n in range(count))
    return Manifest(datetime(2026, 1, 1, tzinfo=UTC), True, files, folders, labels={"key": "value"})


@pytest.mark.parametrize("count", [0, 1, ROWS_PER_CHUNK, ROWS_PER_CHUNK + 1, 2 * ROWS_PER_CHUNK + 1])
def test_long_manifests_are_encoded_like_short_ones(count: int) -> None:
    written = many_files(count).to_json()
    assert json.dumps(json.loads(written), ensure_ascii=False, separators=(",", ":")).encode() == written
    assert parse_meta(written) == many_files(count)


def test_few_rows_are_encoded_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    rows: list[int] = []
    dumps = json.dumps

    def watch(value: Any, **options: Any) -> str:
        rows.append(len(value) if isinstance(value, list) else 1)
        return dumps(value, **options)

    monkeypatch.setattr(json, "dumps", watch)
    many_files(3 * ROWS_PER_CHUNK).to_json()
    assert max(rows) == ROWS_PER_CHUNK


def test_a_file_asset_has_one_entry_with_an_empty_path() -> None:
    manifest = Manifest(datetime(2026, 1, 1, tzinfo=UTC), False, (FileEntry("", 3, {"sha256": "ab"}),))
    assert parse_meta(manifest.to_json()) == manifest
    assert "contents" not in json.loads(manifest.to_json())


@given(st.sampled_from(ClaimState), TEXT, TEXT, st.integers(0), st.integers(0))
def test_a_claim_survives_encoding_and_parsing_and_is_not_a_manifest(
    state: ClaimState, token: str, operation: str, pid: int, renewals: int
) -> None:
    claim = Claim(token, operation, "f", "m", pid, "1", Pusher("ann", None), state, renewals)
    assert parse_meta(claim.to_json()) == claim
    assert {"push_date", "is_directory", "contents"}.isdisjoint(json.loads(claim.to_json()))
    assert claim.renewed().to_json() != claim.to_json()


def test_manifests_of_modelkit_have_neither_sizes_nor_digests() -> None:
    file = parse_meta(b'{"push_date": "2024-05-06T07:08:09.123456+00:00", "is_directory": false}')
    assert isinstance(file, Manifest)
    assert ([*file.files], file.size, file.verifiable) == ([FileEntry("")], None, False)
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
        ({"contents": ["C:/a"]}, "Windows drive"),
        ({"contents": ["c:a"]}, "Windows drive"),
        ({"contents": ["a\ud800"]}, "surrogates not allowed"),
        ({"contents": ["a" * 256]}, "segment longer than 255 bytes"),
        ({"contents": ["é" * 128]}, "segment longer than 255 bytes"),
        ({"contents": ["/".join("abcdefgh" * 65)]}, "longer than 1024 bytes"),
        ({"contents": [" " + "a" * 1000000]}, r"^it lists the path ' a{99}…': it is longer"),
        ({"contents": ["a", "a"]}, "path 'a' twice"),
        ({"contents": ["b", "a", "b"]}, "path 'b' twice"),
        ({"empty_directories": ["b", "b"]}, "folder 'b' twice"),
        ({"contents": ["a", "a/b"]}, "both as a file and as a folder"),
        ({"empty_directories": ["a"]}, "both as a file and as a folder"),
        ({"empty_directories": [".."]}, r"\.\."),
        ({"files": []}, "different paths"),
        ({"files": [{"path": "a", "size": -1}]}, "negative"),
        ({"files": [{"path": "a", "size": True}]}, "size"),
        ({"files": [{"path": "a", "size": 1.0}]}, "size"),
        ({"files": [{"path": "a", "size": 2**63}]}, r"2\*\*63 bytes or more"),
        ({"files": [{"path": "a", "size": 10**200}]}, "more than 100 digits"),
        ({"files": [{"path": "a", "digests": {"sha256": "\x1b[31m"}}]}, "hex"),
        ({"files": {"a": 1}}, "files"),
        ({"files": ["a"]}, "file entry"),
        ({"contents": [["a"]]}, "contents"),
        ({"push_date": "9999-12-31T23:59:59-10:00"}, "push_date"),
        ({"labels": ["a"]}, "labels"),
        ({"pushed_by": "ann"}, "pushed_by"),
        ({"pushed_by": {"user": 1}}, "user"),
        ({"message": "\udc00"}, "surrogates not allowed"),
        ({"files": [{"path": "a", "size": 1, "digests": {"sha256": 1}}]}, "digest"),
        ({"labels": {"a": 1}}, "label"),
        ({"message": 1}, "message"),
        ({"chunks_digest": 1}, "chunks_digest"),
        ({"chunks_digest": "ab"}, "its chunks_digest isn't a SHA-256"),
        ({"chunks_digest": "A" * 64}, "its chunks_digest isn't a SHA-256"),
    ],
)
def test_an_invalid_manifest_is_refused(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse_meta(json.dumps(DIRECTORY | change).encode())


def test_a_file_asset_has_no_folders() -> None:
    value = {"push_date": "2024-05-06T07:08:09Z", "is_directory": False, "empty_directories": ["/outside", "../up"]}
    with pytest.raises(ValueError, match="folders"):
        parse_meta(json.dumps(value).encode())


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "it isn't valid JSON"),
        (b"{", "it isn't valid JSON"),
        (b"[]", "it isn't a JSON object"),
        (b"null", "it isn't a JSON object"),
        (b"\xff", "it isn't valid JSON"),
        ("{}".encode("utf-16"), "it isn't valid JSON"),
        (b"{}]", "it isn't valid JSON"),
        (b"[" * 100_000, "it is nested more than 32 levels deep"),
        (b"[{" * 50_000, "it is nested more than 32 levels deep"),
        (b'{"a":' * 33 + b"1" + b"}" * 33, "it is nested more than 32 levels deep"),
        (b'{"x": ' + b"[" * 32 + b"]" * 32 + b"}", "it is nested more than 32 levels deep"),
        (b'{"aioassets_claim": {}}', "its claim has an unknown state"),
        (b'{"aioassets_claim": {"state": []}}', "its claim has an unknown state"),
        (b"{}", "its is_directory"),
        (b'{"x": 1e999}', "'1e999' is not a finite number"),
        (b'{"x": NaN}', "'NaN' is not a finite number"),
        (
            b'{"x": ' + b"9" * 5000 + b"}",
            r"^it isn't valid JSON encoded in UTF-8 \('9{100}…' has more than 100 digits\)$",
        ),
        (b'{"\\uDEAD": 1}', "surrogates not allowed"),
        (b"{" + b'"x": 1, ' * 1000 + b'"x": 1}', "it has more than 1,000 fields"),
    ],
    ids=range(19),
)
def test_an_invalid_meta_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse_meta(data)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1024])
def test_nesting_is_counted_across_chunks(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr("aioassets.model.jsontext._CHUNK", size)
    test_brackets_in_strings_are_not_nesting()
    for text in ("", "[[", '"]"'):
        deep = json.dumps({text: 1, "x": json.loads("[" * 32 + "]" * 32)})
        with pytest.raises(ValueError, match="levels deep"):
            parse_meta(deep.encode())


def test_brackets_in_strings_are_not_nesting() -> None:
    paths = ["[" * 40, "{" * 40 + '"[' * 40, '"\\"' * 40 + "["]
    folder = Manifest(datetime(2026, 1, 1, tzinfo=UTC), True, (FileEntry("a", 1),), message="\n".join(paths))
    assert parse_meta(folder.to_json()) == folder
    escaped = json.dumps(json.loads(folder.to_json())).encode()  # as modelkit writes
    assert parse_meta(escaped) == folder
    deep = {"x": 1} | DIRECTORY
    for _ in range(30):
        deep = {"x": deep} | DIRECTORY
    parse_meta(json.dumps(deep).encode())


@pytest.mark.parametrize("files", [None, [], {"count": 1}])
def test_unknown_fields_of_a_claim_are_ignored(files: object) -> None:
    """Even a field that manifests use."""
    claim = Claim("token", "create", "", "", 1, "")
    assert parse_meta(json.dumps(json.loads(claim.to_json()) | {"files": files}).encode()) == claim


def test_the_last_value_of_a_repeated_key_counts() -> None:
    """As for every reader in Python, so that all of them see the same version."""
    index = VersionIndex.from_json(b'{"versions": ["0.0"], "versions": ["0.1"]}')
    assert index.versions == ("0.1",)


def test_the_number_of_entries_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit is a million; the test lowers it to a thousand."""
    assert MAX_ENTRIES == 1_000_000
    limit_entries(monkeypatch, 1000)
    most = [str(number) for number in range(1000)]
    parse_meta(json.dumps(DIRECTORY | {"contents": most}).encode())
    for field in ({"contents": [*most, "x"]}, {"contents": [], "files": [{"path": path} for path in [*most, "x"]]}):
        with pytest.raises(ValueError, match=r"it has more than 1,000 (contents|files)"):
            parse_meta(json.dumps(DIRECTORY | field).encode())
    with pytest.raises(ValueError, match="it has more than 1,000 versions"):
        VersionIndex.from_json(json.dumps({"versions": [*most, "x"]}).encode())
    with pytest.raises(ValueError, match="it has more than 1,000 files or folders"):
        parse_meta(json.dumps(DIRECTORY | {"contents": most, "empty_directories": ["x"]}).encode())


def test_the_number_of_folders_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    """A million paths of 500 segments would need half a billion folders."""
    limit_entries(monkeypatch, 1000)
    deep = [f"{number}/" + "/".join("a" * 500) for number in range(3)]
    assert len(inner_folders(deep[:1], ())) == 500
    with pytest.raises(ValueError, match="it has more than 1,000 files or folders"):
        parse_meta(json.dumps(DIRECTORY | {"contents": deep}).encode())


def test_too_many_values_are_refused_before_parsing() -> None:
    with pytest.raises(ValueError, match="more than 32,000,000 values"):
        parse_meta(b"[" + b"1," * 33_000_000 + b"1]")
    with pytest.raises(ValueError, match="more than 32,000,000 values"):
        parse_meta(b'[""' + b'""' * 33_000_000)


def test_an_index_keeps_unknown_fields() -> None:
    index = VersionIndex.from_json(b'{"versions": ["1.0", "0.0", "1.0"], "owner": {"team": "a"}}')
    assert index.versions == ("1.0", "0.0")
    assert json.loads(index.with_versions(["1.1"]).to_json()) == {"versions": ["1.1"], "owner": {"team": "a"}}


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "it isn't valid JSON"),
        (b"\x00", "it isn't valid JSON"),
        (b"[]", "it isn't a JSON object"),
        (b"{}", "it has no field 'versions'"),
        (b'{"versions": "1.0"}', "its versions must be a list"),
        (b'{"versions": [1]}', "its versions must be a string"),
        (b'{"versions": ["../../x"]}', r"the version '\.\./\.\./x': it must consist of letters"),
        (b'{"versions": [".."]}', r"the version '\.\.': it consists of dots"),
        (b'{"versions": [""]}', "the version '': it must consist of letters"),
        (b'{"versions": ["1.0\\u001b[31m"]}', r"the version '1\.0\\x1b\[31m': it must consist of letters"),
        (b'{"versions": ["' + b"1" * 10_000_000 + b'"]}', "^it lists the version '1{100}…': it is longer than 128"),
    ],
    ids=range(11),
)
def test_an_invalid_index_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        VersionIndex.from_json(data)
