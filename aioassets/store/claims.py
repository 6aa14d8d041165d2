"""Creating claims, and checking whether their holders are alive."""

from __future__ import annotations

import secrets

from aioassets.model.claim import DEAD_AFTER, Claim, ClaimState
from aioassets.runtime.machine import Claimant, current_machine
from aioassets.store.documents import MetaState


def keep_claim(token: str) -> None:
    """Treat a claim of the current process as live until `drop_claim` is called."""
    current_machine().live_claims.add(token)


def drop_claim(token: str) -> None:
    """Treat a claim of the current process as dead, because its push has ended."""
    current_machine().live_claims.discard(token)


def new_claim(operation: str, fingerprint: str, claimant: Claimant) -> Claim:
    """Return a claim with a new random token."""
    return Claim(
        token=secrets.token_hex(16),
        operation=operation,
        fingerprint=fingerprint,
        machine=claimant.machine,
        pid=claimant.pid,
        started=claimant.started,
        holder=claimant.holder,
    )


def is_dead(meta: MetaState, claim: Claim) -> bool:
    """Return whether the holder of a claim is known to be dead, or hasn't renewed the claim for 15 minutes."""
    here = current_machine()
    if here.is_gone(claim.machine, claim.pid, claim.started):
        return True
    if here.is_this_process(claim.machine, claim.pid, claim.started) and claim.token not in here.live_claims:
        return True
    return meta.age > DEAD_AFTER


def may_take_over(meta: MetaState, claim: Claim, operation: str, fingerprint: str) -> bool:
    """Return whether a push may take over a claim.

    This is allowed if the claim was released, or if its holder is dead and was pushing the same source with the same
    operation.
    """
    if claim.state is ClaimState.RELEASED:
        return True
    same = (claim.operation, claim.fingerprint) == (operation, fingerprint)
    return claim.state is ClaimState.CLAIMED and same and is_dead(meta, claim)
