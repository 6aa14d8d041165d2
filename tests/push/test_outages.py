"""A push that an outage ended is continued by its repetition, as one that was killed."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import pytest
from tools.claims import state_of
from tools.factories import Files, ManagerFactory
from tools.inspection import exists, keys
from tools.interposer import Fail, Interposer

from aioassets import AccessDenied, AioAssetsError, Driver, Event, FileTransferred, StoreUnavailable
from aioassets.model.claim import ClaimState


class Sent:
    """Progress callback that collects the paths of the files that were sent, not found in the store."""

    def __init__(self) -> None:
        self.paths: list[str] = []

    def __call__(self, event: Event) -> None:
        if isinstance(event, FileTransferred) and not event.skipped:
            self.paths.append(event.path)


class FailsFrom:
    """Hook that fails each call of a method from the Nth on: an outage, or rights that were withdrawn.

    Args:
        method: the method of the driver.
        number: the first call that fails, counted from 0.
        error: returns the error.
    """

    def __init__(self, method: str, number: int, error: Callable[[], AioAssetsError]) -> None:
        self._method, self._left, self._error = method, number, error

    async def __call__(self, moment: str, method: str, key: str) -> None:
        if (moment, method) == ("before", self._method):
            self._left -= 1
            if self._left < 0:
                raise self._error()


def outage() -> AioAssetsError:
    return StoreUnavailable("the store", "a test says so.")


def denial() -> AioAssetsError:
    return AccessDenied("the store", "write", "the credentials expired.")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Make a tree of five files."""
    folder = tmp_path / "tree"
    folder.mkdir()
    for name in "abcde":
        (folder / name).write_text(name)
    return folder


@pytest.mark.parametrize("error", [outage, denial])
async def test_a_push_continues_under_its_number_and_sends_what_is_missing(
    driver: Driver,
    make_manager: ManagerFactory,
    files: Files,
    tree: Path,
    error: Callable[[], AioAssetsError],
    caplog: pytest.LogCaptureFixture,
) -> None:
    await make_manager(driver).create_asset(files("a"), "model")
    interrupted, repeated = Sent(), Sent()
    failing = make_manager(Interposer(driver, FailsFrom("upload", 3, error)))
    with caplog.at_level(logging.WARNING, "aioassets"), pytest.raises(type(error())):
        await failing.update_asset(tree, "model", progress=interrupted)
    assert "Repeat the push to resume it" in caplog.text
    manager = make_manager(driver)
    assert (await manager.update_asset(tree, "model", progress=repeated)).version == "0.1"
    assert (len(interrupted.paths), len(repeated.paths)) == (3, 2)
    assert {*interrupted.paths, *repeated.paths} == {*"abcde"}
    assert {path.name: path.read_text() for path in (await manager.fetch_asset("model")).path.iterdir()} == {
        name: name for name in "abcde"
    }
    assert (await manager.plan_clean()).leftovers == ()


async def test_a_push_without_rights_from_the_start_leaves_nothing(
    driver: Driver, make_manager: ManagerFactory, files: Files, tree: Path
) -> None:
    manager = make_manager(driver)
    await manager.create_asset(files("a"), "model")
    with pytest.raises(AccessDenied):
        await make_manager(Interposer(driver, FailsFrom("upload", 0, denial))).update_asset(tree, "model")
    assert not [key for key in await keys(driver) if key.startswith("assets/model/0.1/")]
    assert (await manager.update_asset(files("b"), "model")).version == "0.1"


async def test_a_claim_that_the_push_did_not_see_confirmed_is_its_own_when_it_is_repeated(
    driver: Driver, make_manager: ManagerFactory, files: Files
) -> None:
    manager, source = make_manager(driver), files("b")
    await manager.create_asset(files("a"), "model")
    with pytest.raises(StoreUnavailable):
        await make_manager(Interposer(driver, Fail("after", "write", "0.1.meta"))).update_asset(source, "model")
    assert await state_of(driver) is ClaimState.CLAIMED
    assert (await manager.update_asset(source, "model")).version == "0.1"


@pytest.mark.parametrize(
    "error",
    [StoreUnavailable("the store", "a test says so.", uncertain=False, throttled=True), denial()],
    ids=["busy", "denied"],
)
async def test_a_seal_that_the_store_refused_is_all_that_a_repetition_sends(
    driver: Driver, make_manager: ManagerFactory, files: Files, error: AioAssetsError
) -> None:
    source = files("b")
    await make_manager(driver).create_asset(files("a"), "model")

    async def refuse(moment: str, method: str, key: str) -> None:
        if (moment, method, key) == ("before", "write", "assets/model/0.1.meta") and await exists(
            driver, "assets/model/0.1"
        ):
            raise error

    with pytest.raises(type(error)):
        await make_manager(Interposer(driver, refuse)).update_asset(source, "model")
    repeated = Sent()
    assert (await make_manager(driver).update_asset(source, "model", progress=repeated)).version == "0.1"
    assert repeated.paths == []


async def test_other_content_goes_under_the_next_number(
    driver: Driver, make_manager: ManagerFactory, files: Files, tree: Path
) -> None:
    manager = make_manager(driver)
    await manager.create_asset(files("a"), "model")
    with pytest.raises(StoreUnavailable):
        await make_manager(Interposer(driver, FailsFrom("upload", 2, outage))).update_asset(tree, "model")
    assert (await manager.update_asset(files("b"), "model")).version == "0.2"
    assert [leftover.version for leftover in (await manager.plan_clean()).leftovers] == ["0.1"]
