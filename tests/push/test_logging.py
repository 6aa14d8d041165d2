"""Log records of pushes: takeovers, lost claims, burned numbers, failed renewals, versions listed for others."""

from __future__ import annotations

import logging
from pathlib import Path

import anyio
import pytest
from tools.claims import META, dead_claim, live_claim, put_claim
from tools.factories import Files, ManagerFactory
from tools.inspection import store_of
from tools.interposer import Fail, Interposer, failure

from aioassets import MemoryDriver, PublicationUncertain, StoreError, StoreUnavailable
from aioassets.push.claim import attempt_claim, renewing
from aioassets.push.scan import scan
from aioassets.runtime.effects import Effects


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, logger="aioassets.push")
    return caplog


def messages(log: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    return [(record.levelname, record.getMessage()) for record in log.records if record.name.startswith("aioassets.")]


async def test_a_push_without_trouble_logs_nothing(
    memory: MemoryDriver, make_manager: ManagerFactory, files: Files, log: pytest.LogCaptureFixture
) -> None:
    await make_manager(memory).create_asset(files("a"), "model")
    assert messages(log) == []


async def test_a_takeover_names_the_holder(
    memory: MemoryDriver, make_manager: ManagerFactory, tree: Path, files: Files, log: pytest.LogCaptureFixture
) -> None:
    manager = make_manager(memory)
    await manager.create_asset(files("a"), "model")
    await put_claim(memory, await dead_claim(fingerprint=(await scan(tree)).fingerprint))
    await manager.update_asset(tree, "model")
    assert messages(log) == [("INFO", "Took over model:0.1 from an interrupted push by ann@host")]


async def test_a_burned_number_is_a_warning(
    memory: MemoryDriver, make_manager: ManagerFactory, tree: Path, files: Files, log: pytest.LogCaptureFixture
) -> None:
    await make_manager(memory).create_asset(files("a"), "model")
    failing = make_manager(Interposer(memory, Fail("after", "upload", "/x.bin", failure(uncertain=True))))
    with pytest.raises(StoreError):
        await failing.update_asset(tree, "model")
    assert messages(log) == [
        ("WARNING", "Version model:0.1 will not be used again: a request for it may still take effect")
    ]


async def test_a_cleanup_that_fails_is_a_warning(
    memory: MemoryDriver, make_manager: ManagerFactory, tree: Path, files: Files, log: pytest.LogCaptureFixture
) -> None:
    await make_manager(memory).create_asset(files("a"), "model")
    unable = Interposer(memory, Fail("before", "delete", "", StoreUnavailable("the store", "a test says so.")))
    failing = make_manager(Interposer(unable, Fail("before", "upload", "/x.bin", failure())))
    with pytest.raises(StoreError):
        await failing.update_asset(tree, "model")
    [(level, message)] = messages(log)
    assert level == "WARNING"
    assert message.startswith("Could not clean up model:0.1: the store is unavailable")


async def test_a_lost_claim_is_a_warning(
    memory: MemoryDriver, make_manager: ManagerFactory, files: Files, log: pytest.LogCaptureFixture
) -> None:
    await make_manager(memory).create_asset(files("a"), "model")

    async def take_it(moment: str, method: str, key: str) -> None:
        if (moment, method, key) == ("before", "upload", "assets/model/0.1"):
            found = await memory.read(META)
            await memory.write(META, (await live_claim()).to_json(), expected=found.revision)

    await make_manager(Interposer(memory, take_it)).update_asset(files("b"), "model")
    assert messages(log) == [("WARNING", "Lost model:0.1 to another process; trying another number")]


async def test_a_version_listed_for_another_push_is_named(
    memory: MemoryDriver, make_manager: ManagerFactory, files: Files, log: pytest.LogCaptureFixture
) -> None:
    manager = make_manager(memory)
    await manager.create_asset(files("a"), "model")
    failing = make_manager(Interposer(memory, Fail("before", "write", "model.versions")))
    with pytest.raises(PublicationUncertain):
        await failing.update_asset(files("b"), "model")
    await manager.update_asset(files("c"), "model")
    assert messages(log) == [("INFO", "Added model:0.1 to the index on behalf of another push")]


async def test_a_renewal_that_fails_is_a_warning(memory: MemoryDriver, log: pytest.LogCaptureFixture) -> None:
    failing = Interposer(memory)
    held = (await attempt_claim(store_of(failing), "model", "0.1", await live_claim(), Effects())).held
    assert held is not None
    failing.hook = Fail("before", "write", META)
    renewed = anyio.Event()
    pauses = 0

    async def sleep(seconds: float) -> None:
        nonlocal pauses
        pauses += 1
        if pauses > 1:
            renewed.set()
            await anyio.sleep_forever()

    async with renewing(held, sleep=sleep):
        await renewed.wait()
    [(level, message)] = messages(log)
    assert level == "WARNING"
    assert message.startswith("Could not renew the claim on model:0.1: the store is unavailable")
