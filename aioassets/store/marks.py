"""Creating the marks that record changes to versions and aliases."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime

from aioassets.model.marks import Mark
from aioassets.model.pusher import Pusher


def new_mark(by: Pusher, reason: str | None) -> Mark:
    """Return a mark with a new random token and the current time."""
    return Mark(secrets.token_hex(16), datetime.now(UTC), by, reason or None)
