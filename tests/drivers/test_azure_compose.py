"""Composing blobs on Azure. Azurite has no Put Block From URL, so a stand-in asks it for the two halves of that."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from functools import partial
from typing import Any

import pytest
from tools.servers import AzureServer

from aioassets.drivers.azure.client import AzureClient
from aioassets.drivers.azure.driver import AzureDriver
from aioassets.drivers.http.responses import SDKResponse
from aioassets.drivers.protocol import Data
from aioassets.runtime.dispatch import Dispatcher
from aioassets.runtime.retry import RetryPolicy
from aioassets.testing.compositions import CompositionConformance

MIB = 1024 * 1024
pytestmark = pytest.mark.servers
Answer = tuple[int, Mapping[str, str]]


def fetched(headers: Mapping[str, str]) -> bytes | Answer:
    """Read the range that a request copies, as the store would. Return an error response if that fails."""
    request = urllib.request.Request(headers["x-ms-copy-source"])
    request.add_header("x-ms-range", headers["x-ms-source-range"])
    request.add_header("if-match", headers["x-ms-source-if-match"])
    request.add_header("x-ms-version", "2021-12-02")
    try:
        with urllib.request.urlopen(request) as answer:
            data = bytes(answer.read())
    except urllib.error.HTTPError as error:
        code = {404: "CannotVerifyCopySource", 412: "SourceConditionNotMet"}.get(error.code, "CannotVerifyCopySource")
        return error.code, {"x-ms-error-code": code}
    if base64.b64encode(hashlib.md5(data).digest()).decode() != headers["x-ms-source-content-md5"]:
        return 400, {"x-ms-error-code": "Md5Mismatch"}
    return data


class Copying:
    """Stand-in for Put Block From URL. It reads the range by the URL of the request, and sends it as a block.

    Attributes:
        headers: the headers of the requests.
        before: called before each of them.
    """

    def __init__(self, real: Callable[..., Awaitable[Any]]) -> None:
        self._real = real
        self.headers: list[Mapping[str, str]] = []
        self.before: Callable[[], Awaitable[None]] = partial(asyncio.sleep, 0)

    async def send(
        self,
        client: AzureClient,
        method: str,
        key: str,
        query: Mapping[str, str],
        headers: Mapping[str, str],
        body: Data | None,
        direct: bool,
    ) -> Any:
        if query.get("comp") != "block" or "x-ms-copy-source" not in headers:
            return await self._real(client, method, key, query, headers, body, direct)
        self.headers.append(headers)
        await self.before()
        data = await asyncio.to_thread(fetched, headers)
        if not isinstance(data, bytes):
            return _answer(*data)
        return await self._real(client, method, key, query, {"content-type": "application/octet-stream"}, data, True)


def _answer(status: int, headers: Mapping[str, str]) -> SDKResponse:
    async def pieces() -> AsyncIterator[bytes]:
        yield b""

    return SDKResponse(status, {"x-ms-request-id": "1", **headers}, pieces(), partial(asyncio.sleep, 0))


@pytest.fixture
def copying(monkeypatch: pytest.MonkeyPatch) -> Copying:
    stand_in = Copying(AzureClient._send)  # noqa: SLF001 - the one method that sends all requests

    async def send(client: AzureClient, *args: Any) -> Any:
        return await stand_in.send(client, *args)

    monkeypatch.setattr(AzureClient, "_send", send)
    return stand_in


@pytest.fixture
def container(azurite: AzureServer) -> str:
    return azurite.fresh_container()


@pytest.fixture
async def driver(azurite: AzureServer, container: str, copying: Copying) -> AsyncIterator[AzureDriver]:
    dispatcher = Dispatcher(retry=RetryPolicy(sleep=partial(asyncio.sleep, 0)))
    async with AzureDriver(container, part_size=MIB, dispatcher=dispatcher, **azurite.options) as driver:
        yield driver


class TestAzureDriver(CompositionConformance):
    """The conformance tests, with the account's key: URLs to copy from are signed."""

    part_size = MIB
    composes = True
