"""Hot requests to Azure and Google Cloud Storage on the project's own connections."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import unquote

import aiohttp
import pytest
import trustme
from azure.core import MatchConditions
from azure.core.credentials import AccessToken
from azure.core.pipeline.transport import HttpRequest, HttpTransport
from azure.storage.blob import ContainerClient
from azure.storage.blob.aio import ContainerClient as AsyncContainerClient
from gcloud.aio.storage import Storage
from hypothesis import given
from hypothesis import strategies as st
from tools.relay import Relay
from tools.servers import AzureServer, GCSServer
from tools.tcp import listening

from aioassets import AzureDriver, Dispatcher, Driver, GCSDriver
from aioassets.drivers.azure.signing import SharedKey
from aioassets.drivers.azure.values import target
from aioassets.drivers.http.host import Host
from aioassets.drivers.protocol import Expect
from aioassets.errors import StoreUnavailable
from aioassets.runtime.retry import NO_RETRY, RetryPolicy
from aioassets.testing import BytesSource, DriverConformance

ACCOUNT = "account"
KEY = "c2VjcmV0IGtleQ=="
PART = 256 * 1024


async def use(driver: Driver) -> None:
    """Send every kind of request."""
    await driver.write("document", b"data", expected=Expect.ABSENT)
    await driver.upload("small", BytesSource(b"data"))
    await driver.upload("large", BytesSource(bytes(2 * PART + 1)))
    assert (await driver.read("document")).data == b"data"
    async with contextlib.aclosing(driver.read_range("large", 1, PART)) as chunks:
        assert sum([len(chunk) async for chunk in chunks]) == PART - 1
    assert (await driver.stat("small")).size == 4
    assert len([row async for row in driver.list("")]) == 3
    await driver.delete(["document"])


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The method and path of each request on the project's own connections."""
    requests: list[str] = []
    send = Host.send

    async def recording(self: Host, method: str, path: str, *rest: Any) -> Any:
        requests.append(f"{method} {path}")
        return await send(self, method, path, *rest)

    monkeypatch.setattr(Host, "send", recording)
    return requests


@pytest.mark.servers
async def test_azure_reads_and_writes_blobs_and_blocks_directly(azurite: AzureServer, sent: list[str]) -> None:
    container = azurite.fresh_container()
    async with Relay(azurite.account_url) as relay:
        async with AzureDriver(container, part_size=PART, **relay.through(azurite.options)) as driver:
            await use(driver)
        others = [each for each in relay.exchanges if f"{each.method} {each.target}" not in sent]
    assert [request.partition("?")[0].rpartition("/")[2] for request in sent].count("large") == 4
    assert {(each.method, "comp=blocklist" in each.target or "comp=list" in each.target) for each in others} == {
        ("HEAD", False),
        ("GET", True),
        ("PUT", True),
        ("DELETE", False),
    }


@pytest.mark.servers
async def test_gcs_reads_and_writes_objects_and_chunks_directly(gcs: GCSServer, sent: list[str]) -> None:
    bucket = gcs.fresh_bucket()
    async with Relay(gcs.api_root) as relay:
        async with GCSDriver(bucket, part_size=PART, **relay.through(gcs.options)) as driver:
            await use(driver)
        others = [each for each in relay.exchanges if f"{each.method} {each.target}" not in sent]
    assert len([request for request in sent if request.startswith("PUT") and "upload_id" in request]) == 3
    assert [each for each in others if "alt=media" in each.target or "uploadType=multipart" in each.target] == []
    assert {each.method for each in others} == {"GET", "POST", "DELETE"}


@pytest.mark.servers
async def test_azure_logs_each_request_at_debug(azurite: AzureServer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="aioassets.drivers.azure")
    container = azurite.fresh_container()
    async with AzureDriver(container, **azurite.options) as driver:
        await driver.write("key", b"data", expected=Expect.ABSENT)
        await driver.stat("key")
    logged = [record.getMessage() for record in caplog.records]
    assert logged == [f"PUT az://{container} 'key': 201", f"HEAD az://{container} 'key': 200"]


@pytest.mark.servers
async def test_gcs_logs_each_request_at_debug(gcs: GCSServer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="aioassets.drivers.gcs")
    bucket = gcs.fresh_bucket()
    async with GCSDriver(bucket, **gcs.options) as driver:
        await driver.write("key", b"data", expected=Expect.ABSENT)
        await driver.stat("key")
    logged = [record.getMessage() for record in caplog.records]
    assert logged == [f"POST gs://{bucket} 'key': 200", f"GET gs://{bucket} 'key': 200"]


@pytest.mark.servers
class TestAzureByAGivenClient(DriverConformance):
    """The conformance suite on the SDK's client, which sends all requests."""

    part_size = PART
    presigns = True

    @pytest.fixture
    async def driver(self, azurite: AzureServer) -> AsyncIterator[AzureDriver]:
        container = azurite.fresh_container()
        async with AsyncContainerClient.from_connection_string(
            azurite.options["connection_string"], container, retry_total=0
        ) as client:
            yield AzureDriver(container, client=client, part_size=PART)


class FixedToken:
    """A token of gcloud-aio's kind."""

    async def get(self) -> str:
        return "token"


@pytest.mark.servers
class TestGCSByAGivenClient(DriverConformance):
    """The conformance suite on the SDK's session, which sends all requests."""

    part_size = PART

    @pytest.fixture
    async def driver(self, gcs: GCSServer) -> AsyncIterator[GCSDriver]:
        async with aiohttp.ClientSession() as session:
            parts: dict[str, Any] = {"session": session, "token": FixedToken()}
            client = Storage(**parts, api_root=gcs.api_root)
            yield GCSDriver(gcs.fresh_bucket(), client=client, part_size=PART, **gcs.options)


# Signatures


class Recorded(Exception):
    """Carries a request that the SDK signed."""

    def __init__(self, request: HttpRequest) -> None:
        super().__init__()
        self.request = request


class Recording(HttpTransport[Any, Any]):
    """A transport that sends nothing."""

    def open(self) -> None: ...

    def close(self) -> None: ...

    def __exit__(self, *exc_info: object) -> None: ...

    def send(self, request: HttpRequest, **_: Any) -> NoReturn:
        raise Recorded(request)


OPERATIONS: dict[str, Callable[[Any, bytes], object]] = {
    "put blob": lambda blob, data: blob.upload_blob(data),
    "replace blob": lambda blob, data: blob.upload_blob(
        data, overwrite=True, etag='"1"', match_condition=MatchConditions.IfNotModified
    ),
    "get range": lambda blob, data: blob.download_blob(offset=len(data), length=5),
    "put block": lambda blob, data: blob.stage_block(data.hex(), data, length=len(data), validate_content=True),
}


@given(
    st.sampled_from(sorted(OPERATIONS)),
    st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), min_size=1),
    st.binary(min_size=1, max_size=100),
    st.sampled_from([f"https://{ACCOUNT}.blob.core.windows.net", f"http://127.0.0.1:10000/{ACCOUNT}"]),
)
async def test_a_shared_key_signs_as_the_sdk_does(operation: str, key: str, data: bytes, url: str) -> None:
    credential = {"account_name": ACCOUNT, "account_key": KEY}
    with (
        ContainerClient(url, "models", credential=credential, transport=Recording(), retry_total=0) as client,
        pytest.raises(Recorded) as caught,
    ):
        OPERATIONS[operation](client.get_blob_client(key), data)
    request = caught.value.request
    headers = {name.lower(): value for name, value in request.headers.items()}
    signed = headers.pop("authorization")
    path = "/" + request.url.partition("?")[0].split("/", 3)[3]
    query = {name: unquote(value) for name, value in request.query.items()}
    assert await SharedKey(ACCOUNT, KEY).authorize(request.method, path, query, headers) == signed


def test_a_key_that_is_not_base64_is_refused() -> None:
    with pytest.raises(ValueError, match="padding"):
        SharedKey(ACCOUNT, "abc")


def test_a_signature_follows_the_parameters() -> None:
    assert target("http://host/models?sig=a", "a key", {"comp": "block"}) == (
        "http://host/models/a%20key?comp=block&sig=a"
    )
    assert target("http://host/models?sig=a", "", {}) == "http://host/models?sig=a"
    assert target("http://host/models", "key", {}) == "http://host/models/key"


# Tokens, over TLS


class Tokens:
    """A token credential of the SDK's kind, which gives these tokens one after the other."""

    def __init__(self, *tokens: str, life: timedelta = timedelta(hours=1)) -> None:
        self.tokens = list(tokens)
        self.life = life

    async def get_token(self, *scopes: str, **options: Any) -> AccessToken:
        return AccessToken(self.tokens.pop(0), int((datetime.now(UTC) + self.life).timestamp()))


class SecureStore:
    """A store that accepts some tokens, over TLS.

    Attributes:
        accepted: the tokens.
        shown: the tokens of all requests.
    """

    CHALLENGE = "Bearer authorization_uri=https://login.example.com/tenant/oauth2 resource_id=https://storage.azure.com"

    def __init__(self) -> None:
        self.accepted: set[str] = set()
        self.shown: list[str] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower().split("\r\n")
            headers = dict(line.split(": ", 1) for line in head[1:] if line)
            await reader.readexactly(int(headers.get("content-length", 0)))
            self.shown.append(headers["authorization"].removeprefix("bearer "))
            fine = self.shown[-1] in self.accepted
            status = "201 Created" if fine else "401 Unauthorized"
            answer = ["ETag: 1", "x-ms-request-id: 1", "Content-Length: 0", "", ""]
            challenge = [] if fine else [f"WWW-Authenticate: {self.CHALLENGE}"]
            writer.write("\r\n".join([f"HTTP/1.1 {status}", *challenge, *answer]).encode())


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[tuple[SecureStore, dict[str, Any]]]:
    """A store that accepts the tokens `first` and `second`, and the options of its driver."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    served = SecureStore()
    served.accepted = {"first", "second"}
    options = {"ca_bundle": tmp_path / "ca.pem", "dispatcher": Dispatcher(retry=NO_RETRY)}
    async with listening(served.serve, tls=tls) as port:
        yield served, {"account_url": f"https://127.0.0.1:{port}/{ACCOUNT}", **options}


async def test_a_token_is_shown_until_it_is_about_to_expire(
    store: tuple[SecureStore, dict[str, Any]], sent: list[str]
) -> None:
    served, options = store
    credential = Tokens("first", "second", life=timedelta(minutes=4))
    async with AzureDriver("models", credential=credential, **options) as driver:
        await driver.write("key", b"data", expected=Expect.ANYTHING)
        credential.life = timedelta(hours=1)
        for _ in range(3):
            await driver.write("key", b"data", expected=Expect.ANYTHING)
    assert served.shown == ["first", "second", "second", "second"]
    assert len(sent) == 4


async def test_a_refused_token_is_replaced_by_the_sdk(
    store: tuple[SecureStore, dict[str, Any]], sent: list[str]
) -> None:
    """The SDK answers the challenge; the next request asks for a token anew."""
    served, options = store
    async with AzureDriver("models", credential=Tokens("refused", "first", "second"), **options) as driver:
        await driver.write("key", b"data", expected=Expect.ANYTHING)
        await driver.write("key", b"data", expected=Expect.ANYTHING)
    assert served.shown == ["refused", "first", "second"]
    assert len(sent) == 2


# Proxies


@pytest.mark.parametrize("kind", ["azure", "gcs"])
async def test_all_requests_go_through_a_proxy(kind: str, sent: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bytes] = []

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readline())
        writer.write(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    async with listening(refuse) as port:
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{port}")
        for variable in ("NO_PROXY", "no_proxy", "http_proxy"):
            monkeypatch.delenv(variable, raising=False)
        async with _driver_of(kind, "http://store.invalid") as driver:
            attempts: tuple[Awaitable[object], ...] = (
                driver.read("key"),
                driver.stat("key"),
                driver.upload("key", BytesSource(b"data")),
                driver.upload("key", BytesSource(bytes(100_000)), expected=Expect.ANYTHING),
            )
            for attempt in attempts:
                with pytest.raises(StoreUnavailable):
                    await attempt
    assert {line.split()[1].startswith(b"http://store.invalid/") for line in asked} == {True}
    assert len(sent) == 3


def _driver_of(kind: str, url: str) -> Any:
    dispatcher = Dispatcher(retry=RetryPolicy(retry_for=0))
    if kind == "gcs":
        return GCSDriver("models", api_root=url, dispatcher=dispatcher)
    return AzureDriver("models", account_url=f"{url}/{ACCOUNT}", account_key=KEY, dispatcher=dispatcher)
