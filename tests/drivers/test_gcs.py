"""Tests of the GCS driver: the protocol, errors, credentials, lost responses, chunks and copies."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import ssl
import subprocess
import sys
import traceback
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import aiohttp
import anyio
import google_crc32c
import pytest
import trustme
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from gcloud.aio.storage import Storage
from tools.claims import dead_claim, put_claim
from tools.relay import Exchange, Relay, Reply
from tools.servers import GCSServer, free_ports
from tools.tcp import listening, tunnel

from aioassets import AssetsManager, MemoryDriver
from aioassets.drivers.gcs.credentials import Tokens
from aioassets.drivers.gcs.driver import GCSDriver
from aioassets.drivers.gcs.errors import read_service_error, service_error_of
from aioassets.drivers.gcs.session import Answer, Connection
from aioassets.drivers.gcs.uploads import CHUNK_UNIT
from aioassets.drivers.gcs.values import Multipart, received
from aioassets.drivers.parts import UPLOADS
from aioassets.drivers.protocol import CommonPrefix, Expect, ObjectInfo, Revision
from aioassets.drivers.service_errors import Request, ServiceErrorRaised
from aioassets.errors import (
    AccessDenied,
    AioAssetsError,
    BucketNotFound,
    IntegrityError,
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
from aioassets.runtime.effects import Effects
from aioassets.runtime.retry import NO_RETRY, RetryPolicy
from aioassets.settings import Settings
from aioassets.testing import BytesSource, DriverConformance

servers = pytest.mark.servers
PART_SIZE = CHUNK_UNIT
PARTS = 4
LARGE = bytes(range(256)) * (PARTS * PART_SIZE // 256 - 1)
"""Four chunks, of which the last is shorter."""


@pytest.fixture
def bucket(gcs: GCSServer) -> str:
    return gcs.fresh_bucket()


@pytest.fixture
def pauses() -> list[float]:
    """Return the pauses of retries, which take no time."""
    return []


@pytest.fixture
def retry(pauses: list[float]) -> RetryPolicy:
    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    return RetryPolicy(sleep=sleep)


@pytest.fixture
async def driver(gcs: GCSServer, bucket: str, retry: RetryPolicy) -> AsyncIterator[GCSDriver]:
    async with GCSDriver(bucket, part_size=PART_SIZE, dispatcher=Dispatcher(retry=retry), **gcs.options) as driver:
        yield driver


@servers
class TestGCSDriver(DriverConformance):
    part_size = PART_SIZE


@servers
class TestGCSDriverWhereZeroIsOmitted(DriverConformance):
    """The suite on an implementation that omits the size of empty objects."""

    part_size = PART_SIZE

    @pytest.fixture
    def bucket(self, gcs: GCSServer) -> str:
        name = gcs.fresh_bucket()
        gcs.set(name, omit_zero=True)
        return name


async def content(driver: GCSDriver, key: str, size: int = 2**40, revision: Revision | None = None) -> bytes:
    async with contextlib.aclosing(driver.read_range(key, 0, size, revision=revision)) as chunks:
        return b"".join([chunk async for chunk in chunks])


async def keys(driver: GCSDriver) -> list[str]:
    return [row.key async for row in driver.list("") if isinstance(row, ObjectInfo)]


def sent(gcs: GCSServer, bucket: str) -> int:
    """Return how many bytes arrived in chunks."""
    return sum(request["bytes"] for request in gcs.requests(bucket, "chunk"))


class Token:
    """A replacement for the token of the SDK."""

    def __init__(self, value: str) -> None:
        self.value = value

    async def get(self) -> str:
        return self.value


@contextlib.asynccontextmanager
async def holding(token: str, gcs: GCSServer, bucket: str) -> AsyncIterator[GCSDriver]:
    """Open a driver with a token."""
    async with aiohttp.ClientSession() as session:
        client = Storage(session=cast("Any", session), token=cast("Any", Token(token)), api_root=gcs.api_root)
        async with GCSDriver(bucket, client=client, part_size=PART_SIZE, **gcs.options) as driver:
            yield driver
        assert not session.closed


def everything(driver: GCSDriver) -> list[Any]:
    """Return one call for every kind of request."""
    return [
        driver.read("key"),
        driver.stat("key"),
        driver.write("key", b"", expected=Expect.ABSENT),
        driver.upload("key", BytesSource(b"data")),
        driver.upload("key", BytesSource(LARGE)),
        driver.delete(["key"]),
        anext(aiter(driver.list(""))),
        anext(driver.read_range("key", 0, 1)),
    ]


@servers
class TestEmptyObjects:
    """Implementations may omit their size, as protobuf's JSON does."""

    @pytest.fixture
    def bucket(self, gcs: GCSServer) -> str:
        name = gcs.fresh_bucket()
        gcs.set(name, omit_zero=True)
        return name

    async def test_empty_files_are_pushed_fetched_and_cleaned(self, driver: GCSDriver, tmp_path: Path) -> None:
        source = tmp_path / "empty"
        source.touch()
        async with AssetsManager(driver=driver, assets_dir=tmp_path / "assets") as manager:
            await manager.create_asset(source, "model")
            pushed = await manager.update_asset(source, "model")
            fetched = await manager.fetch_asset("model")
            assert (str(fetched.version), fetched.path.read_bytes()) == (pushed.version, b"")
            await put_claim(driver, await dead_claim(), "assets/model/0.7.meta")
            await driver.upload("assets/model/0.7", BytesSource(b""))
            plan = await manager.plan_clean("model", older_than=timedelta(0))
            assert [leftover.version for leftover in plan.removable] == ["0.7"]
            await manager.clean(plan)
        assert "assets/model/0.7" not in await keys(driver)

    async def test_an_omitted_size_is_zero(self, gcs: GCSServer, bucket: str, driver: GCSDriver) -> None:
        """No further request is necessary."""
        await driver.upload("key", BytesSource(b""))
        assert [request["operation"] for request in gcs.requests(bucket)] == ["insert"]
        (row,) = [row async for row in driver.list("")]
        copied = await driver.copy(driver, await driver.stat("key"), "copy")
        assert isinstance(row, ObjectInfo)
        assert (row.size, copied.size, (await driver.stat("copy")).size) == (0, 0, 0)


@servers
class TestErrors:
    async def test_wrong_credentials_are_access_denied(self, gcs: GCSServer, bucket: str) -> None:
        gcs.set(bucket, tokens={"right": "rw"})
        async with holding("not-the-one", gcs, bucket) as driver:
            for attempt in everything(driver):
                with pytest.raises(AccessDenied, match=f"^Cannot .* in gs://{bucket}: .*Invalid Credentials") as caught:
                    await attempt
                assert "not-the-one" not in "".join(traceback.format_exception(caught.value))

    async def test_a_read_only_token_is_access_denied_on_writes(self, gcs: GCSServer, bucket: str) -> None:
        gcs.set(bucket, tokens={"owner": "rw", "reader": "r"})
        async with holding("owner", gcs, bucket) as owner, holding("reader", gcs, bucket) as reader:
            await owner.write("key", b"data", expected=Expect.ABSENT)
            assert (await reader.read("key")).data == b"data"
            for attempt in (
                reader.write("key", b"", expected=Expect.ANYTHING),
                reader.upload("other", BytesSource(LARGE)),
                reader.delete(["key"]),
            ):
                with pytest.raises(AccessDenied, match="does not have storage"):
                    await attempt

    async def test_anonymous_access_is_named_in_the_error(self, gcs: GCSServer, bucket: str) -> None:
        gcs.set(bucket, tokens={"owner": "rw"})
        async with GCSDriver(bucket, anonymous=True, **gcs.options) as driver:
            with pytest.raises(AccessDenied, match="Anonymous caller"):
                await driver.stat("key")

    async def test_a_missing_bucket_is_bucket_not_found(self, gcs: GCSServer) -> None:
        async with GCSDriver("not-there", part_size=PART_SIZE, **gcs.options) as driver:
            for attempt in everything(driver):
                with pytest.raises(BucketNotFound, match="gs://not-there doesn't exist"):
                    await attempt

    async def test_an_unreachable_store_is_unavailable(self) -> None:
        (port,) = free_ports(1)
        root = f"http://127.0.0.1:{port}"
        async with GCSDriver("bucket", api_root=root, dispatcher=Dispatcher(retry=NO_RETRY)) as driver:
            with pytest.raises(StoreUnavailable, match="refused the connection") as caught:
                await driver.write("key", b"", expected=Expect.ABSENT)
        assert not caught.value.uncertain

    async def test_a_silent_store_times_out(self) -> None:
        """Only silence is limited, not the duration of a transfer."""

        async def be_silent(*_: object) -> None:
            await anyio.sleep_forever()

        options: dict[str, Any] = {"read_timeout": 0.1, "dispatcher": Dispatcher(retry=NO_RETRY)}
        async with (
            listening(be_silent) as port,
            GCSDriver("bucket", api_root=f"http://127.0.0.1:{port}", **options) as driver,
        ):
            for attempt in (
                driver.stat("key"),
                driver.upload("key", BytesSource(LARGE * 8)),
            ):  # more than socket buffers hold
                with pytest.raises(StoreUnavailable, match="the request timed out"):
                    await attempt

    async def test_the_answer_of_another_kind_of_server_is_an_error(self, gcs: GCSServer, bucket: str) -> None:
        async with Relay(gcs.api_root) as relay, GCSDriver(bucket, api_root=relay.url) as driver:
            relay.inject(Reply(200, {}, b"<html>"))
            with pytest.raises(StoreError, match="is not in Google Cloud Storage's format"):
                await anext(driver.list(""))

    async def test_a_refusal_keeps_its_cause(self, gcs: GCSServer, bucket: str, driver: GCSDriver) -> None:
        gcs.fail(bucket, "get", "refuse", status=403, reason="forbidden", message="Ask the administrator.")
        with pytest.raises(AccessDenied, match="forbidden: Ask the administrator") as caught:
            await driver.stat("key")
        assert isinstance(caught.value.__cause__, ServiceErrorRaised)


@servers
class TestCredentials:
    @pytest.fixture
    def service_file(self, tmp_path: Path, gcs: GCSServer) -> Callable[..., Path]:
        """Return a function that writes the file of a service account."""
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

        def make(**changes: str) -> Path:
            path = tmp_path / "account.json"
            account = {
                "type": "service_account",
                "client_email": "tests@example.com",
                "private_key": pem.decode(),
                "token_uri": f"{gcs.api_root}/token",
            }
            path.write_text(json.dumps({**account, **changes}))
            return path

        return make

    async def test_a_service_account_is_used(
        self, gcs: GCSServer, bucket: str, service_file: Callable[..., Path]
    ) -> None:
        gcs.set(bucket, tokens={"from-service-account": "rw"})
        async with GCSDriver(bucket, service_file=service_file(), part_size=PART_SIZE, **gcs.options) as driver:
            assert (await driver.upload("blob", BytesSource(LARGE))).created
            assert await content(driver, "blob") == LARGE

    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"type": "unheard_of"}, "has an unknown format"),
            ({"private_key": "no key"}, "can't be used"),
            ({"token_uri": "{root}/refusing"}, "they were rejected"),
        ],
    )
    async def test_an_unusable_service_file_is_missing_credentials(
        self, gcs: GCSServer, bucket: str, service_file: Callable[..., Path], changes: dict[str, str], words: str
    ) -> None:
        file = service_file(**{key: value.format(root=gcs.api_root) for key, value in changes.items()})
        async with GCSDriver(bucket, service_file=file, **gcs.options) as driver:
            with pytest.raises(MissingCredentials, match=f"no usable credentials for gs://{bucket}: .*{words}"):
                await driver.stat("key")

    @pytest.mark.parametrize("text", ["", "[]", "{}"])
    async def test_a_service_file_without_credentials_is_an_error(self, tmp_path: Path, text: str) -> None:
        file = tmp_path / "account.json"
        file.write_text(text)
        async with GCSDriver("bucket", service_file=file) as driver:
            with pytest.raises(MissingCredentials, match="has an unknown format"):
                await driver.stat("key")

    async def test_a_missing_service_file_is_named(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        missing = tmp_path / "missing.json"
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(missing))
        each: tuple[dict[str, Any], ...] = ({}, {"service_file": missing})
        for options in each:
            async with GCSDriver("bucket", **options) as driver:
                with pytest.raises(MissingCredentials, match=r"missing\.json.*can't be read"):
                    await driver.stat("key")

    async def test_no_credentials_at_all_are_missing_credentials(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
        monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
        monkeypatch.setattr("gcloud.aio.auth.token.GCE_ENDPOINT_TOKEN", f"http://127.0.0.1:{free_ports(1)[0]}/")
        async with GCSDriver("bucket") as driver:
            with pytest.raises(MissingCredentials, match="none are set up"):
                await driver.stat("key")

    async def test_an_unreachable_token_service_is_unavailable(
        self, gcs: GCSServer, bucket: str, service_file: Callable[..., Path], pauses: list[float], retry: RetryPolicy
    ) -> None:
        """Only the dispatcher retries, not the SDK."""
        file = service_file(token_uri=f"http://127.0.0.1:{free_ports(1)[0]}/")
        async with GCSDriver(bucket, service_file=file, dispatcher=Dispatcher(retry=retry), **gcs.options) as driver:
            with pytest.raises(StoreUnavailable, match="token service can't be reached"):
                await driver.stat("key")
        assert 50 < sum(pauses) <= retry.retry_for

    async def test_cancelling_one_request_keeps_the_token_of_others(self, gcs: GCSServer, bucket: str) -> None:
        asked, given = anyio.Event(), anyio.Event()

        class Slow(Token):
            """A token with one acquisition for all requests, like that of the SDK."""

            acquiring: asyncio.Task[Any] | None = None

            async def get(self) -> str:
                asked.set()
                self.acquiring = self.acquiring or asyncio.create_task(given.wait())
                await self.acquiring
                return self.value

        async with aiohttp.ClientSession() as session:
            client = Storage(session=cast("Any", session), token=cast("Any", Slow("token")), api_root=gcs.api_root)
            driver = GCSDriver(bucket, client=client, **gcs.options)
            async with anyio.create_task_group() as tasks:
                with anyio.CancelScope() as first:
                    async with anyio.create_task_group() as impatient:
                        impatient.start_soon(_write, driver, "impatient")
                        await asked.wait()
                        tasks.start_soon(_write, driver, "patient")
                        first.cancel()
                given.set()
            assert "patient" in await keys(driver)


async def _write(driver: GCSDriver, key: str) -> None:
    await driver.write(key, b"data", expected=Expect.ABSENT)


@servers
class TestDocuments:
    async def test_a_retry_after_a_lost_response_is_refused(
        self, gcs: GCSServer, bucket: str, driver: GCSDriver
    ) -> None:
        gcs.fail(bucket, "insert", "lose")
        effects = Effects()
        with pytest.raises(PreconditionFailed):
            await driver.write("key", b"data", expected=Expect.ABSENT, effects=effects)
        assert effects.uncertain
        assert (await driver.read("key")).data == b"data"

    async def test_documents_are_written_with_no_store(self, gcs: GCSServer, bucket: str, driver: GCSDriver) -> None:
        await driver.write("key", b"data", expected=Expect.ABSENT)
        assert gcs.ask("GET", f"/storage/v1/b/{bucket}/o/key")["cacheControl"] == "no-store"

    async def test_a_document_replaced_during_a_read_is_read_again(
        self, gcs: GCSServer, bucket: str, driver: GCSDriver
    ) -> None:
        """Bytes, revision and time belong to one generation."""
        first = await driver.write("key", b"first", expected=Expect.ABSENT)
        bytes_read = anyio.Event()

        async def read_and_tell(exchange: Exchange) -> None:
            await exchange.forward()
            await exchange.answer()
            bytes_read.set()

        async def replace_then_describe(exchange: Exchange) -> None:
            await asyncio.wait_for(bytes_read.wait(), 10)
            await driver.write("key", b"second", expected=first)
            await exchange.forward()
            await exchange.answer()

        async with Relay(gcs.api_root) as relay, GCSDriver(bucket, api_root=relay.url) as reader:
            content = relay.inject(read_and_tell, method="GET", target="alt=media")
            description = relay.inject(replace_then_describe, method="GET", target="/o/key(?!.*alt=media)")
            document = await reader.read("key")
        assert content.hits
        assert description.hits
        assert (document.data, document.revision) == (b"second", (await driver.stat("key")).revision)

    @pytest.mark.parametrize("status", [429, 503])
    async def test_a_throttled_write_is_retried_when_the_store_says(
        self, gcs: GCSServer, bucket: str, driver: GCSDriver, pauses: list[float], status: int
    ) -> None:
        gcs.fail(bucket, "insert", "refuse", status=status, headers={"Retry-After": "7"})
        await driver.write("key", b"data", expected=Expect.ABSENT)
        assert pauses == [7.0]

    async def test_a_throttled_write_is_retried_for_longer(
        self, gcs: GCSServer, bucket: str, driver: GCSDriver
    ) -> None:
        """Many writers may share the rate of one object."""
        refusals = 12
        gcs.fail(bucket, "insert", "refuse", status=429, reason="rateLimitExceeded", times=refusals)
        await driver.write("key", b"data", expected=Expect.ABSENT)
        assert len(gcs.requests(bucket, "insert")) == refusals + 1

    async def test_a_throttled_write_that_cannot_succeed_is_refused_at_once(
        self, gcs: GCSServer, bucket: str, driver: GCSDriver, pauses: list[float]
    ) -> None:
        gcs.set(bucket, seconds_per_write=3600)
        revision = await driver.write("key", b"first", expected=Expect.ABSENT)
        for expected in (Expect.ABSENT, Revision(f"{int(revision) - 1}")):
            with pytest.raises(PreconditionFailed):
                await driver.write("key", b"second", expected=expected)
        assert pauses == []

    async def test_throttled_writes_fail_eventually(
        self, gcs: GCSServer, bucket: str, driver: GCSDriver, pauses: list[float], retry: RetryPolicy
    ) -> None:
        gcs.fail(bucket, "insert", "refuse", status=429, times=10**6)
        with pytest.raises(StoreUnavailable) as caught:
            await driver.write("key", b"data", expected=Expect.ABSENT)
        assert not caught.value.uncertain
        assert len(gcs.requests(bucket, "insert")) == len(pauses) + 1
        assert 50 < sum(pauses) <= retry.retry_for

    async def test_uncertainty_survives_throttling(self, gcs: GCSServer, bucket: str, driver: GCSDriver) -> None:
        gcs.fail(bucket, "insert", "refuse", status=503)
        gcs.fail(bucket, "insert", "refuse", status=429, times=10**6)
        effects = Effects()
        with pytest.raises(StoreUnavailable):
            await driver.write("key", b"data", expected=Expect.ABSENT, effects=effects)
        assert effects.uncertain

    async def test_damaged_content_is_sent_again(
        self, gcs: GCSServer, bucket: str, driver: GCSDriver, pauses: list[float]
    ) -> None:
        message = 'Provided CRC32C "AAAAAA==" doesn\'t match calculated CRC32C "rth90Q==".'
        gcs.fail(bucket, "insert", "refuse", status=400, reason="invalid", message=message)
        await driver.write("key", b"data", expected=Expect.ABSENT)
        assert len(pauses) == 1


@servers
class TestUploads:
    async def test_stat_and_listings_return_checksums(self, driver: GCSDriver) -> None:
        await driver.upload("blob", BytesSource(LARGE))
        assert (await driver.stat("blob")).checksums == {
            "crc32c": f"{google_crc32c.value(LARGE):08x}",
            "md5": hashlib.md5(LARGE).hexdigest(),
        }
        (row,) = [row async for row in driver.list("")]
        assert row == await driver.stat("blob")

    async def test_a_small_upload_succeeds_after_a_lost_response(
        self, gcs: GCSServer, bucket: str, driver: GCSDriver
    ) -> None:
        gcs.fail(bucket, "insert", "lose")
        assert not (await driver.upload("blob", BytesSource(b"data"))).created

    @pytest.mark.parametrize("chunk", range(PARTS))
    async def test_no_byte_is_sent_twice_after_a_lost_response(
        self, gcs: GCSServer, bucket: str, driver: GCSDriver, chunk: int
    ) -> None:
        """The driver first asks how much the store has received."""
        gcs.fail(bucket, "chunk", "lose", after=chunk)
        assert (await driver.upload("blob", BytesSource(LARGE))).created
        assert await content(driver, "blob") == LARGE
        assert sent(gcs, bucket) == len(LARGE)
        assert len(gcs.requests(bucket, "status")) == 1

    async def test_a_broken_chunk_resumes_behind_the_received_bytes(self, gcs: GCSServer, bucket: str) -> None:
        gcs.fail(bucket, "chunk", "part", keep=CHUNK_UNIT)
        async with GCSDriver(bucket, part_size=3 * CHUNK_UNIT, **gcs.options) as driver:
            await driver.upload("blob", BytesSource(LARGE))
            assert await content(driver, "blob") == LARGE
        starts = [request["range"].split("-")[0] for request in gcs.requests(bucket, "chunk")]
        assert starts == ["bytes 0", f"bytes {CHUNK_UNIT}", f"bytes {3 * CHUNK_UNIT}"]

    @pytest.mark.parametrize("status", [429, 500, 503])
    async def test_a_refused_chunk_is_sent_again(
        self, gcs: GCSServer, bucket: str, driver: GCSDriver, status: int
    ) -> None:
        gcs.fail(bucket, "chunk", "refuse", status=status, times=2)
        gcs.fail(bucket, "status", "refuse", status=503)
        await driver.upload("blob", BytesSource(LARGE))
        assert await content(driver, "blob") == LARGE
        assert gcs.open_uploads(bucket) == 0

    @pytest.mark.parametrize("status", [404, 410])
    async def test_a_discarded_session_is_begun_again(
        self, gcs: GCSServer, bucket: str, driver: GCSDriver, status: int
    ) -> None:
        gcs.fail(bucket, "chunk", "forget", status=status, after=2)
        assert (await driver.upload("blob", BytesSource(LARGE))).created
        assert await content(driver, "blob") == LARGE
        assert len(gcs.requests(bucket, "begin")) == 2

    async def test_an_upload_fails_after_its_session_was_discarded_three_times(
        self, gcs: GCSServer, bucket: str, driver: GCSDriver
    ) -> None:
        gcs.fail(bucket, "chunk", "forget", times=10**6)
        with pytest.raises(StoreUnavailable, match="dropped the upload 3 times"):
            await driver.upload("blob", BytesSource(LARGE))
        assert len(gcs.requests(bucket, "begin")) == UPLOADS

    async def test_a_completed_upload_is_not_begun_again(self, gcs: GCSServer, bucket: str, driver: GCSDriver) -> None:
        gcs.fail(bucket, "chunk", "lose", after=PARTS - 1)
        gcs.fail(bucket, "status", "forget")
        await driver.upload("blob", BytesSource(LARGE))
        assert len(gcs.requests(bucket, "begin")) == 1

    async def test_only_the_last_chunk_is_uncertain(self, gcs: GCSServer, bucket: str) -> None:
        async with GCSDriver(
            bucket, part_size=PART_SIZE, dispatcher=Dispatcher(retry=NO_RETRY), **gcs.options
        ) as driver:
            for chunk, uncertain in ((1, False), (PARTS - 1, True)):
                gcs.fail(bucket, "chunk", "refuse", status=500, after=chunk)
                with pytest.raises(StoreUnavailable) as caught:
                    await driver.upload("blob", BytesSource(LARGE))
                assert caught.value.uncertain is uncertain
                assert gcs.open_uploads(bucket) == 0

    @pytest.mark.parametrize(("data", "operation"), [(b"data", "insert"), (LARGE, "chunk")])
    async def test_an_object_with_other_bytes_is_deleted(
        self, gcs: GCSServer, bucket: str, driver: GCSDriver, data: bytes, operation: str
    ) -> None:
        gcs.fail(bucket, operation, "damage")
        with pytest.raises(IntegrityError, match="crc32c"):
            await driver.upload("blob", BytesSource(data))
        assert await keys(driver) == []

    async def test_losing_a_race_during_an_upload_is_refused(
        self, gcs: GCSServer, bucket: str, driver: GCSDriver
    ) -> None:
        class Overtaken(BytesSource):
            async def read(self, offset: int, size: int) -> bytes:
                if offset == PART_SIZE:
                    await driver.write("blob", b"faster", expected=Expect.ABSENT)
                return await super().read(offset, size)

        with pytest.raises(PreconditionFailed, match="blob"):
            await driver.upload("blob", Overtaken(LARGE))
        assert await content(driver, "blob") == b"faster"
        assert gcs.open_uploads(bucket) == 0

    async def test_no_chunks_are_sent_for_an_existing_blob(
        self, gcs: GCSServer, bucket: str, driver: GCSDriver
    ) -> None:
        await driver.upload("blob", BytesSource(LARGE))
        before = len(gcs.requests(bucket, "begin", "chunk", "insert"))
        assert not (await driver.upload("blob", BytesSource(LARGE))).created
        with pytest.raises(PreconditionFailed):
            await driver.upload("blob", BytesSource(LARGE[:-1] + b"!"))
        assert len(gcs.requests(bucket, "begin", "chunk", "insert")) == before

    async def test_a_cancelled_upload_ends_its_session(self, gcs: GCSServer, bucket: str, driver: GCSDriver) -> None:
        stuck = anyio.Event()

        class Stuck(BytesSource):
            async def read(self, offset: int, size: int) -> bytes:
                if offset:
                    stuck.set()
                    await anyio.sleep_forever()
                return await super().read(offset, size)

        task = asyncio.create_task(driver.upload("blob", Stuck(LARGE)))
        await stuck.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert gcs.open_uploads(bucket) == 0
        assert len(gcs.requests(bucket, "cancel")) == 1

    async def test_cancelling_an_upload_at_its_beginning_ends_the_session(
        self, gcs: GCSServer, bucket: str, driver: GCSDriver, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The cancelled task waits for the session's URL, without which it cannot end the session."""
        call, begun, answered = Connection.call, anyio.Event(), anyio.Event()

        async def around(connection: Connection, request: Request, method: str, url: str, **options: Any) -> Any:
            answer = await call(connection, request, method, url, **options)
            if method == "POST":
                begun.set()
                await answered.wait()
            return answer

        monkeypatch.setattr(Connection, "call", around)
        task = asyncio.create_task(driver.upload("blob", BytesSource(LARGE)))
        await begun.wait()
        task.cancel()
        asyncio.get_running_loop().call_soon(answered.set)
        with pytest.raises(asyncio.CancelledError):
            await task
        assert gcs.open_uploads(bucket) == 0

    async def test_chunks_in_memory_stay_within_the_budget(
        self, gcs: GCSServer, bucket: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        held = most = 0

        class Counted(BytesSource):
            async def read(self, offset: int, size: int) -> bytes:
                nonlocal held, most
                held += size
                most = max(most, held)
                return await super().read(offset, size)

        call = Connection.call

        async def counting(self: Connection, request: Request, method: str, url: str, **options: Any) -> Answer:
            nonlocal held
            try:
                return await call(self, request, method, url, **options)
            finally:
                size = len(options.get("body") or b"")
                held -= size if size >= PART_SIZE else 0

        monkeypatch.setattr(Connection, "call", counting)
        dispatcher = Dispatcher(Budget(nbytes=2 * PART_SIZE))
        async with (
            GCSDriver(bucket, part_size=PART_SIZE, dispatcher=dispatcher, **gcs.options) as driver,
            anyio.create_task_group() as tasks,
        ):
            for number in range(6):
                tasks.start_soon(driver.upload, f"blob-{number}", Counted(bytes(4 * PART_SIZE)))
        assert held == 0
        assert most == 2 * PART_SIZE

    async def test_errors_do_not_contain_the_url_of_a_session(self, gcs: GCSServer, bucket: str) -> None:
        """The URL is a credential, which errors of the connection may contain."""
        async with GCSDriver(
            bucket, part_size=PART_SIZE, dispatcher=Dispatcher(retry=NO_RETRY), **gcs.options
        ) as driver:
            for fault in ({"do": "lose"}, {"do": "refuse", "status": 400}, {"do": "name_session"}):
                gcs.fail(bucket, "chunk", **fault)
                with pytest.raises(StoreError) as caught:
                    await driver.upload("blob", BytesSource(LARGE))
                assert "upload_id" not in "".join(traceback.format_exception(caught.value))


@servers
class TestReadingAndListing:
    async def test_a_broken_download_resumes_where_it_broke(
        self, gcs: GCSServer, bucket: str, driver: GCSDriver
    ) -> None:
        await driver.upload("blob", BytesSource(LARGE))
        gcs.fail(bucket, "media", "part", keep=1000)
        assert await content(driver, "blob", len(LARGE)) == LARGE
        ranges = [request["range"] for request in gcs.requests(bucket, "media")]
        assert ranges == [f"bytes=0-{len(LARGE) - 1}", f"bytes=1000-{len(LARGE) - 1}"]

    async def test_a_resumed_download_reads_the_same_generation(self, gcs: GCSServer, bucket: str) -> None:
        async def replace(_: float) -> None:
            await changing.write("blob", bytes(len(LARGE)), expected=Expect.ANYTHING)

        dispatcher = Dispatcher(retry=RetryPolicy(sleep=replace))
        async with GCSDriver(bucket, dispatcher=dispatcher, **gcs.options) as changing:
            await changing.upload("blob", BytesSource(LARGE))
            gcs.fail(bucket, "media", "part", keep=1000)
            with pytest.raises(PreconditionFailed):
                await content(changing, "blob")

    async def test_listing_reads_all_pages(self, gcs: GCSServer, bucket: str, driver: GCSDriver) -> None:
        gcs.set(bucket, page=2)
        for key in ("a", "b/1", "b/2", "b.", "c", "d"):
            await driver.write(key, b"", expected=Expect.ABSENT)
        rows = [row async for row in driver.list("", delimiter="/")]
        names = [row.prefix if isinstance(row, CommonPrefix) else row.key for row in rows]
        assert names == ["a", "b.", "b/", "c", "d"]
        assert len(gcs.requests(bucket, "list")) == 3


@servers
class TestCopying:
    @pytest.fixture
    async def info(self, driver: GCSDriver) -> ObjectInfo:
        await driver.upload("original", BytesSource(LARGE))
        return await driver.stat("original")

    async def test_the_store_copies_objects(
        self, gcs: GCSServer, bucket: str, driver: GCSDriver, info: ObjectInfo
    ) -> None:
        copied = await driver.copy(driver, info, "copy of/it")
        assert copied == await driver.stat("copy of/it")
        assert (copied.size, copied.checksums) == (info.size, info.checksums)
        assert await content(driver, "copy of/it") == LARGE

    async def test_the_store_copies_from_another_bucket_in_steps(
        self, gcs: GCSServer, bucket: str, driver: GCSDriver, info: ObjectInfo
    ) -> None:
        other = gcs.fresh_bucket()
        gcs.set(other, rewrite_step=len(LARGE) // 3)
        async with GCSDriver(other, **gcs.options) as target:
            await target.copy(driver, info, "copy")
            assert await content(target, "copy") == LARGE
        assert len(gcs.requests(bucket, "rewrite")) == 3

    async def test_an_existing_copy_is_success(
        self, gcs: GCSServer, bucket: str, driver: GCSDriver, info: ObjectInfo
    ) -> None:
        gcs.fail(bucket, "rewrite", "lose")
        copied = await driver.copy(driver, info, "copy")
        assert await driver.copy(driver, info, "copy") == copied

    async def test_copying_does_not_overwrite_other_bytes(self, driver: GCSDriver, info: ObjectInfo) -> None:
        await driver.write("copy", b"other", expected=Expect.ABSENT)
        with pytest.raises(PreconditionFailed, match="copy"):
            await driver.copy(driver, info, "copy")
        assert await content(driver, "copy") == b"other"

    async def test_only_the_given_generation_is_copied(self, driver: GCSDriver, info: ObjectInfo) -> None:
        await driver.write("original", b"other", expected=info.revision)
        with pytest.raises(PreconditionFailed, match="original"):
            await driver.copy(driver, info, "copy")
        await driver.delete(["original"])
        with pytest.raises(ObjectNotFound, match="original"):
            await driver.copy(driver, info, "copy")
        assert await keys(driver) == []

    async def test_copying_from_other_stores_is_refused(
        self, gcs: GCSServer, bucket: str, driver: GCSDriver, info: ObjectInfo
    ) -> None:
        other = gcs.fresh_bucket()
        gcs.set(bucket, tokens={"elsewhere": "rw"})
        async with GCSDriver(other, **gcs.options) as target:
            for source in (driver, GCSDriver(bucket), MemoryDriver()):
                with pytest.raises(NotSameStore):
                    await target.copy(source, info, "copy")


@servers
class TestOnAnEmulator:
    """gcp-storage-emulator ignores conditions."""

    @pytest.fixture
    def bucket(self, gcs_emulator: GCSServer) -> str:
        return gcs_emulator.fresh_bucket()

    async def test_blobs_are_written_read_listed_copied_and_deleted(self, gcs_emulator: GCSServer, bucket: str) -> None:
        async with GCSDriver(bucket, part_size=PART_SIZE, **gcs_emulator.options) as driver:
            for key, data in (("a/small", b"\r\n\0\xff--data"), ("a/large ü", LARGE), ("b", b"")):
                assert (await driver.upload(key, BytesSource(data))).created
                assert await content(driver, key, len(data) or 1) == data
            assert await keys(driver) == ["a/large ü", "a/small", "b"]
            copied = await driver.copy(driver, await driver.stat("a/small"), "c")
            assert copied.checksums == (await driver.stat("a/small")).checksums
            revision = await driver.write("document", b"{}", expected=Expect.ABSENT)
            document = await driver.read("document")
            assert (document.data, document.revision) == (b"{}", revision)
            await driver.delete(["a/small", "a/large ü", "b", "c", "document", "not there"])
            assert await keys(driver) == []
            with pytest.raises(ObjectNotFound):
                await driver.read("document")

    async def test_pushes_are_refused(self, gcs_emulator: GCSServer, bucket: str, tmp_path: Path) -> None:
        file = tmp_path / "file"
        file.write_text("data")
        async with AssetsManager(
            f"gs://{bucket}", assets_dir=tmp_path / "cache", storage_options=gcs_emulator.options
        ) as manager:
            with pytest.raises(StoreUnsuitable, match=f"gs://{bucket} is not safe for concurrent pushes"):
                await manager.create_asset(file, "model")


class TestWithoutAServer:
    async def test_a_missing_extra_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "gcloud.aio.storage", None)
        with pytest.raises(InvalidSetting, match=r"pip install 'aioassets\[gcs\]'"):
            await GCSDriver("bucket").read("key")

    def test_the_sdk_is_imported_lazily(self) -> None:
        code = "import sys, aioassets.drivers.gcs; sys.exit('gcloud' in sys.modules or 'aiohttp' in sys.modules)"
        assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

    def test_the_identity_distinguishes_api_roots(self) -> None:
        assert GCSDriver("models").url == GCSDriver("models", api_root="http://here").url == "gs://models"
        assert GCSDriver("models").identity == "gs://models"
        assert GCSDriver("models", api_root="https://storage.googleapis.com/").identity == "gs://models"
        assert GCSDriver("models", api_root="here:80/").identity == "gs://models@http://here:80"

    @pytest.mark.parametrize(
        "options", [{"bucket": ""}, {"bucket": "models", "part_size": CHUNK_UNIT + 1}, {"bucket": "m", "part_size": 0}]
    )
    def test_invalid_settings_are_refused(self, options: dict[str, Any]) -> None:
        with pytest.raises(InvalidSetting):
            GCSDriver(**options)

    def test_the_variable_of_emulators_is_read(self) -> None:
        variables = {"STORAGE_EMULATOR_HOST": "localhost:9023"}
        assert Settings.resolve(environ=variables).storage_options == {"gcs.api_root": "localhost:9023"}
        variables["AIOASSETS_GCS_API_ROOT"] = "http://here"
        assert Settings.resolve(environ=variables).storage_options == {"gcs.api_root": "http://here"}

    async def test_closing_an_unopened_driver_does_nothing(self) -> None:
        await GCSDriver("models").aclose()

    def test_metadata_and_content_are_one_body(self) -> None:
        body = Multipart({"name": "key"}, LARGE)
        assert b"".join(body) == bytes(body)
        assert len(body) == len(bytes(body))
        assert bytes(body).count(body.content_type.rpartition("=")[2].encode()) == 3

    @pytest.mark.parametrize(
        ("headers", "size"), [({}, 0), ({"range": "bytes=0-0"}, 1), ({"range": "0-262143"}, 262144)]
    )
    def test_the_received_size_is_parsed(self, headers: dict[str, str], size: int) -> None:
        assert received(headers) == size

    @pytest.mark.parametrize(
        ("status", "reason", "message", "expected"),
        [
            (404, "notFound", "No such object: bucket/key not found", ObjectNotFound),
            (404, "notFound", "The specified bucket does not exist.", BucketNotFound),
            (404, "", "", ObjectNotFound),
            (412, "conditionNotMet", "", PreconditionFailed),
            (412, "", "", PreconditionFailed),
            (412, "orgPolicyConstraintFailed", "", AccessDenied),
            (401, "authError", "", AccessDenied),
            (403, "forbidden", "", AccessDenied),
            (403, "rateLimitExceeded", "", StoreUnavailable),
            (409, "conflict", "", StoreUnavailable),
            (429, "", "", StoreUnavailable),
            (502, "", "", StoreUnavailable),
            (501, "notImplemented", "", StoreUnsuitable),
            (400, "invalid", "Bad Request", StoreError),
        ],
    )
    def test_errors_are_translated_by_reason_then_by_status(
        self, status: int, reason: str, message: str, expected: type[Exception]
    ) -> None:
        request = Request("gs://bucket", "write", "key", conditional=True)
        assert type(service_error_of(reason, message, status).translate(request)) is expected

    @pytest.mark.parametrize(
        ("status", "reason", "uncertain", "throttled"),
        [
            (429, "", False, True),
            (403, "userRateLimitExceeded", False, True),
            (403, "quotaExceeded", False, False),
            (503, "", True, True),
            (500, "backendError", True, False),
        ],
    )
    def test_only_known_refusals_are_certain(self, status: int, reason: str, uncertain: bool, throttled: bool) -> None:
        error = service_error_of(reason, "", status).translate(Request("gs://bucket", "write", "key"))
        assert isinstance(error, StoreUnavailable)
        assert (error.uncertain, error.throttled) == (uncertain, throttled)

    @pytest.mark.parametrize(
        ("body", "sentence"),
        [
            (b'{"error": {"code": 403, "message": "No.", "errors": [{"reason": "forbidden"}]}}', "forbidden: No."),
            (b'{"error": {"errors": [{"domain": "global", "message": "No."}]}}', "403: No."),
            (b'{"code": 403, "message": "{\\"error\\": {\\"errors\\": [{\\"message\\": \\"No.\\"}]}}"}', "403: No."),
            (b'{"error": "invalid_grant"}', "403: invalid_grant."),
            (b"No way", "403: No way."),
            (b"<html>", "403: no details."),
            (b"", "403: no details."),
            (b"[]", "403: []."),
        ],
    )
    def test_errors_of_all_implementations_are_parsed(self, body: bytes, sentence: str) -> None:
        assert read_service_error(403, {}, body).sentence == sentence

    @pytest.mark.parametrize(
        ("status", "description", "kind", "words"),
        [
            (400, "Invalid JWT: it must be in a reasonable timeframe.", MissingCredentials, "This machine's clock"),
            (400, "Invalid JWT signature.", MissingCredentials, "Specify a service account file"),
            (407, "", StoreUnavailable, "the token service can't be reached: the proxy refused the request: 407"),
        ],
    )
    async def test_refused_tokens_have_their_own_advice(
        self, status: int, description: str, kind: type[AioAssetsError], words: str
    ) -> None:
        class Refused:
            async def get(self) -> str:
                message = f'Bad Request: {{"error": "invalid_grant", "error_description": "{description}"}}'
                refusal = aiohttp.ClientHttpProxyError if status == 407 else aiohttp.ClientResponseError
                raise refusal(cast("Any", None), (), status=status, message=message)

        with pytest.raises(kind, match=words):
            await Tokens("gs://bucket", Refused()).current()

    @pytest.mark.parametrize(
        ("value", "seconds"),
        [("3", 3.0), ("Wed, 21 Oct 2026 07:28:10 GMT", 10.0), ("Wed, 21 Oct 2026 07:00:00 GMT", 0.0), ("soon", None)],
    )
    def test_retry_after_is_parsed(self, value: str, seconds: float | None) -> None:
        headers = {"retry-after": value, "date": "Wed, 21 Oct 2026 07:28:00 GMT"}
        assert read_service_error(429, headers, b"").retry_after == seconds


@pytest.fixture
async def secure(gcs: GCSServer, tmp_path: Path) -> AsyncIterator[dict[str, Any]]:
    """Serve the store over TLS, and return the options of its driver."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    parts = urlsplit(gcs.api_root)

    async def forward(*client: *tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> None:
        await tunnel(client, parts.hostname or "", parts.port or 0)

    async with listening(forward, tls=tls) as port:
        yield {"api_root": f"https://127.0.0.1:{port}", "anonymous": True, "ca_bundle": tmp_path / "ca.pem"}


@servers
class TestCertificates:
    async def test_a_private_authority_is_trusted_by_the_sdk_and_by_own_connections(
        self, bucket: str, secure: dict[str, Any]
    ) -> None:
        async with GCSDriver(bucket, **secure) as driver:
            await driver.upload("blob", BytesSource(LARGE))
            assert (await driver.stat("blob")).size == len(LARGE)
            assert await content(driver, "blob") == LARGE

    async def test_another_authority_is_refused_at_once_with_the_option_to_set(
        self, bucket: str, secure: dict[str, Any], retry: RetryPolicy, pauses: list[float]
    ) -> None:
        del secure["ca_bundle"]
        async with GCSDriver(bucket, dispatcher=Dispatcher(retry=retry), **secure) as driver:
            for attempt in (driver.stat("key"), driver.read("key")):
                with pytest.raises(StoreUnavailable, match=r"verify failed.*set ca_bundle") as caught:
                    await attempt
                assert not caught.value.uncertain
        assert not pauses

    async def test_verification_can_be_switched_off(self, bucket: str, secure: dict[str, Any]) -> None:
        del secure["ca_bundle"]
        async with GCSDriver(bucket, verify=False, **secure) as driver:
            await driver.write("key", b"data", expected=Expect.ABSENT)
            assert (await driver.stat("key")).size == 4

    async def test_an_unreadable_file_of_authorities_is_named(self, bucket: str, secure: dict[str, Any]) -> None:
        secure["ca_bundle"] = "/not/there"
        async with GCSDriver(bucket, **secure) as driver:
            with pytest.raises(InvalidSetting, match="/not/there"):
                await driver.stat("key")
