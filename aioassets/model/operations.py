"""The push operations."""

from __future__ import annotations

from typing import Final

CREATE: Final = "create"
UPDATE: Final = "update"
BUMP_MAJOR: Final = "bump_major"
COPY: Final = "copy"
