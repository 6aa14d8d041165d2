"""Stores without batches of deletions, and deletions that fail: they are reported with what is left."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterable, Mapping
from pathlib import Path
from typing import Any

import anyio
import pytest
from tools.claims import dead_claim, put_claim
from tools.factories import ManagerFactory
from tools.inspection import keys
from tools.interposer import Interposer, failure
from tools.relay import Relay, Reply
from tools.servers import AzureServer, GCSServer, S3Server

from aioassets import (
    AccessDenied,
    AzureDriver,
    Dispatcher,
    GCSDriver,
    LocalDriver,
    MemoryDriver,
    StoreError,
)
from aioassets.drivers.protocol import Expect
from aioassets.drivers.s3.driver import PART_SIZE, S3Driver
from aioassets.model.keys import Layout
from aioassets.runtime.effects import Effects
from aioassets.runtime.retry import NO_RETRY
from aioassets.store.probe import probe
from aioassets.testing import BytesSource

NEEDS_MD5 = b"<Error><Code>MissingContentMD5</Code><Message>Missing required header: Content-Md5.</Message></Error>"
NO_BATCHES = b"<Error><Code>NotImplemented</Code><Message>Not implemented.</Message></Error>"
DENIED = b"<Error><Code>AccessDenied</Code><Message>Denied.</Message></Error>"
KEYS = [f"folder/{number}" for number in range(22)]


class Undeletable(MemoryDriver):
    """Store that refuses to delete keys with this ending, and deletes the others."""

    def __init__(self, ending: str) -> None:
        super().__init__()
        self.ending = ending

    async def delete(self, keys: Iterable[str], *, effects: Effects | None = None) -> None:
        gone = list(keys)
        await super().delete([key for key in gone if not key.endswith(self.ending)], effects=effects)
        if any(key.endswith(self.ending) for key in gone):
            raise AccessDenied("memory://", "delete", "A test says so.")


def warnings(log: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in log.records if record.levelno >= logging.WARNING]


def batch_without_md5(headers: Mapping[str, str]) -> bool:
    return "content-md5" not in headers


@pytest.fixture
async def relay(seaweedfs: S3Server) -> AsyncIterator[Relay]:
    async with Relay(seaweedfs.endpoint_url) as relay:
        yield relay


@pytest.fixture
def bucket(seaweedfs: S3Server) -> str:
    return seaweedfs.fresh_bucket()


@pytest.fixture
async def s3(seaweedfs: S3Server, relay: Relay, bucket: str) -> AsyncIterator[S3Driver]:
    options = relay.through(seaweedfs.options)
    async with S3Driver(bucket, dispatcher=Dispatcher(retry=NO_RETRY), **options) as driver:
        for key in KEYS:
            await driver.write(key, b"data", expected=Expect.ABSENT)
        relay.forget()
        yield driver


@pytest.mark.servers
class TestBatchesOfS3:
    async def test_a_store_that_wants_content_md5_deletes_in_one_batch(self, s3: S3Driver, relay: Relay) -> None:
        refusing = relay.inject(
            Reply(400, body=NEEDS_MD5), method="POST", target=r"\?delete", headers=batch_without_md5, times=99
        )
        await s3.delete(KEYS)
        assert await keys(s3) == []
        assert refusing.hits == []
        assert [each.method for each in relay.exchanges if each.method in ("POST", "DELETE")] == ["POST"]

    @pytest.mark.parametrize(
        ("status", "body"), [(501, NO_BATCHES), (501, b""), (405, b""), (400, NEEDS_MD5), (404, b"no such page")]
    )
    async def test_a_store_without_batches_deletes_one_by_one(
        self, s3: S3Driver, relay: Relay, status: int, body: bytes
    ) -> None:
        relay.inject(Reply(status, body=body), method="POST", target=r"\?delete", times=99)
        await s3.delete(KEYS)
        assert await keys(s3) == []
        assert len([each for each in relay.exchanges if each.method == "DELETE"]) == len(KEYS)

    async def test_a_page_of_a_proxy_is_no_deletion(self, s3: S3Driver, relay: Relay) -> None:
        relay.inject(Reply(501, body=NO_BATCHES), method="POST", target=r"\?delete")
        relay.inject(Reply(200, body=b"<html><body>Sign in</body></html>"), method="DELETE", times=99)
        with pytest.raises(StoreError, match="the response is not in S3's format") as caught:
            await s3.delete(KEYS)
        assert caught.value.uncertain

    async def test_after_a_refusal_no_batch_is_tried_again(self, s3: S3Driver, relay: Relay) -> None:
        refusing = relay.inject(Reply(501, body=NO_BATCHES), method="POST", target=r"\?delete", times=99)
        await s3.delete(KEYS[:5])
        await s3.delete(KEYS[5:])
        assert len(refusing.hits) == 1

    async def test_a_refusal_in_words_of_s3_leaves_no_doubt(self, s3: S3Driver, relay: Relay) -> None:
        effects = Effects()
        relay.inject(Reply(501, body=NO_BATCHES), method="POST", target=r"\?delete")
        await s3.delete(KEYS, effects=effects)
        assert not effects.uncertain

    async def test_a_denied_deletion_is_reported_after_all_others(self, s3: S3Driver, relay: Relay) -> None:
        relay.inject(Reply(501, body=NO_BATCHES), method="POST", target=r"\?delete")
        relay.inject(Reply(403, body=DENIED), method="DELETE", target="folder/0", times=99)
        with pytest.raises(AccessDenied, match="Cannot delete 'folder/0'"):
            await s3.delete(KEYS)
        assert await keys(s3) == ["folder/0"]

    async def test_parts_that_can_t_be_removed_are_reported(
        self, s3: S3Driver, relay: Relay, caplog: pytest.LogCaptureFixture
    ) -> None:
        relay.inject(Reply(403, body=DENIED), method="PUT", target="partNumber=")
        relay.inject(Reply(403, body=DENIED), method="DELETE", target="uploadId=", times=99)
        with pytest.raises(AccessDenied, match="Cannot upload a part of 'large'"):
            await s3.upload("large", BytesSource(bytes(PART_SIZE + 1)))
        [message] = warnings(caplog)
        assert message.startswith("Could not remove the parts of an upload (see `aioassets clean`): Cannot abort an")


@pytest.fixture(params=["gcs", "azure"])
def served(request: pytest.FixtureRequest) -> tuple[type[Any], dict[str, Any], str]:
    """Return a driver, its options and the URL of its server."""
    if request.param == "gcs":
        gcs: GCSServer = request.getfixturevalue("gcs")
        return GCSDriver, {"bucket": gcs.fresh_bucket(), **gcs.options}, gcs.api_root
    azurite: AzureServer = request.getfixturevalue("azurite")
    return AzureDriver, {"container": azurite.fresh_container(), **azurite.options}, azurite.account_url


@pytest.mark.servers
async def test_a_denied_deletion_keeps_no_other_object(served: tuple[type[Any], dict[str, Any], str]) -> None:
    kind, options, url = served
    async with Relay(url) as relay, kind(dispatcher=Dispatcher(retry=NO_RETRY), **relay.through(options)) as driver:
        many = [f"folder/{number}" for number in range(100)]
        for key in many:
            await driver.write(key, b"data", expected=Expect.ABSENT)
        relay.inject(Reply(403), method="DELETE", target=r"folder(/|%2F)0(\?|$)", times=99)
        with pytest.raises(AccessDenied):
            await driver.delete(many)
        assert await keys(driver) == ["folder/0"]


async def test_a_folder_deletes_all_it_can(tmp_path: Path) -> None:
    driver = LocalDriver(tmp_path / "store")
    for key in ("a", "b", "c"):
        await driver.write(key, b"data", expected=Expect.ABSENT)
    with pytest.raises(StoreError, match=r"/a/\.\./b"):
        await driver.delete(["a/../b", "b", "c"])
    assert await keys(driver) == ["a"]


class TestReports:
    async def test_a_failed_push_tells_what_it_leaves(
        self, make_manager: ManagerFactory, tree: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        store = Undeletable("/w.bin")
        uploaded = anyio.Event()

        async def fail(moment: str, method: str, key: str) -> None:
            if (moment, method) == ("after", "upload") and key.endswith("/w.bin"):
                uploaded.set()
            if (moment, method) == ("before", "upload") and key.endswith("/x.bin"):
                await uploaded.wait()
                raise failure()

        with pytest.raises(StoreError, match="a test says so"):
            await make_manager(Interposer(store, fail)).create_asset(tree, "model")
        assert [key for key in await keys(store) if "/0.0/" in key] == ["assets/model/0.0/weights/w.bin"]
        [message] = warnings(caplog)
        assert message == (
            "Could not clean up model:0.0: Cannot delete in memory://: A test says so. Check the credentials and "
            "their permissions. 1 uploaded file is left in memory://memory/assets/model/0.0. Remove them with "
            "`aioassets clean model`."
        )

    async def test_the_probe_tells_which_object_it_leaves(self, caplog: pytest.LogCaptureFixture) -> None:
        store = Undeletable("")
        await probe(store, Layout("assets"))
        [left] = await keys(store)
        [message] = warnings(caplog)
        assert message.startswith(f"Could not remove the scratch object {store.url}/{left}: Cannot delete")

    async def test_clean_removes_what_it_can_and_returns_the_rest(self, make_manager: ManagerFactory) -> None:
        store = Undeletable("/stays")
        for version, key in (("0.1", "stays"), ("0.1", "goes"), ("0.2", "goes")):
            await store.upload(f"assets/model/{version}/{key}", BytesSource(b"data"))
        for version in ("0.1", "0.2"):
            await put_claim(store, await dead_claim(), f"assets/model/{version}.meta")
        manager = make_manager(store)
        result = await manager.clean(await manager.plan_clean())
        [(left, error)] = result.failed
        assert ([leftover.version for leftover in result.removed], result.kept) == (["0.2"], ())
        assert (left.version, left.files, type(error)) == ("0.1", 1, AccessDenied)

    async def test_asking_for_the_time_doesn_t_fail_because_of_the_scratch_object(
        self, make_manager: ManagerFactory, caplog: pytest.LogCaptureFixture
    ) -> None:
        store = Undeletable("")
        await store.upload("assets/model/0.0", BytesSource(b"without a manifest"))
        plan = await make_manager(store).plan_clean(legacy=True)
        assert plan.leftovers[0].files == 1
        assert "Could not remove the scratch object" in warnings(caplog)[0]
