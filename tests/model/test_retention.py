"""Rules for which versions to keep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from aioassets.errors import StoreCorrupt, UsageError
from aioassets.model.leftovers import CleaningRules
from aioassets.model.retention import PrunedVersion, PrunePlan, RetentionRules, decided
from aioassets.model.versioning import MajorMinor, SimpleDate, VersioningScheme

NOW = datetime(2026, 11, 27, tzinfo=UTC)
DAY = timedelta(days=1)


def kept(
    rules: RetentionRules,
    versions: Mapping[str, int],
    *,
    yanked: Sequence[str] = (),
    aliases: Mapping[str, Sequence[str]] | None = None,
    scheme: VersioningScheme | None = None,
) -> dict[str, tuple[str, ...]]:
    """Return the reasons for keeping versions, given their ages in days."""
    rows = [
        PrunedVersion("model", number, NOW - age * DAY, is_yanked=number in yanked) for number, age in versions.items()
    ]
    found = decided(rules, scheme or MajorMinor(), rows, aliases or {}, NOW)
    return {row.version: row.reasons for row in found if row.reasons}


def test_the_last_versions_of_each_major_are_kept() -> None:
    versions = dict.fromkeys(["0.0", "0.1", "0.9", "0.10", "1.0", "1.1", "2.0"], 1000)
    assert kept(RetentionRules(keep_last=2), versions) == {
        "2.0": ("latest", "last"),
        "1.1": ("last",),
        "1.0": ("last",),
        "0.10": ("last",),
        "0.9": ("last",),
    }


def test_recent_versions_are_kept_up_to_the_very_age() -> None:
    versions = {"0.0": 91, "0.1": 90, "0.2": 89, "0.3": 1}
    rules = RetentionRules(keep_within=90 * DAY)
    assert kept(rules, versions) == {"0.3": ("latest", "recent"), "0.2": ("recent",), "0.1": ("recent",)}


def test_the_age_of_a_copy_counts_from_when_it_was_copied() -> None:
    """Otherwise, a version could be deleted in production right after its promotion."""
    ages = {"0.0": (200, 100), "0.1": (200, 10), "0.2": (200, 200)}
    rows = [
        PrunedVersion("model", number, NOW - pushed * DAY, copy_date=NOW - copied * DAY)
        for number, (pushed, copied) in ages.items()
    ]
    found = decided(RetentionRules(keep_within=90 * DAY), MajorMinor(), rows, {}, NOW)
    assert {row.version: row.reasons for row in found} == {"0.2": ("latest",), "0.1": ("recent",), "0.0": ()}


def test_the_latest_version_is_kept_however_old_it_is() -> None:
    assert kept(RetentionRules(keep_within=DAY), {"0.0": 400, "0.1": 300}) == {"0.1": ("latest",)}


def test_a_version_with_an_alias_is_kept() -> None:
    found = kept(RetentionRules(keep_last=1), {"0.0": 9, "0.1": 8, "0.2": 7}, aliases={"0.0": ["prod"]})
    assert found == {"0.2": ("latest", "last"), "0.0": ("alias",)}


def test_yanked_versions_do_not_count_but_are_kept_between_kept_ones() -> None:
    versions = dict.fromkeys(["0.0", "0.1", "0.2", "0.3", "0.4"], 9)
    assert kept(RetentionRules(keep_last=2), versions, yanked=["0.4", "0.2", "0.0"]) == {
        "0.4": ("last",),
        "0.3": ("latest", "last"),
        "0.2": ("last",),
        "0.1": ("last",),
    }


def test_an_asset_whose_versions_are_all_yanked_has_no_latest_one() -> None:
    assert kept(RetentionRules(keep_within=5 * DAY), {"0.0": 9, "0.1": 3}, yanked=["0.0", "0.1"]) == {
        "0.1": ("recent",)
    }


def test_a_version_without_a_readable_manifest_is_kept() -> None:
    """It isn't the latest, and doesn't count as one of the last, because nothing can be fetched of it."""
    error = StoreCorrupt("s3://b/k", "no JSON")
    rows = [
        PrunedVersion("model", "0.0", NOW),
        PrunedVersion("model", "0.1", NOW),
        PrunedVersion("model", "0.2", error=error),
    ]
    found = decided(RetentionRules(keep_last=1), MajorMinor(), rows, {}, NOW)
    assert [(row.version, row.reasons) for row in found] == [
        ("0.2", ("last", "unreadable")),
        ("0.1", ("latest", "last")),
        ("0.0", ()),
    ]


def test_dates_are_one_series() -> None:
    versions = {"2026-01-01T00-00-00Z": 3, "2026-02-01T00-00-00Z": 2, "2026-03-01T00-00-00Z": 1}
    assert list(kept(RetentionRules(keep_last=2), versions, scheme=SimpleDate())) == list(versions)[:0:-1]


def test_a_plan_sums_what_it_frees() -> None:
    rows = (PrunedVersion("m", "0.0", NOW, 1, 5), PrunedVersion("m", "0.1", NOW, 2, None))
    assert (PrunePlan(RetentionRules(1), rows).size, len(PrunePlan(RetentionRules(1), rows).deleted)) == (5, 2)


@pytest.mark.parametrize(("last", "within"), [(None, None), (0, None), (-1, DAY), (None, -DAY)])
def test_rules_must_keep_something(last: int | None, within: timedelta | None) -> None:
    with pytest.raises(UsageError):
        RetentionRules(last, within)


@pytest.mark.parametrize(
    ("last", "within", "message"),
    [
        ("1", None, "keep_last must be an integer, not str."),
        (1.5, None, "keep_last must be an integer, not float."),
        (None, 5, "keep_within must be a timedelta, not int."),
    ],
)
def test_rules_have_the_right_types(last: Any, within: Any, message: str) -> None:
    with pytest.raises(UsageError) as raised:
        RetentionRules(last, within)
    assert str(raised.value) == message


def test_the_age_of_leftovers_is_a_duration() -> None:
    age: Any = 5
    with pytest.raises(UsageError, match=r"^older_than must be a timedelta, not int\.$"):
        CleaningRules(age)
