"""Sizes in bytes, written with units."""

from __future__ import annotations

import re
from typing import Final

from aioassets.errors import InvalidSetting

_SIZE: Final = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,9})?)\s*([kmgtp]?)(i?)b?", re.IGNORECASE)
_POWERS: Final = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5}


def parse_size(text: str) -> int:
    """Return the number of bytes that a text such as `20GB` (decimal), `500MiB` (binary) or `1000` stands for.

    Raises:
        ValueError: if the text isn't a size. The message doesn't end with a full stop.
    """
    found = _SIZE.fullmatch(text.strip())
    if found is None or (found[3] and not found[2]):
        raise ValueError("it must be a size such as 20GB, 500MiB or 1000000 (bytes)")
    return int(float(found[1]) * (1024 if found[3] else 1000) ** _POWERS[found[2].lower()])


def checked_size(name: str, value: int | str | None) -> int | None:
    """Return a size in bytes, given as a number or as a text.

    Args:
        name: the name of the setting or argument, for error messages.
        value: the size; `None` is returned unchanged.

    Raises:
        InvalidSetting: if the value is invalid or negative.
    """
    try:
        size = parse_size(value) if isinstance(value, str) else value
    except ValueError as error:
        raise InvalidSetting(f"Invalid {name} {value!r}: {error}.") from None
    if isinstance(size, bool) or not isinstance(size, int | None):
        raise InvalidSetting(f"{name} must be a number of bytes or a text such as 20GB, not {type(value).__name__}.")
    if size is not None and size < 0:
        raise InvalidSetting(f"{name} must not be negative, but it is {size}.")
    return size
