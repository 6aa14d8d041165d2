"""Clock errors: they can cost a push its number, but never damage a version."""

from __future__ import annotations

import asyncio
import dataclasses
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tools.claims import live_claim
from tools.factories import Files, ManagerFactory
from tools.inspection import contents
from tools.interposer import Hook, Interposer, Pause, nothing

from aioassets import AssetExists, AssetsManager, Driver, LocalDriver, MemoryDriver, SimpleDate
from aioassets.drivers.protocol import MAX_DOCUMENT, Document, Expect
from aioassets.errors import PreconditionFailed
from aioassets.push.scan import scan

HOUR = timedelta(hours=1)


class Stepping(Interposer):
    """Store whose clock advances by `step` between a write and the response to a read."""

    def __init__(self, driver: Driver, step: timedelta, hook: Hook = nothing) -> None:
        super().__init__(driver, hook)
        self.step = step

    async def read(self, key: str, *, limit: int = MAX_DOCUMENT) -> Document:
        found = await super().read(key, limit=limit)
        return dataclasses.replace(found, answered=found.answered + self.step)


@pytest.fixture(autouse=True)
def each_manager_a_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Judge claims of this process by their age, like those of other machines."""
    monkeypatch.setattr("aioassets.runtime.machine.machine_id", lambda: os.urandom(16).hex())


@pytest.fixture
def sources(tmp_path: Path) -> tuple[Path, Path]:
    """Two folders with equal fingerprints that differ in the bytes of one file."""
    made = []
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "a").write_text("same")
        (folder / "b").write_text(name)
        for path in ("a", "b"):
            os.utime(folder / path, ns=(1, 1))
        made.append(folder)
    return made[0], made[1]


async def listed(manager: AssetsManager) -> list[dict[str, tuple[bytes | None, bool]]]:
    """Return the contents of all versions after the first, oldest first."""
    versions = sorted(set(await manager.list_versions("model")) - {"0.0"})
    return [contents((await manager.fetch_asset(f"model:{version}", verify=True)).path) for version in versions]


@pytest.mark.parametrize("ending", ["0.1/a", "0.1/b"])
@pytest.mark.parametrize("moment", ["before", "after"])
async def test_taking_over_a_live_push_that_looks_dead_is_safe(
    driver: Driver, make_manager: ManagerFactory, files: Files, sources: tuple[Path, Path], moment: str, ending: str
) -> None:
    """If the clock jumps ahead, an equal push takes its number, and the first one ends under another."""
    manager = make_manager(driver)
    await manager.create_asset(files("a"), "model")
    gate = Pause(moment, "upload", ending)
    first = asyncio.ensure_future(make_manager(Interposer(driver, gate)).update_asset(sources[0], "model"))
    await gate.reached.wait()
    taken = await make_manager(Stepping(driver, HOUR)).update_asset(sources[0], "model")
    gate.go_on.set()
    assert (taken.version, (await first).version) == ("0.1", "0.2")
    assert await listed(manager) == [contents(sources[0])] * 2


@pytest.mark.parametrize("moment", ["before", "after"])
async def test_a_push_that_loses_its_number_deletes_nothing(
    driver: Driver, make_manager: ManagerFactory, files: Files, sources: tuple[Path, Path], moment: str
) -> None:
    """The push that took over may rely on the content."""
    manager = make_manager(driver)
    await manager.create_asset(files("a"), "model")
    gates = Pause("before", "upload", "0.1/b"), Pause(moment, "upload", "0.1/b")
    first = asyncio.ensure_future(make_manager(Interposer(driver, gates[0])).update_asset(sources[0], "model"))
    await gates[0].reached.wait()
    second = asyncio.ensure_future(make_manager(Stepping(driver, HOUR, gates[1])).update_asset(sources[0], "model"))
    await gates[1].reached.wait()
    gates[0].go_on.set()
    assert (await first).version == "0.2"
    gates[1].go_on.set()
    assert (await second).version == "0.1"
    assert await listed(manager) == [contents(sources[0])] * 2


async def test_pushes_with_equal_fingerprints_are_never_mixed(
    driver: Driver, make_manager: ManagerFactory, files: Files, sources: tuple[Path, Path]
) -> None:
    """The push that took over a number gives it up if it finds different bytes, and so does the one that lost it."""
    manager = make_manager(driver)
    await manager.create_asset(files("a"), "model")
    gate = Pause("after", "upload", "0.1/b")
    first = asyncio.ensure_future(make_manager(Interposer(driver, gate)).update_asset(sources[0], "model"))
    await gate.reached.wait()
    second = await make_manager(Stepping(driver, HOUR)).update_asset(sources[1], "model")
    gate.go_on.set()
    assert {second.version, (await first).version} == {"0.2", "0.3"}
    assert await manager.list_versions("model") == ["0.3", "0.2", "0.0"]
    assert await listed(manager) == [contents(sources[1]), contents(sources[0])]


async def test_a_push_that_looks_dead_does_not_disturb_others(
    driver: Driver, make_manager: ManagerFactory, files: Files, sources: tuple[Path, Path]
) -> None:
    """A push of another source skips its number as usual."""
    manager = make_manager(driver)
    await manager.create_asset(files("a"), "model")
    gate = Pause("after", "upload", "0.1/a")
    first = asyncio.ensure_future(make_manager(Interposer(driver, gate)).update_asset(sources[0], "model"))
    await gate.reached.wait()
    assert (await make_manager(Stepping(driver, HOUR)).update_asset(files("b"), "model")).version == "0.2"
    gate.go_on.set()
    assert (await first).version == "0.1"
    assert await manager.list_versions("model") == ["0.2", "0.1", "0.0"]


async def test_one_of_two_creates_wins_at_any_clock_error(
    driver: Driver, make_manager: ManagerFactory, files: Files, sources: tuple[Path, Path]
) -> None:
    """The create that looks dead checks the index before it seals."""
    gate = Pause("after", "upload", "0.0/a")
    first = asyncio.ensure_future(make_manager(Interposer(driver, gate)).create_asset(sources[0], "model"))
    await gate.reached.wait()
    manager = make_manager(Stepping(driver, HOUR))
    assert (await manager.create_asset(files("b"), "model")).version == "0.1"
    gate.go_on.set()
    with pytest.raises(AssetExists):
        await first
    assert await manager.list_versions("model") == ["0.1"]


@pytest.mark.parametrize("step", [-HOUR, -1000 * HOUR, timedelta(0), timedelta(minutes=14)])
async def test_a_clock_that_steps_back_makes_no_push_look_dead(
    driver: Driver, make_manager: ManagerFactory, files: Files, sources: tuple[Path, Path], step: timedelta
) -> None:
    """Neither does one that jumps ahead by less than the lifetime of a claim."""
    manager = make_manager(driver)
    await manager.create_asset(files("a"), "model")
    claim = await live_claim(fingerprint=(await scan(sources[0])).fingerprint)
    await driver.write("assets/model/0.1.meta", claim.to_json(), expected=Expect.ABSENT)
    assert (await make_manager(Stepping(driver, step)).update_asset(sources[0], "model")).version == "0.2"


@pytest.mark.parametrize("step", [-HOUR, HOUR])
async def test_the_local_clock_is_not_compared_with_that_of_the_store(
    memory: MemoryDriver,
    make_manager: ManagerFactory,
    files: Files,
    sources: tuple[Path, Path],
    monkeypatch: pytest.MonkeyPatch,
    step: timedelta,
) -> None:
    """At any error, a recent claim is live, and pushes and fetches work."""
    manager = make_manager(memory)
    await manager.create_asset(files("a"), "model")
    claim = await live_claim(fingerprint=(await scan(sources[0])).fingerprint)
    await memory.write("assets/model/0.1.meta", claim.to_json(), expected=Expect.ABSENT)
    real = datetime.now(UTC)
    monkeypatch.setattr("time.time", (real + step).timestamp)
    monkeypatch.setattr("aioassets.push.context.datetime", frozen(real + step))
    wrong = make_manager(memory)
    assert (await wrong.update_asset(sources[0], "model")).version == "0.2"
    fetched = await wrong.fetch_asset("model")
    assert fetched.version == "0.2"
    assert contents(fetched.path) == contents(sources[0])


def frozen(moment: datetime) -> type[datetime]:
    """Clock that has stopped."""

    class Frozen(datetime):
        @classmethod
        def now(cls, tz: object = None) -> datetime:  # type: ignore[override]
            return moment

    return Frozen


async def test_files_with_future_times_have_distinct_revisions(tmp_path: Path) -> None:
    """Even in a folder whose clock stepped back."""
    driver = LocalDriver(tmp_path / "store")
    first = await driver.write("key", b"0", expected=Expect.ABSENT)
    ahead = (datetime.now(UTC) + HOUR).timestamp()
    os.utime(tmp_path / "store" / "key", (ahead, ahead))
    with pytest.raises(PreconditionFailed):
        await driver.write("key", b"1", expected=first)
    revisions = [(await driver.read("key")).revision]
    for _ in range(5):
        revisions.append(await driver.write("key", b"1", expected=revisions[-1]))
        with pytest.raises(PreconditionFailed):
            await driver.write("key", b"1", expected=revisions[-2])
    assert len(set(revisions)) == 6


async def test_a_claim_from_the_future_is_live(
    make_manager: ManagerFactory, files: Files, sources: tuple[Path, Path], tmp_path: Path
) -> None:
    """The clock of the folder stepped back after the claim was written."""
    driver = LocalDriver(tmp_path / "store")
    manager = make_manager(driver)
    await manager.create_asset(files("a"), "model")
    claim = await live_claim(fingerprint=(await scan(sources[0])).fingerprint)
    await driver.write("assets/model/0.1.meta", claim.to_json(), expected=Expect.ABSENT)
    ahead = (datetime.now(UTC) + HOUR).timestamp()
    os.utime(tmp_path / "store" / "assets" / "model" / "0.1.meta", (ahead, ahead))
    assert (await manager.update_asset(sources[0], "model")).version == "0.2"


@pytest.fixture
def dated() -> tuple[Callable[[datetime], None], SimpleDate]:
    """Scheme of date versions with an adjustable clock."""
    moments = [datetime(2026, 3, 9, 12, tzinfo=UTC)]
    return moments.append, SimpleDate(lambda: moments[-1])


async def test_date_versions_increase_even_if_the_clock_steps_back(
    memory: MemoryDriver,
    make_manager: ManagerFactory,
    files: Files,
    dated: tuple[Callable[[datetime], None], SimpleDate],
) -> None:
    """By one second each, until the clock has caught up."""
    set_clock, scheme = dated
    manager = make_manager(memory, versioning=scheme)
    created = await manager.create_asset(files("a"), "model")
    set_clock(datetime(2026, 3, 9, 11, tzinfo=UTC))
    behind = [await manager.update_asset(files(content), "model") for content in "bc"]
    set_clock(datetime(2026, 3, 9, 13, tzinfo=UTC))
    ahead = await manager.update_asset(files("d"), "model")
    versions = [pushed.version for pushed in (created, *behind, ahead)]
    assert versions == [
        "2026-03-09T12-00-00Z",
        "2026-03-09T12-00-01Z",
        "2026-03-09T12-00-02Z",
        "2026-03-09T13-00-00Z",
    ]
    assert await manager.list_versions("model") == versions[::-1]
    assert (await manager.fetch_asset("model")).path.read_text() == "d"
