"""The requests that each file needs go to S3 without the SDK, and otherwise just as with it."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import trustme
from aiobotocore.config import AioConfig
from aiobotocore.session import AioSession
from aiohttp import web
from tools.factories import long_text
from tools.servers import S3Server

from aioassets.drivers.protocol import Expect
from aioassets.drivers.s3.driver import MIN_PART_SIZE, S3Driver
from aioassets.errors import InvalidSetting, ObjectNotFound, StoreUnavailable
from aioassets.runtime.dispatch import Dispatcher
from aioassets.runtime.retry import NO_RETRY
from aioassets.testing import BytesSource, DriverConformance

servers = pytest.mark.servers
HOT = ("get_object", "put_object", "upload_part")
TWO_PARTS = bytes(range(256)) * (MIN_PART_SIZE // 256) + b"end"
REDIRECT = "<Error><Code>PermanentRedirect</Code><Message>Elsewhere.</Message><Endpoint>x</Endpoint></Error>"


@pytest.fixture
def bucket(seaweedfs: S3Server) -> str:
    return seaweedfs.fresh_bucket()


@contextlib.asynccontextmanager
async def sdk_client(options: dict[str, Any]) -> AsyncIterator[Any]:
    config = AioConfig(
        retries={"total_max_attempts": 1},
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        s3={"payload_signing_enabled": False, "addressing_style": "path"},
    )
    async with AioSession().create_client(
        "s3",
        endpoint_url=options["endpoint_url"],
        region_name=options["region"],
        aws_access_key_id=options["access_key_id"],
        aws_secret_access_key=options["secret_access_key"],
        config=config,
    ) as client:
        yield client


async def by_sdk(driver: S3Driver, monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often the SDK is left what could go without it."""
    client = (await driver._connected())._client
    calls: Counter[str] = Counter()

    def counted(operation: str) -> Callable[..., Awaitable[Any]]:
        real = getattr(client, operation)

        async def call(**params: Any) -> Any:
            calls[operation] += 1
            return await real(**params)

        return call

    for operation in HOT:
        monkeypatch.setattr(client, operation, counted(operation))
    return calls


async def use(driver: S3Driver) -> None:
    """Send each of the hot requests, and see that it does what it should."""
    await driver.write("document", b"data", expected=Expect.ABSENT)
    assert (await driver.read("document")).data == b"data"
    await driver.upload("small", BytesSource(b"small"))
    await driver.upload("large", BytesSource(TWO_PARTS))
    for key, data in (("small", b"small"), ("large", TWO_PARTS)):
        async with contextlib.aclosing(driver.read_range(key, 0, len(data))) as chunks:
            assert b"".join([chunk async for chunk in chunks]) == data


async def write_streamed(driver: S3Driver) -> None:
    """Write a document that is nowhere whole before it is in the store."""
    text = long_text()
    await driver.write("long", text, expected=Expect.ABSENT)
    assert (await driver.read("long")).data == b"".join(text)


@servers
class TestBySDK(DriverConformance):
    """With a client of the SDK's that was given, all is left to it."""

    @pytest.fixture
    async def driver(self, seaweedfs: S3Server, bucket: str) -> AsyncIterator[S3Driver]:
        async with sdk_client(seaweedfs.options) as client:
            yield S3Driver(bucket, client=client, part_size=MIN_PART_SIZE)

    async def test_it_is_used(self, driver: S3Driver, monkeypatch: pytest.MonkeyPatch) -> None:
        calls = await by_sdk(driver, monkeypatch)
        await use(driver)
        assert calls.keys() == set(HOT)


@servers
class TestWhatGoesByItself:
    async def test_all_that_is_certain(self, seaweedfs: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
        async with S3Driver(bucket, part_size=MIN_PART_SIZE, **seaweedfs.options) as driver:
            calls = await by_sdk(driver, monkeypatch)
            await use(driver)
            await write_streamed(driver)
        assert not calls

    async def test_checksums_that_the_sdk_is_to_add_are_left_to_it(
        self, seaweedfs: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        options: dict[str, Any] = {
            "checksums": False,
            "request_checksum_calculation": "when_supported",
            "part_size": MIN_PART_SIZE,
        }
        async with S3Driver(bucket, **seaweedfs.options, **options) as driver:
            calls = await by_sdk(driver, monkeypatch)
            await use(driver)
        assert calls.keys() == {"put_object", "upload_part"}

    async def test_nothing_where_a_proxy_is_between(
        self, bucket: str, seaweedfs: S3Server, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked: list[str] = []

        async def refuse(request: web.BaseRequest) -> web.Response:
            asked.append(f"{request.url}")
            return web.Response(status=502)

        async with serving(refuse) as proxy:
            monkeypatch.setenv("HTTP_PROXY", proxy)
            monkeypatch.delenv("NO_PROXY", raising=False)
            monkeypatch.delenv("no_proxy", raising=False)
            store = {**seaweedfs.options, "endpoint_url": "http://store.invalid"}
            async with S3Driver(bucket, dispatcher=Dispatcher(retry=NO_RETRY), **store) as driver:
                with pytest.raises(StoreUnavailable):
                    await driver.read("document")
        assert asked == [f"http://store.invalid/{bucket}/document"]

    async def test_nothing_for_buckets_that_are_signed_otherwise(self) -> None:
        """S3 Express has sessions of its own."""
        options: dict[str, Any] = {"region": "us-west-2", "access_key_id": "key", "secret_access_key": "secret"}
        async with S3Driver("models--usw2-az1--x-s3", **options) as driver:
            client = await driver._connected()
            assert client._address is None
        async with S3Driver("models", **options) as driver:
            assert (await driver._connected())._address.server == ("models.s3.us-west-2.amazonaws.com", 443)


@contextlib.asynccontextmanager
async def serving(answer: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]) -> AsyncIterator[str]:
    """A server of our own, for what no store can be made to say; yields its URL."""
    runner = web.ServerRunner(web.Server(answer))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def test_a_bucket_in_another_region_is_found() -> None:
    """By the SDK; what follows goes there by itself."""
    regions: list[str] = []

    async def answer(request: web.BaseRequest) -> web.Response:
        regions.append(request.headers["Authorization"].split("/")[2])
        if regions[-1] != "eu-west-1":
            headers = {"x-amz-bucket-region": "eu-west-1"}
            return web.Response(status=301, text=REDIRECT, content_type="application/xml", headers=headers)
        return web.Response(headers={"ETag": '"1"'})

    async with (
        serving(answer) as url,
        S3Driver(
            "models",
            endpoint_url=url,
            region="us-east-1",
            access_key_id="key",
            secret_access_key="secret",
            addressing_style="path",
        ) as driver,
    ):
        for key in ("first", "second"):
            await driver.write(key, b"data", expected=Expect.ABSENT)
    assert regions[0] == "us-east-1"
    assert regions[-2:] == ["eu-west-1", "eu-west-1"]
    assert len(regions) - regions.index("eu-west-1") == 2


@servers
class TestTLS:
    @pytest.fixture
    def authority(self) -> trustme.CA:
        return trustme.CA()

    @pytest.fixture
    def ca_bundle(self, authority: trustme.CA, tmp_path: Path) -> Path:
        authority.cert_pem.write_to_path(tmp_path / "authorities")
        return tmp_path / "authorities"

    @pytest.fixture
    async def options(self, seaweedfs: S3Server, authority: trustme.CA) -> AsyncIterator[dict[str, Any]]:
        """Of the store behind what encrypts."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("localhost").configure_cert(context)
        store = urlsplit(seaweedfs.endpoint_url)
        tasks: set[asyncio.Task[None]] = set()

        async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(OSError):
                while data := await reader.read(65536):
                    writer.write(data)
                    await writer.drain()
            writer.close()

        async def join(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            there = await asyncio.open_connection(store.hostname, store.port)
            await asyncio.gather(pass_on(reader, there[1]), pass_on(there[0], writer))

        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            tasks.add(asyncio.ensure_future(join(reader, writer)))

        server = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=context)
        port = server.sockets[0].getsockname()[1]
        yield {**seaweedfs.options, "endpoint_url": f"https://localhost:{port}", "part_size": MIN_PART_SIZE}
        server.close()
        await asyncio.gather(*tasks)

    async def test_all_is_as_in_clear(
        self, bucket: str, options: dict[str, Any], ca_bundle: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with S3Driver(bucket, ca_bundle=ca_bundle, **options) as driver:
            calls = await by_sdk(driver, monkeypatch)
            await use(driver)
            await write_streamed(driver)
        assert not calls

    async def test_who_serves_is_verified(self, bucket: str, options: dict[str, Any]) -> None:
        async with S3Driver(bucket, dispatcher=Dispatcher(retry=NO_RETRY), **options) as driver:
            with pytest.raises(StoreUnavailable, match=r"verify failed.*set ca_bundle") as caught:
                await driver.write("document", b"data", expected=Expect.ABSENT)
        assert not caught.value.uncertain

    async def test_unless_that_is_not_wanted(self, bucket: str, options: dict[str, Any]) -> None:
        async with S3Driver(bucket, verify=False, **options) as driver:
            with pytest.raises(ObjectNotFound):
                await driver.read("document")

    async def test_authorities_that_cannot_be_read_are_named(self, bucket: str, options: dict[str, Any]) -> None:
        async with S3Driver(bucket, ca_bundle="/not/there", **options) as driver:
            with pytest.raises(InvalidSetting, match="/not/there"):
                await driver.read("document")
