"""A repeated push resumes a dead one: under its number, without sending uploaded bytes again."""

from __future__ import annotations

import asyncio
import hashlib
import math
import os
import re
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import pytest
from tools.claims import dead_claim, put_claim, state_of
from tools.factories import PART_SIZE, Files, ManagerFactory, driver_at
from tools.inspection import contents, exists, keys
from tools.interposer import Interposer
from tools.relay import Exchange, Relay, Stall

from aioassets import (
    BytesTransferred,
    Driver,
    Event,
    FileTransferred,
    LocalDriver,
    MemoryDriver,
    SourceChanged,
)
from aioassets.cli.display import Tally
from aioassets.drivers.protocol import Expect, ObjectInfo, Source, Uploaded
from aioassets.model.claim import ClaimState
from aioassets.push.scan import scan
from aioassets.push.stored import scan_store
from aioassets.runtime.effects import Effects
from aioassets.runtime.lanes import LARGE
from aioassets.testing import BytesSource

CONTENT = "assets/model/0.1"
DOCUMENTS = 20_000
"""Maximum of bytes for claims, manifests, indexes and the framing of requests."""
PATIENCE = 60
"""Seconds after which the test stops waiting for parts, and fails."""
PARTS = r"partNumber=|comp=block&"
"""Pattern in the target of a request that sends a part."""

FILES = {
    "big": b"0123456789abcdef" * (PART_SIZE // 16 * 2 + 1000),
    "empty": b"",
    "small/a": b"a" * 50_000,
    "small/b": b"b" * 50_000,
}


@dataclass(frozen=True)
class Wire:
    """Store with counted requests.

    Attributes:
        driver: the store.
        relay: the relay in front of it; `None` for a store without a server.
    """

    driver: Driver
    relay: Relay | None


def server_of(place: Mapping[str, Any]) -> str | None:
    """Return the URL of the server of a store."""
    return next((found[0] for value in place.values() if (found := re.search(r"http://[\w.:]+", str(value)))), None)


@pytest.fixture
async def wire(place: dict[str, Any], driver: Driver) -> AsyncIterator[Wire]:
    """Return the store of `driver`, with counted requests."""
    if (server := server_of(place)) is None:
        yield Wire(driver, None)
        return
    async with Relay(server) as relay:
        counted = driver_at(relay.through(place))
        yield Wire(counted, relay)
        await counted.aclose()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Make a tree with a file of three parts, and smaller files."""
    folder = tmp_path / "source"
    for path, data in FILES.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    return folder


async def die(driver: Driver, source: Path, *left: str) -> dict[str, ObjectInfo]:
    """Leave the claim of a killed update, and some of its files."""
    await put_claim(driver, await dead_claim(fingerprint=(await scan(source)).fingerprint))
    for path in left:
        await driver.upload(f"{CONTENT}/{path}", BytesSource(FILES[path]))
    return {path: await driver.stat(f"{CONTENT}/{path}") for path in left}


async def open_uploads(driver: Driver) -> list[str]:
    """Return the ids of all open uploads."""
    return [upload.id async for upload in driver.open_uploads("")]


async def test_uploaded_files_are_not_sent_again(
    wire: Wire, driver: Driver, make_manager: ManagerFactory, files: Files, source: Path
) -> None:
    """Only missing files are sent and reported as transferred."""
    await make_manager(driver).create_asset(files("a"), "model")
    before = await die(driver, source, "big", "empty", "small/a")
    events: list[Event] = []
    tally = Tally("")

    def report(event: Event) -> None:
        events.append(event)
        tally.receive(event)

    manager = make_manager(wire.driver)
    assert (await manager.update_asset(source, "model", progress=report)).version == "0.1"
    assert {path: await driver.stat(f"{CONTENT}/{path}") for path in before} == before
    if wire.relay is not None:
        assert 50_000 <= wire.relay.sent("PUT|POST") < 50_000 + DOCUMENTS
    done = {event.path: event.skipped for event in events if isinstance(event, FileTransferred)}
    assert done == {"big": True, "empty": True, "small/a": True, "small/b": False}
    assert sum(event.nbytes for event in events if isinstance(event, BytesTransferred)) == 50_000
    assert (tally.files_done, tally.nbytes_done) == (tally.files, tally.nbytes)
    fetched = await manager.fetch_asset("model:0.1")
    assert contents(fetched.path) == {path: (data, False) for path, data in FILES.items()}
    digests = {file.path: file.digests["sha256"] for file in fetched.manifest.files}
    assert digests == {path: hashlib.sha256(data).hexdigest() for path, data in FILES.items()}
    assert await open_uploads(driver) == []


@dataclass
class PassOn:
    """Proxy that signals when enough requests have a response.

    Attributes:
        times: the number of responses.
        answered: set at that number.
    """

    times: int
    answered: anyio.Event = field(default_factory=anyio.Event)

    async def __call__(self, exchange: Exchange) -> None:
        await exchange.forward()
        await exchange.answer()
        self.times -= 1
        if not self.times:
            self.answered.set()


async def push_until_killed(place: dict[str, Any], relay: Relay, source: Path, parts: int) -> int:
    """Run the command `update`, and kill it when the store has enough parts; return their bytes."""
    options = {"part_size": PART_SIZE, **relay.through(place)}
    bucket = f"{options.pop('kind')}://{options.pop('bucket', None) or options.pop('container')}"
    taken = PassOn(parts)
    rule = relay.inject(taken, method="PUT", target=PARTS, times=parts)
    relay.inject(Stall(), method="PUT", target=PARTS, times=math.inf)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "aioassets", "update", source, "model", "--yes", "--bucket", bucket),
        *(argument for name, value in options.items() for argument in ("-o", f"{name}={value}")),
        env={name: value for name, value in os.environ.items() if not name.startswith(("AIOASSETS_", "AWS_"))},
    )
    try:
        async with asyncio.timeout(PATIENCE):
            await taken.answered.wait()
    finally:
        process.kill()
        await process.wait()
    return sum(exchange.sent for exchange in rule.hits)


@pytest.mark.servers
@pytest.mark.parametrize("place", ["s3", "azure"], indirect=True)
async def test_a_killed_upload_resumes_with_the_missing_parts(
    place: dict[str, Any], driver: Driver, wire: Wire, make_manager: ManagerFactory, files: Files, tmp_path: Path
) -> None:
    """No byte of the other parts is sent again, and no upload stays open."""
    source, data = tmp_path / "large", os.urandom(4 * PART_SIZE + 1000)
    source.write_bytes(data)
    await make_manager(driver).create_asset(files("a"), "model")
    server = server_of(place)
    assert server is not None
    async with Relay(server) as relay:
        there = await push_until_killed(place, relay, source, parts=3)
    assert there >= 2 * PART_SIZE
    assert len(await open_uploads(driver)) == (place["kind"] == "s3")  # Azure can't list them
    assert not await exists(driver, CONTENT)

    tally = Tally("")
    manager = make_manager(wire.driver)
    assert (await manager.update_asset(source, "model", progress=tally.receive)).version == "0.1"
    assert wire.relay is not None
    assert wire.relay.sent("PUT|POST", PARTS) == len(data) - there
    assert wire.relay.sent() < len(data) - there + DOCUMENTS
    assert (tally.files_done, tally.nbytes_done) == (1, len(data))
    fetched = await manager.fetch_asset("model:0.1")
    assert fetched.path.read_bytes() == data
    assert fetched.manifest.files[0].digests["sha256"] == hashlib.sha256(data).hexdigest()
    assert await open_uploads(driver) == []


async def test_other_bytes_of_the_same_size_are_left_alone(
    driver: Driver, make_manager: ManagerFactory, files: Files, source: Path
) -> None:
    """The push continues under another number."""
    manager = make_manager(driver)
    await manager.create_asset(files("a"), "model")
    await die(driver, source, "empty")
    await driver.upload(f"{CONTENT}/big", BytesSource(FILES["big"][:-1] + b"!"))
    assert (await manager.update_asset(source, "model")).version == "0.2"
    assert contents((await manager.fetch_asset("model")).path) == {path: (data, False) for path, data in FILES.items()}
    assert (await driver.read(f"{CONTENT}/big")).data.endswith(b"!")
    assert await exists(driver, f"{CONTENT}/empty")
    assert await open_uploads(driver) == []


async def test_a_resumed_push_that_fails_keeps_the_objects_it_found(
    driver: Driver, make_manager: ManagerFactory, files: Files, source: Path
) -> None:
    """It deletes only its own objects, so the number isn't used again."""
    await make_manager(driver).create_asset(files("a"), "model")
    await die(driver, source, "small/a")

    async def change(moment: str, method: str, key: str) -> None:
        if (moment, method) == ("after", "upload") and key.endswith("small/b"):
            await asyncio.to_thread((source / "empty").write_bytes, b"not any more")

    with pytest.raises(SourceChanged):
        await make_manager(Interposer(driver, change)).update_asset(source, "model")
    assert [key for key in await keys(driver) if key.startswith(f"{CONTENT}/")] == [f"{CONTENT}/small/a"]
    assert await state_of(driver) is ClaimState.ABANDONED
    assert await open_uploads(driver) == []
    assert (await make_manager(driver).update_asset(source, "model")).version == "0.2"


async def test_missing_small_files_cost_no_request(
    memory: MemoryDriver, make_manager: ManagerFactory, files: Files, source: Path
) -> None:
    """A resumed push looks only for objects that exist or may exist in parts."""
    resumed: dict[str, bool] = {}

    class Recording(Interposer):
        async def upload(
            self,
            key: str,
            source: Source,
            *,
            expected: Expect = Expect.ABSENT,
            resume: bool = False,
            effects: Effects | None = None,
        ) -> Uploaded:
            resumed[key] = resume
            return await self.driver.upload(key, source, expected=expected, resume=resume, effects=effects)

    manager = make_manager(Recording(memory))
    await manager.create_asset(source, "model")
    assert set(resumed.values()) == {False}
    resumed.clear()
    assert len(FILES["small/b"]) < LARGE < len(FILES["big"])
    await die(memory, source, "small/a")
    await manager.update_asset(source, "model", base=None)
    assert resumed == {f"{CONTENT}/{path}": path in ("big", "small/a") for path in FILES}


async def test_copied_objects_are_not_copied_again(
    driver: Driver, make_manager: ManagerFactory, files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store copies the source by itself."""
    for path, data in FILES.items():
        await driver.upload(f"raw/{path}", BytesSource(data))
    manager = make_manager(driver)
    monkeypatch.setattr("aioassets.session.make_driver", lambda location, **_: driver)
    await manager.create_asset(files("a"), "model")
    await put_claim(driver, await dead_claim(fingerprint=(await scan_store(driver, "raw/")).fingerprint))
    for path in ("big", "small/a"):
        info = await driver.stat(f"raw/{path}")
        if isinstance(driver, LocalDriver):  # a folder copies nothing in the store
            await driver.upload(f"{CONTENT}/{path}", BytesSource(FILES[path]))
        else:
            await driver.copy(driver, info, f"{CONTENT}/{path}")
    before = {path: await driver.stat(f"{CONTENT}/{path}") for path in ("big", "small/a")}
    events: list[Event] = []
    assert (await manager.update_asset("s3://bucket/raw/", "model", progress=events.append)).version == "0.1"
    assert {event.path for event in events if isinstance(event, FileTransferred) and event.skipped} == set(before)
    assert sum(event.nbytes for event in events if isinstance(event, BytesTransferred)) == 50_000
    assert {path: await driver.stat(f"{CONTENT}/{path}") for path in before} == before
    assert contents((await manager.fetch_asset("model:0.1")).path) == {path: (d, False) for path, d in FILES.items()}
