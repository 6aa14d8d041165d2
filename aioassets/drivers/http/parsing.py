"""Numbers, times and texts as servers send them, which may be anything."""

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
"""Raised by parsers, the SDKs' and the standard library's, for an answer that isn't made as they expect."""
LONGEST: Final = 500
"""Characters of a server's words that are shown."""

_NUMBER: Final = re.compile(r"[0-9]{1,18}")
_EARLIEST: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST: Final = datetime(9000, 1, 1, tzinfo=UTC)
"""Beyond them, adding a lease or changing the zone would overflow."""


def number(text: object) -> int:
    """Parse a whole number that isn't negative, in ASCII digits.

    Raises:
        ValueError: it isn't one, or has more than 18 digits.
    """
    if (
        isinstance(text, bool)
        or not isinstance(text, str | int)
        or not _NUMBER.fullmatch(digits := f"{text}".strip(" \t"))
    ):
        raise ValueError("a server's number isn't one")
    return int(digits)


def entity_tag(text: str) -> str:
    """Parse an ETag, without its quotes.

    Raises:
        ValueError: it is empty, or couldn't be sent back in a header.
    """
    tag = text.strip('"')
    if not tag or len(tag) > LONGEST or not tag.isascii() or not tag.isprintable():
        raise ValueError("a server's ETag isn't one")
    return tag


def in_utc(moment: datetime) -> datetime:
    """Convert a time to UTC, which is assumed where it has no zone, and clamp it to reasonable years.

    Raises:
        ValueError: no such time can be represented.
    """
    aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    try:
        return min(max(aware.astimezone(UTC), _EARLIEST), _LATEST)
    except OverflowError as error:
        raise ValueError("a server's time can't be represented") from error


def http_time(text: str) -> datetime:
    """Parse a date of HTTP, in UTC.

    Raises:
        ValueError: it isn't one.
    """
    try:
        return in_utc(parsedate_to_datetime(text))
    except UNREADABLE as error:
        raise ValueError("a server's date isn't one") from error


def iso_time(text: str) -> datetime:
    """Parse a time of RFC 3339, in UTC.

    Raises:
        ValueError: it isn't one.
    """
    try:
        return in_utc(datetime.fromisoformat(text))
    except UNREADABLE as error:
        raise ValueError("a server's time isn't one") from error


def printable(text: str) -> str:
    """Return a server's words for people: one line of limited length, with escapes for what can't be printed."""
    shortened = text if len(text) <= LONGEST else f"{text[:LONGEST]}…"
    line = " ".join(shortened.split())
    return line if line.isprintable() else "".join(each if each.isprintable() else ascii(each)[1:-1] for each in line)
