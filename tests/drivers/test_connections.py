"""Limits of connections: of the time without progress, and of silent retries."""

from __future__ import annotations

import asyncio

import aiohttp
import anyio
import pytest
from anyio.lowlevel import checkpoint
from tools.relay import Clock, settled
from tools.tcp import listening

from aioassets.drivers.http.connections import Watch, send_once

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


@pytest.mark.parametrize(("once", "requests"), [(False, 3), (True, 2)])
async def test_aiohttp_repeats_no_request_after_a_kept_connection_broke(once: bool, requests: int) -> None:
    """The attribute that switches this off isn't public. The first case shows what it prevents."""
    received = 0

    async def answer_every_other(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal received
        await reader.readuntil(b"\r\n\r\n")
        received += 1
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        received += 1

    async with listening(answer_every_other) as port, aiohttp.ClientSession() as session:
        url = f"http://127.0.0.1:{port}"
        if once:
            send_once(session)
        async with session.get(url):
            pass
        if once:
            with pytest.raises(aiohttp.ServerDisconnectedError):
                await session.get(url)
        else:
            async with session.get(url):
                pass
    assert received == requests
