"""Live and dead claims of other pushes."""

from __future__ import annotations

import asyncio
import dataclasses
import subprocess
import sys

from aioassets import Driver, Manifest
from aioassets.drivers.protocol import Expect
from aioassets.model.claim import Claim, ClaimState
from aioassets.model.pusher import Pusher
from aioassets.runtime.machine import this_process
from aioassets.store.claims import keep_claim, new_claim
from tools.inspection import store_of

META = "assets/model/0.1.meta"


async def state_of(driver: Driver, version: str = "0.1") -> ClaimState | type[Manifest]:
    content = (await store_of(driver).read_meta("model", version)).content
    return content.state if isinstance(content, Claim) else Manifest


def gone_pid() -> int:
    """Return the id of a process that has just ended."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        pass
    return process.pid


async def live_claim(
    operation: str = "update", state: ClaimState = ClaimState.CLAIMED, fingerprint: str = "of something else"
) -> Claim:
    """Return a claim of a push of this process."""
    claimant = await asyncio.to_thread(this_process, user=False, host=False)
    claim = new_claim(operation, fingerprint, dataclasses.replace(claimant, holder=Pusher("ann", "host")))
    keep_claim(claim.token)
    return claim.in_state(state)


async def dead_claim(operation: str = "update", fingerprint: str = "of something else") -> Claim:
    """Return a claim of a process that ended on this machine."""
    return dataclasses.replace(await live_claim(operation, fingerprint=fingerprint), pid=gone_pid())


async def put_claim(driver: Driver, claim: Claim, key: str = META) -> None:
    await driver.write(key, claim.to_json(), expected=Expect.ABSENT)
