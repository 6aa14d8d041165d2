"""Hot requests to S3 on the project's own connections, which have the same results as with the SDK."""

from __future__ import annotations

import asyncio
import contextlib
import io
import re
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
from tools.s3 import client_of
from tools.servers import S3Server
from tools.tcp import listening, tunnel

from aioassets.drivers.protocol import Expect
from aioassets.drivers.s3.address import Address
from aioassets.drivers.s3.by_sdk import SDKRequests
from aioassets.drivers.s3.direct import DirectRequests
from aioassets.drivers.s3.driver import MIN_PART_SIZE, S3Driver
from aioassets.drivers.s3.signing import host_of
from aioassets.drivers.s3.values import crc32
from aioassets.errors import InvalidSetting, ObjectNotFound, StoreUnavailable
from aioassets.runtime.dispatch import Dispatcher
from aioassets.runtime.retry import NO_RETRY, RetryPolicy
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
    """Count the hot requests that the SDK sends."""
    client = (await client_of(driver)).sdk
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
    """Send each hot request, and check its effect."""
    await driver.write("document", b"data", expected=Expect.ABSENT)
    assert (await driver.read("document")).data == b"data"
    await driver.upload("small", BytesSource(b"small"))
    await driver.upload("large", BytesSource(TWO_PARTS))
    for key, data in (("small", b"small"), ("large", TWO_PARTS)):
        async with contextlib.aclosing(driver.read_range(key, 0, len(data))) as chunks:
            assert b"".join([chunk async for chunk in chunks]) == data


async def write_streamed(driver: S3Driver) -> None:
    """Write a document that is never in memory as a whole."""
    text = long_text()
    await driver.write("long", text, expected=Expect.ABSENT)
    assert (await driver.read("long")).data == b"".join(text)


@servers
class TestBySDK(DriverConformance):
    """A client that the user passed sends all requests."""

    presigns = True

    @pytest.fixture
    async def driver(self, seaweedfs: S3Server, bucket: str) -> AsyncIterator[S3Driver]:
        async with sdk_client(seaweedfs.options) as client:
            yield S3Driver(bucket, client=client, part_size=MIN_PART_SIZE)

    async def test_it_sends_the_hot_requests(self, driver: S3Driver, monkeypatch: pytest.MonkeyPatch) -> None:
        calls = await by_sdk(driver, monkeypatch)
        await use(driver)
        assert calls.keys() == set(HOT)


@servers
class TestDirectRequests:
    async def test_the_sdk_sends_no_hot_request(
        self, seaweedfs: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with S3Driver(bucket, part_size=MIN_PART_SIZE, **seaweedfs.options) as driver:
            calls = await by_sdk(driver, monkeypatch)
            await use(driver)
            await write_streamed(driver)
        assert not calls

    @pytest.mark.parametrize("calculation", ["when_required", "when_supported"])
    async def test_requests_carry_a_checksum_where_the_sdk_would_add_one(self, calculation: str) -> None:
        carried: list[str | None] = []

        async def answer(request: web.BaseRequest) -> web.Response:
            await request.read()
            carried.append(request.headers.get("x-amz-checksum-crc32"))
            return web.Response(headers={"ETag": '"1"'})

        options: dict[str, Any] = {"checksums": False, "request_checksum_calculation": calculation}
        async with serving(answer) as url, S3Driver("models", endpoint_url=url, **KEYS, **options) as driver:
            await driver.write("document", b"data", expected=Expect.ABSENT)
            await driver.upload("blob", BytesSource(b"data"))
        assert carried == [None if calculation == "when_required" else await crc32(b"data")] * 2

    async def test_all_requests_go_through_a_proxy(
        self, bucket: str, seaweedfs: S3Server, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked: list[str] = []

        async def refuse(request: web.BaseRequest) -> web.Response:
            asked.append(f"{request.method} {request.url} {request.headers['Proxy-Authorization']}")
            return web.Response(status=502)

        async with serving(refuse) as proxy:
            monkeypatch.setenv("HTTP_PROXY", proxy.replace("://", "://user:secret@"))
            monkeypatch.delenv("NO_PROXY", raising=False)
            monkeypatch.delenv("no_proxy", raising=False)
            store = {**seaweedfs.options, "endpoint_url": "http://store.invalid"}
            async with S3Driver(bucket, dispatcher=Dispatcher(retry=NO_RETRY), **store) as driver:
                for attempt in (driver.read("document"), driver.stat("document")):
                    with pytest.raises(StoreUnavailable):
                        await attempt
        url = f"http://store.invalid/{bucket}/document"
        assert asked == [f"{method} {url} Basic dXNlcjpzZWNyZXQ=" for method in ("GET", "HEAD")]

    async def test_hosts_in_no_proxy_are_reached_directly(
        self, bucket: str, seaweedfs: S3Server, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HTTP_PROXY", "http://proxy.invalid:3128")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
        async with S3Driver(bucket, part_size=MIN_PART_SIZE, **seaweedfs.options) as driver:
            await use(driver)


KEYS: dict[str, Any] = {"region": "us-west-2", "access_key_id": "key", "secret_access_key": "secret"}


class TestAddresses:
    """An address is where the SDK sends its own requests."""

    @pytest.mark.parametrize(
        ("bucket", "options"),
        [
            ("models", {}),
            ("models", {"region": "us-east-1"}),
            ("models", {"region": "cn-north-1"}),
            ("models", {"region": "us-gov-west-1"}),
            ("models", {"addressing_style": "path"}),
            ("models", {"addressing_style": "virtual"}),
            ("my.dotted.models", {}),
            ("arn:aws:s3:eu-west-1:123456789012:accesspoint/name", {}),
            ("models", {"endpoint_url": "http://127.0.0.1:9000"}),
            ("models", {"endpoint_url": "http://[::1]:9000"}),
            ("models", {"endpoint_url": "https://Store.example/base/path/"}),
            ("models", {"endpoint_url": "https://store.example:8443", "addressing_style": "virtual"}),
        ],
    )
    async def test_hot_requests_go_where_the_sdk_sends_its_own(self, bucket: str, options: dict[str, Any]) -> None:
        """This fails where the SDK changes what it presigns."""
        async with S3Driver(bucket, **{**KEYS, **options}) as driver:
            client = await client_of(driver)
            assert isinstance(client.hot, DirectRequests)
            address = client.hot.address
            sent: list[Any] = []

            async def stop(request: Any, **_: Any) -> None:
                sent.append(request)
                raise ZeroDivisionError

            client.sdk.meta.events.register_first("before-send.s3.GetObject", stop)
            with pytest.raises(ZeroDivisionError):
                await client.sdk.get_object(Bucket=bucket, Key="a/b c")
        url = urlsplit(sent[0].url)
        assert (address.scheme, address.host) == (url.scheme, host_of(url))
        assert address.path_of("a/b c") == url.path
        assert f"/{address.region}/s3/aws4_request" in f"{sent[0].headers['Authorization']}"

    @pytest.mark.parametrize(
        "bucket", ["models--usw2-az1--x-s3", "arn:aws:s3::123456789012:accesspoint/mfzwi23gnjvgw.mrap"]
    )
    async def test_buckets_with_another_signature_are_left_to_the_sdk(self, bucket: str) -> None:
        """For example S3 Express and multi-region access points."""
        async with S3Driver(bucket, **KEYS) as driver:
            assert isinstance((await client_of(driver)).hot, SDKRequests)

    @pytest.mark.parametrize(
        "query",
        [
            "AWSAccessKeyId=key&Signature=x&Expires=1795751719",
            "X-Amz-Algorithm=AWS4-ECDSA-P256-SHA256&X-Amz-Credential=key/20261127/s3/aws4_request",
            "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=key/20261127/us-west-2/s3express/aws4_request",
        ],
        ids=["version 2", "version 4a", "S3 Express"],
    )
    def test_urls_with_another_signature_have_no_address(self, query: str) -> None:
        assert Address.parse(f"https://models.store/key?{query}") is None


@servers
class TestTransport:
    """The SDK's session on the project's own connections. `test_s3.py` runs on it; these tests cover its other uses."""

    async def test_bodies_may_be_streamed(self, seaweedfs: S3Server, bucket: str) -> None:
        async with S3Driver(bucket, part_size=MIN_PART_SIZE, **seaweedfs.options) as driver:
            await driver.upload("blob", BytesSource(TWO_PARTS))
            sdk = (await client_of(driver)).sdk
            async with (await sdk.get_object(Bucket=bucket, Key="blob"))["Body"] as body:
                assert await body.read(5) == TWO_PARTS[:5]
                assert await body.read() == TWO_PARTS[5:]
            async with (await sdk.get_object(Bucket=bucket, Key="blob"))["Body"] as body:
                await body.read(5)
            assert (await driver.stat("blob")).size == len(TWO_PARTS)

    async def test_files_and_chunked_bodies_are_sent(self, seaweedfs: S3Server, bucket: str) -> None:
        async with S3Driver(bucket, **seaweedfs.options) as driver:
            sdk = (await client_of(driver)).sdk
            await sdk.put_object(Bucket=bucket, Key="file", Body=io.BytesIO(b"file"))
            await sdk.put_object(Bucket=bucket, Key="text", Body=b"text", ChecksumAlgorithm="CRC32")
            assert [(await driver.read(key)).data for key in ("file", "text")] == [b"file", b"text"]

    async def test_conformance_holds_where_the_sdk_sends_all(self, seaweedfs: S3Server, bucket: str) -> None:
        async with S3Driver(bucket, part_size=MIN_PART_SIZE, **seaweedfs.options) as driver:
            guest = S3Driver(bucket, client=(await client_of(driver)).sdk, part_size=MIN_PART_SIZE)
            await use(guest)


@contextlib.asynccontextmanager
async def serving(answer: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]) -> AsyncIterator[str]:
    """Serve responses that no store can be made to send; yield the URL."""
    runner = web.ServerRunner(web.Server(answer))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def test_a_bucket_in_another_region_is_found() -> None:
    """Later requests go there directly."""
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
        """The options of the store behind a TLS relay."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("localhost").configure_cert(context)
        store = urlsplit(seaweedfs.endpoint_url)

        async def forward(*client: *tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> None:
            await tunnel(client, store.hostname or "", store.port or 0)

        async with listening(forward, tls=context) as port:
            yield {**seaweedfs.options, "endpoint_url": f"https://localhost:{port}", "part_size": MIN_PART_SIZE}

    async def test_requests_work_as_in_plain_http(
        self, bucket: str, options: dict[str, Any], ca_bundle: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with S3Driver(bucket, ca_bundle=ca_bundle, **options) as driver:
            calls = await by_sdk(driver, monkeypatch)
            await use(driver)
            await write_streamed(driver)
        assert not calls

    async def test_certificates_are_verified(self, bucket: str, options: dict[str, Any]) -> None:
        """A certificate that is not trusted does not become so, so there is no retry."""

        async def never(seconds: float) -> None:
            pytest.fail("it retries")

        async with S3Driver(bucket, dispatcher=Dispatcher(retry=RetryPolicy(sleep=never)), **options) as driver:
            with pytest.raises(StoreUnavailable, match=r"verify failed.*set ca_bundle") as caught:
                await driver.write("document", b"data", expected=Expect.ABSENT)
        assert not caught.value.uncertain

    async def test_verification_can_be_switched_off(self, bucket: str, options: dict[str, Any]) -> None:
        async with S3Driver(bucket, verify=False, **options) as driver:
            with pytest.raises(ObjectNotFound):
                await driver.read("document")

    async def test_the_ca_bundle_of_the_environment_is_trusted(
        self, bucket: str, options: dict[str, Any], ca_bundle: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AWS_CA_BUNDLE", f"{ca_bundle}")
        async with S3Driver(bucket, **options) as driver:
            await use(driver)

    async def test_an_unreadable_ca_bundle_is_named(self, bucket: str, options: dict[str, Any]) -> None:
        async with S3Driver(bucket, ca_bundle="/not/there", **options) as driver:
            with pytest.raises(InvalidSetting, match="/not/there"):
                await driver.read("document")


async def test_requests_are_logged_without_secrets(caplog: pytest.LogCaptureFixture) -> None:
    async def answer(request: web.BaseRequest) -> web.Response:
        await request.read()
        return web.Response(status=404 if request.method == "HEAD" else 200, headers={"ETag": '"1"'})

    caplog.set_level("DEBUG", logger="aioassets")
    async with serving(answer) as url, S3Driver("models", endpoint_url=url, **KEYS) as driver:
        await driver.write("key", b"data", expected=Expect.ABSENT)
        with pytest.raises(ObjectNotFound):
            await driver.stat("key")
    logged = [record.getMessage() for record in caplog.records if "drivers.s3" in record.name]
    assert [re.sub(r"[0-9.]+ s$", "", line) for line in logged] == [
        "PUT 'key': 200, 4 bytes sent, ",
        "HEAD '/models/key': 404, 0 bytes sent, ",
    ]
    assert "secret" not in caplog.text
