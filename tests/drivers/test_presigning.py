"""Signed URLs: hosts and lifetimes of S3, signatures of GCS, delegation keys of Azure, and refusals."""

from __future__ import annotations

import base64
import json
import urllib.request
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from urllib.parse import parse_qs, urlsplit

import gcloud.aio.auth.iam
import gcloud.aio.auth.token
import pytest
from azure.core.credentials import AccessToken
from azure.core.pipeline.transport import AioHttpTransport
from azure.storage.blob.aio import ContainerClient
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from gcloud.aio.storage import Blob
from tools.relay import Exchange, Relay
from tools.servers import GCSServer, free_ports

from aioassets import AccessDenied, AzureDriver, CannotPresign, Dispatcher, GCSDriver, MissingCredentials, S3Driver
from aioassets.drivers.gcs.presigning import Unsigned
from aioassets.runtime.retry import NO_RETRY
from aioassets.runtime.threads import in_thread
from aioassets.testing import BytesSource

HOUR = timedelta(hours=1)
KEY = "assets/a b/ü+%?#.bin"
ENCODED = "assets/a%20b/%C3%BC%2B%25%3F%23.bin"
ACCOUNT = "tests@example.com"

pytestmark = pytest.mark.once


def dispatcher() -> Dispatcher:
    return Dispatcher(retry=NO_RETRY)


class TestS3:
    @pytest.mark.parametrize(
        ("options", "base"),
        [
            ({"region": "eu-central-1"}, "https://models.s3.eu-central-1.amazonaws.com/"),
            ({"region": "eu-west-1", "addressing_style": "path"}, "https://s3.eu-west-1.amazonaws.com/models/"),
            (
                {"region": "x", "endpoint_url": "https://store:9000/base", "addressing_style": "path"},
                "https://store:9000/base/models/",
            ),
            (
                {"region": "x", "endpoint_url": "http://store", "addressing_style": "virtual"},
                "http://models.store/",
            ),
        ],
        ids=["AWS", "path style", "own endpoint", "own endpoint, virtual hosts"],
    )
    async def test_the_url_is_that_of_the_region_and_the_endpoint(self, options: dict[str, Any], base: str) -> None:
        keys: dict[str, Any] = {"access_key_id": "key", "secret_access_key": "secret", "session_token": "to+ken"}
        async with S3Driver("models", dispatcher=dispatcher(), **keys, **options) as driver:
            url = await driver.presign(KEY, HOUR)
        assert url.partition("?")[0] == base + ENCODED
        query = parse_qs(urlsplit(url).query)
        assert (query["X-Amz-Expires"], query["X-Amz-SignedHeaders"]) == (["3600"], ["host"])
        assert query["X-Amz-Security-Token"] == ["to+ken"]
        assert query["X-Amz-Credential"][0].split("/")[2] == options["region"]

    async def test_the_signer_pays_if_the_requester_does(self) -> None:
        """Nobody who opens the URL has to send a header."""
        keys: dict[str, Any] = {"access_key_id": "key", "secret_access_key": "secret"}
        async with S3Driver("models", dispatcher=dispatcher(), requester_pays=True, region="x", **keys) as driver:
            query = parse_qs(urlsplit(await driver.presign(KEY, HOUR)).query)
        assert (query["x-amz-request-payer"], query["X-Amz-SignedHeaders"]) == (["requester"], ["host"])

    async def test_anonymous_access_cannot_sign(self) -> None:
        async with S3Driver("models", dispatcher=dispatcher(), anonymous=True, region="x") as driver:
            with pytest.raises(MissingCredentials, match="anonymous access can't sign"):
                await driver.presign(KEY, HOUR)


@pytest.fixture(scope="module")
def private_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@pytest.fixture
def account(private_key: rsa.RSAPrivateKey, tmp_path: Path) -> Path:
    """Return the file of a service account's key."""
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    pem = private_key.private_bytes(encoding, form, serialization.NoEncryption()).decode()
    file = tmp_path / "account.json"
    file.write_text(json.dumps({"type": "service_account", "client_email": ACCOUNT, "private_key": pem}))
    return file


async def by_the_sdk(name: str, token: Any) -> str:
    bucket = SimpleNamespace(name="models", storage=SimpleNamespace(token=token))
    return await Blob(cast("Any", bucket), name, {"size": 1}).get_signed_url(3600)


class TestGCS:
    async def test_a_key_signs_as_the_sdk_does(self, account: Path) -> None:
        """The SDK signs for Google's own host only."""
        token = SimpleNamespace(service_data=json.loads(account.read_text()))
        expected = await by_the_sdk(KEY, token)
        time = datetime.strptime(parse_qs(urlsplit(expected).query)["X-Goog-Date"][0], "%Y%m%dT%H%M%SZ")
        unsigned = Unsigned.of("https://storage.googleapis.com", "models", KEY, ACCOUNT, 3600, time.replace(tzinfo=UTC))
        signature = Blob.get_pem_signature(unsigned.text, token.service_data["private_key"])
        assert unsigned.signed(signature) == expected

    @pytest.mark.servers
    async def test_the_url_leads_to_the_object(self, gcs: GCSServer, account: Path) -> None:
        """The test server ignores signatures."""
        bucket = gcs.fresh_bucket()
        async with GCSDriver(bucket, api_root=gcs.api_root, anonymous=True) as driver:
            await driver.upload(KEY, BytesSource(b"signed"))
        async with GCSDriver(bucket, api_root=gcs.api_root, service_file=account) as driver:
            url = await driver.presign(KEY, HOUR)
        assert await in_thread(lambda: urllib.request.urlopen(url).read()) == b"signed"

    async def test_anonymous_access_cannot_sign(self) -> None:
        async with GCSDriver("models", anonymous=True, dispatcher=dispatcher()) as driver:
            with pytest.raises(MissingCredentials, match="anonymous access can't sign"):
                await driver.presign(KEY, HOUR)

    async def test_a_user_cannot_sign(self, tmp_path: Path) -> None:
        file = tmp_path / "user.json"
        file.write_text(json.dumps({"type": "authorized_user", "client_id": "i", "client_secret": "s"}))
        async with GCSDriver("models", service_file=file, dispatcher=dispatcher()) as driver:
            with pytest.raises(CannotPresign, match="authorized_user have no key"):
                await driver.presign(KEY, HOUR)

    @pytest.fixture
    async def google(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncIterator[Relay]:
        """Return a relay that stands for the metadata server and the IAM service of a machine on Google Cloud."""
        async with Relay(f"http://127.0.0.1:{free_ports(1)[0]}") as relay:
            base = f"{relay.url}/computeMetadata/v1"
            monkeypatch.setattr(gcloud.aio.auth.token, "GCE_METADATA_BASE", base)
            monkeypatch.setattr(gcloud.aio.auth.token, "GCE_ENDPOINT_TOKEN", f"{base}/token")
            monkeypatch.setattr(gcloud.aio.auth.iam, "API_ROOT_IAM_CREDENTIALS", relay.url)
            monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
            monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
            relay.inject(replying({"access_token": "token", "expires_in": 3600}), target="/token", times=float("inf"))
            relay.inject(replying(ACCOUNT), target="/email")
            yield relay

    async def test_a_machine_signs_by_the_iam_service(self, google: Relay, private_key: rsa.RSAPrivateKey) -> None:
        """The account is looked up once."""

        async def sign(exchange: Exchange) -> None:
            text = base64.urlsafe_b64decode(json.loads(await exchange.body())["payload"])
            signature = private_key.sign(text, padding.PKCS1v15(), hashes.SHA256())
            await exchange.reply(200, JSON, json.dumps({"signedBlob": base64.b64encode(signature).decode()}).encode())

        google.inject(sign, target=f"/projects/-/serviceAccounts/{ACCOUNT}:signBlob", times=float("inf"))
        async with GCSDriver("models", dispatcher=dispatcher()) as driver:
            url, other = [await driver.presign(key, HOUR) for key in (KEY, "other")]
        assert url.startswith(f"https://storage.googleapis.com/models/{ENCODED}?")
        assert "/models/other?" in other
        time = datetime.strptime(parse_qs(urlsplit(url).query)["X-Goog-Date"][0], "%Y%m%dT%H%M%SZ")
        unsigned = Unsigned.of("https://storage.googleapis.com", "models", KEY, ACCOUNT, 3600, time.replace(tzinfo=UTC))
        signature = bytes.fromhex(parse_qs(urlsplit(url).query)["X-Goog-Signature"][0])
        private_key.public_key().verify(signature, unsigned.text.encode(), padding.PKCS1v15(), hashes.SHA256())

    async def test_a_machine_that_must_not_sign_is_told_the_role(self, google: Relay) -> None:
        google.inject(replying({"error": {"message": "Permission denied."}}, 403), target="signBlob")
        async with GCSDriver("models", dispatcher=dispatcher()) as driver:
            with pytest.raises(
                AccessDenied, match=rf"{ACCOUNT} must be allowed .* roles/iam.serviceAccountTokenCreator"
            ):
                await driver.presign(KEY, HOUR)


JSON: Mapping[str, str] = {"Content-Type": "application/json"}


def replying(document: object, status: int = 200) -> Any:
    """Return a fault that replies with a document instead of the server."""

    async def reply(exchange: Exchange) -> None:
        await exchange.body()
        body = document if isinstance(document, str) else json.dumps(document)
        await exchange.reply(status, JSON, body.encode())

    return reply


class Plain(AioHttpTransport):  # type: ignore[misc]
    """Transport that sends requests by HTTP. The SDK sends tokens by HTTPS only."""

    async def send(self, request: Any, **options: Any) -> Any:
        request.url = request.url.replace("https://", "http://")
        return await super().send(request, **options)


class Token:
    """A token credential, as the SDK defines it."""

    async def get_token(self, *scopes: str, **options: Any) -> AccessToken:
        return AccessToken("token", int((datetime.now(UTC) + HOUR).timestamp()))


KEY_OF_STORE: Mapping[str, str] = {
    "SignedOid": "oid",
    "SignedTid": "tid",
    "SignedStart": "2026-01-01T00:00:00Z",
    "SignedExpiry": "2026-01-01T01:00:00Z",
    "SignedService": "b",
    "SignedVersion": "2021-12-02",
    "Value": base64.b64encode(b"key of the store").decode(),
}


class TestAzure:
    @pytest.fixture
    async def store(self) -> AsyncIterator[Relay]:
        async with Relay(f"http://127.0.0.1:{free_ports(1)[0]}") as relay:
            yield relay

    @pytest.fixture
    async def driver(self, store: Relay) -> AsyncIterator[AzureDriver]:
        url = store.url.replace("http://", "https://")
        credential, transport = cast("Any", Token()), Plain(read_timeout=10)
        async with ContainerClient(
            f"{url}/team", "models", credential=credential, transport=transport, retry_total=0
        ) as client:
            yield AzureDriver("models", client=client, dispatcher=dispatcher())

    async def test_a_token_signs_by_a_delegation_key(self, store: Relay, driver: AzureDriver) -> None:
        body = "".join(f"<{name}>{value}</{name}>" for name, value in KEY_OF_STORE.items())
        asked: list[bytes] = []

        async def delegate(exchange: Exchange) -> None:
            asked.append(await exchange.body())
            await exchange.reply(200, {}, f"<UserDelegationKey>{body}</UserDelegationKey>".encode())

        store.inject(delegate, method="POST", target=r"^/team/\?restype=service&comp=userdelegationkey$")
        url = await driver.presign(KEY, HOUR)
        assert url.startswith(f"{store.url.replace('http://', 'https://')}/team/models/{ENCODED}?")
        query = parse_qs(urlsplit(url).query)
        assert (query["skoid"], query["sp"], query["sr"]) == (["oid"], ["r"], ["b"])
        expiry = query["se"][0]
        assert HOUR - timedelta(minutes=5) < datetime.fromisoformat(expiry) - datetime.now(UTC) <= HOUR
        assert f"<Expiry>{expiry}</Expiry>".encode() in asked[0]

    async def test_a_refused_delegation_key_is_access_denied(self, store: Relay, driver: AzureDriver) -> None:
        async def refuse(exchange: Exchange) -> None:
            await exchange.body()
            await exchange.reply(403, {"x-ms-error-code": "AuthorizationPermissionMismatch"}, b"")

        store.inject(refuse)
        with pytest.raises(AccessDenied, match="Cannot get a user delegation key"):
            await driver.presign(KEY, HOUR)

    async def test_a_signature_cannot_sign(self) -> None:
        url = "https://team.blob.core.windows.net"
        async with AzureDriver(
            "models", account_url=url, sas_token="sv=1&sig=secret", dispatcher=dispatcher()
        ) as driver:
            with pytest.raises(CannotPresign, match="a shared access signature can't sign others") as caught:
                await driver.presign(KEY, HOUR)
        assert "secret" not in str(caught.value)

    async def test_anonymous_access_cannot_sign(self) -> None:
        async with AzureDriver("models", account_name="team", anonymous=True, dispatcher=dispatcher()) as driver:
            with pytest.raises(MissingCredentials, match="anonymous access can't sign"):
                await driver.presign(KEY, HOUR)
