"""The `.chunks` of a version: it is written like content, and never trusted."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import replace
from datetime import timedelta

import pytest
from tools.claims import dead_claim, live_claim, put_claim
from tools.factories import Files, ManagerFactory
from tools.inspection import exists, keys, store_of
from tools.interposer import LostAnswers

from aioassets import AssetsManager, Driver, LeftoverKind, Manifest, MemoryDriver
from aioassets.errors import PreconditionFailed
from aioassets.model.chunks import ChunkList, ChunkTable, document_digest
from aioassets.model.claim import ClaimState
from aioassets.model.keys import Layout
from aioassets.runtime.effects import Effects
from aioassets.store.chunks import read_chunks, write_chunks
from aioassets.testing import BytesSource

KEY = "assets/model/0.1.chunks"
TABLE = ChunkTable({"w.bin": ChunkList([3, 4], hashlib.sha256().digest() * 2)})
DATA = TABLE.to_json()
DIGEST = document_digest(DATA)


@pytest.fixture
def manager(memory: MemoryDriver, make_manager: ManagerFactory) -> AssetsManager:
    return make_manager(memory)


def test_the_key_is_next_to_that_of_the_manifest() -> None:
    assert Layout("assets").chunks("model", "0.1") == KEY


async def test_chunks_are_read_as_they_were_written(driver: Driver) -> None:
    store = store_of(driver)

    assert (await write_chunks(store, "model", "0.1", DATA)).created
    assert await read_chunks(store, "model", "0.1", DIGEST) == TABLE


async def test_writing_the_same_chunks_again_is_no_conflict(driver: Driver) -> None:
    store = store_of(driver)
    await write_chunks(store, "model", "0.1", DATA)

    assert not (await write_chunks(store, "model", "0.1", DATA, resume=True)).created


async def test_foreign_bytes_are_never_overwritten(driver: Driver) -> None:
    await driver.upload(KEY, BytesSource(b"foreign"))

    with pytest.raises(PreconditionFailed):
        await write_chunks(store_of(driver), "model", "0.1", DATA)
    assert (await driver.read(KEY)).data == b"foreign"


async def test_chunks_whose_response_was_lost_are_recognised(memory: MemoryDriver) -> None:
    effects = Effects()

    written = await write_chunks(store_of(LostAnswers(memory)), "model", "0.1", DATA, effects=effects)

    assert (await memory.read(KEY)).data == DATA
    assert not written.created


@pytest.mark.parametrize(
    ("data", "digest", "reason"),
    [
        (None, DIGEST, "doesn't exist"),
        (b"{}", DIGEST, "its SHA-256 is 44136fa3"),
        (b"{}", document_digest(b"{}"), "its chunking must be an object"),
    ],
    ids=["missing", "another", "invalid"],
)
async def test_chunks_that_cannot_be_used_are_left_out(
    memory: MemoryDriver, data: bytes | None, digest: str, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    if data is not None:
        await memory.upload(KEY, BytesSource(data))

    with caplog.at_level(logging.INFO):
        assert await read_chunks(store_of(memory), "model", "0.1", digest) is None
    assert "Cannot use the chunks of model:0.1" in caplog.text
    assert reason in caplog.text


async def test_deleting_a_version_deletes_its_chunks(
    manager: AssetsManager, memory: MemoryDriver, files: Files
) -> None:
    await manager.create_asset(files("0"), "model")
    await manager.update_asset(files("1"), "model")
    await write_chunks(store_of(memory), "model", "0.1", DATA)

    await manager.delete_version("model", "0.1", reason="bad")

    assert not await exists(memory, KEY)


async def test_chunks_that_arrive_after_a_deletion_are_cleaned_up(
    manager: AssetsManager, memory: MemoryDriver, files: Files
) -> None:
    await manager.create_asset(files("0"), "model")
    await manager.update_asset(files("1"), "model")
    await manager.delete_version("model", "0.1")
    await write_chunks(store_of(memory), "model", "0.1", DATA)

    plan = await manager.plan_clean("model", older_than=timedelta(0))
    await manager.clean(plan)

    assert [(found.kind, found.files) for found in plan.leftovers] == [(LeftoverKind.UNFINISHED_DELETION, 1)]
    assert not await exists(memory, KEY)


@pytest.mark.parametrize("state", [ClaimState.CLAIMED, ClaimState.ABANDONED])
async def test_chunks_of_a_dead_push_are_cleaned_up(
    manager: AssetsManager, memory: MemoryDriver, files: Files, state: ClaimState
) -> None:
    await manager.create_asset(files("0"), "model")
    await put_claim(memory, (await dead_claim()).in_state(state))
    await write_chunks(store_of(memory), "model", "0.1", DATA)

    plan = await manager.plan_clean("model", older_than=timedelta(0))
    await manager.clean(plan)

    assert [(found.version, found.files) for found in plan.removable] == [("0.1", 1)]
    assert not await exists(memory, KEY)


async def test_chunks_of_a_live_push_and_of_a_complete_version_are_kept(
    manager: AssetsManager, memory: MemoryDriver, files: Files
) -> None:
    await manager.create_asset(files("0"), "model")
    await put_claim(memory, await live_claim())
    for version in ("0.0", "0.1"):
        await write_chunks(store_of(memory), "model", version, DATA)

    await manager.clean(await manager.plan_clean())

    assert {KEY, "assets/model/0.0.chunks"} <= set(await keys(memory))


async def test_chunks_without_a_manifest_are_content_without_one(manager: AssetsManager, memory: MemoryDriver) -> None:
    await write_chunks(store_of(memory), "team/model", "0.1", DATA)

    (found,) = (await manager.plan_clean()).leftovers

    assert (found.kind, found.name, found.version) == (LeftoverKind.WITHOUT_MANIFEST, "team/model", "0.1")


async def test_chunks_do_not_show_up_as_assets_or_versions(
    manager: AssetsManager, memory: MemoryDriver, files: Files
) -> None:
    await manager.create_asset(files("0"), "model")
    await write_chunks(store_of(memory), "model", "0.0", DATA)
    await write_chunks(store_of(memory), "other", "0.0", DATA)

    assert [(asset.name, asset.versions) async for asset in manager.list_assets()] == [("model", ("0.0",))]
    assert await manager.list_versions("model") == ["0.0"]
    assert await store_of(memory).numbers("model") == {"0.0": True}


async def record_chunks(driver: Driver) -> None:
    """Add the digest of the chunks to the manifest of model:0.0."""
    meta = await store_of(driver).read_meta("model", "0.0")
    assert isinstance(meta.content, Manifest)
    sealed = replace(meta.content, chunks_digest=DIGEST).to_json()
    await driver.write("assets/model/0.0.meta", sealed, expected=meta.revision)


async def test_a_copy_does_not_claim_to_have_the_chunks_of_its_source(
    manager: AssetsManager, memory: MemoryDriver, files: Files
) -> None:
    await manager.create_asset(files("0"), "model")
    await record_chunks(memory)

    await manager.copy_version("model:0.0", manager, name="copy")

    assert b"chunks_digest" not in (await memory.read("assets/copy/0.0.meta")).data
    assert b"chunks_digest" in (await memory.read("assets/model/0.0.meta")).data


async def test_a_yank_keeps_the_digest_of_the_chunks(
    manager: AssetsManager, memory: MemoryDriver, files: Files
) -> None:
    await manager.create_asset(files("0"), "model")
    await record_chunks(memory)

    await manager.yank_version("model", "0.0", reason="bad")

    assert DIGEST.encode() in (await memory.read("assets/model/0.0.meta")).data
