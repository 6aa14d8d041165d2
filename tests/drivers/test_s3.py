"""The S3 driver: conformance, errors, lost responses, multipart uploads."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import anyio
import pytest
from botocore.exceptions import ClientError
from tools.s3 import bucket_of, client_of
from tools.servers import S3Server, free_ports

from aioassets.drivers.bodies import MIB
from aioassets.drivers.protocol import Expect, Revision
from aioassets.drivers.s3 import opening
from aioassets.drivers.s3.driver import MIN_PART_SIZE, S3Driver
from aioassets.drivers.s3.errors import read_service_error
from aioassets.drivers.s3.etags import MAX_PARTS, fitting_part_size
from aioassets.drivers.s3.values import crc32
from aioassets.drivers.service_errors import Request, ServiceErrorRaised
from aioassets.errors import (
    AccessDenied,
    BucketNotFound,
    InvalidSetting,
    ObjectNotFound,
    PreconditionFailed,
    SourceChanged,
    StoreError,
    StoreUnavailable,
    StoreUnsuitable,
)
from aioassets.runtime.budget import Budget
from aioassets.runtime.dispatch import Dispatcher
from aioassets.runtime.retry import NO_RETRY, RetryPolicy
from aioassets.testing import BytesSource, DriverConformance

servers = pytest.mark.servers
TWO_PARTS = bytes(MIN_PART_SIZE + 1)


@pytest.fixture
def bucket(seaweedfs: S3Server) -> str:
    return seaweedfs.fresh_bucket()


@pytest.fixture
def pauses() -> list[float]:
    """The pauses of retries, which take no time."""
    return []


@pytest.fixture
def retry(pauses: list[float]) -> RetryPolicy:
    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    return RetryPolicy(sleep=sleep)


@pytest.fixture
async def driver(seaweedfs: S3Server, bucket: str, retry: RetryPolicy) -> AsyncIterator[S3Driver]:
    dispatcher = Dispatcher(retry=retry)
    async with S3Driver(bucket, part_size=MIN_PART_SIZE, dispatcher=dispatcher, **seaweedfs.options) as driver:
        yield driver


Send = Callable[..., Awaitable[Any]]
Intercept = Callable[[str, Callable[..., Awaitable[Any]]], Awaitable[None]]


@pytest.fixture
def intercept(driver: S3Driver, monkeypatch: pytest.MonkeyPatch) -> Intercept:
    """Wrap a hot request, or an operation of the SDK's client, in a function that takes the real one first."""

    async def install(operation: str, around: Callable[..., Awaitable[Any]]) -> None:
        client = await client_of(driver)
        target = client.hot if hasattr(client.hot, operation) else client.sdk
        monkeypatch.setattr(target, operation, partial(around, getattr(target, operation)))

    return install


def first_answer_lost() -> Callable[..., Awaitable[Any]]:
    """Return an operation that takes effect, but whose first response is lost."""
    lost = False

    async def around(real: Send, *args: Any, **params: Any) -> Any:
        nonlocal lost
        answer = await real(*args, **params)
        if not lost:
            lost = True
            raise ConnectionResetError
        return answer

    return around


def first_refused(code: str, status: int, **headers: str) -> Callable[..., Awaitable[Any]]:
    """Return an operation that the store refuses once."""
    refused = False

    async def around(real: Send, *args: Any, **params: Any) -> Any:
        nonlocal refused
        if not refused:
            refused = True
            raise ServiceErrorRaised(read_service_error(_response(code, status, **headers)))
        return await real(*args, **params)

    return around


def _response(code: str, status: int, **headers: str) -> Any:
    return {
        "Error": {"Code": code, "Message": "Said by the store."},
        "ResponseMetadata": {"HTTPStatusCode": status, "HTTPHeaders": headers},
    }


async def _open_uploads(driver: S3Driver) -> int:
    return len([upload async for upload in driver.open_uploads("")])


@servers
class TestS3Driver(DriverConformance):
    part_size = MIN_PART_SIZE
    composes = True
    presigns = True


@servers
class TestErrors:
    @pytest.mark.parametrize("wrong", [{"access_key_id": "unknown"}, {"secret_access_key": "not-the-one"}])
    async def test_wrong_credentials_are_access_denied(
        self, seaweedfs: S3Server, bucket: str, wrong: dict[str, str]
    ) -> None:
        async with S3Driver(bucket, **{**seaweedfs.options, **wrong}) as driver:
            for attempt in (
                driver.read("key"),
                driver.stat("key"),
                driver.write("key", b"", expected=Expect.ABSENT),
                driver.upload("key", BytesSource(TWO_PARTS)),
                driver.delete(["key"]),
                anext(aiter(driver.list(""))),
                anext(driver.read_range("key", 0, 1)),
            ):
                with pytest.raises(AccessDenied, match=f"^Cannot .* in s3://{bucket}: ") as caught:
                    await attempt
                assert "not-the-one" not in str(caught.value)
                assert isinstance(caught.value.__cause__, ClientError | ServiceErrorRaised)

    async def test_read_only_credentials_can_read_but_not_write(
        self, seaweedfs: S3Server, bucket: str, driver: S3Driver
    ) -> None:
        await driver.write("key", b"data", expected=Expect.ABSENT)
        async with S3Driver(bucket, **{**seaweedfs.options, "access_key_id": "reader"}) as reader:
            found = await reader.read("key")
            assert found.data == b"data"
            for attempt in (
                reader.write("other", b"", expected=Expect.ABSENT),
                reader.write("key", b"", expected=found.revision),
                reader.upload("other", BytesSource(b"data")),
                reader.upload("large", BytesSource(bytes(3 * MIN_PART_SIZE))),
            ):
                with pytest.raises(AccessDenied, match=r"write|begin an upload of"):
                    await attempt

    async def test_a_missing_bucket_is_named(self, seaweedfs: S3Server) -> None:
        """SeaweedFS creates the bucket when an administrator writes, so this only reads."""
        async with S3Driver("not-there", **seaweedfs.options) as driver:
            for attempt in (driver.read("key"), anext(aiter(driver.list(""))), anext(driver.read_range("key", 0, 1))):
                with pytest.raises(BucketNotFound, match="s3://not-there doesn't exist"):
                    await attempt

    async def test_a_server_that_cannot_be_reached_is_unavailable(self, seaweedfs: S3Server) -> None:
        options: dict[str, Any] = seaweedfs.options | {"endpoint_url": f"http://127.0.0.1:{free_ports(1)[0]}"}
        async with S3Driver("bucket", dispatcher=Dispatcher(retry=NO_RETRY), **options) as driver:
            with pytest.raises(StoreUnavailable, match="refused the connection") as caught:
                await driver.write("key", b"", expected=Expect.ABSENT)
        assert not caught.value.uncertain

    async def test_an_invalid_endpoint_in_the_sdk_configuration_is_an_invalid_setting(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "user:pass@host")
        async with S3Driver("bucket", region="us-east-1", access_key_id="a", secret_access_key="b") as driver:
            with pytest.raises(InvalidSetting, match="the SDK's configuration") as caught:
                await driver.read("key")
        assert "pass" not in str(caught.value)

    async def test_a_missing_profile_is_access_denied(self) -> None:
        async with S3Driver("bucket", profile="nobody-has-this") as driver:
            with pytest.raises(AccessDenied, match="nobody-has-this"):
                await driver.read("key")

    async def test_a_throttled_request_waits_as_the_store_asks(
        self, driver: S3Driver, intercept: Intercept, pauses: list[float]
    ) -> None:
        await intercept("put", first_refused("SlowDown", 503, **{"retry-after": "7"}))
        await driver.write("key", b"data", expected=Expect.ABSENT)
        assert pauses == [7.0]

    async def test_a_conditional_request_conflict_is_retried(
        self, driver: S3Driver, intercept: Intercept, pauses: list[float]
    ) -> None:
        await intercept("put", first_refused("ConditionalRequestConflict", 409))
        await driver.write("key", b"data", expected=Expect.ABSENT)
        assert len(pauses) == 1

    async def test_keys_that_a_batch_failed_to_delete_are_reported(
        self, driver: S3Driver, intercept: Intercept
    ) -> None:
        async def around(real: Send, *args: Any, **params: Any) -> Any:
            return {"Errors": [{"Key": "a", "Code": "NoSuchKey"}, {"Key": "b", "Code": "AccessDenied"}]}

        await intercept("delete_objects", around)
        with pytest.raises(AccessDenied, match="delete 'b'"):
            await driver.delete(["a", "b"])


@servers
class TestLostResponses:
    async def test_an_upload_whose_answer_was_lost_is_success(self, driver: S3Driver, intercept: Intercept) -> None:
        await intercept("put", first_answer_lost())
        await driver.upload("blob", BytesSource(b"data"))
        assert (await driver.read("blob")).data == b"data"

    async def test_a_completion_whose_answer_was_lost_is_success(self, driver: S3Driver, intercept: Intercept) -> None:
        await intercept("complete_multipart_upload", first_answer_lost())
        await driver.upload("blob", BytesSource(TWO_PARTS))
        assert (await driver.stat("blob")).size == len(TWO_PARTS)
        assert await _open_uploads(driver) == 0

    async def test_a_create_whose_answer_was_lost_is_refused(self, driver: S3Driver, intercept: Intercept) -> None:
        """Only the caller can tell whether a document is its own."""
        await intercept("put", first_answer_lost())
        with pytest.raises(PreconditionFailed):
            await driver.write("key", b"mine", expected=Expect.ABSENT)
        assert (await driver.read("key")).data == b"mine"

    @pytest.mark.parametrize("code", ["ConditionalRequestConflict", "NoSuchUpload"])
    async def test_an_upload_that_the_store_dropped_is_started_again(
        self, driver: S3Driver, intercept: Intercept, code: str
    ) -> None:
        await intercept("complete_multipart_upload", first_refused(code, 409))
        assert (await driver.upload("blob", BytesSource(TWO_PARTS))).created
        assert await _open_uploads(driver) == 0

    async def test_an_upload_that_the_store_keeps_dropping_fails(self, driver: S3Driver, intercept: Intercept) -> None:
        async def around(real: Send, *args: Any, **params: Any) -> Any:
            raise ClientError(_response("NoSuchUpload", 404), "Operation")

        await intercept("complete_multipart_upload", around)
        with pytest.raises(StoreUnavailable, match="/blob is unavailable: it dropped the upload 3 times"):
            await driver.upload("blob", BytesSource(TWO_PARTS))

    @pytest.mark.parametrize("code", ["NoSuchUpload", "NotImplemented"])
    async def test_a_store_that_cannot_list_open_uploads_has_none(
        self, driver: S3Driver, intercept: Intercept, code: str
    ) -> None:
        """Otherwise, its versions could not be deleted."""

        async def around(real: Send, *args: Any, **params: Any) -> Any:
            raise ClientError(_response(code, 404), "Operation")

        await intercept("list_multipart_uploads", around)
        assert await _open_uploads(driver) == 0

    async def test_failed_parts_are_not_uncertain(self, driver: S3Driver, intercept: Intercept) -> None:
        """Before its completion is requested, an upload cannot become an object."""

        async def around(real: Send, *args: Any, **params: Any) -> Any:
            raise ConnectionResetError

        await intercept("put_part", around)
        with pytest.raises(StoreUnavailable) as caught:
            await driver.upload("blob", BytesSource(TWO_PARTS))
        assert not caught.value.uncertain
        assert await _open_uploads(driver) == 0

    async def test_a_broken_download_is_resumed_at_the_same_revision(
        self, driver: S3Driver, intercept: Intercept
    ) -> None:
        data = bytes(range(256)) * (3 * MIB // 256)
        await driver.upload("blob", BytesSource(data))
        asked: list[tuple[tuple[int, int], Revision | None]] = []

        async def around(real: Send, *args: Any, **params: Any) -> Any:
            content = await real(*args, **params)
            if not asked:
                content = replace(content, body=_BreakingBody(content.body, after=2 * MIB + 4096))
            asked.append((params["span"], params["revision"]))
            return content

        await intercept("get", around)
        async with contextlib.aclosing(driver.read_range("blob", 0, len(data))) as chunks:
            assert b"".join([chunk async for chunk in chunks]) == data
        revision = (await driver.stat("blob")).revision
        assert asked == [((0, 3 * MIB), None), ((2 * MIB + 4096, 3 * MIB), revision)]


class _BreakingBody:
    """A body that breaks after a number of bytes."""

    def __init__(self, body: Any, after: int) -> None:
        self._body = body
        self._left = after

    def close(self) -> None:
        self._body.close()

    async def read(self, size: int) -> bytes:
        if not self._left:
            raise ConnectionResetError
        data: bytes = await self._body.read(min(size, self._left))
        self._left -= len(data)
        return data


class _Stuck(BytesSource):
    """A source that blocks after the first part."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.reached = anyio.Event()

    async def read(self, offset: int, size: int) -> bytes:
        if offset:
            self.reached.set()
            await anyio.sleep_forever()
        return await super().read(offset, size)


class _Broken(BytesSource):
    async def read(self, offset: int, size: int) -> bytes:
        if offset:
            raise ZeroDivisionError
        return await super().read(offset, size)


@servers
class TestMultipart:
    async def test_a_failed_upload_is_aborted(self, driver: S3Driver) -> None:
        with pytest.raises(ZeroDivisionError):
            await driver.upload("blob", _Broken(TWO_PARTS))
        assert await _open_uploads(driver) == 0

    async def test_a_cancelled_upload_is_aborted(self, driver: S3Driver) -> None:
        """Also by a native cancellation, which ignores anyio's shields."""
        source = _Stuck(TWO_PARTS)
        task = asyncio.create_task(driver.upload("blob", source))
        await source.reached.wait()
        assert await _open_uploads(driver) == 1
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await _open_uploads(driver) == 0

    async def test_an_upload_cancelled_while_it_begins_is_aborted(self, driver: S3Driver, intercept: Intercept) -> None:
        """The cancellation waits for the upload's id, which aborting needs."""
        begun, answered = anyio.Event(), anyio.Event()

        async def around(real: Send, *args: Any, **params: Any) -> Any:
            answer = await real(*args, **params)
            begun.set()
            await answered.wait()
            return answer

        await intercept("create_multipart_upload", around)
        task = asyncio.create_task(driver.upload("blob", BytesSource(TWO_PARTS)))
        await begun.wait()
        task.cancel()
        asyncio.get_running_loop().call_soon(answered.set)
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await _open_uploads(driver) == 0

    async def test_parts_in_memory_stay_within_the_budget(
        self, seaweedfs: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        budget = Budget(nbytes=2 * MIN_PART_SIZE)
        source = BytesSource(bytes(6 * MIN_PART_SIZE))
        held = sent = most = 0

        async def read(offset: int, size: int) -> bytes:
            nonlocal held, most
            held += size
            most = max(most, held)
            return await BytesSource.read(source, offset, size)

        monkeypatch.setattr(source, "read", read)
        async with S3Driver(
            bucket, part_size=MIN_PART_SIZE, dispatcher=Dispatcher(budget), **seaweedfs.options
        ) as driver:
            hot = (await client_of(driver)).hot
            put_part = hot.put_part

            async def around(*args: Any, **params: Any) -> Any:
                nonlocal held, sent
                answer = await put_part(*args, **params)
                held -= MIN_PART_SIZE
                sent += 1
                return answer

            monkeypatch.setattr(hot, "put_part", around)
            await driver.upload("blob", source)
        assert sent == 6
        assert most == 2 * MIN_PART_SIZE

    @pytest.mark.parametrize("answers", [1, 10**6], ids=["once", "always"])
    async def test_an_upload_that_began_without_a_response_is_found_and_aborted(
        self, driver: S3Driver, intercept: Intercept, answers: int
    ) -> None:
        """Only the store's listing has its id."""
        other = await _leave_open(driver, {}, key="blob of another")
        lost = 0

        async def around(real: Send, *args: Any, **params: Any) -> Any:
            nonlocal lost
            answer = await real(*args, **params)
            if lost < answers:
                lost += 1
                raise ConnectionResetError
            return answer

        await intercept("create_multipart_upload", around)
        if answers == 1:
            assert (await driver.upload("blob", BytesSource(TWO_PARTS))).created
        else:
            with pytest.raises(StoreUnavailable):
                await driver.upload("blob", BytesSource(TWO_PARTS))
        assert (lost == 1) is (answers == 1)
        assert [upload.id async for upload in driver.open_uploads("")] == [other]

    async def test_no_parts_are_sent_for_a_blob_that_exists(self, driver: S3Driver, intercept: Intercept) -> None:
        await driver.upload("blob", BytesSource(TWO_PARTS))

        async def around(real: Send, *args: Any, **params: Any) -> Any:
            raise AssertionError("began an upload")

        await intercept("create_multipart_upload", around)
        assert not (await driver.upload("blob", BytesSource(TWO_PARTS))).created


BLOB = b"".join(bytes([n]) * MIN_PART_SIZE for n in (1, 2, 3)) + b"the end"
PARTS = dict(enumerate((BLOB[start : start + MIN_PART_SIZE] for start in range(0, len(BLOB), MIN_PART_SIZE)), 1))
"""Parts of the blob as the driver uploads them, by number."""


async def _leave_open(driver: S3Driver, parts: Mapping[int, bytes], key: str = "blob", **created_with: str) -> str:
    """Leave an upload open, as a killed driver would; return its id."""
    client = (await client_of(driver)).sdk
    target = {"Bucket": bucket_of(driver), "Key": key}
    created_with = created_with or {"ChecksumAlgorithm": "CRC32"}
    upload_id: str = (await client.create_multipart_upload(**target, **created_with))["UploadId"]
    for number, body in parts.items():
        checksum = {"ChecksumCRC32": await crc32(body)} if created_with.get("ChecksumAlgorithm") == "CRC32" else {}
        await client.upload_part(**target, UploadId=upload_id, PartNumber=number, Body=body, **checksum)
    return upload_id


@pytest.fixture
async def sent(intercept: Intercept) -> AsyncIterator[list[int]]:
    """Return the numbers of the parts that are sent from now on."""
    numbers: list[int] = []

    async def around(real: Send, *args: Any, **params: Any) -> Any:
        numbers.append(args[2])
        return await real(*args, **params)

    await intercept("put_part", around)
    yield numbers
    numbers.clear()


async def _resume(driver: S3Driver, sent: list[int], data: bytes = BLOB) -> list[int]:
    """Resume an upload, and return the numbers of the parts that were sent."""
    sent.clear()
    source = BytesSource(data)
    assert (await driver.upload("blob", source, resume=True)).created
    assert source.digests == {"sha256": hashlib.sha256(data).hexdigest()}
    assert (await driver.read("blob")).data == data
    assert await _open_uploads(driver) == 0
    return sorted(sent)


@servers
class TestResume:
    async def test_existing_parts_are_not_sent_again(self, driver: S3Driver, sent: list[int]) -> None:
        await _leave_open(driver, {number: PARTS[number] for number in (4, 1, 3)})
        assert await _resume(driver, sent) == [2]

    async def test_parts_of_other_bytes_are_sent_again(self, driver: S3Driver, sent: list[int]) -> None:
        await _leave_open(driver, {1: PARTS[1], 2: PARTS[3], 3: PARTS[3], 4: b"THE END"})
        assert await _resume(driver, sent) == [2, 4]

    @pytest.mark.parametrize("error", [ConnectionResetError(), SourceChanged("blob")], ids=["outage", "other error"])
    async def test_parts_stay_for_a_repetition_only_after_an_outage(
        self, driver: S3Driver, intercept: Intercept, error: Exception
    ) -> None:
        stored = anyio.Event()

        async def around(real: Send, *args: Any, **params: Any) -> Any:
            if args[2] == 4:
                await stored.wait()
                raise error
            answer = await real(*args, **params)
            stored.set()
            return answer

        await intercept("put_part", around)
        is_outage = isinstance(error, OSError)
        with pytest.raises(StoreUnavailable if is_outage else SourceChanged):
            await driver.upload("blob", BytesSource(BLOB))
        assert await _open_uploads(driver) == (1 if is_outage else 0)

    async def test_nothing_is_resumed_without_the_option(self, driver: S3Driver, sent: list[int]) -> None:
        """The open upload may belong to a concurrent push."""
        await _leave_open(driver, PARTS)
        sent.clear()
        assert (await driver.upload("blob", BytesSource(BLOB))).created
        assert sorted(sent) == [1, 2, 3, 4]
        assert await _open_uploads(driver) == 1

    async def test_the_upload_with_most_parts_is_resumed_and_others_are_aborted(
        self, driver: S3Driver, sent: list[int]
    ) -> None:
        """Uploads of longer keys with this prefix stay open."""
        for numbers in ([1], [1, 2, 3], [], [2, 3]):
            await _leave_open(driver, {number: PARTS[number] for number in numbers})
        other = await _leave_open(driver, {1: PARTS[1]}, key="blob of another")
        sent.clear()
        assert (await driver.upload("blob", BytesSource(BLOB), resume=True)).created
        assert sent == [4]
        assert [upload.id async for upload in driver.open_uploads("")] == [other]

    async def test_parts_of_another_size_are_not_resumed(self, driver: S3Driver, sent: list[int]) -> None:
        size = MIN_PART_SIZE + MIB
        await _leave_open(driver, {n + 1: BLOB[n * size : (n + 1) * size] for n in range(3)})
        await _leave_open(driver, {2: PARTS[2]})
        assert await _resume(driver, sent) == [1, 3, 4]

    async def test_an_upload_that_cannot_be_completed_is_started_again(self, driver: S3Driver, sent: list[int]) -> None:
        """For example, because it was begun with other checksums."""
        await _leave_open(driver, {1: PARTS[1]}, ChecksumAlgorithm="SHA256")
        assert await _resume(driver, sent) == [1, 2, 2, 3, 3, 4, 4]

    async def test_an_upload_that_can_be_neither_completed_nor_aborted_is_tried_once(
        self, driver: S3Driver, sent: list[int], intercept: Intercept
    ) -> None:
        await _leave_open(driver, {1: PARTS[1]}, ChecksumAlgorithm="SHA256")
        sent.clear()

        async def around(real: Send, *args: Any, **params: Any) -> Any:
            raise ClientError(_response("AccessDenied", 403), "AbortMultipartUpload")

        await intercept("abort_multipart_upload", around)
        assert (await driver.upload("blob", BytesSource(BLOB), resume=True)).created
        assert sorted(sent) == [1, 2, 2, 3, 3, 4, 4]

    async def test_an_upload_that_vanishes_is_started_again(
        self, driver: S3Driver, sent: list[int], intercept: Intercept
    ) -> None:
        """A concurrent clean-up may abort it."""
        doomed = await _leave_open(driver, {1: PARTS[1]})
        client = (await client_of(driver)).sdk

        async def around(real: Send, *args: Any, **params: Any) -> Any:
            answer = await real(*args, **params)
            await client.abort_multipart_upload(Bucket=bucket_of(driver), Key="blob", UploadId=doomed)
            return answer

        await intercept("list_parts", around)
        assert set(await _resume(driver, sent)) == {1, 2, 3, 4}

    @pytest.mark.parametrize("operation", ["list_multipart_uploads", "list_parts", "abort_multipart_upload"])
    async def test_credentials_without_the_rights_to_list_start_again(
        self, driver: S3Driver, sent: list[int], intercept: Intercept, operation: str
    ) -> None:
        for numbers in ([1], [2, 3]):
            await _leave_open(driver, {number: PARTS[number] for number in numbers})
        sent.clear()

        async def around(real: Send, *args: Any, **params: Any) -> Any:
            raise ClientError(_response("AccessDenied", 403), operation)

        await intercept(operation, around)
        assert (await driver.upload("blob", BytesSource(BLOB), resume=True)).created
        assert sorted(sent) == ([1, 4] if operation == "abort_multipart_upload" else [1, 2, 3, 4])
        assert (await driver.read("blob")).data == BLOB

    async def test_parts_are_compared_by_checksum_where_the_store_lists_them(
        self, driver: S3Driver, sent: list[int], intercept: Intercept
    ) -> None:
        """S3 lists checksums, and its ETags may not be MD5s. SeaweedFS lists none, so the test adds them."""
        await _leave_open(driver, {1: PARTS[1], 2: PARTS[2]})
        etags: dict[int, str] = {}

        async def checksums(real: Send, *args: Any, **params: Any) -> Any:
            answer = await real(*args, **params)
            for part in answer["Parts"]:
                number = part["PartNumber"]
                etags[number], part["ETag"] = part["ETag"], '"opaque"'
                part["ChecksumCRC32"] = await crc32(PARTS[1] if number == 1 else b"other")
            return answer

        async def complete(real: Send, *, MultipartUpload: Any, **params: Any) -> Any:  # noqa: N803 - the SDK's name
            for part in MultipartUpload["Parts"]:
                if part["ETag"] == '"opaque"':
                    part["ETag"] = etags[part["PartNumber"]]
            return await real(MultipartUpload=MultipartUpload, **params)

        await intercept("list_parts", checksums)
        await intercept("complete_multipart_upload", complete)
        assert await _resume(driver, sent) == [2, 3, 4]

    async def test_an_existing_blob_is_compared_by_etag(self, driver: S3Driver, intercept: Intercept) -> None:
        """Its ETag is made of the MD5s of its parts. Open uploads of the key are aborted."""
        await driver.upload("blob", BytesSource(BLOB))
        await _leave_open(driver, {1: PARTS[1]})

        async def around(real: Send, *args: Any, **params: Any) -> Any:
            raise AssertionError("was read")

        await intercept("get", around)
        assert not (await driver.upload("blob", BytesSource(BLOB), resume=True)).created
        assert await _open_uploads(driver) == 0

    async def test_an_existing_blob_in_parts_of_another_size_is_read(
        self, seaweedfs: S3Server, bucket: str, driver: S3Driver
    ) -> None:
        """Its ETag cannot be compared."""
        async with S3Driver(bucket, part_size=MIN_PART_SIZE + MIB, **seaweedfs.options) as other:
            await other.upload("blob", BytesSource(BLOB))
        assert not (await driver.upload("blob", BytesSource(BLOB), resume=True)).created
        with pytest.raises(PreconditionFailed):
            await driver.upload("blob", BytesSource(BLOB[:-1] + b"!"), resume=True)

    async def test_long_lists_come_in_pages(self, driver: S3Driver, sent: list[int], intercept: Intercept) -> None:
        """Lists of uploads, and of parts."""
        ids = {await _leave_open(driver, {}, key=f"blobs/{n}") for n in range(5)}

        async def two_uploads(real: Send, **params: Any) -> Any:
            return await real(MaxUploads=2, **params)

        async def one_part(real: Send, **params: Any) -> Any:
            return await real(MaxParts=1, **params)

        await intercept("list_multipart_uploads", two_uploads)
        await intercept("list_parts", one_part)
        assert {upload.id async for upload in driver.open_uploads("blobs/")} == ids
        await _leave_open(driver, {number: PARTS[number] for number in (1, 2, 4)})
        sent.clear()
        await driver.upload("blob", BytesSource(BLOB), resume=True)
        assert sent == [3]

    async def test_a_store_that_repeats_its_page_ends_a_list(self, driver: S3Driver, intercept: Intercept) -> None:
        """Uploads outside the prefix are left out, since callers may abort what is listed."""
        upload_id = await _leave_open(driver, {})

        async def around(real: Send, *args: Any, **params: Any) -> Any:
            return {**await real(**{**params, "Prefix": ""}), "IsTruncated": True, "NextKeyMarker": "blob"}

        await intercept("list_multipart_uploads", around)
        assert {upload.id async for upload in driver.open_uploads("bl")} == {upload_id}
        assert [upload.id async for upload in driver.open_uploads("other")] == []


@servers
class TestTheClient:
    async def test_one_client_serves_all(
        self, seaweedfs: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        opened = 0
        open_client = opening.open_client

        async def counted(*args: Any) -> Any:
            nonlocal opened
            opened += 1
            return await open_client(*args)

        monkeypatch.setattr(opening, "open_client", counted)
        async with S3Driver(bucket, **seaweedfs.options) as driver, anyio.create_task_group() as tasks:
            for number in range(5):
                tasks.start_soon(_write, driver, f"key-{number}")
        assert opened == 1

    async def test_a_client_passed_by_the_user_is_not_closed(self, seaweedfs: S3Server, bucket: str) -> None:
        async with S3Driver(bucket, **seaweedfs.options) as owner:
            client = (await client_of(owner)).sdk
            async with S3Driver(bucket, client=client) as guest:
                await _write(guest, "key")
            assert (await owner.read("key")).data == b"data"

    async def test_documents_have_cache_control_no_store(self, driver: S3Driver, bucket: str) -> None:
        await _write(driver, "key")
        answer = await (await client_of(driver)).sdk.head_object(Bucket=bucket, Key="key")
        assert answer["CacheControl"] == "no-store"

    async def test_the_store_verifies_the_digest_of_small_blobs(self, driver: S3Driver) -> None:
        source = BytesSource(b"data")
        await driver.upload("blob", source)
        assert (await driver.stat("blob")).checksums == source.digests

    async def test_checksums_can_be_left_out(self, seaweedfs: S3Server, bucket: str) -> None:
        async with S3Driver(bucket, checksums=False, part_size=MIN_PART_SIZE, **seaweedfs.options) as driver:
            await driver.upload("small", BytesSource(b"data"))
            await driver.upload("large", BytesSource(TWO_PARTS))
            assert not (await driver.upload("small", BytesSource(b"data"))).created
            with pytest.raises(PreconditionFailed):
                await driver.upload("small", BytesSource(b"atad"))


async def _write(driver: S3Driver, key: str) -> None:
    await driver.write(key, b"data", expected=Expect.ABSENT)


@servers
async def test_a_store_may_accept_conditions_and_ignore_them(rclone_s3: S3Server) -> None:
    """No single response shows it. Only a probe does."""
    bucket = await asyncio.to_thread(rclone_s3.fresh_bucket)
    async with S3Driver(bucket, **rclone_s3.options) as driver:
        await driver.write("key", b"first", expected=Expect.ABSENT)
        await driver.write("key", b"second", expected=Expect.ABSENT)
        assert (await driver.read("key")).data == b"second"


class TestWithoutAServer:
    async def test_a_missing_extra_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "aiobotocore.session", None)
        monkeypatch.delitem(sys.modules, "aioassets.drivers.s3.opening", raising=False)
        with pytest.raises(InvalidSetting, match=r"pip install 'aioassets\[s3\]'"):
            await S3Driver("bucket").read("key")

    def test_the_sdk_is_not_imported_before_it_is_needed(self) -> None:
        code = "import sys, aioassets.drivers.s3; sys.exit('botocore' in sys.modules)"
        assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

    def test_the_identity_tells_endpoints_apart(self) -> None:
        assert S3Driver("models").url == S3Driver("models", endpoint_url="http://here").url == "s3://models"
        assert S3Driver("models").identity == "s3://models"
        assert S3Driver("models", endpoint_url="http://here").identity == "s3://models@http://here"

    @pytest.mark.parametrize("options", [{"bucket": ""}, {"part_size": MIB}, {"endpoint_url": "not a url"}])
    def test_invalid_options_are_refused(self, options: dict[str, Any]) -> None:
        with pytest.raises(InvalidSetting):
            S3Driver(**{"bucket": "models", **options})

    async def test_an_unused_driver_can_be_closed(self) -> None:
        await S3Driver("models").aclose()

    def test_parts_grow_to_stay_within_the_limit_of_their_number(self) -> None:
        assert fitting_part_size(MAX_PARTS * 8 * MIB, 8 * MIB) == 8 * MIB
        assert fitting_part_size(MAX_PARTS * 8 * MIB + 1, 8 * MIB) == 9 * MIB

    @pytest.mark.parametrize(
        ("code", "status", "expected"),
        [
            ("NoSuchKey", 404, ObjectNotFound),
            ("404", 404, ObjectNotFound),
            ("NoSuchBucket", 404, BucketNotFound),
            ("NoSuchUpload", 404, StoreError),
            ("PreconditionFailed", 412, PreconditionFailed),
            ("PreconditionFailed", 200, PreconditionFailed),
            ("412", 412, PreconditionFailed),
            ("AccessDenied", 403, AccessDenied),
            ("403", 403, AccessDenied),
            ("ExpiredToken", 400, AccessDenied),
            ("SignatureDoesNotMatch", 403, AccessDenied),
            ("SomethingNew", 403, AccessDenied),
            ("SlowDown", 503, StoreUnavailable),
            ("InternalError", 200, StoreUnavailable),
            ("SomethingNew", 502, StoreUnavailable),
            ("NotImplemented", 501, StoreUnsuitable),
            ("InvalidArgument", 400, StoreError),
        ],
    )
    def test_errors_are_translated_by_code_then_by_status(
        self, code: str, status: int, expected: type[Exception]
    ) -> None:
        request = Request("s3://bucket", "write", "key", conditional=True)
        assert type(read_service_error(_response(code, status)).translate(request)) is expected

    @pytest.mark.parametrize(
        ("code", "status", "uncertain", "throttled"),
        [
            ("SlowDown", 503, False, True),
            ("SlowDown", 200, False, True),
            ("429", 429, False, True),
            ("ConditionalRequestConflict", 409, False, False),
            ("ServiceUnavailable", 503, True, True),
            ("InternalError", 500, True, False),
            ("RequestTimeout", 400, True, False),
        ],
    )
    def test_only_known_refusals_are_certain(self, code: str, status: int, uncertain: bool, throttled: bool) -> None:
        """Throttling is marked as such."""
        error = read_service_error(_response(code, status)).translate(Request("s3://bucket", "write", "key"))
        assert isinstance(error, StoreUnavailable)
        assert (error.uncertain, error.throttled) == (uncertain, throttled)

    @pytest.mark.parametrize(
        ("value", "seconds"),
        [("3", 3.0), ("Wed, 21 Oct 2026 07:28:10 GMT", 10.0), ("Wed, 21 Oct 2026 07:00:00 GMT", 0.0), ("soon", None)],
    )
    def test_retry_after_is_parsed(self, value: str, seconds: float | None) -> None:
        response = _response("SlowDown", 503, **{"retry-after": value, "date": "Wed, 21 Oct 2026 07:28:00 GMT"})
        assert read_service_error(response).retry_after == seconds

    def test_only_refused_conditions_make_a_store_unsuitable(self) -> None:
        refusal = read_service_error(_response("NotImplemented", 501))
        assert type(refusal.translate(Request("s3://bucket", "write", "key"))) is StoreError
        with pytest.raises(StoreUnsuitable, match="refuses conditional writes"):
            raise refusal.translate(Request("s3://bucket", "write", "key", conditional=True))
