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
"""Time since the last renewal, by the store's clock, after which a claim is dead."""


class ClaimState(enum.Enum):
    """State of a claim, the content of a `.meta` that isn't sealed."""

    CLAIMED = "claimed"
    """A push holds the version number, or died while holding it."""
    ABANDONED = "abandoned"
    """The push gave up. Content may be left, or still arrive."""
    RELEASED = "released"
    """The push gave up and left nothing. The number may be claimed again."""


@dataclass(frozen=True, slots=True)
class Claim:
    """Reservation of one version number by one push: the content of a `.meta` before it is sealed.

    Attributes:
        token: a random identifier of the push.
        operation: `create`, `update` or `bump_major`.
        fingerprint: a digest of the paths, sizes and modification times of the source.
        machine: a digest that is equal for processes that can see one another.
        pid: the process id of the pusher on that machine.
        started: the start time of that process, to recognise reused process ids.
        holder: the user and host that push, for messages.
        state: the state of the claim.
        renewals: number of renewals, so that no two of them have the same content.
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
        """Return whether this is a claim that a push wrote, perhaps renewed, in the state that it wrote.

        The token alone isn't enough: another process may end a claim without changing its token.
        """
        return (self.token, self.state) == (written.token, written.state)

    def renewed(self) -> Claim:
        """Return the claim as written by its next renewal."""
        return replace(self, renewals=self.renewals + 1)

    def in_state(self, state: ClaimState) -> Claim:
        """Return the claim in another state."""
        return replace(self, state=state)

    def to_json(self) -> bytes:
        """Return the claim as stored, without any field by which modelkit recognises a manifest."""
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
        """Return the claim of a parsed JSON value, or raise `ValueError` if it isn't one."""
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
