"""Refusals of S3 and of the services for its credentials, and options of public and paid buckets."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from botocore.credentials import ReadOnlyCredentials
from botocore.exceptions import ClientError, UnauthorizedSSOTokenError
from tools.s3 import client_of
from tools.tcp import listening

from aioassets import AioAssetsError, Dispatcher, InvalidSetting, S3Driver
from aioassets.cli.process import exit_code_of
from aioassets.drivers import Location, split_url
from aioassets.drivers.http.parsing import entity_tag
from aioassets.drivers.s3.credentials import Credentials
from aioassets.drivers.s3.errors import OPEN, service_error_of, translate
from aioassets.drivers.service_errors import Request, ServiceErrorRaised
from aioassets.errors import MissingCredentials, StoreUnavailable
from aioassets.runtime.retry import NO_RETRY

ACCESS_POINT = "arn:aws:s3:eu-west-1:123456789012:accesspoint/models"


def refused(code: str, status: int, verb: str = "read", key: str = "key") -> Exception:
    return translate(ServiceErrorRaised(service_error_of(code, "No.", status)), Request("s3://bucket", verb, key))


@pytest.mark.parametrize(
    ("code", "advice", "exit_code"),
    [
        ("InvalidObjectState", "restore-object", 7),
        ("ObjectNotInActiveTierError", "restore-object", 7),
        ("RequestTimeTooSkewed", "clock", 7),
        ("RequestExpired", "clock", 7),
        ("AccountProblem", "billing", 7),
        ("QuotaExceeded", "quota", 7),
        ("KMS.DisabledException", "Enable the key", 7),
        ("AccessDenied", "s3:ListBucket", 6),
        ("403", "s3:ListBucket", 6),
        ("SignatureDoesNotMatch", "Check the credentials", 6),
    ],
)
def test_each_403_has_its_own_advice(code: str, advice: str, exit_code: int) -> None:
    error = refused(code, 403)
    assert isinstance(error, AioAssetsError)
    assert advice in str(error)
    assert exit_code_of(error) == exit_code


@pytest.mark.parametrize(
    ("verb", "permission"), [("list", "s3:ListBucket"), ("write", "s3:PutObject"), ("delete", "s3:DeleteObject")]
)
def test_a_refusal_names_the_permission(verb: str, permission: str) -> None:
    assert str(refused("AccessDenied", 403, verb)).endswith(f"Check that the credentials allow {permission}.")


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("AccessDenied", 403),
        ("InvalidIdentityToken", 400),
        ("ExpiredTokenException", 400),
        ("UnauthorizedException", 401),
    ],
)
def test_refused_roles_and_sessions_are_missing_credentials(code: str, status: int) -> None:
    answer: Any = {"Error": {"Code": code, "Message": "No."}, "ResponseMetadata": {"HTTPStatusCode": status}}
    error = translate(ClientError(answer, "AssumeRole"), Request("s3://bucket", OPEN))
    assert isinstance(error, MissingCredentials)
    assert exit_code_of(error) == 6


def test_an_overloaded_service_for_credentials_is_unavailable() -> None:
    answer: Any = {"Error": {"Code": "Throttling", "Message": "Wait."}, "ResponseMetadata": {"HTTPStatusCode": 400}}
    assert isinstance(translate(ClientError(answer, "AssumeRole"), Request("s3://bucket", OPEN)), StoreUnavailable)


def test_an_expired_sign_in_is_missing_credentials() -> None:
    assert isinstance(translate(UnauthorizedSSOTokenError(), Request("s3://bucket", OPEN)), MissingCredentials)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"endpoint_url": "http://minio_server:9000"}, "underscore"),
        ({"access_key_id": "AKID\n", "secret_access_key": "key"}, "access_key_id"),
    ],
)
def test_unusable_options_are_named(options: dict[str, Any], named: str) -> None:
    with pytest.raises(InvalidSetting, match=named):
        S3Driver("bucket", **options)


class Role:
    """Credentials of a role that was taken away after they were issued."""

    def __init__(self, code: str) -> None:
        self._issued = [ReadOnlyCredentials("AKIDEXAMPLE", "key", "token")]
        self._code = code

    def refresh_needed(self, refresh_in: int | None = None) -> bool:
        return True

    async def get_frozen_credentials(self) -> ReadOnlyCredentials:
        if self._issued:
            return self._issued.pop()
        raise ClientError({"Error": {"Code": self._code, "Message": "No."}}, "AssumeRole")


@pytest.mark.parametrize(("code", "kind"), [("AccessDenied", MissingCredentials), ("Throttling", StoreUnavailable)])
async def test_a_refused_renewal_is_final(code: str, kind: type[AioAssetsError]) -> None:
    async def find() -> Role:
        return Role(code)

    credentials = Credentials("s3://bucket")
    await credentials.load(find)
    with pytest.raises(kind, match="have expired, and can't be renewed: "):
        await credentials.frozen()


@contextlib.asynccontextmanager
async def bucket() -> AsyncIterator[tuple[str, list[bytes]]]:
    """Serve the same object to every request; yield the server's URL and the heads that it receives."""
    heads: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            heads.append(head := await reader.readuntil(b"\r\n\r\n"))
            length = b"0" if head.startswith(b"PUT ") else b"4"
            writer.write(
                b'HTTP/1.1 200 OK\r\nETag: W/"1"\r\nLast-Modified: Thu, 01 Jan 2026 00:00:00 GMT\r\n'
                b"Content-Length: " + length + b"\r\n\r\n" + (b"data" if head.startswith(b"GET ") else b"")
            )

    async with listening(serve) as port:
        yield f"http://127.0.0.1:{port}", heads


async def heads_of(**options: Any) -> list[bytes]:
    """Read an object, and ask for its metadata; return the heads of the requests."""
    async with bucket() as (url, heads):
        dispatcher = Dispatcher(retry=NO_RETRY)
        async with S3Driver("bucket", dispatcher=dispatcher, endpoint_url=url, region="us-east-1", **options) as driver:
            assert (await driver.read("key")).data == b"data"
            assert (await driver.stat("key")).revision == "1"
    return [head.lower() for head in heads]


@pytest.mark.parametrize("options", [{}, {"access_key_id": "AKIDEXAMPLE", "secret_access_key": "key"}])
async def test_anonymous_requests_are_not_signed(options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "key")
    heads = await heads_of(anonymous=True, **options)
    assert len(heads) == 2
    assert not any(b"authorization" in head for head in heads)


async def test_all_requests_agree_to_pay_and_sign_it() -> None:
    heads = await heads_of(requester_pays=True, access_key_id="AKID", secret_access_key="key")
    assert len(heads) == 2
    assert all(b"x-amz-request-payer: requester" in head for head in heads)
    assert all(b"x-amz-request-payer;" in head or b"x-amz-request-payer," in head for head in heads)


@pytest.mark.parametrize("text", ['W/"abc"', '"abc"', "abc", "W/abc"])
def test_the_mark_of_a_weak_etag_is_ignored(text: str) -> None:
    assert entity_tag(text) == "abc"


@pytest.mark.parametrize(
    "options",
    [{"access_key_id": "AKIDEXAMPLE", "secret_access_key": "key"}, {"anonymous": True}],
    ids=["direct", "by the SDK"],
)
async def test_the_mark_of_a_weak_etag_is_not_sent_back(options: dict[str, Any]) -> None:
    """A store does not complete an upload with an ETag that a proxy has marked."""
    async with (
        bucket() as (url, _),
        S3Driver("bucket", endpoint_url=url, region="us-east-1", **options) as driver,
    ):
        client = await client_of(driver)
        assert await client.hot.put_part("key", "upload", 1, b"", crc32=None) == '"1"'


def test_an_access_point_is_a_bucket() -> None:
    assert Location.parse(f"s3://{ACCESS_POINT}") == Location("s3", ACCESS_POINT)
    assert split_url(f"s3://{ACCESS_POINT}/a/b") == (Location("s3", ACCESS_POINT), "a/b")
    assert split_url(f"s3://{ACCESS_POINT}") == (Location("s3", ACCESS_POINT), "")


def test_a_path_in_an_access_point_is_the_prefix() -> None:
    with pytest.raises(InvalidSetting, match="as the prefix"):
        Location.parse(f"s3://{ACCESS_POINT}/prefix")
