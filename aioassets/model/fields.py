"""Validation of fields of JSON documents.

Documents come from a store and are untrusted. Every problem raises a `ValueError` that says what is wrong.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

MAX_ENTRIES: Final = 1_000_000
"""Maximum number of files and empty folders of a version, of its folders, and of versions in an index."""

_NAMES: Final = {bool: "a Boolean", dict: "an object", int: "an integer", list: "a list", str: "a string"}


def typed(value: Any, kind: type, what: str) -> Any:
    """Return the value if it has this type, or raise `ValueError`."""
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise ValueError(f"its {what} must be {_NAMES[kind]}")
    return value


def texts_of(value: Any, what: str) -> tuple[str, ...]:
    """Return the value as a tuple if it is a list of at most `MAX_ENTRIES` strings, or raise `ValueError`."""
    if len(typed(value, list, what)) > MAX_ENTRIES:
        raise ValueError(f"it has more than {MAX_ENTRIES:,} {what}")
    return tuple(typed(item, str, what) for item in value)


def optional_text(value: Mapping[str, Any], key: str) -> str | None:
    """Return the string in a field, or `None` if it is absent. Raise `ValueError` if it isn't a string."""
    item = value.get(key)
    return None if item is None else str(typed(item, str, key))
