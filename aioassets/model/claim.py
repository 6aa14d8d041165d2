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
    """The state of a claim."""

    CLAIMED = "claimed"
    """A push holds the version number, or died while holding it."""
    ABANDONED = "abandoned"
    """The push gave up. It may have left content, and requests still in flight may write more."""
    RELEASED = "released"
    """The push gave up and left nothing behind. The version number may be claimed again."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A reservation of a version number by a push: the content of a `.meta` until the version is sealed.

    Attributes:
        token: a random identifier of the push.
        operation: `create`, `update`, `bump_major` or `copy`; `clean` if a cleanup wrote the claim.
        fingerprint: a digest of the source's paths, sizes and modification times (or revisions), or for a copy, its
            content digest if known; empty if the claim was only written to mark a version number as abandoned.
        machine: a digest that identifies the machine, its current boot and the PID namespace.
        pid: the ID of the pushing process on that machine.
        started: the start time of that process, which reveals whether its ID has been reused.
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
        """Return whether this claim is `written` or a renewal of it, and is in the same state.

        Comparing only the tokens isn't enough: another process may mark a claim as abandoned without
        changing its token.
        """
        return (self.token, self.state) == (written.token, written.state)

    def renewed(self) -> Claim:
        """Return a copy of the claim with the number of renewals increased by one."""
        return replace(self, renewals=self.renewals + 1)

    def in_state(self, state: ClaimState) -> Claim:
        """Return a copy of the claim in the given state."""
        return replace(self, state=state)

    def to_json(self) -> bytes:
        """Return the claim as a JSON document. It has none of the fields by which modelkit recognises a manifest."""
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
        """Create a claim from a parsed JSON value, or raise `ValueError` if the value is invalid."""
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
