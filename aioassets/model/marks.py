"""Marks in a sealed `.meta`: who yanked or restored a version, when and why."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from aioassets.model.arguments import check_optional_text
from aioassets.model.fields import optional_text, timestamp, typed
from aioassets.model.pusher import Pusher

__all__ = ["Mark"]


@dataclass(frozen=True, slots=True)
class Mark:
    """A record of a change to a version or an alias.

    Attributes:
        token: a random identifier of the change, which makes each state of a document unique.
        date: the time of the change, by the clock of the process that made it; always timezone-aware.
        by: the user and host that made the change, if known.
        reason: why the change was made, if a reason was given.

    Raises:
        UsageError: if the reason isn't valid text.
    """

    token: str
    date: datetime
    by: Pusher = field(default_factory=Pusher)
    reason: str | None = None

    def __post_init__(self) -> None:
        check_optional_text(self.reason, "reason")

    def __str__(self) -> str:
        because = f": {self.reason.rstrip('.')}" if self.reason else ""
        return f"on {self.date:%Y-%m-%d %H:%M %Z} by {self.by}{because}"

    def to_json(self) -> dict[str, Any]:
        """Return the mark as a JSON object."""
        value: dict[str, Any] = {"token": self.token, "date": self.date.isoformat()}
        if by := self.by.to_json():
            value["by"] = by
        return {**value, "reason": self.reason} if self.reason else value

    @classmethod
    def from_value(cls, value: Any, what: str) -> Mark:
        """Create a mark from a parsed JSON value, or raise `ValueError` if the value is invalid.

        Args:
            value: the JSON value.
            what: the name of the field, for the error message.
        """
        mark = typed(value, dict, what)
        by = typed(mark.get("by", {}), dict, f"{what} by")
        return cls(
            token=typed(mark.get("token"), str, f"{what} token"),
            date=timestamp(mark.get("date"), f"{what} date"),
            by=Pusher(optional_text(by, "user"), optional_text(by, "host")),
            reason=optional_text(mark, "reason") or None,
        )
