"""Something else than the store answers, such as a proxy's page to sign in at, and says that all is well."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web

from aioassets import AzureDriver, Dispatcher, Driver, GCSDriver, S3Driver, StoreError
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


@pytest.fixture
async def address() -> AsyncIterator[str]:
    """Where a page is given to whatever is asked."""

    async def page(request: web.Request) -> web.Response:
        await request.read()
        return web.Response(text="<html><p>Please sign in.</html>", content_type="text/html")

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
async def test_an_answer_that_is_not_the_stores_is_told(address: str, kind: str, attempt: str) -> None:
    """What is said of it differs: the SDK of S3 takes some such pages for failures of the store."""
    async with MAKE[kind](address, Dispatcher(retry=NO_RETRY)) as driver:
        with pytest.raises(StoreError, match="://models"):
            await ATTEMPTS[attempt](driver)
