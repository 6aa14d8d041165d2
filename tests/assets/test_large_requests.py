"""Proxies and gateways that refuse large request bodies with a 413."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tools.factories import ManagerFactory, driver_at
from tools.inspection import contents, keys
from tools.relay import Exchange, Fault, Relay, Reply, Rule

from aioassets import AssetsManager, Dispatcher, Driver, PublicationUncertain, RetryPolicy, StoreError, StoreUnavailable

pytestmark = pytest.mark.servers

MIB = 1024 * 1024
KINDS = ("s3", "azure", "gcs")
LIMITS = {"s3": 6 * MIB, "azure": MIB, "gcs": MIB}
"""Bytes of the largest body that is accepted: 1 MiB is the default of nginx, but S3 has no parts below 5 MiB."""
OVERHEAD = 4096
NGINX = b"<html>\r\n<head><title>413 Request Entity Too Large</title></head>\r\n</html>\r\n"


class Early:
    """Respond before the body is read, and discard it, as nginx does."""

    async def __call__(self, exchange: Exchange) -> None:
        await exchange.reply(413, {"Content-Type": "text/html"}, NGINX)
        await exchange.body()


@dataclass
class Wire:
    """A manager behind a proxy.

    Attributes:
        relay: the proxy.
        manager: the manager that uses it.
        direct: the driver of the store itself.
        kind: the kind of the store.
    """

    relay: Relay
    manager: AssetsManager
    direct: Driver
    kind: str

    def refuse(self, limit: int, fault: Fault | None = None) -> Rule:
        def is_larger(headers: Mapping[str, str]) -> bool:
            return int(headers.get("content-length", 0)) > limit + OVERHEAD

        return self.relay.inject(fault or Reply(413, body=NGINX), headers=is_larger, times=10**6)


@pytest.fixture(params=KINDS)
def place(request: pytest.FixtureRequest) -> dict[str, Any]:
    kind = str(request.param)
    server = request.getfixturevalue({"s3": "seaweedfs", "azure": "azurite", "gcs": "gcs"}[kind])
    name = "container" if kind == "azure" else "bucket"
    fresh: Callable[[], str] = server.fresh_container if kind == "azure" else server.fresh_bucket
    url = {"s3": "endpoint_url", "azure": "account_url", "gcs": "api_root"}[kind]
    options = {"kind": kind, name: fresh(), **server.options, "part_size": 8 * MIB}
    return {"options": options, "server": getattr(server, url)}


@pytest.fixture
async def wire(place: dict[str, Any], make_manager: ManagerFactory) -> AsyncIterator[Wire]:
    options = place["options"]
    async with Relay(place["server"]) as relay:
        behind = driver_at(relay.through(options), Dispatcher(retry=RetryPolicy(retry_for=5)))
        direct = driver_at(options)
        yield Wire(relay, make_manager(behind), direct, options["kind"])
        await behind.aclose()
        await direct.aclose()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Make a folder with a file of one request, and one of several parts."""
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "whole").write_bytes(bytes(range(256)) * (7 * MIB // 256))
    (folder / "parts").write_bytes(bytes(range(255, -1, -1)) * (20 * MIB // 256) + b"end")
    return folder


@pytest.mark.parametrize("fault", [Reply(413, body=NGINX), Early()], ids=["late", "early"])
async def test_smaller_parts_are_sent(wire: Wire, source: Path, fault: Fault, caplog: pytest.LogCaptureFixture) -> None:
    rule = wire.refuse(LIMITS[wire.kind], fault)
    with caplog.at_level(logging.WARNING, "aioassets"):
        await wire.manager.create_asset(source, "model")
    fetched = await wire.manager.fetch_asset("model")
    assert contents(fetched.path) == contents(source)
    assert rule.hits
    assert "Sending files in parts of" in caplog.text
    assert [upload async for upload in wire.direct.open_uploads("")] == []


async def test_the_size_is_remembered(wire: Wire, source: Path) -> None:
    rule = wire.refuse(LIMITS[wire.kind])
    await wire.manager.create_asset(source, "model")
    refused = len(rule.hits)
    await wire.manager.update_asset(source, "model")
    assert len(rule.hits) == refused


async def test_a_limit_that_no_part_fits_is_named(wire: Wire, source: Path) -> None:
    wire.refuse(16 * 1024)
    with pytest.raises(StoreError, match="413") as caught:
        await wire.manager.create_asset(source, "model")
    message = str(caught.value)
    assert not isinstance(caught.value, StoreUnavailable)
    assert "too large for a proxy or gateway in front of the store" in message
    assert "client_max_body_size" in message
    assert "part_size can't be less than" in message
    assert [key for key in await keys(wire.direct) if "/0.0/" in key] == []
    assert [upload async for upload in wire.direct.open_uploads("")] == []


async def test_a_document_that_is_too_large_is_named(wire: Wire, tmp_path: Path) -> None:
    """A status that no store's own words come with proves nothing about the effect."""
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(200):
        (folder / f"{number:0200d}").write_bytes(b"")
    wire.refuse(16 * 1024)
    with pytest.raises(PublicationUncertain, match=r"write 'assets/model/0\.0\.meta' in .*: the request is too large"):
        await wire.manager.create_asset(folder, "model")
