"""Streamed pushes on every store: faults of the network, cancellation, and what they leave."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import anyio
import pytest
from tools.factories import PART_SIZE, ManagerFactory, driver_at
from tools.inspection import keys
from tools.relay import LoseAnswer, Relay, Reply

from aioassets import AssetsManager, Dispatcher, Driver, RetryPolicy, StoreUnavailable
from aioassets.testing.requests import open_uploads

pytestmark = pytest.mark.servers

SERVERS = ("s3", "azure", "gcs")
PARTS = 3
PIECE = 700_001
BEGIN = r"\?uploads|uploadType=resumable"
PART = r"partNumber=|comp=block&|upload_id="
COMPLETION = {"s3": r"\?uploadId=", "azure": "comp=blocklist", "gcs": "upload_id="}


def _is_completion(headers: dict[str, str]) -> bool:
    found = re.fullmatch(r"bytes \d+-(\d+)/(\d+)", headers.get("content-range", ""))
    return "content-range" not in headers or bool(found and int(found[1]) + 1 == int(found[2]))


@dataclass(frozen=True)
class Wire:
    """Store behind a relay.

    Attributes:
        manager: a manager whose requests pass the relay.
        driver: the store, without the relay.
        relay: the relay.
        kind: the kind of the store.
    """

    manager: AssetsManager
    driver: Driver
    relay: Relay
    kind: str

    async def check(self) -> None:
        """Check that the only version has the bytes of `pieces`, and that no upload is open."""
        expected = hashlib.sha256()
        async for piece in pieces():
            expected.update(piece)
        fetched = await self.manager.fetch_asset("model")
        assert hashlib.sha256(fetched.path.read_bytes()).hexdigest() == expected.hexdigest()
        assert await open_uploads(self.driver, "") == []

    async def check_nothing(self) -> None:
        """Check that no content and no upload is left."""
        assert [key for key in await keys(self.driver) if key.startswith("assets/model/0.0/")] == []
        assert "assets/model/0.0" not in await keys(self.driver)
        assert await open_uploads(self.driver, "") == []


async def pieces(stop: float = math.inf, stopped: anyio.Event | None = None) -> AsyncIterator[bytes]:
    """Iterate over the bytes of several parts, up to an offset at which it sets `stopped` and waits forever."""
    for offset in range(0, PARTS * PART_SIZE + 1000, PIECE):
        if offset >= stop and stopped is not None:
            stopped.set()
            await anyio.sleep_forever()
        yield offset.to_bytes(8, "big") * (PIECE // 8)


@pytest.fixture
async def wire(place: dict[str, Any], driver: Driver, make_manager: ManagerFactory) -> AsyncIterator[Wire]:
    retry = RetryPolicy(jitter=lambda: 0.0, retry_for=1)
    (url,) = {found[0] for value in place.values() if (found := re.search(r"http://[\w.:]+", str(value)))}
    async with Relay(url) as relay:
        counted = driver_at(relay.through(place), Dispatcher(retry=retry))
        yield Wire(make_manager(counted, retry=retry), driver, relay, place["kind"])
        await counted.aclose()


@pytest.mark.parametrize("place", SERVERS, indirect=True)
async def test_a_stream_survives_lost_answers(wire: Wire) -> None:
    """A part is sent again from memory, and a completion that took effect is recognised."""
    lost = [
        wire.relay.inject(LoseAnswer(), target=BEGIN) if wire.kind != "azure" else None,
        wire.relay.inject(LoseAnswer(), target=PART, skip=1),
        wire.relay.inject(LoseAnswer(), target=COMPLETION[wire.kind], headers=_is_completion),
    ]
    await wire.manager.create_asset(pieces(), "model")
    assert all(rule is None or rule.hits for rule in lost)
    await wire.check()


@pytest.mark.parametrize("place", SERVERS, indirect=True)
async def test_a_stream_that_is_cancelled_or_that_an_outage_ends_leaves_nothing(wire: Wire) -> None:
    stopped = anyio.Event()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wire.manager.create_asset, pieces(2.5 * PART_SIZE, stopped), "model")
        await stopped.wait()
        tasks.cancel_scope.cancel()
    await wire.check_nothing()
    wire.relay.inject(Reply(503), target=PART, skip=1, times=math.inf)
    with pytest.raises(StoreUnavailable):
        await wire.manager.create_asset(pieces(), "model")
    await wire.check_nothing()
