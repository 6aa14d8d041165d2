"""Parsing of numbers, times and texts of servers: invalid ones raise `ValueError`."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioassets.drivers.http.parsing import entity_tag, http_time, in_utc, iso_time, number, printable
from aioassets.drivers.s3.errors import read_service_error
from aioassets.drivers.service_errors import Kind, Request, origin, retry_after

DATE = "Fri, 27 Nov 2026 02:08:35 GMT"


@pytest.mark.parametrize(
    "text", ["", "²", "\u0661", "-1", "+1", "1_0", "1e3", "0x1", "9" * 19, "1\n", None, True, 1.5, []]
)
def test_invalid_numbers_are_refused(text: object) -> None:
    with pytest.raises(ValueError, match="number"):
        number(text)


def test_numbers_may_be_texts_or_numbers() -> None:
    assert (number("0"), number(" 12 "), number(7)) == (0, 12, 7)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yesterday",
        "Fri, 27 Nov 99999999999 02:08:35 GMT",
        "Fri, 27 Nov 2026 99:08:35 GMT",
        "Fri, 27 Nov 2026 02:08:35 +9999999999999",
        "²",
        "\udcff",
    ],
)
def test_invalid_times_are_refused(text: str) -> None:
    for parse in (http_time, iso_time):
        with pytest.raises(ValueError, match=r"server sent an invalid (date|time)"):
            parse(text)


def test_a_time_without_a_zone_is_in_utc() -> None:
    assert http_time("Fri, 27 Nov 2026 02:08:35 -0000") == http_time(DATE)
    assert http_time(DATE) == datetime(2026, 11, 27, 2, 8, 35, tzinfo=UTC)
    assert iso_time("2026-11-27T02:08:35") == iso_time("2026-11-27T03:08:35+01:00") == http_time(DATE)


def test_extreme_times_leave_room_for_arithmetic() -> None:
    for year in (1, 9999):
        moment = in_utc(datetime(year, 1, 1))
        assert moment - timedelta(days=400) < moment < moment + timedelta(days=400)


@given(st.text() | st.datetimes().map(str))
def test_no_text_raises_another_error(text: str) -> None:
    for parse in (number, http_time, iso_time, entity_tag):
        with suppress(ValueError):
            parse(text)
    retry_after(text, DATE)
    retry_after(DATE, text)
    origin(text)
    assert printable(text).isprintable()


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("3", 3.0),
        ("²", None),
        ("", None),
        ("-1", None),
        ("9" * 400, None),
        ("Fri, 27 Nov 2026 02:08:45 GMT", 10.0),
        ("Fri, 27 Nov 2026 02:08:45 -0000", 10.0),
        ("Fri, 27 Nov 2026 02:08:15 GMT", 0.0),
        ("Fri, 27 Nov 99999999999 02:08:35 GMT", None),
    ],
)
def test_retry_after_is_parsed(value: str, seconds: float | None) -> None:
    assert retry_after(value, DATE) == seconds


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://user:secret@host:9000/path?sig=secret#x", "https://host:9000"),
        ("http://host", "http://host"),
        ("/path", ""),
        ("http://[oops", ""),
        ("http://host:99999", ""),
        ("", ""),
    ],
)
def test_only_the_origin_of_a_url_is_shown(url: str, shown: str) -> None:
    assert origin(url) == shown


@pytest.mark.parametrize("code", ["408", "²", "", "RequestTimeout"])
def test_a_timeout_of_s3_is_uncertain_and_retried(code: str) -> None:
    refusal = read_service_error({"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": 408}})
    assert refusal.kind is Kind.FAILED
    assert refusal.translate(Request("s3://models", "write", "key")).uncertain
