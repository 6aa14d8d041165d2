"""Tests of the Azure driver: the protocol, errors, lost responses, blocks and copies."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import aiohttp
import anyio
import pytest
from anyio.lowlevel import checkpoint
from azure.core.exceptions import ServiceRequestError
from azure.storage.blob import ContainerSasPermissions, generate_container_sas
from azure.storage.blob.aio import ContainerClient
from multidict import CIMultiDict
from tools.relay import Relay, Truncate
from tools.servers import AZURITE_ACCOUNT, AZURITE_KEY, AzureServer, free_ports

from aioassets.drivers import Location, make_driver
from aioassets.drivers.azure.blocks import MAX_BLOCKS, block_id, fitting_block_size
from aioassets.drivers.azure.client import AzureClient
from aioassets.drivers.azure.driver import MAX_PART_SIZE, AzureDriver
from aioassets.drivers.azure.errors import service_error_of, translate
from aioassets.drivers.azure.values import Account, parse_listing
from aioassets.drivers.bodies import MIB
from aioassets.drivers.http.responses import SDKResponse
from aioassets.drivers.memory import MemoryDriver
from aioassets.drivers.protocol import CommonPrefix, Expect, ObjectInfo
from aioassets.drivers.service_errors import Request, ServiceErrorRaised
from aioassets.errors import (
    AccessDenied,
    BucketNotFound,
    InvalidSetting,
    MissingCredentials,
    NotSameStore,
    ObjectNotFound,
    PreconditionFailed,
    StoreError,
    StoreUnavailable,
    StoreUnsuitable,
)
from aioassets.runtime.budget import Budget
from aioassets.runtime.dispatch import Dispatcher
from aioassets.runtime.retry import NO_RETRY, RetryPolicy
from aioassets.settings import Settings
from aioassets.testing import BytesSource, DriverConformance

servers = pytest.mark.servers
TWO_BLOCKS = bytes(MIB + 1)

Send = Callable[[], Awaitable[Any]]
Around = Callable[[str, str, Send], Awaitable[Any]]
"""A function of the method, the URL and the sending of a request; returns the response."""
Intercept = Callable[[Around], None]


@pytest.fixture
def container(azurite: AzureServer) -> str:
    return azurite.fresh_container()


@pytest.fixture
def pauses() -> list[float]:
    """Return the pauses of retries, which take no time."""
    return []


@pytest.fixture
def dispatcher(pauses: list[float]) -> Dispatcher:
    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    return Dispatcher(retry=RetryPolicy(sleep=sleep))


@pytest.fixture
async def driver(azurite: AzureServer, container: str, dispatcher: Dispatcher) -> AsyncIterator[AzureDriver]:
    async with AzureDriver(container, part_size=MIB, dispatcher=dispatcher, **azurite.options) as driver:
        yield driver


@pytest.fixture
def intercept(monkeypatch: pytest.MonkeyPatch) -> Intercept:
    """Return a function that wraps all requests in another one."""

    def install(around: Around) -> None:
        real = AzureClient._send  # noqa: SLF001 - the one method that sends all requests

        async def send(self: AzureClient, method: str, key: str, query: Mapping[str, str], *rest: Any) -> Any:
            url = f"/{key}?{urlencode(query)}" if query else f"/{key}"
            return await around(method, url, lambda: real(self, method, key, query, *rest))

        monkeypatch.setattr(AzureClient, "_send", send)

    return install


def answer_of(status: int, body: bytes = b"", **headers: str) -> SDKResponse:
    """Return a simulated response."""

    async def pieces() -> AsyncIterator[bytes]:
        yield body

    fields = CIMultiDict({name.replace("_", "-"): value for name, value in headers.items()})
    return SDKResponse(status, fields, pieces(), checkpoint)


def first(concerned: Callable[[str, str], bool], instead: Around) -> Around:
    """Handle the first request of a kind in another way."""
    done = False

    async def around(method: str, url: str, send: Send) -> Any:
        nonlocal done
        if done or not concerned(method, url):
            return await send()
        done = True
        return await instead(method, url, send)

    return around


def writes(method: str, url: str) -> bool:
    return method == "PUT" and "?" not in url


def commits(method: str, url: str) -> bool:
    return method == "PUT" and "comp=blocklist" in url


async def lost(_method: str, _url: str, send: Send) -> Any:
    """Lose the response of a request that takes effect."""
    await (await send()).content(MIB, None)
    raise broken()


def broken() -> ServiceRequestError:
    """Return the error of the SDK for a connection that breaks during a request."""
    error = aiohttp.ServerDisconnectedError()
    return ServiceRequestError(error, error=error)


def refused(code: str, status: int, **headers: str) -> Around:
    async def around(_method: str, _url: str, _send: Send) -> Any:
        body = b"<Error><Message>Said by the store.\nRequestId:1</Message></Error>"
        return answer_of(status, body, x_ms_error_code=code, **headers)

    return around


@servers
class TestAzureDriver(DriverConformance):
    part_size = MIB
    presigns = True


@servers
class TestErrors:
    async def test_a_wrong_key_is_access_denied(self, azurite: AzureServer, container: str) -> None:
        options: dict[str, Any] = {"account_url": azurite.account_url, "account_key": "bm90LXRoZS1vbmU="}
        async with AzureDriver(container, part_size=MIB, **options) as driver:
            for attempt in attempts(driver):
                with pytest.raises(AccessDenied, match=f"^Cannot .* in az://{container}: ") as caught:
                    await attempt
                assert "bm90LXRoZS1vbmU" not in str(caught.value)
                assert isinstance(caught.value.__cause__, ServiceErrorRaised)

    async def test_an_invalid_account_key_is_missing_credentials(self, azurite: AzureServer, container: str) -> None:
        async with AzureDriver(container, account_url=azurite.account_url, account_key="abc") as driver:
            with pytest.raises(MissingCredentials, match="Check the key"):
                await driver.read("key")

    async def test_a_missing_container_is_bucket_not_found(self, azurite: AzureServer) -> None:
        async with AzureDriver("not-there", part_size=MIB, **azurite.options) as driver:
            for attempt in attempts(driver):
                with pytest.raises(BucketNotFound, match="az://not-there doesn't exist"):
                    await attempt

    async def test_an_unreachable_server_is_unavailable(self) -> None:
        url = f"http://127.0.0.1:{free_ports(1)[0]}/{AZURITE_ACCOUNT}"
        driver = AzureDriver("models", account_url=url, account_key=AZURITE_KEY, dispatcher=Dispatcher(retry=NO_RETRY))
        async with driver:
            with pytest.raises(StoreUnavailable, match="refused the connection") as caught:
                await driver.write("key", b"", expected=Expect.ABSENT)
        assert not caught.value.uncertain

    async def test_a_token_over_plain_http_is_refused(self, azurite: AzureServer, container: str) -> None:
        pytest.importorskip("azure.identity")
        async with AzureDriver(container, account_url=azurite.account_url) as driver:
            with pytest.raises(InvalidSetting, match="HTTPS"):
                await driver.read("key")

    async def test_a_page_in_place_of_a_listing_is_an_error(self, driver: AzureDriver, intercept: Intercept) -> None:
        async def page(_method: str, _url: str, _send: Send) -> Any:
            return answer_of(200, b"<html><p>Please sign in.</html>", x_ms_request_id="1")

        intercept(page)
        with pytest.raises(StoreError, match=r"Cannot list in .* not in Azure's format\. Check the account's URL"):
            await anext(aiter(driver.list("")))

    async def test_a_throttled_write_waits_as_long_as_the_store_asks(
        self, driver: AzureDriver, intercept: Intercept, pauses: list[float]
    ) -> None:
        intercept(first(writes, refused("ServerBusy", 503, retry_after="7")))
        await driver.write("key", b"data", expected=Expect.ABSENT)
        assert pauses == [7.0]

    async def test_the_store_refuses_damaged_content(
        self, driver: AzureDriver, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("aioassets.drivers.azure.blobs.md5_of", lambda _: "XUFAKrxLKna5cZ2REBfFkg==")
        with pytest.raises(StoreError, match="Cannot write"):  # Azurite's word for it varies
            await driver.upload("blob", BytesSource(b"other"))
        with pytest.raises(ObjectNotFound):
            await driver.stat("blob")


def attempts(driver: AzureDriver) -> tuple[Awaitable[Any], ...]:
    """Return one call for every kind of request."""
    return (
        driver.read("key"),
        driver.stat("key"),
        driver.write("key", b"", expected=Expect.ABSENT),
        driver.upload("key", BytesSource(b"small")),
        driver.upload("key", BytesSource(TWO_BLOCKS)),
        driver.delete(["key"]),
        anext(aiter(driver.list(""))),
        anext(driver.read_range("key", 0, 1)),
    )


@servers
class TestLostResponses:
    async def test_an_upload_succeeds_after_a_lost_response(self, driver: AzureDriver, intercept: Intercept) -> None:
        intercept(first(writes, lost))
        await driver.upload("blob", BytesSource(b"data"))
        assert (await driver.read("blob")).data == b"data"

    @pytest.mark.parametrize("expected", [Expect.ABSENT, Expect.ANYTHING])
    async def test_a_commit_succeeds_after_a_lost_response(
        self, driver: AzureDriver, intercept: Intercept, expected: Expect
    ) -> None:
        intercept(first(commits, lost))
        await driver.upload("blob", BytesSource(TWO_BLOCKS), expected=expected)
        assert (await driver.stat("blob")).size == len(TWO_BLOCKS)

    async def test_creating_a_document_is_refused_after_a_lost_response(
        self, driver: AzureDriver, intercept: Intercept
    ) -> None:
        """Only the caller knows its own documents."""
        intercept(first(writes, lost))
        with pytest.raises(PreconditionFailed):
            await driver.write("key", b"mine", expected=Expect.ABSENT)
        assert (await driver.read("key")).data == b"mine"

    async def test_failed_blocks_are_not_uncertain(self, driver: AzureDriver, intercept: Intercept) -> None:
        """Blocks alone never become an object."""

        async def around(method: str, url: str, send: Send) -> Any:
            if "comp=block&" in url:
                raise broken()
            return await send()

        intercept(around)
        with pytest.raises(StoreUnavailable) as caught:
            await driver.upload("blob", BytesSource(TWO_BLOCKS))
        assert not caught.value.uncertain

    async def test_a_failed_commit_is_uncertain(self, driver: AzureDriver, intercept: Intercept) -> None:
        async def around(method: str, url: str, send: Send) -> Any:
            if commits(method, url):
                raise broken()
            return await send()

        intercept(around)
        with pytest.raises(StoreUnavailable) as caught:
            await driver.upload("blob", BytesSource(TWO_BLOCKS))
        assert caught.value.uncertain

    async def test_discarded_blocks_are_sent_again(self, driver: AzureDriver, intercept: Intercept) -> None:
        intercept(first(commits, refused("InvalidBlockList", 400)))
        assert (await driver.upload("blob", BytesSource(TWO_BLOCKS))).created
        assert (await driver.stat("blob")).size == len(TWO_BLOCKS)

    async def test_an_upload_fails_after_its_blocks_were_discarded_three_times(
        self, driver: AzureDriver, intercept: Intercept
    ) -> None:
        async def around(method: str, url: str, send: Send) -> Any:
            return await (refused("InvalidBlockList", 400)(method, url, send) if commits(method, url) else send())

        intercept(around)
        with pytest.raises(StoreUnavailable, match="/blob is unavailable: it dropped the upload 3 times"):
            await driver.upload("blob", BytesSource(TWO_BLOCKS))

    async def test_a_broken_download_resumes_at_the_same_revision(
        self, azurite: AzureServer, container: str, driver: AzureDriver
    ) -> None:
        data = bytes(range(256)) * (3 * MIB // 256)
        await driver.upload("blob", BytesSource(data))
        revision = (await driver.stat("blob")).revision
        async with Relay(azurite.account_url) as relay:
            relay.inject(Truncate(2 * MIB + 4096), method="GET")
            async with (
                AzureDriver(container, **relay.through(azurite.options)) as reader,
                contextlib.aclosing(reader.read_range("blob", 0, len(data))) as chunks,
            ):
                assert b"".join([chunk async for chunk in chunks]) == data
            asked = [(each.headers["x-ms-range"], each.headers.get("if-match")) for each in relay.exchanges]
        assert asked == [(f"bytes=0-{3 * MIB - 1}", None), (f"bytes={2 * MIB + 4096}-{3 * MIB - 1}", f'"{revision}"')]


@servers
class TestBlocks:
    async def test_blocks_in_memory_stay_within_the_budget(
        self, azurite: AzureServer, container: str, monkeypatch: pytest.MonkeyPatch, intercept: Intercept
    ) -> None:
        source = BytesSource(bytes(6 * MIB))
        held = most = sent = 0

        async def read(offset: int, size: int) -> bytes:
            nonlocal held, most
            held += size
            most = max(most, held)
            return await BytesSource.read(source, offset, size)

        async def around(method: str, url: str, send: Send) -> Any:
            nonlocal held, sent
            answer = await send()
            if "comp=block&" in url:
                held -= MIB
                sent += 1
            return answer

        monkeypatch.setattr(source, "read", read)
        intercept(around)
        dispatcher = Dispatcher(Budget(nbytes=2 * MIB))
        async with AzureDriver(container, part_size=MIB, dispatcher=dispatcher, **azurite.options) as driver:
            await driver.upload("blob", source)
        assert sent == 6
        assert most == 2 * MIB

    async def test_no_blocks_are_sent_for_an_existing_blob(self, driver: AzureDriver, intercept: Intercept) -> None:
        await driver.upload("blob", BytesSource(TWO_BLOCKS))

        async def around(method: str, url: str, send: Send) -> Any:
            assert method != "PUT"
            return await send()

        intercept(around)
        assert not (await driver.upload("blob", BytesSource(TWO_BLOCKS))).created

    @pytest.mark.parametrize("content", [b"data", TWO_BLOCKS])
    async def test_stat_returns_the_md5(self, driver: AzureDriver, content: bytes) -> None:
        await driver.upload("blob", BytesSource(content))
        assert (await driver.stat("blob")).checksums == {"md5": hashlib.md5(content).hexdigest()}

    async def test_a_blob_without_an_md5_is_compared_byte_by_byte(
        self, driver: AzureDriver, azurite: AzureServer, container: str
    ) -> None:
        async with ContainerClient.from_connection_string(
            azurite.options["connection_string"], container, max_single_put_size=1, max_block_size=MIB
        ) as theirs:
            await theirs.upload_blob("blob", TWO_BLOCKS)
        assert (await driver.stat("blob")).checksums == {}
        assert not (await driver.upload("blob", BytesSource(TWO_BLOCKS))).created
        with pytest.raises(PreconditionFailed):
            await driver.upload("blob", BytesSource(TWO_BLOCKS[:-1] + b"!"))

    async def test_blocks_of_another_client_are_kept(
        self, driver: AzureDriver, azurite: AzureServer, container: str
    ) -> None:
        """Azure refuses blocks with ids of another length."""
        with azurite.client(container) as client:
            blob = client.get_blob_client("blob")
            await asyncio.to_thread(blob.stage_block, "theirs", b"data")
            with pytest.raises(PreconditionFailed):
                await driver.upload("blob", BytesSource(TWO_BLOCKS))
            _, uncommitted = await asyncio.to_thread(blob.get_block_list, "uncommitted")
        assert [block.id for block in uncommitted] == ["theirs"]


BLOB = b"".join(bytes([n]) * MIB for n in (0, 1, 2)) + b"the end"
BLOCKS = [BLOB[start : start + MIB] for start in range(0, len(BLOB), MIB)]


@pytest.fixture
def sent(intercept: Intercept) -> list[int]:
    """Return the numbers of the blocks that are sent."""
    numbers: list[int] = []

    async def around(method: str, url: str, send: Send) -> Any:
        if "comp=block&" in url:
            (encoded,) = parse_qs(urlsplit(url).query)["blockid"]
            numbers.append(int(base64.b64decode(encoded)[32:]))
        return await send()

    intercept(around)
    return numbers


@servers
class TestResume:
    @pytest.fixture
    async def left(self, azurite: AzureServer, container: str) -> AsyncIterator[Callable[[int, bytes], None]]:
        """Return a function that leaves a block as a killed upload would."""
        with azurite.client(container) as client:
            blob = client.get_blob_client("blob")

            def stage(number: int, data: bytes) -> None:
                blob.stage_block(base64.b64decode(block_id(hashlib.md5(data).digest(), number)).decode(), data)

            yield stage

    async def test_resuming_skips_blocks_that_were_sent(
        self, driver: AzureDriver, left: Callable[[int, bytes], None], sent: list[int]
    ) -> None:
        for number, data in ((3, BLOCKS[3]), (0, BLOCKS[0]), (1, BLOCKS[0]), (2, BLOCKS[0])):
            await asyncio.to_thread(left, number, data)
        source = BytesSource(BLOB)
        assert (await driver.upload("blob", source, resume=True)).created
        assert sorted(sent) == [1, 2]
        assert source.digests == {"sha256": hashlib.sha256(BLOB).hexdigest()}
        assert (await driver.read("blob")).data == BLOB
        assert (await driver.stat("blob")).checksums == {"md5": hashlib.md5(BLOB).hexdigest()}

    async def test_all_blocks_are_sent_unless_resuming(
        self, driver: AzureDriver, left: Callable[[int, bytes], None], sent: list[int]
    ) -> None:
        await asyncio.to_thread(left, 0, BLOCKS[0])
        await driver.upload("blob", BytesSource(BLOB))
        assert sorted(sent) == [0, 1, 2, 3]

    async def test_resuming_sends_discarded_blocks_again(
        self, driver: AzureDriver, left: Callable[[int, bytes], None], intercept: Intercept, sent: list[int]
    ) -> None:
        await asyncio.to_thread(left, 0, BLOCKS[0])
        intercept(first(commits, refused("InvalidBlockList", 400)))
        assert (await driver.upload("blob", BytesSource(BLOB), resume=True)).created
        assert sorted(sent) == [0, 1, 1, 2, 2, 3, 3]
        assert (await driver.read("blob")).data == BLOB

    async def test_all_blocks_are_sent_if_listing_them_is_denied(
        self, driver: AzureDriver, left: Callable[[int, bytes], None], intercept: Intercept, sent: list[int]
    ) -> None:
        await asyncio.to_thread(left, 0, BLOCKS[0])

        async def around(method: str, url: str, send: Send) -> Any:
            refuse = refused("AuthorizationPermissionMismatch", 403)
            return await (refuse(method, url, send) if "blocklisttype" in url else send())

        intercept(around)
        assert (await driver.upload("blob", BytesSource(BLOB), resume=True)).created
        assert sorted(sent) == [0, 1, 2, 3]


@servers
class TestCopies:
    @pytest.fixture
    async def info(self, driver: AzureDriver) -> ObjectInfo:
        await driver.upload("source", BytesSource(b"content"))
        return await driver.stat("source")

    async def test_copying_works_between_containers_of_one_account(
        self, driver: AzureDriver, info: ObjectInfo, azurite: AzureServer
    ) -> None:
        async with AzureDriver(azurite.fresh_container(), **azurite.options) as other:
            copy = await other.copy(driver, info, "copy")
            assert copy.checksums == info.checksums
            assert (await other.read("copy")).data == b"content"

    async def test_copying_between_stores_is_refused(self, driver: AzureDriver, info: ObjectInfo) -> None:
        elsewhere = AzureDriver("models", account_name="elsewhere", account_key=AZURITE_KEY)
        for source in (MemoryDriver(), elsewhere):
            with pytest.raises(NotSameStore):
                await driver.copy(source, info, "copy")
        await elsewhere.aclose()

    async def test_copying_is_refused_if_the_store_cannot_read_the_source(
        self, driver: AzureDriver, info: ObjectInfo, intercept: Intercept
    ) -> None:
        intercept(first(writes, refused("CannotVerifyCopySource", 403)))
        with pytest.raises(NotSameStore):
            await driver.copy(driver, info, "copy")

    async def test_a_copy_succeeds_after_a_lost_response(
        self, driver: AzureDriver, info: ObjectInfo, intercept: Intercept
    ) -> None:
        intercept(first(writes, lost))
        assert (await driver.copy(driver, info, "copy")).checksums == info.checksums

    async def test_copying_waits_for_a_slow_copy(
        self, driver: AzureDriver, info: ObjectInfo, intercept: Intercept, pauses: list[float]
    ) -> None:
        intercept(pending(looks=3))
        assert (await driver.copy(driver, info, "copy")).size == info.size
        assert pauses == [0.1, 0.2, 0.4]

    async def test_a_copy_without_progress_is_abandoned(
        self, driver: AzureDriver, info: ObjectInfo, intercept: Intercept, pauses: list[float]
    ) -> None:
        intercept(pending(looks=1000))
        with pytest.raises(StoreUnavailable, match="made no progress for 120 seconds") as caught:
            await driver.copy(driver, info, "copy")
        assert 120 <= sum(pauses) < 130
        assert caught.value.uncertain
        assert [row.key async for row in driver.list("") if isinstance(row, ObjectInfo)] == ["source"]

    async def test_the_copy_of_another_client_is_kept(
        self, driver: AzureDriver, info: ObjectInfo, intercept: Intercept
    ) -> None:
        await driver.upload("copy", BytesSource(b"theirs!"))
        intercept(pending(looks=1, then="failed"))
        with pytest.raises(PreconditionFailed):
            await driver.copy(driver, info, "copy")
        assert (await driver.read("copy")).data == b"theirs!"

    async def test_a_failed_copy_leaves_nothing(
        self, driver: AzureDriver, info: ObjectInfo, intercept: Intercept
    ) -> None:
        intercept(pending(looks=1, then="failed"))
        with pytest.raises(StoreUnavailable, match="the copy to 'copy' failed: 500 InternalServerError"):
            await driver.copy(driver, info, "copy")
        assert [row.key async for row in driver.list("") if isinstance(row, ObjectInfo)] == ["source"]

    async def test_a_cancelled_copy_leaves_nothing(
        self, azurite: AzureServer, container: str, driver: AzureDriver, info: ObjectInfo, intercept: Intercept
    ) -> None:
        waiting = anyio.Event()

        async def sleep(_: float) -> None:
            waiting.set()
            await anyio.sleep_forever()

        dispatcher = Dispatcher(retry=RetryPolicy(sleep=sleep))
        intercept(pending(looks=1000))
        async with AzureDriver(container, dispatcher=dispatcher, **azurite.options) as copying:
            task = asyncio.create_task(copying.copy(driver, info, "copy"))
            await waiting.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert [row.key async for row in driver.list("") if isinstance(row, ObjectInfo)] == ["source"]


def pending(*, looks: int, then: str = "success") -> Around:
    """Simulate a copy that is pending for a number of checks."""
    left = looks

    async def around(method: str, url: str, send: Send) -> Any:
        nonlocal left
        if "comp=copy" in url:
            return answer_of(409, x_ms_error_code="NoPendingCopyOperation")
        answer = await send()
        if writes(method, url) and answer.status == 202:
            answer.headers["x-ms-copy-status"] = "pending"
        if method == "HEAD" and url.endswith("/copy") and answer.status == 200:
            left -= 1
            answer.headers["x-ms-copy-status"] = "pending" if left >= 0 else then
            answer.headers["x-ms-copy-status-description"] = "500 InternalServerError"
            answer.headers["x-ms-copy-id"] = "some-id"
        return answer

    return around


@servers
class TestTheClient:
    async def test_a_given_client_is_not_closed(self, azurite: AzureServer, container: str) -> None:
        async with ContainerClient.from_connection_string(
            azurite.options["connection_string"], container, retry_total=0
        ) as client:
            for _ in range(2):
                async with AzureDriver(container, client=client) as guest:
                    assert guest.identity == f"az://{container}@{azurite.account_url}/{container}"
                    await guest.write("key", b"data", expected=Expect.ANYTHING)

    async def test_documents_are_written_with_no_store(
        self, driver: AzureDriver, azurite: AzureServer, container: str
    ) -> None:
        await driver.write("key", b"data", expected=Expect.ABSENT)
        with azurite.client(container) as client:
            properties = await asyncio.to_thread(client.get_blob_client("key").get_blob_properties)
        assert properties.content_settings.cache_control == "no-store"

    async def test_a_shared_access_signature_suffices(self, azurite: AzureServer, container: str) -> None:
        """The URL of the source of a copy contains it as well."""
        sas = generate_container_sas(
            AZURITE_ACCOUNT,
            container,
            account_key=AZURITE_KEY,
            permission=ContainerSasPermissions(read=True, write=True, list=True, delete=True),
            expiry=datetime.now(UTC) + timedelta(hours=1),
        )
        each: tuple[dict[str, Any], ...] = (
            {"account_url": azurite.account_url, "sas_token": sas},
            {"account_url": f"{azurite.account_url}?{sas}"},
            {"connection_string": f"BlobEndpoint={azurite.account_url};SharedAccessSignature={sas}"},
        )
        for options in each:
            async with AzureDriver(container, part_size=MIB, **options) as driver:
                assert "sig=" not in driver.identity + driver.url
                await driver.upload("blob", BytesSource(TWO_BLOCKS))
                await driver.copy(driver, await driver.stat("blob"), "folder/copy of it")
                keys = [row.key async for row in driver.list("") if isinstance(row, ObjectInfo)]
                assert keys == ["blob", "folder/copy of it"]
                await driver.delete(keys)

    async def test_a_read_only_signature_is_access_denied_on_writes(self, azurite: AzureServer, container: str) -> None:
        sas = generate_container_sas(
            AZURITE_ACCOUNT,
            container,
            account_key=AZURITE_KEY,
            permission=ContainerSasPermissions(read=True, list=True),
            expiry=datetime.now(UTC) + timedelta(hours=1),
        )
        async with AzureDriver(container, account_url=azurite.account_url, sas_token=sas) as driver:
            assert [row async for row in driver.list("")] == []
            with pytest.raises(AccessDenied, match="Cannot write 'key' in") as caught:
                await driver.write("key", b"", expected=Expect.ABSENT)
            assert "sig=" not in str(caught.value)

    async def test_folder_markers_are_not_listed(
        self, driver: AzureDriver, azurite: AzureServer, container: str
    ) -> None:
        with azurite.client(container) as client:
            mark = client.get_blob_client("folder")
            await asyncio.to_thread(mark.upload_blob, b"", metadata={"hdi_isfolder": "true"})
        await driver.write("folder/key", b"", expected=Expect.ABSENT)
        assert [row.key async for row in driver.list("") if isinstance(row, ObjectInfo)] == ["folder/key"]


class TestWithoutAServer:
    async def test_a_missing_extra_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "azure.storage.blob.aio", None)
        with pytest.raises(InvalidSetting, match=r"pip install 'aioassets\[azure\]'"):
            await AzureDriver("models", account_name="account").read("key")

    async def test_missing_credentials_name_the_options(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "azure.identity.aio", None)
        with pytest.raises(MissingCredentials, match="install azure-identity"):
            await AzureDriver("models", account_name="account").read("key")

    def test_the_sdk_is_imported_lazily(self) -> None:
        code = "import sys, aioassets.drivers.azure; sys.exit('azure.core' in sys.modules)"
        assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

    def test_the_identity_distinguishes_accounts(self) -> None:
        driver = AzureDriver("models", account_name="one")
        assert driver.url == "az://models"
        assert driver.identity == "az://models@https://one.blob.core.windows.net"

    @pytest.mark.parametrize(
        "options",
        [
            {},
            {"container": "", "account_name": "one"},
            {"account_name": "one", "part_size": 0},
            {"account_name": "one", "part_size": MAX_PART_SIZE + 1},
            {"account_url": "one.blob.core.windows.net?sig=secret"},
            {"connection_string": "secret"},
            {"account_name": "one", "sas_token": "sig=secret\nx-ms-version: 1"},
        ],
    )
    def test_invalid_settings_are_refused(self, options: dict[str, Any]) -> None:
        with pytest.raises(InvalidSetting) as caught:
            AzureDriver(**{"container": "models", **options})
        assert "secret" not in str(caught.value)

    async def test_an_unreadable_ca_bundle_is_named(self) -> None:
        async with AzureDriver("models", account_name="one", anonymous=True, ca_bundle="/not/there") as driver:
            with pytest.raises(InvalidSetting, match="/not/there"):
                await driver.read("key")

    async def test_closing_an_unopened_driver_does_nothing(self) -> None:
        await AzureDriver("models", account_name="one").aclose()

    @pytest.mark.parametrize(
        ("options", "expected"),
        [
            (
                {"connection_string": "AccountName=one;AccountKey=a2V5=="},
                Account("https://one.blob.core.windows.net", "one", "a2V5=="),
            ),
            (
                {"connection_string": "AccountName=one;EndpointSuffix=core.chinacloudapi.cn;AccountKey=a2V5;"},
                Account("https://one.blob.core.chinacloudapi.cn", "one", "a2V5"),
            ),
            (
                {"connection_string": "UseDevelopmentStorage=true"},
                Account("http://127.0.0.1:10000/devstoreaccount1", "devstoreaccount1", AZURITE_KEY),
            ),
            (
                {"account_url": "https://one.blob.core.windows.net/", "sas_token": "?sig=a"},
                Account("https://one.blob.core.windows.net", "one", None, "sig=a"),
            ),
            (
                {"account_name": "two", "account_key": "a2V5", "connection_string": "AccountName=one;AccountKey=no"},
                Account("https://two.blob.core.windows.net", "two", "a2V5"),
            ),
        ],
    )
    def test_an_account_is_parsed_from_every_kind_of_option(self, options: dict[str, str], expected: Account) -> None:
        assert Account.from_options(**options) == expected

    def test_the_account_is_read_from_the_usual_variables(self) -> None:
        environ = {"AZURE_STORAGE_ACCOUNT": "one", "AZURE_STORAGE_KEY": "a2V5"}
        string = {"AZURE_STORAGE_CONNECTION_STRING": "AccountName=two"}

        def resolve(environ: dict[str, str], **options: str) -> Any:
            return Settings.resolve(environ=environ, storage_options=options).storage_options

        assert resolve(environ) == {"azure.account_name": "one", "azure.account_key": "a2V5"}
        assert resolve(environ | string) == {"azure.connection_string": "AccountName=two"}
        assert resolve(environ | string, account_name="three") == {"account_name": "three"}
        ours = {"AIOASSETS_AZURE_ACCOUNT_URL": "https://four"}
        assert resolve(environ | string | ours) == {"azure.account_url": "https://four"}

    @pytest.mark.parametrize(("bucket", "provider"), [("az://models", None), ("models", "azure"), ("models", "az")])
    def test_urls_and_providers_select_the_driver(self, bucket: str, provider: str | None) -> None:
        location = Location.parse(bucket, provider)
        driver = make_driver(location, dispatcher=Dispatcher(), options={"azure.account_name": "one"})
        assert isinstance(driver, AzureDriver)
        assert driver.url == "az://models"

    def test_blocks_grow_to_stay_below_the_limit(self) -> None:
        assert fitting_block_size(MAX_BLOCKS * 8 * MIB, 8 * MIB) == 8 * MIB
        assert fitting_block_size(MAX_BLOCKS * 8 * MIB + 1, 8 * MIB) == 9 * MIB

    def test_listings_are_parsed_in_any_order(self) -> None:
        properties = (
            "<Properties><Last-Modified>Wed, 21 Oct 2026 07:28:00 GMT</Last-Modified><Etag>0x1</Etag>"
            "<Content-Length>4</Content-Length><Content-MD5 /></Properties>"
        )
        rows = (
            f'<Blob><Name Encoded="true">b%0B</Name>{properties}</Blob>'
            f"<Blob><Name>c</Name>{properties}</Blob><BlobPrefix><Name>a/</Name></BlobPrefix>"
        )
        page = f"<EnumerationResults><Blobs>{rows}</Blobs><NextMarker>c!</NextMarker></EnumerationResults>"
        found, marker = parse_listing(page.encode())
        assert marker == "c!"
        assert found[0] == CommonPrefix("a/")
        assert [row.key for row in found[1:] if isinstance(row, ObjectInfo)] == ["b\x0b", "c"]

    @pytest.mark.parametrize(
        ("code", "status", "expected"),
        [
            ("BlobNotFound", 404, ObjectNotFound),
            ("ContainerNotFound", 404, BucketNotFound),
            ("ResourceNotFound", 404, BucketNotFound),
            ("", 404, StoreError),
            ("BlobAlreadyExists", 409, PreconditionFailed),
            ("ConditionNotMet", 412, PreconditionFailed),
            ("InvalidBlobOrBlock", 400, PreconditionFailed),
            ("LeaseIdMissing", 412, AccessDenied),
            ("AuthenticationFailed", 403, AccessDenied),
            ("AuthorizationPermissionMismatch", 403, AccessDenied),
            ("NoAuthenticationInformation", 401, AccessDenied),
            ("PublicAccessNotPermitted", 409, AccessDenied),
            ("ServerBusy", 503, StoreUnavailable),
            ("", 502, StoreUnavailable),
            ("", 429, StoreUnavailable),
            ("ConditionHeadersNotSupported", 400, StoreUnsuitable),
            ("OutOfRangeInput", 400, StoreError),
        ],
    )
    def test_errors_are_translated_by_code_then_by_status(
        self, code: str, status: int, expected: type[Exception]
    ) -> None:
        request = Request("az://models", "write", "key", conditional=True)
        assert type(service_error_of(code, "", status).translate(request)) is expected

    @pytest.mark.parametrize(
        ("code", "status", "uncertain", "throttled"),
        [
            ("ServerBusy", 503, False, True),
            ("Md5Mismatch", 400, False, False),
            ("", 429, False, True),
            ("InternalError", 500, True, False),
            ("OperationTimedOut", 500, True, False),
            ("", 503, True, True),
        ],
    )
    def test_only_known_refusals_are_certain(self, code: str, status: int, uncertain: bool, throttled: bool) -> None:
        error = service_error_of(code, "", status).translate(Request("az://models", "write", "key"))
        assert isinstance(error, StoreUnavailable)
        assert (error.uncertain, error.throttled) == (uncertain, throttled)

    def test_a_broken_connection_is_uncertain(self) -> None:
        """The SDK reports it as a request that was not sent."""
        error = translate(broken(), Request("az://models", "write", "key"))
        assert isinstance(error, StoreUnavailable)
        assert error.uncertain
