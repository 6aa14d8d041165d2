"""Parsers of numbers, times and texts from servers, which may send anything."""

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
"""Errors of parsers, of SDKs and of the standard library, for malformed responses."""
LONGEST: Final = 500
"""Characters of a server's text that are shown."""
WEAK: Final = "W/"
"""The mark of a weak ETag, which proxies that compress responses add."""

_NUMBER: Final = re.compile(r"[0-9]{1,18}")
_EARLIEST: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST: Final = datetime(9000, 1, 1, tzinfo=UTC)
"""Adding a lease to later times, or converting their zone, would overflow."""


def number(text: object) -> int:
    """Parse a non-negative integer in ASCII digits.

    Raises:
        ValueError: it is invalid, or has more than 18 digits.
    """
    if (
        isinstance(text, bool)
        or not isinstance(text, str | int)
        or not _NUMBER.fullmatch(digits := f"{text}".strip(" \t"))
    ):
        raise ValueError("a server's number isn't one")
    return int(digits)


def entity_tag(text: str) -> str:
    """Parse an ETag, without its quotes and without the mark `WEAK`.

    Raises:
        ValueError: it is empty, or invalid in a header.
    """
    tag = text.removeprefix(WEAK).strip('"')
    if not tag or len(tag) > LONGEST or not tag.isascii() or not tag.isprintable():
        raise ValueError("a server's ETag isn't one")
    return tag


def in_utc(moment: datetime) -> datetime:
    """Convert a time to UTC, which is also the default zone, and clamp it to the years 1970 to 9000.

    Raises:
        ValueError: no such time can be represented.
    """
    aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    try:
        return min(max(aware.astimezone(UTC), _EARLIEST), _LATEST)
    except OverflowError as error:
        raise ValueError("a server's time can't be represented") from error


def http_time(text: str) -> datetime:
    """Parse an HTTP date, in UTC.

    Raises:
        ValueError: it is invalid.
    """
    try:
        return in_utc(parsedate_to_datetime(text))
    except UNREADABLE as error:
        raise ValueError("a server's date isn't one") from error


def iso_time(text: str) -> datetime:
    """Parse an RFC 3339 time, in UTC.

    Raises:
        ValueError: it is invalid.
    """
    try:
        return in_utc(datetime.fromisoformat(text))
    except UNREADABLE as error:
        raise ValueError("a server's time isn't one") from error


def printable(text: str) -> str:
    """Return a server's text as one line of limited length, with unprintable characters escaped."""
    shortened = text if len(text) <= LONGEST else f"{text[:LONGEST]}…"
    line = " ".join(shortened.split())
    return line if line.isprintable() else "".join(each if each.isprintable() else ascii(each)[1:-1] for each in line)
