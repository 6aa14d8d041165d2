"""The cache by store: one machine holds the same name from several stores, and mixes none of them."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tools.factories import Files, ManagerFactory
from tools.inspection import contents
from tools.interposer import Interposer

from aioassets import (
    AssetNotFound,
    Dispatcher,
    Driver,
    InvalidSetting,
    LocalDriver,
    MemoryDriver,
    StoreUnavailable,
    VersionNotFound,
)
from aioassets.drivers import Location, make_driver
from aioassets.fetch.origin import folder_of
from aioassets.model.keys import Layout
from aioassets.store.documents import AssetStore


@pytest.fixture
def staging(tmp_path: Path) -> LocalDriver:
    return LocalDriver(tmp_path / "staging")


@pytest.fixture
def production(tmp_path: Path) -> LocalDriver:
    return LocalDriver(tmp_path / "production")


@pytest.fixture
async def both(staging: Driver, production: Driver, make_manager: ManagerFactory, tmp_path: Path) -> None:
    """Push `model:0.0` to both stores, with files of the same paths and sizes."""
    for driver, text in ((staging, "s"), (production, "p")):
        source = tmp_path / f"source-{text}"
        (source / "sub").mkdir(parents=True)
        for path in ("a", "sub/b"):
            (source / path).write_text(text)
        await make_manager(driver).create_asset(source, "model")


def all_of(text: str) -> dict[str, tuple[bytes, bool]]:
    return {path: (text.encode(), False) for path in ("a", "sub/b")}


@pytest.mark.usefixtures("both")
async def test_two_stores_with_the_same_name_are_cached_side_by_side(
    staging: Driver, production: Driver, make_manager: ManagerFactory
) -> None:
    for _ in range(2):
        for driver, text in ((staging, "s"), (production, "p")):
            for offline in (False, True):
                fetched = await make_manager(driver, offline=False).fetch_asset("model:0.0", verify=offline)
                assert contents(fetched.path) == all_of(text)
    for driver, text in ((staging, "s"), (production, "p")):
        assert contents((await make_manager(driver, offline=True).fetch_asset("model")).path) == all_of(text)


@pytest.mark.usefixtures("both")
@pytest.mark.parametrize("spec", ["model", "model:0", "model:0.0", "model:0.0[sub]", "model[sub/b]"])
async def test_offline_never_serves_another_store(
    staging: Driver, production: Driver, make_manager: ManagerFactory, spec: str
) -> None:
    await make_manager(staging).fetch_asset(spec)
    with pytest.raises((AssetNotFound, VersionNotFound)):
        await make_manager(production, offline=True).fetch_asset(spec)
    with pytest.raises((AssetNotFound, VersionNotFound)):
        await make_manager(staging, offline=True, assetsmanager_prefix="others").fetch_asset(spec)
    with pytest.raises((AssetNotFound, VersionNotFound)):
        await make_manager(production).verify_asset(spec, cached=True)
    assert (await make_manager(staging, offline=True).fetch_asset(spec)).from_cache


@pytest.mark.usefixtures("both")
@pytest.mark.parametrize("spec", ["model:0.0", "model:0.0[sub]"])
async def test_concurrent_fetches_from_two_stores_do_not_mix(
    staging: Driver, production: Driver, make_manager: ManagerFactory, spec: str
) -> None:
    managers = [make_manager(driver) for driver in (staging, production) * 3]
    fetched = await asyncio.gather(*(manager.fetch_asset(spec) for manager in managers))
    for result, text in zip(fetched, "spspsp", strict=True):
        found = {data for data, _ in contents(result.path).values()}
        assert found == {text.encode()}


@pytest.mark.usefixtures("both")
async def test_without_a_bucket_the_only_store_that_has_it_is_used(
    staging: Driver, production: Driver, make_manager: ManagerFactory, files: Files
) -> None:
    await make_manager(staging).fetch_asset("model")
    anywhere = make_manager(None)
    assert contents((await anywhere.fetch_asset("model")).path) == all_of("s")
    await make_manager(production).fetch_asset("model[a]")
    assert contents((await anywhere.fetch_asset("model")).path) == all_of("s")
    await make_manager(production).fetch_asset("model")
    for spec in ("model", "model:0.0", "model[a]", "model:0.0[sub]"):
        with pytest.raises(InvalidSetting, match=r"cached from 2 stores: .*production.*staging.*--bucket"):
            await anywhere.fetch_asset(spec)
    await make_manager(production).update_asset(files("2"), "model")
    await make_manager(production).fetch_asset("model:0.1")
    assert (await anywhere.fetch_asset("model:0.1")).path.read_text() == "2"


@pytest.mark.usefixtures("both")
async def test_a_link_that_leads_to_another_store_now_is_another_store(
    make_manager: ManagerFactory, tmp_path: Path
) -> None:
    link = tmp_path / "current"
    for name, text in (("staging", "s"), ("production", "p")):
        link.unlink(missing_ok=True)
        link.symlink_to(tmp_path / name)
        assert contents((await make_manager(LocalDriver(link)).fetch_asset("model:0.0")).path) == all_of(text)


async def test_two_memory_stores_of_one_name_are_two_stores(make_manager: ManagerFactory, files: Files) -> None:
    one, other = MemoryDriver("same"), MemoryDriver("same")
    await make_manager(one).create_asset(files("a"), "model")
    await make_manager(one).fetch_asset("model")
    with pytest.raises(AssetNotFound):
        await make_manager(other, offline=True).fetch_asset("model")


@pytest.mark.usefixtures("both")
async def test_what_an_early_version_cached_by_name_alone_is_left_alone(
    staging: Driver, make_manager: ManagerFactory, tmp_path: Path
) -> None:
    fetched = await make_manager(staging).fetch_asset("model")
    cache, root = tmp_path / "cache", fetched.path.parents[1]
    for folder in (root / "model", root / ".aioassets" / "model"):
        target = cache / folder.relative_to(root)
        target.parent.mkdir(exist_ok=True)
        folder.rename(target)
    before = {path: file for path, file in contents(cache).items() if file[0] is not None}
    for manager in (make_manager(staging, offline=True), make_manager(None)):
        with pytest.raises(AssetNotFound):
            await manager.fetch_asset("model")
    assert (await make_manager(staging).plan_clean()).leftovers == ()
    assert not (await make_manager(staging).fetch_asset("model")).from_cache
    assert before.items() <= contents(cache).items()


# Names of folders


def folder_at(url: str, prefix: str) -> str:
    location = Location.parse(url)
    driver = make_driver(location, dispatcher=Dispatcher())
    return folder_of(Path("/cache"), AssetStore(driver, Layout(prefix))).name


def test_the_folder_of_a_store_is_readable_and_unique() -> None:
    names = [
        folder_at("s3://models", "assets"),
        folder_at("s3://models", "Assets"),
        folder_at("s3://models", ""),
        folder_at("gs://models", "assets"),
        folder_at("file:///srv/models", "assets"),
    ]
    assert [name[:-9] for name in names] == [
        "s3-models-assets",
        "s3-models-assets",
        "s3-models",
        "gs-models-assets",
        "file-srv-models-assets",
    ]
    assert len(set(names)) == len(names)
    assert len(folder_at(f"file:///home/{'x' * 300}/store", "assets")) < 64


async def test_an_unreachable_store_names_only_its_own_cached_versions(
    staging: Driver, production: Driver, make_manager: ManagerFactory, both: None, files: Files
) -> None:
    await make_manager(staging).fetch_asset("model")

    async def fail(moment: str, method: str, key: str) -> None:
        if method == "read":
            raise StoreUnavailable("the store", "a test says so.")

    with pytest.raises(StoreUnavailable, match="No version is cached"):
        await make_manager(Interposer(production, fail)).fetch_asset("model")
    with pytest.raises(StoreUnavailable, match=r"Request a cached version exactly: 0\.0"):
        await make_manager(Interposer(staging, fail)).fetch_asset("model")


async def test_verdicts_of_stores_with_one_name_are_kept_apart(make_manager: ManagerFactory, files: Files) -> None:
    first, second = (Interposer(MemoryDriver("same")) for _ in range(2))
    await make_manager(first).create_asset(files("a"), "model")
    await make_manager(second).create_asset(files("a"), "model")
    for driver in (first, second):
        assert [key for method, key in driver.calls if method == "write" and ".aioassets-probe" in key]
