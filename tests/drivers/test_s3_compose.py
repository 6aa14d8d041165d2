"""Composing and copying objects on S3: lost responses, interruptions, and stores that ignore conditions."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any

import pytest
from anyio.lowlevel import checkpoint
from tools.s3 import client_of
from tools.servers import S3Server

from aioassets.drivers.protocol import Expect, ObjectInfo, Run
from aioassets.drivers.s3.driver import MIN_PART_SIZE, S3Driver
from aioassets.drivers.s3.errors import read_service_error
from aioassets.drivers.service_errors import ServiceErrorRaised
from aioassets.errors import CannotCompose, PreconditionFailed, StoreUnavailable
from aioassets.runtime.budget import Budget
from aioassets.runtime.dispatch import Dispatcher
from aioassets.runtime.effects import Effects
from aioassets.runtime.retry import RetryPolicy
from aioassets.testing import BytesSource
from aioassets.testing.requests import assert_absent, open_uploads, read_all
from aioassets.testing.sources import KnownSource

pytestmark = pytest.mark.servers

OLD = bytes(range(256)) * (2 * MIN_PART_SIZE // 256)
NEW = OLD[:MIN_PART_SIZE] + b"new" + OLD[MIN_PART_SIZE:]
"""Composed of two parts: one that is copied, and an uploaded one."""
CREATE, COPY, PART, COMPLETE = "create_multipart_upload", "upload_part_copy", "put_part", "complete_multipart_upload"
Send = Callable[..., Awaitable[Any]]


class Requests:
    """Hooks around the requests of a composition.

    Attributes:
        sent: the number of requests by operation.
        around: a function by operation, which takes the one that sends the request first.
    """

    def __init__(self) -> None:
        self.sent: Counter[str] = Counter()
        self.around: dict[str, Callable[..., Awaitable[Any]]] = {}

    async def send(self, operation: str, real: Send, *args: Any, **params: Any) -> Any:
        self.sent[operation] += 1
        around = self.around.get(operation)
        return await (real(*args, **params) if around is None else around(real, *args, **params))


@pytest.fixture
def bucket(seaweedfs: S3Server) -> str:
    return seaweedfs.fresh_bucket()


@pytest.fixture
def budget() -> Budget:
    return Budget(4, 2 * MIN_PART_SIZE, 0)


@pytest.fixture
def requests() -> Requests:
    return Requests()


@pytest.fixture
async def driver(
    seaweedfs: S3Server, bucket: str, budget: Budget, requests: Requests, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[S3Driver]:
    async def sleep(_: float) -> None:
        await checkpoint()

    dispatcher = Dispatcher(budget, RetryPolicy(sleep=sleep))
    async with S3Driver(bucket, part_size=MIN_PART_SIZE, dispatcher=dispatcher, **seaweedfs.options) as driver:
        client = await client_of(driver)
        for operation in (CREATE, COPY, PART, COMPLETE, "copy_object", "head_object", "abort_multipart_upload"):
            target = client.hot if hasattr(client.hot, operation) else client.sdk
            monkeypatch.setattr(target, operation, partial(requests.send, operation, getattr(target, operation)))
        yield driver


@pytest.fixture
async def original(driver: S3Driver, requests: Requests) -> ObjectInfo:
    await driver.upload("original", BytesSource(OLD))
    requests.sent.clear()
    return await driver.stat("original")


async def compose(driver: S3Driver, original: ObjectInfo, **options: Any) -> Any:
    return await driver.compose("composed", KnownSource(NEW), [Run(0, MIN_PART_SIZE, original, 0)], **options)


async def assert_composed(driver: S3Driver) -> None:
    assert await read_all(driver, "composed", 0, len(NEW) + 1) == NEW
    assert await open_uploads(driver, "") == []


def once(instead: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    """Handle the first request in another way."""
    done = False

    async def around(real: Send, *args: Any, **params: Any) -> Any:
        nonlocal done
        if done:
            return await real(*args, **params)
        done = True
        return await instead(real, *args, **params)

    return around


async def lost(real: Send, *args: Any, **params: Any) -> Any:
    await real(*args, **params)
    raise ConnectionResetError


def refused(code: str, status: int) -> Callable[..., Awaitable[Any]]:
    async def around(real: Send, *args: Any, **params: Any) -> Any:
        error = {"Error": {"Code": code, "Message": "Said by the test."}}
        metadata = {"HTTPStatusCode": status, "HTTPHeaders": {}}
        raise ServiceErrorRaised(read_service_error({**error, "ResponseMetadata": metadata}))

    return around


def without(*names: str) -> Callable[..., Awaitable[Any]]:
    """Ignore conditions, as some stores do."""

    async def around(real: Send, *args: Any, **params: Any) -> Any:
        return await real(*args, **{name: value for name, value in params.items() if name not in names})

    return around


class TestCompositions:
    @pytest.mark.parametrize("operation", [CREATE, COPY, PART, COMPLETE])
    async def test_a_lost_response_changes_nothing(
        self, driver: S3Driver, original: ObjectInfo, requests: Requests, operation: str
    ) -> None:
        requests.around[operation] = once(lost)
        effects = Effects()
        made = await compose(driver, original, effects=effects)
        assert made.revision == (await driver.stat("composed")).revision
        assert effects.uncertain == (operation == COMPLETE)
        await assert_composed(driver)

    @pytest.mark.parametrize("code", ["SlowDown", "InternalError"])
    async def test_a_failed_copy_of_a_part_is_retried(
        self, driver: S3Driver, original: ObjectInfo, requests: Requests, code: str
    ) -> None:
        requests.around[COPY] = once(refused(code, 503))
        assert (await compose(driver, original)).copied == MIN_PART_SIZE
        await assert_composed(driver)

    @pytest.mark.parametrize("operation", [COPY, COMPLETE])
    async def test_an_upload_that_the_store_dropped_is_restarted(
        self, driver: S3Driver, original: ObjectInfo, requests: Requests, operation: str
    ) -> None:
        requests.around[operation] = once(refused("NoSuchUpload", 404))
        assert (await compose(driver, original)).created
        assert requests.sent[CREATE] == 2
        await assert_composed(driver)

    async def test_an_interrupted_composition_is_resumed(
        self, driver: S3Driver, original: ObjectInfo, requests: Requests
    ) -> None:
        """After SIGKILL, the upload is open. Its copied and uploaded parts are both recognized by their contents."""
        requests.around[COMPLETE] = requests.around["abort_multipart_upload"] = killed
        with pytest.raises(Killed):
            await compose(driver, original)
        assert len(await open_uploads(driver, "composed")) == 1
        requests.around.clear()
        requests.sent.clear()
        assert (await compose(driver, original, resume=True)).created
        assert (requests.sent[CREATE], requests.sent[COPY], requests.sent[PART]) == (0, 0, 0)
        await assert_composed(driver)

    async def test_parts_with_other_contents_are_not_reused(
        self, driver: S3Driver, original: ObjectInfo, requests: Requests
    ) -> None:
        """The same holds for copied parts: another composition left an open upload."""
        requests.around[COMPLETE] = requests.around["abort_multipart_upload"] = killed
        other = KnownSource(bytes(len(NEW)))
        run = Run(0, MIN_PART_SIZE, original, MIN_PART_SIZE - 1)
        with pytest.raises(Killed):
            await driver.compose("composed", other, [run])
        requests.around.clear()
        await compose(driver, original, resume=True)
        await assert_composed(driver)

    @pytest.mark.parametrize("ignored", [(), ("CopySourceIfMatch",)], ids=["pinned", "not pinned"])
    async def test_an_original_that_is_replaced_meanwhile_is_not_used(
        self, driver: S3Driver, original: ObjectInfo, requests: Requests, ignored: tuple[str, ...]
    ) -> None:
        """This holds even if the store ignores the condition on the original."""

        async def replaced(real: Send, *args: Any, **params: Any) -> Any:
            await driver.upload("original", BytesSource(bytes(len(OLD))), expected=Expect.ANYTHING)
            return await without(*ignored)(real, *args, **params)

        requests.around[COPY] = once(replaced)
        with pytest.raises(CannotCompose, match="original"):
            await compose(driver, original)
        await assert_absent(driver, "composed")

    async def test_an_original_that_is_deleted_meanwhile_is_not_used(
        self, driver: S3Driver, original: ObjectInfo, requests: Requests
    ) -> None:
        async def deleted(real: Send, *args: Any, **params: Any) -> Any:
            await driver.delete(["original"])
            return await real(*args, **params)

        requests.around[COPY] = once(deleted)
        with pytest.raises(CannotCompose, match="original"):
            await compose(driver, original)
        await assert_absent(driver, "composed")

    @pytest.mark.parametrize(("code", "status"), [("NotImplemented", 501), ("AccessDenied", 403)])
    async def test_a_store_that_refuses_to_copy_parts_cannot_compose(
        self, driver: S3Driver, original: ObjectInfo, requests: Requests, code: str, status: int
    ) -> None:
        requests.around[COPY] = refused(code, status)
        with pytest.raises(CannotCompose):
            await compose(driver, original)
        await assert_absent(driver, "composed")

    async def test_a_copied_part_with_a_wrong_checksum_is_not_used(
        self, driver: S3Driver, original: ObjectInfo, requests: Requests
    ) -> None:
        """AWS reports a checksum of each copied part. It differs if the original doesn't contain the run."""

        async def other(real: Send, *args: Any, **params: Any) -> Any:
            answer = await real(*args, **params)
            answer["CopyPartResult"]["ChecksumCRC32"] = "AAAAAA=="
            return answer

        requests.around[COPY] = other
        with pytest.raises(CannotCompose, match="original"):
            await compose(driver, original)
        await assert_absent(driver, "composed")

    @pytest.mark.parametrize("etag", [None, "0" * 32, "0" * 32 + "-2"], ids=["md5", "other md5", "no md5"])
    async def test_without_a_checksum_the_etag_must_be_the_md5_of_the_copied_part(
        self, driver: S3Driver, original: ObjectInfo, requests: Requests, etag: str | None
    ) -> None:
        """Nothing else tells whether the original contains the run."""

        hidden = ""

        async def unchecked(real: Send, *args: Any, **params: Any) -> Any:
            nonlocal hidden
            part = (await real(*args, **params))["CopyPartResult"]
            hidden = part["ChecksumCRC32"]
            return {"CopyPartResult": {"ETag": etag or part["ETag"]}}

        async def completed(real: Send, *args: Any, **params: Any) -> Any:
            params["MultipartUpload"]["Parts"][0]["ChecksumCRC32"] = hidden  # this server wants it
            return await real(*args, **params)

        requests.around |= {COPY: unchecked, COMPLETE: completed}
        if etag is None:
            await compose(driver, original)
            await assert_composed(driver)
            return
        with pytest.raises(CannotCompose, match="original"):
            await compose(driver, original)
        await assert_absent(driver, "composed")

    async def test_nothing_is_overwritten_on_a_store_that_ignores_create_only(
        self, driver: S3Driver, original: ObjectInfo, requests: Requests
    ) -> None:
        """Ceph 16.2 does when an upload is completed."""
        requests.around[COMPLETE] = without("IfNoneMatch")
        await driver.upload("composed", BytesSource(b"other"))
        with pytest.raises(PreconditionFailed):
            await compose(driver, original)
        assert await read_all(driver, "composed", 0, 10) == b"other"

    async def test_an_unavailable_store_leaves_what_can_be_resumed(
        self, seaweedfs: S3Server, bucket: str, driver: S3Driver, original: ObjectInfo, requests: Requests
    ) -> None:
        requests.around[COMPLETE] = refused("InternalError", 500)
        effects = Effects()
        with pytest.raises(StoreUnavailable) as caught:
            await compose(driver, original, effects=effects)
        assert caught.value.uncertain
        assert effects.uncertain
        assert len(await open_uploads(driver, "composed")) == 1
        requests.around.clear()
        await compose(driver, original, resume=True)
        await assert_composed(driver)

    async def test_the_budget_limits_requests_and_bytes(
        self, driver: S3Driver, budget: Budget, original: ObjectInfo, requests: Requests
    ) -> None:
        """Copied parts need no bytes of it."""
        most = 0, 0

        async def watched(real: Send, *args: Any, **params: Any) -> Any:
            nonlocal most
            most = max(most[0], budget.requests_in_flight), max(most[1], budget.bytes_in_flight)
            return await real(*args, **params)

        requests.around[COPY] = requests.around[PART] = watched
        data = OLD[:MIN_PART_SIZE] + OLD[:MIN_PART_SIZE] + bytes(3 * MIN_PART_SIZE)
        runs = [Run(n * MIN_PART_SIZE, MIN_PART_SIZE, original, 0) for n in range(2)]
        await driver.compose("composed", KnownSource(data), runs)
        assert 1 < most[0] <= 4
        assert 0 < most[1] <= 2 * MIN_PART_SIZE


class TestCopies:
    async def test_a_store_that_refuses_to_repeat_a_copy_is_not_asked_again(
        self, driver: S3Driver, original: ObjectInfo, requests: Requests
    ) -> None:
        """The first copy is repeated. Further copies take one request if the checksums are known."""
        info = ObjectInfo(original.key, original.size, original.revision, original.modified, {"sha256": "0" * 64})
        requests.sent.clear()
        await driver.copy(driver, info, "first")
        assert requests.sent["copy_object"] == 2
        requests.sent.clear()
        copy = await driver.copy(driver, info, "second")
        assert requests.sent == {"copy_object": 1}
        assert copy.checksums == info.checksums
        assert (copy.size, copy.revision) == (original.size, (await driver.stat("second")).revision)

    async def test_nothing_is_overwritten_on_a_store_that_ignores_create_only(
        self, driver: S3Driver, original: ObjectInfo, requests: Requests
    ) -> None:
        """Ceph 16.2 does, so each key is checked first."""
        requests.around["copy_object"] = without("IfNoneMatch")
        await driver.copy(driver, original, "first")
        await driver.upload("second", BytesSource(b"other"))
        with pytest.raises(PreconditionFailed):
            await driver.copy(driver, original, "second")
        assert await read_all(driver, "second", 0, 10) == b"other"

    async def test_a_change_of_the_original_is_not_mistaken_for_a_refusal(
        self, driver: S3Driver, original: ObjectInfo, requests: Requests
    ) -> None:
        """The repeated copy fails, but not because the copy exists."""

        async def replaced(real: Send, *args: Any, **params: Any) -> Any:
            answer = await real(*args, **{**params, "IfNoneMatch": "*"})
            await driver.upload("original", BytesSource(b"replaced"), expected=Expect.ANYTHING)
            requests.around["copy_object"] = without("IfNoneMatch")
            return answer

        requests.around["copy_object"] = replaced
        await driver.copy(driver, original, "first")
        await driver.upload("second", BytesSource(b"other"))
        with contextlib.suppress(PreconditionFailed):
            await driver.copy(driver, await driver.stat("original"), "second")
        assert await read_all(driver, "second", 0, 10) == b"other"


class Killed(BaseException):
    """Stands for SIGKILL."""


async def killed(*_: Any, **__: Any) -> Any:
    raise Killed
