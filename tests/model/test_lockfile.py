"""Lock files and lists of specs as texts."""

from __future__ import annotations

import contextlib
import tomllib
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioassets import AssetSpec, FileEntry, IntegrityError, Manifest, UsageError
from aioassets.errors import InvalidSpec
from aioassets.model.lockfile import CONTENT, LISTING, Lock, LockedAsset, parse_dependencies
from aioassets.model.versioning import MajorMinor

SHA = "ca3d163bab055381827226140568f3bef7eaac187cebd76878e0b63e9e442356"


def locked(spec: str, version: str = "1.2", kind: str = CONTENT) -> LockedAsset:
    return LockedAsset(AssetSpec.parse(spec), version, SHA, kind)


def test_a_lock_is_a_short_text() -> None:
    """Its assets are sorted by spec."""
    lock = Lock.of([locked("team/model@prod[weights]"), locked("index:1", "1.4", LISTING)])
    assert lock.to_toml().partition("\n\n")[0].endswith("\nlock_version = 1")
    assert lock.to_toml().partition("\n\n")[2] == (
        "[[assets]]\n"
        'spec = "index:1"\n'
        'name = "index"\n'
        'version = "1.4"\n'
        f'listing_digest = "{SHA}"\n'
        "\n"
        "[[assets]]\n"
        'spec = "team/model@prod[weights]"\n'
        'name = "team/model"\n'
        'version = "1.2"\n'
        f'content_digest = "{SHA}"\n'
    )
    assert Lock.parse(lock.to_toml(), "assets.lock") == lock
    assert lock.assets[1].exact(MajorMinor()) == AssetSpec("team/model", "1.2", "weights")


@given(part=st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_any_part_survives(part: str) -> None:
    """Quotes, backslashes, line breaks and invisible characters are escaped, so each value is on one visible line."""
    try:
        spec = AssetSpec("model", "1", part)
    except InvalidSpec:
        return
    lock = Lock((LockedAsset(spec, "1.2", SHA, CONTENT),))
    text = lock.to_toml()
    assert Lock.parse(text, "assets.lock") == lock
    assert tomllib.loads(text)["assets"][0]["spec"] == str(spec)
    assert all(line.isprintable() for line in text.split("\n"))


ROW = f'[[assets]]\nspec = "a:1"\nname = "a"\nversion = "1.2"\ncontent_digest = "{SHA}"\n'


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "its lock_version must be 1"),
        ("lock_version = 2", "its lock_version must be 1"),
        ("lock_version = 1\nother = 2", "unknown key 'other' (line 2)"),
        ("lock_version = 1\nassets = 3", "'assets' must be an array of tables"),
        ("lock_version = 1\nassets = [3]", "'assets' must be an array of tables"),
        ("<<<<<<< ours\nlock_version = 1\n", "it contains a merge conflict; resolve it first"),
        ("lock_version = 1\n[[assets]]\nspec = ", "it isn't valid TOML: invalid value (at end of document)"),
        (f"lock_version = 1\n{ROW}{ROW}", "it pins 'a:1' more than once"),
        (f"lock_version = 1\n{ROW}versionx = 'x'\n", "unknown key 'versionx' (line 7). Did you mean 'version'?"),
        (f"lock_version = 1\n{ROW}".replace('name = "a"', 'name = "b"'), "'a:1' is invalid: its name is another one"),
        (f"lock_version = 1\n{ROW}".replace('"1.2"', '"../1"'), "'a:1' is invalid: it must consist of letters"),
        (
            f"lock_version = 1\n{ROW}".replace('"a:1"', '"a:1:2"'),
            "'1:2' is not a valid version: it must consist of letters, digits, '.', '_' and '-' (line 3)",
        ),
        (f"lock_version = 1\n{ROW}".replace(SHA, "12"), "'12' is not a SHA-256 digest (line 6)"),
        (f"lock_version = 1\n{ROW}".replace("content_digest", "# "), "each asset needs spec, name, version and either"),
        (f"lock_version = 1\n{ROW}listing_digest = '1'\n", "each asset needs spec, name, version and either"),
        (f"lock_version = 1\n{ROW}".replace('"1.2"', "1.2"), "each asset needs spec, name, version and either"),
        ("a = " + "[" * 100_000, "it"),
    ],
)
def test_an_invalid_lock_is_one_error(text: str, problem: str) -> None:
    with pytest.raises(UsageError) as caught:
        Lock.parse(text, "assets.lock")
    assert str(caught.value).startswith("Cannot use 'assets.lock': ")
    assert problem in str(caught.value)
    assert "\n" not in str(caught.value)


@given(st.text())
def test_any_text_is_a_lock_or_one_error(text: str) -> None:
    for parse in (Lock.parse, parse_dependencies):
        with contextlib.suppress(UsageError):
            parse(text, "file")


def test_specs_are_read_in_their_order() -> None:
    text = '# what the service needs\nassets = ["team/model@prod", "index:1[a]", "index:1[a/]"]\n'
    assert parse_dependencies(text, "assets.toml") == (
        AssetSpec("team/model", alias="prod"),
        AssetSpec("index", "1", "a"),
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("asset = []", "Cannot use 'assets.toml': unknown key 'asset' (line 1). Did you mean 'assets'?"),
        ("\nstore = 1", "Cannot use 'assets.toml': unknown key 'store' (line 2). Known keys: assets."),
        (
            "",
            "Cannot use 'assets.toml': it needs a list of specs, such as assets = ['team/model@prod', 'team/index:1'].",
        ),
        ("assets = [\n'a',\n7]", "Cannot use 'assets.toml': a spec must be a string, not int (line 3)."),
        ("assets = ['a' 'b']", "Cannot use 'assets.toml': it isn't valid TOML: unclosed array (at line 1, column 15)."),
    ],
)
def test_an_invalid_list_is_one_clear_sentence(text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_dependencies(text, "assets.toml")
    assert str(caught.value) == message


def test_an_invalid_spec_is_named_with_its_line() -> None:
    with pytest.raises(UsageError, match=r"'b b' is not a valid asset name: .* \(line 3\)\."):
        parse_dependencies('assets = [\n  "a",\n  "b b",\n]\n', "assets.toml")


def manifest(**changes: object) -> Manifest:
    entry = {"path": "a", "size": 3, "digests": {"sha256": SHA}, **changes}
    return Manifest(datetime(2026, 1, 1, tzinfo=UTC), True, [FileEntry(**entry)])  # type: ignore[arg-type]


@pytest.mark.parametrize("known", [{}, {"digests": {}}, {"digests": {"md5": "12"}}, {"digests": {}, "size": None}])
def test_a_pinned_version_accepts_its_own_manifest_only(known: dict[str, object]) -> None:
    """A version without a content digest is pinned by everything that is known about it."""
    asset = LockedAsset.of(AssetSpec("model"), "1.2", manifest(**known))
    assert asset.kind == (LISTING if known else CONTENT)
    asset.check(manifest(**known))
    for change in ({"path": "b"}, {"size": 4}, {"digests": {"sha256": SHA[::-1]}}, {"executable": True}):
        with pytest.raises(IntegrityError, match=r"model:1\.2 differs from what was locked: expected"):
            asset.check(manifest(**{**known, **change}))
