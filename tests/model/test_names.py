"""Parsing of names and specs."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioassets import AssetSpec, InvalidName, InvalidSpec, InvalidVersion
from aioassets.model.names import parse_name, parse_new_name

SEGMENTS = st.from_regex(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?", fullmatch=True)
NAMES = st.lists(SEGMENTS, min_size=1, max_size=4).map("/".join)
PARTS = st.lists(
    st.text(st.characters(exclude_characters="/", exclude_categories=["Cs"]), min_size=1).filter(
        lambda segment: segment not in (".", "..")
    ),
    min_size=1,
    max_size=4,
).map("/".join)


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("model", AssetSpec("model")),
        ("team/model:1", AssetSpec("team/model", "1")),
        ("team/model:1.2", AssetSpec("team/model", "1.2")),
        ("team/model:1.2[sub/part.bin]", AssetSpec("team/model", "1.2", "sub/part.bin")),
        ("team/model[/sub/]", AssetSpec("team/model", None, "sub")),
        ("model:2026-03-09T17-05-00Z", AssetSpec("model", "2026-03-09T17-05-00Z")),
        ("model[odd [name]]", AssetSpec("model", None, "odd [name]")),
    ],
)
def test_a_spec_is_a_name_a_version_and_a_part(text: str, spec: AssetSpec) -> None:
    assert AssetSpec.parse(text) == spec


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", InvalidSpec),
        ("a b", InvalidName),
        ("a:", InvalidVersion),
        ("a:1 2", InvalidVersion),
        ("a:1:2", InvalidVersion),
        ("a[", InvalidSpec),
        ("a[]", InvalidSpec),
        ("a[../b]", InvalidSpec),
        ("a[b//c]", InvalidSpec),
        ("../a", InvalidName),
        ("a/../b", InvalidName),
    ],
)
def test_an_invalid_spec_is_refused(text: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        AssetSpec.parse(text)


@given(NAMES, st.none() | st.from_regex(r"[0-9A-Za-z._-]+", fullmatch=True), st.none() | PARTS)
def test_a_spec_survives_formatting_and_parsing(name: str, version: str | None, part: str | None) -> None:
    spec = AssetSpec(name, version, part)
    assert AssetSpec.parse(str(spec)) == spec


@given(st.text())
def test_any_text_is_a_spec_or_raises_a_documented_error(text: str) -> None:
    with contextlib.suppress(InvalidSpec, InvalidName, InvalidVersion):
        assert AssetSpec.parse(text).name


@given(NAMES)
def test_names_never_leave_their_folder(name: str) -> None:
    assert parse_name(name) == name
    assert ".." not in name.split("/")


@pytest.mark.parametrize("name", ["a/1.0/b", "2026-03-09T17-05-00Z", "a/b.meta/c", "x.versions"])
def test_reserved_names_can_be_fetched_but_not_pushed(name: str) -> None:
    assert parse_name(name) == name
    with pytest.raises(InvalidName):
        parse_new_name(name)
