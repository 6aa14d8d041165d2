"""Credentials that end in the middle of a push: renewed in time, renewed after a refusal, or told in one sentence."""

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
OpenAzure = Callable[..., Awaitable[AzureDriver]]
OpenGCS = Callable[..., Awaitable[GCSDriver]]


class Issued:
    """A program that issues temporary credentials, as `credential_process` names one: what is in a file.

    Attributes:
        file: what it says.
        log: a line for each time that it ran.
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
        """Issue nothing from now on."""
        self.file.unlink(missing_ok=True)

    @property
    def runs(self) -> int:
        """How often it ran."""
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
    """A program that issues the first key."""
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
    """Don't pause."""


@asynccontextmanager
async def opened(relay: Relay, bucket: str, retry: RetryPolicy = NO_RETRY) -> AsyncIterator[S3Driver]:
    """A driver that looks for credentials itself."""
    options: dict[str, Any] = {"region": "us-east-1", "addressing_style": "path", "part_size": MIN_PART_SIZE}
    async with S3Driver(bucket, endpoint_url=relay.url, dispatcher=Dispatcher(retry=retry), **options) as driver:
        yield driver


def later(driver: S3Driver, passed: timedelta) -> None:
    """Put the clock forward by which credentials expire."""
    assert driver._bucket.credentials is not None
    driver._bucket.credentials._source._time_fetcher = lambda: datetime.now(UTC) + passed


def then(act: Act) -> Any:
    """Does something before a request is passed on."""

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
    """The keys by which requests were signed, in order."""
    return [signed_by(each) for each in relay.exchanges if re.search(target, each.target)]


@pytest.mark.servers
class TestS3:
    async def test_they_are_renewed_before_they_expire(self, relay: Relay, bucket: str, issued: Issued) -> None:
        """Also within one blob, and nobody waits while they hold."""
        async with opened(relay, bucket) as driver:

            def expire() -> None:
                issued.say(NEXT_ACCESS_KEY, life=2 * LIFE)
                later(driver, LIFE)

            relay.inject(then(expire), method="PUT", target="partNumber=2")
            await driver.upload("blob", BytesSource(LARGE))
            assert keys_of(relay, "uploads=?$") == [ACCESS_KEY]
            assert keys_of(relay)[-1] == NEXT_ACCESS_KEY
            assert (await driver.stat("blob")).size == len(LARGE)
        assert issued.runs == 2

    async def test_those_of_a_container_are_renewed_too(
        self, relay: Relay, bucket: str, alone: None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Stand-in for a service that issues credentials by HTTP."""
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
                later(driver, LIFE)
                await driver.write("second", b"", expected=Expect.ABSENT)
        assert keys_of(relay) == [ACCESS_KEY, NEXT_ACCESS_KEY]

    async def test_a_push_goes_on_where_renewing_fails_while_the_old_ones_hold(
        self, relay: Relay, bucket: str, issued: Issued, tmp_path: Path
    ) -> None:
        """The next request asks again."""
        (tmp_path / "file").write_bytes(LARGE)
        async with opened(relay, bucket) as driver, AssetsManager(driver=driver, assets_dir=tmp_path) as manager:

            def almost_expire() -> None:
                issued.fail()
                later(driver, LIFE - timedelta(seconds=30))

            relay.inject(then(almost_expire), method="PUT", target="partNumber=2")
            await manager.create_asset(tmp_path / "file", "model")
            assert set(keys_of(relay)) == {ACCESS_KEY}
            assert issued.runs > 1
            issued.say(NEXT_ACCESS_KEY, life=2 * LIFE)
            assert await manager.list_versions("model") == ["0.0"]
            assert keys_of(relay)[-1] == NEXT_ACCESS_KEY

    async def test_requests_wait_where_renewing_fails_and_none_hold(
        self, relay: Relay, bucket: str, issued: Issued
    ) -> None:
        """As for a store that fails for a moment."""

        async def sleep(seconds: float) -> None:
            await asyncio.to_thread(issued.say, NEXT_ACCESS_KEY, life=2 * LIFE)

        async with opened(relay, bucket, RetryPolicy(sleep=sleep)) as driver:
            await driver.write("first", b"", expected=Expect.ABSENT)
            issued.fail()
            later(driver, LIFE)
            await driver.write("second", b"", expected=Expect.ABSENT)
        assert keys_of(relay) == [ACCESS_KEY, NEXT_ACCESS_KEY]

    async def test_that_there_are_no_new_ones_is_told(self, relay: Relay, bucket: str, issued: Issued) -> None:
        """With what the program says, and with the certainty that nothing was sent."""
        async with opened(relay, bucket) as driver:
            await driver.write("first", b"", expected=Expect.ABSENT)
            issued.fail()
            later(driver, LIFE)
            with pytest.raises(StoreUnavailable, match=r"can't be renewed: .*No such file") as caught:
                await driver.write("second", b"", expected=Expect.ABSENT)
        assert not caught.value.uncertain
        assert len(relay.exchanges) == 1

    @pytest.mark.parametrize("kind", ["program", "file"])
    async def test_those_that_the_store_refuses_before_their_time_are_replaced(
        self, relay: Relay, bucket: str, issued: Issued, tmp_path: Path, kind: str
    ) -> None:
        """Also static ones from a file that was written anew, and also within one blob."""

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

    async def test_a_refusal_without_words_is_understood(self, relay: Relay, bucket: str, issued: Issued) -> None:
        """To HEAD, S3 answers with a status alone."""

        async with opened(relay, bucket, RetryPolicy(sleep=at_once)) as driver:
            await driver.write("key", b"data", expected=Expect.ABSENT)
            issued.say(NEXT_ACCESS_KEY)
            refuse(relay, ACCESS_KEY)
            assert (await driver.stat("key")).size == 4

    async def test_a_refusal_stands_where_there_are_no_others(self, relay: Relay, bucket: str, issued: Issued) -> None:
        """They are asked for once."""
        async with opened(relay, bucket, RetryPolicy()) as driver:
            await driver.write("key", b"data", expected=Expect.ABSENT)
            refuse(relay, ACCESS_KEY)
            with pytest.raises(AccessDenied, match="ExpiredToken: The provided token has expired"):
                await driver.read("key")
        assert issued.runs == 2

    async def test_those_that_never_worked_are_not_asked_for_again(
        self, relay: Relay, bucket: str, issued: Issued
    ) -> None:
        """Others would not be better."""
        issued.say("unheard-of")
        async with opened(relay, bucket, RetryPolicy()) as driver:
            with pytest.raises(AccessDenied, match="InvalidAccessKeyId"):
                await driver.read("key")
        assert issued.runs == 1

    async def test_who_is_cancelled_leaves_others_their_renewal(
        self, relay: Relay, bucket: str, issued: Issued
    ) -> None:
        """It is one for all, and done off the event loop."""
        async with opened(relay, bucket) as driver:
            await driver.write("key", b"data", expected=Expect.ABSENT)
            slow = Slow(driver)
            issued.say(NEXT_ACCESS_KEY, life=2 * LIFE)
            later(driver, LIFE)
            first, second = (asyncio.create_task(driver.read("key")) for _ in range(2))
            await slow.reached.wait()
            first.cancel()
            with pytest.raises(asyncio.CancelledError):
                await first
            slow.go_on()
            assert (await second).data == b"data"
        assert issued.runs == 2
        assert slow.thread not in (None, threading.main_thread())

    async def test_a_driver_can_be_closed_while_they_are_renewed(
        self, relay: Relay, bucket: str, issued: Issued
    ) -> None:
        """The service that issues credentials may hang."""
        async with opened(relay, bucket) as driver:
            await driver.write("key", b"data", expected=Expect.ABSENT)
            slow = Slow(driver)
            later(driver, LIFE - timedelta(minutes=14))
            assert (await driver.read("key")).data == b"data"
            await slow.reached.wait()
        assert [task for task in asyncio.all_tasks() if "Credentials" in repr(task)] == []
        assert issued.runs == 1


class Slow:
    """Lets a driver's renewal wait, which is then under way.

    Attributes:
        reached: it is.
        thread: what it runs on.
        go_on: lets it go on.
    """

    def __init__(self, driver: S3Driver) -> None:
        assert driver._bucket.credentials is not None
        source = driver._bucket.credentials._source
        self._renew = source.get_frozen_credentials
        source.get_frozen_credentials = self
        self._loop = asyncio.get_running_loop()
        self.reached = asyncio.Event()
        self.thread: threading.Thread | None = None
        self.go_on: Act

    async def __call__(self) -> Any:
        released = asyncio.Event()
        self.thread = threading.current_thread()
        self.go_on = partial(asyncio.get_running_loop().call_soon_threadsafe, released.set)
        self._loop.call_soon_threadsafe(self.reached.set)
        await released.wait()
        return await self._renew()


class TokenService:
    """Google's service of tokens, as far as a service account needs it.

    Attributes:
        asked: how often it was.
        tokens: what it answers, one after the other; `None` is a failure.
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
        """One that takes two tokens."""
        name = gcs.fresh_bucket()
        gcs.set(name, tokens={"first": "rw", "second": "rw"})
        return name

    @pytest.fixture
    async def relay(self, gcs: GCSServer) -> AsyncIterator[Relay]:
        async with Relay(gcs.api_root) as relay:
            yield relay

    @pytest.fixture
    async def opened(self, relay: Relay, bucket: str, tmp_path: Path, private_key: str) -> AsyncIterator[OpenGCS]:
        """Opens a driver that gets its tokens from a service."""
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
        """In the middle of an upload too, whose session needs none."""
        driver = await opened(TokenService("first", "second"))

        def expire() -> None:
            token_of(driver).access_token_refresh_after = 0

        relay.inject(then(expire), method="PUT", target="upload_id", skip=1)
        await driver.upload("blob", BytesSource(LARGE))
        assert (await driver.stat("blob")).size == len(LARGE)
        assert tokens_of(relay)[0] == "first"
        assert tokens_of(relay)[-1] == "second"

    async def test_one_that_is_refused_before_its_time_is_replaced(
        self, gcs: GCSServer, bucket: str, relay: Relay, opened: OpenGCS
    ) -> None:
        """For all requests that carry it, of any kind."""
        driver = await opened(service := TokenService("first", "second"), RetryPolicy(sleep=at_once))
        await driver.write("key", b"data", expected=Expect.ABSENT)
        gcs.set(bucket, tokens={"second": "rw"})
        documents = await asyncio.gather(*(driver.read("key") for _ in range(5)))
        assert {document.data for document in documents} == {b"data"}
        await driver.upload("blob", BytesSource(LARGE))
        assert 401 in {each.status for each in relay.exchanges}
        assert service.asked == 2

    async def test_one_that_is_refused_in_the_middle_of_a_push_is_replaced(
        self, gcs: GCSServer, bucket: str, relay: Relay, opened: OpenGCS, tmp_path: Path
    ) -> None:
        """Nobody notices."""
        driver = await opened(service := TokenService("first", "second"), RetryPolicy(sleep=at_once))
        relay.inject(then(lambda: gcs.set(bucket, tokens={"second": "rw"})), method="PUT", target="upload_id", skip=1)
        (tmp_path / "file").write_bytes(LARGE)
        async with AssetsManager(driver=driver, assets_dir=tmp_path / "cache") as manager:
            assert (await manager.create_asset(tmp_path / "file", "model")).version == "0.0"
            assert (await manager.fetch_asset("model")).path.read_bytes() == LARGE
        assert service.asked == 2

    @pytest.mark.parametrize("tokens", [["unheard-of"], ["first", "first"]])
    async def test_a_refusal_stands_where_another_one_would_not_help(
        self, gcs: GCSServer, bucket: str, opened: OpenGCS, tokens: list[str]
    ) -> None:
        """Of a token that never worked, or that is all there is."""
        driver = await opened(service := TokenService(*tokens), RetryPolicy(sleep=at_once))
        if tokens[0] == "first":
            await driver.write("key", b"data", expected=Expect.ABSENT)
            gcs.set(bucket, tokens={"second": "rw"})
        with pytest.raises(AccessDenied, match="Invalid Credentials"):
            await driver.stat("key")
        assert service.asked == len(tokens)

    async def test_a_push_goes_on_where_renewing_fails_while_the_old_one_holds(
        self, relay: Relay, opened: OpenGCS, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The next request asks again, and nothing is said of the failure."""
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
    """The SDK's own."""
    return driver._connection._client.token


def tokens_of(relay: Relay) -> list[str]:
    """The tokens of requests that carried one, in order."""
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
def test_a_signature_tells_when_it_expires(query: str, expired: str) -> None:
    assert expiry(f"https://host/container{query}", datetime(2024, 6, 1, tzinfo=UTC)) == expired


class Tokens:
    """A token credential of the SDK's kind, which gives these tokens, one after the other."""

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
    """Sends to the relay what the SDK would send by HTTPS alone, since it shows tokens to nobody else."""

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
        """Opens a driver that shows tokens. To Azurite, which knows none in clear, a signature opens the door."""
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
        """By the SDK, five minutes before."""
        driver = await opened(tokens := Tokens("first", "second", life=timedelta(minutes=4)))
        await driver.write("key", b"data", expected=Expect.ABSENT)
        tokens.life = LIFE
        await driver.upload("blob", BytesSource(LARGE))
        assert (await driver.read("key")).data == b"data"
        assert tokens_of(relay)[0] == "first"
        assert set(tokens_of(relay)[1:]) == {"second"}

    async def test_one_that_is_refused_before_its_time_is_replaced(self, relay: Relay, opened: OpenAzure) -> None:
        """By the SDK, which sends the same request again: with its body, then."""
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

    async def test_that_no_token_can_be_had_is_told(self, opened: OpenAzure) -> None:
        """The error contains the message of the credential source."""
        driver = await opened(Tokens("first", None, life=timedelta(minutes=4)))
        await driver.write("key", b"data", expected=Expect.ABSENT)
        with pytest.raises(MissingCredentials, match="said by the test"):
            await driver.read("key")

    async def test_that_a_signature_has_expired_is_told(self, azurite: AzureServer, container: str) -> None:
        """With its time, since the store says no more than that it doesn't accept it."""
        signature = signature_for(azurite, container, timedelta(minutes=-5))
        async with AzureDriver(container, account_url=azurite.account_url, sas_token=signature) as driver:
            for attempt in (driver.write("key", b"", expected=Expect.ABSENT), driver.stat("key")):
                with pytest.raises(AccessDenied, match=r"signature has expired, at 20\d\d-.*Z\."):
                    await attempt


def signature_for(azurite: AzureServer, container: str, life: timedelta) -> str:
    """A shared access signature for all that a driver does in a container."""
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
        ("nothing that is JSON", "Reading them failed: Expecting value"),
        ('{"Version": 1}', "Missing required key"),
        (
            json.dumps(
                {"Version": 1, "AccessKeyId": "a", "SecretAccessKey": "b", "Expiration": "2001-01-01T00:00:00Z"}
            ),
            "still expired",
        ),
    ],
)
async def test_a_program_that_issues_none_is_told(issued: Issued, said: str, words: str) -> None:
    """In one sentence, and at once."""
    issued.file.write_text(said)
    async with S3Driver("bucket", region="us-east-1", dispatcher=Dispatcher(retry=RetryPolicy())) as driver:
        with pytest.raises(MissingCredentials, match=f"no usable credentials for s3://bucket: .*{words}"):
            await driver.read("key")


async def test_a_program_that_is_not_there_is_told(issued: Issued) -> None:
    """It is no trouble of the network, and not tried again."""
    issued.config.write_text("[default]\ncredential_process = /not/there\n")
    async with S3Driver("bucket", region="us-east-1", dispatcher=Dispatcher(retry=RetryPolicy())) as driver:
        with pytest.raises(MissingCredentials, match=r"Reading them failed: .*/not/there"):
            await driver.read("key")
