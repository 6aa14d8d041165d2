"""Credentials that expire during a push: renewed in time, renewed after a refusal, or reported in one sentence."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import re
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest
from aiobotocore.credentials import AioRefreshableCredentials
from azure.core.credentials import AccessToken
from azure.core.exceptions import ClientAuthenticationError
from azure.core.pipeline.transport import AioHttpTransport
from azure.storage.blob import ContainerSasPermissions, generate_container_sas
from azure.storage.blob.aio import ContainerClient
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from tools.relay import Exchange, Relay
from tools.servers import (
    ACCESS_KEY,
    AZURITE_ACCOUNT,
    AZURITE_KEY,
    NEXT_ACCESS_KEY,
    SECRET_KEY,
    AzureServer,
    GCSServer,
    S3Server,
    free_ports,
)

from aioassets import (
    AccessDenied,
    AssetsManager,
    AzureDriver,
    Dispatcher,
    GCSDriver,
    MissingCredentials,
    RetryPolicy,
    S3Driver,
    StoreUnavailable,
)
from aioassets.drivers.azure.values import expiry
from aioassets.drivers.protocol import Expect
from aioassets.drivers.s3.driver import MIN_PART_SIZE
from aioassets.runtime.retry import NO_RETRY
from aioassets.testing import BytesSource

LARGE = bytes(range(256)) * (MIN_PART_SIZE // 256) * 3
LIFE = timedelta(hours=2)

CHUNK = 1024 * 1024

Act = Callable[[], object]
Later = Callable[[timedelta], None]
OpenAzure = Callable[..., Awaitable[AzureDriver]]
OpenGCS = Callable[..., Awaitable[GCSDriver]]

ADVISORY = 15 * 60
"""Seconds before the expiry at which the SDK renews credentials, by default."""


class Issued:
    """Program that issues temporary credentials as a `credential_process`, by printing a file.

    Attributes:
        file: the file that it prints.
        log: a line for each run.
    """

    def __init__(self, folder: Path) -> None:
        self.file = folder / "issued.json"
        self.log = folder / "ran"
        script = folder / "issue"
        script.write_text(f"#!/bin/sh\necho ran >> {self.log}\nexec cat {self.file}\n")
        script.chmod(0o755)
        self.config = folder / "config"
        self.config.write_text(f"[default]\ncredential_process = {script}\n")

    def say(self, key: str, *, life: timedelta = LIFE) -> None:
        """Issue this key from now on."""
        expires = datetime.now(UTC) + life
        said = {"Version": 1, "AccessKeyId": key, "SecretAccessKey": SECRET_KEY, "Expiration": expires.isoformat()}
        self.file.write_text(json.dumps(said))

    def fail(self) -> None:
        """Fail from now on."""
        self.file.unlink(missing_ok=True)

    @property
    def runs(self) -> int:
        """Return the number of runs."""
        return len(self.log.read_text().splitlines())


@pytest.fixture
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide the credentials of the user who runs the tests."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))


@pytest.fixture
def issued(tmp_path: Path, alone: None) -> Issued:
    """Return a program that issues the first key."""
    program = Issued(tmp_path)
    program.say(ACCESS_KEY)
    return program


@pytest.fixture
def bucket(seaweedfs: S3Server) -> str:
    return seaweedfs.fresh_bucket()


@pytest.fixture
async def relay(seaweedfs: S3Server) -> AsyncIterator[Relay]:
    async with Relay(seaweedfs.endpoint_url) as relay:
        yield relay


async def at_once(seconds: float) -> None:
    """Return without a pause."""


@asynccontextmanager
async def opened(relay: Relay, bucket: str, retry: RetryPolicy = NO_RETRY) -> AsyncIterator[S3Driver]:
    """Open a driver that finds credentials by itself."""
    options: dict[str, Any] = {"region": "us-east-1", "addressing_style": "path", "part_size": MIN_PART_SIZE}
    async with S3Driver(bucket, endpoint_url=relay.url, dispatcher=Dispatcher(retry=retry), **options) as driver:
        yield driver


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Later:
    """Return a function that advances the clock of the expiry of credentials."""
    refresh_needed = AioRefreshableCredentials.refresh_needed

    def advance(passed: timedelta) -> None:
        def needed(credentials: Any, refresh_in: float | None = None) -> bool:
            within = ADVISORY if refresh_in is None else refresh_in
            return bool(refresh_needed(credentials, within + passed.total_seconds()))

        monkeypatch.setattr(AioRefreshableCredentials, "refresh_needed", needed)

    return advance


def then(act: Act) -> Any:
    """Return a fault that calls `act` and then forwards the request."""

    async def passing(exchange: Exchange) -> None:
        act()
        await exchange.forward()
        await exchange.answer()

    return passing


def refuse(relay: Relay, key: str) -> None:
    """Let the store refuse this key from now on."""

    async def refusing(exchange: Exchange) -> None:
        await exchange.body()
        if signed_by(exchange) == key:
            body = b"<Error><Code>ExpiredToken</Code><Message>The provided token has expired.</Message></Error>"
            await exchange.reply(400, {"Content-Type": "application/xml"}, body)
        else:
            await exchange.forward()
            await exchange.answer()

    relay.inject(refusing, times=float("inf"))


def signed_by(exchange: Exchange) -> str:
    found = re.search(r"Credential=([^/]+)/", exchange.headers["authorization"])
    assert found is not None
    return found[1]


def keys_of(relay: Relay, target: str = "") -> list[str]:
    """Return the keys that signed the requests, in order."""
    return [signed_by(each) for each in relay.exchanges if re.search(target, each.target)]


@pytest.mark.servers
class TestS3:
    async def test_credentials_are_renewed_before_they_expire(
        self, relay: Relay, bucket: str, later: Later, issued: Issued
    ) -> None:
        """They are renewed during an upload, too. Requests don't wait while the old ones are valid."""
        async with opened(relay, bucket) as driver:

            def expire() -> None:
                issued.say(NEXT_ACCESS_KEY, life=2 * LIFE)
                later(LIFE)

            relay.inject(then(expire), method="PUT", target="partNumber=2")
            await driver.upload("blob", BytesSource(LARGE))
            assert keys_of(relay, "uploads=?$") == [ACCESS_KEY]
            assert keys_of(relay)[-1] == NEXT_ACCESS_KEY
            assert (await driver.stat("blob")).size == len(LARGE)
        assert issued.runs == 2

    async def test_credentials_of_a_container_are_renewed(
        self, relay: Relay, bucket: str, later: Later, alone: None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The container stands for all services that issue credentials over HTTP."""
        issues = iter([(ACCESS_KEY, LIFE), (NEXT_ACCESS_KEY, 2 * LIFE)])

        async def issue(exchange: Exchange) -> None:
            key, life = next(issues)
            expires = (datetime.now(UTC) + life).isoformat()
            said = {"AccessKeyId": key, "SecretAccessKey": SECRET_KEY, "Token": "", "Expiration": expires}
            await exchange.reply(200, {}, json.dumps(said).encode())

        async with Relay(f"http://127.0.0.1:{free_ports(1)[0]}") as container:
            container.inject(issue, times=2)
            monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{container.url}/role")
            async with opened(relay, bucket) as driver:
                await driver.write("first", b"", expected=Expect.ABSENT)
                later(LIFE)
                await driver.write("second", b"", expected=Expect.ABSENT)
        assert keys_of(relay) == [ACCESS_KEY, NEXT_ACCESS_KEY]

    async def test_a_push_continues_if_renewing_fails_while_the_old_credentials_are_valid(
        self, relay: Relay, bucket: str, later: Later, issued: Issued, tmp_path: Path
    ) -> None:
        """The next request tries to renew them again."""
        (tmp_path / "file").write_bytes(LARGE)
        async with opened(relay, bucket) as driver, AssetsManager(driver=driver, assets_dir=tmp_path) as manager:

            def almost_expire() -> None:
                issued.fail()
                later(LIFE - timedelta(seconds=30))

            relay.inject(then(almost_expire), method="PUT", target="partNumber=2")
            await manager.create_asset(tmp_path / "file", "model")
            assert set(keys_of(relay)) == {ACCESS_KEY}
            assert issued.runs > 1
            issued.say(NEXT_ACCESS_KEY, life=2 * LIFE)
            assert await manager.list_versions("model") == ["0.0"]
            assert keys_of(relay)[-1] == NEXT_ACCESS_KEY

    async def test_requests_are_retried_if_renewing_fails_and_no_credentials_are_valid(
        self, relay: Relay, bucket: str, later: Later, issued: Issued
    ) -> None:
        async def sleep(seconds: float) -> None:
            await asyncio.to_thread(issued.say, NEXT_ACCESS_KEY, life=2 * LIFE)

        async with opened(relay, bucket, RetryPolicy(sleep=sleep)) as driver:
            await driver.write("first", b"", expected=Expect.ABSENT)
            issued.fail()
            later(LIFE)
            await driver.write("second", b"", expected=Expect.ABSENT)
        assert keys_of(relay) == [ACCESS_KEY, NEXT_ACCESS_KEY]

    async def test_a_failed_renewal_is_reported(self, relay: Relay, bucket: str, later: Later, issued: Issued) -> None:
        """The error has the program's message, and is certain that no request was sent."""
        async with opened(relay, bucket) as driver:
            await driver.write("first", b"", expected=Expect.ABSENT)
            issued.fail()
            later(LIFE)
            with pytest.raises(StoreUnavailable, match=r"can't be renewed: .*No such file") as caught:
                await driver.write("second", b"", expected=Expect.ABSENT)
        assert not caught.value.uncertain
        assert len(relay.exchanges) == 1

    @pytest.mark.parametrize("kind", ["program", "file"])
    async def test_credentials_refused_before_they_expire_are_replaced(
        self, relay: Relay, bucket: str, issued: Issued, tmp_path: Path, kind: str
    ) -> None:
        """Also static ones from a file that has changed, and during an upload."""

        def issue(key: str) -> None:
            if kind == "program":
                issued.say(key)
            else:
                issued.config.unlink(missing_ok=True)
                (tmp_path / "credentials").write_text(
                    f"[default]\naws_access_key_id = {key}\naws_secret_access_key = {SECRET_KEY}\n"
                )

        def end() -> None:
            issue(NEXT_ACCESS_KEY)
            refuse(relay, ACCESS_KEY)

        issue(ACCESS_KEY)
        async with opened(relay, bucket, RetryPolicy(sleep=at_once)) as driver:
            relay.inject(then(end), method="PUT", target="partNumber=2")
            await driver.upload("blob", BytesSource(LARGE))
            assert (await driver.stat("blob")).size == len(LARGE)
            assert keys_of(relay)[-1] == NEXT_ACCESS_KEY
        assert 400 in {each.status for each in relay.exchanges}

    async def test_a_refusal_without_a_body_is_recognised(self, relay: Relay, bucket: str, issued: Issued) -> None:
        """S3 responds to HEAD with only a status."""

        async with opened(relay, bucket, RetryPolicy(sleep=at_once)) as driver:
            await driver.write("key", b"data", expected=Expect.ABSENT)
            issued.say(NEXT_ACCESS_KEY)
            refuse(relay, ACCESS_KEY)
            assert (await driver.stat("key")).size == 4

    async def test_a_refusal_without_new_credentials_is_raised(self, relay: Relay, bucket: str, issued: Issued) -> None:
        """They are requested once."""
        async with opened(relay, bucket, RetryPolicy()) as driver:
            await driver.write("key", b"data", expected=Expect.ABSENT)
            refuse(relay, ACCESS_KEY)
            with pytest.raises(AccessDenied, match="ExpiredToken: The provided token has expired"):
                await driver.read("key")
        assert issued.runs == 2

    async def test_credentials_that_never_worked_are_not_renewed(
        self, relay: Relay, bucket: str, issued: Issued
    ) -> None:
        """Renewed ones would not work either."""
        issued.say("unheard-of")
        async with opened(relay, bucket, RetryPolicy()) as driver:
            with pytest.raises(AccessDenied, match="InvalidAccessKeyId"):
                await driver.read("key")
        assert issued.runs == 1

    async def test_cancelling_a_request_does_not_cancel_the_shared_renewal(
        self, relay: Relay, bucket: str, later: Later, monkeypatch: pytest.MonkeyPatch, issued: Issued
    ) -> None:
        """All requests share one renewal, which runs outside the event loop."""
        async with opened(relay, bucket) as driver:
            await driver.write("key", b"data", expected=Expect.ABSENT)
            slow = Slow(monkeypatch)
            issued.say(NEXT_ACCESS_KEY, life=2 * LIFE)
            later(LIFE)
            first, second = (asyncio.create_task(driver.read("key")) for _ in range(2))
            await slow.reached.wait()
            first.cancel()
            with pytest.raises(asyncio.CancelledError):
                await first
            slow.go_on()
            assert (await second).data == b"data"
        assert issued.runs == 2
        assert slow.thread not in (None, threading.main_thread())

    async def test_a_driver_can_be_closed_during_a_renewal(
        self, relay: Relay, bucket: str, later: Later, monkeypatch: pytest.MonkeyPatch, issued: Issued
    ) -> None:
        """The issuer may hang."""
        async with opened(relay, bucket) as driver:
            await driver.write("key", b"data", expected=Expect.ABSENT)
            slow = Slow(monkeypatch)
            later(LIFE - timedelta(minutes=14))
            assert (await driver.read("key")).data == b"data"
            await slow.reached.wait()
        assert [task for task in asyncio.all_tasks() if "Credentials" in repr(task)] == []
        assert issued.runs == 1


class Slow:
    """Hook that blocks a driver's renewal.

    Attributes:
        reached: set when the renewal starts.
        thread: the thread that it runs on.
        go_on: lets it continue.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._renew = AioRefreshableCredentials.get_frozen_credentials

        async def blocked(source: Any) -> Any:
            return await self(source)

        monkeypatch.setattr(AioRefreshableCredentials, "get_frozen_credentials", blocked)
        self._loop = asyncio.get_running_loop()
        self.reached = asyncio.Event()
        self.thread: threading.Thread | None = None
        self.go_on: Act

    async def __call__(self, source: Any) -> Any:
        released = asyncio.Event()
        self.thread = threading.current_thread()
        self.go_on = partial(asyncio.get_running_loop().call_soon_threadsafe, released.set)
        self._loop.call_soon_threadsafe(self.reached.set)
        await released.wait()
        return await self._renew(source)


class TokenService:
    """Google's token service, as far as a service account needs it.

    Attributes:
        asked: the number of requests.
        tokens: the next responses; `None` is a failure.
    """

    def __init__(self, *tokens: str | None) -> None:
        self.asked = 0
        self.tokens = list(tokens)

    async def __call__(self, exchange: Exchange) -> None:
        await exchange.body()
        self.asked += 1
        token = self.tokens.pop(0)
        said = {"access_token": token, "expires_in": 3600, "token_type": "Bearer"}
        await exchange.reply(200 if token else 503, {"Content-Type": "application/json"}, json.dumps(said).encode())


@pytest.fixture(scope="module")
def private_key() -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    return key.private_bytes(encoding, form, serialization.NoEncryption()).decode()


@pytest.mark.servers
class TestGCS:
    @pytest.fixture
    def bucket(self, gcs: GCSServer) -> str:
        """Return a bucket that accepts two tokens."""
        name = gcs.fresh_bucket()
        gcs.set(name, tokens={"first": "rw", "second": "rw"})
        return name

    @pytest.fixture
    async def relay(self, gcs: GCSServer) -> AsyncIterator[Relay]:
        async with Relay(gcs.api_root) as relay:
            yield relay

    @pytest.fixture
    async def opened(self, relay: Relay, bucket: str, tmp_path: Path, private_key: str) -> AsyncIterator[OpenGCS]:
        """Return a function that opens a driver with a token service."""
        async with AsyncExitStack() as stack:

            async def opened(service: TokenService, retry: RetryPolicy = NO_RETRY) -> GCSDriver:
                issuer = await stack.enter_async_context(Relay(f"http://127.0.0.1:{free_ports(1)[0]}"))
                issuer.inject(service, times=float("inf"))
                account = {"type": "service_account", "client_email": "tests@example.com", "private_key": private_key}
                file = tmp_path / "account.json"
                file.write_text(json.dumps({**account, "token_uri": f"{issuer.url}/token"}))
                dispatcher = Dispatcher(retry=retry)
                driver = GCSDriver(
                    bucket, api_root=relay.url, service_file=file, part_size=CHUNK, dispatcher=dispatcher
                )
                return await stack.enter_async_context(driver)

            yield opened

    async def test_a_token_is_renewed_before_it_expires(self, relay: Relay, opened: OpenGCS) -> None:
        """The token is renewed during an upload, although the session needs none."""
        driver = await opened(TokenService("first", "second"))

        def expire() -> None:
            token_of(driver).access_token_refresh_after = 0

        relay.inject(then(expire), method="PUT", target="upload_id", skip=1)
        await driver.upload("blob", BytesSource(LARGE))
        assert (await driver.stat("blob")).size == len(LARGE)
        assert tokens_of(relay)[0] == "first"
        assert tokens_of(relay)[-1] == "second"

    async def test_a_token_refused_before_it_expires_is_replaced(
        self, gcs: GCSServer, bucket: str, relay: Relay, opened: OpenGCS
    ) -> None:
        """It is replaced for requests of every kind."""
        driver = await opened(service := TokenService("first", "second"), RetryPolicy(sleep=at_once))
        await driver.write("key", b"data", expected=Expect.ABSENT)
        gcs.set(bucket, tokens={"second": "rw"})
        documents = await asyncio.gather(*(driver.read("key") for _ in range(5)))
        assert {document.data for document in documents} == {b"data"}
        await driver.upload("blob", BytesSource(LARGE))
        assert 401 in {each.status for each in relay.exchanges}
        assert service.asked == 2

    async def test_a_token_refused_during_a_push_is_replaced(
        self, gcs: GCSServer, bucket: str, relay: Relay, opened: OpenGCS, tmp_path: Path
    ) -> None:
        """The push succeeds."""
        driver = await opened(service := TokenService("first", "second"), RetryPolicy(sleep=at_once))
        relay.inject(then(lambda: gcs.set(bucket, tokens={"second": "rw"})), method="PUT", target="upload_id", skip=1)
        (tmp_path / "file").write_bytes(LARGE)
        async with AssetsManager(driver=driver, assets_dir=tmp_path / "cache") as manager:
            assert (await manager.create_asset(tmp_path / "file", "model")).version == "0.0"
            assert (await manager.fetch_asset("model")).path.read_bytes() == LARGE
        assert service.asked == 2

    @pytest.mark.parametrize("tokens", [["unheard-of"], ["first", "first"]])
    async def test_a_refusal_is_raised_if_no_new_token_would_help(
        self, gcs: GCSServer, bucket: str, opened: OpenGCS, tokens: list[str]
    ) -> None:
        """The token never worked, or the service returns the same one again."""
        driver = await opened(service := TokenService(*tokens), RetryPolicy(sleep=at_once))
        if tokens[0] == "first":
            await driver.write("key", b"data", expected=Expect.ABSENT)
            gcs.set(bucket, tokens={"second": "rw"})
        with pytest.raises(AccessDenied, match="Invalid Credentials"):
            await driver.stat("key")
        assert service.asked == len(tokens)

    async def test_a_push_continues_if_renewing_fails_while_the_old_token_is_valid(
        self, relay: Relay, opened: OpenGCS, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The next request tries to renew it again. The failure isn't logged."""
        driver = await opened(service := TokenService("first", None, "second"))
        await driver.write("key", b"data", expected=Expect.ABSENT)
        token_of(driver).access_token_preempt_after = 0
        for asked in (2, 3):
            await driver.stat("key")
            if (renewal := token_of(driver).acquiring) is not None:
                await asyncio.wait([renewal])
            del renewal
            assert service.asked == asked
        await driver.stat("key")
        gc.collect()
        assert tokens_of(relay)[-3:] == ["first", "first", "second"]
        assert [record for record in caplog.records if record.name == "asyncio"] == []


def token_of(driver: GCSDriver) -> Any:
    """Return the SDK's token."""
    return driver._bucket.connection._client.token  # noqa: SLF001 - its times have no public setter


def tokens_of(relay: Relay) -> list[str]:
    """Return the tokens of requests that had one, in order."""
    carried = (each.headers.get("authorization", "") for each in relay.exchanges)
    return [value.removeprefix("Bearer ") for value in carried if value]


@pytest.mark.parametrize(
    ("query", "expired"),
    [
        ("?se=2024-05-31T23%3A59%3A59Z&sig=x", "2024-05-31T23:59:59Z"),
        ("?sig=x&se=2024-06-01", "2024-06-01"),
        ("?se=2024-06-01T00%3A00%3A01Z&sig=x", ""),
        ("?se=soon", ""),
        ("", ""),
    ],
)
def test_the_expiry_of_a_signature_is_recognised(query: str, expired: str) -> None:
    assert expiry(f"https://host/container{query}", datetime(2024, 6, 1, tzinfo=UTC)) == expired


class Tokens:
    """Token credential, as the SDK defines it, that returns these tokens one after the other."""

    def __init__(self, *tokens: str | None, life: timedelta = LIFE) -> None:
        self.asked = 0
        self.tokens = list(tokens)
        self.life = life

    async def get_token(self, *scopes: str, **options: Any) -> AccessToken:
        self.asked += 1
        token = self.tokens.pop(0)
        if token is None:
            raise ClientAuthenticationError("said by the test")
        return AccessToken(token, int((datetime.now(UTC) + self.life).timestamp()))


class Plain(AioHttpTransport):  # type: ignore[misc]
    """Transport that sends requests to the relay by HTTP. The SDK sends tokens by HTTPS only."""

    async def send(self, request: Any, **options: Any) -> Any:
        request.url = request.url.replace("https://", "http://")
        return await super().send(request, **options)


@pytest.mark.servers
class TestAzure:
    @pytest.fixture
    def container(self, azurite: AzureServer) -> str:
        return azurite.fresh_container()

    @pytest.fixture
    async def relay(self, azurite: AzureServer) -> AsyncIterator[Relay]:
        async with Relay(azurite.account_url) as relay:
            yield relay

    @pytest.fixture
    async def opened(self, azurite: AzureServer, relay: Relay, container: str) -> AsyncIterator[OpenAzure]:
        """Return a function that opens a driver with tokens. Azurite accepts the requests because of a signature."""
        async with AsyncExitStack() as stack:

            async def opened(tokens: Tokens, retry: RetryPolicy = NO_RETRY) -> AzureDriver:
                signature = signature_for(azurite, container, timedelta(hours=1))
                url = relay.through({"url": azurite.account_url})["url"].replace("http://", "https://")
                client = ContainerClient(
                    f"{url}?{signature}",
                    container,
                    credential=cast("Any", tokens),
                    transport=Plain(read_timeout=10),
                    retry_total=0,
                )
                await stack.enter_async_context(client)
                return AzureDriver(container, client=client, part_size=CHUNK, dispatcher=Dispatcher(retry=retry))

            yield opened

    async def test_a_token_is_renewed_before_it_expires(self, relay: Relay, opened: OpenAzure) -> None:
        """The SDK does that five minutes before."""
        driver = await opened(tokens := Tokens("first", "second", life=timedelta(minutes=4)))
        await driver.write("key", b"data", expected=Expect.ABSENT)
        tokens.life = LIFE
        await driver.upload("blob", BytesSource(LARGE))
        assert (await driver.read("key")).data == b"data"
        assert tokens_of(relay)[0] == "first"
        assert set(tokens_of(relay)[1:]) == {"second"}

    async def test_a_token_refused_before_it_expires_is_replaced(self, relay: Relay, opened: OpenAzure) -> None:
        """The SDK sends the same request again, including its body."""
        driver = await opened(Tokens("first", *["second"] * 9))

        async def refusing(exchange: Exchange) -> None:
            await exchange.body()
            if tokens_of(relay)[relay.exchanges.index(exchange)] == "first":
                uri = "https://login.microsoftonline.com/tenant/oauth2/authorize"
                challenge = f"Bearer authorization_uri={uri} resource_id=https://storage.azure.com"
                headers = {"x-ms-error-code": "InvalidAuthenticationInfo", "WWW-Authenticate": challenge}
                await exchange.reply(401, headers, b"")
            else:
                await exchange.forward()
                await exchange.answer()

        relay.inject(refusing, target="comp=block&", skip=1, times=float("inf"))
        await driver.upload("blob", BytesSource(LARGE))
        assert 401 in {each.status for each in relay.exchanges}
        assert (await driver.stat("blob")).size == len(LARGE)
        assert tokens_of(relay)[-1] == "second"

    async def test_a_missing_token_is_reported(self, opened: OpenAzure) -> None:
        """The error has the message of the credential."""
        driver = await opened(Tokens("first", None, life=timedelta(minutes=4)))
        await driver.write("key", b"data", expected=Expect.ABSENT)
        with pytest.raises(MissingCredentials, match="said by the test"):
            await driver.read("key")

    async def test_an_expired_signature_is_reported(self, azurite: AzureServer, container: str) -> None:
        """The error has its expiry, because the store only says that it doesn't accept the signature."""
        signature = signature_for(azurite, container, timedelta(minutes=-5))
        async with AzureDriver(container, account_url=azurite.account_url, sas_token=signature) as driver:
            for attempt in (driver.write("key", b"", expected=Expect.ABSENT), driver.stat("key")):
                with pytest.raises(AccessDenied, match=r"signature expired at 20\d\d-.*Z\."):
                    await attempt


def signature_for(azurite: AzureServer, container: str, life: timedelta) -> str:
    """Return a shared access signature for all requests of a driver to a container."""
    return generate_container_sas(
        AZURITE_ACCOUNT,
        container,
        account_key=AZURITE_KEY,
        permission=ContainerSasPermissions(read=True, write=True, create=True, delete=True, list=True),
        start=datetime.now(UTC) - LIFE,
        expiry=datetime.now(UTC) + life,
        version="2021-12-02",
    )


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("nothing that is JSON", "reading them failed: Expecting value"),
        ('{"Version": 1}', "Missing required key"),
        (
            json.dumps(
                {"Version": 1, "AccessKeyId": "a", "SecretAccessKey": "b", "Expiration": "2001-01-01T00:00:00Z"}
            ),
            "still expired",
        ),
    ],
)
async def test_a_failing_credential_process_is_reported(issued: Issued, said: str, words: str) -> None:
    """The error is one sentence, without retries."""
    issued.file.write_text(said)
    async with S3Driver("bucket", region="us-east-1", dispatcher=Dispatcher(retry=RetryPolicy())) as driver:
        with pytest.raises(MissingCredentials, match=f"no usable credentials for s3://bucket: .*{words}"):
            await driver.read("key")


async def test_a_missing_credential_process_is_reported(issued: Issued) -> None:
    """It isn't a network error, so it isn't retried."""
    issued.config.write_text("[default]\ncredential_process = /not/there\n")
    async with S3Driver("bucket", region="us-east-1", dispatcher=Dispatcher(retry=RetryPolicy())) as driver:
        with pytest.raises(MissingCredentials, match=r"reading them failed: .*/not/there"):
            await driver.read("key")
