"""Composing blobs on Azure. Azurite has no Put Block From URL, so a stand-in asks it for the two halves of that."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import logging
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from azure.core.credentials import AccessToken
from azure.storage.blob import ContainerSasPermissions, generate_container_sas
from tools.servers import AZURITE_ACCOUNT, AZURITE_KEY, AzureServer

from aioassets.drivers.azure.client import AzureClient
from aioassets.drivers.azure.composing import Composition
from aioassets.drivers.azure.driver import LEAST_COPIED, AzureDriver
from aioassets.drivers.azure.signing import Tokens
from aioassets.drivers.http.responses import SDKResponse
from aioassets.drivers.protocol import Data, Expect, ObjectInfo, Run
from aioassets.errors import CannotCompose
from aioassets.runtime.dispatch import Dispatcher
from aioassets.runtime.retry import RetryPolicy
from aioassets.testing import BytesSource
from aioassets.testing.compositions import CompositionConformance
from aioassets.testing.requests import assert_absent, read_all
from aioassets.testing.sources import KnownSource

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
    dispatcher = Dispatcher(retry=RetryPolicy(sleep=lambda _: asyncio.sleep(0)))
    async with AzureDriver(container, part_size=MIB, dispatcher=dispatcher, **azurite.options) as driver:
        yield driver


class TestAzureDriver(CompositionConformance):
    """The conformance tests, with the account's key: URLs to copy from are signed."""

    part_size = MIB
    composes = True


class Killed(BaseException):
    """Stands for SIGKILL."""


BLOB = bytes(range(256)) * (4 * MIB // 256)
NEW = BLOB[:MIB] + b"new" + BLOB[MIB:]


@pytest.fixture
async def original(driver: AzureDriver) -> ObjectInfo:
    await driver.upload("original", BytesSource(BLOB))
    return await driver.stat("original")


async def compose(driver: AzureDriver, original: ObjectInfo, **options: Any) -> Any:
    runs = [Run(0, MIB, original, 0), Run(MIB + 3, 3 * MIB, original, MIB)]
    return await driver.compose("composed", KnownSource(NEW), runs, **options)


async def test_an_interrupted_composition_is_resumed(
    driver: AzureDriver, original: ObjectInfo, copying: Copying, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Blocks that were copied are recognized by their IDs."""
    with monkeypatch.context() as patch:
        patch.setattr(Composition, "_commit", killed)
        with pytest.raises(Killed):
            await compose(driver, original)
    assert len(copying.headers) == 2
    assert (await compose(driver, original, resume=True)).created
    assert len(copying.headers) == 2
    assert await read_all(driver, "composed", 0, len(NEW) + 1) == NEW


async def killed(_: Composition) -> Any:
    raise Killed


async def test_an_original_that_is_replaced_meanwhile_is_not_used(
    driver: AzureDriver, original: ObjectInfo, copying: Copying, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither the error nor the log shows the signature with which the store reads the original."""
    caplog.set_level(logging.DEBUG, logger="aioassets")

    async def replaced() -> None:
        await driver.write("original", b"replaced", expected=Expect.ANYTHING)

    copying.before = replaced
    with pytest.raises(CannotCompose, match="original") as caught:
        await compose(driver, original)
    await assert_absent(driver, "composed")
    assert "sig=" in copying.headers[0]["x-ms-copy-source"]
    assert "sig=" not in f"{caught.value} {caught.value.__cause__} {caplog.text}"


async def test_with_a_token_the_store_is_authorized_by_the_same() -> None:
    class Credential:
        async def get_token(self, *_: str) -> Any:
            return AccessToken("secret", 2**33)

    headers = await Tokens(Credential()).as_source("https://one.example/container/key", "container", "key")
    assert headers == {
        "x-ms-copy-source": "https://one.example/container/key",
        "x-ms-copy-source-authorization": "Bearer secret",
    }


async def test_a_shared_access_signature_is_passed_on(azurite: AzureServer, container: str, copying: Copying) -> None:
    sas = generate_container_sas(
        AZURITE_ACCOUNT,
        container,
        account_key=AZURITE_KEY,
        permission=ContainerSasPermissions(read=True, write=True, list=True, delete=True),
        expiry=datetime.now(UTC) + timedelta(hours=1),
    )
    async with AzureDriver(container, part_size=MIB, account_url=azurite.account_url, sas_token=sas) as driver:
        await driver.upload("original", BytesSource(BLOB))
        assert (await compose(driver, await driver.stat("original"))).copied == len(NEW) - LEAST_COPIED
    assert copying.headers[0]["x-ms-copy-source"].endswith(sas)
