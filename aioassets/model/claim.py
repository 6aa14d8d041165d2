"""The claim that reserves a version number, and its JSON form."""

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
"""Time without a renewal, by the store's clock, after which a claim is considered dead."""


class ClaimState(enum.Enum):
    """State of a claim."""

    CLAIMED = "claimed"
    """A push holds the version number, or died while holding it."""
    ABANDONED = "abandoned"
    """The push gave up. It may have left content, and requests still in flight may write more."""
    RELEASED = "released"
    """The push gave up and left nothing behind. The version number may be claimed again."""


@dataclass(frozen=True, slots=True)
class Claim:
    """Reservation of one version number by one push: the content of a `.meta` before it is sealed.

    Attributes:
        token: a random identifier of the push.
        operation: `create`, `update` or `bump_major`.
        fingerprint: a digest of the paths, sizes and modification times of the source.
        machine: a digest that identifies the machine, its current boot and the PID namespace.
        pid: the process ID of the pusher on that machine.
        started: the start time of that process, to recognise reused process IDs.
        holder: the user and host that are pushing, for messages.
        state: the state of the claim.
        renewals: the number of renewals so far, which makes the content of each renewal unique.
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

    def is_of(self, written: Claim) -> bool:
        """Return whether this is the claim that a push wrote, or a renewal of it, in the same state.

        The token alone isn't enough: another process may abandon a claim without changing its token.
        """
        return (self.token, self.state) == (written.token, written.state)

    def renewed(self) -> Claim:
        """Return the claim with one more renewal."""
        return replace(self, renewals=self.renewals + 1)

    def in_state(self, state: ClaimState) -> Claim:
        """Return the claim in the given state."""
        return replace(self, state=state)

    def to_json(self) -> bytes:
        """Return the JSON document, which has none of the fields by which modelkit recognises a manifest."""
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
        """Return the claim in a parsed JSON value, or raise `ValueError` if it isn't valid."""
        claim = typed(value, dict, "claim")
        holder = typed(claim.get("holder", {}), dict, "holder")
        try:
            state = ClaimState(claim.get("state"))
        except ValueError:
            raise ValueError("its claim has an unknown state") from None
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
