"""Life of a version number: claimed, sealed, abandoned, released, resumed, stepped over."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import subprocess
import sys
import threading
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio
import pytest
from tools.claims import META, dead_claim, gone_pid, live_claim, put_claim, state_of
from tools.factories import Files, ManagerFactory
from tools.inspection import exists, keys, store_of
from tools.interposer import Fail, Interposer, LostAnswers, Pause, failure

from aioassets import (
    AccessDenied,
    AssetExists,
    AssetNotFound,
    BytesTransferred,
    Dispatcher,
    Driver,
    Event,
    FileTransferred,
    Manifest,
    MemoryDriver,
    PreconditionFailed,
    PublicationUncertain,
    PushContended,
    RetryPolicy,
    SimpleDate,
    SourceChanged,
    StoreError,
    StoreUnavailable,
    TransferFinished,
    TransferStarted,
)
from aioassets.drivers.protocol import Expect, Revision, Source, StreamedDocument, Uploaded
from aioassets.model.claim import Claim, ClaimState
from aioassets.push.claim import attempt_claim, renewing
from aioassets.push.scan import Tree, scan
from aioassets.runtime.effects import Effects
from aioassets.runtime.threads import in_thread
from aioassets.store.claims import is_dead
from aioassets.store.documents import MetaState
from aioassets.testing import BytesSource

PATIENCE = 30.0
"""Seconds after which a test stops waiting for an event and fails."""


class LastLook:
    """Blocks the last check of a source, in its thread, until the test releases it."""

    def __init__(self, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._reached, self.go_on = threading.Event(), threading.Event()
        look = Tree.check_unchanged

        def held(tree: Tree) -> None:
            look(tree)
            if tree.root == str(source):
                self._reached.set()
                assert self.go_on.wait(PATIENCE)

        monkeypatch.setattr(Tree, "check_unchanged", held)

    async def reached(self) -> None:
        assert await in_thread(self._reached.wait, PATIENCE)


async def test_a_live_claim_is_stepped_over(driver: Driver, make_manager: ManagerFactory, files: Files) -> None:
    manager = make_manager(driver)
    await manager.create_asset(files("a"), "model")
    await put_claim(driver, await live_claim())
    assert (await manager.update_asset(files("b"), "model")).version == "0.2"
    assert await manager.list_versions("model") == ["0.2", "0.0"]
    assert await state_of(driver) is ClaimState.CLAIMED


async def test_a_create_that_meets_a_live_claim_names_its_holder(
    driver: Driver, make_manager: ManagerFactory, files: Files
) -> None:
    await put_claim(driver, await live_claim("create"), "assets/model/0.0.meta")
    with pytest.raises(AssetExists, match="ann@host is already creating it"):
        await make_manager(driver).create_asset(files("a"), "model")


async def test_a_create_steps_over_a_dead_claim(driver: Driver, make_manager: ManagerFactory, files: Files) -> None:
    await put_claim(driver, await dead_claim("create"), "assets/model/0.0.meta")
    assert (await make_manager(driver).create_asset(files("a"), "model")).version == "0.1"


async def test_a_push_that_died_is_resumed_under_its_number(
    driver: Driver, make_manager: ManagerFactory, tree: Path, files: Files
) -> None:
    """A push of the same source takes over the claim, and keeps the uploaded objects."""
    manager = make_manager(driver)
    await manager.create_asset(files("a"), "model")
    await put_claim(driver, await dead_claim(fingerprint=(await scan(tree)).fingerprint))
    await driver.upload("assets/model/0.1/weights/w.bin", BytesSource(b"w" * 3000))
    assert (await manager.update_asset(tree, "model")).version == "0.1"
    fetched = await manager.fetch_asset("model:0.1")
    assert (fetched.path / "weights" / "w.bin").read_bytes() == b"w" * 3000


async def test_a_dead_claim_of_another_source_is_stepped_over(
    driver: Driver, make_manager: ManagerFactory, files: Files
) -> None:
    """Other content may be under its number."""
    manager = make_manager(driver)
    await manager.create_asset(files("a"), "model")
    await put_claim(driver, await dead_claim())
    assert (await manager.update_asset(files("b"), "model")).version == "0.2"


async def test_a_released_number_is_used_again(driver: Driver, make_manager: ManagerFactory, files: Files) -> None:
    manager = make_manager(driver)
    await manager.create_asset(files("a"), "model")
    await put_claim(driver, await live_claim(state=ClaimState.RELEASED))
    assert (await manager.update_asset(files("b"), "model")).version == "0.1"


async def test_a_released_number_between_claims_is_used_again(
    driver: Driver, make_manager: ManagerFactory, files: Files
) -> None:
    manager = make_manager(driver)
    await manager.create_asset(files("a"), "model")
    for number, state in ((1, ClaimState.CLAIMED), (2, ClaimState.RELEASED), (3, ClaimState.ABANDONED)):
        await put_claim(driver, await live_claim(state=state), f"assets/model/0.{number}.meta")
    assert [(await manager.update_asset(files(c), "model")).version for c in "bc"] == ["0.2", "0.4"]


async def test_a_sealed_version_that_was_not_listed_is_listed_by_the_next_push(
    driver: Driver, make_manager: ManagerFactory, files: Files
) -> None:
    """Its push died between sealing and listing."""
    manager = make_manager(driver)
    await manager.create_asset(files("a"), "model")
    failing = make_manager(Interposer(driver, Fail("before", "write", "model.versions")))
    with pytest.raises(PublicationUncertain) as caught:
        await failing.update_asset(files("b"), "model")
    assert (caught.value.name, caught.value.version) == ("model", "0.1")
    assert await manager.list_versions("model") == ["0.0"]
    assert (await manager.fetch_asset("model:0.1")).path.read_text() == "b"
    assert (await manager.update_asset(files("c"), "model")).version == "0.2"
    assert await manager.list_versions("model") == ["0.2", "0.1", "0.0"]


async def test_foreign_bytes_under_a_claimed_number_are_left_alone(
    driver: Driver, make_manager: ManagerFactory, files: Files
) -> None:
    """The push starts again under another number, and deletes nothing."""
    manager = make_manager(driver)
    await manager.create_asset(files("a"), "model")
    await driver.upload("assets/model/0.1", BytesSource(b"of another push"))
    assert (await manager.update_asset(files("b"), "model")).version == "0.2"
    assert await exists(driver, "assets/model/0.1")
    assert await state_of(driver) is ClaimState.ABANDONED


async def test_a_lost_claim_is_left_alone(driver: Driver, make_manager: ManagerFactory, files: Files) -> None:
    """The push starts again under another number."""
    manager = make_manager(driver)
    await manager.create_asset(files("a"), "model")

    async def take_away(moment: str, method: str, key: str) -> None:
        if (moment, method, key) == ("after", "upload", "assets/model/0.1"):
            found = await store_of(driver).read_meta("model", "0.1")
            assert isinstance(found.content, Claim)
            abandoned = found.content.in_state(ClaimState.ABANDONED)
            await driver.write(META, abandoned.to_json(), expected=found.revision)

    pushed = await make_manager(Interposer(driver, take_away)).update_asset(files("b"), "model")
    assert pushed.version == "0.2"
    assert await manager.list_versions("model") == ["0.2", "0.0"]
    assert await state_of(driver) is ClaimState.ABANDONED


async def test_a_push_fails_after_three_lost_numbers(
    memory: MemoryDriver, make_manager: ManagerFactory, files: Files
) -> None:
    manager = make_manager(memory)
    await manager.create_asset(files("a"), "model")
    for number in range(1, 9):
        await memory.upload(f"assets/model/0.{number}", BytesSource(b"of another push"))

    driver = Interposer(memory)
    driver.list = lambda prefix, *, delimiter=None: memory.list("nothing", delimiter=delimiter)  # type: ignore[method-assign]
    with pytest.raises(PushContended):
        await make_manager(driver).update_asset(files("b"), "model")
    assert await manager.list_versions("model") == ["0.0"]


async def test_writes_with_lost_responses_are_recognised(
    driver: Driver, make_manager: ManagerFactory, tree: Path
) -> None:
    """A retry that is refused because the first attempt succeeded is no conflict."""
    manager = make_manager(LostAnswers(driver), single_writer=False)
    assert [(await manager.create_asset(tree, "model")).version] == ["0.0"]
    assert [(await manager.update_asset(tree, "model")).version for _ in range(3)] == ["0.1", "0.2", "0.3"]
    assert await manager.list_versions("model") == ["0.3", "0.2", "0.1", "0.0"]


@pytest.mark.parametrize(
    ("moment", "method", "ending"),
    [("before", "upload", "/x.bin"), ("before", "write", "0.1.meta")],
    ids=["content", "claim"],
)
async def test_a_push_that_fails_leaves_nothing_and_burns_no_number(
    driver: Driver, make_manager: ManagerFactory, tree: Path, files: Files, moment: str, method: str, ending: str
) -> None:
    manager = make_manager(driver)
    await manager.create_asset(files("a"), "model")
    failing = make_manager(Interposer(driver, Fail(moment, method, ending, failure())))
    with pytest.raises(StoreError):
        await failing.update_asset(tree, "model")
    assert [key for key in await keys(driver) if "/0.1/" in key] == []
    assert await manager.list_versions("model") == ["0.0"]
    assert (await manager.update_asset(tree, "model")).version == "0.1"


async def test_a_push_with_an_unknown_effect_burns_its_number(
    driver: Driver, make_manager: ManagerFactory, tree: Path, files: Files
) -> None:
    """A request without a response may still write."""
    manager = make_manager(driver)
    await manager.create_asset(files("a"), "model")
    failing = make_manager(Interposer(driver, Fail("after", "upload", "/x.bin", failure(uncertain=True))))
    with pytest.raises(StoreError):
        await failing.update_asset(tree, "model")
    assert await state_of(driver) is ClaimState.ABANDONED
    assert (await manager.update_asset(tree, "model")).version == "0.2"


async def test_a_seal_without_a_response_is_uncertain(
    driver: Driver, make_manager: ManagerFactory, files: Files
) -> None:
    manager = make_manager(driver)
    await manager.create_asset(files("a"), "model")

    class LosesTheSeal(Interposer):
        async def write(
            self,
            key: str,
            data: bytes | StreamedDocument,
            *,
            expected: Revision | Expect,
            effects: Effects | None = None,
        ) -> Revision:
            revision = await self.driver.write(key, data, expected=expected, effects=effects)
            if key == META and b"push_date" in bytes(data):
                raise StoreUnavailable("the store", "a test says so.", uncertain=True)
            return revision

    with pytest.raises(PublicationUncertain) as caught:
        await make_manager(LosesTheSeal(driver)).update_asset(files("b"), "model")
    assert caught.value.version == "0.1"
    assert (await manager.fetch_asset("model:0.1")).path.read_text() == "b"


async def test_a_source_that_changes_during_a_push_fails_it(
    driver: Driver, make_manager: ManagerFactory, files: Files
) -> None:
    manager = make_manager(driver)
    source = files("a")
    await manager.create_asset(source, "model")

    async def change(moment: str, method: str, key: str) -> None:
        if (moment, method, key) == ("after", "upload", "assets/model/0.1"):
            await asyncio.to_thread(source.write_text, "changed")

    with pytest.raises(SourceChanged):
        await make_manager(Interposer(driver, change)).update_asset(source, "model")
    assert await manager.list_versions("model") == ["0.0"]
    assert not await exists(driver, "assets/model/0.1")
    assert (await manager.update_asset(source, "model")).version == "0.1"


async def test_a_claim_is_renewed_while_content_is_uploaded(memory: MemoryDriver, files: Files) -> None:

    store = store_of(memory)
    claim = await live_claim()
    held = (await attempt_claim(store, "model", "0.1", claim, Effects())).held
    assert held is not None
    first = held.claim.renewals
    pauses: list[float] = []
    renewed = anyio.Event()

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) > 3:
            renewed.set()
            await anyio.sleep_forever()

    async with renewing(held, sleep=sleep):
        await renewed.wait()
    assert pauses == [60.0] * 4
    content = (await store.read_meta("model", "0.1")).content
    assert isinstance(content, Claim)
    assert content.renewals == first + 3


async def test_this_process_is_alive_and_another_boot_is_not_judged() -> None:
    """Only processes of the same host and boot are visible."""

    mine = await live_claim()
    gone = dataclasses.replace(mine, pid=gone_pid())
    reused = dataclasses.replace(mine, started="1")
    elsewhere = dataclasses.replace(gone, machine="another")

    async def judged(minutes: int, *claims: Claim) -> list[bool]:
        now = datetime.now(UTC)
        written = now - timedelta(minutes=minutes)
        return [
            await asyncio.to_thread(is_dead, MetaState(claim, Revision(""), written, now), claim) for claim in claims
        ]

    assert mine.pid == os.getpid()
    assert await judged(1, mine, gone, reused, elsewhere) == [False, True, True, False]
    assert await judged(16, mine, elsewhere) == [True, True]


async def test_a_zombie_process_counts_as_gone() -> None:
    """In a container, a parent may never wait for its children."""
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        await asyncio.to_thread(os.waitid, os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        claim = dataclasses.replace(await live_claim(), pid=child.pid, started="")
        now = datetime.now(UTC)
        assert await asyncio.to_thread(is_dead, MetaState(claim, Revision(""), now, now), claim)


async def test_a_new_major_never_takes_a_number_of_an_old_one(
    driver: Driver, make_manager: ManagerFactory, files: Files
) -> None:
    manager = make_manager(driver)
    await manager.create_asset(files("a"), "model")
    await put_claim(driver, await live_claim(state=ClaimState.RELEASED))
    await put_claim(driver, await live_claim(), "assets/model/1.0.meta")
    assert (await manager.update_asset(files("b"), "model", bump_major=True)).version == "2.0"


async def test_a_number_under_which_something_may_still_happen_is_not_released(
    memory: MemoryDriver, make_manager: ManagerFactory, tree: Path, files: Files
) -> None:
    """An attempt without a response may take effect later, even if its retry succeeded."""
    await make_manager(memory).create_asset(files("a"), "model")
    dispatcher = Dispatcher(retry=RetryPolicy(first_delay=0))

    class Retrying(Interposer):
        unanswered = 1

        async def upload(
            self,
            key: str,
            source: Source,
            *,
            expected: Expect = Expect.ABSENT,
            resume: bool = False,
            effects: Effects | None = None,
        ) -> Uploaded:
            async def send() -> Uploaded:
                if self.unanswered:
                    self.unanswered -= 1
                    raise StoreUnavailable("the store", "a test says so.", uncertain=True)
                return await self.driver.upload(key, source, expected=expected)

            await self.hook("before", "upload", key)
            return await dispatcher.send(send, effects=effects)

    failing = Retrying(memory, Fail("before", "upload", "/x.bin", failure()))
    with pytest.raises(StoreError):
        await make_manager(failing).update_asset(tree, "model")
    assert failing.unanswered == 0
    assert await state_of(memory) is ClaimState.ABANDONED


async def test_a_number_with_a_deletion_that_may_still_happen_is_not_released(
    memory: MemoryDriver, make_manager: ManagerFactory, tree: Path, files: Files
) -> None:
    """A late deletion would remove the content of the next push."""
    await make_manager(memory).create_asset(files("a"), "model")

    class LosesADeletion(Interposer):
        async def delete(self, keys: Iterable[str], *, effects: Effects | None = None) -> None:
            assert effects is not None
            effects.note_uncertain()
            await super().delete(keys, effects=effects)

    failing = LosesADeletion(memory, Fail("before", "upload", "/x.bin", failure()))
    with pytest.raises(StoreError):
        await make_manager(failing).update_asset(tree, "model")
    assert await state_of(memory) is ClaimState.ABANDONED


async def test_a_seal_whose_retry_is_denied_is_uncertain(
    memory: MemoryDriver, make_manager: ManagerFactory, files: Files
) -> None:
    """The first attempt may have succeeded, whatever the last response says."""
    manager = make_manager(memory)
    await manager.create_asset(files("a"), "model")

    class DeniesTheRetry(Interposer):
        async def write(
            self,
            key: str,
            data: bytes | StreamedDocument,
            *,
            expected: Revision | Expect,
            effects: Effects | None = None,
        ) -> Revision:
            revision = await self.driver.write(key, data, expected=expected, effects=effects)
            if key == META and b"push_date" in bytes(data):
                assert effects is not None
                effects.note_uncertain()
                raise AccessDenied("the store", "write", "A test says so.")
            return revision

    with pytest.raises(PublicationUncertain):
        await make_manager(DeniesTheRetry(memory)).update_asset(files("b"), "model")
    assert await state_of(memory) is Manifest


async def test_a_claim_counts_as_taken_over_even_if_the_response_is_lost(memory: MemoryDriver) -> None:
    """The dead push may have left content under the number."""
    await put_claim(memory, await dead_claim())
    driver = LostAnswers(memory)
    held = (await attempt_claim(store_of(driver), "model", "0.1", await live_claim(), Effects())).held
    assert held is not None
    assert held.resumed


async def test_a_seal_that_certainly_failed_leaves_nothing(
    driver: Driver, make_manager: ManagerFactory, files: Files
) -> None:
    manager = make_manager(driver)
    await manager.create_asset(files("a"), "model")

    class RefusesTheSeal(Interposer):
        async def write(
            self,
            key: str,
            data: bytes | StreamedDocument,
            *,
            expected: Revision | Expect,
            effects: Effects | None = None,
        ) -> Revision:
            if key == META and b"push_date" in bytes(data):
                raise failure()
            return await self.driver.write(key, data, expected=expected, effects=effects)

    with pytest.raises(StoreError):
        await make_manager(RefusesTheSeal(driver)).update_asset(files("b"), "model")
    assert not await exists(driver, "assets/model/0.1")
    assert (await manager.update_asset(files("b"), "model")).version == "0.1"


async def test_a_create_that_meets_a_sealed_version_lists_it_and_gives_way(
    driver: Driver, make_manager: ManagerFactory, files: Files
) -> None:
    failing = make_manager(Interposer(driver, Fail("before", "write", "model.versions")))
    with pytest.raises(PublicationUncertain):
        await failing.create_asset(files("a"), "model")
    manager = make_manager(driver)
    with pytest.raises(AssetExists, match=r"0\.0 has just been published"):
        await manager.create_asset(files("b"), "model")
    assert await manager.list_versions("model") == ["0.0"]


async def test_creates_of_different_seconds_have_one_winner(
    memory: MemoryDriver, make_manager: ManagerFactory, files: Files
) -> None:
    """Creates with dates claim different numbers, so each looks for others before it seals."""
    early, late = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC)
    gate = Pause("before", "upload", early.strftime("%Y-%m-%dT%H-%M-%SZ"))
    first = make_manager(Interposer(memory, gate), versioning=SimpleDate(lambda: early))
    second = make_manager(memory, versioning=SimpleDate(lambda: late))
    creation = asyncio.ensure_future(first.create_asset(files("a"), "model"))
    await gate.reached.wait()
    with pytest.raises(AssetExists, match="is already creating it"):
        await second.create_asset(files("b"), "model")
    gate.go_on.set()
    created = await creation
    assert await second.list_versions("model") == [created.version]


async def test_a_create_sees_another_that_came_during_its_last_check_of_the_source(
    memory: MemoryDriver, make_manager: ManagerFactory, files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A create looks for others after its last check of the source, which may take long."""
    early, late = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC)
    look = LastLook(files("b"), monkeypatch)
    second = make_manager(memory, versioning=SimpleDate(lambda: late))
    creation = asyncio.ensure_future(second.create_asset(files("b"), "model"))
    await look.reached()
    created = await make_manager(memory, versioning=SimpleDate(lambda: early)).create_asset(files("a"), "model")
    look.go_on.set()
    with pytest.raises(AssetExists):
        await creation
    assert await second.list_versions("model") == [created.version]


async def test_a_push_cancelled_during_its_last_check_of_the_source_publishes_nothing(
    memory: MemoryDriver, make_manager: ManagerFactory, files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    look = LastLook(files("a"), monkeypatch)
    manager = make_manager(memory)
    creation = asyncio.ensure_future(manager.create_asset(files("a"), "model"))
    await look.reached()
    creation.cancel()
    for _ in range(3):
        await asyncio.sleep(0)
    look.go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await creation
    with pytest.raises(AssetNotFound):
        await manager.list_versions("model")
    assert (await manager.create_asset(files("b"), "model")).version == "0.0"


async def test_a_create_whose_claim_got_no_response_does_not_block_the_next(
    driver: Driver, make_manager: ManagerFactory, files: Files
) -> None:
    failing = make_manager(Interposer(driver, Fail("after", "write", "0.0.meta")))
    with pytest.raises(StoreUnavailable):
        await failing.create_asset(files("a"), "model")
    manager = make_manager(driver)
    assert (await manager.create_asset(files("a"), "model")).version == "0.1"


@pytest.mark.parametrize("kind", [TransferStarted, BytesTransferred, FileTransferred, TransferFinished])
async def test_a_callback_that_raises_fails_the_push_before_anything_is_published(
    memory: MemoryDriver, make_manager: ManagerFactory, tree: Path, files: Files, kind: type[Event]
) -> None:
    manager = make_manager(memory)
    await manager.create_asset(files("a"), "model")

    def report(event: Event) -> None:
        if isinstance(event, kind):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await manager.update_asset(tree, "model", progress=report)
    assert await manager.list_versions("model") == ["0.0"]
    assert [key for key in await keys(memory) if "/0.1/" in key] == []
    assert (await manager.update_asset(tree, "model")).version == "0.1"


@pytest.mark.parametrize("state", [ClaimState.ABANDONED, ClaimState.RELEASED, ClaimState.CLAIMED])
async def test_a_create_under_a_higher_number_ends_every_lower_one(
    driver: Driver, make_manager: ManagerFactory, files: Files, state: ClaimState
) -> None:
    """Then no process can seal, release or claim the lower number."""
    first, second = await dead_claim("create"), await dead_claim("create")
    left = dataclasses.replace(second, state=state)
    key = "assets/model/0.0.meta"

    async def appear(moment: str, method: str, written: str) -> None:
        if (moment, method, written) == ("before", "write", key) and not await exists(driver, key):
            await put_claim(driver, first, key)
        if (moment, method, written) == ("before", "upload", "assets/model/0.1"):
            found = await driver.read(key)
            await driver.write(key, left.to_json(), expected=found.revision)

    created = await make_manager(Interposer(driver, appear)).create_asset(files("a"), "model")
    assert created.version == "0.1"
    ended = (await store_of(driver).read_meta("model", "0.0")).content
    assert isinstance(ended, Claim)
    assert ended.state is ClaimState.ABANDONED
    assert ended.token != left.token


async def test_a_create_that_gives_up_beside_two_others_lets_one_of_them_succeed(
    driver: Driver, make_manager: ManagerFactory, files: Files
) -> None:
    """One is cancelled, one stepped over its number, and one waits to claim that number."""
    releasing = Pause("before", "write", "model/0.0.meta", nth=3)  # claimed, abandoned, then this
    uploading = Pause("before", "upload", "model/0.0")
    first = make_manager(Interposer(Interposer(driver, releasing), uploading))
    cancelled = asyncio.ensure_future(first.create_asset(files("a"), "model"))
    await uploading.reached_by(cancelled)
    cancelled.cancel()
    uploading.go_on.set()
    await releasing.reached_by(cancelled)

    sealing = Pause("before", "write", "model/0.1.meta", nth=2)
    second = asyncio.ensure_future(make_manager(Interposer(driver, sealing)).create_asset(files("b"), "model"))
    await sealing.reached_by(second)

    releasing.go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    manager = make_manager(driver)
    third = asyncio.ensure_future(manager.create_asset(files("c"), "model"))
    await asyncio.wait([third])
    sealing.go_on.set()
    assert (await second).version == "0.1"
    with pytest.raises(AssetExists, match="is already creating it"):
        await third
    assert await manager.list_versions("model") == ["0.1"]


async def test_an_ended_claim_is_not_taken_for_a_held_one(memory: MemoryDriver) -> None:
    """The response to the claim is lost, and another push ends the claim before its holder reads it."""
    claim = await live_claim("create")

    class EndsIt(Interposer):
        async def write(
            self,
            key: str,
            data: bytes | StreamedDocument,
            *,
            expected: Revision | Expect,
            effects: Effects | None = None,
        ) -> Revision:
            revision = await self.driver.write(key, data, expected=expected, effects=effects)
            await self.driver.write(key, claim.in_state(ClaimState.ABANDONED).to_json(), expected=revision)
            raise PreconditionFailed(f"{self.url}/{key}")

    assert (await attempt_claim(store_of(EndsIt(memory)), "model", "0.1", claim, Effects())).held is None


async def test_a_create_of_an_earlier_second_ends_a_later_one_that_has_looked_already(
    memory: MemoryDriver, make_manager: ManagerFactory, files: Files
) -> None:
    """The later create saw no other, so it doesn't give way by itself."""
    early, late = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC)
    sealing = Pause("before", "write", late.strftime("%Y-%m-%dT%H-%M-%SZ.meta"), nth=2)
    second = make_manager(Interposer(memory, sealing), versioning=SimpleDate(lambda: late))
    creation = asyncio.ensure_future(second.create_asset(files("b"), "model"))
    await sealing.reached_by(creation)
    first = make_manager(memory, versioning=SimpleDate(lambda: early))
    created = await first.create_asset(files("a"), "model")
    sealing.go_on.set()
    with pytest.raises(AssetExists):
        await creation
    assert await first.list_versions("model") == [created.version]


UNEXPECTED = [
    pytest.param(ZeroDivisionError("a test says so"), id="an error nobody expected"),
    pytest.param(failure(uncertain=True), id="an uncertain error"),
]


@pytest.mark.parametrize("error", UNEXPECTED)
async def test_a_seal_that_ends_in_any_error_but_a_refusal_is_uncertain(
    driver: Driver, make_manager: ManagerFactory, files: Files, error: Exception
) -> None:
    manager = make_manager(driver)
    await manager.create_asset(files("a"), "model")

    class FailsAfterTheSeal(Interposer):
        async def write(
            self,
            key: str,
            data: bytes | StreamedDocument,
            *,
            expected: Revision | Expect,
            effects: Effects | None = None,
        ) -> Revision:
            revision = await self.driver.write(key, data, expected=expected, effects=effects)
            if key == META and b"push_date" in bytes(data):
                raise error
            return revision

    with pytest.raises(PublicationUncertain):
        await make_manager(FailsAfterTheSeal(driver)).update_asset(files("b"), "model")
    assert await state_of(driver) is Manifest
    assert (await manager.fetch_asset("model:0.1")).path.read_text() == "b"


@pytest.mark.parametrize("error", UNEXPECTED)
async def test_an_index_that_ends_in_any_error_is_uncertain(
    driver: Driver, make_manager: ManagerFactory, files: Files, error: Exception
) -> None:
    manager = make_manager(driver)
    await manager.create_asset(files("a"), "model")
    failing = make_manager(Interposer(driver, Fail("before", "write", "model.versions", error)))
    with pytest.raises(PublicationUncertain):
        await failing.update_asset(files("b"), "model")
    assert await state_of(driver) is Manifest


@pytest.mark.parametrize("error", UNEXPECTED)
async def test_an_upload_that_ends_in_any_error_but_a_refusal_burns_its_number(
    driver: Driver, make_manager: ManagerFactory, tree: Path, files: Files, error: Exception
) -> None:
    manager = make_manager(driver)
    await manager.create_asset(files("a"), "model")
    failing = make_manager(Interposer(driver, Fail("after", "upload", "/x.bin", error)))
    with pytest.raises(type(error)):
        await failing.update_asset(tree, "model")
    assert await state_of(driver) is ClaimState.ABANDONED
    assert (await manager.update_asset(tree, "model")).version == "0.2"


@pytest.mark.parametrize("error", UNEXPECTED)
async def test_a_claim_that_ends_in_any_error_is_taken_back(
    driver: Driver, make_manager: ManagerFactory, files: Files, error: Exception
) -> None:
    manager = make_manager(driver)
    await manager.create_asset(files("a"), "model")
    failing = make_manager(Interposer(driver, Fail("after", "write", "0.1.meta", error)))
    with pytest.raises(type(error)):
        await failing.update_asset(files("b"), "model")
    assert await state_of(driver) is ClaimState.ABANDONED


async def test_a_claim_is_never_written_twice_with_the_same_bytes(memory: MemoryDriver) -> None:
    """Where revisions are digests of content, a stale swap would pass."""
    written: list[bytes] = []

    class ReleasesIt(Interposer):
        async def write(
            self,
            key: str,
            data: bytes | StreamedDocument,
            *,
            expected: Revision | Expect,
            effects: Effects | None = None,
        ) -> Revision:
            written.append(bytes(data))
            if len(written) == 1:
                await self.driver.write(key, other.to_json(), expected=Expect.ABSENT)
            elif len(written) == 2:
                found = await self.driver.read(key)
                await self.driver.write(key, other.renewed().to_json(), expected=found.revision)
            return await self.driver.write(key, data, expected=expected, effects=effects)

    other = await live_claim("create", state=ClaimState.RELEASED)
    held = (
        await attempt_claim(store_of(ReleasesIt(memory)), "model", "0.1", await live_claim("create"), Effects())
    ).held
    assert held is not None
    assert len(written) == len(set(written)) == 4
