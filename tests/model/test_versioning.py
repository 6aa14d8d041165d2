"""Versioning schemes."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioassets import Bump, InvalidSetting, InvalidVersion, MajorMinor, SimpleDate, UsageError
from aioassets.model.versioning import scheme_named

NUMBERS = st.integers(0, 200)
VERSIONS = st.lists(st.tuples(NUMBERS, NUMBERS).map(lambda pair: f"{pair[0]}.{pair[1]}"), min_size=1, unique=True)
SCHEME = MajorMinor()


@pytest.mark.parametrize("version", ["0.0", "1.2", "10.30"])
def test_major_and_minor_form_a_version(version: str) -> None:
    assert SCHEME.is_version(version)
    SCHEME.check(version)


@pytest.mark.parametrize("text", ["", "1.", ".1", "01.2", "1.2.3", "a.b", "-1.0", "1.0 ", "\u0661.\u0662", "1_0.0"])
def test_other_texts_are_not_versions(text: str) -> None:
    assert not SCHEME.is_version(text)
    with pytest.raises(InvalidVersion):
        SCHEME.check(text)


def test_a_major_alone_is_partial() -> None:
    assert not SCHEME.is_version("1")
    SCHEME.check("1")
    assert SCHEME.select("1", ["10.3", "1.4", "1.12", "9.0"]) == ["1.12", "1.4"]
    assert SCHEME.select("1.4", ["1.4", "1.40"]) == ["1.4"]
    assert SCHEME.select(None, ["9.0", "10.3"]) == ["10.3", "9.0"]


@given(VERSIONS)
def test_an_update_follows_the_latest(versions: list[str]) -> None:
    following = SCHEME.following(Bump(), versions)
    assert following is not None
    assert following not in versions
    assert SCHEME.select(None, [*versions, following])[0] == following
    assert SCHEME.series(following) == SCHEME.series(SCHEME.select(None, versions)[0])


@given(VERSIONS)
def test_a_new_major_follows_all(versions: list[str]) -> None:
    following = SCHEME.following(Bump(bump_major=True), versions)
    assert following is not None
    assert following.endswith(".0")
    assert SCHEME.select(None, [*versions, following])[0] == following


@given(VERSIONS, NUMBERS)
def test_an_update_of_a_major_stays_in_it(versions: list[str], major: int) -> None:
    following = SCHEME.following(Bump(str(major)), versions)
    if any(SCHEME.series(version) == str(major) for version in versions):
        assert following is not None
        assert following not in versions
        assert SCHEME.select(str(major), [*versions, following])[0] == following
    else:
        assert following is None


def test_the_first_version_is_0_0() -> None:
    assert SCHEME.first() == "0.0"
    assert SCHEME.following(Bump(), []) == "0.0"


def test_a_major_is_a_number() -> None:
    with pytest.raises(InvalidVersion):
        SCHEME.following(Bump("x"), ["0.0"])


def test_date_versions_are_times_in_utc() -> None:
    scheme = SimpleDate(lambda: datetime(2026, 3, 9, 17, 5, tzinfo=UTC))
    assert scheme.first() == "2026-03-09T17-05-00Z"
    assert scheme.following(Bump(), ["2026-03-09T17-04-59Z"]) == "2026-03-09T17-05-00Z"
    assert scheme.following(Bump(), ["2026-03-09T17-05-00Z"]) == "2026-03-09T17-05-01Z"
    assert scheme.following(Bump(), ["2027-01-01T00-00-00Z", "2026-01-01T00-00-00Z"]) == "2027-01-01T00-00-01Z"
    assert scheme.select(None, ["2026-01-01T00-00-00Z", "2027-01-01T00-00-00Z"])[0] == "2027-01-01T00-00-00Z"


@pytest.mark.parametrize("text", ["2026-13-01T00-00-00Z", "2026-02-30T00-00-00Z", "2026-03-09", "2026-03-09T17:05:00Z"])
def test_invalid_times_are_not_versions(text: str) -> None:
    with pytest.raises(InvalidVersion):
        SimpleDate().check(text)


def test_no_version_follows_the_last_possible_time() -> None:
    with pytest.raises(UsageError, match="No version later than 9999-12-31T23-59-59Z"):
        SimpleDate().following(Bump(), ["9999-12-31T23-59-59Z"])


def test_dates_have_no_majors() -> None:
    for bump in (Bump("1"), Bump(bump_major=True)):
        with pytest.raises(UsageError):
            SimpleDate().following(bump, [])


def test_schemes_are_found_by_name() -> None:
    assert scheme_named("major_minor").name == "major_minor"
    assert scheme_named("simple_date").name == "simple_date"
    with pytest.raises(InvalidSetting, match="major_minor, simple_date"):
        scheme_named("semver")
