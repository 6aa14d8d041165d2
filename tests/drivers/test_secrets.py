"""No secret, signature or token is in any error, log record or representation of a driver.

A relay acts as the server. Its responses repeat what it was sent, in the fields where stores do so. No server of the
tests fails in all of these ways.
"""

from __future__ import annotations

import base64
import contextlib
import gc
import json
import logging
import re
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, quote_plus, urlsplit

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from tools.relay import Exchange, Fault, Relay
from tools.servers import free_ports

from aioassets import AioAssetsError, AzureDriver, Dispatcher, Driver, GCSDriver, S3Driver
from aioassets.cli.options import StoreOptions
from aioassets.drivers import Location, make_driver
from aioassets.drivers.azure.sdk import Connecting
from aioassets.drivers.azure.values import Account
from aioassets.drivers.protocol import Expect, ObjectInfo, Revision
from aioassets.drivers.s3.driver import MIN_PART_SIZE
from aioassets.errors import InvalidSetting, MissingCredentials
from aioassets.runtime.retry import NO_RETRY
from aioassets.settings import Settings
from aioassets.testing import BytesSource

SECRET = "s3cr3t/+k=ey&all#of?it%"
TOKEN = "t0ken/+of=the%session"
KEY = base64.b64encode(b"an account's key, which isn't this one").decode()
SIGNATURE = base64.b64encode(b"a shared access signature").decode()
SAS = f"sv=2021-12-02&sp=rwdl&sig={quote(SIGNATURE, safe='')}"
ACCESS_TOKEN = "ya29.bearer-t0ken"
SESSION = "upl0ad-session-of-gcs"
PRIVATE_KEY = (
    rsa.generate_private_key(public_exponent=65537, key_size=2048)
    .private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    .decode()
)
LARGE = bytes(MIN_PART_SIZE + 1)
INFO = ObjectInfo("key", 4, Revision("1"), datetime(2024, 1, 1, tzinfo=UTC), {})
SECRETS = [SECRET, TOKEN, KEY, SIGNATURE, SAS, ACCESS_TOKEN, SESSION, *PRIVATE_KEY.splitlines()[1:-1]]

REQUESTS = 9
"""Number of errors that `failures_of` returns."""

Shown = list[str]
Failure = Callable[[Exchange], Awaitable[None]]


def driver_of(kind: str, root: str, folder: Path, bucket: str = "bucket") -> Driver:
    """Return a driver of a server, with every possible credential."""
    dispatcher = Dispatcher(retry=NO_RETRY)
    match kind:
        case "s3":
            return S3Driver(
                bucket,
                dispatcher=dispatcher,
                endpoint_url=root,
                region="us-east-1",
                addressing_style="path",
                access_key_id="AKIDEXAMPLE",
                secret_access_key=SECRET,
                session_token=TOKEN,
                part_size=MIN_PART_SIZE,
            )
        case "gcs":
            account = {"type": "service_account", "client_email": "tests@example.com", "private_key": PRIVATE_KEY}
            file = folder / "account.json"
            file.write_text(json.dumps({**account, "token_uri": f"{root}/token"}))
            return GCSDriver(
                bucket, dispatcher=dispatcher, api_root=root, service_file=file, part_size=MIN_PART_SIZE // 2
            )
        case "azure key":
            text = f"DefaultEndpointsProtocol=http;AccountName=one;AccountKey={KEY};BlobEndpoint={root}/one"
            return AzureDriver(bucket, dispatcher=dispatcher, connection_string=text, part_size=MIN_PART_SIZE)
        case "azure sas":
            return AzureDriver(
                bucket, dispatcher=dispatcher, account_url=f"{root}/one", sas_token=SAS, part_size=MIN_PART_SIZE
            )
    raise NotImplementedError(kind)


KINDS = ["s3", "gcs", "azure key", "azure sas"]


def refusing(status: int, code: str) -> Failure:
    """Respond like each store, and repeat the signed text and the credentials in the error."""

    async def refuse(exchange: Exchange) -> None:
        await exchange.body()
        sent = f"{exchange.method} {exchange.target} {exchange.headers.get('authorization', '')}"
        told = sent.replace("&", "&amp;").replace("<", "&lt;")
        xml = (
            f"<Error><Code>{code}</Code><Message>Said by the store.</Message><StringToSign>{told}</StringToSign>"
            f"<SignatureProvided>{told}</SignatureProvided><AuthenticationErrorDetail>{told}"
            "</AuthenticationErrorDetail></Error>"
        )
        error = {"code": status, "message": "Said by the store.", "errors": [{"reason": code}], "debugInfo": sent}
        of_gcs = "/storage/v1/" in exchange.target or "/upload/" in exchange.target
        body = json.dumps({"error": error}) if of_gcs else xml
        kind = "application/json" if of_gcs else "application/xml"
        await exchange.reply(status, {"Content-Type": kind, "x-ms-error-code": code}, body.encode())

    return refuse


async def garbage(exchange: Exchange) -> None:
    """Respond with a body that isn't a store's."""
    await exchange.body()
    await exchange.reply(
        200, {"Content-Type": "text/html"}, b"<html>" + exchange.headers.get("authorization", "").encode()
    )


async def broken(exchange: Exchange) -> None:
    """Reset the connection."""
    await exchange.body()
    exchange.reset()


async def elsewhere(exchange: Exchange) -> None:
    """Redirect the request to its own URL."""
    await exchange.body()
    await exchange.reply(307, {"Location": f"http://elsewhere.invalid{exchange.target}"}, b"")


FAILURES: dict[str, Failure] = {
    "bad signature": refusing(403, "SignatureDoesNotMatch"),
    "bad token": refusing(401, "InvalidAuthenticationInfo"),
    "expired": refusing(400, "ExpiredToken"),
    "denied": refusing(403, "AccessDenied"),
    "not found": refusing(404, "NoSuchKey"),
    "condition": refusing(412, "PreconditionFailed"),
    "throttled": refusing(503, "SlowDown"),
    "unsupported": refusing(501, "NotImplemented"),
    "garbage": garbage,
    "broken": broken,
    "elsewhere": elsewhere,
}


async def failures_of(driver: Driver, other: Driver) -> list[Exception]:
    """Return the error of each request that a driver can send."""

    async def listed() -> object:
        return [item async for item in driver.list("")]

    async def chunks() -> object:
        async with contextlib.aclosing(driver.read_range("key", 0, 9)) as pieces:
            return [piece async for piece in pieces]

    failures = []
    for attempt in (
        driver.read("key"),
        driver.write("key", b"data", expected=Expect.ABSENT),
        driver.stat("key"),
        driver.upload("key", BytesSource(b"data"), expected=Expect.ANYTHING),
        driver.upload("key", BytesSource(LARGE), expected=Expect.ANYTHING),
        chunks(),
        listed(),
        driver.copy(other, INFO, "copy"),
        driver.delete(["key"]),
    ):
        try:
            await attempt
        except Exception as error:
            failures.append(error)
    return failures


@pytest.fixture
async def shown(caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]) -> AsyncIterator[Shown]:
    """Collect all texts that a user may see: those that tests add, log records, and printed lines."""
    caplog.set_level(logging.DEBUG, logger="aioassets")
    caplog.set_level(logging.DEBUG, logger="asyncio")
    texts: Shown = []
    yield texts
    gc.collect()  # an unretrieved error is reported to the loop when its task is collected
    texts += [record.getMessage() + "\n" + (record.exc_text or "") for record in caplog.records if ours(record)]
    texts += capsys.readouterr()
    assert [text for text in texts if text]
    whole = "\n".join(texts)
    assert [form for secret in SECRETS for form in forms(secret) if form in whole] == []


def ours(record: logging.LogRecord) -> bool:
    """Return whether a record is of this package or of the event loop. Those of SDKs aren't checked."""
    return record.name.partition(".")[0] in ("aioassets", "asyncio")


def forms(secret: str) -> set[str]:
    """Return the encodings of a secret."""
    return {
        secret,
        quote(secret),
        quote(secret, safe=""),
        quote_plus(secret),
        base64.b64encode(secret.encode()).decode(),
    }


def rendered(error: BaseException) -> Shown:
    """Return an error's representations."""
    return [str(error), repr(error), *traceback.format_exception(error)]


def signatures(relay: Relay) -> Iterator[str]:
    """Iterate over the signatures and tokens of the requests."""
    for exchange in relay.exchanges:
        authorization = exchange.headers.get("authorization", "")
        yield from re.findall(r"(?:Signature=|Bearer |SharedKey \w+:)(.+)$", authorization)
        for name, values in parse_qs(urlsplit(exchange.target).query).items():
            if "sig" in name.lower() or name == "upload_id":
                yield from values


async def grant(exchange: Exchange) -> None:
    """Respond as Google's token service."""
    await exchange.body()
    answer = {"access_token": ACCESS_TOKEN, "expires_in": 3600, "token_type": "Bearer"}
    await exchange.reply(200, {"Content-Type": "application/json"}, json.dumps(answer).encode())


@contextlib.asynccontextmanager
async def answering(failure: Fault) -> AsyncIterator[Relay]:
    """Run a server that fails all requests, but grants tokens and begins resumable uploads."""
    async with Relay(f"http://127.0.0.1:{free_ports(1)[0]}") as relay:

        async def begin(exchange: Exchange) -> None:
            await exchange.body()
            await exchange.reply(200, {"Location": f"{relay.url}/upload/x?upload_id={SESSION}"}, b"{}")

        relay.inject(grant, target="^/token$", times=float("inf"))
        relay.inject(begin, target="uploadType=resumable", times=float("inf"))
        relay.inject(failure, times=float("inf"))
        yield relay


@pytest.mark.once
@pytest.mark.parametrize("kind", KINDS)
async def test_no_error_shows_a_secret_whatever_a_store_responds(kind: str, tmp_path: Path, shown: Shown) -> None:
    """Neither the error nor its causes contain one."""
    failures = list(FAILURES.values())

    async def failing(exchange: Exchange) -> None:
        await failures[0](exchange)

    async with answering(failing) as relay:
        driver, other = driver_of(kind, relay.url, tmp_path), driver_of(kind, relay.url, tmp_path, "other")
        async with contextlib.aclosing(driver), contextlib.aclosing(other):
            while failures:
                errors = await failures_of(driver, other)
                assert len(errors) >= 4  # for example, deleting an object that doesn't exist is no error
                shown += [text for error in errors for text in rendered(error)]
                del failures[0]
        shown += [repr(driver), driver.url, driver.identity]
        sent = set(signatures(relay))
    assert sent
    assert [text for text in shown for secret in sent if secret in text or quote(secret, safe="") in text] == []


@pytest.mark.parametrize("kind", KINDS)
async def test_an_unreachable_server_is_reported_without_secrets(kind: str, tmp_path: Path, shown: Shown) -> None:
    """Its port is closed, or its host name doesn't exist."""
    for root in (f"http://127.0.0.1:{free_ports(1)[0]}", "http://nobody.invalid"):
        driver, other = driver_of(kind, root, tmp_path), driver_of(kind, root, tmp_path, "other")
        async with contextlib.aclosing(driver), contextlib.aclosing(other):
            errors = await failures_of(driver, other)
        assert len(errors) == REQUESTS
        shown += [text for error in errors for text in rendered(error)]


@pytest.mark.parametrize("failure", ["bad token", "expired", "throttled", "garbage", "broken"])
async def test_a_failing_token_service_is_reported_without_secrets(failure: str, tmp_path: Path, shown: Shown) -> None:
    """The request is signed with the private key and can be exchanged for a token."""
    assertions = []

    async def fail(exchange: Exchange) -> None:
        assertions.append(parse_qs((await exchange.body()).decode())["assertion"][0])
        await FAILURES[failure](exchange)

    async with Relay(f"http://127.0.0.1:{free_ports(1)[0]}") as relay:
        relay.inject(fail, times=float("inf"))
        driver = driver_of("gcs", relay.url, tmp_path)
        async with contextlib.aclosing(driver):
            with pytest.raises(AioAssetsError) as caught:
                await driver.stat("key")
    shown += rendered(caught.value)
    assert [text for text in shown for assertion in assertions if assertion in text] == []


SETTINGS: list[Callable[[], object]] = [
    lambda: S3Driver("bucket", endpoint_url=f"http://user:{quote(SECRET, safe='')}@host:9000"),
    lambda: S3Driver("bucket", endpoint_url=f"http://user:{SECRET}@host:9000"),
    lambda: S3Driver("bucket", endpoint_url=f"http://host:9000/?X-Amz-Signature={SIGNATURE}"),
    lambda: S3Driver("bucket", endpoint_url=f"http://[{SECRET}"),
    lambda: S3Driver("bucket", endpoint_url=SECRET),
    lambda: GCSDriver("bucket", api_root=f"http://user:{SECRET}@host"),
    lambda: GCSDriver("bucket", api_root=f"http://host?access_token={ACCESS_TOKEN}"),
    lambda: AzureDriver("bucket", account_url=f"http://user:{SECRET}@host"),
    lambda: AzureDriver("bucket", account_url=f"{SECRET}?{SAS}"),
    lambda: AzureDriver("bucket", account_url=f"http://[host?{SAS}"),
    lambda: AzureDriver("bucket", connection_string=f"AccountKey={KEY}"),
    lambda: AzureDriver("bucket", connection_string=f"AccountKey={KEY};BlobEndpoint=http://user:{SECRET}@host"),
    lambda: AzureDriver("bucket", connection_string=SECRET),
    lambda: made(f"https://user:{quote(SECRET, safe='')}@host/bucket"),
    lambda: made(f"https://user:{SECRET}@host/bucket"),
    lambda: made(f"https://one.blob.core.windows.net/container?{SAS}"),
    lambda: made(f"s3://key:{SECRET}@bucket"),
    lambda: made(f"s3://key:[{SECRET}@bucket"),
    lambda: made(f"az://bucket?{SAS}"),
    lambda: made("s3://bucket", secret_acces_key=SECRET),
    lambda: made("s3://bucket", endpoint_url=f"http://user:{SECRET}@host"),
]


def made(bucket: str, **options: object) -> Driver:
    """Return a driver, made as the manager does it."""
    return make_driver(Location.parse(bucket), dispatcher=Dispatcher(), options=options)


@pytest.mark.once
@pytest.mark.parametrize("make", SETTINGS)
def test_invalid_settings_are_not_shown(make: Callable[[], object], shown: Shown) -> None:
    """The error is one sentence that doesn't quote them."""
    with pytest.raises(InvalidSetting) as caught:
        make()
    shown += rendered(caught.value)


@pytest.mark.parametrize("given", ["service_file", "environment"])
async def test_credentials_in_place_of_their_file_are_not_shown(
    given: str, shown: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    """This is a common mistake with secrets in environment variables."""
    account = json.dumps({"type": "service_account", "private_key": PRIVATE_KEY[:100] + TOKEN})
    options: dict[str, Any] = {"service_file": account} if given == "service_file" else {}
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", account)
    async with GCSDriver("bucket", **options) as driver:
        with pytest.raises(MissingCredentials, match="instead of the path of a file") as caught:
            await driver.stat("key")
    shown += rendered(caught.value)


async def test_malformed_keys_are_not_shown(shown: Shown, tmp_path: Path) -> None:
    """The SDK can't sign with them."""
    async with AzureDriver("bucket", account_name="one", account_key=SECRET) as azure:
        with pytest.raises(MissingCredentials) as caught:
            await azure.stat("key")
    shown += rendered(caught.value)
    file = tmp_path / "account.json"
    account = {"type": "service_account", "client_email": "tests@example.com", "private_key": PRIVATE_KEY[:500]}
    file.write_text(json.dumps(account))
    async with GCSDriver("bucket", service_file=file) as gcs:
        with pytest.raises(MissingCredentials) as caught:
            await gcs.stat("key")
    shown += rendered(caught.value)


def test_values_hide_their_secrets(shown: Shown) -> None:
    """Printing a value in a debugger or a log doesn't show any."""
    options = {"s3.secret_access_key": SECRET, "azure.connection_string": f"AccountKey={KEY}", "azure.sas_token": SAS}
    url = f"https://user:{SECRET}@host?{SAS}"
    account = Account.from_options(account_name="one", account_key=KEY, sas_token=SAS)
    shown += [
        repr(Settings.resolve(bucket=url, storage_options=options, assets_dir=".", environ={})),
        repr(StoreOptions(url, None, None, None, tuple(options.items()))),
        repr(account),
        repr(Connecting(account, None, False, True, None, 1.0, 1.0, 1)),
    ]
