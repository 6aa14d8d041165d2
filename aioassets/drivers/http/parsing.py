"""Parsers for numbers, times and text from servers, which may send anything."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

UNREADABLE: Final = (
    ArithmeticError,
    AttributeError,
    LookupError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
)
"""Exceptions that parsers in SDKs and the standard library raise for malformed responses."""
LONGEST: Final = 500
"""Maximum number of characters to show when quoting a server."""
WEAK: Final = "W/"
"""The prefix of a weak ETag, which proxies add when they compress a response."""

_NUMBER: Final = re.compile(r"[0-9]{1,18}")
_EARLIEST: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST: Final = datetime(9000, 1, 1, tzinfo=UTC)
"""The latest time to return. Adding a lease to a later time, or converting its time zone, could overflow."""


def number(text: object) -> int:
    """Parse a non-negative integer that consists of ASCII digits.

    Raises:
        ValueError: the value is not such a number, or has more than 18 digits.
    """
    if (
        isinstance(text, bool)
        or not isinstance(text, str | int)
        or not _NUMBER.fullmatch(digits := f"{text}".strip(" \t"))
    ):
        raise ValueError("the server sent an invalid number")
    return int(digits)


def entity_tag(text: str) -> str:
    """Parse an ETag. Return it without its quotes and without the prefix `WEAK`.

    Raises:
        ValueError: the ETag is empty, too long, or contains characters that are not allowed in a header.
    """
    tag = text.removeprefix(WEAK).strip('"')
    if not tag or len(tag) > LONGEST or not tag.isascii() or not tag.isprintable():
        raise ValueError("the server sent an invalid ETag")
    return tag


def in_utc(moment: datetime) -> datetime:
    """Convert a time to UTC, limited to the years 1970 to 9000. A time without a time zone is assumed to be UTC.

    Raises:
        ValueError: the time can't be represented in UTC.
    """
    aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    try:
        return min(max(aware.astimezone(UTC), _EARLIEST), _LATEST)
    except OverflowError as error:
        raise ValueError("the server sent a time that is out of range") from error


def http_time(text: str) -> datetime:
    """Parse an HTTP date, and convert it to UTC.

    Raises:
        ValueError: the date is invalid.
    """
    try:
        return in_utc(parsedate_to_datetime(text))
    except UNREADABLE as error:
        raise ValueError("the server sent an invalid date") from error


def iso_time(text: str) -> datetime:
    """Parse an RFC 3339 time, and convert it to UTC.

    Raises:
        ValueError: the time is invalid.
    """
    try:
        return in_utc(datetime.fromisoformat(text))
    except UNREADABLE as error:
        raise ValueError("the server sent an invalid time") from error


def printable(text: str) -> str:
    """Return text from a server as a single line of limited length, with unprintable characters escaped."""
    shortened = text if len(text) <= LONGEST else f"{text[:LONGEST]}…"
    line = " ".join(shortened.split())
    return line if line.isprintable() else "".join(each if each.isprintable() else ascii(each)[1:-1] for each in line)
