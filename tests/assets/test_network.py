"""Faults between a driver and its store never lose, duplicate or damage a version."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import re
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint
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
from aioassets.drivers.protocol import Expect
from aioassets.drivers.s3.driver import MIN_PART_SIZE, S3Driver

pytestmark = pytest.mark.servers

KINDS = ("s3", "azure", "gcs")
PART_SIZES = {"s3": MIN_PART_SIZE, "azure": 64 * 1024, "gcs": 256 * 1024}
SMALL = b"small" * 100
MIB = 1024 * 1024
WAIT = 7.0
"""Seconds that a store asks to wait."""
PATIENCE = 60.0
"""Seconds after which what a test waits for counts as hanging."""
SILENCE = 5.0
"""Seconds for which a store may be silent, where that is tested."""


def _is_claim(body: bytes) -> bool:
    return b'"claimed"' in body


def _is_manifest(body: bytes) -> bool:
    return b'"push_date"' in body


def _names(key: str) -> Callable[[bytes], bool]:
    """Whether an insert of GCS, which names its key in its body, is of one that ends so."""
    return lambda body: f'{key}"'.encode() in body[:500]


@dataclass(frozen=True)
class Step:
    """How a request looks on the wire."""

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
READS = {"index": r"\.versions", "manifest": r"\.meta", "small": "small", "large": "large"}
"""The targets of the requests of a fetch."""


def refusal(kind: str, status: int, code: str, headers: Mapping[str, str]) -> Reply:
    """A refusal in a store's own words."""
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
    """A fault by its name, as a kind of store has it."""
    if name in BROKEN:
        return BROKEN[name]
    headers = {"Retry-After": f"{WAIT:g}"} if name in ("slow down", "too many") else {}
    return refusal(kind, *SAID[name][kind], headers)


class Pauses(list[float]):
    """Stands for time: pauses are written down, and over at once.

    Attributes:
        meanwhile: what happens in each of them.
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
    """An empty store: its kind, its driver and what that is made with, and the server's address."""

    kind: str
    driver: type[Any]
    options: dict[str, Any]
    server: str


@dataclass(frozen=True)
class Wire:
    """A store that is reached through a relay.

    Attributes:
        kind: of the store.
        relay: what is in between.
        manager: works through the relay.
        direct: a driver that doesn't.
        part_size: bytes of a part.
    """

    kind: str
    relay: Relay
    manager: AssetsManager
    direct: Driver
    part_size: int

    def inject(self, fault: Fault, step: str, *, times: float = 1) -> Rule:
        """Break a request of a push."""
        found = STEPS[self.kind][step]
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
    """How drivers are to work; tests of their own need other settings."""
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
    async with (
        Relay(place.server) as relay,
        place.driver(dispatcher=Dispatcher(retry=policy), **relay.through(place.options), **settings) as driver,
        place.driver(**place.options, **settings) as direct,
    ):
        yield Wire(place.kind, relay, make_manager(driver, retry=policy), direct, settings["part_size"])
        for each in relay.exchanges:  # which pytest shows where the test failed
            sys.stdout.write(f"{each.method} {each.target} {each.status} {each.fault or ''}\n")


@pytest.fixture
def source(tmp_path: Path, settings: dict[str, Any]) -> Path:
    """A directory with a file that is sent in one request, and one in two parts."""
    root = tmp_path / "source"
    root.mkdir()
    (root / "small").write_bytes(SMALL)
    (root / "large").write_bytes(bytes(range(256)) * (settings["part_size"] // 256 + 1))
    return root


@pytest.fixture
def small_ranges(monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any]) -> None:
    """Have the larger file fetched in three ranges."""
    monkeypatch.setattr("aioassets.fetch.sinks.SMALL", len(SMALL))
    monkeypatch.setattr("aioassets.fetch.sinks.RANGE", settings["part_size"] // 2)


Published = Callable[..., Any]


def served(tmp_path: Path) -> list[Path]:
    """The files that are in the cache."""
    return [path for path in (tmp_path / "cache").rglob("*") if path.name in ("small", "large")]


def silent(wire: Wire) -> str:
    """Return the description of an unavailable store."""
    return re.escape(f"{wire.direct.url} is unavailable: it was silent for too long.")


@pytest.fixture
def published(wire: Wire, source: Path, make_manager: ManagerFactory, tmp_path: Path) -> Published:
    """Sees that these versions, latest first, are listed, each with all its bytes, and no other can be fetched."""
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
    """The objects of these versions, and no more."""
    return {"assets/model.versions"} | {
        f"assets/model/{version}{part}" for version in versions for part in (".meta", "/small", "/large")
    }


class TestOneFault:
    """It is got over, and leaves no trace."""

    @pytest.mark.parametrize(("kind", "step"), EACH_STEP)
    async def test_a_lost_answer_is_no_conflict_with_ourselves(
        self, step: str, wire: Wire, source: Path, pauses: Pauses, published: Published
    ) -> None:
        """The effect of the first attempt is recognised. The dispatcher retries, not the SDK."""
        for operation, versions in ((wire.manager.create_asset, ["0.0"]), (wire.manager.update_asset, ["0.1", "0.0"])):
            pauses.clear()
            lost = wire.inject(LoseAnswer(), step)
            assert (await operation(source, "model")).version == versions[0]
            assert len(lost.hits) == 1
            assert pauses
            await published(*versions)
            assert set(await keys(wire.direct)) == keys_of(*versions)

    @pytest.mark.parametrize("name", [*BROKEN, *SAID])
    async def test_a_push_gets_over_one_at_every_step(
        self, name: str, wire: Wire, source: Path, pauses: Pauses, published: Published
    ) -> None:
        rules = [wire.inject(fault_of(wire.kind, name), step) for step in STEPS[wire.kind]]
        assert (await wire.manager.create_asset(source, "model")).version == "0.0"
        assert [len(rule.hits) for rule in rules] == [1] * len(rules)
        await published("0.0")
        assert set(await keys(wire.direct)) == keys_of("0.0")

    async def test_a_push_gets_over_each_while_it_sends_a_long_manifest(
        self, wire: Wire, source: Path, published: Published, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """One that is made as it is sent, where the driver can do that."""
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
    async def test_a_fetch_gets_over_one_at_every_step(
        self, name: str, wire: Wire, source: Path, pauses: Pauses
    ) -> None:
        await wire.manager.create_asset(source, "model")
        rules = [wire.inject_into_read(fault_of(wire.kind, name), what) for what in READS]
        assert contents((await wire.manager.fetch_asset("model")).path) == contents(source)
        assert [len(rule.hits) for rule in rules] == [1] * len(rules)
        assert len(pauses) >= len(rules)

    @pytest.mark.usefixtures("small_ranges")
    async def test_a_download_goes_on_where_it_broke(self, wire: Wire, source: Path) -> None:
        """Of what arrived before, nothing is asked for again."""
        await wire.manager.create_asset(source, "model")
        rule = wire.inject_into_read(Truncate(1000), "large", times=3)
        assert (await wire.manager.fetch_asset("model[large]")).path.read_bytes() == (source / "large").read_bytes()
        got = [each.received for each in wire.relay.exchanges if each.status == 206 and "large" in each.target]
        assert len(rule.hits) == 3
        assert sum(got) == (source / "large").stat().st_size

    @pytest.mark.parametrize("kind", ["s3", "gcs"], indirect=True)
    async def test_a_store_notices_a_bit_that_flips_on_the_way_there(
        self, wire: Wire, source: Path, published: Published
    ) -> None:
        """The request is repeated, because what it carries isn't what its checksum says."""
        steps = ["claim", "content", "seal", "index", *(["part"] if wire.kind == "s3" else [])]
        rules = [wire.inject(FlipInRequest(1), step) for step in steps if wire.kind == "s3"]
        rules += [wire.inject(FlipInRequest(-1), step) for step in steps if wire.kind == "gcs"]
        await wire.manager.create_asset(source, "model")
        assert [len(rule.hits) for rule in rules] == [1] * len(rules)
        await published("0.0")

    @pytest.mark.parametrize(("kind", "step"), [("azure", "content"), ("azure", "part"), ("gcs", "part")])
    async def test_what_was_damaged_on_the_way_to_the_store_is_not_published(
        self, step: str, wire: Wire, source: Path, published: Published
    ) -> None:
        """Azurite's error code differs from Azure's, and GCS gets the checksum with the last chunk only."""
        await wire.manager.create_asset(source, "model")
        damage = wire.inject(FlipInRequest(7), step)
        with pytest.raises((StoreError, IntegrityError), match="large" if step == "part" else "small"):
            await wire.manager.update_asset(source, "model")
        assert len(damage.hits) == 1
        await published("0.0")
        assert (await wire.manager.update_asset(source, "model")).version == "0.1"
        await published("0.1", "0.0")


class TestThrottling:
    """A store that says that it is asked too much is asked less."""

    @pytest.fixture
    def many(self, tmp_path: Path) -> Path:
        root = tmp_path / "many"
        for number in range(200):
            (root / f"{number}").mkdir(parents=True)
            (root / f"{number}" / "small").write_bytes(SMALL)
        return root

    async def test_all_files_arrive_and_the_pace_comes_back(self, wire: Wire, many: Path, tmp_path: Path) -> None:
        """While it throttles, at most half as many requests are in flight, and then more again."""
        budget = wire.manager._session.store.driver._dispatcher.budget  # type: ignore[attr-defined]
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
    """A fault that doesn't go away ends in the right error, harms nothing, and leaves the next push alone."""

    @pytest.mark.parametrize(("kind", "step"), EACH_STEP)
    async def test_a_refused_push_publishes_nothing_and_can_be_continued(
        self, step: str, wire: Wire, source: Path, pauses: Pauses, published: Published
    ) -> None:
        """The repetition continues under the number of the push, unless only the listing was missing."""
        await wire.manager.create_asset(source, "model")
        wire.inject(fault_of(wire.kind, "too many"), step, times=math.inf)
        expected = PublicationUncertain if step == "index" else StoreUnavailable
        with pytest.raises(expected, match=re.escape(f"{wire.direct.url} is unavailable: ")):
            await wire.manager.update_asset(source, "model")
        wire.relay.heal()
        if step == "index":
            assert (await wire.manager.update_asset(source, "model")).version == "0.2"
            await published("0.2", "0.1", "0.0")
        else:
            await published("0.0")
            assert set(await keys(wire.direct)) <= keys_of("0.0") | keys_of("0.1")
            assert (await wire.manager.update_asset(source, "model")).version == "0.1"
            await published("0.1", "0.0")

    @pytest.mark.parametrize(("kind", "step"), [each for each in EACH_STEP if each.id != "gcs-completion"])
    async def test_a_push_that_hears_nothing_says_what_it_knows(
        self, step: str, wire: Wire, source: Path, published: Published
    ) -> None:
        """Before the seal, nothing can be fetched; from there it may be whole, and is listed by the next push.

        The repetition continues under the number unless it was sealed. GCS is asked in other words what
        became of a completion.
        """
        await wire.manager.create_asset(source, "model")
        wire.inject(LoseAnswer(), step, times=math.inf)
        sealed = step in ("seal", "index")
        with pytest.raises(PublicationUncertain if sealed else StoreUnavailable) as caught:
            await wire.manager.update_asset(source, "model")
        assert wire.direct.url in f"{caught.value} {caught.value.__cause__}"
        wire.relay.heal()
        if not sealed:
            await published("0.0")
        assert (await wire.manager.update_asset(source, "model")).version == ("0.2" if sealed else "0.1")
        await published(*(["0.2", "0.1", "0.0"] if sealed else ["0.1", "0.0"]))

    async def test_a_push_that_could_not_look_leaves_no_doubt(
        self, wire: Wire, source: Path, published: Published
    ) -> None:
        """A reading request has no effect, with or without a response."""
        await wire.manager.create_asset(source, "model")
        rule = wire.relay.inject(LoseAnswer(), method="HEAD|GET", target=r"0\.1(/|%2F)large", times=math.inf)
        with pytest.raises(StoreUnavailable, match=re.escape(wire.direct.url)) as caught:
            await wire.manager.update_asset(source, "model")
        assert rule.hits
        assert not caught.value.uncertain
        wire.relay.heal()
        assert (await wire.manager.update_asset(source, "model")).version == "0.1"
        await published("0.1", "0.0")

    @pytest.mark.parametrize("what", READS)
    async def test_a_fetch_leaves_nothing_in_the_cache(
        self, what: str, wire: Wire, source: Path, tmp_path: Path
    ) -> None:
        await wire.manager.create_asset(source, "model")
        wire.inject_into_read(fault_of(wire.kind, "slow down"), what, times=math.inf)
        with pytest.raises(StoreUnavailable, match=re.escape(wire.direct.url)):
            await wire.manager.fetch_asset("model")
        assert not (tmp_path / "cache" / "model").exists()
        wire.relay.heal()
        assert contents((await wire.manager.fetch_asset("model")).path) == contents(source)


class TestPauses:
    """Between attempts, nobody is hurried."""

    async def test_they_grow_and_are_spread(self, wire: Wire, source: Path, pauses: Pauses) -> None:
        """Half of each is left to chance, so that many clients don't come back at once."""
        wire.inject(fault_of(wire.kind, "a failure"), "claim", times=math.inf)
        with pytest.raises(StoreUnavailable):
            await wire.manager.create_asset(source, "model")
        bounds = [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, *[5.0] * (len(pauses) - 6)]
        assert 50 < sum(pauses) <= RetryPolicy().retry_for
        assert all(bound / 2 <= pause <= bound for pause, bound in zip(pauses, bounds, strict=True))
        assert len({pause / bound for pause, bound in zip(pauses, bounds, strict=True)}) == len(bounds)

    @pytest.mark.parametrize("name", ["slow down", "too many"])
    async def test_a_store_is_left_alone_as_long_as_it_asks(
        self, name: str, wire: Wire, source: Path, pauses: Pauses
    ) -> None:
        rule = wire.inject(fault_of(wire.kind, name), "content")
        await wire.manager.create_asset(source, "model")
        assert (len(rule.hits), pauses) == (1, [WAIT])

    @pytest.mark.parametrize("policy", [{"retry_for": 2.5 * WAIT}], indirect=True)
    async def test_they_end(self, wire: Wire, source: Path, pauses: Pauses) -> None:
        """No attempt begins after the time for retries."""
        rule = wire.inject(fault_of(wire.kind, "slow down"), "claim", times=math.inf)
        with pytest.raises(StoreUnavailable, match=re.escape(wire.direct.url)):
            await wire.manager.create_asset(source, "model")
        assert (len(rule.hits), pauses) == (3, [WAIT, WAIT])


def inject_into_large_body(wire: Wire, fault: Fault, *, times: float = 1) -> Rule:
    """Break a request by its head alone: its body isn't taken before."""
    return wire.relay.inject(
        fault, method="PUT|POST", headers=lambda found: int(found.get("content-length", 0)) > MIB, times=times
    )


class TestStalledPush:
    """A store that stops is given up after the time for which it may be silent."""

    @pytest.fixture
    def settings(self) -> dict[str, Any]:
        return {"part_size": 16 * MIB, "read_timeout": SILENCE}

    @pytest.fixture
    def source(self, tmp_path: Path) -> Path:
        """A directory with one file, which is sent in one request that no buffer takes whole."""
        root = tmp_path / "source"
        root.mkdir()
        (root / "small").write_bytes(bytes(12 * MIB))
        return root

    @pytest.fixture(params=[Stall, StallRequest, partial(StallRequest, 1 * MIB)], ids=["answer", "request", "body"])
    def stall(self, request: pytest.FixtureRequest, clock: Clock) -> Fault:
        """A store that doesn't answer, or that doesn't take the request."""
        return request.param(then=lambda: clock.skip(SILENCE + 1))  # type: ignore[no-any-return]

    async def test_one_is_got_over(self, stall: Fault, wire: Wire, source: Path, published: Published) -> None:
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
            await wire.manager.update_asset(source, "model")
        assert len(rule.hits) == 2
        wire.relay.heal()
        await published("0.0")
        assert (await wire.manager.update_asset(source, "model")).version == "0.1"


class TestSilence:
    @pytest.fixture
    def settings(self, kind: str) -> dict[str, Any]:
        return {"part_size": PART_SIZES[kind], "read_timeout": SILENCE}

    @pytest.fixture
    def source(self, tmp_path: Path) -> Path:
        """A directory with one small file."""
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
        silence = 0  # also for requests that stall only now, since they were given up
        wire.relay.heal()
        assert contents((await wire.manager.fetch_asset("model")).path) == contents(source)

    async def test_one_in_the_middle_is_got_over(self, wire: Wire, source: Path, clock: Clock) -> None:
        await wire.manager.create_asset(source, "model")
        rules = [
            wire.inject_into_read(StallAnswer(10, lambda: clock.skip(SILENCE + 1)), what)
            for what in ("index", "manifest", "small")
        ]
        with anyio.fail_after(PATIENCE):
            assert contents((await wire.manager.fetch_asset("model")).path) == contents(source)
        assert [len(rule.hits) for rule in rules] == [1, 1, 1]

    async def test_a_trickle_is_waited_for(self, wire: Wire, source: Path, clock: Clock, pauses: Pauses) -> None:
        """The limit is to silence, not to the whole."""
        await wire.manager.create_asset(source, "model")
        rule = wire.inject_into_read(Trickle(lambda: clock.skip(0.9 * SILENCE)), "small")
        assert (await wire.manager.fetch_asset("model[small]")).path.read_bytes() == SMALL
        assert len(rule.hits) == 1
        assert clock.skipped > 5 * SILENCE
        assert not pauses


class TestNoServer:
    async def test_it_is_said_in_a_sentence(
        self, wire: Wire, source: Path, pauses: Pauses, published: Published
    ) -> None:
        """Nothing was sent, so nothing is in doubt."""
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
            assert f"{caught.value}" == f"{wire.direct.url} is unavailable: {address} refuses connections."
            assert not caught.value.uncertain
            assert 50 < sum(pauses) <= 2 * RetryPolicy().retry_for  # two requests may be in flight
        await published("0.0")

    async def test_it_may_come_back(self, wire: Wire, source: Path, pauses: Pauses, published: Published) -> None:
        await wire.relay.refuse()
        pauses.meanwhile = wire.relay.accept
        assert (await wire.manager.create_asset(source, "model")).version == "0.0"
        assert pauses
        await published("0.0")


class TestDamage:
    """Other bytes than those that were pushed are never served."""

    @pytest.mark.usefixtures("small_ranges")
    @pytest.mark.parametrize("part", ["small", "large"])
    async def test_a_bit_that_flips_on_the_way_is_noticed_and_read_again(
        self, part: str, wire: Wire, source: Path
    ) -> None:
        await wire.manager.create_asset(source, "model")
        rule = wire.inject_into_read(FlipInAnswer(300), part)
        assert contents((await wire.manager.fetch_asset("model")).path) == contents(source)
        assert len(rule.hits) == 1

    @pytest.mark.parametrize("at", [5, 15])
    async def test_documents_are_compared_with_the_checksums_that_the_store_tells(
        self, at: int, wire: Wire, source: Path, published: Published
    ) -> None:
        """So that no update writes back versions that aren't there, and no fetch follows what was never sealed."""
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
    async def test_bits_that_flip_again_and_again_are_named(
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
    async def test_a_bit_that_flips_in_the_store_is_named(
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
