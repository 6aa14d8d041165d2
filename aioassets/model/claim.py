"""The claim that reserves a version number, and its JSON."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, Final

from aioassets.model.fields import optional_text, typed
from aioassets.model.jsontext import dump
from aioassets.model.pusher import Pusher

CLAIM_FIELD: Final = "aioassets_claim"

DEAD_AFTER: Final = timedelta(minutes=15)
"""A claim that wasn't renewed for so long, by the store's clock, is dead."""


class ClaimState(enum.Enum):
    """Where a `.meta` that isn't sealed stands in its life."""

    CLAIMED = "claimed"
    """A push holds the number, or died holding it."""
    ABANDONED = "abandoned"
    """The push gave up; content may be left, or still arrive."""
    RELEASED = "released"
    """The push gave up and left nothing: the number may be claimed again."""


@dataclass(frozen=True, slots=True)
class Claim:
    """The content of a `.meta` before it is sealed: one push reserves one version number.

    Attributes:
        token: tells this push from any other.
        operation: `create`, `update` or `bump_major`.
        fingerprint: of the source (paths, sizes, times of change).
        machine: a digest that is equal for processes that can see one another.
        pid: the pusher's process, on that machine.
        started: when that process started, as the system tells it; tells reused pids apart.
        holder: who pushes, for people.
        state: where it stands.
        renewals: how often it was renewed; makes each renewal another content.
    """

    token: str
    operation: str
    fingerprint: str
    machine: str
    pid: int
    started: str
    holder: Pusher = field(default_factory=Pusher)
    state: ClaimState = ClaimState.CLAIMED
    renewals: int = 0

    def renewed(self) -> Claim:
        """The same claim, once more."""
        return replace(self, renewals=self.renewals + 1)

    def in_state(self, state: ClaimState) -> Claim:
        """The same claim in another state."""
        return replace(self, state=state)

    def to_json(self) -> bytes:
        """The claim as stored; it has none of the fields by which modelkit knows a manifest."""
        claim = {
            "state": self.state.value,
            "token": self.token,
            "operation": self.operation,
            "fingerprint": self.fingerprint,
            "machine": self.machine,
            "pid": self.pid,
            "started": self.started,
            "holder": self.holder.to_json(),
            "renewals": self.renewals,
        }
        return dump({CLAIM_FIELD: claim})

    @classmethod
    def from_value(cls, value: Any) -> Claim:
        """Return the claim of a parsed JSON value; raise `ValueError` where it is none."""
        claim = typed(value, dict, "claim")
        holder = typed(claim.get("holder", {}), dict, "holder")
        try:
            state = ClaimState(claim.get("state"))
        except ValueError:
            raise ValueError("its claim is in an unknown state") from None
        return cls(
            token=typed(claim.get("token"), str, "token"),
            operation=typed(claim.get("operation"), str, "operation"),
            fingerprint=typed(claim.get("fingerprint"), str, "fingerprint"),
            machine=typed(claim.get("machine"), str, "machine"),
            pid=typed(claim.get("pid"), int, "pid"),
            started=typed(claim.get("started"), str, "started"),
            holder=Pusher(optional_text(holder, "user"), optional_text(holder, "host")),
            state=state,
            renewals=typed(claim.get("renewals", 0), int, "renewals"),
        )
