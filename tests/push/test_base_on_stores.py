"""A push with a base sends only what changed, on every store, whatever happens to the base or to copies."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tools.factories import ManagerFactory, driver_at
from tools.inspection import contents, keys
from tools.relay import Exchange, LoseAnswer, Relay, Reply, Rule

from aioassets import AssetsManager, Dispatcher, Driver, PushResult, RetryPolicy
from aioassets.drivers.protocol import Expect
from aioassets.testing import BytesSource

FILES = 40
SIZE = 256 * 1024
SERVERS = [pytest.param(kind, marks=pytest.mark.servers) for kind in ("s3", "azure", "gcs")]
DOCUMENTS = 80_000
"""Maximum of bytes for claims, manifests, indexes and the framing of requests."""


@dataclass(frozen=True)
class Wire:
    """Store with a version of 40 files.

    Attributes:
        manager: a manager whose requests to a server pass a relay.
        driver: the store, without the relay.
        relay: the relay; `None` for a folder.
        source: the source of a further version, in which one file has changed and another one is renamed.
    """

    manager: AssetsManager
    driver: Driver
    relay: Relay | None
    source: Path

    async def update(self) -> PushResult:
        """Push the source, and check that the version is right."""
        if self.relay is not None:
            self.relay.forget()
        pushed = await self.manager.update_asset(self.source, "model")
        assert pushed.base == "model:0.0"
        return pushed

    async def check(self, pushed: PushResult) -> None:
        """Check that a version has exactly the bytes of the source."""
        fetched = await self.manager.fetch_asset(f"model:{pushed.version}")
        assert contents(fetched.path) == contents(self.source)
        assert fetched.verified

    def sent(self) -> int:
        """Return the bytes that were sent in either direction."""
        assert self.relay is not None
        return sum(each.sent + each.received for each in self.relay.exchanges)

    def on_copies(self, fault: Any, times: float = 1) -> Rule:
        """Inject a fault into copies."""
        assert self.relay is not None
        return self.relay.inject(fault, target=_COPY_TARGET, headers=_is_copy, times=times)


_COPY_TARGET = "/0.1/|/rewriteTo/"
_COPY_SOURCE = {"x-amz-copy-source", "x-ms-copy-source"}


def _is_copy(headers: dict[str, str]) -> bool:
    return bool(_COPY_SOURCE & headers.keys()) or headers.get("content-length") == "0"  # as on GCS


def is_copy(exchange: Exchange) -> bool:
    return "/rewriteTo/" in exchange.target or bool(_COPY_SOURCE & exchange.headers.keys())


@pytest.fixture
async def wire(
    place: dict[str, Any], driver: Driver, make_manager: ManagerFactory, tmp_path: Path
) -> AsyncIterator[Wire]:
    source = tmp_path / "source"
    source.mkdir()
    for number in range(FILES):
        (source / f"{number}").write_bytes(f"{number:04}".encode() * (SIZE // 4))
    await make_manager(driver).create_asset(source, "model")
    (source / "0").write_bytes(b"new " * (SIZE // 4))
    (source / "1").rename(source / "renamed")
    retry = RetryPolicy(jitter=lambda: 0.0)
    url = next((found[0] for value in place.values() if (found := re.search(r"http://[\w.:]+", str(value)))), None)
    if url is None:
        yield Wire(make_manager(driver), driver, None, source)
        return
    async with Relay(url) as relay:
        counted = driver_at(relay.through(place), Dispatcher(retry=retry))
        yield Wire(make_manager(counted, retry=retry), driver, relay, source)
        await counted.aclose()


async def test_only_what_changed_is_sent(wire: Wire) -> None:
    pushed = await wire.update()
    assert (pushed.uploaded, pushed.copied) == (SIZE, (FILES - 1) * SIZE)
    if wire.relay is not None:
        assert SIZE <= wire.sent() < SIZE + DOCUMENTS
        assert sum(map(is_copy, wire.relay.exchanges)) - (FILES - 1) in (0, 1)  # S3 repeats one, as a check
    await wire.check(pushed)
    again = await wire.manager.update_asset(wire.source, "model")
    assert (again.base, again.uploaded) == ("model:0.1", 0)


async def test_what_is_deleted_or_replaced_is_uploaded(wire: Wire) -> None:
    """An outsider did so, or a deletion that was interrupted. The replaced object has the same size as before."""
    await wire.driver.delete(["assets/model/0.0/5"])
    await wire.driver.upload("assets/model/0.0/6", BytesSource(b"!" * SIZE), expected=Expect.ANYTHING)
    pushed = await wire.update()
    assert (pushed.uploaded, pushed.copied) == (3 * SIZE, (FILES - 3) * SIZE)
    await wire.check(pushed)


@pytest.mark.parametrize("place", SERVERS, indirect=True)
async def test_lost_answers_of_copies_do_no_harm(wire: Wire) -> None:
    rule = wire.on_copies(LoseAnswer(), times=3)
    pushed = await wire.update()
    assert len(rule.hits) == 3
    await wire.check(pushed)
    assert len([key for key in await keys(wire.driver) if "/0.1/" in key]) == FILES


@pytest.mark.parametrize("place", SERVERS, indirect=True)
@pytest.mark.parametrize("status", [403, 501])
async def test_a_store_that_refuses_copies_gets_uploads(wire: Wire, status: int) -> None:
    rule = wire.on_copies(Reply(status), times=1000)
    pushed = await wire.update()
    assert rule.hits
    assert (pushed.uploaded, pushed.copied) == (pushed.size, 0)
    await wire.check(pushed)
