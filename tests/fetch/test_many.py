"""Fetching many assets in one call."""

from __future__ import annotations

import pytest
from tools.factories import Files, ManagerFactory
from tools.interposer import Interposer

from aioassets import (
    AssetNotFound,
    AssetSpec,
    BulkFetchError,
    Driver,
    Event,
    InvalidSpec,
    MemoryDriver,
    UsageError,
    VersionNotFound,
)


async def test_assets_are_fetched_in_the_order_of_the_specs(
    driver: Driver, make_manager: ManagerFactory, files: Files
) -> None:
    manager = make_manager(driver)
    await manager.update_assets({name: files(name) for name in "abc"}, create_missing=True)
    fetched = await manager.fetch_assets(["c", "a:0.0", "b:0"])
    assert {spec: each.path.read_text() for spec, each in fetched.items()} == {"c": "c", "a:0.0": "a", "b:0": "b"}
    assert list(fetched) == ["c", "a:0.0", "b:0"]


async def test_a_spec_that_is_given_twice_is_fetched_once(
    memory: MemoryDriver, make_manager: ManagerFactory, files: Files
) -> None:
    """Also if it is spelled differently."""
    driver = Interposer(memory)
    manager = make_manager(driver)
    await manager.create_asset(files("a"), "model")
    driver.calls.clear()
    spec = AssetSpec("model")
    specs: list[str | AssetSpec] = ["model", spec, "model"]
    fetched = await manager.fetch_assets(specs)
    assert list(fetched) == ["model", spec]
    assert fetched["model"] is fetched[spec]
    assert [method for method, _ in driver.calls] == ["read", "read", "read_range"]


async def test_one_failure_does_not_stop_the_others(
    memory: MemoryDriver, make_manager: ManagerFactory, files: Files
) -> None:
    manager = make_manager(memory)
    await manager.create_asset(files("a"), "model")
    with pytest.raises(BulkFetchError) as caught:
        await manager.fetch_assets(["model:7.0", "not a spec[", "model", "nothing"])
    assert [*caught.value.fetched] == ["model"]
    assert {spec: type(error) for spec, error in caught.value.failed.items()} == {
        "model:7.0": VersionNotFound,
        "not a spec[": InvalidSpec,
        "nothing": AssetNotFound,
    }
    assert list(caught.value.failed) == ["model:7.0", "not a spec[", "nothing"]
    assert str(caught.value).startswith("3 of 4 assets were not fetched: model:7.0 (Asset 'model' has no version 7.0 ")


async def test_an_error_of_a_callback_fails_its_asset_only(
    memory: MemoryDriver, make_manager: ManagerFactory, files: Files
) -> None:
    manager = make_manager(memory)
    await manager.update_assets({name: files(name) for name in "ab"}, create_missing=True)

    def report(event: Event) -> None:
        if event.name == "a":
            raise ValueError("of the callback")

    with pytest.raises(BulkFetchError) as caught:
        await manager.fetch_assets(["a", "b"], progress=report)
    assert str(caught.value.failed["a"]) == "of the callback"
    assert caught.value.fetched["b"].path.read_text() == "b"


async def test_offline_it_serves_what_is_cached(
    memory: MemoryDriver, make_manager: ManagerFactory, files: Files
) -> None:
    manager = make_manager(memory)
    await manager.update_assets({name: files(name) for name in "ab"}, create_missing=True)
    await manager.fetch_asset("a")
    with pytest.raises(BulkFetchError) as caught:
        await manager.fetch_assets(["a", "b"], offline=True)
    assert caught.value.fetched["a"].from_cache
    assert list(caught.value.failed) == ["b"]


async def test_a_single_spec_is_refused(memory: MemoryDriver, make_manager: ManagerFactory) -> None:
    """Its characters would be taken for specs."""
    with pytest.raises(UsageError, match=r"must be a list of strings: write \['model'\]"):
        await make_manager(memory).fetch_assets("model")


async def test_no_specs_are_no_request(memory: MemoryDriver, make_manager: ManagerFactory) -> None:
    driver = Interposer(memory)
    assert await make_manager(driver).fetch_assets([]) == {}
    assert driver.calls == []
