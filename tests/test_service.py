"""The service example under a real server: acknowledged uploads are published, even if the service is stopped."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import os
import re
import signal
import sys
from collections import defaultdict
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import aiohttp
import pytest
from tools.inspection import contents, keys, store_of
from tools.servers import S3Server

from aioassets import (
    AioAssetsError,
    AssetExists,
    AssetNotFound,
    AssetsManager,
    Driver,
    FetchedAsset,
    LocalDriver,
    ManagerStateError,
    MemoryDriver,
    PublicationUncertain,
    StoreUnavailable,
    VersionNotFound,
)
from aioassets.drivers.s3.driver import S3Driver
from aioassets.errors import PushContended
from aioassets.model.claim import Claim, ClaimState
from aioassets.model.manifest import Manifest

pytestmark = pytest.mark.once

EXAMPLES = Path(__file__).parent.parent / "examples"
MODEL = "team/model"
CLIENTS = 200
LONG = 60
"""Seconds after which a test stops waiting for the service and fails."""

STUCK_UPLOADS = """
import sys
import anyio
from {module} import {driver}

async def stuck(*args, **options):
    print("stuck", file=sys.stderr, flush=True)
    await anyio.sleep_forever()

async def late(file, *exc_info):
    for _ in range(1000):
        await anyio.sleep(0)
    await remove(file, *exc_info)

{driver}.upload = stuck
remove, anyio.NamedTemporaryFile.__aexit__ = anyio.NamedTemporaryFile.__aexit__, late
"""
"""Script that makes uploads to the store hang, and the removal of temporary files slow."""


@dataclass(frozen=True)
class Place:
    """An empty store.

    Attributes:
        environ: the variables that configure the service.
        make_driver: makes the test's own driver.
        driver: the class of the driver.
    """

    environ: dict[str, str]
    make_driver: Callable[[], Any]
    driver: type


@pytest.fixture(params=["local", pytest.param("s3", marks=pytest.mark.servers)])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "local":
        path = tmp_path / "store"
        return Place({"AIOASSETS_BUCKET": str(path)}, lambda: LocalDriver(path), LocalDriver)
    server: S3Server = request.getfixturevalue("seaweedfs")
    bucket = server.fresh_bucket()
    options = {f"AIOASSETS_S3_{name.upper()}": value for name, value in server.options.items()}
    return Place(
        {"AIOASSETS_BUCKET": f"s3://{bucket}", **options}, lambda: S3Driver(bucket, **server.options), S3Driver
    )


@dataclass
class Service:
    """The example under uvicorn, in a process of its own.

    Attributes:
        process: that process.
        url: its URL.
        log: the lines that it has logged.
    """

    process: asyncio.subprocess.Process
    url: str = ""
    log: list[str] = field(default_factory=list)

    async def until(self, pattern: str) -> re.Match[str]:
        """Read the log up to a line that matches."""
        assert self.process.stderr is not None
        async for line in self.process.stderr:
            self.log.append(line.decode())
            if found := re.search(pattern, self.log[-1]):
                return found
        pytest.fail(f"it ended without {pattern!r}:\n{''.join(self.log)}")

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    async def ended(self) -> str:
        """Wait until the service exits properly, and return its log."""
        assert self.process.stderr is not None
        async with asyncio.timeout(LONG):
            self.log += [line.decode() async for line in self.process.stderr]
            code = await self.process.wait()
        log = "".join(self.log)
        assert "Application shutdown complete." in log, log
        assert not re.search("Task was destroyed|never retrieved|Unclosed|ResourceWarning", log), log
        assert code == -signal.SIGTERM  # uvicorn raises the signal again when it is done
        return log


@pytest.fixture
async def start(place: Place, tmp_path: Path) -> AsyncIterator[Callable[..., Any]]:
    """Start the service with `grace` seconds for requests to complete after SIGTERM, and a script that runs first."""
    running: list[asyncio.subprocess.Process] = []
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    environ = {key: value for key, value in os.environ.items() if not key.startswith(("AIOASSETS_", "MODELKIT_"))}
    environ |= {
        "AIOASSETS_DIR": str(tmp_path / "cache"),
        "TMPDIR": str(temporary),
        "SERVICE_CREATE": "1",
        **place.environ,
    }

    async def run(*, grace: int = LONG, script: str = "") -> Service:
        options = ["--app-dir", str(EXAMPLES), "--port=0", f"--timeout-graceful-shutdown={grace}", "--lifespan=on"]
        command = [sys.executable, "-W", "error", "-c", f"{script}\nimport uvicorn\nuvicorn.main()"]
        process = await asyncio.create_subprocess_exec(
            *command, *options, "--no-access-log", "service:app", stderr=asyncio.subprocess.PIPE, env=environ
        )
        running.append(process)
        service = Service(process)
        service.url = (await service.until(r"running on (http://\S+)"))[1]
        return service

    yield run
    for process in running:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        yield session


def body(number: int) -> bytes:
    """Return the unique request body of a client. Some are sent in many pieces."""
    return f"model {number}\n".encode() * (30_000 if number % 20 == 0 else 100)


@dataclass
class Clients:
    """Clients that each push one version.

    Attributes:
        acknowledged: the acknowledged versions, by client.
        reading: set when the service begins to read a client's body, by client.
        enough: set when a third of all are acknowledged.
        go_on: set to let clients send the second half of their body.
    """

    http: aiohttp.ClientSession
    service: Service
    acknowledged: dict[int, str] = field(default_factory=dict)
    reading: dict[int, asyncio.Event] = field(default_factory=lambda: defaultdict(asyncio.Event))
    enough: asyncio.Event = field(default_factory=asyncio.Event)
    go_on: asyncio.Event = field(default_factory=asyncio.Event)

    async def push(self, number: int) -> None:
        await self._send(number, body(number))

    async def push_in_halves(self, number: int, go_on: asyncio.Event | None = None) -> None:
        """Send half of the body, and the rest when the event is set."""
        await self._send(number, self._halves(number, go_on or self.go_on), expect100=True)

    async def _halves(self, number: int, go_on: asyncio.Event) -> AsyncGenerator[bytes, None]:
        self.reading[number].set()  # uvicorn answers "100 Continue" when the application asks for the body
        data = body(number)
        yield data[: len(data) // 2]
        await go_on.wait()
        yield data[len(data) // 2 :]

    async def _send(self, number: int, data: Any, **options: Any) -> None:
        try:
            async with self.http.post(f"{self.service.url}/versions", data=data, **options) as answer:
                if answer.status == 201:
                    self.acknowledged[number] = (await answer.json())["version"]
        except aiohttp.ClientError:
            return  # the service was stopped
        if len(self.acknowledged) >= CLIENTS // 3:
            self.enough.set()


async def check(driver: Driver, tmp_path: Path, acknowledged: Mapping[int, str]) -> list[str]:
    """Check that acknowledged versions are listed, that listed versions are complete, and that no other can be fetched.

    Returns:
        The listed versions, without the first one, which the service made itself.
    """
    store = store_of(driver)
    async with AssetsManager(driver=driver, assets_dir=tmp_path / "fresh cache") as manager:
        listed = await manager.list_versions(MODEL)

        async def content(version: str) -> bytes:
            fetched = await manager.fetch_asset(f"{MODEL}:{version}")
            assert fetched.verified
            return await asyncio.to_thread(fetched.path.read_bytes)

        found = dict(zip(listed, await asyncio.gather(*map(content, listed)), strict=True))
        assert found.pop("0.0") == b""
        assert len(set(acknowledged.values())) == len(acknowledged)
        assert {number: found.get(version) for number, version in acknowledged.items()} == {
            number: body(number) for number in acknowledged
        }
        assert set(found.values()) <= {body(number) for number in range(CLIENTS)}
        assert len(set(found.values())) == len(found)

        left = set(await keys(driver))
        for version in await store.numbers(MODEL):
            meta = (await store.read_meta(MODEL, version)).content
            key = store.layout.content(MODEL, version)
            if isinstance(meta, Manifest):
                assert version in listed
                left.discard(key)
            else:
                with pytest.raises(VersionNotFound):
                    await manager.fetch_asset(f"{MODEL}:{version}")
                if isinstance(meta, Claim) and meta.state is ClaimState.ABANDONED:  # the cleanup ran out of time
                    left.discard(key)
            left.discard(store.layout.meta(MODEL, version))
        assert left == {store.layout.versions(MODEL)}
    return list(found)


def assert_nothing_is_left_on_the_disk(tmp_path: Path) -> None:
    assert contents(tmp_path / "temporary") == {}
    assert contents(tmp_path / "store" / ".aioassets" / "tmp") == {}


async def test_every_upload_is_acknowledged_and_published(
    start: Callable[..., Any], http: aiohttp.ClientSession, place: Place, tmp_path: Path
) -> None:
    """All clients upload concurrently, and each gets a different version."""
    service = await start()
    clients = Clients(http, service)
    await asyncio.gather(*map(clients.push, range(CLIENTS)))
    assert len(clients.acknowledged) == CLIENTS
    async with http.get(f"{service.url}/versions") as answer:
        versions = await answer.json()
    service.stop()
    await service.ended()
    async with place.make_driver() as driver:
        assert await check(driver, tmp_path, clients.acknowledged) == versions[:-1]
    assert len(versions) == CLIENTS + 1
    assert_nothing_is_left_on_the_disk(tmp_path)


async def test_uploads_in_progress_complete_when_it_is_stopped(
    start: Callable[..., Any], http: aiohttp.ClientSession, place: Place, tmp_path: Path
) -> None:
    """The service waits for them and acknowledges each."""
    service = await start()
    clients = Clients(http, service)
    slow = range(CLIENTS // 2)
    async with asyncio.TaskGroup() as tasks:
        for number in range(CLIENTS):
            tasks.create_task((clients.push_in_halves if number in slow else clients.push)(number))
        await clients.enough.wait()
        for number in slow:
            await clients.reading[number].wait()
        service.stop()
        await service.until("Waiting for connections to close")
        clients.go_on.set()
    await service.ended()
    assert set(slow) <= set(clients.acknowledged)
    async with place.make_driver() as driver:
        assert len(await check(driver, tmp_path, clients.acknowledged)) == len(clients.acknowledged)
    assert_nothing_is_left_on_the_disk(tmp_path)


async def test_interrupted_uploads_leave_nothing_half_published(
    start: Callable[..., Any], http: aiohttp.ClientSession, place: Place, tmp_path: Path
) -> None:
    """The service is stopped at once, with pushes in all phases."""
    service = await start(grace=0)
    clients = Clients(http, service)
    never = asyncio.Event()
    slow, endless = range(CLIENTS // 3), range(CLIENTS // 3, CLIENTS // 3 + 10)
    async with asyncio.TaskGroup() as tasks:
        for number in range(CLIENTS):
            if number in endless:
                tasks.create_task(clients.push_in_halves(number, never))
            else:
                tasks.create_task((clients.push_in_halves if number in slow else clients.push)(number))
        await clients.enough.wait()
        for number in (*slow, *endless):
            await clients.reading[number].wait()
        clients.go_on.set()
        service.stop()
        log = await service.ended()
        never.set()
    assert re.search(r"Cancel \d+ running task", log)
    assert CLIENTS // 3 <= len(clients.acknowledged) < CLIENTS
    assert set(endless).isdisjoint(clients.acknowledged)
    async with place.make_driver() as driver:
        await check(driver, tmp_path, clients.acknowledged)
    assert_nothing_is_left_on_the_disk(tmp_path)


async def test_hanging_pushes_give_up_their_versions_before_it_exits(
    start: Callable[..., Any], http: aiohttp.ClientSession, place: Place, tmp_path: Path
) -> None:
    """The application waits for them, and for the removal of their temporary files."""
    first = await start()
    first.stop()
    await first.ended()
    name = place.driver.__name__
    service = await start(grace=0, script=STUCK_UPLOADS.format(module=place.driver.__module__, driver=name))
    clients = Clients(http, service)
    async with asyncio.TaskGroup() as tasks:
        for number in range(10):
            tasks.create_task(clients.push(number))
        for _ in range(10):
            await service.until("^stuck$")
        service.stop()
        await service.ended()
    assert clients.acknowledged == {}
    async with place.make_driver() as driver:
        store = store_of(driver)
        metas = [(await store.read_meta(MODEL, f"0.{number}")).content for number in range(1, 11)]
        assert not [meta for meta in metas if not isinstance(meta, Claim) or meta.state is ClaimState.CLAIMED]
        assert await check(driver, tmp_path, {}) == []
    assert_nothing_is_left_on_the_disk(tmp_path)


@pytest.mark.parametrize("place", ["local"], indirect=True)
async def test_an_interrupted_upload_publishes_nothing(
    start: Callable[..., Any], http: aiohttp.ClientSession, place: Place, tmp_path: Path
) -> None:
    service = await start()
    clients = Clients(http, service)
    upload = asyncio.create_task(clients.push_in_halves(1))
    await clients.reading[1].wait()
    upload.cancel()
    await asyncio.wait([upload])
    await clients.push(2)
    service.stop()
    assert "Traceback" not in await service.ended()
    assert clients.acknowledged == {2: "0.1"}
    async with place.make_driver() as driver:
        assert await check(driver, tmp_path, clients.acknowledged) == ["0.1"]
    assert_nothing_is_left_on_the_disk(tmp_path)


@pytest.mark.parametrize("place", ["local"], indirect=True)
async def test_it_serves_the_latest_version_at_its_start(
    start: Callable[..., Any], http: aiohttp.ClientSession
) -> None:
    """On its first start, the service creates an empty version. It looks for others every 30 seconds."""

    async def served() -> tuple[str, bytes]:
        async with http.get(f"{service.url}/model") as answer:
            return answer.headers["X-Model-Version"], await answer.read()

    service = await start()
    assert await served() == ("0.0", b"")
    await Clients(http, service).push(1)
    assert await served() == ("0.0", b"")
    service.stop()
    await service.ended()
    service = await start()
    assert await served() == ("0.1", body(1))


@dataclass
class Download:
    """A request for the model, sent to the application without a server, whose client takes its time.

    Attributes:
        began: set when the response has begun.
        go_on: set to take the rest of it.
        status: the status of the response.
        version: the version that it is said to have.
        content: the bytes received.
    """

    began: asyncio.Event = field(default_factory=asyncio.Event)
    go_on: asyncio.Event = field(default_factory=asyncio.Event)
    status: int = 0
    version: str = ""
    content: bytes = b""

    async def run(self, app: Any, state: dict[str, Any]) -> None:
        scope = {"type": "http", "method": "GET", "path": "/model", "headers": [], "query_string": b"", "state": state}
        await app(scope | {"raw_path": b"/model", "root_path": ""}, self._receive, self._send)

    async def _receive(self) -> dict[str, Any]:
        await asyncio.Event().wait()  # the client stays connected
        return {"type": "http.disconnect"}

    async def _send(self, message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.version = dict(message["headers"])[b"x-model-version"].decode()
            self.began.set()
            await self.go_on.wait()
        else:
            self.content += message.get("body", b"")


async def test_it_reloads_fifty_times_under_two_hundred_requests(
    example: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each request gets one complete version, although others are published while it is answered."""
    reloads, waves = 50, 5
    memory = MemoryDriver()
    monkeypatch.setattr(example, "AssetsManager", lambda: AssetsManager(driver=memory, assets_dir=tmp_path / "cache"))
    monkeypatch.setattr(example, "INTERVAL", 0.001)
    downloads: list[Download] = []
    source = tmp_path / "source"

    class Observed:
        def __init__(self, model: FetchedAsset) -> None:
            self.model = model

        def __setattr__(self, name: str, value: FetchedAsset) -> None:
            super().__setattr__(name, value)
            reloaded.put_nowait(value.version)

    reloaded: asyncio.Queue[str] = asyncio.Queue()
    monkeypatch.setattr(example, "Served", Observed)

    async with AssetsManager(driver=memory, assets_dir=tmp_path / "cache") as publisher:
        source.write_bytes(body(0))
        await publisher.create_asset(source, MODEL)
        async with example.lifespan(example.app) as state, asyncio.TaskGroup() as tasks:
            for number in range(1, reloads + 1):
                if number % (reloads // waves) == 1:
                    for each in downloads:
                        each.go_on.set()
                    wave = [Download() for _ in range(CLIENTS)]
                    for each in wave:
                        tasks.create_task(each.run(example.app, state))
                    downloads += wave
                    await asyncio.gather(*(each.began.wait() for each in wave))
                source.write_bytes(body(number))
                await publisher.update_asset(source, MODEL)
                while await reloaded.get() != f"0.{number}":
                    pass
            for each in downloads:
                each.go_on.set()
    assert len(downloads) == waves * CLIENTS
    assert {each.status for each in downloads} == {200}
    assert len({each.version for each in downloads}) == waves
    expected = {f"0.{number}": body(number) for number in range(reloads + 1)}
    assert [each for each in downloads if each.content != expected[each.version]] == []


async def test_a_misspelt_setting_publishes_nothing(example: ModuleType, tmp_path: Path) -> None:
    async with AssetsManager(tmp_path / "store", assets_dir=tmp_path / "cache") as manager:
        with pytest.raises(AioAssetsError) as caught:
            await example.fetch_model(manager)
    assert "SERVICE_MODEL" in caught.value.__notes__[0]
    assert not (tmp_path / "store").exists()


@pytest.fixture(scope="module")
def example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("service", EXAMPLES / "service.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("error", "status", "retry_after"),
    [
        (AssetNotFound(MODEL, "memory://store"), 404, None),
        (AssetExists(MODEL, "ann@host is already creating it."), 409, None),
        (PushContended(MODEL, 3), 409, None),
        (StoreUnavailable("memory://store", "it is busy."), 503, "5"),
        (StoreUnavailable("memory://store", "it is busy.", retry_after=0.2), 503, "1"),
        (ManagerStateError("This manager is closed."), 503, "5"),
        (PublicationUncertain(MODEL, "0.7", "there was no time left."), 500, None),
        (AioAssetsError("Something else."), 500, None),
    ],
)
async def test_its_responses_say_whether_to_retry(
    example: ModuleType, error: AioAssetsError, status: int, retry_after: str | None
) -> None:
    answer = await example.refuse(None, error)
    assert (answer.status_code, answer.headers.get("Retry-After")) == (status, retry_after)
    assert json.loads(answer.body).get("version") == getattr(error, "version", None)
