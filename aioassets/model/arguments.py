"""Checks of arguments that end up in documents, or that have no class of their own.

Each function raises a `UsageError` that names the argument.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from aioassets.errors import UsageError
from aioassets.model.jsontext import quoted


def is_encodable(text: str) -> bool:
    """Return whether a text can be encoded in UTF-8, that is, has no lone surrogates."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def check_text(value: Any, what: str) -> None:
    """Check that a value is a string that can be encoded in UTF-8."""
    if not isinstance(value, str):
        advice = f": write '{value}'" if isinstance(value, int | float) else ""
        raise UsageError(f"The {what} must be a string, not {type(value).__name__}{advice}.")
    if not is_encodable(value):
        raise UsageError(f"The {what} contains invalid characters: {quoted(value)}. Pass text in UTF-8.")


def check_optional_text(value: Any, what: str) -> None:
    """Check that a value is `None`, or a string that can be encoded in UTF-8."""
    if value is not None:
        check_text(value, what)


def check_required_text(value: Any, what: str) -> None:
    """Check that a value is a string that can be encoded in UTF-8 and isn't blank."""
    check_text(value, what)
    if not value.strip():
        raise UsageError(f"The {what} must not be empty.")


def check_labels(value: Any) -> dict[str, str]:
    """Return a copy of the labels if they are a mapping of non-empty strings to strings. `None` means no labels."""
    if value is None:
        return {}
    check_mapping(value, "labels", "strings to strings")
    for key, text in value.items():
        check_text(key, "key of a label")
        if not key:
            raise UsageError("The key of a label must not be empty.")
        check_text(text, f"label {quoted(key)}")
    return dict(value)


def check_mapping(value: Any, what: str, items: str) -> None:
    """Check that a value is a mapping. Describe its items for the error, such as `names to sources`."""
    if not isinstance(value, Mapping):
        raise UsageError(f"The {what} must be a mapping of {items}, not {type(value).__name__}.")


def check_list(value: Any, what: str) -> None:
    """Check that a value can be iterated over and isn't a single string."""
    if isinstance(value, str):
        raise UsageError(f"The {what} must be a list of strings: write [{quoted(value)}].")
    if not isinstance(value, Iterable):
        raise UsageError(f"The {what} must be a list of strings, not {type(value).__name__}.")


def check_texts(value: Any, what: str) -> tuple[str, ...]:
    """Return the strings in a list of strings that can be encoded in UTF-8."""
    check_list(value, what)
    texts = tuple(value)
    for text in texts:
        check_text(text, f"item of the {what}")
    return texts


def check_count(value: Any, what: str) -> None:
    """Check that a value is a positive integer."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise UsageError(f"{what} must be an integer, not {type(value).__name__}.")
    if value < 1:
        raise UsageError(f"{what} must be at least 1, not {value}.")
