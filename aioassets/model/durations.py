"""Durations as people write them, such as `90s` or `1d12h`."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Final

from aioassets.errors import UsageError

MAX_LIFETIME: Final = timedelta(days=7)
"""Maximum lifetime of a signed URL, on S3, on GCS and on Azure with a token."""

_DURATION: Final = re.compile(r"(?:[0-9]{1,6}[smhdw]){1,5}")
_PART: Final = re.compile(r"([0-9]+)([smhdw])")
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def parse_duration(text: str) -> timedelta:
    """Parse a duration that consists of whole numbers with the units `s`, `m` (minutes), `h`, `d` and `w`.

    Raises:
        UsageError: the text has another format.
    """
    if not _DURATION.fullmatch(text.strip()):
        raise UsageError(
            f"{text!r} is not a duration. Write whole numbers with the units s, m (minutes), h, d and w, "
            "such as 0s, 15m, 24h, 2w or 1d12h."
        )
    return sum((timedelta(**{_UNITS[unit]: int(number)}) for number, unit in _PART.findall(text)), timedelta())


def parse_lifetime(lifetime: timedelta | str) -> timedelta:
    """Return the lifetime of a signed URL, in whole seconds.

    Raises:
        UsageError: the value isn't a duration, or isn't between one second and seven days.
    """
    if not isinstance(lifetime, timedelta | str):
        raise UsageError(
            f"The lifetime of a signed URL must be a timedelta, or a string such as '1h', not "
            f"{type(lifetime).__name__}."
        )
    parsed = parse_duration(lifetime) if isinstance(lifetime, str) else lifetime
    if not timedelta(seconds=1) <= parsed <= MAX_LIFETIME:
        given = lifetime if isinstance(lifetime, str) else f"{parsed.total_seconds():,g} seconds"
        raise UsageError(f"A signed URL must be valid for between 1 second and 7 days, not for {given}.")
    return timedelta(seconds=parsed // timedelta(seconds=1))
