"""Suggestions of the nearest name, version or alias."""

from __future__ import annotations

import pickle
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
from tools.factories import Files, ManagerFactory
from tools.interposer import Fail, Interposer, Pause

from aioassets import (
    AccessDenied,
    AliasNotFound,
    AssetNotFound,
    AssetsManager,
    BulkError,
    MemoryDriver,
    NotFound,
    VersionNotFound,
)
from aioassets.drivers.protocol import Expect
from aioassets.store import suggestions

Call = Callable[[AssetsManager, str], Awaitable[Any]]

NAMES = ("team/model", "team/models-small", "team/index", "model", "team/deep/modle")


@pytest.fixture
def driver(memory: MemoryDriver) -> Interposer:
    return Interposer(memory)


@pytest.fixture
async def manager(driver: Interposer, make_manager: ManagerFactory, files: Files) -> AssetsManager:
    manager = make_manager(driver)
    await manager.update_assets(dict.fromkeys(NAMES, files("a")), create_missing=True)
    await manager.set_alias("team/model", "prod", "0.0")
    driver.calls.clear()
    return manager


CALLS: dict[str, Call] = {
    "fetch": lambda manager, name: manager.fetch_asset(name),
    "verify": lambda manager, name: manager.verify_asset(f"{name}:0.0"),
    "fetch by alias": lambda manager, name: manager.fetch_asset(f"{name}@prod"),
    "versions": lambda manager, name: manager.list_versions(name),
    "update": lambda manager, name: manager.update_asset(__file__, name),
    "alias list": lambda manager, name: manager.list_aliases(name),
    "alias set": lambda manager, name: manager.set_alias(name, "prod", "0.0"),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
async def test_a_mistyped_name_suggests_the_nearest_in_its_folder(
    manager: AssetsManager, driver: Interposer, call: Call
) -> None:
    with pytest.raises(AssetNotFound, match=r"^No asset 'team/modle' in .* Did you mean team/model\?$") as caught:
        await call(manager, "team/modle")
    assert caught.value.suggestions == ("team/model",)
    assert [call for call in driver.calls if call[0] == "list"] == [("list", "assets/team/")]
    copy = pickle.loads(pickle.dumps(caught.value))
    assert (str(copy), copy.suggestions) == (str(caught.value), ("team/model",))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("modell", ("model",)),
        ("team/Model", ("team/model",)),
        ("team/models", ("team/model", "team/models-small")),
        ("team/something", ()),
        ("nowhere/model", ()),
        ("taem/modle", ("team/model",)),
        ("Team/index", ("team/index",)),
        ("taem/dep/model", ("team/deep/modle",)),
        ("taem/deep/something", ()),
        ("team", ()),
    ],
)
async def test_only_similar_names_are_suggested(manager: AssetsManager, name: str, expected: tuple[str, ...]) -> None:
    with pytest.raises(AssetNotFound) as caught:
        await manager.fetch_asset(name)
    assert caught.value.suggestions == expected
    assert ("Did you mean" in str(caught.value)) is bool(expected)


async def test_a_missing_folder_takes_one_listing_for_each_level(manager: AssetsManager, driver: Interposer) -> None:
    with pytest.raises(AssetNotFound, match=r"Did you mean team/model\?$"):
        await manager.fetch_asset("taem/model")
    listed = [key for method, key in driver.calls if method == "list"]
    assert listed == ["assets/taem/", "assets/", "assets/team/"]


@pytest.mark.parametrize("call", ["fetch_assets", "lock_assets"])
async def test_each_error_of_a_bulk_call_has_suggestions(manager: AssetsManager, driver: Interposer, call: str) -> None:
    """The folders are listed once for all errors."""
    specs = ["team/modle", "team/idnex@prod", "taem/model:0", "model", "team/something"]
    with pytest.raises(BulkError, match=r"^4 of 5 .*: team/modle \(No asset .* Did you mean team/model\?\)") as caught:
        await getattr(manager, call)(specs)
    suggested = {spec: getattr(error, "suggestions", None) for spec, error in caught.value.failed.items()}
    assert suggested == {
        "team/modle": ("team/model",),
        "team/idnex@prod": ("team/index",),
        "taem/model:0": ("team/model",),
        "team/something": (),
    }
    assert [call for call in driver.calls if call[0] == "list"].count(("list", "assets/team/")) == 1


async def test_the_listings_of_one_call_are_limited(manager: AssetsManager, driver: Interposer) -> None:
    specs = [f"taem{number}/model" for number in range(20)]
    with pytest.raises(BulkError) as caught:
        await manager.fetch_assets(specs)
    assert len([call for call in driver.calls if call[0] == "list"]) == suggestions.MAX_FOLDERS
    assert len([error for error in caught.value.failed.values() if getattr(error, "suggestions", ())]) > 2


async def test_a_success_takes_no_listing(manager: AssetsManager, driver: Interposer) -> None:
    await manager.fetch_asset("team/model@prod")
    assert "list" not in {method for method, _ in driver.calls}


async def test_offline_and_in_other_places_nothing_is_listed(manager: AssetsManager, driver: Interposer) -> None:
    with pytest.raises(AssetNotFound, match="offline"):
        await manager.fetch_asset("team/modle", offline=True)
    assert driver.calls == []


class TestTheErrorIsTheSame:
    """A listing that fails or takes too long, or has too much, changes nothing."""

    async def expect_plain(self, manager: AssetsManager) -> None:
        with pytest.raises(AssetNotFound, match=r"^No asset 'team/modle' in memory://[^ ]*\.$") as caught:
            await manager.fetch_asset("team/modle")
        assert caught.value.suggestions == ()

    @pytest.mark.parametrize("error", [AccessDenied("s3://x", "list", "no."), RuntimeError("a bug")])
    async def test_it_fails(self, manager: AssetsManager, driver: Interposer, error: Exception) -> None:
        driver.hook = Fail("before", "list", "", error)
        await self.expect_plain(manager)

    async def test_it_takes_too_long(
        self, manager: AssetsManager, driver: Interposer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(suggestions, "MAX_SECONDS", 0)
        driver.hook = Pause("before", "list", "", wait=anyio.sleep_forever)
        await self.expect_plain(manager)

    async def test_the_folder_is_too_large(self, manager: AssetsManager, memory: MemoryDriver) -> None:
        for number in range(suggestions.MAX_LISTED):
            await memory.write(f"assets/team/x{number}", b"", expected=Expect.ABSENT)
        await self.expect_plain(manager)

    async def test_its_names_are_invalid(self, make_manager: ManagerFactory, memory: MemoryDriver) -> None:
        await memory.write("assets/team/modle\x1b[2J.versions", b"", expected=Expect.ABSENT)
        await self.expect_plain(make_manager(memory))


async def test_versions_and_aliases_are_suggested_from_what_was_read(
    manager: AssetsManager, driver: Interposer, files: Files
) -> None:
    for _ in range(12):
        await manager.update_asset(files("b"), "team/model")
    driver.calls.clear()
    with pytest.raises(VersionNotFound, match=r"Available: 0\.12, .*, …\. Did you mean 0\.12\?$"):
        await manager.fetch_asset("team/model:0.122")
    with pytest.raises(
        AliasNotFound, match=r"has no alias 'Prd' .* Its aliases: prod\. Did you mean prod\?$"
    ) as caught:
        await manager.fetch_asset("team/model@Prd")
    assert caught.value.suggestions == ("prod",)
    with pytest.raises(NotFound) as other:
        await manager.fetch_asset("team/model:0.13")
    assert other.value.suggestions == ()
    assert "list" not in {method for method, _ in driver.calls}


async def test_an_asset_that_has_only_withdrawn_versions_is_not_confused_with_its_neighbours(
    manager: AssetsManager, memory: MemoryDriver
) -> None:
    index = await memory.read("assets/team/model.versions")
    data = b'{"versions": [], "fences": {"0.0": "yanked"}}'
    await memory.write("assets/team/model.versions", data, expected=index.revision)
    with pytest.raises(VersionNotFound) as caught:
        await manager.fetch_asset("team/model")
    assert caught.value.suggestions == ()
    assert Path("team/model").name in str(caught.value)
