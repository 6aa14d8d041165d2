"""Faults of the network between a driver and its store never lose, duplicate or damage a version."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import random
import re
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint
from tools.azure_blocks import copies_blocks
from tools.factories import ManagerFactory
from tools.inspection import contents, keys
from tools.relay import (
    Clock,
    Fault,
    FlipInAnswer,
    FlipInRequest,
    LoseAnswer,
    Relay,
    Reply,
    ResetAnswer,
    ResetRequest,
    Rule,
    Stall,
    StallAnswer,
    StallRequest,
    Trickle,
    Truncate,
)

from aioassets import (
    AssetsManager,
    AzureDriver,
    Budget,
    Dispatcher,
    Driver,
    Event,
    GCSDriver,
    IntegrityError,
    NotFound,
    PublicationUncertain,
    RetryPolicy,
    StoreError,
    StoreUnavailable,
)
from aioassets.drivers.protocol import Expect, Run
from aioassets.drivers.s3.driver import MIN_PART_SIZE, S3Driver
from aioassets.runtime.chunking import dividing_from
from aioassets.testing.sources import KnownSource

pytestmark = pytest.mark.servers

KINDS = ("s3", "azure", "gcs")
PART_SIZES = {"s3": MIN_PART_SIZE, "azure": 64 * 1024, "gcs": 256 * 1024}
SMALL = b"small" * 100
MIB = 1024 * 1024
WAIT = 7.0
"""Seconds in a store's `Retry-After` header."""
PATIENCE = 60.0
"""Seconds after which a test stops waiting for an event and fails."""
SILENCE = 5.0
"""Read timeout, in seconds, of the tests of silent stores."""


def _is_claim(body: bytes) -> bool:
    return b'"claimed"' in body


def _is_manifest(body: bytes) -> bool:
    return b'"push_date"' in body


def _names(key: str) -> Callable[[bytes], bool]:
    """Match an insert of GCS by the end of its key, which is in the request body."""
    return lambda body: f'{key}"'.encode() in body[:500]


@dataclass(frozen=True)
class Step:
    """Criteria for one request of a push."""

    method: str
    target: str
    body: Callable[[bytes], bool] | None = None
    headers: Callable[[dict[str, str]], bool] = bool


def _is_last_chunk(headers: Mapping[str, str]) -> bool:
    begin, _, size = headers["content-range"].partition("/")
    return begin.endswith(f"-{int(size) - 1}")


INSERT = "uploadType=multipart"
CHUNK = "upload_id="
STEPS: Mapping[str, Mapping[str, Step]] = {
    "s3": {
        "claim": Step("PUT", r"\.meta", _is_claim),
        "content": Step("PUT", "/small"),
        "begin": Step("POST", r"/large\?uploads"),
        "part": Step("PUT", r"/large\?.*partNumber="),
        "completion": Step("POST", r"/large\?uploadId="),
        "seal": Step("PUT", r"\.meta", _is_manifest),
        "index": Step("PUT", r"\.versions"),
    },
    "azure": {
        "claim": Step("PUT", r"\.meta", _is_claim),
        "content": Step("PUT", "/small"),
        "part": Step("PUT", r"/large\?comp=block&"),
        "completion": Step("PUT", r"/large\?comp=blocklist"),
        "seal": Step("PUT", r"\.meta", _is_manifest),
        "index": Step("PUT", r"\.versions"),
    },
    "gcs": {
        "claim": Step("POST", INSERT, _is_claim),
        "content": Step("POST", INSERT, _names("/small")),
        "begin": Step("POST", "uploadType=resumable"),
        "part": Step("PUT", CHUNK),
        "completion": Step("PUT", CHUNK, headers=_is_last_chunk),
        "seal": Step("POST", INSERT, _is_manifest),
        "index": Step("POST", INSERT, _names(".versions")),
    },
}
"""The requests of a push, in order."""
EACH_STEP = [pytest.param(kind, step, id=f"{kind}-{step}") for kind in KINDS for step in STEPS[kind]]
ALIAS_SWAPS: Mapping[str, Step] = {
    "s3": Step("PUT", r"\.aliases"),
    "azure": Step("PUT", r"\.aliases"),
    "gcs": Step("POST", INSERT, _names(".aliases")),
}
READS = {"index": r"\.versions", "manifest": r"\.meta", "small": "small", "large": "large"}
"""The targets of the requests of a fetch."""


def refusal(kind: str, status: int, code: str, headers: Mapping[str, str]) -> Reply:
    """Return a store's error response."""
    match kind:
        case "s3":
            text = f"<Error><Code>{code}</Code><Message>Said by the test.</Message></Error>"
        case "azure":
            text, headers = "", {"x-ms-error-code": code, **headers}
        case _:
            error = {"code": status, "message": "Said by the test.", "errors": [{"reason": code}]}
            text = json.dumps({"error": error})
    return Reply(status, headers, text.encode())


BROKEN: Mapping[str, Fault] = {
    "a request that is reset at once": ResetRequest(0),
    "a request that is reset in its body": ResetRequest(100),
    "an answer that is reset in its head": LoseAnswer(at=20),
    "an answer that is reset in its body": ResetAnswer(10),
    "an answer that is lost": LoseAnswer(),
    "an answer that is cut off": Truncate(10),
}
SAID: Mapping[str, Mapping[str, tuple[int, str]]] = {
    "a failure": {"s3": (500, "InternalError"), "azure": (500, "InternalError"), "gcs": (500, "backendError")},
    "slow down": {"s3": (503, "SlowDown"), "azure": (503, "ServerBusy"), "gcs": (503, "")},
    "too many": {"s3": (429, "TooManyRequests"), "azure": (429, ""), "gcs": (429, "rateLimitExceeded")},
    "a conflict for now": {
        "s3": (409, "ConditionalRequestConflict"),
        "azure": (409, "AccountBeingCreated"),
        "gcs": (409, "conflict"),
    },
}


def fault_of(kind: str, name: str) -> Fault:
    """Return a fault by its name."""
    if name in BROKEN:
        return BROKEN[name]
    headers = {"Retry-After": f"{WAIT:g}"} if name in ("slow down", "too many") else {}
    return refusal(kind, *SAID[name][kind], headers)


class Pauses(list[float]):
    """Replacement for sleeping: records each pause and returns at once.

    Attributes:
        meanwhile: called in each pause.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.meanwhile: Callable[[], Awaitable[None]] = checkpoint

    async def sleep(self, seconds: float) -> None:
        self.append(seconds)
        self.now += seconds
        await self.meanwhile()

    def policy(self, **options: Any) -> RetryPolicy:
        return RetryPolicy(sleep=self.sleep, clock=lambda: self.now, **options)


@dataclass(frozen=True)
class Place:
    """Empty store: its kind, its driver with the options, and the URL of its server."""

    kind: str
    driver: type[Any]
    options: dict[str, Any]
    server: str


@dataclass(frozen=True)
class Wire:
    """Store that is reached through a relay.

    Attributes:
        kind: the kind of the store.
        relay: the relay in front of the server.
        manager: a manager that works through the relay.
        direct: a driver without the relay.
        part_size: bytes of a part.
        budget: the budget of the manager's driver.
    """

    kind: str
    relay: Relay
    manager: AssetsManager
    direct: Driver
    part_size: int
    budget: Budget

    def inject(self, fault: Fault, step: str, *, times: float = 1) -> Rule:
        """Break a request of a push, or the swap of an alias."""
        found = ALIAS_SWAPS[self.kind] if step == "alias" else STEPS[self.kind][step]
        return self.relay.inject(
            fault, method=found.method, target=found.target, headers=found.headers, body=found.body, times=times
        )

    def inject_into_read(self, fault: Fault, what: str, *, times: float = 1) -> Rule:
        """Break a request of a fetch."""
        return self.relay.inject(fault, method="GET", target=READS[what], times=times)


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def place(kind: str, request: pytest.FixtureRequest) -> Place:
    if kind == "s3":  # servers are started outside of any event loop
        seaweedfs = request.getfixturevalue("seaweedfs")
        return Place(kind, S3Driver, {"bucket": seaweedfs.fresh_bucket(), **seaweedfs.options}, seaweedfs.endpoint_url)
    if kind == "azure":
        azurite = request.getfixturevalue("azurite")
        options = {"container": azurite.fresh_container(), **azurite.options}
        return Place(kind, AzureDriver, options, azurite.account_url)
    gcs = request.getfixturevalue("gcs")
    return Place(kind, GCSDriver, {"bucket": gcs.fresh_bucket(), **gcs.options}, gcs.api_root)


@pytest.fixture
def settings(kind: str) -> dict[str, Any]:
    """Return the options of drivers. Tests override this fixture."""
    return {"part_size": PART_SIZES[kind]}


@pytest.fixture
def pauses() -> Pauses:
    return Pauses()


@pytest.fixture
def policy(request: pytest.FixtureRequest, pauses: Pauses) -> RetryPolicy:
    return pauses.policy(**getattr(request, "param", {}))


@pytest.fixture
async def clock() -> Clock:
    return Clock()


@pytest.fixture
async def wire(
    place: Place, settings: dict[str, Any], policy: RetryPolicy, make_manager: ManagerFactory
) -> AsyncIterator[Wire]:
    dispatcher = Dispatcher(retry=policy)
    async with (
        Relay(place.server) as relay,
        place.driver(dispatcher=dispatcher, **relay.through(place.options), **settings) as driver,
        place.driver(**place.options, **settings) as direct,
    ):
        manager = make_manager(driver, retry=policy)
        yield Wire(place.kind, relay, manager, direct, settings["part_size"], dispatcher.budget)
        for each in relay.exchanges:  # pytest shows this if the test fails
            sys.stdout.write(f"{each.method} {each.target} {each.status} {each.fault or ''}\n")


@pytest.fixture
def source(tmp_path: Path, settings: dict[str, Any]) -> Path:
    """Return a directory with one file of a single request and one of two parts."""
    root = tmp_path / "source"
    root.mkdir()
    (root / "small").write_bytes(SMALL)
    (root / "large").write_bytes(bytes(range(256)) * (settings["part_size"] // 256 + 1))
    return root


@pytest.fixture
def small_ranges(monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any]) -> None:
    """Make a fetch read the larger file in three ranges."""
    monkeypatch.setattr("aioassets.fetch.sinks.SMALL", len(SMALL))
    monkeypatch.setattr("aioassets.fetch.sinks.RANGE", settings["part_size"] // 2)


Published = Callable[..., Any]


def served(tmp_path: Path) -> list[Path]:
    """Return the cached files."""
    return [path for path in (tmp_path / "cache").rglob("*") if path.name in ("small", "large")]


def silent(wire: Wire) -> str:
    """Return a pattern for the message about a silent store."""
    return re.escape(f"{wire.direct.url} is unavailable: the request timed out.")


@pytest.fixture
def published(wire: Wire, source: Path, make_manager: ManagerFactory, tmp_path: Path) -> Published:
    """Check that exactly these versions (latest first) are listed, complete, and can be fetched."""
    caches: Iterator[Path] = (tmp_path / f"cache-{number}" for number in itertools.count())

    async def check(*versions: str) -> None:
        manager = make_manager(wire.direct, assets_dir=next(caches))
        assert await manager.list_versions("model") == list(versions)
        for number in range(4):
            version = f"0.{number}"
            if version in versions:
                assert contents((await manager.fetch_asset(f"model:{version}")).path) == contents(source)
            else:
                with pytest.raises(NotFound):
                    await manager.fetch_asset(f"model:{version}")

    return check


def keys_of(*versions: str) -> set[str]:
    """Return the keys of exactly these versions."""
    return {"assets/model.versions"} | {
        f"assets/model/{version}{part}" for version in versions for part in (".meta", "/small", "/large")
    }


class TestOneFault:
    """A push or fetch retries after a single fault, which leaves no trace."""

    @pytest.mark.parametrize(("kind", "step"), EACH_STEP)
    async def test_a_push_recognises_its_own_write_after_a_lost_response(
        self, step: str, wire: Wire, source: Path, pauses: Pauses, published: Published
    ) -> None:
        """The driver repeats the request, not the SDK."""
        update = partial(wire.manager.update_asset, base=None)
        for operation, versions in ((wire.manager.create_asset, ["0.0"]), (update, ["0.1", "0.0"])):
            pauses.clear()
            lost = wire.inject(LoseAnswer(), step)
            assert (await operation(source, "model")).version == versions[0]
            assert len(lost.hits) == 1
            assert pauses
            await published(*versions)
            assert set(await keys(wire.direct)) == keys_of(*versions)

    @pytest.mark.parametrize("name", [*BROKEN, *SAID])
    async def test_a_push_survives_a_fault_at_every_step(
        self, name: str, wire: Wire, source: Path, pauses: Pauses, published: Published
    ) -> None:
        rules = [wire.inject(fault_of(wire.kind, name), step) for step in STEPS[wire.kind]]
        assert (await wire.manager.create_asset(source, "model")).version == "0.0"
        assert [len(rule.hits) for rule in rules] == [1] * len(rules)
        await published("0.0")
        assert set(await keys(wire.direct)) == keys_of("0.0")

    @pytest.mark.parametrize("name", [*BROKEN, *SAID])
    async def test_an_alias_is_moved_once_in_spite_of_a_fault_at_every_step(
        self, name: str, wire: Wire, source: Path
    ) -> None:
        await wire.manager.create_asset(source, "model")
        await wire.manager.update_asset(source, "model")
        moves = []
        for version, expect in (("0.0", None), ("0.1", "0.0")):
            rules = [wire.inject(fault_of(wire.kind, name), "alias")]
            rules += [
                wire.relay.inject(fault_of(wire.kind, name), method="GET", target=target)
                for target in (r"\.aliases", r"\.meta")
            ]
            moves.append(await wire.manager.set_alias("model", "prod", version, expect=expect))
            assert [len(rule.hits) for rule in rules] == [1, 1, 1]
        assert await wire.manager.alias_history("model", "prod") == moves[::-1]
        assert (await wire.manager.fetch_asset("model@prod")).version == "0.1"

    async def test_a_push_survives_each_fault_while_it_streams_a_long_manifest(
        self, wire: Wire, source: Path, published: Published, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Drivers that can stream a manifest do so here."""
        monkeypatch.setattr("aioassets.runtime.threads.CHUNK_SIZE", 1)
        monkeypatch.setattr("aioassets.drivers.http.exchange.TOGETHER", 0)
        await wire.manager.create_asset(source, "model")
        faults = [LoseAnswer(), *(fault_of(wire.kind, name) for name in (*BROKEN, *SAID))]
        for fault in faults:
            rule = wire.inject(fault, "seal")
            await wire.manager.update_asset(source, "model")
            assert len(rule.hits) == 1, fault
        versions = [f"0.{number}" for number in range(len(faults), -1, -1)]
        await published(*versions)
        assert set(await keys(wire.direct)) == keys_of(*versions)

    @pytest.mark.usefixtures("small_ranges")
    @pytest.mark.parametrize("name", [*BROKEN, *SAID])
    async def test_a_fetch_survives_a_fault_at_every_step(
        self, name: str, wire: Wire, source: Path, pauses: Pauses
    ) -> None:
        await wire.manager.create_asset(source, "model")
        rules = [wire.inject_into_read(fault_of(wire.kind, name), what) for what in READS]
        assert contents((await wire.manager.fetch_asset("model")).path) == contents(source)
        assert [len(rule.hits) for rule in rules] == [1] * len(rules)
        assert len(pauses) >= len(rules)

    @pytest.mark.usefixtures("small_ranges")
    async def test_a_download_resumes_after_its_last_byte(self, wire: Wire, source: Path) -> None:
        """No byte is requested twice."""
        await wire.manager.create_asset(source, "model")
        rule = wire.inject_into_read(Truncate(1000), "large", times=3)
        assert (await wire.manager.fetch_asset("model[large]")).path.read_bytes() == (source / "large").read_bytes()
        got = [each.received for each in wire.relay.exchanges if each.status == 206 and "large" in each.target]
        assert len(rule.hits) == 3
        assert sum(got) == (source / "large").stat().st_size

    @pytest.mark.parametrize("kind", ["s3", "gcs"], indirect=True)
    async def test_a_store_notices_a_bit_that_flips_in_a_request(
        self, wire: Wire, source: Path, published: Published
    ) -> None:
        """The checksum differs from the content, so the request is repeated."""
        steps = ["claim", "content", "seal", "index", *(["part"] if wire.kind == "s3" else [])]
        rules = [wire.inject(FlipInRequest(1), step) for step in steps if wire.kind == "s3"]
        rules += [wire.inject(FlipInRequest(-1), step) for step in steps if wire.kind == "gcs"]
        await wire.manager.create_asset(source, "model")
        assert [len(rule.hits) for rule in rules] == [1] * len(rules)
        await published("0.0")

    @pytest.mark.parametrize(("kind", "step"), [("azure", "content"), ("azure", "part"), ("gcs", "part")])
    async def test_content_that_is_damaged_in_a_request_is_not_published(
        self, step: str, wire: Wire, source: Path, published: Published
    ) -> None:
        """Azurite's error code differs from Azure's. GCS gets the checksum with the last chunk only."""
        await wire.manager.create_asset(source, "model")
        damage = wire.inject(FlipInRequest(7), step)
        with pytest.raises((StoreError, IntegrityError), match="large" if step == "part" else "small"):
            await wire.manager.update_asset(source, "model", base=None)
        assert len(damage.hits) == 1
        await published("0.0")
        assert (await wire.manager.update_asset(source, "model", base=None)).version == "0.1"
        await published("0.1", "0.0")


class TestThrottling:
    """A throttling store gets fewer requests."""

    @pytest.fixture
    def many(self, tmp_path: Path) -> Path:
        root = tmp_path / "many"
        for number in range(200):
            (root / f"{number}").mkdir(parents=True)
            (root / f"{number}" / "small").write_bytes(SMALL)
        return root

    async def test_all_files_arrive_and_the_limit_recovers(self, wire: Wire, many: Path, tmp_path: Path) -> None:
        """The limit falls to half or less while the store throttles, and then rises again."""
        budget = wire.budget
        ceiling = budget.requests_allowed
        paces: list[int] = []
        rule = wire.inject(fault_of(wire.kind, "slow down"), "content", times=10)

        def note(_: Event) -> None:
            paces.append(budget.requests_allowed)

        pushed = await wire.manager.create_asset(many, "model", progress=note)
        assert len(rule.hits) == 10
        assert min(paces) <= ceiling / 2
        assert paces[-1] > min(paces)
        assert pushed.files == 200
        assert contents((await wire.manager.fetch_asset("model")).path) == contents(many)


class TestNoEnd:
    """A lasting fault ends in the right error, damages nothing, and doesn't affect the next push."""

    @pytest.mark.parametrize(("kind", "step"), EACH_STEP)
    async def test_a_refused_push_publishes_nothing_and_can_be_continued(
        self, step: str, wire: Wire, source: Path, pauses: Pauses, published: Published
    ) -> None:
        """The repeated push continues under the same number, unless only the listing failed."""
        await wire.manager.create_asset(source, "model")
        wire.inject(fault_of(wire.kind, "too many"), step, times=math.inf)
        expected = PublicationUncertain if step == "index" else StoreUnavailable
        with pytest.raises(expected, match=re.escape(f"{wire.direct.url} is unavailable: ")):
            await wire.manager.update_asset(source, "model", base=None)
        wire.relay.heal()
        if step == "index":
            assert (await wire.manager.update_asset(source, "model", base=None)).version == "0.2"
            await published("0.2", "0.1", "0.0")
        else:
            await published("0.0")
            assert set(await keys(wire.direct)) <= keys_of("0.0") | keys_of("0.1")
            assert (await wire.manager.update_asset(source, "model", base=None)).version == "0.1"
            await published("0.1", "0.0")

    @pytest.mark.parametrize(("kind", "step"), [each for each in EACH_STEP if each.id != "gcs-completion"])
    async def test_a_push_without_responses_reports_its_state(
        self, step: str, wire: Wire, source: Path, published: Published
    ) -> None:
        """Before the seal, nothing can be fetched. After it, the version may be complete, and the next push lists it.

        The repeated push continues under the number unless it was sealed. GCS is left out for completions,
        whose result it reports by another request.
        """
        await wire.manager.create_asset(source, "model")
        wire.inject(LoseAnswer(), step, times=math.inf)
        sealed = step in ("seal", "index")
        with pytest.raises(PublicationUncertain if sealed else StoreUnavailable) as caught:
            await wire.manager.update_asset(source, "model", base=None)
        assert wire.direct.url in f"{caught.value} {caught.value.__cause__}"
        wire.relay.heal()
        if not sealed:
            await published("0.0")
        assert (await wire.manager.update_asset(source, "model", base=None)).version == ("0.2" if sealed else "0.1")
        await published(*(["0.2", "0.1", "0.0"] if sealed else ["0.1", "0.0"]))

    async def test_a_failed_read_leaves_nothing_uncertain(self, wire: Wire, source: Path, published: Published) -> None:
        """A read has no effect, with or without a response."""
        await wire.manager.create_asset(source, "model")
        rule = wire.relay.inject(LoseAnswer(), method="HEAD|GET", target=r"0\.1(/|%2F)large", times=math.inf)
        with pytest.raises(StoreUnavailable, match=re.escape(wire.direct.url)) as caught:
            await wire.manager.update_asset(source, "model", base=None)
        assert rule.hits
        assert not caught.value.uncertain
        wire.relay.heal()
        assert (await wire.manager.update_asset(source, "model", base=None)).version == "0.1"
        await published("0.1", "0.0")

    @pytest.mark.parametrize("what", READS)
    async def test_a_fetch_leaves_nothing_in_the_cache(
        self, what: str, wire: Wire, source: Path, tmp_path: Path
    ) -> None:
        await wire.manager.create_asset(source, "model")
        wire.inject_into_read(fault_of(wire.kind, "slow down"), what, times=math.inf)
        with pytest.raises(StoreUnavailable, match=re.escape(wire.direct.url)):
            await wire.manager.fetch_asset("model")
        assert not any((tmp_path / "cache").glob("*/model"))
        wire.relay.heal()
        assert contents((await wire.manager.fetch_asset("model")).path) == contents(source)


class TestPauses:
    """Pauses between retries."""

    async def test_they_grow_and_have_jitter(self, wire: Wire, source: Path, pauses: Pauses) -> None:
        """Half of each pause is random, so that many clients don't retry at the same time."""
        wire.inject(fault_of(wire.kind, "a failure"), "claim", times=math.inf)
        with pytest.raises(StoreUnavailable):
            await wire.manager.create_asset(source, "model")
        bounds = [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, *[5.0] * (len(pauses) - 6)]
        assert 50 < sum(pauses) <= RetryPolicy().retry_for
        assert all(bound / 2 <= pause <= bound for pause, bound in zip(pauses, bounds, strict=True))
        assert len({pause / bound for pause, bound in zip(pauses, bounds, strict=True)}) == len(bounds)

    @pytest.mark.parametrize("name", ["slow down", "too many"])
    async def test_retry_after_is_respected(self, name: str, wire: Wire, source: Path, pauses: Pauses) -> None:
        rule = wire.inject(fault_of(wire.kind, name), "content")
        await wire.manager.create_asset(source, "model")
        assert (len(rule.hits), pauses) == (1, [WAIT])

    @pytest.mark.parametrize("policy", [{"retry_for": 2.5 * WAIT}], indirect=True)
    async def test_they_end_after_the_time_for_retries(self, wire: Wire, source: Path, pauses: Pauses) -> None:
        """No attempt begins after that."""
        rule = wire.inject(fault_of(wire.kind, "slow down"), "claim", times=math.inf)
        with pytest.raises(StoreUnavailable, match=re.escape(wire.direct.url)):
            await wire.manager.create_asset(source, "model")
        assert (len(rule.hits), pauses) == (3, [WAIT, WAIT])


def inject_into_large_body(wire: Wire, fault: Fault, *, times: float = 1) -> Rule:
    """Break a request by its head alone, without reading its body first."""
    return wire.relay.inject(
        fault, method="PUT|POST", headers=lambda found: int(found.get("content-length", 0)) > MIB, times=times
    )


class TestStalledPush:
    """A push gives up on a store that stops responding after the read timeout."""

    @pytest.fixture
    def settings(self) -> dict[str, Any]:
        return {"part_size": 16 * MIB, "read_timeout": SILENCE}

    @pytest.fixture
    def source(self, tmp_path: Path) -> Path:
        """Return a directory with one file, whose request is too large for socket buffers."""
        root = tmp_path / "source"
        root.mkdir()
        (root / "small").write_bytes(bytes(12 * MIB))
        return root

    @pytest.fixture(params=[Stall, StallRequest, partial(StallRequest, 1 * MIB)], ids=["answer", "request", "body"])
    def stall(self, request: pytest.FixtureRequest, clock: Clock) -> Fault:
        """Return a fault: the store doesn't respond, or doesn't read the request."""
        return request.param(then=lambda: clock.skip(SILENCE + 1))  # type: ignore[no-any-return]

    async def test_a_single_stall_is_retried(
        self, stall: Fault, wire: Wire, source: Path, published: Published
    ) -> None:
        rule = inject_into_large_body(wire, stall)
        with anyio.fail_after(PATIENCE):
            assert (await wire.manager.create_asset(source, "model")).version == "0.0"
        assert len(rule.hits) == 1
        await published("0.0")

    @pytest.mark.parametrize("policy", [{"retry_for": 0.14}], indirect=True)
    async def test_a_push_names_a_silent_store(
        self, stall: Fault, wire: Wire, source: Path, published: Published
    ) -> None:
        await wire.manager.create_asset(source, "model")
        rule = inject_into_large_body(wire, stall, times=math.inf)
        with anyio.fail_after(PATIENCE), pytest.raises(StoreUnavailable, match=silent(wire)):
            await wire.manager.update_asset(source, "model", base=None)
        assert len(rule.hits) == 2
        wire.relay.heal()
        await published("0.0")
        assert (await wire.manager.update_asset(source, "model", base=None)).version == "0.1"


class TestSilence:
    @pytest.fixture
    def settings(self, kind: str) -> dict[str, Any]:
        return {"part_size": PART_SIZES[kind], "read_timeout": SILENCE}

    @pytest.fixture
    def source(self, tmp_path: Path) -> Path:
        """Return a directory with one small file."""
        root = tmp_path / "source"
        root.mkdir()
        (root / "small").write_bytes(SMALL)
        return root

    @pytest.mark.parametrize("policy", [{"retry_for": 0.14}], indirect=True)
    @pytest.mark.parametrize("what", ["index", "manifest", "small"])
    @pytest.mark.parametrize("stalled", [Stall, StallAnswer])
    async def test_a_fetch_names_a_silent_store(
        self, what: str, stalled: Callable[..., Fault], wire: Wire, source: Path, clock: Clock
    ) -> None:
        silence = SILENCE + 1
        await wire.manager.create_asset(source, "model")
        wire.inject_into_read(stalled(then=lambda: clock.skip(silence)), what, times=math.inf)
        with anyio.fail_after(PATIENCE), pytest.raises(StoreUnavailable, match=silent(wire)):
            await wire.manager.fetch_asset("model")
        silence = 0  # for abandoned requests that stall only now
        wire.relay.heal()
        assert contents((await wire.manager.fetch_asset("model")).path) == contents(source)

    async def test_a_stall_within_a_body_is_retried(self, wire: Wire, source: Path, clock: Clock) -> None:
        await wire.manager.create_asset(source, "model")
        rules = [
            wire.inject_into_read(StallAnswer(10, lambda: clock.skip(SILENCE + 1)), what)
            for what in ("index", "manifest", "small")
        ]
        with anyio.fail_after(PATIENCE):
            assert contents((await wire.manager.fetch_asset("model")).path) == contents(source)
        assert [len(rule.hits) for rule in rules] == [1, 1, 1]

    async def test_a_slow_response_is_not_a_stall(self, wire: Wire, source: Path, clock: Clock, pauses: Pauses) -> None:
        """The timeout applies to silence, not to the whole response."""
        await wire.manager.create_asset(source, "model")
        rule = wire.inject_into_read(Trickle(lambda: clock.skip(0.9 * SILENCE)), "small")
        assert (await wire.manager.fetch_asset("model[small]")).path.read_bytes() == SMALL
        assert len(rule.hits) == 1
        assert clock.skipped > 5 * SILENCE
        assert not pauses


class TestNoServer:
    async def test_the_error_is_one_sentence(
        self, wire: Wire, source: Path, pauses: Pauses, published: Published
    ) -> None:
        """No request was sent, so nothing is uncertain."""
        await wire.manager.create_asset(source, "model")
        await wire.relay.refuse()
        address = wire.relay.url.removeprefix("http://")
        for attempt in (
            wire.manager.update_asset(source, "model"),
            wire.manager.list_versions("model"),
            wire.manager.fetch_asset("model:0.0"),
        ):
            pauses.clear()
            with pytest.raises(StoreUnavailable) as caught:
                await attempt
            assert f"{caught.value}" == f"{wire.direct.url} is unavailable: {address} refused the connection."
            assert not caught.value.uncertain
            assert 50 < sum(pauses) <= 2 * RetryPolicy().retry_for  # two requests may be in flight
        await published("0.0")

    async def test_a_server_that_comes_back_is_used(
        self, wire: Wire, source: Path, pauses: Pauses, published: Published
    ) -> None:
        await wire.relay.refuse()
        pauses.meanwhile = wire.relay.accept
        assert (await wire.manager.create_asset(source, "model")).version == "0.0"
        assert pauses
        await published("0.0")


class TestDamage:
    """Damaged bytes are never served."""

    @pytest.mark.usefixtures("small_ranges")
    @pytest.mark.parametrize("part", ["small", "large"])
    async def test_a_bit_that_flips_in_a_response_is_noticed_and_read_again(
        self, part: str, wire: Wire, source: Path
    ) -> None:
        await wire.manager.create_asset(source, "model")
        rule = wire.inject_into_read(FlipInAnswer(300), part)
        assert contents((await wire.manager.fetch_asset("model")).path) == contents(source)
        assert len(rule.hits) == 1

    @pytest.mark.parametrize("at", [5, 15])
    async def test_documents_are_compared_with_the_checksums_of_the_store(
        self, at: int, wire: Wire, source: Path, published: Published
    ) -> None:
        """A damaged index is never written back, and a damaged manifest is never fetched from."""
        media = ".*alt=media" if wire.kind == "gcs" else ""
        await wire.manager.create_asset(source, "model")
        rules = [wire.relay.inject(FlipInAnswer(at), method="GET", target=READS["index"] + media)]
        assert (await wire.manager.update_asset(source, "model")).version == "0.1"
        rules += [
            wire.relay.inject(FlipInAnswer(at), method="GET", target=READS[what] + media)
            for what in ("index", "manifest")
        ]
        assert contents((await wire.manager.fetch_asset("model")).path) == contents(source)
        assert [len(rule.hits) for rule in rules] == [1, 1, 1]
        await published("0.1", "0.0")

    @pytest.mark.usefixtures("small_ranges")
    @pytest.mark.parametrize("part", ["small", "large"])
    async def test_bits_that_flip_repeatedly_raise_an_error(
        self, part: str, wire: Wire, source: Path, tmp_path: Path
    ) -> None:
        await wire.manager.create_asset(source, "model")
        wire.inject_into_read(FlipInAnswer(300), part, times=math.inf)
        with pytest.raises(IntegrityError) as caught:
            await wire.manager.fetch_asset("model")
        pushed = hashlib.sha256((source / part).read_bytes()).hexdigest()
        assert (caught.value.what, caught.value.expected) == (f"model:0.0[{part}]", f"sha256 {pushed}")
        assert re.fullmatch("[0-9a-f]{64}", caught.value.found)
        assert caught.value.found != pushed
        assert served(tmp_path) == []
        wire.relay.heal()
        assert contents((await wire.manager.fetch_asset("model")).path) == contents(source)

    @pytest.mark.usefixtures("small_ranges")
    @pytest.mark.parametrize("part", ["small", "large"])
    async def test_a_bit_that_flips_in_the_store_raises_an_error(
        self, part: str, wire: Wire, source: Path, tmp_path: Path
    ) -> None:
        await wire.manager.create_asset(source, "model")
        intact = (source / part).read_bytes()
        damaged = intact[:-1] + bytes([intact[-1] ^ 1])
        await wire.direct.write(f"assets/model/0.0/{part}", damaged, expected=Expect.ANYTHING)
        with pytest.raises(IntegrityError) as caught:
            await wire.manager.fetch_asset("model")
        assert caught.value.what == f"model:0.0[{part}]"
        assert caught.value.expected == f"sha256 {hashlib.sha256(intact).hexdigest()}"
        assert caught.value.found == hashlib.sha256(damaged).hexdigest()
        assert served(tmp_path) == []
        await wire.direct.write(f"assets/model/0.0/{part}", intact, expected=Expect.ANYTHING)
        assert contents((await wire.manager.fetch_asset("model")).path) == contents(source)


@pytest.fixture
def divided(monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any]) -> Iterator[None]:
    """Make the larger file one that has chunks and is read by ranges."""
    for module in ("opening", "stored"):
        monkeypatch.setattr(f"aioassets.read.{module}.SMALL_FILE", len(SMALL))
    with dividing_from(settings["part_size"]):
        yield


@pytest.mark.usefixtures("divided")
class TestReadingInPlace:
    """A file that is read in place is what was pushed, or an error."""

    @pytest.mark.parametrize("name", ["an answer that is cut off", "slow down"])
    async def test_it_survives_a_fault_at_every_step(self, name: str, wire: Wire, source: Path) -> None:
        await wire.manager.create_asset(source, "model")
        faults = {**READS, "chunks": r"\.chunks"}
        rules = [
            wire.relay.inject(fault_of(wire.kind, name), method="GET", target=target) for target in faults.values()
        ]
        content = (source / "large").read_bytes()
        assert await wire.manager.read("model[small]") == SMALL
        async with wire.manager.open("model:0.0[large]") as file:
            assert await file.read(100) == content[:100]
            assert await file.read_ranges([(1, 9), (len(content) - 9, len(content))]) == [content[1:9], content[-9:]]
            assert await file.read() == content[100:]
            assert file.verified
        assert [len(rule.hits) for rule in rules] == [1] * len(rules)
        assert (wire.budget.requests_in_flight, wire.budget.bytes_in_flight) == (0, 0)

    async def test_damaged_bytes_are_read_again_or_an_error(self, wire: Wire, source: Path) -> None:
        await wire.manager.create_asset(source, "model")
        content = (source / "large").read_bytes()
        for path, intact in (("small", SMALL), ("large", content)):
            rule = wire.inject_into_read(FlipInAnswer(300), path)
            assert await wire.manager.read(f"model[{path}]") == intact
            assert len(rule.hits) == 1
            wire.inject_into_read(FlipInAnswer(300), path, times=math.inf)
            async with wire.manager.open(f"model[{path}]") as file:
                with pytest.raises(IntegrityError):
                    await file.read_ranges([(0, 400)])
            wire.relay.heal()

    async def test_a_replaced_object_is_an_error(self, wire: Wire, source: Path) -> None:
        await wire.manager.create_asset(source, "model")
        content = (source / "large").read_bytes()
        opened = [await wire.manager.open("model[large]", verify=verify) for verify in (True, False)]
        await wire.direct.write("assets/model/0.0/large", content[::-1], expected=Expect.ANYTHING)
        for file in opened:
            with pytest.raises(IntegrityError, match=r"^model:0\.0\[large\] differs from what was pushed"):
                await file.read(10)
            await file.aclose()


@pytest.mark.parametrize("kind", ["s3"])
@pytest.mark.parametrize("fault", [*BROKEN, *SAID])
async def test_a_composition_survives_a_fault_of_a_copied_part(
    wire: Wire, place: Place, policy: RetryPolicy, settings: dict[str, Any], fault: str
) -> None:
    """The other steps are those of an upload in parts."""
    old = bytes(range(256)) * (MIN_PART_SIZE // 256)
    await wire.direct.upload("original", KnownSource(old))
    run = Run(0, len(old), await wire.direct.stat("original"), 0)
    rule = wire.relay.inject(
        fault_of(wire.kind, fault), method="PUT", headers=lambda headers: "x-amz-copy-source-range" in headers
    )
    dispatcher = Dispatcher(retry=policy)
    async with S3Driver(dispatcher=dispatcher, **wire.relay.through(place.options), **settings) as driver:
        made = await driver.compose("composed", KnownSource(old + SMALL), [run])
    assert len(rule.hits) == 1
    assert made.copied == len(old)
    assert (await wire.direct.stat("composed")).revision == made.revision
    stored = [bytes(chunk) async for chunk in wire.direct.read_range("composed", 0, 2 * len(old))]
    assert b"".join(stored) == old + SMALL
    assert [upload async for upload in wire.direct.open_uploads("")] == []


def _copies_a_part(headers: Mapping[str, str]) -> bool:
    return "x-amz-copy-source-range" in headers or "x-ms-copy-source" in headers


def _has_body(headers: Mapping[str, str]) -> bool:
    return not _copies_a_part(headers)


COMPOSING: Mapping[str, Sequence[Step]] = {
    "s3": [
        Step("POST", r"\?uploads"),
        Step("PUT", r"partNumber=", headers=_copies_a_part),
        Step("PUT", r"partNumber=", headers=_has_body),
        Step("POST", r"\?uploadId="),
    ],
    "azure": [
        Step("PUT", r"comp=block&", headers=_copies_a_part),
        Step("PUT", r"comp=block&", headers=_has_body),
        Step("PUT", r"comp=blocklist"),
    ],
    "gcs": [],
}
"""The requests that compose an object."""
ONES = ["a request that is reset in its body", "an answer that is lost", "slow down"]
"""Faults of each sort, for stores whose requests pass the same code."""


async def test_what_changed_travels_in_spite_of_a_fault_at_every_step(
    wire: Wire, tmp_path: Path, pauses: Pauses, make_manager: ManagerFactory
) -> None:
    """Each fault occurs once in each request of a composition, of a list of chunks, and of the content to fetch."""
    if wire.kind == "azure":
        copies_blocks(wire.relay)
    draw, source = random.Random(1), tmp_path / "source"
    kept = draw.randbytes(wire.part_size + MIB)
    source.write_bytes(kept)
    lists = [Step("PUT", r"\.chunks"), Step("GET", r"\.chunks")]
    if wire.kind == "gcs":
        lists[0] = Step("POST", INSERT, _names(".chunks"))
    with dividing_from(MIB):
        await wire.manager.create_asset(source, "model")
        await wire.manager.fetch_asset("model")
        for number, name in enumerate([*BROKEN, *SAID] if wire.kind == "s3" else ONES, 1):
            source.write_bytes(kept + draw.randbytes(100_000))
            wire.relay.forget()
            rules = [_inserted(wire, fault_of(wire.kind, name), step) for step in (*COMPOSING[wire.kind], *lists)]
            pushed = await wire.manager.update_asset(source, "model")
            assert (pushed.version, pushed.copied > 0) == (f"0.{number}", wire.kind != "gcs"), name
            rules.append(_inserted(wire, fault_of(wire.kind, name), Step("GET", rf"model(/|%2F)0\.{number}(\?|$)")))
            fetched = await wire.manager.fetch_asset("model")
            assert [len(rule.hits) for rule in rules] == [1] * len(rules), name
            assert fetched.path.read_bytes() == source.read_bytes()
            assert fetched.reused > wire.part_size
        copies = make_manager(wire.direct, assets_dir=tmp_path / "other")
        assert (await copies.fetch_asset("model")).path.read_bytes() == source.read_bytes()
    assert [upload async for upload in wire.direct.open_uploads("")] == []


def _inserted(wire: Wire, fault: Fault, step: Step) -> Rule:
    """Break a request, before it reaches what the relay does in place of the store."""
    return wire.relay.inject(
        fault, method=step.method, target=step.target, headers=step.headers, body=step.body, first=True
    )
