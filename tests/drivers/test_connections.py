"""Requests whose body makes no progress time out."""

from __future__ import annotations

import anyio
import pytest
from anyio.lowlevel import checkpoint
from tools.relay import Clock, settled

from aioassets.drivers.http.connections import Watch

PATIENCE = 100.0


@pytest.mark.parametrize(("last", "limit"), [(False, PATIENCE), (True, 2 * PATIENCE)])
async def test_the_time_between_pieces_and_after_the_last_one_is_limited(last: bool, limit: float) -> None:
    """After the last piece, the limit is longer than the timeout of the client, which comes first."""
    clock = Clock()
    watch = Watch()

    async def stall() -> None:
        with watch.patient_for(PATIENCE):
            watch.taken(last=last)
            clock.skip(0.9 * limit)
            await settled()
            clock.skip(0.2 * limit)
            await anyio.sleep_forever()

    with anyio.move_on_after(1.2 * limit) as hanging, pytest.raises(TimeoutError):
        await stall()
    assert not hanging.cancel_called
    assert clock.skipped > limit


async def test_each_piece_extends_the_limit() -> None:
    clock = Clock()
    watch = Watch()
    with watch.patient_for(PATIENCE):
        for _ in range(10):
            watch.taken(last=False)
            clock.skip(0.9 * PATIENCE)
            await checkpoint()


async def test_there_is_no_limit_before_the_first_piece() -> None:
    """Connecting has its own timeout."""
    clock = Clock()
    with Watch().patient_for(PATIENCE):
        clock.skip(10 * PATIENCE)
        await checkpoint()
