"""Validation of fields in JSON documents.

The documents come from a store and are untrusted. For an invalid field, each function raises a `ValueError` that
describes the problem.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

MAX_ENTRIES: Final = 1_000_000
"""Maximum number of files and empty folders in a version. It is also the maximum number of non-empty folders in a
version, and of versions in an index."""

_NAMES: Final = {bool: "a Boolean", dict: "an object", int: "an integer", list: "a list", str: "a string"}


def typed(value: Any, kind: type, what: str) -> Any:
    """Return the value if it has the given type, or raise `ValueError`."""
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise ValueError(f"its {what} must be {_NAMES[kind]}")
    return value


def texts_of(value: Any, what: str) -> tuple[str, ...]:
    """Return a list of at most `MAX_ENTRIES` strings as a tuple, or raise `ValueError` for any other value."""
    if len(typed(value, list, what)) > MAX_ENTRIES:
        raise ValueError(f"it has more than {MAX_ENTRIES:,} {what}")
    return tuple(typed(item, str, what) for item in value)


def optional_text(value: Mapping[str, Any], key: str) -> str | None:
    """Return the string in a field, or `None` if the field is absent or null. Raise `ValueError` for any other type."""
    item = value.get(key)
    return None if item is None else str(typed(item, str, key))


def timestamp(value: Any, what: str) -> datetime:
    """Return the time in an ISO 8601 string, or raise `ValueError`. A time without a time zone is taken to be UTC."""
    try:
        parsed = datetime.fromisoformat(typed(value, str, what))
        parsed = parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)
        parsed.astimezone(UTC)  # raises OverflowError outside of the years 1 to 9999
    except (ValueError, OverflowError):
        raise ValueError(f"its {what} isn't a valid ISO 8601 date and time") from None
    return parsed
