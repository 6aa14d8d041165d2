"""The user and host that pushed a version."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Pusher"]


@dataclass(frozen=True, slots=True)
class Pusher:
    """The user and host that pushed a version. Each is `None` if it wasn't recorded."""

    user: str | None = None
    host: str | None = None

    def to_json(self) -> dict[str, str]:
        """Return a JSON object with the fields that were recorded."""
        return {key: value for key, value in (("user", self.user), ("host", self.host)) if value is not None}

    def __str__(self) -> str:
        shown = (part if part.isprintable() else repr(part) for part in (self.user, self.host) if part)
        return "@".join(shown) or "an unknown user"
