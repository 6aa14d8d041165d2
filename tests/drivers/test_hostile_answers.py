"""Servers that redirect, send unknown responses, or never stop sending."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tools.tcp import listening

from aioassets import AioAssetsError, AzureDriver, Dispatcher, Driver, GCSDriver, S3Driver, StoreError
from aioassets.drivers.http.connections import MAX_ERROR
from aioassets.drivers.protocol import Expect, ObjectInfo, Revision
from aioassets.errors import StoreUnavailable
from aioassets.runtime.retry import NO_RETRY
from aioassets.testing import BytesSource

KEY = "c2VjcmV0"
MOMENT = datetime(2026, 11, 27, tzinfo=UTC)
STAMP = "Fri, 27 Nov 2026 02:08:35 GMT"
Attempt = Callable[[Driver], Awaitable[Any]]


def driver_of(kind: str, url: str) -> Any:
    dispatcher = Dispatcher(retry=NO_RETRY)
    match kind:
        case "s3":
            return S3Driver(
                "models",
                endpoint_url=url,
                region="us-east-1",
                access_key_id="key",
                secret_access_key=KEY,
                session_token="token",
                addressing_style="path",
                dispatcher=dispatcher,
            )
        case "gcs":
            return GCSDriver("models", api_root=url, part_size=256 * 1024, dispatcher=dispatcher)
    return AzureDriver(
        "models", account_url=f"{url}/account", account_key=KEY, part_size=256 * 1024, dispatcher=dispatcher
    )


KINDS = ("s3", "gcs", "azure")


async def listed(driver: Driver) -> object:
    return [row async for row in driver.list("")]


async def open_uploads(driver: Driver) -> object:
    return [upload async for upload in driver.open_uploads("")]


async def ranged(driver: Driver) -> object:
    async with contextlib.aclosing(driver.read_range("key", 0, 4)) as chunks:
        return [chunk async for chunk in chunks]


READS: dict[str, Attempt] = {
    "read": lambda driver: driver.read("key"),
    "stat": lambda driver: driver.stat("key"),
    "list": listed,
    "list open uploads": open_uploads,
    "read a range": ranged,
}
CHANGES: dict[str, Attempt] = {
    "write": lambda driver: driver.write("key", b"data", expected=Expect.ABSENT),
    "swap": lambda driver: driver.write("key", b"data", expected=Revision("1")),
    "upload": lambda driver: driver.upload("key", BytesSource(b"data"), expected=Expect.ANYTHING),
    "delete": lambda driver: driver.delete(["key"]),
}
IN_PARTS: dict[str, Attempt] = {
    "upload in parts": lambda driver: driver.upload("key", BytesSource(bytes(300 * 1024)), expected=Expect.ANYTHING),
}


def attempts_of(kind: str) -> dict[str, Attempt]:
    """Return the requests to try on a store. Only S3 lists open uploads, and its parts are large."""
    attempts = {**READS, **CHANGES, **IN_PARTS}
    del attempts["upload in parts" if kind == "s3" else "list open uploads"]
    return attempts


class Server:
    """Server that sends raw bytes.

    Attributes:
        answer: returns the response for the request's first line.
        asked: heads and bodies of the requests.
    """

    def __init__(self, answer: Callable[[bytes], bytes]) -> None:
        self.answer = answer
        self.asked: list[bytes] = []
        self.url = ""

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Server]:
        async with listening(self._serve) as port:
            self.url = f"http://127.0.0.1:{port}"
            yield self

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        self.asked.append(head + await reader.readexactly(_length(head)))
        writer.write(self.answer(head))
        await writer.drain()


def _length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return 0


def http(status: int, headers: Mapping[str, str], body: bytes = b"") -> bytes:
    lines = [f"HTTP/1.1 {status} Some", *[f"{name}: {value}" for name, value in headers.items()]]
    if not {name.lower() for name in headers} & {"content-length", "transfer-encoding"}:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "Connection: close", "", ""]).encode("utf-8", "surrogateescape") + body


async def outcome(attempt: Attempt, driver: Driver) -> AioAssetsError | None:
    try:
        await attempt(driver)
    except AioAssetsError as error:
        return error
    return None


# Redirects


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("kind", KINDS)
async def test_no_redirect_is_followed(kind: str, status: int) -> None:
    """The error names the server and the target without secrets. Nothing is sent to the target."""
    async with Server(lambda _: http(200, {})).running() as target:
        location = f"{target.url}/elsewhere?signature=secret"

        def redirect(head: bytes) -> bytes:
            body = b"" if head.startswith(b"HEAD") else b"<html><p>Moved</html>"
            return http(status, {"Location": location, "x-ms-request-id": "1"}, body)

        async with Server(redirect).running() as store, driver_of(kind, store.url) as driver:
            for name, attempt in attempts_of(kind).items():
                error = await outcome(attempt, driver)
                if name == "upload in parts" and kind == "gcs" and status == 308:
                    assert isinstance(error, StoreError)  # the status has another meaning there
                    continue
                assert type(error) is StoreError, name
                assert f"{store.url} responded with a redirect to {target.url} ({status})" in str(error)
                assert "signature" not in str(error)
                assert error.uncertain is (name in CHANGES), name
    assert target.asked == []


@pytest.mark.parametrize("headers", [{}, {"Location": "//[oops"}, {"Location": "/\x1b[2J"}])
@pytest.mark.parametrize("kind", KINDS)
async def test_a_redirect_without_a_usable_target_is_reported(kind: str, headers: dict[str, str]) -> None:
    redirect = http(307, {**headers, "x-ms-request-id": "1"})
    async with Server(lambda _: redirect).running() as store, driver_of(kind, store.url) as driver:
        error = await outcome(CHANGES["write"], driver)
    assert "responded with a redirect to another address (307)" in str(error) or isinstance(error, StoreUnavailable)
    assert str(error).isprintable()
    assert len(store.asked) == 1


async def test_requests_for_tokens_follow_no_redirects() -> None:
    import aiohttp  # noqa: PLC0415

    from aioassets.drivers.http.connections import unredirected  # noqa: PLC0415

    async with Server(lambda _: http(200, {})).running() as target:
        redirect = http(307, {"Location": target.url})
        async with (
            Server(lambda _: redirect).running() as service,
            aiohttp.ClientSession(trace_configs=[unredirected()]) as session,
        ):
            with pytest.raises(aiohttp.ClientResponseError, match="responded with a redirect"):
                await session.post(service.url, data=b"assertion")
    assert target.asked == []


# Uncertain results

UNRECOGNISED: dict[str, bytes] = {
    "nothing": http(200, {}),
    "a page": http(200, {"Content-Type": "text/html"}, b"<html><p>Please sign in.</p></html>"),
    "no XML": http(200, {"Content-Type": "application/xml"}, b"<Com"),
    "no JSON": http(200, {"Content-Type": "application/json"}, b'{"size": "'),
    "another success": http(202, {}, b"[]"),
    "an odd ETag": http(200, {"ETag": "\udcff", "x-ms-request-id": "1"}),
    "an empty ETag": http(200, {"ETag": '""', "x-ms-request-id": "1"}),
    "another protocol": b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n",
    "not modified": http(304, {}),
    "bad request": http(400, {}, b"<html>Bad request</html>"),
    "not allowed": http(405, {}),
    "timeout": http(408, {}),
    "an endless error": http(403, {"Content-Length": "99999999"}, bytes(2 * MAX_ERROR)),
    "no HTTP": b"\x16\x03\x01",
}


@pytest.mark.parametrize("said", UNRECOGNISED)
@pytest.mark.parametrize("kind", KINDS)
async def test_a_change_is_uncertain_unless_the_store_says_otherwise(kind: str, said: str) -> None:
    async with Server(lambda _: UNRECOGNISED[said]).running() as store, driver_of(kind, store.url) as driver:
        for name in ("write", "swap", "upload", "delete"):
            if (kind, said, name) in WELL_UNDERSTOOD:
                continue
            error = await outcome(CHANGES[name], driver)
            assert isinstance(error, StoreError), name
            assert error.uncertain, name


WELL_UNDERSTOOD = {
    ("gcs", "nothing", "delete"),
    ("gcs", "an odd ETag", "delete"),
    ("gcs", "an empty ETag", "delete"),
    ("azure", "an odd ETag", "delete"),
    ("azure", "an empty ETag", "delete"),
}
"""These are the regular responses to deletions."""


BEGUN = b"<InitiateMultipartUploadResult><UploadId>1</UploadId></InitiateMultipartUploadResult>"


@pytest.mark.parametrize(
    "completion",
    [
        http(200, {}),
        http(200, {}, b"<CompleteMultipartUploadResult/>"),
        http(200, {}, b"<html><p>Please sign in.</p></html>"),
        http(200, {}, b"<Comp"),
        http(200, {}, b"<Error><Code>InternalError</Code></Error>"),
        http(101, {}),
        http(302, {"Location": "http://elsewhere.invalid"}),
    ],
    ids=["nothing", "no ETag", "a page", "garbage", "an error", "another protocol", "a redirect"],
)
async def test_an_unrecognized_response_to_a_completion_is_uncertain(completion: bytes) -> None:
    def answer(head: bytes) -> bytes:
        if b"uploads" in head.split(b" ")[1]:
            return http(
                200, {}, b"<InitiateMultipartUploadResult><UploadId>1</UploadId></InitiateMultipartUploadResult>"
            )
        if head.startswith(b"POST"):
            return completion
        return http(200, {"ETag": '"1"'}) if head.startswith(b"PUT") else http(404, {})

    source = BytesSource(bytes(9 * 1024 * 1024))
    async with Server(answer).running() as store, driver_of("s3", store.url) as driver:
        error = await outcome(lambda driver: driver.upload("key", source, expected=Expect.ANYTHING), driver)
    assert isinstance(error, StoreError)
    assert error.uncertain


async def test_an_unrecognized_response_to_a_copy_is_uncertain() -> None:
    def answer(head: bytes) -> bytes:
        if head.startswith(b"PUT"):
            return http(200, {}, b"<html></html>")
        if head.startswith(b"HEAD /models/copy"):
            return http(404, {})
        return http(200, {"ETag": '"1"', "Content-Length": "1", "Last-Modified": "Fri, 27 Nov 2026 02:08:35 GMT"})

    async with Server(answer).running() as store, driver_of("s3", store.url) as driver:
        with pytest.raises(StoreError) as caught:
            await driver.copy(driver, ObjectInfo("key", 1, Revision("1"), datetime.now(UTC)), "copy")
    assert caught.value.uncertain


async def test_a_web_page_is_not_an_empty_listing() -> None:
    page = http(200, {}, b"<html><p>Please sign in.</p></html>")
    async with Server(lambda _: page).running() as store, driver_of("s3", store.url) as driver:
        for attempt in (listed, open_uploads):
            with pytest.raises(StoreError, match="is not in S3's format"):
                await attempt(driver)


# Limits


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("attempt", ["read", "write", "list", "delete"])
async def test_the_length_of_an_error_is_limited(kind: str, attempt: str) -> None:
    """Little more than the limit is received."""
    endless = http(500, {"Content-Length": f"{2**40}", "x-ms-error-code": "InternalError"}, bytes(8 * MAX_ERROR))
    async with Server(lambda _: endless).running() as store, driver_of(kind, store.url) as driver:
        error = await outcome({**READS, **CHANGES}[attempt], driver)
    assert isinstance(error, StoreUnavailable)
    assert "the response is too long" in str(error)


# Arbitrary responses

ODD = st.sampled_from(
    [
        "",
        "²",
        "-1",
        "1e9",
        "9" * 30,
        "9" * 5000,
        "0x10",
        "Fri, 27 Nov 99999999999 02:08:35 GMT",
        "Fri, 27 Nov 2026 02:08:35 -0000",
        "Fri, 31 Dec 9999 23:59:59 -2359",
        "Mon, 01 Jan 0001 00:00:00 +2359",
        "2026-11-27T02:08:35",
        "0001-01-01T00:00:00+23:59",
        "9999-12-31T23:59:59-23:59",
        "99999999999-01-01T00:00:00Z",
        "\udcff",
        "\x1b[2J",
        "é",
        "{",
        "bytes 0-3/x",
        "====",
        "pending",
    ]
)
HEADERS = {
    "ETag": '"1"',
    "Date": STAMP,
    "Last-Modified": STAMP,
    "Retry-After": "1",
    "Content-Range": "bytes 0-3/4",
    "Content-Type": "application/xml",
    "Content-MD5": "jXd/OF09/siBXSD3SWAm3A==",
    "Location": "http://127.0.0.1:1/x",
    "Range": "bytes=0-3",
    "x-amz-bucket-region": "us-east-1",
    "x-amz-checksum-sha256": "AAAA",
    "x-ms-request-id": "1",
    "x-ms-error-code": "BlobNotFound",
    "x-ms-copy-status": "success",
    "X-Goog-Generation": "1",
    "Content-Encoding": "gzip",
    "Set-Cookie": "a=b",
    "Transfer-Encoding": "chunked",
}
STRANGE = (101, 102, 199, 201, 202, 204, 206, 299, 301, 304, 307, 308, 400, 403, 404, 408, 409, 412, 416, 429, 500, 503)
STATUSES = st.sampled_from([200] * 8 + [*STRANGE, 600, 999])
LISTING = (
    "<ListBucketResult><IsTruncated>{0}</IsTruncated><Contents><Key>a</Key><Size>{1}</Size><ETag>x</ETag>"
    "<LastModified>{2}</LastModified></Contents></ListBucketResult>"
)
UPLOADS = (
    "<ListMultipartUploadsResult><Upload><Key>{0}</Key><UploadId>{1}</UploadId><Initiated>{2}</Initiated></Upload>"
    "</ListMultipartUploadsResult>"
)
BLOBS = (
    "<EnumerationResults><Blobs><Blob><Name>a</Name><Properties><Content-Length>{0}</Content-Length><Etag>{1}</Etag>"
    "<Last-Modified>{2}</Last-Modified></Properties></Blob><BlobPrefix/></Blobs></EnumerationResults>"
)
BODIES = st.sampled_from(
    [
        "data",
        "<Error><Code>{0}</Code><Message>{1}</Message></Error>",
        "<Error><Code><a/></Code><Message/></Error>",
        LISTING,
        "<ListBucketResult><IsTruncated>true</IsTruncated><CommonPrefixes/><Contents/></ListBucketResult>",
        UPLOADS,
        "<InitiateMultipartUploadResult><UploadId>{0}</UploadId></InitiateMultipartUploadResult>",
        "<CompleteMultipartUploadResult><ETag>{0}</ETag></CompleteMultipartUploadResult>",
        "<DeleteResult><Error><Code>{0}</Code><Key>{1}</Key></Error></DeleteResult>",
        BLOBS,
        '<!DOCTYPE a [<!ENTITY b "bb"><!ENTITY c "&b;&b;">]><a>&c;</a>',
        "<a>" * 5000,
        '{{"name": "a", "size": "{0}", "generation": "{1}", "updated": "{2}"}}',
        '{{"name": 1, "size": [], "generation": {{}}, "updated": 1, "md5Hash": 3}}',
        '{{"size": 1e999, "generation": 1, "updated": "2026-11-27T02:08:35Z", "crc32c": "{0}"}}',
        '{{"items": [{{"name": "a", "size": "{0}", "generation": "1", "updated": "{1}"}}], "nextPageToken": 5}}',
        '{{"items": {{"a": 1}}, "prefixes": [1, {{}}]}}',
        '{{"items": 1}}',
        '{{"error": {{"errors": {{"a": 1}}, "message": "{0}"}}}}',
        '{{"error": {{"errors": [1], "message": ["{0}"]}}}}',
        '{{"error": [], "done": true, "resource": []}}',
        "[" * 20_000,
    ]
)


@st.composite
def answers(draw: st.DrawFn) -> bytes:
    """Responses of a store with odd values, or arbitrary bytes."""
    if draw(st.integers(0, 9)) == 0:
        return draw(st.binary(max_size=200))
    names = draw(st.lists(st.sampled_from(sorted(HEADERS)), unique=True, max_size=8))
    odd = set(draw(st.lists(st.sampled_from(sorted(HEADERS)), max_size=2)))
    headers = {name: draw(ODD) if name in odd else HEADERS[name] for name in names}
    if draw(st.booleans()):
        headers = {**HEADERS, **{name: draw(ODD) for name in odd}}
        for name in ("Content-Encoding", "Transfer-Encoding", "Location"):
            headers.pop(name)
    if draw(st.integers(0, 9)) == 0:
        headers["Content-Length"] = draw(ODD)
    body = draw(BODIES).format(draw(ODD), draw(ODD), draw(ODD)) if draw(st.integers(0, 4)) else draw(st.text())
    return http(draw(STATUSES), headers, body.encode("utf-8", "surrogateescape"))


@pytest.mark.once
@pytest.mark.parametrize("kind", KINDS)
def test_any_response_ends_in_a_result_or_an_error_of_this_package(kind: str) -> None:
    """For more examples: `pytest --hypothesis-profile=thorough`."""
    attempts = attempts_of(kind)
    said = [b""]

    async def copied(driver: Driver) -> object:
        return await driver.copy(driver, ObjectInfo("key", 4, Revision("1"), MOMENT), "copy")

    async def try_all(answer: bytes) -> None:
        said[0] = answer
        for attempt in (*attempts.values(), copied):
            error = await outcome(attempt, driver)
            assert error is None or str(error).isprintable()

    with asyncio.Runner() as runner:
        stack = contextlib.AsyncExitStack()

        async def begin() -> Driver:
            store = await stack.enter_async_context(Server(lambda _: said[0]).running())
            opened: Driver = await stack.enter_async_context(driver_of(kind, store.url))
            return opened

        driver = runner.run(begin())

        @settings()
        @given(answers())
        def check(answer: bytes) -> None:
            runner.run(asyncio.wait_for(try_all(answer), 30))

        try:
            check()
        finally:
            runner.run(stack.aclose())
