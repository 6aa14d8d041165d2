"""Successful responses that aren't the store's, or are unreadable: another server, or a broken store."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, Final

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from aioassets import AzureDriver, Dispatcher, Driver, GCSDriver, S3Driver, StoreError
from aioassets.drivers.gcs.values import info_of, parse_page
from aioassets.drivers.protocol import Expect
from aioassets.runtime.retry import NO_RETRY
from aioassets.testing import BytesSource

KEY = "c2VjcmV0"
MAKE: dict[str, Callable[[str, Dispatcher], Any]] = {
    "s3": lambda url, dispatcher: S3Driver(
        "models",
        endpoint_url=url,
        region="us-east-1",
        access_key_id="key",
        secret_access_key=KEY,
        addressing_style="path",
        dispatcher=dispatcher,
    ),
    "gcs": lambda url, dispatcher: GCSDriver("models", api_root=url, dispatcher=dispatcher),
    "azure": lambda url, dispatcher: AzureDriver(
        "models", account_url=f"{url}/account", account_key=KEY, dispatcher=dispatcher
    ),
}
LARGE = bytes(9 * 1024 * 1024)

ATTEMPTS: dict[str, Callable[[Driver], Awaitable[Any]]] = {
    "read": lambda driver: driver.read("key"),
    "stat": lambda driver: driver.stat("key"),
    "write": lambda driver: driver.write("key", b"data", expected=Expect.ABSENT),
    "upload": lambda driver: driver.upload("key", BytesSource(b"data")),
    "upload in parts": lambda driver: driver.upload("key", BytesSource(LARGE), expected=Expect.ANYTHING),
    "list": lambda driver: anext(aiter(driver.list(""))),
    "read a range": lambda driver: anext(driver.read_range("key", 0, 1)),
}


PAGE: Final = "<html><p>Please sign in.</html>"
OBJECT: Final[dict[str, Any]] = {"name": "a", "size": "1", "generation": "1", "timeCreated": "2026-01-01T00:00:00Z"}
DAY: Final = "Thu, 01 Jan 2026 00:00:00 GMT"
LISTINGS: Final[dict[str, Sequence[str]]] = {
    "gcs": [
        "[" * 100_000,
        '{"items": {"a": 1}}',
        '{"items": "abc"}',
        '{"items": [null]}',
        '{"prefixes": [1]}',
        '{"prefixes": "abc"}',
        '{"nextPageToken": ["a"]}',
        '{"nextPageToken": "for ever"}',
        *(  # type: ignore[var-annotated]
            json.dumps({"items": [OBJECT | wrong]})
            for wrong in (
                {"name": None},
                {"name": 1},
                {"name": "\ud800"},
                {"size": "-1"},
                {"size": "1e3"},
                {"size": "9" * 5000},
                {"size": "²"},
                {"size": 1.5},
                {"size": True},
                {"size": ["1"]},
                {"generation": None},
                {"generation": {}},
                {"timeCreated": None},
                {"timeCreated": 0},
                {"timeCreated": "yesterday"},
                {"timeCreated": "0001-01-01T00:00:00+14:00"},
                {"crc32c": "?"},
                {"md5Hash": 1},
            )
        ),
    ],
    "s3": [
        f"<ListBucketResult>{content}</ListBucketResult>"
        for content in (
            "<Contents/>",
            "<Contents><Key>a</Key><Size>1</Size></Contents>",
            "<Contents><Key>a</Key><LastModified>2026-01-01T00:00:00Z</LastModified></Contents>",
            "<Contents><Size>1</Size><LastModified>2026-01-01T00:00:00Z</LastModified></Contents>",
            "<Contents><Key>a</Key><Size>x</Size><LastModified>2026-01-01T00:00:00Z</LastModified></Contents>",
            "<Contents><Key>a</Key><Size>1</Size><LastModified>yesterday</LastModified></Contents>",
            "<IsTruncated>true</IsTruncated>",
            "<IsTruncated>true</IsTruncated><NextContinuationToken>for ever</NextContinuationToken>",
        )
    ],
    "azure": [
        f"<EnumerationResults>{content}</EnumerationResults>"
        for content in (
            "<Blobs><Blob/></Blobs>",
            "<Blobs><BlobPrefix/></Blobs>",
            "<Blobs><Blob><Name>a</Name></Blob></Blobs>",
            *(
                f"<Blobs><Blob><Name>a</Name><Properties>{fields}</Properties></Blob></Blobs>"
                for fields in (
                    f"<Last-Modified>{DAY}</Last-Modified><Content-Length>1</Content-Length>",
                    f"<Last-Modified>{DAY}</Last-Modified><Etag>1</Etag>",
                    "<Content-Length>1</Content-Length><Etag>1</Etag>",
                    f"<Last-Modified>{DAY}</Last-Modified><Content-Length>x</Content-Length><Etag>1</Etag>",
                    "<Last-Modified>yesterday</Last-Modified><Content-Length>1</Content-Length><Etag>1</Etag>",
                )
            ),
            "<NextMarker>for ever</NextMarker>",
        )
    ],
}


@pytest.fixture
def body() -> str:
    """Return the response body. Tests override this fixture."""
    return PAGE


@pytest.fixture
async def address(body: str) -> AsyncIterator[str]:
    """Run a server that responds with this body to every request. Return its address."""

    async def page(request: web.Request) -> web.Response:
        await request.read()
        headers = {} if body is PAGE else {"x-ms-request-id": "1"}  # all responses of Azure have it
        return web.Response(text=body, content_type="text/html", headers=headers)

    app = web.Application(client_max_size=2**30)
    app.router.add_route("*", "/{path:.*}", page)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


@pytest.mark.parametrize("attempt", ATTEMPTS)
@pytest.mark.parametrize("kind", MAKE)
async def test_a_response_of_another_server_is_reported(address: str, kind: str, attempt: str) -> None:
    """Texts differ: the SDK of S3 takes some of these pages for failures of the store."""
    async with MAKE[kind](address, Dispatcher(retry=NO_RETRY)) as driver:
        with pytest.raises(StoreError, match="://models"):
            await ATTEMPTS[attempt](driver)


@pytest.mark.parametrize(("kind", "body"), [(kind, body) for kind, bodies in LISTINGS.items() for body in bodies])
async def test_an_unreadable_listing_is_one_error(address: str, kind: str) -> None:
    async with MAKE[kind](address, Dispatcher(retry=NO_RETRY)) as driver:
        with pytest.raises(StoreError, match="models"):
            _ = [row async for row in driver.list("")]


@pytest.mark.parametrize("body", ["{}"])
async def test_an_unreadable_description_is_one_error(address: str) -> None:
    """A response of Azure without the headers that describe a blob."""
    async with MAKE["azure"](address, Dispatcher(retry=NO_RETRY)) as driver:
        with pytest.raises(StoreError, match="is not in Azure's format"):
            await driver.stat("key")


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from([*OBJECT, "items", "prefixes"]), inner),
    )
)
def test_any_json_is_an_object_or_a_value_error(value: Any) -> None:
    """The same holds for pages of listings."""
    for parse, found in ((info_of, value), (parse_page, {"items": value}), (parse_page, {"prefixes": value})):
        with contextlib.suppress(ValueError):
            parse(found)
