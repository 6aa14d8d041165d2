"""Marking log messages that are meant for the user of a command, not just for the log."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Final

NOTICE: Final[Mapping[str, Any]] = {"aioassets_notice": True}
"""The `extra` argument for a warning that the command line always prints, such as one about leftovers."""


def is_notice(record: logging.LogRecord) -> bool:
    """Return whether a record was logged with `NOTICE`."""
    return hasattr(record, "aioassets_notice")
