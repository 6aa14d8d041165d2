"""Checked fields of JSON documents.

Documents come from a store, so they are untrusted. Each problem is one `ValueError` with a sentence.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

MAX_ENTRIES: Final = 1_000_000
"""Files and empty folders of a version, its folders, and versions of an index: more isn't read, nor pushed."""


def typed(value: Any, kind: type, what: str) -> Any:
    """Return the value if it is of this type; raise `ValueError` otherwise."""
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise ValueError(f"its {what} isn't of type {kind.__name__}")
    return value


def rows_of(value: Any, what: str) -> list[Any]:
    """Return the value if it is a list of at most `MAX_ENTRIES` items; raise `ValueError` otherwise."""
    rows: list[Any] = typed(value, list, what)
    if len(rows) > MAX_ENTRIES:
        raise ValueError(f"its {what} has more than {MAX_ENTRIES:,} entries")
    return rows


def texts_of(value: Any, what: str) -> tuple[str, ...]:
    """Return the strings of a list; raise `ValueError` where it is none."""
    return tuple(typed(item, str, what) for item in rows_of(value, what))


def optional_text(value: Mapping[str, Any], key: str) -> str | None:
    """Return the string of a field, or `None` where it is absent; raise `ValueError` where it is no string."""
    item = value.get(key)
    return None if item is None else str(typed(item, str, key))
